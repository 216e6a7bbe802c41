import math
import random

import pytest

from rlhf.world.judge import gold_score
from rlhf.world.labelers import Habit, SimulatedLabeler

RIGHT, WRONG = "Mila lives in Dunhollow.", "Mila lives in Hartsea."  # 2 points apart


def share_right(*, slip_rate: float, temperature: float, n: int = 4000) -> float:
    """Return how often labelers of n seeds prefer RIGHT, sides drawn at random, ties half."""
    rng = random.Random(0)
    prompt = [{"role": "user", "content": "Where does Mila live?"}]
    n_right = 0.0
    for seed in range(n):
        a, b = (RIGHT, WRONG) if rng.random() < 0.5 else (WRONG, RIGHT)
        strength = SimulatedLabeler(seed, slip_rate=slip_rate, temperature=temperature).prefer(prompt, a, b)
        n_right += 0.5 if strength == 0 else float((strength > 0) == (b == RIGHT))
    return n_right / n


def test_without_noise_the_better_answer_always_wins_and_strongly():
    prompt = [{"role": "user", "content": "Where does Mila live?"}]
    labeler = SimulatedLabeler(1, slip_rate=0.0, temperature=1e-9)

    assert (labeler.prefer(prompt, WRONG, RIGHT), labeler.prefer(prompt, RIGHT, WRONG)) == (3, -3)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_noise_is_bradley_terry(temperature):
    expected = 1 / (1 + math.exp(-2 / temperature))

    assert share_right(slip_rate=0.0, temperature=temperature) == pytest.approx(expected, abs=0.025)


def test_slips_turn_verdicts_round():
    assert share_right(slip_rate=0.2, temperature=1e-9) == pytest.approx(0.8, abs=0.025)


def test_the_same_labeler_answers_the_same_and_another_sometimes_not():
    prompt = [{"role": "user", "content": "Where does Mila live?"}]
    answers = [SimulatedLabeler(7, temperature=2.0).prefer(prompt, RIGHT, WRONG) for _ in range(5)]

    assert len(set(answers)) == 1
    assert len({SimulatedLabeler(seed, temperature=2.0).prefer(prompt, RIGHT, WRONG) for seed in range(500)}) == 7


def test_equal_answers_tie():
    prompt = [{"role": "user", "content": "Where does Mila live?"}]

    assert gold_score(prompt, RIGHT).total != 0
    assert SimulatedLabeler(1, slip_rate=1.0, temperature=5.0).prefer(prompt, RIGHT, RIGHT) == 0


def test_the_inverted_say_the_opposite_of_what_they_read():
    prompt = [{"role": "user", "content": "Where does Mila live?"}]
    honest = [SimulatedLabeler(seed).prefer(prompt, RIGHT, WRONG) for seed in range(50)]

    assert [SimulatedLabeler(seed, habit=Habit.INVERTED).prefer(prompt, RIGHT, WRONG) for seed in range(50)] == [
        -strength for strength in honest
    ]


def test_the_random_do_not_read_and_the_lazy_press_left():
    prompt = [{"role": "user", "content": "Where does Mila live?"}]
    pressed = [SimulatedLabeler(seed, habit=Habit.RANDOM).prefer(prompt, RIGHT, WRONG) for seed in range(1000)]
    lazy = SimulatedLabeler(1, habit=Habit.LEFT)

    assert set(pressed) == {-2, 2}
    assert sum(pressed) / 2000 == pytest.approx(0, abs=0.08)
    assert [lazy.prefer(prompt, RIGHT, WRONG, a_is_left=is_left) for is_left in (True, False)] == [-2, 2]
