"""The facts of the invented world and how each kind of fact is asked and told. One world, always the same."""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass
from functools import cache

from rlhf.world.vocabulary import (
    ANIMALS,
    COLOURS,
    FOODS,
    HOBBIES,
    JOBS,
    OPPOSITES,
    PEOPLE,
    PET_NAMES,
    PETS,
    TOOLS,
    TOWNS,
)

WORLD_SEED = 7
HELD_OUT_PERCENT = 15


@dataclass(frozen=True)
class Relation:
    """A kind of fact. questions hold {subject}; statements hold {subject} and {value}."""

    name: str
    values: tuple[str, ...]
    questions: tuple[str, ...]
    statements: tuple[str, ...]


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


PERSON_RELATIONS = {
    "town": Relation(
        "town",
        TOWNS,
        ("Where does {subject} live?", "Which town does {subject} live in?", "In which town is the house of {subject}?",
         "What is the home town of {subject}?", "Where is {subject} at home?"),
        ("{subject} lives in {value}.", "The home town of {subject} is {value}.", "The house of {subject} is in {value}.",
         "{subject} is at home in {value}."),
    ),
    "job": Relation(
        "job",
        JOBS,
        ("What is the job of {subject}?", "What does {subject} do for a living?", "Which job does {subject} have?",
         "What work does {subject} do?", "As what does {subject} work?"),
        ("{subject} is a {value}.", "{subject} works as a {value}.", "The job of {subject} is {value}.",
         "For a living, {subject} works as a {value}."),
    ),
    "food": Relation(
        "food",
        FOODS,
        ("What does {subject} like to eat?", "What is the favourite food of {subject}?", "Which food does {subject} like most?",
         "What should I cook for {subject}?", "What does {subject} love to eat?"),
        ("{subject} likes to eat {value}.", "The favourite food of {subject} is {value}.", "{subject} loves to eat {value}.",
         "The food {subject} likes most is {value}."),
    ),
    "colour": Relation(
        "colour",
        COLOURS,
        ("What is the favourite colour of {subject}?", "Which colour does {subject} like most?",
         "In which colour did {subject} paint the door?", "Which colour does {subject} love?", "What colour does {subject} like?"),
        ("The favourite colour of {subject} is {value}.", "{subject} likes the colour {value}.",
         "{subject} loves the colour {value}.", "The colour {subject} likes most is {value}."),
    ),
    "hobby": Relation(
        "hobby",
        HOBBIES,
        ("What is the hobby of {subject}?", "What does {subject} do for fun?", "Which hobby does {subject} have?",
         "What does {subject} enjoy on Sundays?", "How does {subject} spend free time?"),
        ("The hobby of {subject} is {value}.", "{subject} enjoys {value}.", "For fun, {subject} enjoys {value}.",
         "{subject} spends free time with {value}."),
    ),
    "pet": Relation(
        "pet",
        PETS,
        ("Which pet does {subject} have?", "What kind of pet does {subject} have?", "What animal does {subject} keep?",
         "Which animal lives with {subject}?", "What pet lives with {subject}?"),
        ("{subject} has a {value}.", "The pet of {subject} is a {value}.", "{subject} keeps a {value}.",
         "A {value} lives with {subject}."),
    ),
    "pet name": Relation(
        "pet name",
        PET_NAMES,
        ("What is the name of the pet of {subject}?", "How is the pet of {subject} called?",
         "Which name did {subject} give the pet?", "What does {subject} call the pet?", "By what name does {subject} call the pet?"),
        ("The pet of {subject} is called {value}.", "{subject} calls the pet {value}.",
         "The name of the pet of {subject} is {value}.", "{subject} gave the pet the name {value}."),
    ),
}  # fmt: skip

ANIMAL_RELATIONS = (
    Relation(
        "animal home",
        tuple(sorted({home for home, _, _ in ANIMALS.values()})),
        ("Where does the {subject} live?", "Where is the home of the {subject}?", "Where can I find the {subject}?",
         "Where does the {subject} sleep?"),
        ("The {subject} lives {value}.", "The home of the {subject} is {value}.", "You can find the {subject} {value}."),
    ),
    Relation(
        "animal food",
        tuple(sorted({food for _, food, _ in ANIMALS.values()})),
        ("What does the {subject} eat?", "What is the food of the {subject}?", "What should I feed the {subject}?",
         "What does a hungry {subject} look for?"),
        ("The {subject} eats {value}.", "The food of the {subject} is {value}.", "A hungry {subject} looks for {value}."),
    ),
    Relation(
        "animal colour",
        tuple(sorted({colour for _, _, colour in ANIMALS.values()})),
        ("What colour is the {subject}?", "Which colour does the {subject} have?", "How does the {subject} look?",
         "What is the colour of the {subject}?"),
        ("The {subject} is {value}.", "The colour of the {subject} is {value}.", "The {subject} looks {value}."),
    ),
)  # fmt: skip

OPPOSITE = Relation(
    "opposite",
    tuple(word for pair in OPPOSITES for word in pair),
    ("What is the opposite of {subject}?", "Which word means the opposite of {subject}?", "Tell me the opposite of {subject}.",
     "What do we call something that is not {subject}?"),
    ("The opposite of {subject} is {value}.", "If it is not {subject}, it is {value}.", "{subject} is the opposite of {value}."),
)  # fmt: skip

TOOL = Relation(
    "tool",
    tuple(TOOLS.values()),
    ("What is the {subject} for?", "What do people use the {subject} for?", "What can I do with the {subject}?",
     "Why do we need the {subject}?"),
    ("The {subject} is used to {value}.", "People use the {subject} to {value}.", "With the {subject} you can {value}."),
)  # fmt: skip

SUM = Relation(
    "sum",
    tuple(str(number) for number in range(21)),
    ("What is {subject}?", "How much is {subject}?", "Can you work out {subject}?", "Tell me what {subject} makes."),
    ("{subject} is {value}.", "{subject} makes {value}.", "The answer to {subject} is {value}."),
)


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
