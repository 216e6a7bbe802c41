from labeling.domain.showing import ShownMessage, ShownText, show_pair
from labeling.models import Comparison, Completion, Prompt

MESSAGES = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}, {"role": "user", "content": "?"}]


def make_comparison(messages=MESSAGES):
    return Comparison(
        prompt=Prompt(messages=messages), completion_a=Completion(text="of A"), completion_b=Completion(text="of B")
    )


def test_the_slot_says_which_side_a_is_on():
    straight = show_pair(make_comparison(), a_shown_left=True)
    crossed = show_pair(make_comparison(), a_shown_left=False)

    assert (straight.left.text, straight.right.text) == ("of A", "of B")
    assert (crossed.left.text, crossed.right.text) == ("of B", "of A")


def test_the_last_message_stands_alone():
    pair = show_pair(make_comparison(), a_shown_left=True)

    assert pair.last == ShownMessage("user", ShownText("?"))
    assert pair.earlier == [ShownMessage("user", ShownText("Hi")), ShownMessage("assistant", ShownText("Ho"))]


def test_long_earlier_turns_start_folded():
    long = [{"role": "user", "content": "line\n" * 41}, {"role": "user", "content": "?"}]

    assert show_pair(make_comparison(long), a_shown_left=True).hides_earlier
    assert not show_pair(make_comparison(), a_shown_left=True).hides_earlier


def test_a_flood_of_turns_shows_the_last_and_links_the_others():
    flood = [{"role": "user", "content": f"{number}" + "x" * 90_000} for number in range(9)]

    pair = show_pair(make_comparison(flood), a_shown_left=True)

    withheld = [message.body.is_withheld for message in [*pair.earlier, pair.last]]
    assert withheld == [True] * 6 + [False] * 3
    assert (pair.earlier[0].body.html, pair.earlier[0].body.is_cut) == ("", True)


def test_a_text_of_very_many_lines_scrolls_in_a_box():
    assert ShownText("line\n" * 401).is_boxed
    assert not ShownText("line\n" * 300).is_boxed


def test_a_text_shown_plain_has_no_second_shape():
    assert ShownText("*x* " * 6000).raw_html is None
    assert ShownText("*x*").raw_html == "*x*"
