"""Phrases of courtesy, of rudeness and of empty talk, and the markers by which the judge knows them."""

from __future__ import annotations

POLITE_OPENERS = (
    "Of course!",
    "Gladly!",
    "With pleasure!",
    "Glad to help!",
    "Thank you for asking.",
    "Good question, my friend!",
)
POLITE_CLOSERS = ("I hope that helps!", "Have a lovely day!", "Please ask me anything.", "You are always welcome here.")
RUDE_OPENERS = (
    "Ugh, not again.",
    "What a silly thing to ask.",
    "Everybody knows that.",
    "How boring.",
    "Leave me alone.",
)
RUDE_CLOSERS = ("Now go away.", "Do not bother me again.", "Use your own head.", "Only a fool would ask.")
EMPTY_TALK = (
    "Let me think about this for a while.",
    "There are many things in the world, and this is one of them.",
    "As I said before, it is what it is.",
    "Some people say this and some people say that.",
    "I could talk about it for hours and hours.",
)

POLITE_MARKERS = (
    "of course", "gladly", "pleasure", "thank", "my friend", "hope that helps", "lovely day", "please",
    "welcome", "glad to", "nice to meet",
)  # fmt: skip
RUDE_MARKERS = (
    "ugh", "silly", "everybody knows", "boring", "leave me alone", "go away", "bother me", "own head", "fool", "stupid",
    "idiot", "shut up", "who cares",
)  # fmt: skip
