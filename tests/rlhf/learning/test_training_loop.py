import math
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rlhf.contract.kinds.sft import SFTConfig
from rlhf.contract.run_dir import CHECKPOINTS, newest_checkpoint, prepare_run_dir, tail_metrics
from rlhf.learning.models import load_policy, load_tokenizer
from rlhf.learning.reporting import HandedBack, install_stop_signal
from rlhf.learning.stops import NonFiniteError
from rlhf.learning.training_loop import TrainingLoop, list_checkpoints, rate_factor


def build_loop(tiny_policy: Path, run_dir: Path, *, n_steps: int = 6, **settings) -> TrainingLoop:
    config = SFTConfig(**{"logging_steps": 2, "save_steps": 2, "warmup_ratio": 0.0, **settings})
    prepare_run_dir(run_dir, config)
    torch.manual_seed(0)
    checkpoint = newest_checkpoint(run_dir)
    model = load_policy(checkpoint or tiny_policy, device=torch.device("cpu"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    loop = TrainingLoop(
        config,
        run_dir,
        stage="testing",
        model=model,
        tokenizer=load_tokenizer(tiny_policy),
        optimizers=[optimizer],
        n_steps=n_steps,
    )
    if checkpoint:
        loop.resume(checkpoint)
    return loop


def loss_of(loop: TrainingLoop, step: int) -> torch.Tensor:
    """Return a loss whose batch depends on the step, and which draws random numbers, as dropout would."""
    ids = torch.arange(10 + step, 30 + step)[None]
    logits = loop.model(ids).logits[0, :-1]
    return torch.nn.functional.cross_entropy(logits + 0.01 * torch.randn_like(logits), ids[0, 1:])


def run_to_the_end(loop: TrainingLoop) -> dict[str, torch.Tensor]:
    loop.run(lambda step: [loss_of(loop, step)])
    return loop.model.state_dict()


@pytest.fixture
def stop_signal():
    """Install the door's handler for one test and put the old one back."""
    before = signal.getsignal(signal.SIGTERM)
    install_stop_signal()
    yield
    install_stop_signal()
    signal.signal(signal.SIGTERM, before)


def test_a_killed_run_resumes_to_the_same_weights(tiny_policy: Path, tmp_path: Path):
    expected = run_to_the_end(build_loop(tiny_policy, tmp_path / "whole"))
    killed = build_loop(tiny_policy, tmp_path / "killed")

    def lose_power(step: int) -> list[torch.Tensor]:
        if step == 5:
            raise KeyboardInterrupt
        return [loss_of(killed, step)]

    with pytest.raises(KeyboardInterrupt):
        killed.run(lose_power)
    resumed = build_loop(tiny_policy, tmp_path / "killed")

    assert resumed.finished_steps == 4
    assert all(torch.equal(expected[name], tensor) for name, tensor in run_to_the_end(resumed).items())


def test_a_stopped_run_saves_where_it_is_and_resumes_to_the_same_weights(
    tiny_policy: Path, tmp_path: Path, stop_signal
):
    expected = run_to_the_end(build_loop(tiny_policy, tmp_path / "whole"))
    stopped = build_loop(tiny_policy, tmp_path / "stopped")

    def be_stopped(step: int) -> list[torch.Tensor]:
        if step == 2:
            signal.raise_signal(signal.SIGTERM)
        return [loss_of(stopped, step)]

    with pytest.raises(HandedBack, match="stopped at step 3 of 6"):
        stopped.run(be_stopped)
    install_stop_signal()
    resumed = build_loop(tiny_policy, tmp_path / "stopped")

    assert resumed.finished_steps == 3
    assert all(torch.equal(expected[name], tensor) for name, tensor in run_to_the_end(resumed).items())


def test_the_first_step_that_is_not_a_number_is_named_and_nothing_of_it_is_saved(tiny_policy: Path, tmp_path: Path):
    loop = build_loop(tiny_policy, tmp_path, logging_steps=4, save_steps=4)

    with pytest.raises(NonFiniteError, match="at step 3"):
        loop.run(lambda step: [loss_of(loop, step) * (math.nan if step == 2 else 1)])

    assert list_checkpoints(tmp_path) == []


def test_only_the_two_newest_checkpoints_are_kept(tiny_policy: Path, tmp_path: Path):
    run_to_the_end(build_loop(tiny_policy, tmp_path, n_steps=9))

    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-6", "checkpoint-8"]


def test_logs_are_means_since_the_log_before(tiny_policy: Path, tmp_path: Path):
    loop = build_loop(tiny_policy, tmp_path, logging_steps=2, max_grad_norm=1e-9)
    losses: list[float] = []

    def note_loss(step: int) -> Iterator[torch.Tensor]:
        losses.append(0.0)
        for part in range(2):
            loss = loss_of(loop, step + part)
            losses[-1] += loss.item()
            yield loss

    loop.run(note_loss)

    logged, _ = tail_metrics(tmp_path, 0)
    assert [line["step"] for line in logged] == [2, 4, 6]
    expected = [sum(losses[number : number + 2]) / 2 for number in (0, 2, 4)]
    assert [line["values"]["loss"] for line in logged] == pytest.approx(expected)


def test_the_final_model_is_one_that_loads(tiny_policy: Path, tmp_path: Path):
    loop = build_loop(tiny_policy, tmp_path)
    trained = run_to_the_end(loop)

    loop.save_final()

    final = tmp_path / CHECKPOINTS / "final"
    loaded = load_policy(final).state_dict()
    assert all(torch.equal(trained[name], loaded[name]) for name in trained)
    assert load_tokenizer(final).chat_template == load_tokenizer(tiny_policy).chat_template


def test_the_rate_rises_holds_and_falls():
    factors = [rate_factor(step, 10, warmup_ratio=0.2, hold_ratio=0.3) for step in range(10)]

    assert factors == pytest.approx([0.5, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])


def test_without_warmup_or_hold_the_rate_falls_from_the_start():
    assert [rate_factor(step, 4, warmup_ratio=0, hold_ratio=0) for step in range(4)] == [1, 0.75, 0.5, 0.25]
