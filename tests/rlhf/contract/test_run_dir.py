from __future__ import annotations

import pytest

from rlhf.contract import run_dir as seam
from rlhf.contract.errors import ContractError, CorruptError
from rlhf.contract.kinds.dpo import DPOConfig


def test_a_sealed_folder_verifies_until_a_byte_changes(tmp_path):
    folder = tmp_path / "final"
    with seam.sealed_folder(folder) as part:
        (part / "weights").write_bytes(b"abc")
    manifest_sha256 = seam.verify_sealed(folder)

    (folder / "weights").write_bytes(b"abd")

    assert len(manifest_sha256) == 64
    with pytest.raises(CorruptError, match="weights is missing or differs from its manifest"):
        seam.verify_sealed(folder)


def test_an_error_while_writing_leaves_nothing_behind(tmp_path):
    folder = tmp_path / "checkpoint-5"

    with pytest.raises(MemoryError), seam.sealed_folder(folder) as part:
        (part / "weights").write_bytes(b"half")
        raise MemoryError

    assert list(tmp_path.iterdir()) == []


def test_the_newest_whole_checkpoint_is_found_past_a_broken_one(tmp_path):
    for step in (5, 10, 100):
        with seam.sealed_folder(tmp_path / seam.CHECKPOINTS / f"checkpoint-{step}") as part:
            (part / "weights").write_bytes(b"abc")
    (tmp_path / seam.CHECKPOINTS / "checkpoint-100" / "weights").write_bytes(b"")

    newest = seam.newest_checkpoint(tmp_path)

    assert newest == tmp_path / seam.CHECKPOINTS / "checkpoint-10"


def test_metrics_are_read_line_by_line_and_a_half_line_waits(tmp_path):
    seam.append_metrics(tmp_path, 1, {"loss": 0.5})
    with (tmp_path / seam.METRICS).open("a") as file:
        file.write('{"step": 2, "val')
    first, offset = seam.tail_metrics(tmp_path, 0)
    with (tmp_path / seam.METRICS).open("a") as file:
        file.write('ues": {"loss": 0.25}}\n')

    second, _ = seam.tail_metrics(tmp_path, offset)

    assert first == [{"step": 1, "values": {"loss": 0.5}}]
    assert second == [{"step": 2, "values": {"loss": 0.25}}]


def test_a_run_without_its_data_says_what_is_missing(tmp_path):
    seam.prepare_run_dir(tmp_path, DPOConfig())

    with pytest.raises(ContractError, match=r"lacks train\.jsonl, test\.jsonl, which a dpo run needs"):
        seam.read_config(tmp_path)


def test_preparing_again_forgets_the_old_result_and_keeps_the_checkpoints(tmp_path):
    seam.prepare_run_dir(tmp_path, DPOConfig())
    seam.write_result(tmp_path, succeeded=False, cause="out of memory")
    (tmp_path / seam.CHECKPOINTS / "checkpoint-1").mkdir()

    seam.prepare_run_dir(tmp_path, DPOConfig())

    assert seam.read_result(tmp_path) is None
    assert (tmp_path / seam.CHECKPOINTS / "checkpoint-1").exists()
