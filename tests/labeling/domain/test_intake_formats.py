"""What rows of each format become."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from labeling.domain.errors import InvalidContent
from labeling.domain.intake.detection import FORMATS, PROMPTS, detect_format
from labeling.domain.intake.items import Example, Pair, ParsedRow, Question
from labeling.domain.intake.refusals import FileRefused

DOCUMENT = (Path(__file__).parents[3] / "docs" / "formats.md").read_text("utf-8")
SKY = [{"role": "user", "content": "What colour is the sky?"}]
BLUE, BARE = "Blue, on a clear day.", "The sky."


def documented_rows(heading: str) -> list[dict[str, Any]]:
    """Return the example rows under a heading of docs/formats.md."""
    section = DOCUMENT.split(f"# {heading}\n")[1].split("\n#")[0]
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)\n```", section, re.S)]


def transcript(*turns: str) -> str:
    return "".join(f"\n\n{'Human' if number % 2 == 0 else 'Assistant'}: {turn}" for number, turn in enumerate(turns))


@pytest.mark.parametrize(
    ("heading", "n_examples"), [("trl", 3), ("hh", 1), ("openai", 1), ("oasst", 1), ("labelstudio", 1), ("argilla", 2)]
)
def test_every_documented_preference_row_is_recognised_and_becomes_the_same_pair(heading: str, n_examples: int) -> None:
    rows = documented_rows(heading)

    assert [detect_format([row]).name for row in rows] == [heading] * n_examples
    for row in rows:
        (pair,) = FORMATS[heading].read(row).items
        group = "tree-1" if heading == "oasst" else None
        assert pair == Pair(prompt=SKY, better=BLUE, worse=BARE, strength=2, group=group)


def test_every_documented_demonstration_is_recognised_and_becomes_the_same_example() -> None:
    rows = documented_rows("alpaca")

    assert [detect_format([row]).name for row in rows] == ["alpaca"] * 2
    expected = Example([{"role": "user", "content": "Name the colour.\n\na clear sky"}], "Blue")
    assert [FORMATS["alpaca"].read(row).items for row in rows] == [[expected]] * 2


def test_every_documented_prompt_becomes_a_question() -> None:
    plain, conversation, bench = (PROMPTS.read(row) for row in documented_rows("Prompts"))

    assert plain == ParsedRow([Question(SKY)])
    assert conversation == ParsedRow([Question([{"role": "system", "content": "Be brief."}, *SKY])])
    assert bench == ParsedRow(
        [Question([{"role": "user", "content": "Describe the sky."}])], Counter({"later turns": 1})
    )


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt", "better", "worse"),
    [
        (("q", "a", "r", "x"), ("q", "a", "r", "y"), ["q", "a", "r"], "x", "y"),
        # They part at an earlier answer: what follows stays with each side, word for word.
        (("q", "x", "r", "b"), ("q", "y"), ["q"], "x\n\nHuman: r\n\nAssistant: b", "y"),
        # One is the beginning of the other.
        (("q", "a"), ("q", "a", "r", "b"), ["q"], "a", "a\n\nHuman: r\n\nAssistant: b"),
        # They part at a question: the last answer belongs to the completions.
        (
            ("q", "a", "r", "b"),
            ("q", "a", "s", "b"),
            ["q"],
            "a\n\nHuman: r\n\nAssistant: b",
            "a\n\nHuman: s\n\nAssistant: b",
        ),
        (("q", ""), ("q", "y"), ["q"], "", "y"),
        (("q", " x \n\nB: y "), ("q", "Human: y"), ["q"], " x \n\nB: y ", "Human: y"),
    ],
)
def test_transcripts_part_after_the_last_shared_question(
    chosen: tuple[str, ...], rejected: tuple[str, ...], prompt: list[str], better: str, worse: str
) -> None:
    (pair,) = FORMATS["hh"].read({"chosen": transcript(*chosen), "rejected": transcript(*rejected)}).items

    roles = ["user", "assistant"] * 2
    messages = [{"role": role, "content": content} for role, content in zip(roles, prompt, strict=False)]
    assert pair == Pair(messages, better, worse)


def test_two_assistant_turns_in_a_row_and_a_missing_space_are_kept_as_they_are() -> None:
    chosen = "\n\nHuman: q\n\nAssistant: a\n\nAssistant:b"
    rejected = "\n\nHuman: q\n\nAssistant: c"

    (pair,) = FORMATS["hh"].read({"chosen": chosen, "rejected": rejected}).items

    assert pair == Pair([{"role": "user", "content": "q"}], "a\n\nAssistant:b", "c")


def test_a_shared_beginning_of_two_texts_is_their_prompt() -> None:
    (pair,) = FORMATS["trl"].read({"chosen": "The sky is blue.", "rejected": "The sky is green."}).items

    assert pair == Pair([{"role": "user", "content": "The sky is"}], " blue.", " green.")


def test_a_side_that_repeats_its_prompt_says_it_once() -> None:
    answers = [{"role": "assistant", "content": BLUE}], [{"role": "assistant", "content": BARE}]
    rows = [
        {"prompt": SKY, "chosen": SKY + answers[0], "rejected": SKY + answers[1]},
        {"prompt": SKY[0]["content"], "chosen": SKY + answers[0], "rejected": SKY + answers[1]},
        {"prompt": SKY[0]["content"], "chosen": answers[0], "rejected": answers[1]},
        {"prompt": SKY, "chosen": BLUE, "rejected": BARE},
    ]

    assert [FORMATS["trl"].read(row).items for row in rows] == [[Pair(SKY, BLUE, BARE)]] * 4


def test_margins_of_scales_without_a_tie_come_back_as_the_nearest_of_seven_steps() -> None:
    row = {"prompt": "q", "chosen": "a", "rejected": "b"}

    read = {
        margin: FORMATS["trl"].read({**row, "margin": margin}).items[0].strength
        for margin in (0.0, 1 / 7, 3 / 7, 5 / 7)
    }

    assert read == {0.0: 1, 1 / 7: 1, 3 / 7: 1, 5 / 7: 2}


def test_the_margin_and_the_group_of_our_own_export_come_back() -> None:
    row = {"prompt": "q", "chosen": "a", "rejected": "b", "group": "g"}
    margins = [1 / 3, 2 / 3, 1.0, 0.123, None, [1]]

    pairs = [FORMATS["trl"].read({**row, "margin": margin}).items[0] for margin in margins]

    assert [(pair.strength, pair.group) for pair in pairs] == [
        (1, "g"),
        (2, "g"),
        (3, "g"),
        (2, "g"),
        (2, "g"),
        (2, "g"),
    ]


def test_developer_messages_and_text_parts_are_read_as_plain_messages() -> None:
    row = documented_rows("openai")[0]
    row["input"]["messages"] = [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "What colour "}, {"type": "text", "text": "is the sky?"}],
        },
    ]

    (pair,) = FORMATS["openai"].read(row).items

    assert pair == Pair([{"role": "system", "content": "Be brief."}, *SKY], BLUE, BARE)


def reply(text: str, *replies: dict[str, Any], rank: int | None = None, deleted: bool = False) -> dict[str, Any]:
    return {"role": "assistant", "text": text, "rank": rank, "deleted": deleted, "replies": list(replies)}


def question(text: str, *replies: dict[str, Any], deleted: bool = False) -> dict[str, Any]:
    return {"role": "prompter", "text": text, "deleted": deleted, "replies": list(replies)}


def test_a_tree_becomes_all_pairs_of_ranked_siblings_along_each_path() -> None:
    deep = question("r", reply("x", rank=1), reply("y", rank=0), reply("z"), reply("gone", rank=2, deleted=True))
    root = question("q", reply("c", rank=2), reply("a", deep, rank=0), reply("b", rank=1), reply("tie", rank=1))

    parsed = FORMATS["oasst"].read({"message_tree_id": "t", "tree_state": "ready_for_export", "prompt": root})

    q = [{"role": "user", "content": "q"}]
    path = [*q, {"role": "assistant", "content": "a"}, {"role": "user", "content": "r"}]
    wins = [("a", "b"), ("a", "tie"), ("a", "c"), ("b", "c"), ("tie", "c")]
    assert sorted(map(repr, parsed.items)) == sorted(
        map(
            repr,
            [
                *(Pair(q, better, worse, group="t") for better, worse in wins),
                Pair(q, "b", "tie", strength=0, group="t"),
                Pair(path, "y", "x", group="t"),
            ],
        )
    )
    assert parsed.notes == {"replies without a rank": 1, "deleted messages": 1}


def test_replies_under_a_deleted_message_and_unfinished_trees_are_left_out() -> None:
    root = question("q", reply("a", question("r", reply("x", rank=0), reply("y", rank=1)), deleted=True))

    finished, unfinished = (
        FORMATS["oasst"].read({"message_tree_id": "t", "tree_state": state, "prompt": root})
        for state in ("ready_for_export", "growing")
    )

    assert finished == ParsedRow([], Counter({"deleted messages": 1}))
    assert unfinished == ParsedRow([], Counter({"trees that are not ready_for_export": 1}))


@pytest.mark.parametrize(
    ("format", "row", "reason"),
    [
        ("hh", {"chosen": transcript("q", "a")}, "the row lacks rejected"),
        ("hh", {"chosen": transcript("q", "a"), "rejected": 3}, "rejected must be a string, got int"),
        ("hh", {"chosen": transcript("q", "a"), "rejected": "b"}, 'rejected must be a transcript that begins with "'),
        (
            "hh",
            {"chosen": transcript("q", "a"), "rejected": transcript("q", "a")},
            "both completions are the same text",
        ),
        (
            "hh",
            {"chosen": transcript("q", "a"), "rejected": transcript("p", "a")},
            "share no turn that the assistant answers",
        ),
        ("trl", {"prompt": "q", "chosen": "a", "rejected": "a"}, "both completions are the same text"),
        ("trl", {"prompt": "q", "chosen": "a\x00", "rejected": "b"}, "NUL"),
        ("trl", {"prompt": "q\ud800", "chosen": "a", "rejected": "b"}, "surrogate"),
        ("trl", {"prompt": "", "chosen": "a", "rejected": "b"}, "the last message of the prompt is empty"),
        (
            "trl",
            {"prompt": 3, "chosen": "a", "rejected": "b"},
            "prompt must be a string or a list of messages, got int",
        ),
        ("trl", {"chosen": "a", "rejected": "b"}, "the row lacks prompt"),
        ("trl", {"prompt": "q", "chosen": "a", "rejected": ["b"]}, "rejected must be a string, got list"),
        ("trl", {"prompt": "q", "chosen": [], "rejected": []}, "chosen must be a list with at least one element"),
        (
            "trl",
            {"prompt": "q", "chosen": "a", "rejected": "b", "group": "g" * 65},
            "group must have 1 to 64 characters",
        ),
        ("openai", {"input": {"messages": SKY, "tools": [{}]}, "preferred_output": 1}, "input offers tools"),
        ("openai", {"input": {"messages": []}}, "messages must be a list with at least one element"),
        ("openai", {"input": {"messages": [{"role": "tool", "content": "x"}]}}, "role must be one of"),
        (
            "openai",
            {
                "input": {"messages": SKY},
                "preferred_output": [{"role": "user", "content": "x"}],
                "non_preferred_output": SKY,
            },
            "a completion must begin with the assistant's turn",
        ),
        (
            "oasst",
            {"message_tree_id": "t", "tree_state": "ready_for_export", "prompt": {"role": []}},
            "must have the role",
        ),
        ("alpaca", {"instruction": "i", "output": " "}, "nothing to imitate"),
        ("alpaca", {"instruction": "i", "instances": [{"output": "a"}, {"output": "b"}]}, "one instance, got 2"),
    ],
)
def test_a_row_that_is_not_its_format_is_refused_with_the_reason(format: str, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidContent, match=re.escape(reason)):
        FORMATS[format].read(row)


def test_rows_that_look_like_two_formats_are_refused_naming_both() -> None:
    rows = [*documented_rows("hh"), *documented_rows("trl")]

    with pytest.raises(FileRefused, match="look like hh and trl: choose one with --format"):
        detect_format(rows)


def test_rows_of_no_format_are_refused_naming_their_keys_and_the_formats() -> None:
    with pytest.raises(FileRefused, match="keys id, label; the formats are trl, hh, openai, oasst, alpaca"):
        detect_format([{"id": 1, "label": "x"}])


def task(*annotations: dict[str, Any], **data: str) -> dict[str, Any]:
    return {"id": 1, "data": {"prompt": "q", "answer1": "x", "answer2": "y"} | data, "annotations": list(annotations)}


def vote(selected: str, **changes: Any) -> dict[str, Any]:
    region = {"to_name": "answer1,answer2", "type": "pairwise", "value": {"selected": selected}}
    return {"was_cancelled": False, "result": [region]} | changes


def test_every_annotation_of_a_task_is_a_vote_and_what_is_none_is_counted() -> None:
    row = task(vote("left"), vote("right"), vote("left", was_cancelled=True), vote("none"), {"result": []})

    parsed = FORMATS["labelstudio"].read(row)

    q = [{"role": "user", "content": "q"}]
    assert parsed.items == [Pair(q, "x", "y"), Pair(q, "y", "x")]
    assert parsed.notes == Counter({"annotations without a choice": 2, "skipped annotations": 1})


def test_a_task_is_read_by_the_names_its_choice_points_at() -> None:
    region = {"to_name": "one,two", "type": "pairwise", "value": {"selected": "right"}}

    (pair,) = FORMATS["labelstudio"].read(task({"result": [region]}, one="1", two="2")).items

    assert (pair.better, pair.worse) == ("2", "1")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"data": {}, "annotations": []}, "data has no prompt"),
        ({"data": "x", "annotations": []}, "a task must have data"),
        (task(7), "an annotation must be an object"),  # type: ignore[arg-type]
        ({"data": {"prompt": "q"}, "annotations": [vote("left")]}, "data has neither answer1 and answer2 nor"),
        (task(vote("left"), answer1=7), "answer1 must be a string, got int"),  # type: ignore[arg-type]
        (task(vote("left"), answer2="x"), "both completions are the same text"),
    ],
)
def test_a_task_that_is_none_is_refused(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidContent, match=reason):
        FORMATS["labelstudio"].read(row)


def record(responses: Any, **fields: Any) -> dict[str, Any]:
    return {"fields": {"prompt": "q", "reply-1": "x", "reply-2": "y"} | fields, "responses": responses}


def answers(*values: Any) -> dict[str, Any]:
    return {"preference": [{"value": value, "user_id": "u"} for value in values]}


@pytest.mark.parametrize(
    ("value", "better", "strength"),
    [
        (["reply-2", "reply-1"], "y", 2),
        ([{"value": "reply-1", "rank": 1}, {"value": "reply-2", "rank": 2}], "x", 2),
        ([{"value": "reply-1", "rank": 1}, {"value": "reply-2", "rank": 1}], "x", 0),
        ("Reply 2", "y", 2),
        ("tie", "x", 0),
    ],
)
def test_rankings_and_labels_become_votes(value: Any, better: str, strength: int) -> None:
    (pair,) = FORMATS["argilla"].read(record(answers(value))).items

    assert (pair.better, pair.strength) == (better, strength)


def test_a_ranking_of_three_is_three_votes_and_every_person_counts() -> None:
    row = record(answers(["reply-3", "reply-1", "reply-2"], ["reply-1", "reply-2", "reply-3"]), **{"reply-3": "z"})

    pairs = [(pair.better, pair.worse) for pair in FORMATS["argilla"].read(row).items]

    assert pairs == [("z", "x"), ("z", "y"), ("x", "y"), ("x", "y"), ("x", "z"), ("y", "z")]


def test_the_first_versions_answers_count_when_they_were_submitted() -> None:
    value = {"preference": {"value": [{"value": "reply-2", "rank": 1}, {"value": "reply-1", "rank": 2}]}}
    rows = [{"status": status, "values": value, "user_id": "u"} for status in ("submitted", "discarded", "draft")]

    assert [pair.better for pair in FORMATS["argilla"].read(record(rows)).items] == ["y"]


def test_answers_about_something_else_and_records_without_any_are_counted() -> None:
    parsed = FORMATS["argilla"].read(record(answers(5, "yes", ["a", "b"])))

    assert parsed == ParsedRow(
        [], Counter({"answers that compare no completions": 3, "records without a preference": 1})
    )
