"""The cast: mia manages the harbour, leo labels there, olga manages the island, the admin sees all. And their rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from labeling.domain.people import add_member
from labeling.models import Comparison as ComparisonRow
from labeling.models import Completion, Judgment, Project, Prompt, User, Verdict
from rlhf.contract.config import CONFIGS
from rlhf.domain.datasets.shelf import freeze_rows
from rlhf.domain.launching import LearningServer
from rlhf.models import Checkpoint, Dataset, Metric, Round, Run

numbers = count(1)


def message(content: str, role: str = "user") -> dict[str, str]:
    return {"role": role, "content": content}


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture(scope="session")
def server() -> Iterator[LearningServer]:
    """A fork server that begins to load its libraries; it takes long, so all tests share it."""
    server = LearningServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def project(db: None) -> Project:
    return Project.objects.create(slug="harbour", name="Harbour")


@pytest.fixture
def other_project(db: None) -> Project:
    return Project.objects.create(slug="island", name="Island")


@pytest.fixture
def manager(project: Project) -> User:
    user = User.objects.create_user("mia", password="lighthouse")
    add_member(project, user, role="manager")
    return user


@pytest.fixture
def labeler(project: Project) -> User:
    user = User.objects.create_user("leo", password="lighthouse")
    add_member(project, user, role="labeler")
    return user


@pytest.fixture
def stranger(other_project: Project) -> User:
    user = User.objects.create_user("olga", password="lighthouse")
    add_member(other_project, user, role="manager")
    return user


@pytest.fixture
def as_manager(manager: User) -> Client:
    return log_in(manager)


@pytest.fixture
def as_labeler(labeler: User) -> Client:
    return log_in(labeler)


@pytest.fixture
def as_stranger(stranger: User) -> Client:
    return log_in(stranger)


@pytest.fixture
def as_admin(db: None) -> Client:
    return log_in(User.objects.create_superuser("ada", password="lighthouse"))


def log_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def make_dataset(project: Project, *, n_train: int = 2, n_test: int = 1, kind: str = "preference") -> Dataset:
    """Freeze rows that no other call makes."""
    name = f"{kind} {next(numbers)}"
    rows = [make_row(kind, f"{name}, row {number}") for number in range(n_train + n_test)]
    rule = {"include": ["own"], "consensus": "majority", "test_share": 0.1, "seed": 42}
    counts = {"pairs": len(rows), "ties": 2, "both_bad": 0, "votes": {"own": 4}}
    return freeze_rows(
        project, kind=kind, name=name, train=rows[:n_train], test=rows[n_train:], rule=rule, counts=counts
    )


def make_row(kind: str, text: str) -> dict[str, Any]:
    if kind in ("preference", "benchmark"):
        sides = {"chosen": [message("yes", "assistant")], "rejected": [message("no", "assistant")]}
        return {"prompt": [message(text)], **sides}
    if kind == "demonstration":
        return {"messages": [message(text), message("yes", "assistant")]}
    return {"text": text} if kind == "text" else {"prompt_id": text, "prompt": [message(text)]}


def make_run(project: Project, *, kind: str = "dpo", state: str = "queued", **fields: Any) -> Run:
    """Make a run as it would stand in that state."""
    now = timezone.now()
    times: dict[str, Any] = {}
    if state == "running":
        times = {"lease_until": now + timedelta(minutes=1), "started_at": now, "attempt": 1}
    elif state != "queued":
        times = {"started_at": now - timedelta(seconds=75), "finished_at": now, "attempt": 1}
    config = json.loads(CONFIGS[kind]().to_json())
    return Run.objects.create(project=project, kind=kind, state=state, config=config, **(times | fields))


def log_metrics(run: Run, n_steps: int, **last: float) -> None:
    """Log values that go evenly from 0 to what is given."""
    Metric.objects.bulk_create(
        Metric(run=run, step=step, values={key: value * step / n_steps for key, value in last.items()})
        for step in range(1, n_steps + 1)
    )


def make_checkpoint(project: Project, *, kind: str = "policy", run: Run | None = None, **fields: Any) -> Checkpoint:
    name = fields.pop("name", f"{project.slug}-{kind}-{next(numbers)}")
    attempt = run.attempt if run else 0
    return Checkpoint.objects.create(
        project=project,
        kind=kind,
        run=run,
        attempt=attempt,
        name=name,
        path=f"models/{name}",
        manifest_sha256=hash_of(name),
        **fields,
    )


def make_round(project: Project, *, number: int = 0, state: str = "running", **fields: Any) -> Round:
    finished_at = None if state == "running" else timezone.now()
    stages = fields.pop("stages", ["reward", "dpo", "sample"])
    return Round.objects.create(
        project=project, number=number, state=state, stages=stages, finished_at=finished_at, **fields
    )


def make_comparison(project: Project, text: str = "How deep is the harbour?") -> ComparisonRow:
    content = f"{text} {next(numbers)}"
    prompt = Prompt.objects.create(
        project=project, messages=[message(content)], content_sha=hash_of(content), group=hash_of(content)[:32]
    )
    sides = [
        Completion.objects.create(prompt=prompt, text=side, content_sha=hash_of(side)) for side in ("deep", "flat")
    ]
    return ComparisonRow.objects.create(
        project=project, prompt=prompt, completion_a=sides[0], completion_b=sides[1], content_sha=hash_of(content)
    )


def judge(comparison: ComparisonRow, labeler: User, **fields: Any) -> Judgment:
    now = timezone.now()
    values = {"verdict": Verdict.A, "strength": -2, "scale": "quick", "is_extra": True, "a_shown_left": True}
    return Judgment.objects.create(comparison=comparison, labeler=labeler, shown_at=now, **(values | fields))
