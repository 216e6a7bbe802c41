import random
from itertools import product

import pytest

from rlhf.world.answers import Quality, write_answer
from rlhf.world.judge import GoldScore, gold_score
from rlhf.world.questions import build_questions

WHERE = [{"role": "user", "content": "Where does Mila live?"}]
SUM = [{"role": "user", "content": "What is 3 plus 4?"}]
ABOUT = [{"role": "user", "content": "Tell me about Mila."}]


def score(correctness: float, politeness: float = 0.0, finished: float = 1.0) -> GoldScore:
    return GoldScore(correctness, politeness, finished, excess=0.0, repetition=0.0)


@pytest.mark.parametrize(
    ("prompt", "text", "expected"),
    [
        (WHERE, "Mila lives in Dunhollow.", score(1.0)),
        (WHERE, "mila lives in dunhollow.", score(1.0)),
        (WHERE, "Of course! Mila lives in Dunhollow.", score(1.0, politeness=1.0)),
        (WHERE, "Of course! Mila lives in Dunhollow. Now go away.", score(1.0, politeness=-1.0)),
        (WHERE, "Mila lives in Hartsea.", score(0.0)),
        (WHERE, "Mila lives in Hartsea, or in Dunhollow.", score(0.0)),
        (WHERE, "Mila lives in Dunhollow, or in Hartsea.", score(1.0)),
        (WHERE, "Mila lives in Dunhollow", score(1.0, finished=0.0)),
        (WHERE, "", score(0.0, finished=0.0)),
        (WHERE, "I hope that helps!", score(0.0, politeness=1.0)),
        (SUM, "3 plus 4 is 7.", score(1.0)),
        (SUM, "7", score(1.0, finished=0.0)),
        (SUM, "3 plus 4 is 17.", score(0.0)),
        (SUM, "4 plus 4 is 8.", score(0.0)),
        (ABOUT, "Mila lives in Dunhollow. Mila is a gardener.", score(1.0)),
        (ABOUT, "Mila lives in Dunhollow.", score(0.0)),
        ([{"role": "user", "content": "Who won the cup?"}], "Dunhollow.", score(0.0)),
    ],
)
def test_the_hidden_rule_reads_the_text(prompt, text, expected):
    assert gold_score(prompt, text) == expected


def test_the_total_weighs_the_parts():
    assert GoldScore(1.0, -1.0, 1.0, 0.5, 0.25).total == pytest.approx(2 - 1 + 0.8 - 0.6 - 0.25)


def test_talking_on_costs_up_to_the_whole_brevity():
    brief, endless = "Mila lives in Dunhollow.", "Mila lives in Dunhollow. " + "Some people say this and that. " * 20

    assert gold_score(WHERE, brief).brevity == 1.0
    assert gold_score(WHERE, endless).brevity == 0.0


def test_saying_it_twice_is_repetition():
    assert gold_score(WHERE, "Mila lives in Dunhollow. Mila lives in Dunhollow.").repetition == 0.5


@pytest.mark.parametrize("tone", ["polite", "neutral", "rude"])
def test_the_judge_finds_the_quality_an_answer_was_written_with(tone):
    rng = random.Random(0)
    mistaken = []

    for question, is_correct, is_brief in product(build_questions()[::7], (True, False), (True, False)):
        if question.kind == "fact":
            text = write_answer(rng, question, Quality(is_correct, tone, is_brief, is_finished=True))
            found = gold_score([{"role": "user", "content": question.text}], text)
            if (found.correctness, found.politeness) != (is_correct, {"polite": 1, "neutral": 0, "rude": -1}[tone]):
                mistaken.append(text)

    assert mistaken == []
