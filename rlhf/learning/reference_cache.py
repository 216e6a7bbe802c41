"""What the reference says of a dataset, asked once: kept on disk for resumed and repeated runs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rlhf.contract.run_dir import MANIFEST, fsync_folder, hash_file
from rlhf.learning.pair_logps import sequence_logps
from rlhf.learning.processes import is_first_process
from rlhf.learning.reporting import Reporter

CACHE = "reference-logps"
KEPT_FILES = 50


def reference_logps(
    run_dir: Path,
    reference: str | Path,
    model: Any,
    prompts: Sequence[list[int]],
    completions: Sequence[list[int]],
    *,
    pad_id: int,
    dtype: torch.dtype,
) -> Tensor:
    """Return log ref(y|x) of each completion: (n,) fp32, nats; from disk when the same was asked before.

    Args: reference: the model's folder. model: it, loaded. The rest as of `sequence_logps`.
    Raises: HandedBack, when asked to stop before all are done; nothing is kept then.
    """
    key = hash_question(reference, prompts, completions, facts=[str(dtype), model.device.type])
    path = cache_folder(run_dir) / f"{key}.safetensors"
    found = read_logps(path, len(prompts))
    if found is not None:
        return found
    reporter = Reporter(run_dir, stage="asking the reference", total_steps=len(prompts))
    logps = sequence_logps(model, prompts, completions, pad_id=pad_id, dtype=dtype, reporter=reporter)
    if is_first_process():
        write_logps(path, logps)
    return logps


def cache_folder(run_dir: Path) -> Path:
    """Return where answers are kept: of the house, for all its runs; of the run alone where there is no house."""
    home = os.environ.get("PREFLOOP_HOME")
    return (Path(home) / "cache" if home else run_dir) / CACHE


def hash_question(
    reference: str | Path, prompts: Sequence[list[int]], completions: Sequence[list[int]], *, facts: list[str]
) -> str:
    """Return the hash of all that decides the answer: the model's bytes, the ids and how they are computed."""
    digest = hashlib.sha256()
    versions = [torch.__version__, transformers.__version__]
    digest.update(json.dumps([hash_model(Path(reference)), *facts, *versions]).encode())
    for prompt, completion in zip(prompts, completions, strict=True):
        digest.update(json.dumps([prompt, completion]).encode())
    return digest.hexdigest()


def hash_model(folder: Path) -> str:
    """Return the hash of a model folder's files; a sealed one has them in its manifest, checked before the run began."""
    manifest = folder / MANIFEST
    if manifest.exists():
        return hash_file(manifest)
    files = sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".json"))
    return json.dumps([(path.name, hash_file(path)) for path in files])


def read_logps(path: Path, n: int) -> Tensor | None:
    """Return what a file of the cache holds, None when it is not there, torn or of another size."""
    try:
        logps = load_file(path)["logps"]
    except (OSError, SafetensorError, KeyError):
        return None
    return logps if logps.shape == (n,) else None


def write_logps(path: Path, logps: Tensor) -> None:
    """Keep an answer, whole or not at all, and forget those that were written long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    save_file({"logps": logps.contiguous()}, part)
    os.replace(part, path)
    fsync_folder(path.parent)
    kept = sorted(path.parent.glob("*.safetensors"), key=lambda file: file.stat().st_mtime_ns)
    for file in kept[:-KEPT_FILES]:
        file.unlink(missing_ok=True)
