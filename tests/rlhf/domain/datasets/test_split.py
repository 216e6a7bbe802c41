"""No prompt, group or opening is on both sides of a split."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rlhf.domain.datasets.split import Place, assign_splits

PROMPTS = st.dictionaries(
    st.integers(0, 60), st.tuples(st.sampled_from("abcdefghij"), st.sampled_from("pqrstuvwxyz")), max_size=40
)


@given(PROMPTS, st.floats(0, 0.99), st.integers(0, 2**31))
def test_prompts_that_share_a_group_or_an_opening_share_a_side(
    prompts: dict[int, tuple[str, str]], test_share: float, seed: int
) -> None:
    places = assign_splits(prompts, test_share=test_share, seed=seed)

    assert places.keys() == prompts.keys()
    for left, right in ((one, other) for one in prompts for other in prompts):
        if set(zip("go", prompts[left], strict=True)) & set(zip("go", prompts[right], strict=True)):
            assert places[left] == places[right]


@given(PROMPTS, st.floats(0.01, 0.99), st.integers(0, 2**31))
def test_train_is_never_empty_and_test_only_when_there_is_one_group(
    prompts: dict[int, tuple[str, str]], test_share: float, seed: int
) -> None:
    places = assign_splits(prompts, test_share=test_share, seed=seed).values()

    n_groups = len({place.group for place in places})
    assert {place.split for place in places} == {0: set(), 1: {"train"}}.get(n_groups, {"train", "test"})


def test_groups_linked_through_a_third_are_one_named_by_the_first() -> None:
    chain = {1: ("b", "x"), 2: ("c", "x"), 3: ("c", "y"), 4: ("a", "y"), 5: ("z", "w")}

    groups = {prompt: place.group for prompt, place in assign_splits(chain, test_share=0.5, seed=0).items()}

    assert groups == {1: "a", 2: "a", 3: "a", 4: "a", 5: "z"}


def test_a_group_stays_on_its_side_as_others_come() -> None:
    few = {number: (f"group {number}", f"opening {number}") for number in range(200)}
    many = {number: (f"group {number}", f"opening {number}") for number in range(2000)}

    before, after = (assign_splits(prompts, test_share=0.1, seed=7) for prompts in (few, many))

    assert before == {prompt: after[prompt] for prompt in few}
    n_test = sum(place.split == "test" for place in after.values())
    assert 160 <= n_test <= 240  # 200 expected, standard deviation 13


def test_without_a_test_share_everything_is_train() -> None:
    assert assign_splits({1: ("a", "x"), 2: ("b", "y")}, test_share=0, seed=1) == {
        1: Place("train", "a"),
        2: Place("train", "b"),
    }
