import math
import os
import signal
from pathlib import Path

import pytest

from rlhf.contract.run_dir import read_progress, tail_metrics
from rlhf.learning.reporting import Reporter, install_stop_signal, stop_requested
from rlhf.learning.stops import NonFiniteError


@pytest.fixture
def stop_signal():
    """Install the door's handler for one test and put the old one back."""
    before = signal.getsignal(signal.SIGTERM)
    install_stop_signal()
    yield
    install_stop_signal()
    signal.signal(signal.SIGTERM, before)


def test_the_stage_is_told_before_the_first_step(tmp_path: Path):
    Reporter(tmp_path, stage="training", total_steps=10, first_step=4)

    assert read_progress(tmp_path) == {"stage": "training", "step": 4, "total_steps": 10, "eta_s": None}


def test_the_estimate_leaves_out_the_steps_of_an_earlier_attempt(tmp_path: Path):
    reporter = Reporter(tmp_path, stage="training", total_steps=100, first_step=90)
    reporter._started_s -= 10.0

    reporter.step(95)

    progress = read_progress(tmp_path)
    assert progress["eta_s"] == pytest.approx(10.0, abs=0.2)


def test_steps_are_written_rarely_but_the_last_one_always(tmp_path: Path):
    reporter = Reporter(tmp_path, stage="training", total_steps=3)
    seen = []
    for step in (1, 2, 3):
        reporter.step(step)
        seen.append(read_progress(tmp_path)["step"])

    assert seen == [1, 1, 3]


@pytest.mark.parametrize("name", ["loss", "grad_norm", "loss/policy_avg"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_diverged_loss_ends_the_run_and_names_the_step(name: str, value: float, tmp_path: Path):
    reporter = Reporter(tmp_path, stage="training", total_steps=3)

    with pytest.raises(NonFiniteError, match=f"non-finite {name} at step 2; lower learning_rate"):
        reporter.log(2, {name: value})

    assert tail_metrics(tmp_path, 0)[0] == []


def test_another_value_that_is_not_finite_is_left_out(tmp_path: Path):
    Reporter(tmp_path, stage="training", total_steps=3).log(1, {"loss": 0.5, "val/ratio": math.nan})

    assert tail_metrics(tmp_path, 0)[0] == [{"step": 1, "values": {"loss": 0.5}}]


@pytest.mark.usefixtures("stop_signal")
def test_sigterm_is_a_request():
    before = stop_requested()

    os.kill(os.getpid(), signal.SIGTERM)

    assert (before, stop_requested()) == (False, True)
