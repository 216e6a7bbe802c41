import hashlib

import pytest

from labeling.domain.content import check_messages, check_text, hash_messages, hash_pair
from labeling.domain.errors import InvalidContent

USER = {"role": "user", "content": "Hello"}


def test_text_comes_back_byte_for_byte():
    text = " \u202e\u200b\ufeff\u2028\r\n\t\U0001f468\u200d\U0001f373 "

    assert check_text(text, what="the note") == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ab\x00c", "the note holds a NUL character at position 2: remove it"),
        ("\ud83d", "the note holds half a surrogate pair (U+D83D) at position 0: remove it"),
        (b"bytes", "the note must be text, got bytes"),
    ],
)
def test_what_a_database_cannot_keep_is_refused_with_its_place(text, said):
    with pytest.raises(InvalidContent) as refusal:
        check_text(text, what="the note")

    assert str(refusal.value) == said


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "a prompt needs at least one message"),
        (
            [USER, {"role": "assistant", "content": "Hi"}],
            "a prompt ends before the assistant speaks: move its last message to the completions",
        ),
        (
            [{"role": "robot", "content": "x"}],
            "message 1 has role 'robot': use one of system, user, assistant, tool",
        ),
        (
            [USER, USER | {"name": "x"}],
            "message 2 must have exactly role and content, got ['content', 'name', 'role']",
        ),
        ([{"role": "user", "content": None}], "message 1 must be text, got NoneType"),
    ],
)
def test_no_conversation_is_refused_by_name(messages, said):
    with pytest.raises(InvalidContent) as refusal:
        check_messages(messages)

    assert str(refusal.value) == said


def test_a_prompt_is_named_by_its_canonical_json():
    expected = hashlib.sha256('[{"content":"Grüß Gott","role":"user"}]'.encode()).hexdigest()

    assert hash_messages([{"role": "user", "content": "Grüß Gott"}]) == expected


def test_a_pair_has_one_name_whichever_is_called_a():
    assert hash_pair("p", "x", "y") == hash_pair("p", "y", "x")


def test_pairs_that_differ_have_names_that_differ():
    names = {hash_pair("p", "x", "y"), hash_pair("p", "x", "z"), hash_pair("q", "x", "y"), hash_pair("p", "xy", "")}

    assert len(names) == 4
