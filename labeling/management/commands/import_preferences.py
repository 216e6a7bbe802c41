"""manage.py import_preferences FILE --project SLUG: other people's votes or demonstrations into a project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.validators import validate_slug

from labeling.domain.errors import InvalidContent, LabelingError
from labeling.domain.intake.detection import FORMATS, Format
from labeling.domain.intake.mapping import FIELDS, Mapping
from labeling.domain.intake.staging import StagedFile, count_known, stage_file
from labeling.domain.intake.storing import commit_file, find_import, name_source
from labeling.models import Import, Project


class Command(BaseCommand):
    help = "Check a file of recorded preferences or demonstrations, report on it and import it whole or not at all."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="JSON Lines, a JSON array, CSV, TSV or Parquet; .gz is unpacked")
        parser.add_argument("--project", required=True, help="slug of the project; it is made if there is none")
        parser.add_argument("--format", default="auto", choices=["auto", *FORMATS], help="default: auto")
        parser.add_argument(
            "--map",
            action="append",
            default=[],
            metavar="FIELD=COLUMN",
            help=f"what a column of the file is, once for each; the fields are {', '.join(FIELDS)}",
        )
        parser.add_argument("--unjudged", action="store_true", help="with --map: nobody has judged the pairs yet")
        parser.add_argument("--source", default="", help="name the votes go by; default: the file's name")
        parser.add_argument("--overlap", type=int, default=0, help="people who shall judge each new pair; default: 0")
        parser.add_argument(
            "--not-blind", action="store_true", help="ask people about pairs that say which model wrote them, too"
        )
        parser.add_argument("--dry-run", action="store_true", help="report only, write nothing")

    def handle(self, *, file: Path, format: str, overlap: int, **options: Any) -> None:
        mapped = read_mapping(options.pop("map"), is_unjudged=options.pop("unjudged"))
        if not 0 <= overlap <= 100:
            raise CommandError(f"--overlap must be from 0 to 100, got {overlap}")
        run_import(self, file, mapped or FORMATS.get(format), overlap=overlap, **options)


def read_mapping(said: list[str], *, is_unjudged: bool) -> Format | None:
    """Return the format that --map describes, or None without any."""
    if not said:
        return None
    columns = dict(part.partition("=")[::2] for part in said)
    try:
        return Mapping(columns, is_unjudged=is_unjudged).to_format()
    except InvalidContent as error:
        raise CommandError(f"--map: {error}") from error


def run_import(
    command: BaseCommand,
    file: Path,
    format: Format | None,
    *,
    project: str,
    source: str,
    overlap: int,
    dry_run: bool,
    not_blind: bool = False,
    **_: Any,
) -> None:
    """Stage, report and commit one file, and say on the command's stdout what happened."""
    check_slug(project)
    if len(source) > 200:
        raise CommandError(f"--source may have 200 characters, got {len(source)}")
    try:
        staged = stage_file(file, format=format)
        found = Project.objects.filter(slug=project).first()
        if found is not None and (done := find_import(found, staged)) and done.state == Import.State.COMMITTED:
            command.stdout.write(f"already imported as {done.source} on {done.created_at:%Y-%m-%d}; nothing changed")
            return
        report(command, staged, found)
        if staged.report.n_bad:
            raise CommandError(
                f"nothing was imported: correct the {staged.report.n_bad} bad rows of {file} and run the command again"
            )
        if dry_run:
            command.stdout.write("dry run: nothing was written")
            return
        if found is None:
            found, _ = Project.objects.get_or_create(slug=project, defaults={"name": project})
            command.stdout.write(f"made the project {project}; superusers manage it until you add members")
        done = commit_file(found, staged, source=source or name_source(file), overlap=overlap, blind=not not_blind)
    except LabelingError as error:
        raise CommandError(str(error)) from error
    command.stdout.write(
        command.style.SUCCESS(f"committed to project {project} as {done.source}: {tell(done, staged)}")
    )


def tell(imported: Import, staged: StagedFile) -> str:
    """Say in a few words what an import brought, and how many votes another file of its source had cast before."""
    n_votes, n_demonstrations = imported.judgments.count(), imported.demonstrations.count()
    if n_votes or n_demonstrations:
        counts = {"votes": n_votes, "demonstrations": n_demonstrations}
    else:
        counts = {"prompts": staged.report.n_prompts}
    if n_left_out := staged.report.n_pairs - n_votes:
        counts[f"votes not counted because {imported.source} had voted on the pair"] = n_left_out
    return ", ".join(f"{n:,} {what}" for what, n in counts.items() if n)


def check_slug(slug: str) -> None:
    try:
        validate_slug(slug)
    except ValidationError as error:
        raise CommandError(f"--project {slug!r} must be letters, digits, - and _ only") from error
    if len(slug) > 64:
        raise CommandError(f"--project may have 64 characters, got {len(slug)}")


def report(command: BaseCommand, staged: StagedFile, project: Project | None) -> None:
    if project is not None:
        count_known(project, staged)
    command.stdout.write(f"{staged.source.path.name}: " + "\n".join(staged.report.to_lines()))
