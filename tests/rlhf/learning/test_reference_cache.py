import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rlhf.contract.kinds.dpo import DPOConfig
from rlhf.contract.run_dir import prepare_run_dir, tail_metrics
from rlhf.learning import dpo
from rlhf.learning.models import load_policy
from rlhf.learning.reference_cache import KEPT_FILES, hash_question, read_logps, reference_logps, write_logps
from tests.rlhf.learning.conftest import write_pairs

PROMPTS, COMPLETIONS = [[1, 7, 8], [1, 9]], [[10, 11], [12, 13, 2]]


def ask(run_dir: Path, folder: Path, prompts=PROMPTS, completions=COMPLETIONS) -> torch.Tensor:
    return reference_logps(run_dir, folder, load_policy(folder), prompts, completions, pad_id=0, dtype=torch.float32)


def kept(home: Path) -> list[Path]:
    return list((home / "cache" / "reference-logps").glob("*.safetensors"))


def run(folder: Path, base_model: Path, **changes) -> float:
    """Train and return the rewards of chosen completions at the first step: 0 where policy and reference are one."""
    config = DPOConfig(
        base_model=str(base_model), batch_size=8, max_steps=1, logging_steps=1, dtype="float32", **changes
    )
    prepare_run_dir(folder, config)
    write_pairs(folder, n_train=8, n_test=4)
    dpo.train(config, folder)
    return tail_metrics(folder, 0)[0][0]["values"]["rewards/chosen"]


def test_a_repeated_run_reads_what_the_first_was_told(tiny_policy: Path, tmp_path: Path):
    assert run(tmp_path / "first", tiny_policy) == pytest.approx(0.0, abs=1e-5)
    (file,) = kept(tmp_path / "home")
    save_file({"logps": load_file(file)["logps"] - 1.0}, file)

    assert run(tmp_path / "second", tiny_policy, beta=0.5) == pytest.approx(0.5, abs=1e-5)
    assert len(kept(tmp_path / "home")) == 1


def test_other_rows_and_other_models_are_asked_for_anew(tiny_policy: Path, tmp_path: Path):
    other = tmp_path / "other"
    policy = load_policy(tiny_policy)
    with torch.no_grad():
        policy.lm_head.weight.mul_(2)
    policy.save_pretrained(other)

    first = ask(tmp_path, tiny_policy)
    answers = [ask(tmp_path, other), ask(tmp_path, tiny_policy, completions=[[10, 11], [12, 13, 14]])]

    assert all(not torch.equal(answer, first) for answer in answers)
    assert len(kept(tmp_path / "home")) == 3
    assert torch.equal(ask(tmp_path, tiny_policy), first)


def test_where_a_prompt_ends_is_part_of_the_question(tiny_policy: Path):
    early = hash_question(tiny_policy, [[1]], [[2, 3]], facts=[])

    assert early != hash_question(tiny_policy, [[1, 2]], [[3]], facts=[])


def test_a_torn_file_is_asked_for_anew(tiny_policy: Path, tmp_path: Path):
    first = ask(tmp_path, tiny_policy)
    (file,) = kept(tmp_path / "home")
    file.write_bytes(file.read_bytes()[:-3])

    assert read_logps(file, 2) is None
    assert torch.equal(ask(tmp_path, tiny_policy), first)
    assert torch.equal(read_logps(file, 2), first)


def test_without_a_house_the_run_keeps_it(tiny_policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "run").mkdir()

    with monkeypatch.context() as surroundings:
        surroundings.delenv("PREFLOOP_HOME")
        ask(tmp_path / "run", tiny_policy)

    assert len(list((tmp_path / "run" / "reference-logps").glob("*.safetensors"))) == 1


def test_the_oldest_answers_are_forgotten(tmp_path: Path):
    for number in range(KEPT_FILES + 2):
        write_logps(tmp_path / f"{number}.safetensors", torch.zeros(1))
        os.utime(tmp_path / f"{number}.safetensors", ns=(number, number))
    write_logps(tmp_path / "last.safetensors", torch.zeros(1))

    left = {path.stem for path in tmp_path.iterdir()}
    assert left == {"last", *(str(number) for number in range(3, KEPT_FILES + 2))}
