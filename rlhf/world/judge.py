"""The hidden rule by which the simulated labelers prefer: it reads the text of prompt and answer, nothing else.

    total = 2 correctness + 1 politeness + 0.8 finished - 1.2 excess - 1 repetition

correctness   1 right, 0 wrong. Of a fact: the first value of the asked kind that the answer names is the true one. Of
              a person: at least two true statements and no false one. Of a story: three sentences or more that name the
              animal and the person. Of a greeting: it greets back. To a question this world does not know every answer
              is wrong.
politeness    1 with a marker of courtesy, -1 with any marker of rudeness, else 0.
finished      1 when the answer ends with a full stop, an exclamation mark or a question mark.
excess        how much longer than the question needs, in multiples of what it needs, at most 1.
repetition    the share of sentences that were said before.

So a policy can cheat in plain sight: polite and wrong, or right and endless. That is why the parts are reported apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rlhf.contract.records import Message
from rlhf.world.facts import Fact
from rlhf.world.manners import POLITE_MARKERS, RUDE_MARKERS
from rlhf.world.prompts import find_question
from rlhf.world.questions import Question, person_facts

N_WORDS_NEEDED = {"fact": 18, "about": 34, "story": 70, "greeting": 14}


@dataclass(frozen=True)
class GoldScore:
    """What an answer is worth under the hidden rule, and its parts."""

    correctness: float
    politeness: float
    finished: float
    excess: float
    repetition: float

    @property
    def total(self) -> float:
        return 2 * self.correctness + self.politeness + 0.8 * self.finished - 1.2 * self.excess - self.repetition

    @property
    def brevity(self) -> float:
        """1 when the answer is no longer than the question needs, 0 when it is twice as long or worse."""
        return 1 - self.excess


def gold_score(prompt: list[Message], text: str) -> GoldScore:
    """Return what the hidden rule says about one answer.

    Args:
        prompt: the conversation so far; its last user turn is the question.
        text: the completion, special tokens removed.
    """
    question = find_question(prompt)
    sentences = split_sentences(text)
    n_words, n_needed = len(text.split()), N_WORDS_NEEDED[question.kind if question else "fact"]
    return GoldScore(
        correctness=float(question is not None and is_correct(question, text)),
        politeness=rate_politeness(text),
        finished=float(text.rstrip().endswith((".", "!", "?"))),
        excess=min(1.0, max(0, n_words - n_needed) / n_needed),
        repetition=1 - len({sentence.lower() for sentence in sentences}) / len(sentences) if sentences else 0.0,
    )


def is_correct(question: Question, text: str) -> bool:
    """Return whether the text answers the question as the world has it."""
    if question.kind == "greeting":
        return any(greeting in text.lower() for greeting in ("hello", "hi there", "good", "nice to meet", "i am well"))
    if question.kind == "story":
        lowered = text.lower()
        return len(split_sentences(text)) >= 3 and question.subject in lowered and question.person.lower() in lowered
    if question.kind == "about":
        verdicts = [
            verdict
            for sentence in split_sentences(text)
            if (verdict := check_statement(question.subject, sentence)) is not None
        ]
        return len(verdicts) >= 2 and all(verdicts)
    assert question.fact is not None
    return first_value(question.fact, text) == question.fact.value


def first_value(fact: Fact, text: str) -> str | None:
    """Return the value of this fact's kind that the text names first, the question's own words left out."""
    rest = re.sub(rf"\b{re.escape(fact.subject)}\b", " ", text, flags=re.IGNORECASE)
    if fact.relation.name == "sum":
        number = re.search(r"\d+", rest)
        return number.group() if number else None
    return find_first(fact.relation.values, rest)


def find_first(values: tuple[str, ...], text: str) -> str | None:
    """Return which of the values stands first in the text as a whole word, or None."""
    found = re.search(r"\b(?:" + "|".join(re.escape(value) for value in values) + r")\b", text, flags=re.IGNORECASE)
    if found is None:
        return None
    return next(value for value in values if value.lower() == found.group().lower())


def check_statement(person: str, sentence: str) -> bool | None:
    """Return whether the sentence tells the truth about this person, or None when it says nothing about them."""
    if not re.search(rf"\b{person}\b", sentence):
        return None
    claims = [
        (fact, value)
        for fact in person_facts(person)
        if (value := find_first(fact.relation.values, sentence)) is not None
    ]
    return all(value == fact.value for fact, value in claims) if claims else None


def rate_politeness(text: str) -> float:
    """Return 1 for courtesy, -1 for rudeness (which no courtesy mends), 0 for neither."""
    lowered = text.lower()
    if any(re.search(rf"\b{marker}", lowered) for marker in RUDE_MARKERS):
        return -1.0
    return float(any(re.search(rf"\b{marker}", lowered) for marker in POLITE_MARKERS))


def split_sentences(text: str) -> list[str]:
    return [sentence.strip() for sentence in re.split(r"(?<=[.!?])\s+", text.strip()) if sentence.strip()]
