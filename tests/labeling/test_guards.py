"""What must never be true of labeling rows, tried by illegal writes on the database itself."""

from __future__ import annotations

import uuid

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from labeling.domain.pairing import add_prompt
from labeling.models import (
    Comparison,
    Completion,
    Demonstration,
    Guideline,
    Import,
    ImportedJudgment,
    Judgment,
    Membership,
    Project,
    Prompt,
    Skip,
    Slot,
)
from tests.labeling.rows import add_pair, claim, judge

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture
def table(kitchen, garden, grace, hedy, eve):
    """One comparison with three slots, the first judged by grace and the second held by hedy; and a free one elsewhere."""
    comparison = add_pair(kitchen, overlap=3)
    judgment = judge(claim(kitchen, grace), grace)
    held = claim(kitchen, hedy)
    elsewhere = add_pair(garden, "How deep do tulips go?", overlap=2)
    return Table(kitchen, garden, grace, hedy, eve, comparison, judgment, held, elsewhere)


class Table:
    """The rows every illegal write starts from."""

    def __init__(self, kitchen, garden, grace, hedy, eve, comparison, judgment, held, elsewhere):
        self.kitchen, self.garden = kitchen, garden
        self.grace, self.hedy, self.eve = grace, hedy, eve
        self.comparison, self.judgment, self.held, self.elsewhere = comparison, judgment, held, elsewhere

    def add_judgment(self, **changes):
        facts = {
            "comparison": self.comparison,
            "labeler": self.hedy,
            "slot": self.held,
            "verdict": "A",
            "strength": -1,
            "scale": "quick",
            "a_shown_left": True,
            "shown_at": timezone.now(),
        }
        return Judgment.objects.create(**facts | changes)

    def add_slot(self, **changes):
        facts = {"project": self.garden, "comparison": self.elsewhere, "number": 1, "a_shown_left": True}
        Slot.objects.filter(comparison=self.elsewhere, number=1).delete()
        return Slot.objects.create(**facts | changes)

    def set_held(self, **changes):
        Slot.objects.filter(pk=self.held.pk).update(**changes)

    def add_comparison(self, **changes):
        first = self.comparison
        facts = {
            "project": self.kitchen,
            "prompt": first.prompt,
            "completion_a": first.completion_a,
            "completion_b": first.completion_b,
            "content_sha": "0" * 64,
        }
        return Comparison.objects.create(**facts | changes)

    def add_import(self, **changes):
        facts = {"project": self.kitchen, "source": "hh", "filename": "f", "sha256": "a" * 64, "format": "hh"}
        return Import.objects.create(**facts | changes)

    def add_imported_judgment(self, imported, **changes):
        facts = {"imported": imported, "line": 1, "comparison": self.comparison, "verdict": "A", "strength": -1}
        return ImportedJudgment.objects.create(**facts | changes)


def import_twice(table):
    table.add_import()
    table.add_import()


def import_a_line_twice(table):
    imported = table.add_import()
    table.add_imported_judgment(imported)
    table.add_imported_judgment(imported)


def demonstrate_a_line_twice(table):
    imported = table.add_import()
    for completion in (table.comparison.completion_a, table.comparison.completion_b):
        Demonstration.objects.create(completion=completion, imported=imported, line=1)


def skip_twice(table):
    for reason in ("language", "unsafe"):
        Skip.objects.create(comparison=table.comparison, labeler=table.hedy, reason=reason)


def number_a_guideline_twice(table):
    for text in ("one", "two"):
        Guideline.objects.create(project=table.kitchen, version=1, text=text)


def revise_twice(table):
    for strength in (-1, -2):
        table.add_judgment(labeler=table.grace, slot=None, revises=table.judgment, strength=strength)


def judge_after_leaving(table):
    Membership.objects.filter(user=table.hedy).delete()
    table.add_judgment()


def claim_after_suspension(table):
    free = Slot.objects.get(comparison=table.comparison, state="free")
    Membership.objects.filter(user=table.hedy).update(is_active=False)
    table.set_held(state="free", labeler=None)
    Slot.objects.filter(pk=free.pk).update(
        state="held", labeler=table.hedy, lease_token=uuid.uuid4(), lease_until=timezone.now()
    )


def hold_as_a_stranger(table):
    Slot.objects.filter(comparison=table.comparison, state="free").update(
        state="held", labeler=table.eve, lease_token=uuid.uuid4(), lease_until=timezone.now()
    )


def hold_a_second_slot(table):
    Slot.objects.filter(comparison=table.comparison, state="free").update(
        state="held", labeler=table.hedy, lease_token=uuid.uuid4(), lease_until=timezone.now()
    )


def compare_across_prompts(table):
    other = Completion.objects.create(prompt=table.elsewhere.prompt, text="x", content_sha="c" * 64)
    table.add_comparison(completion_b=other)


def move_a_comparison_to_another_prompt(table):
    Comparison.objects.filter(pk=table.comparison.pk).update(prompt=add_prompt(table.kitchen, [USER]))


USER = {"role": "user", "content": "Something else"}
ILLEGAL = {
    "one_membership_per_user": lambda table: Membership.objects.create(project=table.kitchen, user=table.grace),
    "overlap_between_1_and_100": lambda table: Project.objects.filter(pk=table.kitchen.pk).update(overlap=0),
    "overlap_between_1_and_100 (over)": lambda table: Project.objects.create(slug="p", name="P", overlap=101),
    "lease_is_positive": lambda table: Project.objects.create(slug="p", name="P", lease_s=0),
    "slug is unique": lambda table: Project.objects.create(slug="kitchen", name="P"),
    "one_guideline_per_version": number_a_guideline_twice,
    "one_import_per_file": import_twice,
    "import_state_is_known": lambda table: table.add_import(state="gone"),
    "one_prompt_per_content": lambda table: Prompt.objects.create(
        project=table.kitchen, messages=[], content_sha=table.comparison.prompt.content_sha, group="g"
    ),
    "one_completion_per_content": lambda table: Completion.objects.create(
        prompt=table.comparison.prompt, text="x", content_sha=table.comparison.completion_a.content_sha
    ),
    "one_demonstration_per_line": demonstrate_a_line_twice,
    "one_comparison_per_content": lambda table: table.add_comparison(content_sha=table.comparison.content_sha),
    "completions_differ": lambda table: table.add_comparison(completion_b=table.comparison.completion_a),
    "comparison_is_of_one_prompt": compare_across_prompts,
    "comparison_is_of_one_prompt (project)": lambda table: table.add_comparison(project=table.garden),
    "comparison_stays_of_one_prompt": move_a_comparison_to_another_prompt,
    "completion_text_is_fixed": lambda table: Completion.objects.update(text="forged"),
    "slot_number_is_under_overlap": lambda table: table.add_slot(number=2),
    "slot_is_of_its_project": lambda table: table.add_slot(project=table.kitchen),
    "one_slot_per_number": lambda table: table.add_slot(number=0),
    "one_slot_per_labeler": hold_a_second_slot,
    "slot_state_is_known": lambda table: table.set_held(state="lost"),
    "held_slot_has_a_lease (token)": lambda table: table.set_held(lease_token=None),
    "held_slot_has_a_lease (until)": lambda table: table.set_held(lease_until=None),
    "free_slot_has_no_labeler": lambda table: table.set_held(state="free"),
    "free_slot_has_no_labeler (done)": lambda table: table.set_held(state="done", labeler=None),
    "propensity_is_a_probability": lambda table: table.add_slot(propensity=0.0),
    "propensity_is_a_probability (over)": lambda table: table.add_slot(propensity=1.01),
    "slot_is_held_by_a_member": hold_as_a_stranger,
    "slot_is_held_by_a_member (suspended)": claim_after_suspension,
    "one_skip_per_labeler": skip_twice,
    "judgments_are_append_only": lambda table: Judgment.objects.update(strength=-3),
    "judgment_is_its_slot_holders": lambda table: table.add_judgment(
        slot=Slot.objects.get(comparison=table.comparison, state="free")
    ),
    "judgment_is_its_slot_holders (comparison)": lambda table: table.add_judgment(
        slot=Slot.objects.filter(comparison=table.elsewhere).first()
    ),
    "judgment_is_a_members": lambda table: table.add_judgment(labeler=table.eve, slot=None, is_extra=True),
    "judgment_is_a_members (left)": judge_after_leaving,
    "judgment_has_its_place": lambda table: table.add_judgment(slot=None),
    "one_judgment_per_labeler": lambda table: table.add_judgment(labeler=table.grace, slot=None, is_extra=True),
    "judgment.slot is unique": lambda table: table.add_judgment(
        labeler=table.grace, slot=table.judgment.slot, revises=table.judgment
    ),
    "idempotency_key is unique": lambda table: table.add_judgment(idempotency_key=table.judgment.idempotency_key),
    "revision_is_of_the_same": lambda table: table.add_judgment(revises=table.judgment),
    "judgment.revises is unique": revise_twice,
    "verdict_is_the_sign_of_strength": lambda table: table.add_judgment(verdict="A", strength=1),
    "verdict_is_the_sign_of_strength (tie)": lambda table: table.add_judgment(verdict="tie", strength=1),
    "verdict_is_the_sign_of_strength (range)": lambda table: table.add_judgment(verdict="B", strength=4),
    "verdict_is_the_sign_of_strength (unknown)": lambda table: table.add_judgment(verdict="C", strength=0),
    "one_imported_judgment_per_line": import_a_line_twice,
    "imported_verdict_is_the_sign_of_strength": lambda table: table.add_imported_judgment(
        table.add_import(), verdict="B"
    ),
}


@pytest.mark.parametrize("rule", ILLEGAL)
def test_the_database_refuses(rule, table):
    with pytest.raises(IntegrityError), transaction.atomic():
        ILLEGAL[rule](table)


def test_the_database_allows_what_the_house_does(table):
    """The same rows with nothing wrong in them: a refusal above is a refusal of the fault."""
    judgment = table.add_judgment()
    table.add_judgment(slot=None, revises=judgment, strength=-3)
    table.add_slot()
    table.add_imported_judgment(table.add_import())

    assert Judgment.objects.count() == 3
