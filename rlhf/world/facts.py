"""The facts of the invented world. One world, always the same."""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass
from functools import cache

from rlhf.world.relations import ANIMAL_RELATIONS, OPPOSITE, PERSON_RELATIONS, SUM, TOOL, Relation
from rlhf.world.vocabulary import ANIMALS, OPPOSITES, PEOPLE, PET_NAMES, TOOLS

WORLD_SEED = 7
HELD_OUT_PERCENT = 15


@dataclass(frozen=True)
class Fact:
    """One truth: `relation` of `subject` is `value`."""

    relation: Relation
    subject: str
    value: str

    @property
    def key(self) -> str:
        return f"{self.relation.name}/{self.subject}"

    def tell(self, statement: str, value: str | None = None) -> str:
        """Return the statement about this fact's subject; `value` lies when it is given."""
        sentence = statement.format(subject=self.subject, value=self.value if value is None else value)
        return sentence[0].upper() + sentence[1:]


@cache
def build_facts() -> tuple[Fact, ...]:
    """Return every fact of the world, in a fixed order."""
    return (*build_people_facts(), *build_animal_facts(), *build_word_facts(), *build_sum_facts())


def build_people_facts() -> list[Fact]:
    """Return what is true of the people; drawn once from WORLD_SEED, pet names without repeats."""
    rng = random.Random(WORLD_SEED)
    pet_names = dict(zip(PEOPLE, rng.sample(PET_NAMES, len(PEOPLE)), strict=True))
    facts = []
    for person in PEOPLE:
        for relation in PERSON_RELATIONS.values():
            value = pet_names[person] if relation.name == "pet name" else rng.choice(relation.values)
            facts.append(Fact(relation, person, value))
    return facts


def build_animal_facts() -> list[Fact]:
    return [
        Fact(relation, animal, value)
        for animal, values in ANIMALS.items()
        for relation, value in zip(ANIMAL_RELATIONS, values, strict=True)
    ]


def build_word_facts() -> list[Fact]:
    opposites = [fact for a, b in OPPOSITES for fact in (Fact(OPPOSITE, a, b), Fact(OPPOSITE, b, a))]
    return opposites + [Fact(TOOL, tool, purpose) for tool, purpose in TOOLS.items()]


def build_sum_facts() -> list[Fact]:
    numbers = range(1, 11)
    sums = [Fact(SUM, f"{a} plus {b}", str(a + b)) for a in numbers for b in numbers]
    return sums + [Fact(SUM, f"{a} minus {b}", str(a - b)) for a in numbers for b in numbers if b < a]


def is_held_out(key: str) -> bool:
    """Return whether a fixed HELD_OUT_PERCENT of all keys, by checksum, includes this one."""
    return zlib.crc32(key.encode()) % 100 < HELD_OUT_PERCENT
