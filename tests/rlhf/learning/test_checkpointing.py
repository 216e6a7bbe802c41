import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from rlhf.contract.kinds.reward import RewardConfig
from rlhf.contract.run_dir import newest_checkpoint, prepare_run_dir, verify_sealed
from rlhf.learning import checkpointing, reward_model
from rlhf.learning.models import load_policy
from rlhf.learning.reporting import HandedBack, install_stop_signal
from rlhf.learning.stops import NonFiniteError
from tests.rlhf.learning.conftest import write_pairs

# 40 rows in batches of 8: the runs of 12 steps below see two whole epochs and a part of a third.
SETTINGS = {"batch_size": 8, "max_steps": 12, "save_steps": 4, "logging_steps": 2, "learning_rate": 1e-3}


class AtStep(TrainerCallback):
    """Does something to the process or the model once a step is over."""

    def __init__(self, step: int, action) -> None:
        self.step = step
        self.action = action

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step == self.step:
            self.action(model)


def ask_to_stop(model) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def die(model) -> None:
    raise KeyboardInterrupt


def spoil(model) -> None:
    model.score.weight.data[0, 0] = float("nan")


@pytest.fixture(autouse=True)
def stop_signal():
    """Install the door's handler for one test and put the old one back."""
    before = signal.getsignal(signal.SIGTERM)
    install_stop_signal()
    yield
    install_stop_signal()
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def expected(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The weights of the run that nothing happened to."""
    run_dir = tmp_path_factory.mktemp("whole")
    config = RewardConfig(base_model=str(tiny_policy), **SETTINGS)
    prepare_run_dir(run_dir, config)
    write_pairs(run_dir, n_train=40, n_test=4)
    reward_model.train(config, run_dir)
    return load_file(run_dir / "checkpoints" / "final" / "model.safetensors")


@pytest.fixture
def run_reward(tiny_policy: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that does a reward run, with something happening after a step."""
    config = RewardConfig(base_model=str(tiny_policy), **SETTINGS)
    train_sealed = checkpointing.train_sealed

    def run(run_dir: Path, happening: AtStep | None = None) -> dict[str, torch.Tensor]:
        def train_with_happening(trainer, report):
            if happening:
                trainer.add_callback(happening)
            train_sealed(trainer, report)

        install_stop_signal()
        prepare_run_dir(run_dir, config)
        write_pairs(run_dir, n_train=40, n_test=4)
        monkeypatch.setattr(reward_model, "train_sealed", train_with_happening)
        reward_model.train(config, run_dir)
        return load_file(run_dir / "checkpoints" / "final" / "model.safetensors")

    return run


def assert_same_weights(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


@pytest.mark.parametrize("step", [3, 11])
def test_a_run_handed_back_goes_on_to_the_same_weights(step: int, expected, run_reward, tmp_path: Path):
    with pytest.raises(HandedBack, match=f"stopped at step {step} of 12, checkpoint saved"):
        run_reward(tmp_path / "stopped", AtStep(step, ask_to_stop))
    found = run_reward(tmp_path / "stopped")

    assert_same_weights(found, expected)


def test_a_killed_run_goes_on_from_its_last_checkpoint_to_the_same_weights(expected, run_reward, tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        run_reward(tmp_path / "killed", AtStep(10, die))
    checkpoint = newest_checkpoint(tmp_path / "killed")

    found = run_reward(tmp_path / "killed")

    assert checkpoint.name == "checkpoint-8"
    assert_same_weights(found, expected)


def test_a_corrupt_checkpoint_is_passed_over(expected, run_reward, tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        run_reward(tmp_path / "killed", AtStep(10, die))
    weights = tmp_path / "killed" / "checkpoints" / "checkpoint-8" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")

    found = run_reward(tmp_path / "killed")

    assert_same_weights(found, expected)


def test_a_stop_asked_for_at_the_last_step_changes_nothing(expected, run_reward, tmp_path: Path):
    assert_same_weights(run_reward(tmp_path / "late", AtStep(12, ask_to_stop)), expected)


def test_the_two_newest_checkpoints_are_kept_sealed_and_without_pickled_code(run_reward, tmp_path: Path):
    run_reward(tmp_path)

    folders = sorted((tmp_path / "checkpoints").iterdir())
    files = {path.name for path in (tmp_path / "checkpoints" / "checkpoint-12").iterdir()}
    assert [folder.name for folder in folders] == ["checkpoint-12", "checkpoint-8", "final"]
    assert all(verify_sealed(folder) for folder in folders)
    assert {name for name in files if name.endswith((".bin", ".pt", ".pth"))} == {
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
    }
    for name in ("optimizer.pt", "scheduler.pt"):
        torch.load(tmp_path / "checkpoints" / "checkpoint-12" / name, weights_only=True)


def test_weights_that_are_no_numbers_are_never_saved(run_reward, tmp_path: Path):
    with pytest.raises(NonFiniteError, match="step 8"):
        run_reward(tmp_path, AtStep(7, spoil))

    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["checkpoint-4"]


def test_a_save_that_fails_leaves_the_last_checkpoint(run_reward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def run_out_of_space(folder: Path) -> str:
        raise OSError(28, "No space left on device")

    def fill_the_disk(model) -> None:
        monkeypatch.setattr("rlhf.contract.run_dir.seal_folder", run_out_of_space)

    with pytest.raises(OSError, match="No space left"):
        run_reward(tmp_path, AtStep(7, fill_the_disk))

    assert newest_checkpoint(tmp_path).name == "checkpoint-4"
    assert not (tmp_path / "checkpoints" / "checkpoint-8").exists()


def test_a_published_model_is_a_model_folder(tiny_policy: Path, run_reward, tmp_path: Path):
    run_reward(tmp_path)

    final = tmp_path / "checkpoints" / "final"
    trunk, start = load_policy(final).model.state_dict(), load_policy(tiny_policy).model.state_dict()
    assert any(not torch.equal(trunk[name], start[name]) for name in start)
    assert {path.name for path in final.iterdir()} >= {"model.safetensors", "tokenizer.json", "chat_template.jinja"}
