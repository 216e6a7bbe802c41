"""What must never be true of labeling rows, tried by illegal writes on the database itself."""

from __future__ import annotations

import uuid

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from labeling.domain.pairing import add_prompt
from labeling.models import (
    Adjudication,
    AuditEvent,
    Comparison,
    Completion,
    Demonstration,
    Fix,
    Gold,
    Guideline,
    Import,
    ImportedJudgment,
    Judgment,
    Membership,
    Project,
    Prompt,
    SavedView,
    Skip,
    Slice,
    Slot,
)
from tests.labeling.rows import add_pair, claim, judge

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture
def table(kitchen, garden, ada, grace, hedy, eve):
    """One comparison with three slots, the first judged by grace and the second held by hedy; and a free one elsewhere."""
    comparison = add_pair(kitchen, overlap=3)
    judgment = judge(claim(kitchen, grace), grace)
    held = claim(kitchen, hedy)
    elsewhere = add_pair(garden, "How deep do tulips go?", overlap=2)
    return Table(kitchen, garden, ada, grace, hedy, eve, comparison, judgment, held, elsewhere)


class Table:
    """The rows every illegal write starts from."""

    def __init__(self, kitchen, garden, ada, grace, hedy, eve, comparison, judgment, held, elsewhere):
        self.kitchen, self.garden, self.ada = kitchen, garden, ada
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

    def add_probe(self, **changes):
        """A slot made for grace as it is claimed, outside the overlap."""
        facts = {
            "project": self.kitchen,
            "comparison": self.comparison,
            "number": Slot.PROBE_NUMBER,
            "a_shown_left": True,
            "reason": "repeat",
            "state": "held",
            "labeler": self.grace,
            "lease_token": uuid.uuid4(),
            "lease_until": timezone.now(),
        }
        return Slot.objects.create(**facts | changes)

    def adjudicate(self, **changes):
        facts = {"comparison": self.comparison, "reviewer": self.ada, "act": "accept"}
        return Adjudication.objects.create(**facts | changes)

    def add_gold(self, **changes):
        return Gold.objects.create(**{"comparison": self.comparison, "strength_min": -3, "strength_max": -1} | changes)

    def add_fix(self):
        return Fix.objects.create(judgment=self.judgment, completion=self.comparison.completion_a)

    def add_view(self, **changes):
        facts = {"project": self.kitchen, "owner": self.grace, "page": "prompts", "name": "mine"}
        return SavedView.objects.create(**facts | changes)

    def set_project(self, **changes):
        Project.objects.filter(pk=self.kitchen.pk).update(**changes)


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


def repeat_twice(table):
    table.add_probe()
    table.add_probe(number=Slot.PROBE_NUMBER + 1)


def judge_a_repeat_twice(table):
    for _ in range(2):
        table.add_judgment(labeler=table.grace, slot=None, is_extra=True, reason="repeat")


def revise_work_as_a_repeat(table):
    table.add_judgment(labeler=table.grace, slot=None, revises=table.judgment, reason="repeat")


def probe_as_a_suspended_member(table):
    Membership.objects.filter(user=table.grace).update(is_active=False)
    table.add_probe()


def adjudicate_after_suspension(table):
    Membership.objects.filter(user=table.ada).update(is_active=False)
    table.adjudicate()


def forge_an_adjudication(table):
    table.adjudicate()
    Adjudication.objects.update(act="retire")


def forge_a_fix(table):
    table.add_fix()
    Fix.objects.update(completion=table.comparison.completion_b)


def forge_the_trail(table):
    AuditEvent.objects.create(verb="project.edit", subject="kitchen", project=table.kitchen)
    AuditEvent.objects.update(subject="garden")


def fix_twice(table):
    table.add_fix()
    table.add_fix()


def gild_twice(table):
    table.add_gold()
    table.add_gold()


def name_a_slice_twice(table):
    for _ in range(2):
        Slice.objects.create(project=table.kitchen, name="code", language="en")


def name_a_view_twice(table):
    table.add_view()
    table.add_view(query="q=egg")


def demonstrate_a_fix_twice(table):
    for _ in range(2):
        Demonstration.objects.create(completion=table.comparison.completion_a)


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
    "verdict_is_the_sign_of_strength (range)": lambda table: table.add_judgment(
        verdict="B", strength=5, scale="forced"
    ),
    "strength_is_of_its_scale": lambda table: table.add_judgment(verdict="B", strength=4),
    "strength_is_of_its_scale (low)": lambda table: table.add_judgment(verdict="A", strength=-4, scale="seven"),
    "strength_is_of_its_scale (tie)": lambda table: table.add_judgment(verdict="tie", strength=0, scale="eight"),
    "verdict_is_the_sign_of_strength (unknown)": lambda table: table.add_judgment(verdict="C", strength=0),
    "one_repeat_slot_per_labeler": repeat_twice,
    "one_repeat_per_labeler": judge_a_repeat_twice,
    "one_slot_per_labeler (gold of what she judged)": lambda table: table.add_probe(reason="gold"),
    "slot_number_is_under_overlap (work among the probes)": lambda table: table.add_probe(reason="random"),
    "new_slot_is_held_by_a_member": lambda table: table.add_probe(labeler=table.eve),
    "new_slot_is_held_by_a_member (suspended)": probe_as_a_suspended_member,
    "revision_is_of_the_same (reason)": revise_work_as_a_repeat,
    "free_slot_has_no_labeler (shut)": lambda table: table.set_held(state="shut"),
    "comparison_state_is_known": lambda table: Comparison.objects.update(state="lost"),
    "one_gold_per_comparison": gild_twice,
    "gold_strengths_are_a_range (order)": lambda table: table.add_gold(strength_min=1, strength_max=0),
    "gold_strengths_are_a_range (low)": lambda table: table.add_gold(strength_min=-4),
    "gold_strengths_are_a_range (high)": lambda table: table.add_gold(strength_max=4),
    "adjudications_are_append_only": forge_an_adjudication,
    "adjudication_is_a_reviewers (labeler)": lambda table: table.adjudicate(reviewer=table.grace),
    "adjudication_is_a_reviewers (stranger)": lambda table: table.adjudicate(reviewer=table.eve),
    "adjudication_is_a_reviewers (suspended)": adjudicate_after_suspension,
    "override_has_a_strength (none)": lambda table: table.adjudicate(act="override", strength=None),
    "override_has_a_strength (range)": lambda table: table.adjudicate(act="override", strength=4),
    "override_has_a_strength (no middle)": lambda table: table.adjudicate(act="override", strength=0, scale="forced"),
    "override_has_a_strength (beyond)": lambda table: table.adjudicate(act="override", strength=5, scale="eight"),
    "override_has_a_strength (of another act)": lambda table: table.adjudicate(act="accept", strength=1),
    "fixes_are_append_only": forge_a_fix,
    "fix.judgment is unique": fix_twice,
    "one_own_demonstration_per_completion": demonstrate_a_fix_twice,
    "imported_demonstration_has_its_line": lambda table: Demonstration.objects.create(
        completion=table.comparison.completion_a, line=1
    ),
    "audit_events_are_append_only": forge_the_trail,
    "one_slice_per_name": name_a_slice_twice,
    "one_view_per_name": name_a_view_twice,
    "view_page_is_known": lambda table: table.add_view(page="secrets"),
    "overlap_share_is_a_share": lambda table: table.set_project(overlap_share=1.1),
    "overlap_max_at_most_100": lambda table: table.set_project(overlap_max=101),
    "spread_limit_between_1_and_6": lambda table: table.set_project(spread_limit=0),
    "spread_limit_between_1_and_6 (over)": lambda table: table.set_project(spread_limit=7),
    "random_share_at_least_a_tenth": lambda table: table.set_project(random_share=0.09),
    "gold_and_repeat_shares_at_most_half": lambda table: table.set_project(gold_share=0.51),
    "gold_and_repeat_shares_at_most_half (repeats)": lambda table: table.set_project(repeat_share=-0.1),
    "exam_pass_share_is_a_share": lambda table: table.set_project(exam_pass_share=1.5),
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
    probe = table.add_probe()
    table.add_judgment(labeler=table.grace, slot=probe, reason="repeat")
    table.adjudicate()
    table.adjudicate(act="override", strength=-3)
    table.adjudicate(act="override", strength=4, scale="eight")
    table.add_gold()
    table.add_fix()
    table.add_view()
    Demonstration.objects.create(completion=table.comparison.completion_a)
    Slot.objects.filter(state="free").update(state="shut")
    table.set_project(gold_share=0.5, repeat_share=0.5, random_share=0.1, spread_limit=6, overlap_max=100)

    assert Judgment.objects.count() == 4
