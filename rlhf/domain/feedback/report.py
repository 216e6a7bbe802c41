"""What annotators' labels are worth: reward models taught by people, by AI and by both, on the same of people's pairs.

Every report is three runs over three frozen datasets with one test split. It is people's alone, and no prompt of it is in
the training split of any of the three. The reward models are the report's: no loop and no policy learns from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction

from labeling.domain.audit import record_event
from labeling.models import Project, User
from rlhf.contract.settings import RunConfig
from rlhf.domain.checkpoints import newest_policy
from rlhf.domain.datasets.freezing import default_rule, freeze_preferences
from rlhf.domain.datasets.rule import AI, FreezeRule
from rlhf.domain.datasets.shelf import EmptyDataset
from rlhf.domain.errors import NotReady
from rlhf.domain.planning import default_config
from rlhf.domain.runs import create_run
from rlhf.domain.terms import TEST_SHARE, get_loop
from rlhf.models import Annotator, Dataset, FeedbackReport, Run
from rlhf.querysets import REPORT

TAUGHT_BY = {"human": "people", "ai": "ai", "mixed": "all"}  # what each run of a report learns from, in a rule's words
WORDS = {"human": "people", "ai": "AI", "mixed": "both"}


@dataclass(frozen=True)
class Figure:
    """One of the three numbers. accuracy, low and high: of people's held-out pairs, with its 95% interval, once it is there.

    n_tested: pairs with a winner. n_learned: rows it was taught by.
    """

    name: str
    run: Run
    n_learned: int
    n_tested: int | None
    accuracy: float | None
    low: float | None
    high: float | None

    @property
    def words(self) -> str:
        """Whose labels taught it."""
        return WORDS[self.name]

    def describe(self) -> str:
        """Return one line for people."""
        head = f"{self.words}: {self.n_learned} pairs learned, "
        if self.accuracy is None or self.low is None or self.high is None:
            return f"{head}{self.run} {self.run.state}" + (f": {self.run.cause}" if self.run.cause else "")
        return (
            f"{head}{self.accuracy:.1%} of {self.n_tested} right (95% interval {self.low:.1%} to {self.high:.1%}), "
            f"{self.run}"
        )


def start_report(
    project: Project, names: Sequence[str] = (), *, config: RunConfig | None = None, user: User | None = None
) -> FeedbackReport:
    """Freeze three datasets and queue the three runs; no names: every annotator that passed its exam.

    config: of all three runs; None takes what the project's reward models are trained with. Writes an audit event.
    Raises: LearningError where there is nothing to compare, or a report is under way.
    """
    if (last := find_last(project)) is not None and any(not run.is_over for run in list_runs(last).values()):
        raise NotReady(f"{last} is under way: wait until its runs are over, or cancel them")
    base = newest_policy(project)
    if base is None:
        raise NotReady(
            f"{project} has no policy whose trunk could score: train one with sft, or register a model folder"
        )
    chosen = list(names) or list_passed(project)
    if not chosen:
        raise NotReady(f"no annotator of {project} has passed its exam: manage.py ai_feedback exam NAME")
    datasets = {name: freeze_part(project, name, chosen, user=user) for name in TAUGHT_BY}
    if not datasets["human"].n_test:
        raise NotReady(f"{project} has too few judged prompts to hold some back for the test: judge more")
    config = config or default_config(project, Run.Kind.REWARD.value)
    with transaction.atomic():
        runs = {
            name: create_run(project, config, dataset=dataset, base=base, part=REPORT, user=user)
            for name, dataset in datasets.items()
        }
        report = FeedbackReport.objects.create(project=project, annotators=chosen, created_by=user, **runs)
        record_event("feedback.report", str(report), actor=user, project=project, after={"annotators": chosen})
    return report


def list_passed(project: Project) -> list[str]:
    """Return the names of the annotators whose labels a dataset may have."""
    passed = Annotator.objects.filter(project=project, exam=Annotator.Exam.PASSED)
    return list(passed.order_by("name").values_list("name", flat=True))


def freeze_part(project: Project, name: str, annotators: Sequence[str], *, user: User | None) -> Dataset:
    """Freeze what one of the three learns. Raises: InvalidRule; NotReady where that is nothing."""
    parts = {"test_share": TEST_SHARE, **get_loop(project).rule}
    include = [*default_rule(project).include, *(f"{AI}{annotator}" for annotator in annotators)]
    rule = FreezeRule.from_json({**parts, "include": include, "learn_from": TAUGHT_BY[name]})
    try:
        return freeze_preferences(project, rule=rule, name=f"{project.slug} report, {WORDS[name]}", user=user)
    except EmptyDataset as error:
        raise NotReady(f"there is nothing to learn from {WORDS[name]}: {error}") from error


def find_last(project: Project) -> FeedbackReport | None:
    """Return the project's newest report, with what its figures are read from."""
    return next(iter(list_reports(project, n=1)), None)


def list_reports(project: Project, *, n: int) -> list[FeedbackReport]:
    """Return the project's newest reports, with what their figures are read from."""
    runs = [f"{name}__dataset" for name in TAUGHT_BY]
    return list(FeedbackReport.objects.filter(project=project).select_related("project", *runs)[:n])


def list_runs(report: FeedbackReport) -> dict[str, Run]:
    return {"human": report.human, "ai": report.ai, "mixed": report.mixed}


def read_figures(report: FeedbackReport) -> list[Figure]:
    """Return the three numbers, in the order people, AI, both; None where a run has not said its own yet."""
    figures = []
    for name, run in list_runs(report).items():
        result = run.result if run.state == Run.State.SUCCEEDED else {}
        n_tested = result["n_test"] - result["n_test_ties"] if "n_test" in result else None
        shares = [result.get(f"eval_accuracy{end}") for end in ("", "_low", "_high")]
        n_learned = run.dataset.n_train if run.dataset else 0
        figures.append(Figure(name, run, n_learned, n_tested, *shares))
    return figures


def describe_report(report: FeedbackReport) -> list[str]:
    """Return a report as lines for people: what it is of, and the three numbers."""
    n_test = report.human.dataset.n_test if report.human.dataset else 0
    who = ", ".join(report.annotators)
    return [
        f"{report}: reward models taught by people, by AI ({who}) and by both, tested on the same {n_test} of people's pairs",
        *(f"  {figure.describe()}" for figure in read_figures(report)),
    ]
