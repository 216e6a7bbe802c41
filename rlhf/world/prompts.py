"""Question prompts: a question, sometimes with an opener, sometimes after a greeting."""

from __future__ import annotations

import random
from functools import cache

from rlhf.contract.records import Message
from rlhf.world.questions import Question, Split, build_questions, index_questions

OPENERS = ("", "Hello! ", "I have a question. ", "Please tell me: ", "One more thing. ")
GREETING_TURNS = (("Hello!", "Hello! What can I do for you?"), ("Good day!", "Good day! What would you like to know?"))


def draw_prompts(seed: int, n: int, *, split: Split) -> list[list[Message]]:
    """Return `n` different prompts of one split in an order that depends on the seed alone.

    A longer draw of the same seed begins with the shorter one, so a slice past the prompts already used is fresh.

    Raises: ValueError when the split has fewer than n prompts.
    """
    prompts = [*build_prompts(split)]
    if n > len(prompts):
        raise ValueError(f"the {split} split has {len(prompts)} prompts, {n} were asked for")
    random.Random(f"{seed}/prompts/{split}").shuffle(prompts)
    return [[Message(role=message["role"], content=message["content"]) for message in prompt] for prompt in prompts[:n]]


@cache
def build_prompts(split: Split) -> tuple[tuple[Message, ...], ...]:
    """Return every prompt of a split: each question bare, with each opener, and after each greeting."""
    prompts = []
    for question in build_questions():
        if question.split == split:
            prompts.extend(phrase_question(question))
    return tuple(prompts)


def phrase_question(question: Question) -> list[tuple[Message, ...]]:
    """Return the prompts that ask this question."""
    if question.kind == "greeting":
        return [(Message(role="user", content=question.text),)]
    bare = [(Message(role="user", content=opener + question.text),) for opener in OPENERS]
    greeted = [
        (
            Message(role="user", content=greeting),
            Message(role="assistant", content=answer),
            Message(role="user", content=question.text),
        )
        for greeting, answer in GREETING_TURNS
    ]
    return bare + greeted


def find_question(prompt: list[Message]) -> Question | None:
    """Return the question that the last user turn asks, or None when this world does not know it."""
    text = next((message["content"] for message in reversed(prompt) if message["role"] == "user"), "").strip()
    questions = index_questions()
    for opener in OPENERS:
        question = questions.get(text.removeprefix(opener))
        if question is not None:
            return question
    return None


def prompt_key(prompt: list[Message]) -> str:
    """Return one text that two prompts share exactly when they are the same conversation."""
    return "\n".join(f"{message['role']}: {message['content']}" for message in prompt)
