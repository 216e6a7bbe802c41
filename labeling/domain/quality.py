"""How far each labeler's judgments can be trusted, and why one is flagged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean, median

from django.db.models import Q
from django.utils.translation import gettext as _

from labeling.domain.agreement import Agreement
from labeling.domain.copying import Copying, find_copying
from labeling.domain.flags import (
    GOLD_BLOCK,
    Flag,
    flag_agreement,
    flag_gold,
    flag_haste,
    flag_length,
    flag_repeats,
    flag_side,
)
from labeling.domain.intervals import Figure, compute_z, measure_share
from labeling.domain.parts import PARTS, choose_votes
from labeling.domain.peers import Standing, compare_peers
from labeling.domain.pools import Answers, Pool, Usual, find_usual, group, pool_answers
from labeling.domain.votes import count_votes, load_votes, read_gold, read_repeats, read_windows
from labeling.models import Membership, Project, User

MIN_SHARED = 10
MAX_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class LabelerQuality:
    """The figures of one labeler of a project; each is unknown with its reason where there is too little to tell."""

    labeler: User
    is_active: bool
    is_quarantined: bool
    n: int  # judgments of work, as they stand
    n_right: int  # of gold
    gold: Figure  # share of gold judged right
    consistency: Figure  # share of hidden repeats judged as the first time
    left: Figure  # share of decided votes for the left side
    left_z: float | None  # against the other votes of the project
    longer: Figure  # share of decided votes for the longer text
    longer_z: float | None
    ties: Figure
    hasty: Figure
    median_s: float | None  # seconds of attention a judgment takes her
    n_pastes: int  # judgments into which something was pasted
    agreement: Figure  # with what most of the others say
    reliability: Figure  # share of votes Dawid and Skene's model expects to be right
    flags: Sequence[Flag]


def assess_labelers(project: Project, *, since: datetime | None = None) -> list[LabelerQuality]:
    """Return the figures of everyone who labels in a project or has judged there, by name, in six queries.

    Those in quarantine are compared with the others, and nobody is compared with them. Her figures are of her newest
    votes, votes.WINDOW at the least, and of all gold and repeats.
    """
    votes, n_votes = list(read_windows(project, since=since)), count_votes(project, since=since)
    is_known = Q(memberships__project=project, memberships__role=Membership.Role.LABELER)
    judged = {vote.labeler for vote in votes}
    gold, repeats = group(read_gold(project, since=since)), group(read_repeats(project, since=since))
    people = User.objects.filter(is_known | Q(pk__in=judged | gold.keys() | repeats.keys())).distinct()
    # The figures are kept in the cache: of an account no more than its name goes there.
    users = {user.pk: user for user in people.only("username").order_by("username")}
    members = {row.user_id: row for row in Membership.objects.filter(project=project)}
    suspects = {pk for pk, member in members.items() if member.is_quarantined}
    plain = [(vote.item, vote.labeler, vote.strength) for vote in votes if not vote.is_sent_back]
    old = {(vote.item, vote.labeler) for vote in votes if vote.is_old}
    by_labeler = group((vote.labeler, vote) for vote in votes if not vote.is_old)
    standings = compare_peers(plain, suspects=suspects, old=old)
    copies = say_copies(find_copying(plain), users)
    answers = {
        pk: Answers(
            n=n_votes.get(pk, 0),
            votes=by_labeler.get(pk, []),
            gold=gold.get(pk, []),
            repeats=repeats.get(pk, []),
            standing=standings.get(pk, Standing()),
            copies=copies.get(pk, []),
            is_quarantined=pk in suspects,
        )
        for pk in users
    }
    pools = pool_answers(answers.values())
    return [assess_labeler(user, members.get(pk), answers[pk], pools) for pk, user in users.items()]


def measure_agreement(project: Project, *, by: str | None = None, since: datetime | None = None) -> list[Agreement]:
    """Return how far labelers agree on work: in the whole project, or by "slice", "week", "pair" or "labeler".

    Parts are named by the slice, by the Monday of the week in which the comparison was judged last (YYYY-MM-DD), by the
    usernames with " - " between, by the username. Votes of labelers in quarantine are left out, as are those asked for
    because others disagreed or a reviewer sent their comparison back, whose first votes count. Where there are more
    votes than votes.MAX_VOTES, the newest count.
    """
    votes, _n_contested = choose_votes(load_votes(project, since=since, with_words=False))
    return PARTS[by](votes)


def assess_labeler(user: User, member: Membership | None, said: Answers, pools: dict[str, Pool]) -> LabelerQuality:
    lefts, longers, agreed = said.lefts, said.longers, said.standing.agreed
    usual = find_usual(said, pools)
    seconds = [vote.active_ms / 1000 for vote in said.votes if vote.active_ms]
    nothing = _("No judgment yet.")
    return LabelerQuality(
        labeler=user,
        is_active=member is not None and member.is_active,
        is_quarantined=member is not None and member.is_quarantined,
        n=said.n,
        n_right=sum(said.gold),
        gold=measure_gold(said.gold),
        consistency=show_share("consistency", _("same on repeats"), said.repeats, _("No repeat judged yet.")),
        left=show_share("left", _("left side preferred"), lefts, _("No winner named yet.")),
        left_z=compute_z(sum(lefts), len(lefts), usual.left),
        longer=show_share("longer", _("longer text preferred"), longers, _("No winner of two lengths named yet.")),
        longer_z=compute_z(sum(longers), len(longers), fmean(usual.longer)) if usual.longer else None,
        ties=show_share("ties", _("ties"), said.ties, nothing),
        hasty=show_share("hasty", _("too soon to have read"), [vote.is_hasty for vote in said.votes], nothing),
        median_s=median(seconds) if seconds else None,
        n_pastes=sum(vote.n_pastes > 0 for vote in said.votes),
        agreement=show_share("agreement", _("as most others"), agreed, _("Nobody else judged the same yet.")),
        reliability=measure_reliability(said.standing),
        flags=list_flags(said, usual),
    )


def list_flags(said: Answers, usual: Usual) -> list[Flag]:
    """Return every rule her answers break."""
    found = [
        flag_gold(said.gold, usual.gold),
        flag_repeats(said.repeats, usual.repeats),
        flag_side(said.lefts, usual.left),
        flag_length(said.longers, usual.longer) if usual.longer else None,
        flag_haste([vote.is_hasty for vote in said.votes]),
        None if usual.agreement is None else flag_agreement(said.standing.agreed, usual.agreement),
        Flag(rule="copies", reason=" ".join(said.copies[:MAX_NAMED])) if said.copies else None,
    ]
    return [flag for flag in found if flag]


def show_share(key: str, name: str, answers: Sequence[bool], reason: str) -> Figure:
    return measure_share(key, name, sum(answers), len(answers), reason=reason)


def measure_gold(rights: Sequence[bool]) -> Figure:
    """Return the share of gold judged right; until a block of it is full it says what it waits for."""
    figure = show_share("gold", _("gold right"), rights, _("No gold met yet."))
    if not 0 < len(rights) < GOLD_BLOCK:
        return figure
    waits = _("%(n)d of the %(wanted)d it is decided by.") % {"n": len(rights), "wanted": GOLD_BLOCK}
    return Figure(
        key=figure.key, name=figure.name, n=figure.n, value=figure.value, low=figure.low, high=figure.high, reason=waits
    )


def measure_reliability(standing: Standing) -> Figure:
    """Return what the crowd model says of her, without an interval: it has none that could be trusted."""
    name, n = _("expected to be right"), standing.n_shared
    if standing.reliability is None or n < MIN_SHARED:
        reason = _("Judged by others too: %(n)d, and %(wanted)d are needed.") % {"n": n, "wanted": MIN_SHARED}
        return Figure(key="reliability", name=name, n=n, reason=reason)
    return Figure(key="reliability", name=name, n=n, value=standing.reliability)


def say_copies(found: Sequence[Copying], users: dict[int, User]) -> dict[int, list[str]]:
    """Return by labeler a sentence for each other one who says the same as she does."""
    said: dict[int, list[str]] = {}
    for copying in found:
        for labeler, other in (copying.labelers, copying.labelers[::-1]):
            sentence = _("As %(other)s on %(same)d of the %(n)d both judged; %(expected)d would be usual.")
            facts = {"same": copying.same, "n": copying.n, "expected": copying.expected}
            said.setdefault(labeler, []).append(sentence % {"other": users[other], **facts})
    return said
