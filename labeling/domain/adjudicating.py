"""The rules of a reviewer's decision: who may make it, on what she saw, and what follows for the comparison."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import Max
from django.utils.translation import gettext as _

from labeling.domain.errors import InvalidReview, NotAMember, OwnWork, StaleReview
from labeling.domain.overlap import add_slots, open_slots, shut_slots
from labeling.domain.tallying import list_counted, update_tally
from labeling.models import PROBES, Adjudication, Comparison, Membership, Project, Slot, User
from labeling.models.scales import FORCED, list_strengths

Act = Adjudication.Act
STATES = {
    Act.ACCEPT: Comparison.State.SETTLED,
    Act.OVERRIDE: Comparison.State.SETTLED,
    Act.SEND_BACK: Comparison.State.OPEN,
    Act.RETIRE: Comparison.State.RETIRED,
}


def require_reviewer(comparison: Comparison, reviewer: User) -> None:
    """Raise NotAMember unless she reviews in the project, or OwnWork where she had a part in the comparison."""
    roles = (Membership.Role.REVIEWER, Membership.Role.MANAGER)
    if not Membership.objects.filter(
        project=comparison.project_id, user=reviewer, is_active=True, role__in=roles
    ).exists():
        raise NotAMember(_("Only reviewers and managers of this project decide: ask a manager to become one."))
    if has_part(comparison, reviewer):
        raise OwnWork(_("You judged this comparison or wrote a text of it: leave it to another reviewer."))


def check_decision(comparison: Comparison, act: str, *, strength: int | None, scale: str, both_bad: bool) -> None:
    """Raise InvalidReview where the act is unknown or does not go with what was said beside it."""
    if act not in STATES:
        raise InvalidReview(_("Accept, override, send back or retire: %s is none of these.") % repr(act)[:40])
    if act == Act.OVERRIDE and strength not in list_strengths(scale):
        raise InvalidReview(_("Say what is right instead: one of the steps of the project's scale."))
    if act != Act.OVERRIDE and (strength is not None or both_bad):
        raise InvalidReview(_("Only a decision of your own has a strength: choose to decide otherwise."))
    if act == Act.ACCEPT and not list_counted(comparison).exists():
        raise InvalidReview(_("There is nothing to accept, for nobody judged it: decide yourself, or send it back."))


def refuse_other_scale(project: Project, scale: str) -> None:
    """Raise StaleReview where she decided on steps that mean something else on the project's scale of today."""
    if scale != project.scale and (scale in FORCED or project.scale in FORCED):
        raise StaleReview(_("The project has another scale now: look at the comparison again."))


def refuse_stale(comparison: Comparison, *, seen_state: str, seen_upto: int, seen_last: int | None) -> None:
    """Raise StaleReview where a vote or a decision came since the reviewer looked."""
    last = comparison.adjudications.first()
    is_replaced = seen_last is not None and seen_last != (last.pk if last else 0)
    if is_replaced or comparison.state != seen_state:
        raise StaleReview(_("Another reviewer decided of this comparison meanwhile: look at it again."))
    if find_newest(comparison) != seen_upto:
        raise StaleReview(_("A vote came while you decided: look at the comparison again."))


def count_places(comparison: Comparison) -> int:
    """Return how many of its places were judged since it was last sent back."""
    sent_back = find_sent_back(list(comparison.adjudications.all()))
    done = Slot.objects.filter(comparison=comparison, state=Slot.State.DONE).exclude(reason__in=PROBES)
    return done.filter(judgment__pk__gt=sent_back).count()


def move_comparison(comparison: Comparison, act: str, *, n_judged: int) -> None:
    """Give the comparison the state an act leads to, and its slots and tally what follows from that."""
    comparison.state = STATES[Act(act)]
    Comparison.objects.filter(pk=comparison.pk).update(state=comparison.state)
    if act != Act.SEND_BACK:
        shut_slots([comparison.pk])
        return
    open_slots([comparison.pk])
    if n_judged:
        add_slots(comparison, n_judged, is_conditional=True)
    update_tally(comparison)


def find_sent_back(adjudications: Sequence[Adjudication]) -> int:
    """Return the newest judgment seen when the comparison was last sent back, or 0."""
    return next((row.upto for row in adjudications if row.act == Adjudication.Act.SEND_BACK), 0)


def find_newest(comparison: Comparison) -> int:
    """Return the id of the newest vote on a comparison, or 0."""
    return comparison.judgments.of_work().aggregate(newest=Max("id"))["newest"] or 0


def has_part(comparison: Comparison, reviewer: User) -> bool:
    """Say whether the reviewer judged the comparison or wrote a text of it."""
    if reviewer.pk in (comparison.completion_a.author_id, comparison.completion_b.author_id):
        return True
    return comparison.judgments.filter(labeler=reviewer).exists()
