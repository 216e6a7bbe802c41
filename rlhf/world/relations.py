"""The kinds of facts in the invented world, and how each is asked and told."""

from __future__ import annotations

from dataclasses import dataclass

from rlhf.world.vocabulary import ANIMALS, COLOURS, FOODS, HOBBIES, JOBS, OPPOSITES, PET_NAMES, PETS, TOOLS, TOWNS


@dataclass(frozen=True)
class Relation:
    """A kind of fact. questions hold {subject}; statements hold {subject} and {value}."""

    name: str
    values: tuple[str, ...]
    questions: tuple[str, ...]
    statements: tuple[str, ...]


PERSON_RELATIONS = {
    "town": Relation(
        "town",
        TOWNS,
        (
            "Where does {subject} live?",
            "Which town does {subject} live in?",
            "In which town is the house of {subject}?",
            "What is the home town of {subject}?",
            "Where is {subject} at home?",
        ),
        (
            "{subject} lives in {value}.",
            "The home town of {subject} is {value}.",
            "The house of {subject} is in {value}.",
            "{subject} is at home in {value}.",
        ),
    ),
    "job": Relation(
        "job",
        JOBS,
        (
            "What is the job of {subject}?",
            "What does {subject} do for a living?",
            "Which job does {subject} have?",
            "What work does {subject} do?",
            "As what does {subject} work?",
        ),
        (
            "{subject} is a {value}.",
            "{subject} works as a {value}.",
            "The job of {subject} is {value}.",
            "For a living, {subject} works as a {value}.",
        ),
    ),
    "food": Relation(
        "food",
        FOODS,
        (
            "What does {subject} like to eat?",
            "What is the favourite food of {subject}?",
            "Which food does {subject} like most?",
            "What should I cook for {subject}?",
            "What does {subject} love to eat?",
        ),
        (
            "{subject} likes to eat {value}.",
            "The favourite food of {subject} is {value}.",
            "{subject} loves to eat {value}.",
            "The food {subject} likes most is {value}.",
        ),
    ),
    "colour": Relation(
        "colour",
        COLOURS,
        (
            "What is the favourite colour of {subject}?",
            "Which colour does {subject} like most?",
            "In which colour did {subject} paint the door?",
            "Which colour does {subject} love?",
            "What colour does {subject} like?",
        ),
        (
            "The favourite colour of {subject} is {value}.",
            "{subject} likes the colour {value}.",
            "{subject} loves the colour {value}.",
            "The colour {subject} likes most is {value}.",
        ),
    ),
    "hobby": Relation(
        "hobby",
        HOBBIES,
        (
            "What is the hobby of {subject}?",
            "What does {subject} do for fun?",
            "Which hobby does {subject} have?",
            "What does {subject} enjoy on Sundays?",
            "How does {subject} spend free time?",
        ),
        (
            "The hobby of {subject} is {value}.",
            "{subject} enjoys {value}.",
            "For fun, {subject} enjoys {value}.",
            "{subject} spends free time with {value}.",
        ),
    ),
    "pet": Relation(
        "pet",
        PETS,
        (
            "Which pet does {subject} have?",
            "What kind of pet does {subject} have?",
            "What animal does {subject} keep?",
            "Which animal lives with {subject}?",
            "What pet lives with {subject}?",
        ),
        (
            "{subject} has a {value}.",
            "The animal of {subject} is a {value}.",
            "{subject} keeps a {value}.",
            "A {value} lives with {subject}.",
        ),
    ),
    "pet name": Relation(
        "pet name",
        PET_NAMES,
        (
            "What is the name of the pet of {subject}?",
            "How is the pet of {subject} called?",
            "Which name did {subject} give the pet?",
            "What does {subject} call the pet?",
            "By what name does {subject} call the pet?",
        ),
        (
            "The pet of {subject} is called {value}.",
            "{subject} calls the pet {value}.",
            "The name of the pet of {subject} is {value}.",
            "{subject} gave the pet the name {value}.",
        ),
    ),
}

ANIMAL_RELATIONS = (
    Relation(
        "animal home",
        tuple(sorted({home for home, _, _ in ANIMALS.values()})),
        (
            "Where does the {subject} live?",
            "Where is the home of the {subject}?",
            "Where can I find the {subject}?",
            "Where does the {subject} sleep?",
        ),
        (
            "The {subject} lives {value}.",
            "The home of the {subject} is {value}.",
            "You can find the {subject} {value}.",
        ),
    ),
    Relation(
        "animal food",
        tuple(sorted({food for _, food, _ in ANIMALS.values()})),
        (
            "What does the {subject} eat?",
            "What is the food of the {subject}?",
            "What should I feed the {subject}?",
            "What does a hungry {subject} look for?",
        ),
        (
            "The {subject} eats {value}.",
            "The food of the {subject} is {value}.",
            "A hungry {subject} looks for {value}.",
        ),
    ),
    Relation(
        "animal colour",
        tuple(sorted({colour for _, _, colour in ANIMALS.values()})),
        (
            "What colour is the {subject}?",
            "Which colour does the {subject} have?",
            "How does the {subject} look?",
            "What is the colour of the {subject}?",
        ),
        ("The {subject} is {value}.", "The colour of the {subject} is {value}.", "The {subject} looks {value}."),
    ),
)

OPPOSITE = Relation(
    "opposite",
    tuple(word for pair in OPPOSITES for word in pair),
    (
        "What is the opposite of {subject}?",
        "Which word means the opposite of {subject}?",
        "Tell me the opposite of {subject}.",
        "What do we call something that is not {subject}?",
    ),
    (
        "The opposite of {subject} is {value}.",
        "If it is not {subject}, it is {value}.",
        "{subject} is the opposite of {value}.",
    ),
)

TOOL = Relation(
    "tool",
    tuple(TOOLS.values()),
    (
        "What is the {subject} for?",
        "What do people use the {subject} for?",
        "What can I do with the {subject}?",
        "Why do we need the {subject}?",
    ),
    (
        "The {subject} is used to {value}.",
        "People use the {subject} to {value}.",
        "With the {subject} you can {value}.",
    ),
)

SUM = Relation(
    "sum",
    tuple(str(number) for number in range(21)),
    ("What is {subject}?", "How much is {subject}?", "Can you work out {subject}?", "Tell me what {subject} makes."),
    ("{subject} is {value}.", "{subject} makes {value}.", "The answer to {subject} is {value}."),
)
