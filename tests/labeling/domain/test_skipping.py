import uuid

import pytest

from labeling.domain.assignment import claim_slot, find_claim, reserve_slot
from labeling.domain.errors import AlreadyJudged, ClaimLost, InvalidContent, NotAMember
from labeling.domain.gold import drop_gold, make_gold
from labeling.domain.review import adjudicate
from labeling.domain.skipping import accept_slice, decline_slice, skip_comparison, undo_skip
from labeling.models import Comparison, Membership, Project, Prompt, Skip, Slice, Slot
from tests.labeling.conftest import make_member
from tests.labeling.rows import add_pair, add_pairs, claim, judge, run_together, trail

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def skip(slot, labeler, reason="cannot_judge"):
    return skip_comparison(slot.pk, labeler, lease_token=slot.lease_token, reason=reason)


def test_a_skipped_comparison_goes_to_someone_else(kitchen, grace, hedy):
    add_pair(kitchen, overlap=2)

    skip(claim(kitchen, grace), grace, "bad_prompt")

    assert Skip.objects.values_list("labeler", "reason").get() == (grace.pk, "bad_prompt")
    assert claim_slot(kitchen, grace) is None
    assert claim(kitchen, hedy).number == 0


def test_skipping_twice_is_one_skip(kitchen, grace):
    add_pair(kitchen)
    slot = claim(kitchen, grace)

    assert skip(slot, grace, "language") == skip(slot, grace, "unsafe")


def test_a_reason_is_one_of_five(kitchen, grace):
    add_pair(kitchen)

    with pytest.raises(ValueError, match="boredom"):
        skip(claim(kitchen, grace), grace, "boredom")

    assert (Skip.objects.count(), Slot.objects.get().state) == (0, "held")


def test_nobody_skips_what_was_not_given_to_her(kitchen, grace, hedy):
    add_pair(kitchen)
    slot = claim(kitchen, grace)

    with pytest.raises(ClaimLost):
        skip(slot, hedy)
    with pytest.raises(ClaimLost):
        skip(Slot(pk=4711, lease_token=uuid.uuid4()), hedy)

    assert find_claim(kitchen, grace) == slot


def test_what_is_judged_cannot_be_skipped(kitchen, grace):
    add_pair(kitchen)
    slot = claim(kitchen, grace)
    judge(slot, grace)

    with pytest.raises(AlreadyJudged):
        skip(slot, grace)


def test_a_suspended_member_cannot_skip(kitchen, grace):
    add_pair(kitchen)
    slot = claim(kitchen, grace)
    Membership.objects.update(is_active=False)

    with pytest.raises(NotAMember):
        skip(slot, grace)


def test_undo_gives_the_skipped_comparison_back_in_exchange_for_the_next(kitchen, grace):
    add_pairs(kitchen, 2)
    first = claim(kitchen, grace)
    skip(first, grace)
    claim(kitchen, grace)

    again = undo_skip(kitchen, grace)

    assert again.comparison == first.comparison
    assert [slot.comparison for slot in Slot.objects.filter(state="held")] == [first.comparison]
    assert Skip.objects.count() == 0


def test_undo_of_a_skip_whose_comparison_is_taken_forgets_the_skip(kitchen, grace, hedy):
    add_pair(kitchen)
    skip(claim(kitchen, grace), grace)
    claim(kitchen, hedy)

    assert undo_skip(kitchen, grace) is None

    assert Skip.objects.count() == 0


def test_without_a_skip_there_is_nothing_to_undo(kitchen, grace):
    with pytest.raises(ClaimLost):
        undo_skip(kitchen, grace)


def pass_on(project, comparison, *labelers, reason="bad_prompt"):
    for labeler in labelers:
        slot = claim(project, labeler)
        assert slot.comparison == comparison
        skip(slot, labeler, reason)


@pytest.fixture
def three(kitchen, grace, hedy):
    """Three labelers, and triage after two of them pass on."""
    Project.objects.update(triage_after=2)
    kitchen.refresh_from_db()
    return grace, hedy, make_member(kitchen, "joan")


def state_of(comparison):
    states = sorted(Slot.objects.filter(comparison=comparison).values_list("state", flat=True))
    return Comparison.objects.get(pk=comparison.pk).state, states


@pytest.mark.parametrize("reason", Skip.Reason.values)
def test_what_enough_labelers_pass_on_waits_for_a_reviewer(kitchen, three, reason):
    grace, hedy, joan = three
    comparison = add_pair(kitchen, overlap=2)

    pass_on(kitchen, comparison, grace, reason=reason)
    before = state_of(comparison)
    pass_on(kitchen, comparison, hedy, reason=reason)

    assert (before, state_of(comparison)) == (("open", ["free", "free"]), ("triage", ["shut", "shut"]))
    assert claim_slot(kitchen, joan) is None


def test_without_a_limit_nothing_waits_for_a_reviewer(kitchen, three):
    Project.objects.update(triage_after=0)
    kitchen.refresh_from_db()
    comparison = add_pair(kitchen)

    pass_on(kitchen, comparison, *three)

    assert state_of(comparison) == ("open", ["free"])


def test_one_labeler_counts_once(kitchen, three):
    grace, *_ = three
    comparison = add_pair(kitchen)
    slot = claim(kitchen, grace)

    for reason in ("language", "unsafe", "broken"):
        skip(slot, grace, reason)

    assert state_of(comparison) == ("open", ["free"])


@pytest.mark.django_db(transaction=True)
def test_eight_who_pass_on_at_once_are_all_counted(kitchen):
    Project.objects.update(triage_after=8)
    kitchen.refresh_from_db()
    comparison = add_pair(kitchen, overlap=8)
    labelers = [make_member(kitchen, f"labeler-{number}") for number in range(8)]
    slots = [(claim(kitchen, labeler), labeler) for labeler in labelers]

    run_together(*[lambda slot=slot, labeler=labeler: skip(slot, labeler) for slot, labeler in slots])

    assert (state_of(comparison), Skip.objects.count()) == (("triage", ["shut"] * 8), 8)


def test_a_vote_on_the_way_to_triage_is_kept(kitchen, three):
    grace, hedy, joan = three
    comparison = add_pair(kitchen, overlap=3)
    slot = claim(kitchen, joan)
    pass_on(kitchen, comparison, grace, hedy)

    judgment = judge(slot, joan)

    assert (judgment.slot_id, judgment.is_extra) == (slot.pk, False)
    assert state_of(comparison) == ("triage", ["done", "shut", "shut"])


def test_undo_brings_the_comparison_back_from_triage(kitchen, three):
    grace, hedy, joan = three
    comparison = add_pair(kitchen, overlap=2)
    pass_on(kitchen, comparison, grace, hedy)

    slot = undo_skip(kitchen, hedy)

    assert slot.comparison == comparison
    assert state_of(comparison) == ("open", ["free", "held"])
    assert claim(kitchen, joan).comparison == comparison


def test_undo_leaves_it_in_triage_while_enough_others_passed_it_on(kitchen, three):
    grace, hedy, joan = three
    comparison = add_pair(kitchen, overlap=3)
    slot = claim(kitchen, joan)
    pass_on(kitchen, comparison, grace, hedy)
    skip(slot, joan)

    assert undo_skip(kitchen, joan) is None

    assert state_of(comparison) == ("triage", ["shut", "shut", "shut"])


def test_skips_before_a_reviewers_decision_count_no_more(kitchen, ada, three):
    grace, hedy, joan = three
    comparison = add_pair(kitchen)
    pass_on(kitchen, comparison, grace, hedy)
    comparison.refresh_from_db()
    adjudicate(comparison, ada, act="send_back", seen_upto=0)

    pass_on(kitchen, comparison, joan)

    assert state_of(comparison) == ("open", ["free"])


def test_gold_is_skipped_without_a_trace_in_the_queue(kitchen, ada, three):
    comparison = add_pair(kitchen)
    make_gold(comparison, ada, strength_min=1, strength_max=3)
    kitchen.gold_share = 1.0

    pass_on(kitchen, comparison, *three)

    assert Comparison.objects.get().state == "open"
    assert list(comparison.slots.of_work().values_list("state", flat=True)) == ["shut"]


def test_skips_of_probes_send_nothing_to_triage(kitchen, three):
    """Repeats skipped by those who judged it, then one skip of work: one labeler passed it on, not three."""
    grace, hedy, joan = three
    comparison = add_pair(kitchen, overlap=3)
    for labeler in (grace, hedy):
        judge(claim(kitchen, labeler), labeler)
        skip(claim_repeat(kitchen, labeler), labeler)

    pass_on(kitchen, comparison, joan)

    assert Comparison.objects.get().state == "open"
    assert Skip.objects.count() == 3


def claim_repeat(project, labeler):
    again = Project.objects.get(pk=project.pk)
    again.gold_share, again.repeat_share, again.repeat_after_h = 0.0, 1.0, 0
    slot = claim(again, labeler)
    assert slot.reason == "repeat"
    return slot


def test_undo_gives_a_skipped_repeat_back_as_it_was(kitchen, grace):
    add_pair(kitchen, overlap=2)
    judge(claim(kitchen, grace), grace)
    slot = claim_repeat(kitchen, grace)
    skip(slot, grace)

    again = undo_skip(kitchen, grace)

    assert (again, again.reason, again.propensity, again.a_shown_left, again.lease_token, again.state) == (
        slot,
        "repeat",
        slot.propensity,
        slot.a_shown_left,
        slot.lease_token,
        "held",
    )
    assert (Skip.objects.count(), judge(again, grace).reason) == (0, "repeat")


def test_undo_gives_skipped_gold_back_and_the_same_skip_again_is_the_stored_one(kitchen, ada, grace):
    comparison = add_pair(kitchen)
    gold = make_gold(comparison, ada, strength_min=1, strength_max=3)
    kitchen.gold_share = 1.0
    slot = claim(kitchen, grace)

    assert skip(slot, grace) == skip(slot, grace)
    again = undo_skip(kitchen, grace)
    assert (again, again.reason) == (slot, "gold")
    skip(again, grace)
    drop_gold(gold, ada)
    assert undo_skip(kitchen, grace) is None
    assert (Skip.objects.count(), Slot.objects.filter(reason="gold").count()) == (0, 0)


def test_undo_of_a_skip_beside_a_place_of_hers_forgets_it(kitchen, grace):
    """Its probe is gone, as for repeats skipped before they were put by."""
    add_pair(kitchen, overlap=2)
    judge(claim(kitchen, grace), grace)
    skip(claim_repeat(kitchen, grace), grace)
    Slot.objects.filter(reason="repeat").delete()

    assert undo_skip(kitchen, grace) is None

    assert Skip.objects.count() == 0


def test_a_repeat_may_be_skipped_though_it_was_judged_before(kitchen, grace):
    add_pair(kitchen)
    judge(claim(kitchen, grace), grace)
    kitchen.gold_share, kitchen.repeat_share, kitchen.repeat_after_h = 0.0, 1.0, 0
    slot = claim(kitchen, grace)
    assert slot.reason == "repeat"

    skip(slot, grace)

    assert sorted(Slot.objects.values_list("reason", "state")) == [("random", "done"), ("repeat", "shut")]


def test_declining_a_slice_gives_back_what_she_holds_of_it_and_costs_nothing(kitchen, grace):
    wars = Slice.objects.create(project=kitchen, name="wars")
    hard, easy = add_pair(kitchen, "war?", priority=1), add_pair(kitchen, "egg?")
    put_in_slice(hard, wars)
    kitchen.random_share = 0.0
    assert claim(kitchen, grace).comparison == hard

    membership = decline_slice(kitchen, grace, "wars")

    assert membership.declined == ["wars"]
    assert claim(kitchen, grace).comparison == easy
    assert Skip.objects.count() == 0
    event = trail().get()
    assert (event.verb, event.actor, event.before, event.after) == (
        "member.decline",
        grace,
        {"declined": []},
        {"declined": ["wars"]},
    )


def put_in_slice(comparison, row):
    Prompt.objects.filter(pk=comparison.prompt_id).update(slice=row)
    Slot.objects.filter(comparison=comparison).update(slice=row)


def test_an_accepted_slice_comes_again(kitchen, grace):
    wars = Slice.objects.create(project=kitchen, name="wars")
    comparison = add_pair(kitchen, "war?")
    put_in_slice(comparison, wars)
    decline_slice(kitchen, grace, "wars")
    assert claim_slot(kitchen, grace) is None

    membership = accept_slice(kitchen, grace, "wars")

    assert membership.declined == []
    assert claim(kitchen, grace).comparison == comparison


def test_declining_twice_is_one_event(kitchen, grace):
    Slice.objects.create(project=kitchen, name="wars")

    for _ in range(2):
        decline_slice(kitchen, grace, "wars")

    assert (Membership.objects.get(user=grace).declined, trail().count()) == (["wars"], 1)


def test_only_slices_of_the_project_are_declined_by_its_members(kitchen, garden, grace, eve):
    Slice.objects.create(project=garden, name="tulips")

    with pytest.raises(InvalidContent):
        decline_slice(kitchen, grace, "tulips")
    with pytest.raises(NotAMember):
        decline_slice(garden, grace, "tulips")
    assert Membership.objects.get(user=grace).declined == []


def test_a_reserved_pair_of_a_slice_declined_since_is_not_shown(kitchen, grace):
    wars = Slice.objects.create(project=kitchen, name="wars")
    for question in ("war?", "war again?"):
        put_in_slice(add_pair(kitchen, question), wars)
    skip(claim(kitchen, grace), grace)
    reserved = reserve_slot(kitchen, grace)
    Membership.objects.filter(user=grace).update(declined=["wars"])

    assert claim_slot(kitchen, grace) is None

    reserved.refresh_from_db()
    assert (reserved.state, reserved.labeler) == ("free", None)
