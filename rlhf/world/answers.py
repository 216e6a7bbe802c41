"""Answers of a chosen quality: right or wrong, polite or rude, brief or rambling, finished or cut off."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from rlhf.world.facts import Fact, build_facts
from rlhf.world.manners import EMPTY_TALK, POLITE_CLOSERS, POLITE_OPENERS, RUDE_CLOSERS, RUDE_OPENERS
from rlhf.world.questions import Question, person_facts
from rlhf.world.stories import tell_story

Tone = Literal["polite", "neutral", "rude"]
GREETING_ANSWERS = {
    "Good morning!": "Good morning to you!",
    "Good evening!": "Good evening to you!",
    "Good afternoon!": "Good afternoon to you!",
    "Hello!": "Hello to you!",
    "Hi there!": "Hi there!",
    "Nice to meet you!": "Nice to meet you too!",
    "How are you?": "I am well.",
}


@dataclass(frozen=True)
class Quality:
    """How good an answer is, in four independent ways."""

    is_correct: bool = True
    tone: Tone = "polite"
    is_brief: bool = True
    is_finished: bool = True


@dataclass(frozen=True)
class QualityMix:
    """How often the demonstrations are good; what is missing is what preferences can teach."""

    correct: float = 0.6
    polite: float = 0.35
    rude: float = 0.45
    brief: float = 0.4
    finished: float = 0.85

    def draw(self, rng: random.Random) -> Quality:
        """Return one quality drawn from this mix."""
        manner = rng.random()
        tone: Tone = "polite" if manner < self.polite else "rude" if manner < self.polite + self.rude else "neutral"
        return Quality(
            is_correct=rng.random() < self.correct,
            tone=tone,
            is_brief=rng.random() < self.brief,
            is_finished=rng.random() < self.finished,
        )


def write_answer(rng: random.Random, question: Question, quality: Quality) -> str:
    """Return an answer of this quality to this question."""
    sentences = write_content(rng, question, quality)
    if quality.tone != "neutral":
        openers, closers = (
            (POLITE_OPENERS, POLITE_CLOSERS) if quality.tone == "polite" else (RUDE_OPENERS, RUDE_CLOSERS)
        )
        place = rng.randrange(3)  # before, after, both
        sentences = [rng.choice(openers)] * (place != 1) + sentences + [rng.choice(closers)] * (place != 0)
    text = " ".join(sentences)
    return text if quality.is_finished else cut_off(rng, text)


def write_content(rng: random.Random, question: Question, quality: Quality) -> list[str]:
    """Return the sentences that answer, with empty talk around them when the answer is not brief."""
    if question.kind == "greeting":
        content = [GREETING_ANSWERS[question.text] if quality.is_correct else "It is seven."]
    elif question.kind == "story":
        content = [write_story(rng, question, quality)]
    elif question.kind == "about":
        content = write_portrait(rng, question.subject, quality)
    else:
        assert question.fact is not None
        content = [tell_fact(rng, question.fact, quality)]
    return content if quality.is_brief else ramble(rng, content)


def tell_fact(rng: random.Random, fact: Fact, quality: Quality) -> str:
    value = None if quality.is_correct else rng.choice([value for value in wrong_values(fact) if value != fact.value])
    return fact.tell(rng.choice(fact.relation.statements), value)


def wrong_values(fact: Fact) -> list[str]:
    """Return plausible lies: for numbers those nearby, for words those of the same kind, never the subject itself."""
    if fact.relation.name == "sum":
        return [str(number) for number in range(max(0, int(fact.value) - 4), int(fact.value) + 5)]
    return [value for value in fact.relation.values if value != fact.subject]


def write_portrait(rng: random.Random, person: str, quality: Quality) -> list[str]:
    """Return two or three statements about one of the people; each may be a lie when the quality is not correct."""
    facts = rng.sample(person_facts(person), rng.choice((2, 3)))
    return [tell_fact(rng, fact, quality) for fact in facts]


def write_story(rng: random.Random, question: Question, quality: Quality) -> str:
    """Return a story; an incorrect one is over before it has begun."""
    story = tell_story(rng, question.subject, question.person)
    return story if quality.is_correct else story.split(". ")[0].rstrip(".") + "."


def ramble(rng: random.Random, content: list[str]) -> list[str]:
    """Return the content with empty talk before it, and talk beside the point or itself again after it."""
    other = rng.choice(build_facts())
    beside = ["By the way: " + other.tell(other.relation.statements[0]), *content]
    before = rng.sample(EMPTY_TALK, rng.choice((0, 1)))
    after = rng.sample([*EMPTY_TALK, *beside], rng.choice((1, 2, 3)))
    return before + content + after


def cut_off(rng: random.Random, text: str) -> str:
    """Return the text without its last few words, so that it ends in the middle of a sentence."""
    words = text.split(" ")
    return " ".join(words[: max(1, len(words) - rng.randint(1, 3))]).rstrip(".!?,")
