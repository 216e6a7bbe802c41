"""The run directory: its names, atomic writes, sealed folders, and how metrics travel.

    config.json  data/  preview.json  metrics.jsonl  progress.json  checkpoints/checkpoint-N/  checkpoints/final/
    samples.jsonl  scores.jsonl  feedback.jsonl  hits.jsonl  result.json  learning.log

The worker writes config.json and data/, the learning process everything else.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlhf.contract.config import load_config
from rlhf.contract.errors import ContractError, CorruptError
from rlhf.contract.settings import RunConfig

CONFIG = "config.json"
DATA = "data"
ALLOWED_REWARDS = "rewards.json"  # of the host, in data/: reward functions by name
PROPENSITIES = "propensities.jsonl"  # in data/: {line, propensity} of the lines of test.jsonl that chance picked
PTX = "ptx.jsonl"  # in data/: what PPO learns to write besides
METRICS = "metrics.jsonl"
ALARMS = "alarms.jsonl"  # signs of over-optimization: step, name, words
PROGRESS = "progress.json"
CHECKPOINTS = "checkpoints"
FINAL = "final"
SAMPLES = "samples.jsonl"
SCORES = "scores.jsonl"
PREVIEW = "preview.json"
FEEDBACK = "feedback.jsonl"
HITS = "hits.jsonl"  # of a reward model: {line, hit} of data/test.jsonl, lines from 1, ties left out
RESULT = "result.json"
USAGE = "usage"  # in result.json: what the run took
LOG = "learning.log"
MANIFEST = "manifest.json"

EXIT_DONE = 0
EXIT_FAILED = 1
# The process stopped on SIGTERM after saving what it could; the run may be taken up again (BSD's EX_TEMPFAIL).
EXIT_HANDED_BACK = 75


def prepare_run_dir(run_dir: Path, config: RunConfig) -> None:
    """Make the folders of a run and write its config.json. Existing checkpoints stay: a resumed run finds them."""
    (run_dir / DATA).mkdir(parents=True, exist_ok=True)
    (run_dir / CHECKPOINTS).mkdir(exist_ok=True)
    (run_dir / RESULT).unlink(missing_ok=True)
    write_atomic(run_dir / CONFIG, config.to_json())


def read_config(run_dir: Path) -> RunConfig:
    """Return the run's configuration. Raises: ConfigError; ContractError when a data file it needs is missing."""
    config = load_config((run_dir / CONFIG).read_text("utf-8"))
    missing = [name for name in config.needs if not (run_dir / DATA / name).exists()]
    if missing:
        raise ContractError(f"{run_dir / DATA} lacks {', '.join(missing)}, which a {config.kind} run needs")
    return config


def write_atomic(path: Path, text: str) -> None:
    """Replace a file's content so that a reader sees the old text or the new one, never half, also after a power cut."""
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    fsync_folder(path.parent)


def write_progress(run_dir: Path, *, stage: str, step: int, total_steps: int, eta_s: float | None) -> None:
    """Tell the reader how far the run is. stage: a short phrase for people; eta_s: seconds left, None if unknown."""
    part = run_dir / f".{PROGRESS}.part"
    part.write_text(json.dumps({"stage": stage, "step": step, "total_steps": total_steps, "eta_s": eta_s}), "utf-8")
    os.replace(part, run_dir / PROGRESS)  # no fsync: it is a hint, and it is written often


def read_progress(run_dir: Path) -> dict[str, Any] | None:
    """Return the last progress written, or None before the first."""
    try:
        progress: dict[str, Any] = json.loads((run_dir / PROGRESS).read_text("utf-8"))
    except FileNotFoundError:
        return None
    return progress


def read_preview(run_dir: Path) -> dict[str, Any] | None:
    """Return the tokens of the first rows as the run learns from them, None where it has none.

    {note, counts, rows: [{name, n_tokens, n_learned, tokens: [[text, id, is_learned]]}]}
    """
    try:
        preview: dict[str, Any] = json.loads((run_dir / PREVIEW).read_text("utf-8"))
    except FileNotFoundError:
        return None
    return preview


def append_metrics(run_dir: Path, step: int, values: dict[str, float]) -> None:
    """Append one line of metrics. values: TRL's keys to plain numbers."""
    line = json.dumps({"step": step, "values": values}) + "\n"
    with (run_dir / METRICS).open("a", encoding="utf-8") as file:
        file.write(line)


def tail_metrics(run_dir: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """Return the whole lines after byte `offset` and the offset to ask from next; a half-written line waits."""
    try:
        with (run_dir / METRICS).open("rb") as file:
            file.seek(offset)
            block = file.read()
    except FileNotFoundError:
        return [], offset
    end = block.rfind(b"\n") + 1
    return [json.loads(line) for line in block[:end].splitlines()], offset + end


def append_alarm(run_dir: Path, step: int, name: str, words: str) -> None:
    """Append a sign of over-optimization. name: what it is known by, told once a run. words: a sentence for people."""
    with (run_dir / ALARMS).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, "name": name, "words": words}, ensure_ascii=False) + "\n")


def read_alarms(run_dir: Path) -> list[dict[str, Any]]:
    """Return the signs told so far, oldest first; a half-written line waits."""
    try:
        text = (run_dir / ALARMS).read_text("utf-8")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def write_result(
    run_dir: Path,
    *,
    succeeded: bool,
    metrics: dict[str, Any] | None = None,
    cause: str = "",
    usage: dict[str, Any] | None = None,
) -> None:
    """Write the run's last word.

    Args:
        cause: why it failed, for people; empty when it succeeded.
        usage: what this attempt took: seconds, peak_memory_bytes, and of which host.
    """
    result = {"succeeded": succeeded, "metrics": metrics or {}, "cause": cause, "usage": usage or {}}
    write_atomic(run_dir / RESULT, json.dumps(result, ensure_ascii=False, indent=1))


def read_result(run_dir: Path) -> dict[str, Any] | None:
    """Return {succeeded, metrics, cause, usage}, or None while there is none."""
    try:
        result: dict[str, Any] = json.loads((run_dir / RESULT).read_text("utf-8"))
    except FileNotFoundError:
        return None
    return result


@contextmanager
def sealed_folder(folder: Path) -> Iterator[Path]:
    """Yield a hidden sibling to write into; on success it is fsynced, given a manifest and renamed to `folder`.

    An error inside removes the sibling, a crash leaves it to the next call: `folder` is whole or absent.
    """
    part = folder_aside(folder)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        seal_folder(part)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)  # on a full disk, what it held is what the run's last word needs
        raise
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(part, folder)
    fsync_folder(folder.parent)


def folder_aside(folder: Path) -> Path:
    """Return where `sealed_folder` has a folder written before it is whole."""
    return folder.with_name(f".{folder.name}.part")


def seal_folder(folder: Path) -> str:
    """Write manifest.json over every file of the folder, all fsynced, and return the manifest's sha256."""
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST):
        files[path.relative_to(folder).as_posix()] = {"sha256": hash_file(path), "size": path.stat().st_size}
        with path.open("rb") as file:
            os.fsync(file.fileno())
    write_atomic(folder / MANIFEST, json.dumps({"files": files}, indent=1, sort_keys=True))
    return hash_file(folder / MANIFEST)


def verify_sealed(folder: Path) -> str:
    """Return the manifest's sha256 after checking every file against it. Raises: CorruptError."""
    try:
        files = json.loads((folder / MANIFEST).read_text("utf-8"))["files"]
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise CorruptError(f"{folder} has no readable {MANIFEST}") from error
    for name, facts in files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != facts["size"] or hash_file(path) != facts["sha256"]:
            raise CorruptError(f"{path} is missing or differs from its manifest")
    return hash_file(folder / MANIFEST)


def newest_checkpoint(run_dir: Path) -> Path | None:
    """Return the sealed checkpoint-N with the highest N, or None; unsealed and corrupt ones are passed over."""
    found = [path for path in (run_dir / CHECKPOINTS).glob("checkpoint-*") if path.name.split("-")[1].isdigit()]
    for path in sorted(found, key=lambda path: int(path.name.split("-")[1]), reverse=True):
        try:
            verify_sealed(path)
        except CorruptError:
            continue
        return path
    return None


def hash_file(path: Path) -> str:
    """Return the sha256 hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync_folder(folder: Path) -> None:
    """Make renames inside the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
