"""AI feedback: which completion is better by written principles, and how one should be rewritten."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlhf.contract.errors import ContractError
from rlhf.contract.feedback import ComparisonAnswer, ComparisonQuestion, RevisionAnswer, RevisionQuestion
from rlhf.contract.feedback_texts import ask_comparison, ask_critique, ask_reasons, ask_revision
from rlhf.contract.kinds.feedback import FeedbackConfig
from rlhf.contract.records import canonical_line, read_rows
from rlhf.contract.run_dir import DATA, FEEDBACK, fsync_folder
from rlhf.learning.annotators import Annotator
from rlhf.learning.endpoint_annotator import EndpointAnnotator
from rlhf.learning.local_annotator import LocalAnnotator
from rlhf.learning.reporting import HandedBack, Reporter

# Whoever reasons first is surer than right: its probabilities are kept this near to a half (arXiv 2212.08073, 4.1).
CLAMP = (0.4, 0.6)
PART = f".{FEEDBACK}.part"


def train(config: FeedbackConfig, run_dir: Path) -> dict[str, float]:
    """Ask an annotator about every row of data/prompts.jsonl and write feedback.jsonl, whole or not at all.

    Answers are kept as they come: a run taken up again asks only what is left.

    Returns: n_asked, n_tokens; of comparisons flips (share), unclear (share) and first (mean probability of the side
    shown first, 0.5 without position bias); of revisions changed (share).
    Raises: ContractError on no rows, a folder that is no model, an endpoint that does not answer, or where each of
    several questions was refused; HandedBack.
    """
    rows = list(read_rows(run_dir / DATA / "prompts.jsonl"))
    if not rows:
        raise ContractError("prompts.jsonl holds no question")
    method, key = (compare, "comparison_id") if config.task == "compare" else (revise, "completion_id")
    n_wanted = {row[key]: len(row.get("principles", ())) or 1 for row in rows}
    answers = recover(run_dir / PART, key, n_wanted)
    asked = {answer[key] for answer in answers}
    left = [row for row in rows if row[key] not in asked]
    reporter = Reporter(run_dir, stage="asking the annotator", total_steps=len(rows), first_step=len(asked))
    annotator: Annotator = EndpointAnnotator(config) if config.endpoint else LocalAnnotator(config)
    with (run_dir / PART).open("ab") as part:
        for start in range(0, len(left), config.batch_size):
            if reporter.stop_requested:
                raise HandedBack(f"stopped after {len(asked) + start} of {len(rows)} questions; the answers are kept")
            given = list(method(annotator, left[start : start + config.batch_size], config))
            part.write(b"".join(map(canonical_line, given)))
            part.flush()
            answers.extend(given)
            reporter.step(len(asked) + min(len(left), start + config.batch_size))
        os.fsync(part.fileno())
    if len(rows) > 1 and all(answer.get("is_refused") for answer in answers):
        (run_dir / PART).unlink()  # whoever mends the settings asks anew
        raise ContractError(f"every question was refused, the first for: {answers[0]['critique']}")
    (run_dir / PART).replace(run_dir / FEEDBACK)
    fsync_folder(run_dir)
    return summarize(answers, texts={row[key]: row.get("text") for row in rows})


def recover(part: Path, key: str, n_wanted: dict[str, int]) -> list[Any]:
    """Return what an earlier attempt was told of questions answered to the end; what a kill cut short is asked anew."""
    if not part.exists():
        return []
    data = part.read_bytes()
    told = [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]
    n_told = Counter(answer[key] for answer in told)
    answers = [answer for answer in told if n_told[answer[key]] == n_wanted.get(answer[key])]
    part.write_bytes(b"".join(map(canonical_line, answers)))
    return answers


def compare(
    annotator: Annotator, questions: list[ComparisonQuestion], config: FeedbackConfig
) -> Iterable[ComparisonAnswer]:
    """Return how likely A is the better completion of each question, asked in one order or both.

    Source: averaging over both orders, arXiv 2309.00267 section 3.1.
    """
    forward = ask_in_order(annotator, questions, config, a_first=True)
    backward = ask_in_order(annotator, questions, config, a_first=False) if config.orders == "both" else None
    for number, question in enumerate(questions):
        first, second = forward[number], backward[number] if backward else None
        p_ab, p_ba = first.p, None if second is None else 1 - second.p
        is_flip = p_ba is not None and (p_ab - 0.5) * (p_ba - 0.5) < 0
        is_unclear = first.is_unclear or (second is not None and second.is_unclear)
        refusal = first.refusal or (second.refusal if second else "")
        is_half = is_flip or is_unclear
        yield ComparisonAnswer(
            comparison_id=question["comparison_id"],
            principle=question["principle"],
            p=0.5 if is_half else p_ab if p_ba is None else (p_ab + p_ba) / 2,
            p_raw=0.5 if is_half else first.p_raw if second is None else (first.p_raw + 1 - second.p_raw) / 2,
            p_ab=p_ab,
            p_ba=p_ba,
            is_flip=is_flip,
            is_unclear=is_unclear,
            is_refused=bool(refusal),
            critique=refusal or first.thoughts,
            n_tokens=first.n_tokens + (second.n_tokens if second else 0),
        )


@dataclass(frozen=True)
class Judged:
    """A choice with what was thought before it. p: as it counts; p_raw: as it was given."""

    p: float
    p_raw: float
    n_tokens: int
    is_unclear: bool
    refusal: str
    thoughts: str = ""


def ask_in_order(
    annotator: Annotator, questions: list[ComparisonQuestion], config: FeedbackConfig, *, a_first: bool
) -> list[Judged]:
    """Return how likely the completion shown first is the better one, for each question."""
    if config.reasoning == "none":
        choices = annotator.choose([ask_comparison(question, a_first=a_first) for question in questions])
        return [Judged(choice.p, choice.p, choice.n_tokens, choice.is_unclear, choice.refusal) for choice in choices]
    reasons = annotator.write([ask_reasons(question, a_first=a_first) for question in questions])
    choices = annotator.choose(
        [
            ask_comparison(question, a_first=a_first, thoughts=thoughts.text)
            for question, thoughts in zip(questions, reasons, strict=True)
        ]
    )
    low, high = CLAMP
    return [
        Judged(
            p=min(high, max(low, choice.p)),
            p_raw=choice.p,
            n_tokens=choice.n_tokens + thoughts.n_tokens,
            is_unclear=choice.is_unclear,
            refusal=choice.refusal,
            thoughts=thoughts.text,
        )
        for choice, thoughts in zip(choices, reasons, strict=True)
    ]


def revise(annotator: Annotator, questions: list[RevisionQuestion], config: FeedbackConfig) -> Iterable[RevisionAnswer]:
    """Return each completion criticized and rewritten, turn by turn.

    An empty rewriting leaves it as it was, and so does a refused one, with the reason for its critique.

    Source: arXiv 2212.08073 section 3.1.
    """
    texts = [question["text"] for question in questions]
    for turn in range(max(len(question["principles"]) for question in questions)):
        due = [number for number, question in enumerate(questions) if turn < len(question["principles"])]
        principles = {number: questions[number]["principles"][turn] for number in due}
        critiques = annotator.write(
            [ask_critique(questions[number]["prompt"], texts[number], principles[number]) for number in due]
        )
        written = iter(
            annotator.write(
                [
                    ask_revision(questions[number]["prompt"], texts[number], critique.text, principles[number])
                    for number, critique in zip(due, critiques, strict=True)
                    if not critique.refusal
                ]
            )
        )
        for number, critique in zip(due, critiques, strict=True):
            revision = critique if critique.refusal else next(written)
            texts[number] = texts[number] if revision.refusal else revision.text or texts[number]
            yield RevisionAnswer(
                completion_id=questions[number]["completion_id"],
                turn=turn + 1,
                principle=principles[number]["id"],
                critique=revision.refusal or critique.text,
                text=texts[number],
                is_refused=bool(revision.refusal),
                n_tokens=critique.n_tokens + (0 if critique.refusal else revision.n_tokens),
            )


def summarize(answers: list[Any], *, texts: dict[str, str | None]) -> dict[str, float]:
    """Return what a run says of its answers as a whole."""
    figures = {"n_asked": float(len(texts)), "n_tokens": float(sum(answer["n_tokens"] for answer in answers))}
    if "p" not in answers[0]:
        final = {answer["completion_id"]: answer["text"] for answer in answers}
        return figures | {"changed": sum(text != texts[pk] for pk, text in final.items()) / len(final)}
    n = len(answers)
    shown_first = [
        p for answer in answers for p in (answer["p_ab"], None if answer["p_ba"] is None else 1 - answer["p_ba"])
    ]
    known = [p for p in shown_first if p is not None]
    return figures | {
        "flips": sum(answer["is_flip"] for answer in answers) / n,
        "unclear": sum(answer["is_unclear"] for answer in answers) / n,
        "first": sum(known) / len(known),
    }
