"""What an annotator is asked, word for word: to compare, to criticize, to revise."""

from __future__ import annotations

import hashlib

from rlhf.contract.feedback import ComparisonQuestion, Principle
from rlhf.contract.records import Message

SPEAKERS = {"system": "Instruction", "user": "Person", "assistant": "Assistant"}

COMPARE = """Below is a conversation and two answers to its last turn, (A) and (B).

{conversation}

(A)
{first}

(B)
{second}

{principle}
{reasoning}Answer with one letter, A or B."""

REASON = """Below is a conversation and two answers to its last turn, (A) and (B).

{conversation}

(A)
{first}

(B)
{second}

{principle}
In a few sentences, say what speaks for each answer. Do not name a winner yet."""

CRITICIZE = """Below is a conversation and an answer to its last turn.

{conversation}

Answer:
{answer}

{principle}
Write your critique in a few sentences. Do not rewrite the answer."""

REVISE = """Below is a conversation, an answer to its last turn, and a critique of that answer.

{conversation}

Answer:
{answer}

Critique:
{critique}

{principle}
Write the new answer only, with nothing before or after it."""


def hash_texts() -> str:
    """Return the sha256 hex digest of all texts: annotators asked with other words are other annotators."""
    return hashlib.sha256("\0".join((COMPARE, REASON, CRITICIZE, REVISE)).encode()).hexdigest()


def ask_comparison(question: ComparisonQuestion, *, a_first: bool, thoughts: str = "") -> list[Message]:
    """Return the question which of two completions is better; its answer is the letter A or B, by the order shown."""
    first, second = (question["a"], question["b"]) if a_first else (question["b"], question["a"])
    reasoning = f"\nWhat was said of them:\n{thoughts}\n\n" if thoughts else ""
    content = COMPARE.format(
        conversation=write_conversation(question["prompt"]),
        first=first,
        second=second,
        principle=question["text"],
        reasoning=reasoning,
    )
    return [{"role": "user", "content": content}]


def ask_reasons(question: ComparisonQuestion, *, a_first: bool) -> list[Message]:
    """Return the request to say what speaks for each of two completions."""
    first, second = (question["a"], question["b"]) if a_first else (question["b"], question["a"])
    conversation = write_conversation(question["prompt"])
    content = REASON.format(conversation=conversation, first=first, second=second, principle=question["text"])
    return [{"role": "user", "content": content}]


def ask_critique(prompt: list[Message], answer: str, principle: Principle) -> list[Message]:
    """Return the request to criticize a completion under a principle."""
    content = CRITICIZE.format(conversation=write_conversation(prompt), answer=answer, principle=principle["critique"])
    return [{"role": "user", "content": content}]


def ask_revision(prompt: list[Message], answer: str, critique: str, principle: Principle) -> list[Message]:
    """Return the request to rewrite a completion in the light of a critique."""
    content = REVISE.format(
        conversation=write_conversation(prompt), answer=answer, critique=critique, principle=principle["revision"]
    )
    return [{"role": "user", "content": content}]


def write_conversation(prompt: list[Message]) -> str:
    """Return a conversation as plain text, a speaker before each turn."""
    return "\n\n".join(f"{SPEAKERS.get(turn['role'], turn['role'])}: {turn['content']}" for turn in prompt)
