from __future__ import annotations

from rlhf.domain.datasets.rule import FreezeRule
from rlhf.views.dataset_words import MAX_CHARS, RULE, describe_counts, describe_rule, show_row
from tests.rlhf.conftest import message


def test_every_part_of_the_rule_has_words():
    assert set(FreezeRule().to_json()) <= set(RULE)


def test_a_rule_reads_as_people_say_it():
    rule = FreezeRule(include=("own", "imported:hh-rlhf"), min_judgments=2, use_margin=True, test_share=0.2)

    assert describe_rule(rule.to_json()) == [
        ("made of", "our own labelers + hh-rlhf (imported)"),
        ("a pair needs", "more than half of the votes"),
        ("judgments a comparison needs", "2"),
        ("late votes count", "yes"),
        ("hasty votes count", "yes"),
        ("rewritten texts make pairs", "yes"),
        ("strength kept as margin", "yes"),
        ("share held out for tests", "20%"),
        ("seed", "42"),
    ]


def test_what_a_rule_leaves_out_is_said():
    rule = FreezeRule(
        consensus="dawid_skene", soft=True, exclude_labelers=("eve", "mallory"), labeler_share_max=0.1, guideline_from=3
    )

    said = dict(describe_rule(rule.to_json()))

    assert said["a pair needs"] == "votes weighed by how reliable each labeler proves (Dawid and Skene)"
    assert {key: said[key] for key in ("soft labels", "without the votes of", "one labeler at most")} == {
        "soft labels": "yes",
        "without the votes of": "eve, mallory",
        "one labeler at most": "10%",
    }
    assert said["votes from guideline version"] == "3"


def test_what_came_of_it_leaves_zeros_out_but_not_the_pairs_themselves():
    counts = {"ties": 3, "both_bad": 0, "pairs": 0, "votes": {"own": 5}, "groups": {"train": 2, "test": 1}, "new": 1}

    assert describe_counts(counts) == [
        ("pairs", "0"),
        ("ties, left out", "3"),
        ("votes", "our own labelers 5"),
        ("groups of prompts", "train 2, test 1"),
        ("new", "1"),
    ]


def test_a_pair_is_shown_turn_by_turn():
    row = {
        "prompt": [message("be brief", "system"), message("how deep?")],
        "chosen": [message("deep", "assistant")],
        "rejected": [message("flat", "assistant")],
        "group": "g",
        "source": "own",
    }

    assert show_row(row) == [
        ("system", "be brief"),
        ("user", "how deep?"),
        ("chosen", "deep"),
        ("rejected", "flat"),
        ("source", "own"),
    ]


def test_a_long_text_is_cut_and_says_so():
    assert show_row({"text": "x" * (MAX_CHARS + 7)}) == [("text", "x" * MAX_CHARS + " … (7 more characters)")]
