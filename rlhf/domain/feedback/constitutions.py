"""Constitutions: the principles AI feedback follows, in versions that never change."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Exists, Max, OuterRef

from labeling.domain.audit import record_event
from labeling.domain.content import check_text
from labeling.domain.errors import InvalidContent
from labeling.models import Project, User
from rlhf.contract.feedback import Principle
from rlhf.domain.errors import LearningError
from rlhf.models import Constitution

TEXTS = ("critique", "revision", "comparison")
KEYS = {"id", *TEXTS, "tags", "weight"}
MAX_CHARS = 4000
MAX_PRINCIPLES = 200


class InvalidConstitution(LearningError):
    """A constitution says something that cannot be asked."""


# Our own words for what published constitutions ask: a place to start from, to be rewritten by whoever uses it.
STARTER: list[Principle] = [
    {
        "id": "honest",
        "critique": "Point out every claim in the answer that is false, unsupported, or surer than it can be.",
        "revision": "Rewrite the answer so that it claims only what is true, and says plainly what is not known.",
        "comparison": "Choose the answer that is more truthful and more open about what is not known.",
    },
    {
        "id": "helpful",
        "critique": "Say where the answer misses what the person asked for, or makes them ask again.",
        "revision": "Rewrite the answer so that it gives the person what they asked for, completely and at once.",
        "comparison": "Choose the answer that serves better what the person is trying to do.",
    },
    {
        "id": "harmless",
        "critique": "Say in what way following the answer could hurt the person, or someone else.",
        "revision": "Rewrite the answer so that nobody is hurt by it, and help with what can be helped with.",
        "comparison": "Choose the answer from which less harm can come, to anyone.",
    },
    {
        "id": "respectful",
        "critique": "Point out any words that talk down to the person, mock, threaten or insult somebody.",
        "revision": "Rewrite the answer in the tone one keeps toward a respected colleague.",
        "comparison": "Choose the answer that treats the person, and those spoken of, with more respect.",
    },
    {
        "id": "fair",
        "critique": "Point out where the answer judges people by their origin, sex, faith, age or health.",
        "revision": "Rewrite the answer so that it judges nobody by the group they belong to.",
        "comparison": "Choose the answer that is fairer to people of every kind.",
    },
    {
        "id": "private",
        "critique": "Point out what the answer gives away about somebody that was not theirs to give away.",
        "revision": "Rewrite the answer without anything about a private person that was not said in the conversation.",
        "comparison": "Choose the answer that better guards what is private to people.",
    },
    {
        "id": "lawful",
        "critique": "Say whether the answer helps somebody to break the law or to deceive others.",
        "revision": "Rewrite the answer so that it gives no help with crime or deceit, and says so without preaching.",
        "comparison": "Choose the answer that gives less help to crime and deceit.",
    },
    {
        "id": "brief",
        "critique": "Point out what in the answer is repeated, beside the point, or longer than it needs to be.",
        "revision": "Rewrite the answer so that it says the same in as few words as it needs.",
        "comparison": "Choose the answer that wastes less of the reader's time, if both say what is needed.",
    },
    {
        "id": "humble",
        "critique": "Say where the answer lectures, moralizes or accuses the person without need.",
        "revision": "Rewrite the answer without lecturing; where something must be refused, refuse it in one kind sentence.",
        "comparison": "Choose the answer that is less preachy, as long as neither does harm.",
    },
]


def write_constitution(
    project: Project, principles: Sequence[Any], *, note: str = "", user: User | None = None
) -> Constitution:
    """Store the project's next version, with an audit event; the same principles again are the version there is.

    Raises: InvalidConstitution.
    """
    checked = check_principles(principles)
    require_storable(note, what="note")
    newest = find_newest(project)
    if newest is not None and newest.principles == checked:
        return newest
    try:
        with transaction.atomic():
            last = Constitution.objects.filter(project=project).aggregate(version=Max("version"))["version"] or 0
            constitution = Constitution.objects.create(
                project=project, version=last + 1, principles=checked, note=note, created_by=user
            )
            record_event("constitution.write", constitution, actor=user, project=project, after={"principles": checked})
    except IntegrityError as error:
        raise InvalidConstitution("someone wrote a version at the same moment: look at it, then write yours") from error
    return constitution


def find_newest(project: Project) -> Constitution | None:
    """Return the project's last constitution."""
    return Constitution.objects.filter(project=project).order_by("-version").first()


def list_newest(projects: Iterable[Project]) -> dict[int, Constitution]:
    """Return the last constitution of each project that has one, by project, in one query."""
    later = Constitution.objects.filter(project=OuterRef("project"), version__gt=OuterRef("version"))
    found = Constitution.objects.filter(~Exists(later), project__in=projects).defer("principles")
    return {constitution.project_id: constitution for constitution in found}


def check_principles(principles: Sequence[Any]) -> list[Principle]:
    """Return principles as they are stored. Raises: InvalidConstitution naming the one that cannot be."""
    if not principles or len(principles) > MAX_PRINCIPLES:
        raise InvalidConstitution(f"a constitution has from 1 to {MAX_PRINCIPLES} principles, got {len(principles)}")
    checked = [check_principle(principle, number) for number, principle in enumerate(principles, 1)]
    ids = [principle["id"] for principle in checked]
    if twice := sorted({pk for pk in ids if ids.count(pk) > 1}):
        raise InvalidConstitution(f"every principle has an id of its own: {', '.join(twice)} comes twice")
    return checked


def check_principle(principle: Any, number: int) -> Principle:
    if not isinstance(principle, dict) or (unknown := sorted(set(principle) - KEYS)):
        names = ", ".join(unknown).encode("utf-8", "backslashreplace").decode() if isinstance(principle, dict) else ""
        extra = f": {names}" if names else ""
        raise InvalidConstitution(f"principle {number} must be an object with {', '.join(sorted(KEYS))}{extra}")
    for name in ("id", *TEXTS):
        text = principle.get(name)
        if not isinstance(text, str) or not text.strip() or len(text) > MAX_CHARS:
            raise InvalidConstitution(f"principle {number} needs a text for {name}, of {MAX_CHARS} characters at most")
        require_storable(text, what=f"principle {number}: {name}")
    weight = principle.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight <= 1000:
        raise InvalidConstitution(f"principle {number}: weight must be over 0 and at most 1000, got {weight!r}")
    tags = principle.get("tags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise InvalidConstitution(f"principle {number}: tags must be a list of texts, got {tags!r}")
    for tag in tags:
        require_storable(tag, what=f"principle {number}: a tag")
    return Principle(
        id=principle["id"].strip(),
        critique=principle["critique"].strip(),
        revision=principle["revision"].strip(),
        comparison=principle["comparison"].strip(),
        tags=tags,
        weight=float(weight),
    )


def require_storable(text: str, *, what: str) -> None:
    """Raise InvalidConstitution for a text that not every database and file can keep."""
    try:
        check_text(text, what=what)
    except InvalidContent as error:
        raise InvalidConstitution(str(error)) from error


def draw_principles(constitution: Constitution, n: int, *, seed: int, pk: int) -> list[Principle]:
    """Return n principles for one row, by their weights, each once while there are others; the same every time."""
    draw = random.Random(seed * 1_000_003 + pk)
    drawn: list[Principle] = []
    left: list[Principle] = []
    for _ in range(n):
        left = left or list(constitution.principles)
        principle = draw.choices(left, [item.get("weight", 1.0) for item in left])[0]
        left = [item for item in left if item["id"] != principle["id"]]
        drawn.append(principle)
    return drawn
