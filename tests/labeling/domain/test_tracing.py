import pytest

from labeling.domain.tracing import read_trace

WHOLE = {
    "first_input_ms": 1200,
    "visible_left_ms": 8000,
    "visible_right_ms": 7000,
    "scrolled_left": True,
    "scrolled_right": False,
    "paste_count": 1,
    "paste_chars": 42,
    "input_method": "key",
    "viewport": "1440x900",
    "render": "rendered",
    "used_diff": True,
    "used_sync": False,
    "layout": "side",
    "ui_version": "2026.1-a",
    "axes_first": False,
}


def test_what_a_browser_tells_is_kept():
    assert read_trace(WHOLE) == WHOLE


def test_what_is_unknown_is_dropped():
    assert read_trace({"user_agent": "x", "__proto__": {}, "": 1, "paste_count": 2}) == {"paste_count": 2}


def test_a_browser_may_tell_nothing():
    assert read_trace({}) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("first_input_ms", -1),
        ("first_input_ms", "1200"),
        ("first_input_ms", True),
        ("first_input_ms", float("nan")),
        ("first_input_ms", float("inf")),
        ("first_input_ms", [1]),
        ("paste_count", None),
        ("scrolled_left", "yes"),
        ("scrolled_left", 1),
        ("input_method", "mind"),
        ("input_method", ["key"]),
        ("input_method", {"key": 1}),
        ("viewport", "1440x900; DROP"),
        ("viewport", "123456x1"),
        ("viewport", 1440),
        ("render", ""),
        ("layout", "heap"),
        ("ui_version", "<script>"),
        ("ui_version", "v" * 33),
        ("ui_version", "1\x00"),
    ],
)
def test_what_cannot_be_is_dropped_alone(name, value):
    expected = {key: kept for key, kept in WHOLE.items() if key != name}

    assert read_trace(WHOLE | {name: value}) == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("first_input_ms", 10**30, 86_400_000),
        ("visible_left_ms", 1.9, 1),
        ("paste_chars", 10**9, 1_000_000),
    ],
)
def test_numbers_are_cut_to_their_bounds(name, value, expected):
    assert read_trace({name: value}) == {name: expected}
