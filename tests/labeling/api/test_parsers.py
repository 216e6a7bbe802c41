"""What may be sent as JSON, to the level."""

from __future__ import annotations

import io
import json

import pytest
from rest_framework.exceptions import ParseError

from labeling.api.parsers import MAX_DEPTH, BoundedJSONParser


def parse(text: str) -> object:
    return BoundedJSONParser().parse(io.BytesIO(text.encode()))


@pytest.mark.parametrize(("opening", "innermost", "closing"), [("[", "[]", "]"), ('{"a":', "{}", "}")])
def test_the_deepest_body_is_read_and_one_level_more_is_not(opening, innermost, closing):
    deepest = opening * (MAX_DEPTH - 1) + innermost + closing * (MAX_DEPTH - 1)

    assert parse(deepest) == json.loads(deepest)
    with pytest.raises(ParseError, match="more than 32 levels"):
        parse(f"[{deepest}]")


@pytest.mark.parametrize("depth", [33, 500, 990, 100_000])
def test_no_depth_is_too_deep_to_be_refused(depth):
    with pytest.raises(ParseError, match="more than 32 levels"):
        parse("[" * depth + "]" * depth)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize(("before", "after"), [("", ""), ("[", "]"), ('{"settings": {"beta": [', "]}}")])
def test_a_number_that_is_not_finite_is_refused(number, before, after):
    with pytest.raises(ParseError, match=r"[Oo]ut of range"):
        parse(before + number + after)


def test_finite_numbers_and_texts_come_through():
    body = {"settings": {"beta": 1e300, "seed": 7, "note": "NaN"}, "flags": [True, None]}

    assert parse(json.dumps(body)) == body
