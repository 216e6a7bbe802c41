import pytest

from rlhf.world.win_rate import WinRate, win_rate

PROMPT = [{"role": "user", "content": "Where does Mila live?"}]
RIGHT, WRONG = "Mila lives in Dunhollow.", "Mila lives in Hartsea."
PARTS = {"politeness": 0.0, "brevity": 1.0, "finished": 1.0, "repetition": 0.0}


def test_ties_count_half_and_the_parts_stand_apart():
    result = win_rate([PROMPT] * 4, [RIGHT, RIGHT, WRONG, RIGHT], [WRONG, WRONG, RIGHT, RIGHT])

    assert result == WinRate(
        rate=0.625,
        low=result.low,
        high=result.high,
        n=4,
        parts={"correctness": 0.75, **PARTS},
        baseline_parts={"correctness": 0.5, **PARTS},
    )


def test_an_even_match_of_a_hundred_has_the_binomial_interval():
    result = win_rate([PROMPT] * 100, [RIGHT] * 50 + [WRONG] * 50, [WRONG] * 50 + [RIGHT] * 50)

    assert (result.rate, result.low, result.high) == (
        0.5,
        pytest.approx(0.402, abs=0.02),
        pytest.approx(0.598, abs=0.02),
    )


def test_the_interval_depends_on_the_seed_alone():
    draws = [win_rate([PROMPT] * 30, [RIGHT] * 20 + [WRONG] * 10, [WRONG] * 30, seed=3) for _ in range(2)]

    assert draws[0] == draws[1]


def test_lists_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="got 2, 1, 2"):
        win_rate([PROMPT] * 2, [RIGHT], [WRONG] * 2)
