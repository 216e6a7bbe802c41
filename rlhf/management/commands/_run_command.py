"""What train, sample and evaluate share: name a project and its parts, change settings, queue, wait."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from labeling.models import Project
from rlhf.contract.errors import ContractError
from rlhf.contract.run_dir import USAGE
from rlhf.domain.checkpoints import register_folder
from rlhf.domain.errors import LearningError
from rlhf.domain.forecasting import describe_estimate, describe_usage
from rlhf.domain.labeler_hits import AGREED, list_labeler_slices
from rlhf.domain.planning import default_config, plan_run
from rlhf.domain.waiting import wait_for_run
from rlhf.models import Checkpoint, Dataset, Run


class RunCommand(BaseCommand):
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--project", default="demo", help="Slug of the project.")
        parser.add_argument("--dataset", type=int, help="Id of a frozen dataset (default: freeze what is there now).")
        parser.add_argument("--base", help="Name or id of the checkpoint to start from (default: the newest).")
        parser.add_argument("--base-model", type=Path, help="Hugging Face model folder to register and start from.")
        parser.add_argument("--reward-model", help="Name or id of the reward model (ppo, grpo).")
        parser.add_argument("--other", help="Name or id of the model to merge with (merge).")
        parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="Change a setting.")
        parser.add_argument("--force", action="store_true", help="Queue it although it will not fit into memory.")
        parser.add_argument("--wait", action="store_true", help="Stay until the run is over and print its result.")

    def launch(self, kind: str, options: dict[str, Any]) -> Run:
        """Queue the run the options describe."""
        try:
            project = Project.objects.get(slug=options["project"])
            run = plan_run(
                project,
                default_config(project, kind).with_settings(options["set"]),
                dataset=Dataset.objects.get(pk=options["dataset"]) if options["dataset"] else None,
                base=self.find_base(project, options),
                reward_model=find_checkpoint(options["reward_model"]),
                force=options["force"],
                other=find_checkpoint(options["other"]),
            )
        except Project.DoesNotExist as error:
            raise CommandError(
                f"there is no project {options['project']}: import into it or make it at /projects/"
            ) from error
        except Dataset.DoesNotExist as error:
            raise CommandError(f"there is no dataset {options['dataset']}; see /datasets/") from error
        except (LearningError, ContractError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{run} is queued; see {run.get_absolute_url()}")
        if run.estimate:
            self.stdout.write(f"  {describe_estimate(run)}")
        if options["wait"]:
            self.wait(run)
        return run

    def find_base(self, project: Project, options: dict[str, Any]) -> Checkpoint | None:
        folder = options["base_model"]
        if folder is None:
            return find_checkpoint(options["base"])
        return register_folder(project, folder.resolve(), kind=Checkpoint.Kind.POLICY, name=folder.resolve().name)

    def wait(self, run: Run) -> None:
        """Follow the run to its end and print its final metrics."""
        try:
            wait_for_run(run, self.stdout.write)
        except LearningError as error:
            raise CommandError(str(error)) from error
        if usage := describe_usage(run):
            self.stdout.write(f"  {usage}")
        for name, value in sorted(run.result.items()):
            if name not in (USAGE, AGREED) and not isinstance(value, list):
                self.stdout.write(f"  {name} {value:.4g}" if isinstance(value, float) else f"  {name} {value}")
        for row in [*run.result.get("slices", []), *list_labeler_slices(run)]:
            interval = f"[{row['low']:.3f}, {row['high']:.3f}]"
            self.stdout.write(f"  {row['slice']}: {row['accuracy']:.3f} {interval} of {row['n']} pairs")


def find_checkpoint(name: str | None) -> Checkpoint | None:
    """Return the checkpoint of this name or id; None for None."""
    if name is None:
        return None
    found = Checkpoint.objects.filter(pk=int(name)) if name.isdigit() else Checkpoint.objects.filter(name=name)
    checkpoint = found.order_by("-id").first()
    if checkpoint is None:
        raise CommandError(f"there is no checkpoint {name}; see /checkpoints/")
    return checkpoint
