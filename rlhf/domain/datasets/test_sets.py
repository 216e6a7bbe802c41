"""Pairs that measure and never teach: benchmark files read into a sealed dataset whose prompts no freeze takes any more."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.contrib.auth.models import AbstractBaseUser

from labeling.domain.content import Message as Spoken
from labeling.domain.content import hash_messages
from labeling.domain.intake.formats import hh
from labeling.domain.intake.items import Pair, get_text
from labeling.domain.intake.reading import LIMITS, Limits, SourceFile
from labeling.domain.intake.refusals import FileRefused, RowRefused
from labeling.domain.intake.turns import Turn, read_messages, to_messages
from labeling.models import Project, Prompt
from rlhf.contract.records import Message, PreferenceRow
from rlhf.domain.datasets.bytes import read_stored
from rlhf.domain.datasets.shelf import freeze_rows
from rlhf.domain.errors import NotReady
from rlhf.models import Dataset

N_TOLD = 5
Reader = Callable[[dict[str, Any]], list[Pair]]


def read_rewardbench(row: dict[str, Any]) -> list[Pair]:
    """Return the pairs of a row of RewardBench, or of its second version, where several completions are right or wrong."""
    prompt = row["prompt"]
    messages = read_messages(prompt) if isinstance(prompt, list) else ask(get_text(row, "prompt"))
    chosen, rejected = (list_texts(row, key) for key in ("chosen", "rejected"))
    return [Pair(messages, better, worse) for better, worse in itertools.product(chosen, rejected)]


def list_texts(row: dict[str, Any], key: str) -> list[str]:
    """Return a column that holds a text, or several."""
    value = row[key]
    if isinstance(value, list) and value and all(isinstance(text, str) for text in value):
        return value
    return [get_text(row, key)]


def read_hhh(row: dict[str, Any]) -> list[Pair]:
    """Return the pairs of a row of the HHH alignment evaluation: each right choice over each wrong one."""
    targets = row["targets"]
    choices, labels = targets.get("choices"), targets.get("labels")
    if not isinstance(choices, list) or not isinstance(labels, list) or len(choices) != len(labels):
        raise RowRefused("targets must hold choices and labels, one for each choice")
    right = [choice for choice, label in zip(choices, labels, strict=True) if label == 1]
    wrong = [choice for choice, label in zip(choices, labels, strict=True) if label != 1]
    if not right or not wrong:
        raise RowRefused("labels must call one choice right (1) and one wrong (0)")
    prompt = read_input(get_text(row, "input"))
    return [Pair(prompt, better, worse) for better, worse in itertools.product(right, wrong)]


def read_input(text: str) -> list[Spoken]:
    """Return a question, or the turns of a dialogue written as a transcript."""
    before, *spoken = hh.SPEAKER.split(f"\n\n{text}" if text.startswith(("Human:", "Assistant:")) else text)
    if before or not spoken:
        return ask(text)
    speakers = zip(spoken[::2], spoken[1::2], strict=True)
    messages = to_messages([Turn(hh.ROLE_OF_SPEAKER[speaker], raw) for speaker, raw in speakers])
    opens_an_answer = messages[-1]["role"] == "assistant" and not messages[-1]["content"].strip()
    return messages[:-1] if opens_an_answer else messages


def ask(text: str) -> list[Spoken]:
    return [{"role": "user", "content": text}]


def read_dialogues(row: dict[str, Any]) -> list[Pair]:
    """Return the pair of a row of HH-RLHF."""
    return [item for item in hh.read(row).items if isinstance(item, Pair)]


FORMATS: dict[str, tuple[Callable[[dict[str, Any]], bool], Reader]] = {
    "rewardbench": (lambda row: all(key in row for key in ("prompt", "chosen", "rejected")), read_rewardbench),
    "hhh": (lambda row: "input" in row and isinstance(row.get("targets"), dict), read_hhh),
    "hh": (hh.matches, read_dialogues),
}


def import_benchmark(
    project: Project,
    path: Path,
    *,
    format: str = "auto",
    name: str = "",
    user: AbstractBaseUser | None = None,
    limits: Limits = LIMITS,
) -> Dataset:
    """Seal a file of comparisons as a test set: no run learns from it, and no freeze takes its prompts from now on.

    The same file again is the dataset there is. limits: all rows are held in memory. Raises: FileRefused when
    rows cannot be read; nothing is stored then.
    """
    source = SourceFile(path, limits)
    found: list[PreferenceRow] = []
    bad: list[str] = []
    for row in source.read_rows():
        try:
            if row.problem:
                raise RowRefused(row.problem)
            format = detect(row.value) if format == "auto" else format
            subset = name_subset(row.value)
            found += [build_row(pair, subset) for pair in read_row(format, row.value)]
        except RowRefused as error:
            bad.append(f"{source.unit} {row.line}: {error}")
    if bad or not found:
        told = "; ".join(bad[:N_TOLD]) + (f"; and {len(bad) - N_TOLD} more" if len(bad) > N_TOLD else "")
        raise FileRefused(f"nothing of {path.name} was imported: {told or 'it holds no rows'}")
    prompts = {row["group"] for row in found}
    return freeze_rows(
        project,
        kind=Dataset.Kind.BENCHMARK,
        name=name or path.name.split(".")[0],
        train=[],
        test=found,
        rule={"include": [f"file:{path.name}"], "format": format, "file_sha256": source.sha256},
        counts={"pairs": len(found), "prompts": len(prompts), "subsets": dict(Counter(map(subset_of, found)))},
        user=user,
    )


def detect(row: dict[str, Any]) -> str:
    """Return the format of a file's first row. Raises: RowRefused."""
    for name, (matches, _) in FORMATS.items():
        if matches(row):
            return name
    raise RowRefused(
        f"its columns ({', '.join(row)}) are those of no test set: RewardBench has prompt, chosen and rejected, "
        "HHH has input and targets, HH has chosen and rejected"
    )


def read_row(format: str, row: dict[str, Any]) -> list[Pair]:
    matches, read = FORMATS[format]
    if not matches(row):
        raise RowRefused(f"it is no row of the format {format}")
    return read(row)


def name_subset(row: dict[str, Any]) -> str:
    """Return what part of its benchmark a row belongs to; "" where it does not say."""
    subset = row.get("subset") or row.get("category") or ""
    return subset[:100] if isinstance(subset, str) else ""


def subset_of(row: PreferenceRow) -> str:
    return row.get("source", "")


def build_row(pair: Pair, subset: str) -> PreferenceRow:
    """Return a pair as evaluations read it: its subset is its source, by which accuracy is told apart."""
    row = PreferenceRow(
        prompt=[Message(role=turn["role"], content=turn["content"]) for turn in pair.prompt],
        chosen=[{"role": "assistant", "content": pair.better}],
        rejected=[{"role": "assistant", "content": pair.worse}],
        group=hash_messages(pair.prompt),
    )
    return PreferenceRow(**row, source=subset) if subset else row


def find_reserved(project: Project) -> set[str]:
    """Return the content hashes of the prompts of all the project's test sets. Raises: CorruptError."""
    sealed = Dataset.objects.filter(project=project, kind=Dataset.Kind.BENCHMARK, sealed_at__isnull=False)
    return {sha for dataset in sealed for sha in hash_prompts(dataset.file_name("test"), dataset.test_sha256)}


def require_apart(dataset: Dataset) -> None:
    """Refuse to learn from a dataset that was frozen before a test set with prompts of its own came.

    Freezes leave the prompts of the test sets there are out by themselves. Raises: NotReady; CorruptError.
    """
    later = Dataset.objects.filter(
        project=dataset.project, kind=Dataset.Kind.BENCHMARK, sealed_at__gt=dataset.sealed_at or dataset.created_at
    )
    for benchmark in later:
        shared = hash_prompts(dataset.file_name("train"), dataset.train_sha256)
        shared &= hash_prompts(benchmark.file_name("test"), benchmark.test_sha256)
        if shared:
            raise NotReady(
                f"{dataset} was frozen before the test set {benchmark} came and holds {len(shared)} of its prompts: freeze "
                "another dataset, which leaves them out"
            )


@lru_cache(maxsize=16)  # the bytes under a hash never change
def hash_prompts(name: str, sha256: str) -> frozenset[str]:
    """Return the content hashes of the prompts of a stored split."""
    rows = map(json.loads, list(read_stored(name, sha256)))  # all of it is checked before any of it is read
    return frozenset(hash_messages(row["prompt"] if "prompt" in row else row["messages"][:-1]) for row in rows)


def list_known(project: Project, dataset: Dataset) -> Iterator[int]:
    """Yield the prompts of the project that a test set has too: they may have taught before it came."""
    wanted = sorted(hash_prompts(dataset.file_name("test"), dataset.test_sha256))
    for start in range(0, len(wanted), 500):
        chunk = Prompt.objects.filter(project=project, content_sha__in=wanted[start : start + 500])
        yield from chunk.values_list("pk", flat=True)
