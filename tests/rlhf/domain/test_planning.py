from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings
from django.utils import timezone

from labeling.domain.pairing import add_prompt
from rlhf.contract.kinds.grpo import GRPOConfig
from rlhf.contract.kinds.merge import MergeConfig
from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.contract.kinds.sample import SampleConfig
from rlhf.contract.records import read_rows
from rlhf.contract.run_dir import MANIFEST, hash_file, sealed_folder
from rlhf.domain.checkpoints import checkpoint_folder, register_final
from rlhf.domain.datasets.shelf import freeze_rows
from rlhf.domain.errors import NotReady
from rlhf.domain.planning import plan_run, write_ptx
from rlhf.domain.provisioning import resolve_config
from rlhf.domain.sampling import freeze_prompts, list_prompts
from rlhf.models import Checkpoint, Loop, Run
from tests.rlhf.conftest import make_checkpoint, make_dataset, make_run, message


def make_sealed_checkpoint(project, name: str, **fields) -> Checkpoint:
    checkpoint = make_checkpoint(project, name=name, **fields)
    folder = Path(settings.PREFLOOP_HOME) / checkpoint.path
    with sealed_folder(folder) as part:
        (part / "config.json").write_text(name)
    Checkpoint.objects.filter(pk=checkpoint.pk).update(manifest_sha256=hash_file(folder / MANIFEST))
    checkpoint.refresh_from_db()
    return checkpoint


def test_the_newest_policy_is_merged_with_what_it_was_trained_from(project):
    first = make_sealed_checkpoint(project, "first")
    second = make_sealed_checkpoint(project, "second", parent=first)

    run = plan_run(project, MergeConfig(weight=0.3))

    assert (run.kind, run.base, run.other, run.dataset) == ("merge", first, second, None)
    config = resolve_config(run)
    assert config == MergeConfig(
        weight=0.3, base_model=str(checkpoint_folder(first)), other_model=str(checkpoint_folder(second))
    )


@pytest.mark.parametrize(
    ("choose", "message"),
    [
        (lambda project: {}, "was not trained from another model here"),
        (lambda project: dict.fromkeys(("base", "other"), Checkpoint.objects.get()), "cannot be merged"),
        (lambda project: {"base": make_checkpoint(project, kind="reward")}, "choose two policies or two reward models"),
        (lambda project: {"dataset": make_dataset(project)}, "a merge run needs no dataset"),
    ],
)
def test_what_cannot_be_merged_is_refused_when_it_is_planned(project, choose, message):
    make_checkpoint(project, name="only")

    with pytest.raises(NotReady, match=message):
        plan_run(project, MergeConfig(), **choose(project))


@pytest.mark.parametrize("kind", ["policy", "reward"])
def test_a_mean_of_two_models_is_what_they_were(project, kind):
    base, other = make_checkpoint(project, kind=kind), make_checkpoint(project, kind=kind)
    run = make_run(project, kind="merge", state="succeeded", base=base, other=other)

    checkpoint = register_final(run, "0" * 64)

    assert (checkpoint.kind, checkpoint.parent) == (kind, base)


def test_ptx_is_on_the_newest_demonstrations_and_lies_beside_the_prompts(project, tmp_path):
    make_checkpoint(project, name="policy")
    make_checkpoint(project, name="reward", kind="reward")
    prompts = freeze_rows(
        project, kind="prompt", name="p", train=[{"prompt_id": "1", "prompt": []}], test=[], rule={"n": 1}
    )
    rows = [{"messages": [{"role": "assistant", "content": "Hello."}]}]
    told = freeze_rows(project, kind="demonstration", name="d", train=rows, test=[], rule={"n": 2})

    run = plan_run(project, PPOConfig(ptx_coef=0.1), dataset=prompts)

    assert run.config["ptx_dataset"] == told.pk
    write_ptx(run, tmp_path)
    assert list(read_rows(tmp_path / "ptx.jsonl")) == rows


def test_ptx_without_demonstrations_is_refused_when_it_is_planned(project):
    make_checkpoint(project, name="policy")
    make_checkpoint(project, name="reward", kind="reward")
    prompts = freeze_rows(
        project, kind="prompt", name="p", train=[{"prompt_id": "1", "prompt": []}], test=[], rule={"n": 1}
    )

    with pytest.raises(NotReady, match="ptx_coef needs demonstrations"):
        plan_run(project, PPOConfig(ptx_coef=0.1), dataset=prompts)
    with pytest.raises(NotReady, match=f"ptx_dataset={prompts.pk} is no frozen dataset of demonstrations or texts"):
        plan_run(project, PPOConfig(ptx_coef=0.1, ptx_dataset=prompts.pk), dataset=prompts)


@pytest.fixture
def measured(project):
    """Twelve prompts, of which a frozen dataset of judgments is tested on two, and on one that opens as a third does."""
    make_checkpoint(project, name="reward", kind="reward")
    prompts = [
        add_prompt(project, [message(f"How deep is basin {number}?")], group=f"g{number}") for number in range(12)
    ]
    sides = {"chosen": [message("deep", "assistant")], "rejected": [message("flat", "assistant")]}
    tested = [{"prompt": prompt.messages, "group": prompt.group, **sides} for prompt in prompts[:2]]
    tested.append({"prompt": [*prompts[2].messages, message("deep", "assistant"), message("Are you sure?")], **sides})
    freeze_rows(project, kind="preference", name="d", train=tested, test=tested, rule={})
    return prompts


@pytest.mark.parametrize("config", [PPOConfig(), GRPOConfig()])
def test_a_run_by_hand_learns_no_prompt_that_policies_are_measured_on(project, measured, config):
    make_checkpoint(project, name="policy")

    run = plan_run(project, config)

    assert list_prompts(run.dataset) == {prompt.pk for prompt in measured[3:]}


def test_samples_by_hand_are_of_prompts_the_policy_was_not_rewarded_on(project, measured):
    rewarded = plan_run(
        project, PPOConfig(), base=make_checkpoint(project), dataset=freeze_prompts(measured[4:], name="p")
    )
    Run.objects.filter(pk=rewarded.pk).update(state="running", attempt=1, lease_until=timezone.now())
    rewarded.refresh_from_db()
    policy = make_checkpoint(project, run=rewarded)
    Loop.objects.create(project=project, n_pairs=4)

    run = plan_run(project, SampleConfig(), base=policy)

    assert list_prompts(run.dataset) == {prompt.pk for prompt in measured[:4]}
