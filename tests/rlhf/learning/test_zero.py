"""DeepSpeed's ZeRO in two processes on the CPU: what is learned and published is what one process makes.

DeepSpeed is no package of ours: `pip install deepspeed`, then `DS_ACCELERATOR=cpu pytest tests/rlhf/learning/test_zero.py`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rlhf.contract.run_dir import EXIT_DONE, verify_sealed
from tests.rlhf.learning.test_sharding import execute_run, prepare, read_losses, require_same_weights
from tests.rlhf.learning.two_processes import run_in_two

pytest.importorskip("deepspeed", reason="DeepSpeed is not installed: pip install deepspeed")
pytestmark = pytest.mark.skipif(
    os.environ.get("DS_ACCELERATOR") != "cpu", reason="DeepSpeed takes a GPU unless DS_ACCELERATOR=cpu says otherwise"
)

RUNS = {"1": ("reward", "dpo", "kto", "reward-lora"), "2": ("reward", "dpo", "kto")}


@pytest.mark.parametrize("stage", RUNS)
def test_optimizers_in_pieces_learn_and_publish_what_one_process_does(stage: str, tiny_policy: Path, tmp_path: Path):
    alone, pieces = tmp_path / "alone", tmp_path / "pieces"
    for name in RUNS[stage]:
        prepare(alone / name, tiny_policy)
        prepare(pieces / name, tiny_policy)
        assert execute_run(alone / name) == EXIT_DONE

    run_in_two(*(pieces / name for name in RUNS[stage]), way=["--use_deepspeed", "--zero_stage", stage])

    for name in RUNS[stage]:
        assert (pieces / name / "checkpoints" / "checkpoint-2" / "global_step2").is_dir(), "DeepSpeed wrote it"
        assert read_losses(pieces / name) == pytest.approx(read_losses(alone / name), abs=1e-5)
        final = Path("checkpoints") / "final"
        verify_sealed(pieces / name / final)
        require_same_weights(*(home / name / final / "model.safetensors" for home in (pieces, alone)))
