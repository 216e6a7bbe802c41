"""A round's quota: since when judgments count toward it, and on which pairs.

Until a first round has learned, pairs are whatever was brought, and judgments on all of them count. From then on a round
is to learn from what its policy says: judgments count on pairs in which the current policy, or the candidate that people
are asked about, wrote a completion. A loop with a slice counts those on its prompts alone, from the beginning.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Exists, F, Max, OuterRef, Q, Window

from labeling.models import Slice
from rlhf.models import Checkpoint, Loop, Round, Sample

IS_USED = ~Q(state=Round.State.FAILED) | Q(decision=Round.Decision.PROMOTED)


@dataclass(frozen=True)
class Quota:
    """What a project's next round asks for.

    after: the last judgment a round has used, by id. policies: one of them must have written a completion; none: any
    pair will do. The candidate that was asked about last comes first, then the current policy, where these are two.
    """

    project: int
    slice: Slice | None = None
    after: int = 0
    policies: tuple[Checkpoint, ...] = ()
    current: int | None = None

    @property
    def pairs(self) -> str:
        """Say which pairs count: "pairs of slice code by candidate dpo-2 or policy sft"."""
        of_slice = f" of slice {self.slice}" if self.slice else ""
        names = [f"{'policy' if one.pk == self.current else 'candidate'} {one}" for one in self.policies]
        return f"pairs{of_slice} by {' or '.join(names)}" if names else f"any pair{of_slice}"

    def covers(self, comparison: str) -> Q:
        """Return the condition under which a comparison of some project is of this one's slice; "" or a path to it."""
        of_slice = {f"{comparison}prompt__slice": self.slice} if self.slice else {}
        return Q(**{f"{comparison}project": self.project}, **of_slice)


def read_quotas(loops: Iterable[Loop]) -> dict[int, Quota]:
    """Return the quota of each loop by its project's id, in one query; policy and slice are read with the loops."""
    loops = list(loops)
    last = Window(Max("upto"), partition_by="project")
    rounds = Round.objects.filter(IS_USED, project__in=[loop.project_id for loop in loops]).annotate(last=last)
    found: dict[int, list[Round]] = {}
    for round in rounds.filter(upto=F("last")).select_related("candidate").order_by("-number"):
        found.setdefault(round.project_id, []).append(round)
    return {loop.project_id: make_quota(loop, found.get(loop.project_id, [])) for loop in loops}


def read_quota(loop: Loop) -> Quota:
    """Return the quota of one loop."""
    return read_quotas([loop])[loop.project_id]


def make_quota(loop: Loop, rounds: list[Round]) -> Quota:
    """Return a quota, given the last round that has learned and what has filled the queue since, newest first.

    A candidate that was turned down when the quota was full counts until the next round begins: its votes filled it.
    """
    after = rounds[0].upto if rounds else 0
    policies: dict[int, Checkpoint] = {}
    if after:
        asked = [round.candidate for round in rounds if is_asked_about(round)]
        policies = {policy.pk: policy for policy in [*asked, loop.policy] if policy is not None}
    return Quota(loop.project_id, loop.slice, after, tuple(policies.values()), loop.policy_id)


def is_asked_about(round: Round) -> bool:
    """Say whether a round's candidate draws completions for people: unless figures turn it down before."""
    if round.decision == Round.Decision.KEPT and round.decided_at is not None:
        return round.finished_at is not None and round.decided_at > round.finished_at
    return round.decision != Round.Decision.ROLLED_BACK


def shows(policies: Iterable[Checkpoint | int], comparison: str = "") -> Q:
    """Return the condition under which one of these policies wrote a completion of a comparison; "" or a path to it."""
    drawn = Sample.objects.filter(checkpoint__in=list(policies))
    sides = (f"{comparison}completion_a", f"{comparison}completion_b")
    of_a, of_b = (Exists(drawn.filter(completion=OuterRef(side))) for side in sides)
    return Q(of_a) | Q(of_b)
