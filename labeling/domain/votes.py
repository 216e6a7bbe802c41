"""The one reader of judgments for figures: a project's votes as plain rows, streamed, with what figures ask of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import (
    BooleanField,
    Count,
    Exists,
    ExpressionWrapper,
    F,
    OuterRef,
    Q,
    QuerySet,
    Value,
    Window,
)
from django.db.models.functions import Greatest, Length, Replace, RowNumber

from labeling.domain.attention import CHARS_PER_WORD
from labeling.domain.gold import right_answers
from labeling.models import Adjudication, Judgment, Membership, Project, Reason
from labeling.models.scales import center

MAX_VOTES = 100_000  # figures are of the newest so many: some ten seconds of work for all of a project's
# Of each labeler's own: no flag fades because others vote. The last block of her answers is what decides.
WINDOW, STEP = 2000, 1000
CHUNK = 2000


@dataclass(frozen=True, slots=True)
class VoteRow:
    """One labeler's last word on one comparison."""

    judgment: int
    item: int
    labeler: int
    strength: int
    both_bad: bool
    a_shown_left: bool
    is_hasty: bool
    active_ms: int
    n_pastes: int
    submitted_at: datetime
    guideline: int | None  # version
    slice: str  # "name (language)", or ""
    words_a: int
    words_b: int
    is_quarantined: bool = False  # the labeler is
    is_sent_back: bool = False  # the comparison was sent back after it
    is_old: bool = False  # before her window: others are compared with it, and it is none of her figures
    is_conditional: bool = False  # whether it was asked for hung on what others had said
    scale: str = Project.Scale.SEVEN

    @property
    def is_counted(self) -> bool:
        """Whether it counts beyond the labeler's own row."""
        return not (self.is_quarantined or self.is_sent_back)

    @property
    def is_tie(self) -> bool | None:
        """Whether it sees no difference; None where both are bad, which says nothing of how close they are."""
        return None if self.strength == 0 and self.both_bad else self.strength == 0

    @property
    def is_left(self) -> bool | None:
        """Whether the winner stood left; None for a tie."""
        return None if self.strength == 0 else (self.strength < 0) == self.a_shown_left

    @property
    def is_longer(self) -> bool | None:
        """Whether the winner is the longer text; None for a tie, or between equally long ones."""
        if self.strength == 0 or self.words_a == self.words_b:
            return None
        return (self.strength < 0) == (self.words_a > self.words_b)


def read_votes(
    project: Project,
    *,
    slice: str | None = None,
    since: datetime | None = None,
    labeler: int | None = None,
    with_words: bool = True,
    n_most: int = MAX_VOTES,
) -> Iterator[VoteRow]:
    """Yield the project's votes of work as they stand, newest first, n_most at the most; probes are no votes.

    Without words it reads no text, and no winner is longer.
    """
    votes = list_votes(project, since=since)
    if slice is not None:
        votes = votes.filter(comparison__prompt__slice__name=slice)
    if labeler is not None:
        votes = votes.filter(labeler=labeler)
    votes = votes.order_by("-id").annotate(is_old=Value(value=False))
    for row in read_columns(votes, with_words=with_words)[:n_most].iterator(CHUNK):
        yield build_row(row)


def list_votes(project: Project, *, since: datetime | None = None) -> QuerySet[Judgment]:
    """Return the votes of work of a project as they stand."""
    votes: QuerySet[Judgment] = Judgment.objects.current().of_work().of_project(project)
    return votes if since is None else votes.filter(submitted_at__gte=since)


def read_columns(votes: QuerySet[Judgment], *, with_words: bool = True) -> QuerySet[Judgment, tuple[Any, ...]]:
    """Return of votes that say is_old what a VoteRow is built of."""
    return votes.annotate(is_quarantined=is_quarantined(), is_sent_back=is_sent_back()).values_list(
        *("pk", "comparison", "labeler", "strength", "both_bad", "a_shown_left", "is_hasty", "active_ms"),
        *("trace__paste_count", "submitted_at", "guideline__version"),
        *("comparison__prompt__slice__name", "comparison__prompt__slice__language"),
        *(count_words(f"comparison__completion_{side}__text") if with_words else Value(0) for side in "ab"),
        *("is_quarantined", "is_sent_back", "is_old", "is_conditional", "scale"),
    )


def read_windows(project: Project, *, since: datetime | None = None) -> Iterator[VoteRow]:
    """Yield, in order, every labeler's newest votes, WINDOW at the least, and what else was said of the same.

    How far back hers are read depends on how many she cast, and on nobody else. Her window moves STEP votes at a time:
    the blocks of votes by which she is judged stay what they are until then.
    """
    votes = list_votes(project, since=since)
    place = Window(RowNumber(), partition_by="labeler", order_by="id")
    numbered = votes.annotate(place=place, n=Window(Count("id"), partition_by="labeler"))
    hers = numbered.filter(place__gt=(F("n") - WINDOW) / STEP * STEP)
    seen = votes.filter(comparison__in=hers.values("comparison")).order_by("id")
    is_old = ExpressionWrapper(~Q(pk__in=hers.values("pk")), output_field=BooleanField())
    for row in read_columns(seen.annotate(is_old=is_old)).iterator(CHUNK):
        yield build_row(row)


def count_votes(project: Project, *, since: datetime | None = None) -> dict[int, int]:
    """Return how many votes of work each labeler has cast, as they stand."""
    counted = list_votes(project, since=since).order_by().values_list("labeler")
    return dict(counted.annotate(n=Count("id")))


def load_votes(project: Project, *, since: datetime | None = None, with_words: bool = True) -> list[VoteRow]:
    """Return the newest votes in the order they came; see read_votes."""
    return list(read_votes(project, since=since, with_words=with_words))[::-1]


def list_quarantined(project: Project) -> QuerySet[Membership, int]:
    """Return the ids of the users whose judgments are left out until they are reinstated."""
    return Membership.objects.filter(project=project, is_quarantined=True).values_list("user", flat=True)


def is_quarantined() -> Exists:
    """Say of a judgment whether its labeler's are left out of the project until she is reinstated."""
    return Exists(
        Membership.objects.filter(
            project=OuterRef("comparison__project"), user=OuterRef("labeler"), is_quarantined=True
        )
    )


def is_sent_back() -> Exists:
    """Say of a judgment whether its comparison was sent back after it, to be judged anew."""
    sent_back = Adjudication.objects.filter(act=Adjudication.Act.SEND_BACK, upto__gte=OuterRef("pk"))
    return Exists(sent_back.filter(comparison=OuterRef("comparison")))


def count_words(field: str) -> Any:
    """Return attention.count_words as the database can say it: its spaces and one, or by letters where there are none."""
    spaces = Length(field) - Length(Replace(field, Value(" "), Value("")))
    return Greatest(spaces + 1, Length(field) / CHARS_PER_WORD)


def build_row(row: tuple[Any, ...]) -> VoteRow:
    *facts, n_pastes, submitted_at, guideline, slice, language, words_a, words_b = row[:-5]
    name = f"{slice} ({language})" if slice and language else slice or language or ""
    standing = map(bool, row[-5:-1])
    return VoteRow(*(*facts, n_pastes or 0, submitted_at, guideline, name, words_a, words_b, *standing, row[-1]))


def read_gold(project: Project, *, since: datetime | None = None) -> Iterator[tuple[int, bool]]:
    """Yield (labeler, is_right) of every gold judgment as it stands, in the order the gold was met, however long ago."""
    judged = Judgment.objects.current().of_project(project)
    judged = judged.filter(reason=Reason.GOLD, comparison__gold__is_active=True)
    if since is not None:
        judged = judged.filter(submitted_at__gte=since)
    is_right = ExpressionWrapper(right_answers(), output_field=BooleanField())
    rows = judged.annotate(is_right=is_right).order_by("id").values_list("labeler", "is_right")
    yield from ((labeler, bool(said)) for labeler, said in rows.iterator(CHUNK))


def read_repeats(project: Project, *, since: datetime | None = None) -> Iterator[tuple[int, bool]]:
    """Yield (labeler, is_same) of every hidden repeat, in order: whether it names the same winner as she did before.

    What was repeated is read with all that was said of it, once: to look up the first word of each repeat by itself
    took half a minute at 94,000 judgments.
    """
    asked = Judgment.objects.of_project(project).filter(reason=Reason.REPEAT, revises=None).values("comparison")
    judged = Judgment.objects.current().filter(comparison__in=asked).order_by("id")
    repeats: list[tuple[tuple[int, int], float]] = []
    firsts: dict[tuple[int, int], float] = {}
    rows = judged.values_list("comparison", "labeler", "strength", "scale", "reason", "submitted_at")
    for comparison, labeler, said, scale, reason, submitted_at in rows.iterator(CHUNK):
        strength = center(said, scale)
        if reason != Reason.REPEAT:
            firsts[comparison, labeler] = strength
        elif since is None or submitted_at >= since:
            repeats.append(((comparison, labeler), strength))
    yield from ((key[1], is_same(strength, firsts[key])) for key, strength in repeats if key in firsts)


def is_same(strength: float, first: float) -> bool:
    """Say whether two centered strengths name the same winner.

    Between "about the same" and "slightly" she names no other winner: who sees them close may say either. So may, where
    there is no tie to be said, who sees them closest of all.
    """
    return strength * first > 0 or abs(strength - first) <= 1
