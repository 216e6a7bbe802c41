import pytest

from rlhf.world.prompts import build_prompts, draw_prompts, find_question, prompt_key


def test_train_and_test_share_no_prompt_and_no_question():
    train, test = draw_prompts(1, 9000, split="train"), draw_prompts(1, 5000, split="test")

    assert {prompt_key(prompt) for prompt in train} & {prompt_key(prompt) for prompt in test} == set()
    assert {find_question(prompt) for prompt in train} & {find_question(prompt) for prompt in test} == set()


def test_held_out_facts_are_asked_in_no_training_prompt():
    questions = [find_question(list(prompt)) for prompt in build_prompts("train")]
    test_facts = {
        question.fact.key for prompt in build_prompts("test") if (question := find_question(list(prompt))).fact
    }
    train_facts = {question.fact.key for question in questions if question.fact}

    assert len(test_facts - train_facts) > 50


def test_no_prompt_is_drawn_twice():
    prompts = draw_prompts(5, 9000, split="train")

    assert len({prompt_key(prompt) for prompt in prompts}) == 9000


def test_a_longer_draw_begins_with_the_shorter_one():
    assert draw_prompts(3, 700, split="train")[:300] == draw_prompts(3, 300, split="train")


def test_another_seed_draws_other_prompts():
    assert draw_prompts(3, 50, split="test") != draw_prompts(4, 50, split="test")


def test_more_prompts_than_there_are_is_refused():
    with pytest.raises(ValueError, match=r"the test split has \d+ prompts, 100000 were asked for"):
        draw_prompts(1, 100_000, split="test")


def test_the_question_is_found_behind_an_opener_and_after_a_greeting():
    bare = [{"role": "user", "content": "Where does Mila live?"}]
    opened = [{"role": "user", "content": "Please tell me: Where does Mila live?"}]
    greeted = [{"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "Good day!"}, *bare]

    found = [find_question(prompt) for prompt in (bare, opened, greeted)]
    assert [question.fact.key for question in found] == ["town/Mila"] * 3


def test_a_question_of_another_world_is_not_found():
    assert find_question([{"role": "user", "content": "Who won the cup in 1998?"}]) is None
