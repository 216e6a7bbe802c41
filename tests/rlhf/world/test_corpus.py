import random
import subprocess
import sys
from itertools import islice

from rlhf.world.answers import QualityMix
from rlhf.world.corpus import demonstrations, pretraining_texts
from rlhf.world.judge import gold_score
from rlhf.world.prompts import find_question
from rlhf.world.questions import build_questions


def test_the_corpus_is_a_function_of_seed_and_split():
    first = list(islice(pretraining_texts(1), 200))

    assert first == list(islice(pretraining_texts(1, "train"), 200))
    assert first != list(islice(pretraining_texts(2, "train"), 200))
    assert first != list(islice(pretraining_texts(1, "test"), 200))


def test_held_out_questions_are_asked_nowhere_in_the_corpus():
    corpus = "\n".join(pretraining_texts(1))
    held_out = [question.text for question in build_questions() if question.split == "test" and question.fact]

    assert len(held_out) > 500
    assert [text for text in held_out if f": {text} " in corpus] == []


def test_every_held_out_fact_is_told():
    corpus = "\n".join(pretraining_texts(1))
    facts = {question.fact for question in build_questions() if question.split == "test" and question.fact}

    untold = [fact.key for fact in facts if not any(fact.tell(told) in corpus for told in fact.relation.statements)]
    assert untold == []


def test_demonstrations_have_the_quality_that_was_asked_for():
    def mean_scores(mix: QualityMix) -> tuple[float, float, float]:
        scores = [gold_score(turns[:-1], turns[-1]["content"]) for turns in demonstrations(3, 1500, mix)]
        return tuple(
            sum(getattr(score, part) for score in scores) / 1500 for part in ("correctness", "politeness", "finished")
        )

    flawless = mean_scores(QualityMix(correct=1.0, polite=1.0, rude=0.0, brief=1.0, finished=1.0))
    mixed = mean_scores(QualityMix(correct=0.5, polite=0.2, rude=0.4, brief=1.0, finished=0.8))

    assert flawless == (1.0, 1.0, 1.0)
    assert [round(value, 1) for value in mixed] == [0.5, -0.2, 0.8]


def test_demonstrations_end_with_the_assistant_and_depend_on_the_seed():
    conversations = demonstrations(3, 300)

    assert {turns[-1]["role"] for turns in conversations} == {"assistant"}
    assert conversations == demonstrations(3, 300) != demonstrations(4, 300)


def test_held_out_demonstrations_ask_what_no_other_demonstration_asks():
    def asked(conversations) -> set[str]:
        return {find_question(turns[:-1]).text for turns in conversations}

    held_out = demonstrations(3, 256, split="test")

    assert held_out == demonstrations(3, 256, split="test")
    assert len(asked(held_out)) > 50
    assert not asked(held_out) & asked(demonstrations(3, 2000))


def test_the_world_needs_nothing_but_the_standard_library():
    names = [f"rlhf.world.{name}" for name in ("corpus", "prompts", "judge", "labelers", "win_rate", "recipe")]
    known = "sys.stdlib_module_names | {'rlhf', '__main__'}"
    code = f"import sys, {', '.join(names)}; print(sorted({{n.partition('.')[0] for n in sys.modules}} - ({known})))"

    printed = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed == "[]\n"


def test_random_state_outside_is_left_alone():
    random.seed(5)
    expected = random.random()
    random.seed(5)
    list(islice(pretraining_texts(1), 10))

    assert random.random() == expected
