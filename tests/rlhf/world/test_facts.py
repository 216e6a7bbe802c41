from collections import Counter

from rlhf.world.facts import build_facts, is_held_out
from rlhf.world.relations import PERSON_RELATIONS
from rlhf.world.vocabulary import PEOPLE


def facts_by_key() -> dict[str, str]:
    return {fact.key: fact.value for fact in build_facts()}


def test_the_world_does_not_change():
    facts = facts_by_key()

    assert len(facts) == 611
    assert (facts["town/Mila"], facts["sum/7 plus 6"], facts["opposite/hot"], facts["animal home/bee"]) == (
        "Dunhollow",
        "13",
        "cold",
        "in a hive",
    )


def test_everybody_has_one_value_of_every_personal_relation():
    people = Counter(fact.subject for fact in build_facts() if fact.relation.name in PERSON_RELATIONS)

    assert people == {person: len(PERSON_RELATIONS) for person in PEOPLE}


def test_every_value_is_one_of_its_relation():
    assert [fact.key for fact in build_facts() if fact.value not in fact.relation.values] == []


def test_every_sum_adds_up():
    sums = {fact.subject: fact.value for fact in build_facts() if fact.relation.name == "sum"}

    expected = {subject: str(eval(subject.replace("plus", "+").replace("minus", "-"))) for subject in sums}
    assert sums == expected


def test_about_one_key_in_seven_is_held_out():
    held_out = [is_held_out(f"key {number}") for number in range(4000)]

    assert 0.13 < sum(held_out) / len(held_out) < 0.17
