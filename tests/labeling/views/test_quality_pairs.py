from __future__ import annotations

import re

import pytest
from django.core.cache import cache

from labeling.domain.agreement import Agreement
from labeling.domain.intervals import Figure
from labeling.domain.quality import measure_agreement
from labeling.models import Judgment, Project, User
from labeling.views.quality_pairs import MATRIX, Cell, build_matrix
from tests.labeling.conftest import log_in, make_member
from tests.labeling.rows import add_pairs
from tests.labeling.votes import say

pytestmark = pytest.mark.django_db

PAGE = "/projects/kitchen/quality/pairs/"


@pytest.fixture(autouse=True)
def no_report_of_other_tests(db):
    cache.clear()


def read(client, address: str = PAGE) -> str:
    """Return the words of the page's table, a line a row."""
    html = client.get(address).content.decode()
    rows = re.findall(r"<tr>.*?</tr>", html, flags=re.DOTALL)
    return "\n".join(" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in rows)


def judge_alike(project: Project, labelers: list[User], n: int, *, n_apart: int = 0) -> None:
    """Let labelers judge n comparisons; of the first few the last of them says the contrary of the others."""
    for number, pair in enumerate(add_pairs(project, n, overlap=len(labelers))):
        strength = 2 if number % 2 else -2
        for labeler in labelers:
            say(pair, labeler, -strength if number < n_apart and labeler == labelers[-1] else strength)


def test_pairs_of_labelers_make_a_table_that_is_its_own_mirror():
    def pair(name, value, n):
        figure = Figure(key="signs", name="same winner", n=n, value=value)
        return Agreement(name=name, n_items=n, n_labelers=2, n_votes=2 * n, figures=[figure])

    matrix = build_matrix([pair("ida - joan", 0.95, 40), pair("joan - katie", 0.1, 3)])

    close, few = Cell(0.95, 40), Cell(0.1, 3)
    assert matrix.labelers == ["ida", "joan", "katie"]
    assert matrix.rows == [("ida", [None, close, None]), ("joan", [close, None, few]), ("katie", [None, few, None])]
    assert (close.level, few.level) == ("4", "few")
    assert build_matrix([]) is None


def test_a_pair_of_labelers_has_its_kappa_with_its_interval_or_why_there_is_none(kitchen, as_ada, grace, hedy):
    pairs = add_pairs(kitchen, 12, overlap=2)
    for number, pair in enumerate(pairs):
        say(pair, grace, 2 if number % 2 else -2)
        say(pair, hedy, (2 if number % 2 else -2) * (-1 if number == 0 else 1))
    (pair,) = measure_agreement(kitchen, by="pair")
    (cell,) = [cell for cell in build_matrix([pair]).rows[0][1] if cell]

    # Eleven of twelve alike, half of them by chance: (11/12 - 1/2) / (1/2).
    assert (cell.percent, cell.beyond_chance) == ("92", "0.83")
    assert re.fullmatch(r"Cohen’s kappa, between -?0\.\d\d and 1\.00", cell.between)
    text = re.sub(r"\s+", " ", as_ada.get("/projects/kitchen/quality/").content.decode())
    assert f'92 <small title="{cell.between}">κ 0.83</small>' in text
    assert Cell(1.0, 3, Figure(key="cohen", name="", n=3, reason="Everyone says the same.")).beyond_chance == ""


def test_more_labelers_than_a_table_holds_are_a_list_alone():
    def pair(one: int, other: int) -> Agreement:
        figure = Figure(key="signs", name="same winner", n=40, value=0.7)
        return Agreement(name=f"w{one:02} - w{other:02}", n_items=40, n_labelers=2, n_votes=80, figures=[figure])

    assert len(build_matrix([pair(0, number) for number in range(1, MATRIX)]).labelers) == MATRIX
    assert build_matrix([pair(0, number) for number in range(1, MATRIX + 1)]) is None


def test_each_two_labelers_have_all_figures_with_intervals_in_words(kitchen, as_ada, grace, hedy):
    judge_alike(kitchen, [grace, hedy], 12, n_apart=1)

    line = read(as_ada).splitlines()[1]

    assert re.fullmatch(
        r"grace hedy 12 92% between \d\d% and 100% 0\.83 between -?0\.\d\d and 1\.00 0\.84 between -?0\.\d\d and 1\.00",
        line,
    )


def test_what_two_labelers_cannot_tell_says_why(kitchen, as_ada, grace, hedy):
    for pair in add_pairs(kitchen, 12, overlap=2):
        say(pair, grace, 2)
        say(pair, hedy, 2)

    line = read(as_ada).splitlines()[1]

    assert line.startswith("grace hedy 12 100% between 76% and 100% –")
    assert line.count("– Everyone says the same of every comparison") == 2


def test_too_few_comparisons_give_no_interval_and_stand_last(kitchen, as_ada, grace, hedy):
    ida = make_member(kitchen, "ida")
    judge_alike(kitchen, [grace, hedy], 12)
    for judgment in Judgment.objects.filter(labeler=grace).order_by("pk")[:4]:
        say(judgment.comparison, ida, -judgment.strength)

    first, *others = read(as_ada).splitlines()[1:]

    assert first.startswith("grace hedy 12 100%")
    assert others == [f"{names} 4 too few for intervals 0% -1.00 -0.75" for names in ("grace ida", "hedy ida")]


def test_who_agrees_least_stands_first_and_one_labeler_can_be_picked(kitchen, as_ada, grace, hedy):
    ida = make_member(kitchen, "ida")
    judge_alike(kitchen, [grace, hedy, ida], 12, n_apart=9)

    assert [line.split(" 12 ")[0] for line in read(as_ada).splitlines()[1:]] == [
        "grace ida",
        "hedy ida",
        "grace hedy",
    ]
    assert [line.split(" 12 ")[0] for line in read(as_ada, f"{PAGE}?labeler=hedy").splitlines()[1:]] == [
        "hedy ida",
        "grace hedy",
    ]


def test_pairs_are_for_reviewers_and_managers(kitchen, as_ada, as_grace, as_eve):
    as_rita = log_in(make_member(kitchen, "rita", role="reviewer"))

    assert [client.get(PAGE).status_code for client in (as_rita, as_ada, as_grace, as_eve)] == [200, 200, 403, 404]
    assert "Nothing in common yet" in as_ada.get(PAGE).content.decode()
