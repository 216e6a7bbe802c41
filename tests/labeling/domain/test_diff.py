import random

import pytest

from labeling.domain.diff import COMPARED_CHARS, Piece, Row, compare_texts


def join(rows, side):
    return "".join(piece.text for row in rows for piece in getattr(row, side))


def own(rows, side):
    return [piece.text for row in rows for piece in getattr(row, side) if piece.is_own]


def test_only_the_words_that_differ_are_own():
    rows = compare_texts("Boil the eggs for six minutes.", "Fry the eggs for six minutes.")

    assert rows == (
        Row(
            (Piece("Boil ", is_own=True), Piece("the eggs for six minutes.", is_own=False)),
            (Piece("Fry ", is_own=True), Piece("the eggs for six minutes.", is_own=False)),
        ),
    )


def test_lines_in_common_stand_side_by_side():
    rows = compare_texts("Intro.\n\nSame line here.\nMine.\n", "Same line here.\nYours.\n")

    assert [("".join(p.text for p in row.left), "".join(p.text for p in row.right)) for row in rows] == [
        ("Intro.\n\n", ""),
        ("Same line here.\n", "Same line here.\n"),
        ("Mine.\n", "Yours.\n"),
    ]


def test_a_word_or_two_in_common_by_chance_do_not_break_a_difference():
    rows = compare_texts("It was the best of all times", "He saw the worst of our places")

    assert own(rows, "left") == ["It was the best of all times"]


@pytest.mark.parametrize(
    "texts", [("", ""), ("", "x"), ("same", "same"), ("a\r\nb", "a\nb"), ("日本語 です", "日本語")]
)
def test_both_texts_are_there_whole(texts):
    rows = compare_texts(*texts)

    assert (join(rows, "left"), join(rows, "right")) == texts


def test_texts_that_are_the_same_have_nothing_of_their_own():
    rows = compare_texts("One.\nTwo.", "One.\nTwo.")

    assert (own(rows, "left"), own(rows, "right")) == ([], [])


def test_random_texts_come_back_whole():
    words = ["the ", "pan\n", "is ", "hot, ", "\u202e", "<b>", "  ", "\n\n", "eggs "]
    generator = random.Random(7)
    for _ in range(200):
        texts = tuple("".join(generator.choices(words, k=generator.randrange(40))) for _ in range(2))
        rows = compare_texts(*texts)
        assert (join(rows, "left"), join(rows, "right")) == texts


def test_texts_too_long_are_not_compared():
    assert compare_texts("x" * (COMPARED_CHARS + 1), "y") is None


def test_a_piece_is_shown_as_it_is_written():
    assert Piece("<b> & \u202e ", is_own=True).html == (
        '&lt;b&gt; &amp; <span class="invisible" title="right-to-left override">U+202E</span> '
    )
