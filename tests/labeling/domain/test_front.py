from __future__ import annotations

import pytest

from labeling.domain import front
from labeling.domain.assignment import claim_slot, release_slot
from labeling.domain.selection import ORDERS, RANDOM_ORDER
from labeling.domain.turns import RNG
from labeling.models import Membership, Project, Slot, User
from tests.labeling.rows import add_pairs
from tests.labeling.rows import claim as claim_by_chance

pytestmark = [pytest.mark.django_db, pytest.mark.database]

PRIORITY = ORDERS[Project.Strategy.PRIORITY]


@pytest.fixture
def crew(kitchen):
    """Thirty labelers of a queue of one slot a comparison, each of whom can hold one."""
    add_pairs(kitchen, 60, overlap=1)
    users = [User.objects.create(username=f"labeler-{number}") for number in range(30)]
    Membership.objects.bulk_create(Membership(project=kitchen, user=user) for user in users)
    return users


def claim(project, user):
    """Claim by the project's own order."""
    RNG.seed(200472)
    return claim_by_chance(project, user)


def pass_by(seconds: float) -> None:
    """Let time go by."""
    for known in front._fronts.values():
        known.begun_s -= seconds


def make_busy(project, users):
    """Let a second with many claims be over, and the next one have begun with a claim."""
    held = [claim(project, user) for user in users[:21]]
    pass_by(1.0)
    return [*held, claim(project, users[21])]


def test_who_is_busy_begins_where_the_last_slot_was_found(kitchen, crew):
    held = make_busy(kitchen, crew)
    release_slot(held[3], crew[3])

    # What was given back lies behind, and comes a second later.
    assert claim(kitchen, crew[22]).shuffle > held[-1].shuffle
    pass_by(1.0)
    assert claim(kitchen, crew[23]).pk == held[3].pk


def test_a_few_claims_begin_at_the_beginning(kitchen, crew):
    held = [claim(kitchen, user) for user in crew[:5]]
    pass_by(1.0)
    release_slot(held[3], crew[3])

    assert claim(kitchen, crew[6]).pk == held[3].pk


def test_the_order_is_that_of_walks_from_the_beginning(kitchen, crew):
    in_order = list(Slot.objects.breadth_first().values_list("pk", flat=True))

    assert [slot.pk for slot in make_busy(kitchen, crew)] == in_order[:22]
    assert [claim(kitchen, user).pk for user in crew[22:]] == in_order[22:30]


def test_where_nothing_lies_ahead_the_walk_begins_at_the_beginning(kitchen, crew):
    held = make_busy(kitchen, crew)
    Slot.objects.filter(state="free").delete()
    release_slot(held[3], crew[3])

    assert claim(kitchen, crew[22]).pk == held[3].pk
    assert claim_slot(kitchen, crew[23]) is None


def test_what_was_raised_comes_a_second_later(kitchen, crew):
    make_busy(kitchen, crew)
    raised = Slot.objects.breadth_first().last()
    Slot.objects.filter(pk=raised.pk).update(priority=5)

    assert claim(kitchen, crew[22]).pk != raised.pk
    pass_by(1.0)
    assert claim(kitchen, crew[23]).pk == raised.pk


@pytest.mark.parametrize("order", [*ORDERS.values(), RANDOM_ORDER])
def test_from_a_place_on_lies_the_rest_of_its_stretch(kitchen, crew, order):
    for score, slot in enumerate(Slot.objects.order_by("pk")):
        Slot.objects.filter(pk=slot.pk).update(score=score * 7 % 60, priority=score % 2, number=score % 3)
    slots = list(Slot.objects.order_by(*order))
    here = slots[15]
    place = front.Place(here.number, here.priority, here.score, here.shuffle)

    ahead = list(Slot.objects.filter(front.lies_ahead(order, *place)).order_by(*order))

    same = "number", *(["priority"] if "-priority" in order else [])
    assert len(ahead) > 1
    assert ahead == [slot for slot in slots[15:] if all(getattr(slot, name) == getattr(here, name) for name in same)]


def test_who_is_busy_goes_by_priority_before_score_as_everybody_does(kitchen, crew):
    Project.objects.filter(pk=kitchen.pk).update(strategy=Project.Strategy.SCORE)
    kitchen.refresh_from_db()
    for place, slot in enumerate(Slot.objects.order_by("pk")):
        Slot.objects.filter(pk=slot.pk).update(priority=place < 24, score=place % 7)

    held = [claim(kitchen, user) for user in crew[:21]]
    pass_by(1.0)
    held += [claim(kitchen, user) for user in crew[21:]]

    assert held == list(Slot.objects.order_by("number", "-priority", "-score", "shuffle", "id")[:30])
    assert [slot.priority for slot in held] == [1] * 24 + [0] * 6
