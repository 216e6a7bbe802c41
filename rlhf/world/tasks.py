"""A small fixed set of tasks, each with one right answer among four: what a policy may forget while it learns to please.

Always the same. Facts and opposites are of the invented world; sums and copying ask any model. Chance is one in four.
"""

from __future__ import annotations

import random
from functools import cache
from typing import TypedDict

from rlhf.contract.records import Message
from rlhf.world.facts import Fact, build_facts
from rlhf.world.vocabulary import FOODS, TOOLS

SEED = 11
N_OF_EACH = 40
N_ANSWERS = 4
RELATIONS = {"sum": "sums", "opposite": "opposites"}


class TaskRow(TypedDict):
    """A question and its answers, the right one first."""

    task: str
    prompt: list[Message]
    answers: list[str]


@cache
def build_tasks() -> tuple[TaskRow, ...]:
    """Return the tasks, N_OF_EACH of every kind, in a fixed order."""
    rng = random.Random(SEED)
    by_task: dict[str, list[Fact]] = {}
    for fact in build_facts():
        by_task.setdefault(RELATIONS.get(fact.relation.name, "facts"), []).append(fact)
    asked = [ask(task, fact, rng) for task, facts in sorted(by_task.items()) for fact in draw(facts, rng)]
    return (*asked, *(ask_to_copy(rng) for _ in range(N_OF_EACH)))


def draw(facts: list[Fact], rng: random.Random) -> list[Fact]:
    return rng.sample(facts, min(N_OF_EACH, len(facts)))


def ask(task: str, fact: Fact, rng: random.Random) -> TaskRow:
    """Return the question of a fact, in one wording, with the statement of it and three that lie."""
    wrong = rng.sample([value for value in fact.relation.values if value != fact.value], N_ANSWERS - 1)
    statement = rng.choice(fact.relation.statements)
    answers = [fact.tell(statement, value) for value in (fact.value, *wrong)]
    question = rng.choice(fact.relation.questions).format(subject=fact.subject)
    return TaskRow(task=task, prompt=[Message(role="user", content=question)], answers=answers)


def ask_to_copy(rng: random.Random) -> TaskRow:
    """Return a request to say three words again, and three answers that put another for one of them."""
    words = rng.sample([*FOODS, *TOOLS], 3 + N_ANSWERS - 1)
    said, others = words[:3], words[3:]
    answers = [" ".join(said)]
    for other in others:
        place = rng.randrange(3)
        answers.append(" ".join(other if number == place else word for number, word in enumerate(said)))
    prompt = f"Say these words again: {' '.join(said)}"
    return TaskRow(task="copying", prompt=[Message(role="user", content=prompt)], answers=answers)
