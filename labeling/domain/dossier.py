"""All that is known of one comparison: its places, every vote with its revisions, who passed it on, what was decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _

from labeling.domain.adjudicating import has_part
from labeling.domain.fixing import show_fix
from labeling.domain.trail import Line, read_comparison
from labeling.models import Adjudication, Comparison, Gold, Judgment, Skip, Slot, User

MAX_SLOTS = 200


@dataclass(frozen=True, kw_only=True)
class Said:
    """A labeler's word on the comparison. earlier: what she had said before, newest first."""

    name: str
    judgment: Judgment
    fix: str
    earlier: Sequence[Judgment]


@dataclass(frozen=True, kw_only=True)
class Place:
    """A slot, and the name of whoever holds it or judged there. state: as the reader may know it."""

    slot: Slot
    name: str
    state: str


@dataclass(frozen=True, kw_only=True)
class Dossier:
    """A comparison's past. Managers read names; reviewers numbers that hold within the comparison, and no gold.

    is_veiled: she judged it or wrote a text of it herself and decides nothing here, so what others said is left out.
    """

    places: Sequence[Place]
    said: Sequence[Said]
    skips: Sequence[tuple[str, Skip]]
    adjudications: Sequence[Adjudication]
    gold: Gold | None
    lines: Sequence[Line]
    is_veiled: bool = False


def open_dossier(comparison: Comparison, reader: User, *, manages: bool) -> Dossier:
    """Return what the reader may know of a comparison."""
    if not manages and has_part(comparison, reader):
        return Dossier(places=[], said=[], skips=[], adjudications=[], gold=None, lines=[], is_veiled=True)
    rows = list_judgments(comparison, manages=manages)
    slots = list(comparison.slots.select_related("labeler").order_by("number")[:MAX_SLOTS])
    skips = list(comparison.skips.select_related("labeler").order_by("id"))
    names = name_people(rows, slots, skips, manages=manages)
    return Dossier(
        places=[
            Place(
                slot=slot, name=names.get(slot.labeler_id or 0, ""), state=name_state(slot, comparison, manages=manages)
            )
            for slot in slots
            if manages or not is_probe(slot)
        ],
        said=read_said(rows, names),
        skips=[(names[skip.labeler_id], skip) for skip in skips],
        adjudications=list(comparison.adjudications.select_related("reviewer")),
        gold=Gold.objects.filter(comparison=comparison).first() if manages else None,
        lines=read_comparison(comparison.project, comparison.pk) if manages else [],
    )


def is_probe(slot: Slot) -> bool:
    return slot.number >= Slot.PROBE_NUMBER


def name_state(slot: Slot, comparison: Comparison, *, manages: bool) -> str:
    """Return a slot's state; to those who may not know what is gold, one that is shut for it is free like any other."""
    is_told = manages or comparison.state != Comparison.State.OPEN or slot.state != Slot.State.SHUT
    return slot.state if is_told else Slot.State.FREE


def list_judgments(comparison: Comparison, *, manages: bool) -> list[Judgment]:
    """Return every word said, oldest first; who measures whom by probes is the managers' business."""
    rows = comparison.judgments.select_related("labeler", "guideline", "fix__completion").order_by("id")
    return list(rows if manages else rows.of_work())


def name_people(
    rows: Sequence[Judgment], slots: Sequence[Slot], skips: Sequence[Skip], *, manages: bool
) -> Mapping[int, str]:
    """Return what each labeler goes by: her name for managers, for others a number in the order of first judgments."""
    labelers = [row.labeler for row in rows] + [slot.labeler for slot in slots] + [skip.labeler for skip in skips]
    people = {labeler.pk: str(labeler) for labeler in labelers if labeler}
    if manages:
        return people
    return {pk: _("labeler %d") % number for number, pk in enumerate(people, start=1)}


def read_said(rows: Sequence[Judgment], names: Mapping[int, str]) -> list[Said]:
    """Return the last words, each with what it revises; a repeat is a word of its own."""
    by_pk = {row.pk: row for row in rows}
    revised = {row.revises_id for row in rows}
    found = []
    for row in rows:
        if row.pk in revised:
            continue
        earlier, before = [], by_pk.get(row.revises_id or 0)
        while before:
            earlier.append(before)
            before = by_pk.get(before.revises_id or 0)
        found.append(Said(name=names[row.labeler_id], judgment=row, fix=show_fix(row), earlier=earlier))
    return found
