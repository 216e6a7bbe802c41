from __future__ import annotations

from collections import Counter

import pytest

from rlhf.domain.datasets.capping import find_most, find_over, measure_shares
from rlhf.domain.datasets.consensus import Vote
from rlhf.domain.datasets.rule import InvalidRule


def cast(**counts: int) -> list[Vote]:
    labelers = [int(name.removeprefix("l")) for name, n in counts.items() for _ in range(n)]
    return [Vote(1, judgment_id=number, labeler=labeler) for number, labeler in enumerate(labelers, 1)]


def test_whoever_has_more_than_her_share_is_cut_to_it_and_others_are_left() -> None:
    votes = cast(l1=60, l2=20, l3=20)

    over = find_over(votes, share_max=0.4, seed=1)

    left = [vote for vote in votes if vote.judgment_id not in over]
    assert Counter(vote.labeler for vote in left) == {1: 26, 2: 20, 3: 20}
    assert max(measure_shares(left).values()) <= 0.4
    assert find_over(votes, share_max=0.4, seed=1) == over
    assert find_over(votes[::-1], share_max=0.4, seed=1) == over
    assert find_over(votes, share_max=0.4, seed=2) != over


def test_imported_votes_are_nobodys_and_count_in_the_whole() -> None:
    votes = cast(l1=10) + [Vote(1, imported_judgment_id=number) for number in range(90)]

    assert find_over(votes, share_max=0.1, seed=1) == set()
    assert len(find_over(votes, share_max=0.05, seed=1)) == 6  # 4 of 94 are left


def test_a_cap_too_few_labelers_could_keep_says_what_to_do() -> None:
    with pytest.raises(InvalidRule, match=r"0\.1 cannot be kept by 4 labelers: raise it to 0\.25 or more"):
        find_over(cast(l1=5, l2=5, l3=5, l4=5), share_max=0.1, seed=1)


@pytest.mark.parametrize("share", [0.3, 0.34, 0.5, 0.9, 1.0])
def test_the_most_is_the_most_there_can_be(share: float) -> None:
    counts = {1: 50, 2: 7, 3: 30, 4: 12}

    most = find_most(counts, share_max=share, n_others=0)

    def keeps(n: int) -> bool:
        return max(min(k, n) for k in counts.values()) <= share * sum(min(k, n) for k in counts.values())

    assert keeps(most)
    assert most == 50 or not keeps(most + 1)
