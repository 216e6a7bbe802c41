"""Asks an annotator about comparisons or completions by way of a run, and stores what it said."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from labeling.domain.pairing import Pair, propose_comparisons
from labeling.models import Comparison, Completion, User
from rlhf.contract.feedback import ComparisonAnswer, ComparisonQuestion, RevisionAnswer, RevisionQuestion
from rlhf.contract.kinds.feedback import FeedbackConfig
from rlhf.contract.records import read_rows
from rlhf.domain.datasets.rows import read_messages
from rlhf.domain.datasets.shelf import freeze_rows
from rlhf.domain.errors import NotReady
from rlhf.domain.feedback.annotators import require_allowed
from rlhf.domain.feedback.constitutions import draw_principles
from rlhf.domain.runs import create_run
from rlhf.models import AIJudgment, Annotator, Dataset, Revision, Run

CHUNK = 500
UNSURE = (0.35, 0.65)  # an annotator this near to a half leaves the comparison to people
MAX_TURNS = 4


def ask_comparisons(
    annotator: Annotator,
    comparisons: Iterable[Comparison] | None = None,
    *,
    n: int = 1000,
    route: bool = False,
    user: User | None = None,
) -> Run:
    """Queue a run that asks the annotator about comparisons; None takes the n newest open ones it was not asked yet.

    route: what it turns out to be unsure of goes to people at the run's end. Raises: NotReady, InvalidAnnotator.
    """
    require_active(annotator)
    require_idle(annotator, task="compare")
    chosen = list(comparisons) if comparisons is not None else list(list_unasked(annotator)[:n])
    rows = [
        ComparisonQuestion(
            comparison_id=str(comparison.pk),
            prompt=read_messages(comparison.prompt.messages),
            a=comparison.completion_a.text,
            b=comparison.completion_b.text,
            principle=principle["id"],
            text=principle["comparison"],
        )
        for comparison in chosen
        for principle in draw_principles(annotator.constitution, 1, seed=annotator.pk, pk=comparison.pk)
    ]
    if not rows:
        raise NotReady(f"{annotator} has been asked about every open comparison of {annotator.project}")
    return start_run(annotator, rows, task="compare", route=route, user=user)


def list_unasked(annotator: Annotator) -> QuerySet[Comparison]:
    """Return the open comparisons the annotator was not asked about, newest first; held-out prompts are nobody's."""
    asked = AIJudgment.objects.filter(annotator=annotator, comparison=OuterRef("pk"))
    found: QuerySet[Comparison] = Comparison.objects.filter(
        ~Exists(asked), project=annotator.project, state=Comparison.State.OPEN, prompt__is_held_out=False
    )
    return found.with_texts().order_by("-id")  # type: ignore[attr-defined, no-any-return]


def ask_revisions(
    annotator: Annotator, completions: Sequence[Completion], *, n_turns: int = 1, user: User | None = None
) -> Run:
    """Queue a run that criticizes and rewrites completions, under a newly drawn principle each turn. Raises: NotReady."""
    require_active(annotator)
    require_idle(annotator, task="revise")
    if not 1 <= n_turns <= MAX_TURNS:
        raise NotReady(f"n_turns must be from 1 to {MAX_TURNS}, got {n_turns}")
    done = set(Revision.objects.filter(annotator=annotator).values_list("original", flat=True))
    rows = [
        RevisionQuestion(
            completion_id=str(completion.pk),
            prompt=read_messages(completion.prompt.messages),
            text=completion.text,
            principles=draw_principles(annotator.constitution, n_turns, seed=annotator.pk, pk=completion.pk),
        )
        for completion in completions
        if completion.pk not in done and not completion.prompt.is_held_out
    ]
    if not rows:
        raise NotReady(f"there is no completion left for {annotator} to revise")
    return start_run(annotator, rows, task="revise", user=user)


def start_run(annotator: Annotator, rows: Sequence[Any], *, task: str, user: User | None, route: bool = False) -> Run:
    """Freeze the questions and queue the run that asks them. Raises: NotReady where someone was first."""
    dataset = freeze_rows(
        annotator.project,
        kind=Dataset.Kind.PROMPT,
        name=f"{annotator.project.slug} questions to {annotator.name}",
        train=rows,
        test=[],
        rule={"include": "questions", "annotator": annotator.pk, "task": task} | ({"route": True} if route else {}),
        user=user,
    )
    config = FeedbackConfig(
        task=task, endpoint=annotator.endpoint, model=annotator.model, key_name=annotator.key_name, **annotator.decoding
    )
    with transaction.atomic():
        Annotator.objects.select_for_update().get(pk=annotator.pk)  # two callers at once take turns here
        require_idle(annotator, task=task)
        return create_run(annotator.project, config, dataset=dataset, base=annotator.checkpoint, user=user)


def require_active(annotator: Annotator) -> None:
    """Raise NotReady for a retired annotator, InvalidAnnotator where its endpoint is not allowed any more."""
    if not annotator.is_active:
        raise NotReady(f"{annotator} is retired: add another annotator")
    if annotator.endpoint:
        require_allowed(annotator.endpoint)


def require_idle(annotator: Annotator, *, task: str) -> None:
    """Raise NotReady while a run asks it the same kind of question: what that one asks would be paid for twice."""
    asking = Run.objects.filter(
        project=annotator.project,
        kind=Run.Kind.FEEDBACK,
        state__in=[Run.State.QUEUED, Run.State.RUNNING],
        config__task=task,
        dataset__rule__annotator=annotator.pk,
    )
    if run := asking.first():
        raise NotReady(f"{annotator} is being asked by run {run.pk} ({run.state}): wait until it ends, or cancel it")


def find_annotator(run: Run) -> Annotator:
    """Return whom a run asked."""
    assert run.dataset is not None
    return Annotator.objects.select_related("project", "constitution").get(pk=run.dataset.rule["annotator"])


def record_feedback(run: Run, path: Path) -> int:
    """Store what a run's annotator said, once, and return how much that was."""
    annotator, rows = find_annotator(run), list(read_rows(path))
    if run.load_config().task == "compare":  # type: ignore[attr-defined]
        return record_judgments(run, annotator, rows)
    return record_revisions(run, annotator, rows)


def record_judgments(run: Run, annotator: Annotator, answers: list[ComparisonAnswer]) -> int:
    """Store the annotator's word on each comparison; the first word stays.

    Whether it is unsure is told before its probabilities are kept near a half; people decide what it did not answer.
    """
    low, high = UNSURE
    judgments = [
        AIJudgment(
            annotator=annotator,
            run=run,
            comparison_id=int(answer["comparison_id"]),
            p=answer["p"],
            p_ab=answer["p_ab"],
            p_ba=answer["p_ba"],
            is_flip=answer["is_flip"],
            needs_person=answer["is_flip"] or answer["is_unclear"] or low <= answer.get("p_raw", answer["p"]) <= high,
            principle=answer["principle"],
            critique=answer["critique"].replace("\0", ""),
            n_tokens=answer["n_tokens"],
        )
        for answer in answers
    ]
    return len(AIJudgment.objects.bulk_create(judgments, batch_size=CHUNK, ignore_conflicts=True))


def record_revisions(run: Run, annotator: Annotator, answers: list[RevisionAnswer]) -> int:
    """Store each rewritten completion beside its original, and the pair the two make; the pair is nobody's to judge.

    Only the last turn makes a pair: rewritten over original, p = 1, kept out of the queue by an overlap of 0.
    """
    originals = Completion.objects.select_related("prompt").in_bulk(
        {int(answer["completion_id"]) for answer in answers}
    )
    last = {int(answer["completion_id"]): answer for answer in answers}  # the last turn of each comes last
    kept = [answer for answer in last.values() if is_revision(answer, originals[int(answer["completion_id"])])]
    pairs = [
        Pair(
            messages=original.prompt.messages,
            group=original.prompt.group,
            text_a=answer["text"],
            text_b=original.text,
            overlap=0,
        )
        for answer in kept
        for original in [originals[int(answer["completion_id"])]]
    ]
    comparisons = propose_comparisons(run.project, pairs)
    revisions, judgments = [], []
    for answer, comparison in zip(kept, comparisons, strict=True):
        is_a = comparison.completion_a.text == answer["text"]
        revised = comparison.completion_a if is_a else comparison.completion_b
        revisions.append(
            Revision(
                annotator=annotator,
                run=run,
                original=originals[int(answer["completion_id"])],
                revised=revised,
                turn=answer["turn"],
                principle=answer["principle"],
                critique=answer["critique"].replace("\0", ""),
                n_tokens=answer["n_tokens"],
            )
        )
        p = 1.0 if is_a else 0.0
        judgments.append(
            AIJudgment(
                annotator=annotator,
                run=run,
                comparison=comparison,
                p=p,
                p_ab=p,
                principle=answer["principle"],
                critique=answer["critique"].replace("\0", ""),
                n_tokens=answer["n_tokens"],
            )
        )
    AIJudgment.objects.bulk_create(judgments, batch_size=CHUNK, ignore_conflicts=True)
    return len(Revision.objects.bulk_create(revisions, batch_size=CHUNK, ignore_conflicts=True))


def is_revision(answer: RevisionAnswer, original: Completion) -> bool:
    """Say whether something was rewritten that both databases can keep."""
    text = answer["text"]
    return bool(text.strip()) and text != original.text and "\0" not in text
