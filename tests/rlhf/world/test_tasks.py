from collections import Counter

from rlhf.world.judge import gold_score
from rlhf.world.tasks import N_OF_EACH, build_tasks


def test_there_are_as_many_of_every_task_and_the_same_each_time():
    build_tasks.cache_clear()
    first = build_tasks()
    build_tasks.cache_clear()

    assert Counter(task["task"] for task in first) == dict.fromkeys(
        ["facts", "opposites", "sums", "copying"], N_OF_EACH
    )
    assert build_tasks() == first


def test_no_two_answers_are_the_same():
    assert all(len(set(task["answers"])) == 4 for task in build_tasks())


def test_the_first_answer_is_the_right_one():
    asked = [task for task in build_tasks() if task["task"] != "copying"]
    right = [gold_score(task["prompt"], task["answers"][0]).correctness for task in asked]
    wrong = [gold_score(task["prompt"], answer).correctness for task in asked for answer in task["answers"][1:]]

    assert min(right) > max(wrong)


def test_copying_repeats_the_words_of_the_prompt():
    for task in build_tasks():
        if task["task"] == "copying":
            assert task["prompt"][0]["content"].endswith(f": {task['answers'][0]}")
