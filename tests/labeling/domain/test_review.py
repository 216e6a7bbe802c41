import pytest
from django.db import connection

from labeling.domain.assignment import claim_slot
from labeling.domain.errors import InvalidContent, InvalidReview, NotAMember, OwnWork, StaleReview
from labeling.domain.gold import make_gold
from labeling.domain.quality import measure_agreement
from labeling.domain.review import ShownVote, adjudicate, count_open, find_disputed, list_triage, show_dispute
from labeling.domain.skipping import skip_comparison
from labeling.models import Adjudication, Comparison, Completion, Judgment, Membership, Project, Slot
from tests.labeling.conftest import make_member
from tests.labeling.rows import add_pair, claim, judge, revise, run_together, shown_before, trail

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture
def crew(kitchen, grace, hedy):
    """Grace, hedy and five more."""
    return [grace, hedy, *(make_member(kitchen, f"labeler-{number}") for number in range(5))]


def say(project, labeler, strength, **changes):
    """Judge what she is given, in terms of the contents."""
    slot = shown_before(claim(project, labeler), 60)
    return judge(slot, labeler, strength if slot.a_shown_left else -strength, scale="seven", **changes)


def dispute(project, crew, *strengths, question="How do I boil an egg?"):
    """One comparison, judged by as many labelers as there are strengths."""
    comparison = add_pair(project, question, overlap=len(strengths))
    for labeler, strength in zip(crew, strengths, strict=False):
        say(project, labeler, strength)
    comparison.refresh_from_db()
    return comparison


def decide(comparison, reviewer, act="accept", **changes):
    seen = show_dispute(comparison, reviewer)
    return adjudicate(comparison, reviewer, act=act, seen_upto=seen.seen_upto, seen_last=seen.seen_last, **changes)


def state_of(comparison):
    comparison.refresh_from_db()
    return comparison.state, sorted(Slot.objects.filter(comparison=comparison).values_list("state", flat=True))


def test_the_sharpest_disagreement_comes_first(kitchen, ada, crew):
    near = dispute(kitchen, crew, 1, 2, question="near")
    wide = dispute(kitchen, crew, 0, 3, question="wide")
    split = dispute(kitchen, crew, -1, 1, question="split")
    torn = dispute(kitchen, crew, -3, 3, question="torn")
    agreed = dispute(kitchen, crew, 2, 2, question="agreed")
    settled = dispute(kitchen, crew, -3, 3, question="settled")
    decide(settled, ada)
    known = dispute(kitchen, crew, -3, 2, question="known")
    make_gold(known, ada, strength_min=1, strength_max=3)

    assert list(find_disputed(kitchen)) == [torn, split, wide]
    assert {near, agreed} == {row for row in Comparison.objects.filter(is_split=False, spread__lt=3) if row != known}
    Project.objects.update(spread_limit=1)
    kitchen.refresh_from_db()
    assert list(find_disputed(kitchen)) == [torn, split, wide, near]


def test_of_another_project_nothing_is_found(kitchen, garden, crew):
    dispute(kitchen, crew, -3, 3)

    assert (list(find_disputed(garden)), list(list_triage(garden)), count_open(garden)) == ([], [], 0)


def test_disputes_are_read_off_an_index_and_not_sorted(kitchen):
    plan = find_disputed(kitchen)[:50].explain()

    if connection.vendor == "sqlite":  # PostgreSQL reads a table this small as a whole
        assert "comparison_disputed" in plan
        assert "TEMP B-TREE" not in plan


def test_triage_and_disputes_are_counted_together(kitchen, crew):
    Project.objects.update(triage_after=1)
    kitchen.refresh_from_db()
    dispute(kitchen, crew, -3, 3)
    waiting = add_pair(kitchen, "nonsense")
    slot = claim(kitchen, crew[0])
    skip_comparison(slot.pk, crew[0], lease_token=slot.lease_token, reason="bad_prompt")

    assert (list(list_triage(kitchen)), count_open(kitchen)) == ([waiting], 2)


def test_the_count_stops_at_a_hundred(kitchen):
    for number in range(60):
        add_pair(kitchen, f"q{number}")
        add_pair(kitchen, f"r{number}")
    Comparison.objects.filter(prompt__messages__0__content__startswith="q").update(state="triage")
    Comparison.objects.filter(state="open").update(spread=6, is_split=True)

    assert count_open(kitchen) == 100


def test_a_reviewer_sees_every_vote_and_no_name(kitchen, ada, crew):
    Project.objects.update(axes=["help"], reasons=["wrong", "rude"], asks_fixes=True)
    comparison = add_pair(kitchen, overlap=2)
    kitchen.refresh_from_db()
    grace, hedy, *_ = crew
    slot = shown_before(claim(kitchen, grace), 60)
    sign = 1 if slot.a_shown_left else -1
    judge(
        slot,
        grace,
        -2 * sign,
        scale="seven",
        axes={"help": -1 * sign},
        reasons=["rude"],
        note="B is rude",
        unsafe_left=not slot.a_shown_left,
        unsafe_right=slot.a_shown_left,
        fix="Boil it.",
    )
    first = judge(claim(kitchen, hedy), hedy, 0, both_bad=True)
    last = revise(first, hedy, 3 if first.a_shown_left else -3, scale="seven")

    shown = show_dispute(comparison, ada)

    said = comparison.judgments.get(labeler=grace)
    quiet = {"axes": {}, "reasons": [], "note": "", "fix": "", "is_extra": False, "counts": True, "scale": "seven"}
    assert shown.votes == [
        ShownVote(
            **quiet
            | {
                "number": 1,
                "strength": -2,
                "both_bad": False,
                "unsafe_a": False,
                "unsafe_b": True,
                "axes": {"help": -1},
                "reasons": ["rude"],
                "note": "B is rude",
                "fix": "Boil it.",
                "is_hasty": False,
                "n_revisions": 0,
                "a_shown_left": slot.a_shown_left,
                "submitted_at": said.submitted_at,
            }
        ),
        ShownVote(
            **quiet
            | {
                "number": 2,
                "strength": 3,
                "both_bad": False,
                "unsafe_a": False,
                "unsafe_b": False,
                "is_hasty": True,
                "n_revisions": 1,
                "a_shown_left": first.a_shown_left,
                "submitted_at": last.submitted_at,
            }
        ),
    ]
    assert (shown.seen_upto, shown.seen_last, shown.may_adjudicate, shown.skips) == (last.pk, 0, True, [])
    assert "grace" not in repr(shown.votes)


def test_a_dispute_takes_as_many_queries_for_one_vote_as_for_three(kitchen, ada, crew, django_assert_num_queries):
    for question, strengths in (("one", [1]), ("three", [1, -1, 2])):
        pk = dispute(kitchen, crew, *strengths, question=question).pk
        comparison = Comparison.objects.with_texts().get(pk=pk)

        with django_assert_num_queries(5):
            show_dispute(comparison, ada)


def test_numbers_stay_whoever_revises(kitchen, ada, crew):
    comparison = dispute(kitchen, crew, -1, 2)
    first = comparison.judgments.get(labeler=crew[0])

    revise(first, crew[0], -3 if first.a_shown_left else 3, scale="seven")

    assert [(vote.number, vote.strength) for vote in show_dispute(comparison, ada).votes] == [(1, -3), (2, 2)]


@pytest.mark.parametrize(
    ("act", "said", "state", "slots"),
    [
        ("accept", {}, "settled", ["done", "done", "shut"]),
        ("override", {"strength": -3}, "settled", ["done", "done", "shut"]),
        ("override", {"strength": 0, "both_bad": True}, "settled", ["done", "done", "shut"]),
        ("retire", {"note": "The prompt is broken."}, "retired", ["done", "done", "shut"]),
        ("send_back", {}, "open", ["done", "done", "free", "free", "free"]),
    ],
)
def test_a_decision_is_stored_moves_the_comparison_and_leaves_a_trail(kitchen, ada, crew, act, said, state, slots):
    comparison = add_pair(kitchen, overlap=3)
    for labeler, strength in zip(crew, (-2, 2), strict=False):
        last = say(kitchen, labeler, strength)
    comparison.refresh_from_db()

    decision = decide(comparison, ada, act, **said)

    facts = {"strength": None, "both_bad": False, "note": ""} | said
    stored = Adjudication.objects.values("comparison", "reviewer", "act", "upto", "scale", *facts).get()
    told = {"comparison": comparison.pk, "reviewer": ada.pk, "act": act, "upto": last.pk, "scale": kitchen.scale}
    assert stored == told | facts
    assert state_of(comparison) == (state, slots)
    event = trail().get()
    assert (event.verb, event.subject, event.actor, event.project) == (
        "comparison.adjudicate",
        f"comparison {comparison.pk}",
        ada,
        kitchen,
    )
    assert event.before == {"state": "open"}
    assert event.after == {
        "state": state,
        "act": act,
        "strength": facts["strength"],
        "scale": kitchen.scale,
        "both_bad": facts["both_bad"],
        "upto": last.pk,
    }
    assert decision.pk == Adjudication.objects.get().pk


def test_what_is_sent_back_is_judged_anew_by_others(kitchen, ada, crew):
    comparison = dispute(kitchen, crew, -2, 2)
    decide(comparison, ada, "send_back")
    comparison.refresh_from_db()
    tally = (comparison.n_judgments, comparison.spread, comparison.is_split, comparison.overlap)

    old = [claim_slot(kitchen, labeler) for labeler in crew[:2]]
    for labeler in crew[2:4]:
        say(kitchen, labeler, 1)
    comparison.refresh_from_db()

    assert (tally, old) == ((0, 0, False, 4), [None, None])
    assert (comparison.n_judgments, comparison.spread, comparison.is_split) == (2, 0, False)
    assert [vote.counts for vote in show_dispute(comparison, ada).votes] == [False, False, True, True]
    assert list(find_disputed(kitchen)) == []


def test_sent_back_twice_it_gets_as_many_places_as_before(kitchen, ada, crew):
    comparison = dispute(kitchen, crew, -2, 2)
    decide(comparison, ada, "send_back")
    for labeler, strength in zip(crew[2:4], (-1, 3), strict=True):
        say(kitchen, labeler, strength)

    comparison.refresh_from_db()
    decide(comparison, ada, "send_back")

    assert state_of(comparison) == ("open", ["done"] * 4 + ["free"] * 2)
    say(kitchen, crew[4], 2)
    comparison.refresh_from_db()
    assert (comparison.n_judgments, comparison.overlap) == (1, 6)


def test_whoever_changes_her_mind_after_it_was_sent_back_counts_again(kitchen, ada, crew):
    comparison = dispute(kitchen, crew, -2, 2)
    decide(comparison, ada, "send_back")

    revise(comparison.judgments.get(labeler=crew[0]), crew[0], 0)

    comparison.refresh_from_db()
    assert (comparison.n_judgments, comparison.spread) == (1, 0)


def test_a_later_decision_replaces_the_earlier(kitchen, ada, crew):
    comparison = dispute(kitchen, crew, -2, 2)
    decide(comparison, ada, "retire")
    comparison.refresh_from_db()

    decide(comparison, ada, "override", strength=1)

    shown = show_dispute(comparison, ada)
    assert [row.act for row in shown.adjudications] == ["override", "retire"]
    assert state_of(comparison)[0] == "settled"
    decide(comparison, ada, "send_back")
    assert state_of(comparison) == ("open", ["done", "done", "free", "free"])


def test_a_vote_that_came_meanwhile_asks_her_to_look_again(kitchen, ada, crew):
    comparison = add_pair(kitchen, overlap=3)
    for labeler, strength in zip(crew, (-2, 2), strict=False):
        say(kitchen, labeler, strength)
    comparison.refresh_from_db()
    seen = show_dispute(comparison, ada)
    say(kitchen, crew[2], 3)

    with pytest.raises(StaleReview, match="vote came"):
        adjudicate(comparison, ada, act="accept", seen_upto=seen.seen_upto)

    assert (Adjudication.objects.count(), trail().count(), state_of(comparison)[0]) == (0, 0, "open")


def test_another_reviewers_decision_asks_her_to_look_again(kitchen, ada, crew):
    comparison = dispute(kitchen, crew, -2, 2)
    alan = make_member(kitchen, "alan", role="reviewer")
    seen = show_dispute(comparison, alan)
    decide(comparison, ada, "retire")
    fresh = Comparison.objects.get()

    with pytest.raises(StaleReview, match="Another reviewer"):
        adjudicate(comparison, alan, act="accept", seen_upto=seen.seen_upto)
    with pytest.raises(StaleReview, match="Another reviewer"):
        adjudicate(fresh, alan, act="accept", seen_upto=seen.seen_upto, seen_last=seen.seen_last)

    assert Adjudication.objects.get().act == "retire"


@pytest.mark.django_db(transaction=True)
def test_of_two_reviewers_at_once_one_decides(kitchen, ada, crew):
    comparison = dispute(kitchen, crew, -2, 2)
    alan = make_member(kitchen, "alan", role="reviewer")
    seen = show_dispute(comparison, ada)

    def act_as(reviewer, act):
        mine = Comparison.objects.with_texts().get()
        return adjudicate(mine, reviewer, act=act, seen_upto=seen.seen_upto, seen_last=0).act

    results = run_together(lambda: act_as(ada, "accept"), lambda: act_as(alan, "retire"))

    assert sorted(type(result).__name__ for result in results) == ["StaleReview", "str"]
    assert Adjudication.objects.count() == 1


@pytest.mark.parametrize("name", ["grace", "eve", "ada"])
def test_only_active_reviewers_of_the_project_decide(kitchen, garden, ada, eve, crew, name):
    comparison = dispute(kitchen, crew[1:], -2, 2)
    Membership.objects.filter(user=ada).update(is_active=False)
    person = {"grace": crew[0], "eve": eve, "ada": ada}[name]

    with pytest.raises(NotAMember):
        decide(comparison, person)

    assert Adjudication.objects.count() == 0


def test_nobody_reviews_what_she_judged_herself(kitchen, ada, crew):
    comparison = dispute(kitchen, [ada, *crew], -2, 2)

    with pytest.raises(OwnWork):
        decide(comparison, ada)

    assert show_dispute(comparison, ada).may_adjudicate is False


def test_nobody_reviews_what_she_wrote_herself(kitchen, ada, crew):
    comparison = dispute(kitchen, crew, -2, 2)
    Completion.objects.filter(pk=comparison.completion_b_id).update(author=ada)
    comparison = Comparison.objects.get()

    with pytest.raises(OwnWork):
        decide(comparison, ada)

    assert show_dispute(comparison, ada).may_adjudicate is False


@pytest.mark.parametrize(
    ("scale", "strength"), [("seven", 4), ("quick", -4), ("forced", 0), ("forced", 5), ("eight", 0), ("eight", -5)]
)
def test_a_step_the_projects_scale_has_not_is_refused(kitchen, ada, crew, scale, strength):
    Project.objects.update(scale=scale)
    comparison = dispute(kitchen, crew, -2, 2)

    with pytest.raises(InvalidReview, match="steps"):
        decide(comparison, ada, "override", strength=strength)

    assert Adjudication.objects.count() == 0


@pytest.mark.parametrize(("old", "new"), [("seven", "forced"), ("forced", "eight"), ("eight", "quick")])
def test_a_step_of_another_scale_than_the_projects_is_asked_for_again(kitchen, ada, crew, old, new):
    Project.objects.update(scale=new)
    comparison = dispute(kitchen, crew, -2, 2)

    with pytest.raises(StaleReview, match="another scale"):
        decide(comparison, ada, "override", strength=1, scale=old)


def test_a_step_of_the_seven_stays_one_where_the_project_asks_for_one_key(kitchen, ada, crew):
    Project.objects.update(scale="quick")

    decision = decide(dispute(kitchen, crew, -2, 2), ada, "override", strength=3, scale="seven")

    assert (decision.strength, decision.scale) == (3, "seven")


@pytest.mark.parametrize(
    ("act", "said", "error"),
    [
        ("destroy", {}, InvalidReview),
        ("override", {}, InvalidReview),
        ("override", {"strength": 4}, InvalidReview),
        ("accept", {"strength": 1}, InvalidReview),
        ("retire", {"both_bad": True}, InvalidReview),
        ("retire", {"note": "\x00"}, InvalidContent),
    ],
)
def test_a_decision_that_cannot_be_is_refused(kitchen, ada, crew, act, said, error):
    comparison = dispute(kitchen, crew, -2, 2)

    with pytest.raises(error):
        decide(comparison, ada, act, **said)

    assert (Adjudication.objects.count(), state_of(comparison)) == (0, ("open", ["done", "done"]))


def test_there_is_nothing_to_accept_where_nobody_judged(kitchen, ada, crew):
    comparison = add_pair(kitchen)

    with pytest.raises(InvalidReview, match="nothing to accept"):
        decide(comparison, ada)

    assert decide(comparison, ada, "override", strength=2).upto == 0


def test_agreement_is_that_of_before_reviewers_sent_back_what_was_contested(kitchen, ada, crew):
    """Of four pairs two are contested; asked anew, others agree. How far labelers agree by themselves stays one half."""
    for number in range(4):
        dispute(kitchen, crew, 2, 2 if number < 2 else -2, question=f"question {number}")
    (before,) = measure_agreement(kitchen)
    for pair in find_disputed(kitchen):
        decide(pair, ada, "send_back")
    for labeler in [*crew[2:4], *crew[2:4]]:
        say(kitchen, labeler, 2)

    (after,) = measure_agreement(kitchen)

    assert Judgment.objects.count() == 12
    assert [found.figures[0].value for found in (before, after)] == [0.5, 0.5]
