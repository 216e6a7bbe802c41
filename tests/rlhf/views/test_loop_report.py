from __future__ import annotations

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

from rlhf.domain.measuring import RoundFigures, find_kl, measure_spent
from rlhf.models import Checkpoint, Round, Run
from rlhf.views.loop_report import COLUMNS, spell_row, write_report
from rlhf.world.win_rate import WinRate

PARTS = {"correctness": 0.5, "politeness": 0.25, "brevity": 0.75, "finished": 1.0, "repetition": 0.0}


def make_row(number, rate, decision):
    win = WinRate(
        rate=rate, low=rate - 0.05, high=rate + 0.05, n=500, parts=PARTS, baseline_parts=PARTS | {"correctness": 0.3}
    )
    round = Round(number=number, decision=decision, reasons=[f"It wins in {rate:.0%}."])
    spent = {"PPO": 20.0, "evaluation": 10.0 * number}
    return RoundFigures(round=round, n_judged=300, win=win, kl=None if number == 1 else 2.5, seconds=40.4, spent=spent)


def test_a_row_has_the_interval_and_each_part_with_its_change():
    cells = dict(zip(COLUMNS, spell_row(make_row(2, 0.6, "promoted")), strict=True))

    assert cells == {
        "round": "2",
        "judged": "300",
        "win rate over SFT": "60% (55% to 65%)",
        "correct": "+0.50 (+0.20)",
        "polite": "+0.25 (+0.00)",
        "brief": "+0.75 (+0.00)",
        "KL": "2.50",
        "took": "40 s",
        "decision": "promoted",
    }


def test_the_page_has_a_row_a_round_what_the_gate_said_and_a_figure_beside_it(tmp_path):
    rows = [make_row(1, 0.6, "promoted"), make_row(2, 0.7, "kept")]

    write_report(tmp_path / "loop.md", rows, Checkpoint(name="sft"), command="demo", n_rounds=2, seconds=80)

    page = (tmp_path / "loop.md").read_text()
    figure = ElementTree.parse(tmp_path / "images" / "loop-rounds.svg").getroot()
    assert "The last 2 rounds took 80 s on" in page
    assert "That is PPO 40 s, evaluation 30 s, all else 10 s." in page
    assert "1 of 2 policies were promoted" in page
    assert "| 2 | 300 | 70% (65% to 75%) |" in page
    assert "- Round 2: It wins in 70%." in page
    assert "![Win rate over the first policy by round](images/loop-rounds.svg)" in page
    filled = [circle.get("fill") for circle in figure.iter("{http://www.w3.org/2000/svg}circle")]
    assert filled == ["#2563eb", "none", "#2563eb", "none"]  # two rounds, two of the legend


def test_the_time_of_a_round_s_runs_is_told_by_kind():
    start = datetime(2026, 1, 1, tzinfo=UTC)
    runs = [
        Run(kind=kind, started_at=start, finished_at=start + timedelta(seconds=took))
        for kind, took in (("sample", 2), ("ppo", 20), ("sample", 1))
    ]

    assert measure_spent([*runs, Run(kind="evaluate")]) == {"sampling": 3.0, "PPO": 20.0}


def test_the_kl_is_the_evaluations_where_it_has_one():
    ppo = Run(kind="ppo", result={"objective/kl": 3.0})

    assert find_kl([ppo, Run(kind="evaluate", result={"kl": 2.0})]) == 2.0
    assert find_kl([ppo, Run(kind="evaluate", result={})]) == 3.0
    assert find_kl([Run(kind="dpo", result={"loss": 0.3})]) is None
