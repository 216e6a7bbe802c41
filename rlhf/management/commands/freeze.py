"""manage.py freeze --project SLUG: what was judged becomes a dataset."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from labeling.models import Project
from rlhf.domain.datasets.completions import freeze_demonstrations
from rlhf.domain.datasets.freezing import default_rule, freeze_preferences
from rlhf.domain.datasets.rule import AI, CONSENSUS, IMPORTED, OWN, FreezeRule
from rlhf.domain.errors import LearningError
from rlhf.models import Dataset


class Command(BaseCommand):
    help = "Freeze a project's votes, or its demonstrations, into a dataset that never changes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--project", required=True)
        parser.add_argument("--kind", choices=["preference", "demonstration"], default="preference")
        parser.add_argument("--name", default="", help="default: the project and the kind")
        add_rule_arguments(parser)

    def handle(self, *, kind: str, name: str, **options: Any) -> None:
        project = find_project(options["project"])
        name = name or f"{project.slug} {kind}s"
        try:
            if kind == "demonstration":
                excluded = tuple(options["exclude_labeler"] or ())
                dataset = freeze_demonstrations(
                    project,
                    name=name,
                    exclude_labelers=excluded,
                    annotators=tuple(
                        source.removeprefix(AI) for source in options["source"] or () if source.startswith(AI)
                    ),
                    **pick(options, "test_share", "seed"),
                )
            else:
                dataset = freeze_preferences(project, rule=read_rule(project, options), name=name)
        except LearningError as error:
            raise CommandError(str(error)) from error
        describe(self, dataset)


def add_rule_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "--source",
        action="append",
        help='"own", an import\'s source, or ai:ANNOTATOR; may be repeated; default: own votes, or all imported ones',
    )
    parser.add_argument("--min-judgments", type=int, default=1, help="votes a comparison needs; default: 1")
    parser.add_argument("--consensus", choices=list(CONSENSUS), default="majority", help="default: majority")
    parser.add_argument("--soft", action="store_true", help="with dawid_skene: write how likely the better side is")
    parser.add_argument("--guideline-from", type=int, default=0, help="count votes under this version or a later one")
    parser.add_argument("--exclude-labeler", action="append", help="a username or id; may be repeated")
    parser.add_argument(
        "--labeler-share-max",
        type=float,
        default=0.0,
        help="largest share of one labeler, for example 0.1; default: none",
    )
    parser.add_argument("--without-hasty", action="store_true", help="leave out votes too soon to have read the texts")
    parser.add_argument("--without-late", action="store_true", help="leave out votes whose place had gone to another")
    parser.add_argument("--without-fixes", action="store_true", help="make no pairs of rewritten completions")
    parser.add_argument("--quarantined", action="store_true", help="count votes of labelers in quarantine")
    parser.add_argument("--gold", action="store_true", help="count votes of work on what is gold now")
    parser.add_argument("--margin", action="store_true", help="write the strength of each preference as its margin")
    parser.add_argument(
        "--test-share", type=float, default=0.1, help="share of the prompt groups to test on; default: 0.1"
    )
    parser.add_argument("--seed", type=int, default=42, help="decides which groups those are; default: 42")


def pick(options: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: options[name] for name in names}


def read_rule(project: Project, options: dict[str, Any]) -> FreezeRule:
    """Return the rule the options name, over the project's default. Raises: InvalidRule."""
    named = tuple(
        name if name == OWN or name.startswith((IMPORTED, AI)) else IMPORTED + name for name in options["source"] or ()
    )
    return FreezeRule(
        include=named or default_rule(project).include,
        use_margin=options["margin"],
        use_extra=not options["without_late"],
        use_hasty=not options["without_hasty"],
        use_fixes=not options["without_fixes"],
        use_quarantined=options["quarantined"],
        use_gold=options["gold"],
        exclude_labelers=tuple(options["exclude_labeler"] or ()),
        **pick(options, "consensus", "soft", "guideline_from", "labeler_share_max"),
        **pick(options, "min_judgments", "test_share", "seed"),
    )


def find_project(slug: str) -> Project:
    try:
        return Project.objects.get(slug=slug)
    except Project.DoesNotExist as error:
        known = ", ".join(Project.objects.values_list("slug", flat=True)[:20]) or "none yet"
        raise CommandError(f"there is no project {slug!r}; the projects are: {known}") from error


def describe(command: BaseCommand, dataset: Dataset) -> None:
    """Print what a person needs to name the dataset again and to trust it."""
    command.stdout.write(f"dataset {dataset.pk}: {dataset.name}")
    command.stdout.write(f"  sha256 {dataset.sha256}")
    command.stdout.write(f"  {dataset.n_train:,} train rows, {dataset.n_test:,} test rows")
    command.stdout.write(f"  rule   {json.dumps(dataset.rule, sort_keys=True)}")
    command.stdout.write(f"  counts {json.dumps(dataset.counts, sort_keys=True)}")
