"""Every method of training: whoever takes a run up again, and however it was interrupted, ends with the same bytes."""

import os
import random
import re
import shutil
import signal
from pathlib import Path

import pytest
import torch

from benchmarks.kills import torment
from rlhf.contract.run_dir import CHECKPOINTS, EXIT_DONE, EXIT_FAILED, EXIT_HANDED_BACK, read_result
from rlhf.domain.launching import LearningProcess, LearningServer
from rlhf.learning import reporting
from rlhf.learning.door import execute_run
from tests.rlhf.learning.tiny_runs import SETTINGS, TinyModels, hash_final, prepare_tiny_run

CAUSE = (
    r"non-finite grad_norm at step 2 \(rows \d+(, \d+)* of those learned from, counted from 0\); "
    r"lower learning_rate or max_grad_norm, or look at this step's rows"
)
IN_ROLLOUTS = ("ppo", "grpo", "rloo")
SHORT = {
    kind: {"rollouts": 3, "save_rollouts": 1} if kind in IN_ROLLOUTS else {"max_steps": 7, "save_steps": 3}
    for kind in SETTINGS
}


@pytest.fixture(autouse=True)
def stop_signal():
    before = signal.getsignal(signal.SIGTERM)
    yield
    reporting.install_stop_signal()
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module", params=SETTINGS)
def whole(request: pytest.FixtureRequest, models: TinyModels, tmp_path_factory: pytest.TempPathFactory):
    """The kind and the folder of a run that nothing happened to."""
    run_dir = tmp_path_factory.mktemp(f"whole-{request.param}")
    prepare_tiny_run(request.param, run_dir, models, **SHORT[request.param])
    assert execute_run(run_dir) == EXIT_DONE
    return request.param, run_dir


def test_a_run_taken_up_at_a_checkpoint_ends_with_the_same_bytes_and_figures(whole, models, tmp_path: Path):
    kind, undisturbed = whole
    prepare_tiny_run(kind, tmp_path, models, **SHORT[kind])
    oldest = min((undisturbed / CHECKPOINTS).glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    shutil.copytree(oldest, tmp_path / CHECKPOINTS / oldest.name)

    code = execute_run(tmp_path)

    assert code == EXIT_DONE
    assert hash_final(tmp_path) == hash_final(undisturbed) != {}
    assert read_result(tmp_path)["metrics"] == read_result(undisturbed)["metrics"]


def test_a_run_told_to_stop_hands_itself_back_and_goes_on_to_the_same_bytes(
    whole, models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kind, undisturbed = whole
    prepare_tiny_run(kind, tmp_path, models, **SHORT[kind])
    steps = []

    def stop_in_the_middle(self, step: int) -> None:
        steps.append(step)
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(reporting.Reporter, "step", stop_in_the_middle)
        first = execute_run(tmp_path)
    second = execute_run(tmp_path)

    assert (first, second) == (EXIT_HANDED_BACK, EXIT_DONE)
    assert hash_final(tmp_path) == hash_final(undisturbed)


def test_a_run_on_weights_that_are_no_numbers_names_step_and_rows_and_publishes_nothing(
    whole, models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kind, _ = whole
    late = {"grpo": {"micro_batches": 1}, "rloo": {"micro_batches": 1}, "ppo": {}}
    late = late.get(kind, {"logging_steps": 5, "micro_batch_tokens": 0})
    prepare_tiny_run(kind, tmp_path, models, **SHORT[kind], **late)
    backward = torch.Tensor.backward
    n_calls = []

    def diverge(self, *args, **kwargs) -> None:
        n_calls.append(1)
        backward(self * float("nan") if len(n_calls) == 2 else self, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "backward", diverge)

    code = execute_run(tmp_path)

    assert code == EXIT_FAILED
    assert re.fullmatch(CAUSE, read_result(tmp_path)["cause"])
    assert list((tmp_path / CHECKPOINTS).iterdir()) == []


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["dpo", "kto", "ppo", "rloo", "sft-lora", "reward-words", "ppo-one-base"])
def test_a_run_killed_three_times_ends_with_the_undisturbed_weights(
    kind: str, server: LearningServer, models, tmp_path: Path
):
    def launch(run_dir: Path) -> LearningProcess:
        return server.launch(run_dir, is_unwanted=lambda: False)

    ledger = torment(kind, tmp_path, models, launch, n_kills=3, draw=random.Random(0))

    assert ledger.is_sound
    assert ledger.fell.total() == 3
