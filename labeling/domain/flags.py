"""When a labeler's judgments ask for a look, and the sentence that says why. Plain numbers: no database here.

Every check is decided on blocks of a fixed number of answers, once, when the block is full. So it does not matter how
often anybody looks: a page opened every hour sees the decision a page opened once a month sees. And a block that is not
full decides nothing: that a check is not available is not that it failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from django.utils.translation import gettext as _

from labeling.domain.intervals import compute_tail, compute_z

# Of 20 gold answers an honest labeler, right 93 times in 100, has under 16 right once in 93 times, and under 14 once in
# 3,600; whoever presses anything has 16 right once in 170 times, and 14 once in 17. The first block admits to work and
# is strict; later ones watch over months, where small chances add up. Where gold is so hard that the others are right
# less often, fewer are wanted: under so many as they themselves would have in so small a share of blocks.
GOLD_BLOCK, GOLD_FIRST, GOLD_LATER = 20, 16, 14
GOLD_FIRST_TAIL, GOLD_LATER_TAIL = 0.02, 0.001
# Who is right 93 times in 100 says the same twice 87 times in 100: under 12 of 20 once in 3,000 times. This is for
# projects too young to tell what is usual; in others she is measured by them, for honest people waver where it is close.
REPEAT_BLOCK, REPEAT_WANTED = 20, 12
VOTE_BLOCK = 50
# Once in 150,000 times by chance alone, and far enough from the others to matter.
BIAS_Z, BIAS_GAP = 4.5, 0.25
HASTY_MOST = 9
# By chance alone so few are as rare as this: of agreement, where it is below a coin's too, and of repeats.
POOL_TAIL = 1e-4


@dataclass(frozen=True, kw_only=True)
class Flag:
    """A rule a labeler's judgments break, and the sentence that says how. A flag asks a manager to look, no more.

    rule: gold, repeats, side, length, haste, agreement or copies.
    """

    rule: str
    reason: str


@dataclass(frozen=True)
class Block:
    """k of n answers in a full block; number counts blocks from 0."""

    number: int
    k: int
    n: int

    def say(self, wanted: int) -> dict[str, int]:
        """Return the numbers of a sentence, answers counted from 1."""
        first = self.number * self.n
        return {"k": self.k, "first": first + 1, "last": first + self.n, "wanted": wanted}


def last_block(answers: Sequence[bool], size: int) -> Block | None:
    """Return the last full block of answers, or None before the first is full."""
    n_full = len(answers) // size
    return Block(n_full - 1, sum(answers[(n_full - 1) * size : n_full * size]), size) if n_full else None


def flag_gold(rights: Sequence[bool], pool: float | None = None) -> Flag | None:
    """Decide on gold, given whether each answer was right, in order, and how often the careful others are.

    What the strict first block costs where nothing is known of the others: of honest labelers right 93 times in 100 it
    flags 1 in 100, of those right 90 times 4, 85 times 17. So choose gold nobody can honestly miss.
    """
    if not (block := last_block(rights, GOLD_BLOCK)):
        return None
    wanted, tail = (GOLD_FIRST, GOLD_FIRST_TAIL) if block.number == 0 else (GOLD_LATER, GOLD_LATER_TAIL)
    if pool is not None:
        wanted = min(wanted, find_bound(GOLD_BLOCK, pool, tail))
    if block.k >= wanted:
        return None
    return Flag(
        rule="gold", reason=_("%(k)d of gold %(first)d to %(last)d right, %(wanted)d wanted.") % block.say(wanted)
    )


def is_careful(rights: Sequence[bool]) -> bool:
    """Say whether gold tells she is no guesser, so that others may be measured by her: a full block, most of it right."""
    return len(rights) >= GOLD_BLOCK and GOLD_BLOCK * sum(rights) >= GOLD_LATER * len(rights)


def flag_repeats(same: Sequence[bool], pool: float | None = None) -> Flag | None:
    """Decide on hidden repeats, given whether each was judged as the first time, and the share of the others' that were."""
    block = last_block(same, REPEAT_BLOCK)
    wanted = REPEAT_WANTED if pool is None else find_bound(REPEAT_BLOCK, pool, POOL_TAIL)
    if not block or block.k >= wanted:
        return None
    reason = _("%(k)d of repeats %(first)d to %(last)d judged as the first time, %(wanted)d wanted.")
    return Flag(rule="repeats", reason=reason % block.say(wanted))


def flag_side(lefts: Sequence[bool], pool: float) -> Flag | None:
    """Decide on sides, given whether each winner stood left, and the share of the other labelers' that did.

    Sides are drawn evenly, so half is right whatever the others do.
    """
    block = last_block(lefts, VOTE_BLOCK)
    if not block or not is_far(block, pool) or not is_far(block, 0.5):
        return None
    reason = _("The left side won %(k)d of votes %(first)d to %(last)d; with the others it would be %(wanted)d.")
    return Flag(rule="side", reason=reason % block.say(round(pool * VOTE_BLOCK)))


def flag_length(longers: Sequence[bool], usual: Sequence[float]) -> Flag | None:
    """Decide on length, given whether each winner was the longer text, and for each the share of the others' that were.

    That is the share in the slice of the vote: long answers win in some slices and lose in others.
    """
    block = last_block(longers, VOTE_BLOCK)
    if not block:
        return None
    first = block.number * VOTE_BLOCK
    pool = fmean(usual[first : first + VOTE_BLOCK])
    if not is_far(block, pool):
        return None
    reason = _("The longer text won %(k)d of votes %(first)d to %(last)d; with the others it would be %(wanted)d.")
    return Flag(rule="length", reason=reason % block.say(round(pool * VOTE_BLOCK)))


def flag_haste(hasty: Sequence[bool]) -> Flag | None:
    """Decide on haste, given whether each vote came sooner than anyone could have read the texts."""
    block = last_block(hasty, VOTE_BLOCK)
    if not block or block.k <= HASTY_MOST:
        return None
    reason = _("%(k)d of votes %(first)d to %(last)d came too soon to have read the texts; %(wanted)d may.")
    return Flag(rule="haste", reason=reason % block.say(HASTY_MOST))


def flag_agreement(agreed: Sequence[bool], pool: float) -> Flag | None:
    """Decide on agreement, given whether each vote names the winner most others name, and the share of theirs that do."""
    block = last_block(agreed, VOTE_BLOCK)
    if not block or 2 * block.k >= VOTE_BLOCK or compute_tail(block.k, VOTE_BLOCK, pool) >= POOL_TAIL:
        return None
    reason = _("%(k)d of votes %(first)d to %(last)d name the winner most others name; theirs would be %(wanted)d.")
    return Flag(rule="agreement", reason=reason % block.say(round(pool * VOTE_BLOCK)))


def find_bound(n: int, share: float, tail: float) -> int:
    """Return the least k of n that is not too few: fewer have a smaller chance than `tail`."""
    return next(k for k in range(n + 1) if compute_tail(k, n, share) >= tail)


def is_far(block: Block, pool: float) -> bool:
    z = compute_z(block.k, block.n, pool)
    return z is not None and abs(z) >= BIAS_Z and abs(block.k / block.n - pool) >= BIAS_GAP
