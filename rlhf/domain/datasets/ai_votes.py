"""What annotators said, as far as a rule lets it into a dataset: never against people, never in a test split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from labeling.models import Comparison, Project
from rlhf.contract.records import PreferenceRow
from rlhf.domain.datasets.rule import AI, FreezeRule, InvalidRule
from rlhf.domain.datasets.split import TEST, Place, assign_splits
from rlhf.models import AIJudgment, Annotator, Revision

CHUNK = 500


@dataclass(frozen=True, slots=True)
class AILine:
    """One row to be: A is better with probability p, said by this judgment of this annotator."""

    comparison: int
    judgment: int
    p: float
    annotator: str
    weight: float
    group: str


def collect_ai(
    project: Project,
    rule: FreezeRule,
    *,
    judged: Collection[int],
    prompts: Mapping[int, tuple[str, str]],
    places: Mapping[int, Place],
) -> tuple[list[AILine], dict[str, object]]:
    """Return the rows the rule's annotators make, in the order of their content, and what became of their judgments.

    judged: comparisons people have judged, whatever came of it. prompts: group and opening of each prompt that is not
    held out. places: where people's prompts went. A group that is tested on, or would be if people judged it, is left
    out: two datasets of one seed and share, people's and annotators', do not test on what the other learned.
    Raises: InvalidRule.
    """
    annotators = find_annotators(project, rule)
    if not annotators:
        return [], {}
    said = AIJudgment.objects.filter(annotator__in=list(annotators), comparison__state=Comparison.State.OPEN)
    columns = ("pk", "annotator", "p", "needs_person", "dispute", "comparison", "comparison__prompt")
    found = sorted(
        said.values_list(*columns, "comparison__content_sha").iterator(CHUNK), key=lambda row: (row[7], row[1])
    )
    wanted = {row[6] for row in found if row[6] in prompts} | places.keys()
    groups = assign_splits({pk: prompts[pk] for pk in wanted}, test_share=rule.test_share, seed=rule.seed)
    tested = {groups[pk].group for pk, place in places.items() if place.split == TEST}
    lines, left_out = [], Counter[str]()
    taken: set[int] = set()
    for judgment, annotator, p, is_unsure, dispute, comparison, prompt, _ in found:
        reason = leave_out(comparison, prompt, p, judged=judged, taken=taken, known=prompts)
        if reason or is_unsure or dispute:
            left_out[reason or ("unsure" if is_unsure else "disputed")] += 1
        elif groups[prompt].group in tested or groups[prompt].split == TEST:
            left_out["test"] += 1
        else:
            taken.add(comparison)
            who = annotators[annotator]
            lines.append(AILine(comparison, judgment, p, who.name, who.weight, groups[prompt].group))
    by_name = Counter(line.annotator for line in lines)
    exams = {who.name: who.exam_result for who in annotators.values()}
    missed: dict[str, object] = {f"ai_{reason}_left_out": n for reason, n in sorted(left_out.items())}
    return lines, {"ai": dict(sorted(by_name.items())), "ai_exams": exams, **missed}


def leave_out(
    comparison: int, prompt: int, p: float, *, judged: Collection[int], taken: set[int], known: Collection[int]
) -> str:
    """Return why a judgment makes no row, "" where it makes one."""
    reasons = {
        "held_out": prompt not in known,
        "judged_by_people": comparison in judged,
        "said_by_another": comparison in taken,
        "ties": p == 0.5,
    }
    return next((reason for reason, applies in reasons.items() if applies), "")


def find_annotators(project: Project, rule: FreezeRule) -> dict[int, Annotator]:
    """Return the annotators a rule names, by id. Raises: InvalidRule."""
    return find_passed(project, tuple(name.removeprefix(AI) for name in rule.include if name.startswith(AI)))


@dataclass(frozen=True, slots=True)
class Revised:
    """A completion an annotator made of another: who, and the pair and the judgment that keep the way to it."""

    annotator: str
    comparison: int
    judgment: int


def find_revised(project: Project, annotators: tuple[str, ...]) -> dict[int, Revised]:
    """Return the completions these annotators made of others, the last of each. Raises: InvalidRule."""
    passed = find_passed(project, annotators)
    revisions = Revision.objects.filter(annotator__in=list(passed)).order_by("turn", "pk")
    last = {
        (annotator, original): revised
        for annotator, original, revised in revisions.values_list("annotator", "original", "revised").iterator(CHUNK)
    }
    wanted = {(annotator, revised) for (annotator, _), revised in last.items()}
    said = AIJudgment.objects.filter(annotator__in=list(passed), p__in=(0.0, 1.0))
    columns = said.values_list(
        "pk", "annotator", "p", "comparison", "comparison__completion_a", "comparison__completion_b"
    )
    found = {}
    for pk, annotator, p, comparison, a, b in columns.iterator(CHUNK):
        if (annotator, a if p else b) in wanted:
            found[a if p else b] = Revised(passed[annotator].name, comparison, pk)
    return found


def find_passed(project: Project, names: tuple[str, ...]) -> dict[int, Annotator]:
    """Return annotators by id. Raises: InvalidRule for one unknown, or that did not pass its exam."""
    found = {who.name: who for who in Annotator.objects.filter(project=project, name__in=names)}
    for name in names:
        if name not in found:
            raise InvalidRule(f"include names no annotator of {project}: {name}")
        if found[name].exam != Annotator.Exam.PASSED:
            raise InvalidRule(
                f"include names {name}, whose exam is {found[name].get_exam_display()}: manage.py ai_feedback exam {name}"
            )
    return {who.pk: who for who in found.values()}


def read_ai(lines: list[AILine]) -> Iterator[PreferenceRow]:
    """Yield the rows: the likelier side chosen, its probability as the target, the annotator's weight."""
    for start in range(0, len(lines), CHUNK):
        chunk = lines[start : start + CHUNK]
        comparisons = Comparison.objects.with_texts().in_bulk([line.comparison for line in chunk])
        for line in chunk:
            comparison = comparisons[line.comparison]
            texts = comparison.completion_a.text, comparison.completion_b.text
            chosen, rejected = texts if line.p > 0.5 else texts[::-1]
            yield PreferenceRow(
                prompt=[{"role": turn["role"], "content": turn["content"]} for turn in comparison.prompt.messages],
                chosen=[{"role": "assistant", "content": chosen}],
                rejected=[{"role": "assistant", "content": rejected}],
                target=max(line.p, 1 - line.p),
                weight=line.weight,
                group=line.group,
                source=f"{AI}{line.annotator}",
                annotator_kind="ai",
            )
