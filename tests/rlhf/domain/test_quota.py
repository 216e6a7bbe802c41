"""Which judgments count toward a round, and what is said of it."""

from __future__ import annotations

import pytest
from django.utils import timezone

from labeling.models import Comparison, Judgment, Project, Slice
from rlhf.domain import loop as life
from rlhf.domain.counting import count_new, count_new_judgments
from rlhf.domain.errors import NotReady
from rlhf.domain.promoting import roll_back
from rlhf.domain.quota import read_quota, read_quotas
from rlhf.domain.standing import read_standing
from rlhf.models import Loop, Round, Sample
from tests.rlhf.domain.circle import go_rounds, judge, make_circle, make_policy, queue_pairs, start_circle

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture
def loop():
    return start_circle()


def empty_queue(project):
    """Let everything that waits be judged, so that what is queued next is judged next."""
    while n_free := project.slots.filter(state="free").count():
        judge(project, n_free)


def start_count(project):
    """Let a round have used all there is."""
    Round.objects.filter(project=project).update(upto=Judgment.objects.latest("pk").pk)


def test_in_the_first_round_judgments_on_any_pair_count_and_it_says_so(loop):
    queue_pairs(loop.project, 4)
    judge(loop.project, 3)

    standing = read_standing(loop.project)

    assert (standing.n_new, standing.wait) == (3, "waits for 1 more judgments of 4 on any pair")


def test_from_the_second_round_on_judgments_on_what_the_policy_did_not_write_do_not_count(loop):
    round = go_rounds(loop, 1)
    empty_queue(loop.project)
    start_count(loop.project)
    queue_pairs(loop.project, 5)
    judge(loop.project, 5)

    standing = read_standing(loop.project)

    words = f"waits for 4 more judgments of 4 on pairs by policy {round.candidate}"
    assert (standing.n_new, standing.wait.split(";")[0]) == (0, words)
    life.advance_loop(loop.pk)
    assert not Round.objects.filter(number=round.number + 1, candidate__isnull=False).exists()
    with pytest.raises(NotReady, match=f"0 of the 4 new judgments a round needs on pairs by policy {round.candidate}"):
        life.prepare_round(loop)


def test_each_side_the_policy_wrote_lets_a_judgment_count(loop):
    round = go_rounds(loop, 1)
    drawn = set(Sample.objects.filter(checkpoint=round.candidate).values_list("completion", flat=True))

    empty_queue(loop.project)

    judged = Judgment.objects.filter(pk__gt=round.upto).select_related("comparison")
    sides = [{one.comparison.completion_a_id, one.comparison.completion_b_id} & drawn for one in judged]
    assert count_new_judgments(loop.project) == sum(bool(of) for of in sides) == round.n_queued
    assert {len(of) for of in sides} >= {1, 2}


def test_while_people_are_asked_about_a_candidate_pairs_of_both_policies_count(loop):
    Loop.objects.update(gate="people", gate_votes=1)
    round = go_rounds(loop, 1)

    assert read_quota(loop).pairs == f"pairs by candidate {round.candidate} or policy sft"
    Round.objects.update(decision="kept", decided_at=timezone.now())
    assert read_quota(loop).pairs == f"pairs by candidate {round.candidate} or policy sft"


def test_a_candidate_turned_down_by_figures_is_not_asked_about(loop):
    round = go_rounds(loop, 1)
    Loop.objects.update(policy=round.base)
    loop.refresh_from_db()
    Round.objects.update(decision="kept", decided_at=round.created_at)

    assert read_quota(loop).pairs == "pairs by policy sft"


def test_after_going_back_pairs_of_the_policy_that_is_back_count(loop):
    first = go_rounds(loop, 1)
    go_rounds(loop, 1)

    roll_back(loop, first.candidate)

    assert read_quota(loop).policies == (first.candidate,)


def test_a_quota_of_a_slice_counts_pairs_of_the_policy_on_its_prompts(loop):
    round = go_rounds(loop, 1)
    loop.slice = Slice.objects.create(project=loop.project, name="code")
    loop.save()
    fresh = Comparison.objects.filter(priority=round.number).first()
    fresh.prompt.slice = loop.slice
    fresh.prompt.save()

    empty_queue(loop.project)

    standing = read_standing(loop.project)
    words = f"waits for 3 more judgments of 4 on pairs of slice code by policy {round.candidate}"
    assert (standing.n_new, standing.wait.split(";")[0]) == (1, words)


def test_quotas_of_many_projects_are_counted_together_as_each_alone(loop, django_assert_num_queries):
    go_rounds(loop, 1)
    other = make_circle("other")
    make_policy(other.project, name="other")
    judge(loop.project, 5)
    judge(other.project, 2)
    bare = Project.objects.create(slug="bare", name="Bare")

    loops = [*Loop.objects.select_related("policy", "slice"), Loop(project=bare)]
    with django_assert_num_queries(2):
        counts = count_new(read_quotas(loops).values())

    assert counts == {loop.project_id: count_new_judgments(loop.project), other.project_id: 2}
    assert 0 < counts[loop.project_id] <= 5
