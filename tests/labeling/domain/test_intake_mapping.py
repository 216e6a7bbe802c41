"""What rows become when a person says what their columns are."""

from __future__ import annotations

from typing import Any

import pytest

from labeling.domain.errors import InvalidContent
from labeling.domain.intake.items import Example, Pair, ParsedRow, Question
from labeling.domain.intake.mapping import VALUES, InvalidMapping, Mapping, guess_columns, guess_values

Q = [{"role": "user", "content": "q"}]
PAIR = {"prompt": "p", "chosen": "a", "rejected": "b"}
ROW = {"p": "q", "a": "x", "b": "y"}


def test_two_columns_are_a_pair_whose_first_one_won() -> None:
    assert Mapping(PAIR).read(ROW) == ParsedRow([Pair(Q, "x", "y")])


@pytest.mark.parametrize(
    ("verdict", "pair"),
    [
        ("model_a", Pair(Q, "x", "y")),
        (" B ", Pair(Q, "y", "x")),
        (2, Pair(Q, "y", "x")),
        ("tie", Pair(Q, "x", "y", strength=0)),
        ("tie (bothbad)", Pair(Q, "x", "y", strength=0, both_bad=True)),
    ],
)
def test_a_verdicts_column_says_who_won(verdict: Any, pair: Pair) -> None:
    assert Mapping(PAIR | {"verdict": "v"}).read(ROW | {"v": verdict}).items == [pair]


@pytest.mark.parametrize(("said", "strength"), [("3", 3), (1, 1), ("2.0", 2), ("0", 0)])
def test_a_strengths_column_says_by_how_much(said: Any, strength: int) -> None:
    assert Mapping(PAIR | {"strength": "s"}).read(ROW | {"s": said}).items == [Pair(Q, "x", "y", strength=strength)]


@pytest.mark.parametrize(
    ("said", "pair"),
    [(-3, Pair(Q, "x", "y", strength=3)), ("+3", Pair(Q, "y", "x", strength=3)), (0, Pair(Q, "x", "y", strength=0))],
)
def test_a_signed_strength_says_who_won_and_by_how_much(said: Any, pair: Pair) -> None:
    row = {"prompt": "q", "response_1": "x", "response_2": "y", "preference_strength": said}

    assert Mapping(guess_columns(list(row))).read(row).items == [pair]


def test_a_strength_beside_columns_that_name_the_winner_is_no_verdict() -> None:
    assert guess_columns(["prompt", "chosen", "rejected", "strength"]).get("verdict") is None


def test_a_column_of_0_and_1_is_asked_about() -> None:
    mapping = Mapping(PAIR | {"verdict": "label"})

    assert (guess_values(["0", "1", "1"]), guess_values(["1", "2", "1"]), guess_values([])) == ({}, VALUES, VALUES)
    with pytest.raises(InvalidContent, match="label says '0', which means neither A nor B nor tie"):
        mapping.read(ROW | {"label": 0})


def test_the_values_of_a_verdict_are_what_the_person_says_they_are() -> None:
    mapping = Mapping(PAIR | {"verdict": "v"}, {"A": ("links",), "B": ("rechts",), "tie": ("egal",)})

    assert [mapping.read(ROW | {"v": said}).items[0] for said in ("rechts", "egal")] == [
        Pair(Q, "y", "x"),
        Pair(Q, "x", "y", strength=0),
    ]


def test_pairs_nobody_judged_have_no_vote() -> None:
    assert Mapping(PAIR, is_unjudged=True).read(ROW).items == [Pair(Q, "x", "y", strength=None)]


def test_system_group_slice_and_language_come_along() -> None:
    mapping = Mapping(PAIR | {"system": "s", "group": "g", "slice": "k", "language": "l"})

    parsed = mapping.read(ROW | {"s": "Be brief.", "g": 7, "k": " maths ", "l": "en"})

    pair = Pair([{"role": "system", "content": "Be brief."}, *Q], "x", "y", group="7")
    assert parsed == ParsedRow([pair], slice_name="maths", language="en")
    assert mapping.read(ROW | {"s": "", "g": None, "k": "", "l": ""}) == ParsedRow([Pair(Q, "x", "y")])


def test_messages_are_read_as_they_are_elsewhere() -> None:
    row = {"p": Q, "a": [*Q, {"role": "assistant", "content": "x"}], "b": [{"role": "assistant", "content": "y"}]}

    assert Mapping(PAIR).read(row).items == [Pair(Q, "x", "y")]


def test_a_prompt_with_one_completion_is_an_example_and_alone_a_question() -> None:
    assert Mapping({"prompt": "p", "completion": "a"}).read(ROW).items == [Example(Q, "x")]
    assert Mapping({"prompt": "p"}).read(ROW).items == [Question(Q)]


@pytest.mark.parametrize(
    ("columns", "row", "reason"),
    [
        (PAIR, {"p": "q", "a": "x"}, "the row lacks b"),
        (PAIR, ROW | {"b": {}}, "b must be a string, got dict"),
        (PAIR, ROW | {"b": "x"}, "both completions are the same text"),
        (PAIR | {"verdict": "v"}, ROW | {"v": "perhaps"}, "v says 'perhaps', which means neither A nor B nor tie"),
        (PAIR | {"verdict": "v"}, ROW, "v says 'None', which means"),
        (PAIR | {"strength": "s"}, ROW | {"s": -3}, "s says -3: where its sign says who won, choose it as the verdict"),
        (
            PAIR | {"verdict": "v", "strength": "s"},
            ROW | {"v": "B", "s": "-2"},
            "s says -2, that A won, but the verdict is B",
        ),
        (PAIR | {"strength": "s"}, ROW | {"s": "4"}, "s must be 0 to 3, got '4'"),
        (PAIR | {"strength": "s"}, ROW | {"s": "nan"}, "s must be 0 to 3, got 'nan'"),
        (PAIR | {"slice": "k"}, ROW | {"k": "x" * 65}, "k must be a slice of at most 64 plain characters"),
        ({"prompt": "p", "completion": "a"}, ROW | {"a": " "}, "the completion is empty"),
        ({"prompt": "p"}, ROW | {"p": "q\x00"}, "NUL"),
    ],
)
def test_a_row_that_does_not_keep_to_the_mapping_is_refused(
    columns: dict[str, str], row: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidContent, match=reason):
        Mapping(columns).read(row)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"columns": {}}, "say which column holds the prompt"),
        ({"columns": {"prompt": "p", "chosen": "a"}}, "say which holds the second completion"),
        ({"columns": PAIR | {"completion": "c"}}, "a row is a pair or a demonstration"),
        ({"columns": {"prompt": "p", "verdict": "v"}}, "a verdict is about a pair"),
        ({"columns": PAIR | {"verdict": "v"}, "is_unjudged": True}, "nobody has judged these pairs"),
        ({"columns": PAIR | {"verdict": "v"}, "values": {"A": ("1",), "B": ()}}, "say which values of the verdict"),
        ({"columns": PAIR | {"verdict": "v"}, "values": {"A": ("1",), "B": ("1",)}}, "can mean one verdict only"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused_with_a_way_out(parts: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidMapping, match=reason):
        Mapping(**parts)


def test_a_mapping_survives_being_kept_and_names_the_way_it_reads() -> None:
    mapping = Mapping(PAIR | {"verdict": "v"}, {"A": ("1",), "B": ("2",), "tie": ()})

    again = Mapping.from_json(mapping.to_json())

    assert (again, again.name) == (mapping, mapping.name)
    assert (len(mapping.name), Mapping(PAIR).name == mapping.name) == (15, False)


@pytest.mark.parametrize(
    ("columns", "guessed"),
    [
        (["Question", "Response A", "Response-B", "winner"], ["Question", "Response A", "Response-B", "winner"]),
        (["conversation", "left", "right", "vote"], ["conversation", "left", "right", "vote"]),
        (["instruction", "output"], ["instruction", None, None, None]),
        (["x", "chosen"], [None, None, None, None]),
    ],
)
def test_fields_are_guessed_from_the_names_of_columns(columns: list[str], guessed: list[str | None]) -> None:
    found = guess_columns(columns)

    assert [found.get(name) for name in ("prompt", "chosen", "rejected", "verdict")] == guessed
