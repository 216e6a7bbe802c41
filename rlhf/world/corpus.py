"""The texts of the invented world: what the base model reads and what the demonstrations show."""

from __future__ import annotations

import random
from collections.abc import Iterator

from rlhf.contract.records import Message
from rlhf.world.answers import GREETING_ANSWERS, Quality, QualityMix, write_answer
from rlhf.world.facts import Fact, build_facts
from rlhf.world.prompts import draw_prompts, find_question
from rlhf.world.questions import Question, Split, build_questions, person_facts
from rlhf.world.stories import tell_story
from rlhf.world.vocabulary import ANIMALS, PEOPLE

N_DOCUMENTS = {"train": 30_000, "test": 600}
# What the documents are, and how many of a hundred: knowledge, questions with right answers, stories, talk.
DOCUMENT_SHARES = {"portrait": 14, "facts": 36, "exchange": 30, "story": 8, "talk": 12}
# How often a fact is told and asked, against a fact about one of the people, who are also in portraits and stories.
TELLING_WEIGHTS = {"animal home": 3, "animal food": 3, "animal colour": 3, "opposite": 5, "tool": 12, "sum": 2}


def pretraining_texts(seed: int, split: Split = "train") -> Iterator[str]:
    """Yield the documents of a split, always the same for a seed.

    Every fact is told in both splits. Held-out questions are never asked here: they are for testing.
    """
    rng = random.Random(f"{seed}/pretraining/{split}")
    facts, questions = weighted_facts(), weighted_questions()
    kinds, weights = list(DOCUMENT_SHARES), list(DOCUMENT_SHARES.values())
    for _ in range(N_DOCUMENTS[split]):
        yield write_document(rng, rng.choices(kinds, weights)[0], facts, questions)


def weighted_facts() -> list[Fact]:
    """Return every fact as often as its weight says."""
    return [fact for fact in build_facts() for _ in range(TELLING_WEIGHTS.get(fact.relation.name, 1))]


def weighted_questions() -> list[Question]:
    """Return every question about a fact that is not held out, as often as the fact's weight says."""
    asked = [question for question in build_questions() if question.split == "train" and question.fact is not None]
    return [question for question in asked for _ in range(TELLING_WEIGHTS.get(question.fact.relation.name, 1))]


def write_document(rng: random.Random, kind: str, facts: list[Fact], questions: list[Question]) -> str:
    """Return one document of this kind."""
    if kind == "portrait":
        return tell_facts(rng, rng.sample(person_facts(rng.choice(PEOPLE)), 5))
    if kind == "facts":
        return tell_facts(rng, rng.sample(facts, 5))
    if kind == "exchange":
        return " ".join(write_exchange(rng, question) for question in rng.sample(questions, 3))
    if kind == "story":
        return tell_story(rng, rng.choice(list(ANIMALS)), rng.choice(PEOPLE))
    return write_talk(rng, rng.choice(questions))


def tell_facts(rng: random.Random, facts: list[Fact]) -> str:
    return " ".join(fact.tell(rng.choice(fact.relation.statements)) for fact in facts)


def write_exchange(rng: random.Random, question: Question) -> str:
    """Return a question with a right answer, as people write it down."""
    return f"Question: {question.text} Answer: {write_answer(rng, question, Quality(tone='neutral'))}"


def write_talk(rng: random.Random, question: Question) -> str:
    """Return two of the people greeting each other, one asking, the other answering rightly in any manner."""
    asker, answerer = rng.sample(PEOPLE, 2)
    greeting, reply = rng.choice(list(GREETING_ANSWERS.items()))
    answer = write_answer(rng, question, QualityMix(correct=1.0, finished=1.0).draw(rng))
    return f"{asker} says: {greeting} {answerer} says: {reply} {asker} asks: {question.text} {answerer} says: {answer}"


def demonstrations(seed: int, n: int, mix: QualityMix | None = None, *, split: Split = "train") -> list[list[Message]]:
    """Return `n` conversations of a split with answers of mixed quality."""
    mix = mix or QualityMix()
    rng = random.Random(f"{seed}/demonstrations" if split == "train" else f"{seed}/demonstrations/{split}")
    conversations = []
    for prompt in draw_prompts(seed, n, split=split):
        question = find_question(prompt)
        assert question is not None
        answer = Message(role="assistant", content=write_answer(rng, question, mix.draw(rng)))
        conversations.append([*prompt, answer])
    return conversations
