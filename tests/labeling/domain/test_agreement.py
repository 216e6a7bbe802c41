from __future__ import annotations

import numpy as np
import pytest

from labeling.domain.agreement import Agreement, measure_labeler, measure_pair, measure_votes


def values(agreement: Agreement) -> dict[str, float | None]:
    return {figure.key: figure.value for figure in agreement.figures}


def reasons(agreement: Agreement) -> set[str]:
    return {figure.reason for figure in agreement.figures}


def draw_steps(n: int, seed: int = 3) -> list[int]:
    return np.random.default_rng(seed).integers(-3, 4, n).tolist()


def both(mine: list[int], hers: list[int]) -> list[tuple[int, int, int]]:
    return [(item, who, step) for who, steps in enumerate([mine, hers]) for item, step in enumerate(steps)]


def test_a_copied_labeler_agrees_wholly():
    steps = draw_steps(200)

    assert values(measure_votes(both(steps, steps))) == pytest.approx(
        {"signs": 1, "exact": 1, "fleiss": 1, "nominal": 1, "ordinal": 1, "interval": 1}
    )
    assert values(measure_pair(zip(steps, steps, strict=True))) == pytest.approx(
        {"signs": 1, "exact": 1, "cohen": 1, "ordinal": 1}
    )


def test_an_inverted_labeler_agrees_less_than_chance():
    steps = [step for step in draw_steps(200) if step]

    found = values(measure_votes(both(steps, [-step for step in steps])))

    assert (found["signs"], found["exact"]) == (0, 0)
    assert all(found[key] < -0.9 for key in ("fleiss", "nominal", "ordinal", "interval"))


def test_what_never_varied_is_no_surer_than_its_number_of_comparisons():
    steps = draw_steps(12)

    signs, _exact, cohen, _alpha = measure_pair(zip(steps, steps, strict=True)).figures

    assert (signs.value, signs.low, signs.high) == (1, pytest.approx(0.757, abs=1e-3), 1)
    assert (cohen.value, cohen.low) == (1, None)
    assert cohen.reason == "All comparisons say the same of it so far: how sure it is cannot be told."


def test_the_alpha_of_two_labelers_is_that_of_all_where_they_are_all():
    mine, hers = draw_steps(80, seed=1), draw_steps(80, seed=2)
    nearer = [step if number % 3 else other for number, (step, other) in enumerate(zip(hers, mine, strict=True))]

    of_two, of_all = measure_pair(zip(mine, nearer, strict=True)), measure_votes(both(mine, nearer))

    assert values(of_two)["ordinal"] == pytest.approx(values(of_all)["ordinal"])


def test_a_random_labeler_agrees_by_chance_alone():
    agreement = measure_votes(both(draw_steps(4000, seed=1), draw_steps(4000, seed=2)))

    for figure in agreement.figures[2:]:
        assert figure.value == pytest.approx(0, abs=0.05)
        assert figure.low < 0 < figure.high
    assert values(agreement)["exact"] == pytest.approx(1 / 7, abs=0.02)


def test_ordinal_alpha_forgives_a_step_and_nominal_a_strength():
    mine = draw_steps(300)
    near = [step - 1 if step == 3 else step + 1 for step in mine]
    found = values(measure_votes(both(mine, near)))

    assert found["exact"] == 0
    assert found["ordinal"] > 0.8
    stronger = [3 * step // max(abs(step), 1) for step in mine]
    assert values(measure_votes(both(mine, stronger)))["nominal"] == pytest.approx(1)


def test_it_says_why_agreement_is_undefined():
    alone = [(0, 1, 2), (1, 1, 2)]

    assert reasons(measure_votes([])) == {"Nobody has judged here yet."}
    assert reasons(measure_votes(alone)) == {"Only one labeler has judged here: agreement needs two."}
    assert reasons(measure_votes([(0, 1, 2), (1, 2, 2)])) == {
        "No comparison was judged by two labelers: raise the overlap to measure agreement."
    }
    assert reasons(measure_labeler(alone, 1)) == {"Only one labeler has judged here: agreement needs two."}
    assert reasons(measure_labeler([(0, 1, 2), (1, 2, 2)], 1))  # others judged, though not what she did


def test_without_any_variation_there_is_agreement_but_no_kappa():
    agreement = measure_votes(both([2] * 20, [2] * 20))

    assert values(agreement) == {
        "signs": 1, "exact": 1, "fleiss": None, "nominal": None, "ordinal": None, "interval": None
    }  # fmt: skip
    assert reasons(agreement) == {
        "",
        "Everyone says the same of every comparison: there is no chance agreement to compare with.",
    }


def test_few_items_have_a_value_without_an_interval():
    figure = measure_votes(both([1, 2, -1], [1, 2, -3])).figures[0]

    assert (figure.value, figure.low, figure.n) == (1, None, 3)
    assert figure.reason == "Judged by two or more: 3. That is too few for an interval."


def test_items_judged_once_count_for_nothing():
    twice = both(draw_steps(30, 1), draw_steps(30, 2))

    more = measure_votes([*twice, *((100 + n, n % 2, 3) for n in range(50))])

    assert values(more) == pytest.approx(values(measure_votes(twice)))
    assert (more.n_items, more.n_votes, more.n_labelers) == (30, 110, 2)


def test_one_labeler_against_the_others_is_the_mean_over_her_items():
    # Item 0: one of two others agrees; item 1: both; item 2 is not hers.
    votes = [(0, 1, 2), (0, 2, 3), (0, 3, -1), (1, 1, -2), (1, 2, -2), (1, 3, -1), (2, 2, 1), (2, 3, 1)]

    agreement = measure_labeler(votes, 1, name="ann")

    assert values(agreement)["signs"] == 0.75
    assert values(agreement)["exact"] == 0.25
    assert (agreement.name, agreement.n_items, agreement.n_labelers, agreement.n_votes) == ("ann", 2, 3, 2)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    held = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        truth = rng.choice([-2, 2], 150)
        said = [np.where(rng.random(150) < 0.9, truth, -truth).tolist() for _ in range(2)]
        figure = measure_votes(both(*said)).figures[0]
        held += figure.low <= 0.82 <= figure.high  # 0.9 * 0.9 + 0.1 * 0.1

    assert 52 <= held <= 60
