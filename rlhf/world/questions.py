"""What can be asked in the invented world, and which questions are kept back for testing."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import Literal

from rlhf.world.facts import WORLD_SEED, Fact, build_facts, is_held_out
from rlhf.world.relations import PERSON_RELATIONS
from rlhf.world.vocabulary import ANIMALS, GREETINGS, PEOPLE

Split = Literal["train", "test"]
Kind = Literal["fact", "about", "story", "greeting"]

ABOUT = ("Tell me about {subject}.", "Who is {subject}?", "What do you know about {subject}?")
STORY = ("Tell me a short story about the {subject} and {person}.", "Write a story with {person} and the {subject}.")
N_STORY_PAIRS = 200


@dataclass(frozen=True)
class Question:
    """One thing to ask, in one wording. fact: only for kind fact; person: only for kind story."""

    kind: Kind
    text: str
    subject: str
    fact: Fact | None = None
    person: str = ""

    @property
    def split(self) -> Split:
        """`test` when the fact, or this wording of it, is held out."""
        fact_held_out = self.fact is not None and is_held_out(self.fact.key)
        return "test" if fact_held_out or is_held_out(self.text) else "train"


@cache
def build_questions() -> tuple[Question, ...]:
    """Return every question of the world, in a fixed order."""
    facts = [
        Question("fact", wording.format(subject=fact.subject), fact.subject, fact)
        for fact in build_facts()
        for wording in fact.relation.questions
    ]
    abouts = [Question("about", wording.format(subject=person), person) for person in PEOPLE for wording in ABOUT]
    greetings = [Question("greeting", text, text) for text in GREETINGS]
    return (*facts, *abouts, *build_story_questions(), *greetings)


def build_story_questions() -> list[Question]:
    rng = random.Random(WORLD_SEED)
    pairs = [(animal, person) for animal in ANIMALS for person in PEOPLE]
    return [
        Question("story", wording.format(subject=animal, person=person), animal, person=person)
        for animal, person in rng.sample(pairs, N_STORY_PAIRS)
        for wording in STORY
    ]


@cache
def index_questions() -> dict[str, Question]:
    return {question.text: question for question in build_questions()}


@cache
def person_facts(person: str) -> tuple[Fact, ...]:
    """Return the facts about one of the people."""
    return tuple(fact for fact in build_facts() if fact.subject == person and fact.relation.name in PERSON_RELATIONS)
