"""Short stories about an animal and one of the people, true to the facts of the world."""

from __future__ import annotations

import random

from rlhf.world.questions import person_facts
from rlhf.world.vocabulary import ANIMALS

OPENINGS = (
    "One morning the {animal} was very hungry.",
    "Once upon a time there was a {colour} {animal}.",
    "One day the {animal} could not sleep.",
    "Early in spring the {animal} went for a walk.",
)
SEARCHES = (
    "It looked everywhere for {food}, but there was nothing left.",
    "It left its home {home} and walked all day.",
    "It wanted to find a friend.",
    "It dreamed of {food} and of the big wide world.",
)
MEETINGS = (
    "Then it met {person}, who works as a {job}.",
    "On the road to {town} it met {person}.",
    "In {town} it saw {person} with a {pet}.",
    "At noon {person} came by and smiled.",
)
GIFTS = (
    "{person} shared some {meal} with the {animal}.",
    "{person} gave the {animal} a {thing} ribbon.",
    "The {animal} and {person} talked about {hobby}.",
    "{person} sang a song for the {animal}.",
)
ENDINGS = (
    "From that day on they were friends.",
    "In the evening the {animal} went home and slept well.",
    "Both were happy, and so the day ended.",
    "And the {animal} never felt alone again.",
)


def tell_story(rng: random.Random, animal: str, person: str) -> str:
    """Return a story of five sentences."""
    home, food, colour = ANIMALS[animal]
    values = {fact.relation.name: fact.value for fact in person_facts(person)}
    nouns = {
        "animal": animal, "home": home, "food": food, "colour": colour, "person": person, "job": values["job"],
        "town": values["town"], "pet": values["pet"], "meal": values["food"], "thing": values["colour"],
        "hobby": values["hobby"],
    }  # fmt: skip
    parts = (OPENINGS, SEARCHES, MEETINGS, GIFTS, ENDINGS)
    return " ".join(rng.choice(sentences) for sentences in parts).format(**nouns)
