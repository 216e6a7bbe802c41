"""What each part of a freeze rule leaves out, adds, and writes down."""

from __future__ import annotations

import json
import random
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from labeling.domain.errors import AlreadyFrozen
from labeling.domain.judging import Vote
from labeling.domain.revising import revise_judgment
from labeling.models import (
    Adjudication,
    Comparison,
    Completion,
    Demonstration,
    Fix,
    Gold,
    Guideline,
    Judgment,
    Membership,
    Project,
    Prompt,
    Slice,
    User,
)
from rlhf.domain.datasets.completions import freeze_demonstrations
from rlhf.domain.datasets.export import export_dataset
from rlhf.domain.datasets.freezing import freeze_preferences
from rlhf.domain.datasets.rule import FreezeRule, InvalidRule
from rlhf.domain.datasets.shelf import EmptyDataset, open_split, open_unpaired
from rlhf.models import Dataset, DatasetSource
from tests.rlhf.domain.datasets.test_freezing import compare, import_votes, judge, labelers, pairs, project, storage

__all__ = ["labelers", "project", "storage"]

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def freeze(project: Project, **changes: Any) -> Dataset:
    return freeze_preferences(project, rule=FreezeRule(**changes), name="d")


def decide(comparison: Comparison, reviewer: User, act: str, **fields: Any) -> Adjudication:
    newest = comparison.judgments.order_by("-id").first()
    fields.setdefault("upto", newest.pk if newest else 0)
    Membership.objects.filter(user=reviewer).update(role="reviewer")
    return Adjudication.objects.create(comparison=comparison, reviewer=reviewer, act=act, **fields)


def rows_of(dataset: Dataset) -> list[dict[str, Any]]:
    return [row for split in ("train", "test") for row in open_split(dataset, split)]


def test_quarantined_labelers_are_left_out_and_may_be_asked_for(project: Project, labelers: list[User]) -> None:
    for number in range(3):
        judge(compare(project, number), labelers[0], -1)
    judge(compare(project, 3), labelers[1], -1)
    Membership.objects.filter(user=labelers[1]).update(is_quarantined=True)

    default, all_of_them = freeze(project), freeze(project, use_quarantined=True)

    assert set(pairs(default)) == {"question 0", "question 1", "question 2"}
    assert default.counts["quarantined_left_out"] == 1
    assert set(pairs(all_of_them)) == {f"question {number}" for number in range(4)}
    assert "quarantined_left_out" not in all_of_them.counts


def test_labelers_are_excluded_by_name_or_id_and_nobody_is_refused(project: Project, labelers: list[User]) -> None:
    for number, labeler in enumerate(labelers):
        judge(compare(project, number), labeler, -1)

    dataset = freeze(project, exclude_labelers=("labeler0", str(labelers[1].pk)))

    assert set(pairs(dataset)) == {"question 2", "question 3"}
    assert dataset.counts["excluded_left_out"] == 2
    with pytest.raises(InvalidRule, match="exclude_labelers names nobody of P: labler0"):
        freeze(project, exclude_labelers=("labler0",))


def test_haste_and_earlier_guidelines_are_left_out_when_asked(project: Project, labelers: list[User]) -> None:
    versions = [Guideline.objects.create(project=project, version=version, text="v") for version in (1, 2)]
    judge(compare(project, 0), labelers[0], -1, guideline=versions[1])
    judge(compare(project, 1), labelers[0], -1, guideline=versions[0])
    judge(compare(project, 2), labelers[0], -1)
    judge(compare(project, 3), labelers[0], -1, guideline=versions[1], is_hasty=True)

    assert len(pairs(freeze(project))) == 4
    hasty = freeze(project, use_hasty=False)
    assert (set(pairs(hasty)), hasty.counts["hasty_left_out"]) == ({f"question {n}" for n in range(3)}, 1)
    late = freeze(project, guideline_from=2)
    assert (set(pairs(late)), late.counts["earlier_guideline_left_out"]) == ({"question 0", "question 3"}, 2)


def test_probes_are_never_data_and_gold_only_when_asked(project: Project, labelers: list[User]) -> None:
    ann, ben, *_ = labelers
    gold, plain, other = (compare(project, number) for number in range(3))
    judge(gold, ann, -1)
    Gold.objects.create(comparison=gold, strength_min=-3, strength_max=-1)
    judge(gold, ben, -1, reason="gold", is_extra=True)
    judge(plain, ann, 2)
    judge(plain, ann, -2, reason="repeat", is_extra=True)
    judge(other, ann, 2)

    dataset, with_gold = freeze(project), freeze(project, use_gold=True)

    assert pairs(dataset) == {"question 1": ("b 1", "a 1"), "question 2": ("b 2", "a 2")}
    assert (dataset.counts["votes"], dataset.counts["gold_left_out"]) == ({"own": 2}, 1)
    assert set(pairs(with_gold)) == {f"question {n}" for n in range(3)}
    assert with_gold.counts["votes"] == {"own": 3}


def test_neither_a_reviewer_nor_an_import_brings_gold_into_the_data(
    project: Project, labelers: list[User], tmp_path: Path
) -> None:
    ann, _, eve, _ = labelers
    import_votes(project, tmp_path, [{"prompt": "recorded", "chosen": "a r", "rejected": "b r"}])
    recorded = Comparison.objects.get()
    overridden, plain = compare(project, 0), compare(project, 1)
    for comparison in (overridden, plain):
        judge(comparison, ann, -1)
    decide(overridden, eve, "override", strength=-2)
    for comparison in (recorded, overridden):
        Gold.objects.create(comparison=comparison, strength_min=-3, strength_max=-1)

    dataset = freeze(project, include=("own", "imported:s"))
    with_gold = freeze(project, include=("own", "imported:s"), use_gold=True)

    assert set(pairs(dataset)) == {"question 1"}
    assert (dataset.counts["gold_left_out"], "overridden" in dataset.counts) == (2, False)
    assert set(pairs(with_gold)) == {"recorded", "question 0", "question 1"}


def test_what_a_reviewer_decided_replaces_the_votes(project: Project, labelers: list[User]) -> None:
    ann, ben, eve, _ = labelers
    split, outvoted, bad, tied, accepted = (compare(project, number) for number in range(5))
    for comparison in (split, bad, tied, accepted):
        judge(comparison, ann, -2)
    judge(split, ben, 2)
    for labeler in (ann, ben):
        judge(outvoted, labeler, -3)
    sign = {pair.pk: 1 if pair.completion_a.text.startswith("a") else -1 for pair in (split, outvoted)}
    decide(split, eve, "override", strength=-1 * sign[split.pk])
    decide(outvoted, eve, "override", strength=2 * sign[outvoted.pk])
    decide(bad, eve, "override", strength=-2, both_bad=True)
    decide(tied, eve, "override", strength=0)
    decide(accepted, eve, "accept")

    dataset = freeze(project, use_margin=True)

    assert pairs(dataset) == {
        "question 0": ("a 0", "b 0"),
        "question 1": ("b 1", "a 1"),
        "question 4": ("a 4", "b 4"),
    }
    assert {row["margin"] for row in rows_of(dataset) if row["chosen"][0]["content"] == "b 1"} == {2 / 3}
    assert {key: dataset.counts[key] for key in ("ties", "both_bad", "disagreements", "overridden")} == {
        "ties": 1,
        "both_bad": 1,
        "disagreements": 0,
        "overridden": 4,
    }
    # The way back leads to the votes she decided over.
    assert DatasetSource.objects.filter(dataset=dataset, comparison=outvoted).count() == 2


@pytest.mark.parametrize(
    ("scale", "strength", "margin"),
    [
        ("seven", 3, 1),
        ("quick", 2, 2 / 3),
        ("forced", 4, 1),
        ("forced", 3, 2 / 3),
        ("forced", 1, 0),
        ("eight", 2, 3 / 7),
    ],
)
def test_what_a_reviewer_decided_weighs_as_much_as_its_step_on_her_scale(
    project: Project, labelers: list[User], scale: str, strength: int, margin: float
) -> None:
    ann, _, eve, _ = labelers
    pair = compare(project, 0)
    judge(pair, ann, -1)
    sign = -1 if pair.completion_a.text.startswith("b") else 1
    decide(pair, eve, "override", strength=sign * strength, scale=scale)

    dataset = freeze(project, use_margin=True)

    assert pairs(dataset) == {"question 0": ("b 0", "a 0")}
    assert [row["margin"] for row in rows_of(dataset)] == [margin]


def test_a_later_decision_replaces_an_earlier_one(project: Project, labelers: list[User]) -> None:
    ann, _, eve, _ = labelers
    first, second = compare(project, 0), compare(project, 1)
    judge(first, ann, -2)
    judge(second, ann, -2)
    decide(first, eve, "override", strength=0)
    decide(first, eve, "accept")

    assert set(pairs(freeze(project))) == {"question 0", "question 1"}


def test_retired_and_waiting_comparisons_are_left_out(project: Project, labelers: list[User]) -> None:
    ann, _, eve, _ = labelers
    retired, waiting, kept, other = (compare(project, number) for number in range(4))
    for comparison in (retired, waiting, kept, other):
        judge(comparison, ann, -1)
    decide(retired, eve, "retire")
    Comparison.objects.filter(pk=retired.pk).update(state="retired")
    Comparison.objects.filter(pk=waiting.pk).update(state="triage")

    dataset = freeze(project)

    assert set(pairs(dataset)) == {"question 2", "question 3"}
    assert (dataset.counts["retired_left_out"], dataset.counts["triage_left_out"]) == (1, 1)


def test_of_what_was_sent_back_only_later_votes_count(project: Project, labelers: list[User]) -> None:
    ann, ben, eve, dan = labelers
    comparison, other = compare(project, 0), compare(project, 1)
    judge(comparison, ann, -3)
    judge(comparison, ben, -3)
    decide(comparison, eve, "send_back")
    judge(comparison, dan, 1)
    decide(comparison, eve, "accept")
    judge(other, ann, 1)

    dataset = freeze(project)

    assert pairs(dataset)["question 0"] == ("b 0", "a 0")
    assert (dataset.counts["sent_back_left_out"], dataset.counts["votes"]) == (2, {"own": 2})


def fix(judgment: Judgment, text: str) -> Fix:
    completion = Completion.objects.create(
        prompt=judgment.comparison.prompt, text=text, content_sha=f"{judgment.pk:064x}", author=judgment.labeler
    )
    Demonstration.objects.create(completion=completion)
    return Fix.objects.create(judgment=judgment, completion=completion)


def test_a_rewritten_completion_is_better_than_both_it_was_made_from(project: Project, labelers: list[User]) -> None:
    ann, ben, cat, _ = labelers
    fixed, bad, denied, plain = (compare(project, number) for number in range(4))
    own = judge(fixed, ann, -2)
    fix(own, "better 0")
    fix(judge(bad, ann, 0, both_bad=True), "better 1")
    fix(judge(denied, ann, -1), "better 2")
    for labeler in (ben, cat):
        judge(denied, labeler, 1)
    judge(plain, ann, 1)

    dataset, without = freeze(project, use_margin=True), freeze(project, use_fixes=False)

    found = {(row["chosen"][0]["content"], row["rejected"][0]["content"]): row for row in rows_of(dataset)}
    assert set(found) == {
        ("a 0", "b 0"),
        ("better 0", "a 0"),
        ("better 0", "b 0"),
        ("better 1", "a 1"),
        ("better 1", "b 1"),
        ("b 2", "a 2"),
        ("b 3", "a 3"),
    }
    assert {pair: (row["source"], row["margin"]) for pair, row in found.items() if pair[0] == "better 0"} == {
        ("better 0", "a 0"): ("fixes", 1 / 3),
        ("better 0", "b 0"): ("fixes", 2 / 3),
    }
    assert len({found[pair]["group"] for pair in found if pair[1] in ("a 0", "b 0")}) == 1
    assert (dataset.counts["pairs"], dataset.counts["fixes"]) == (3, 4)
    assert len(rows_of(without)) == 3
    lines = DatasetSource.objects.filter(dataset=dataset, comparison=fixed)
    assert [source.judgment_id for source in lines] == [own.pk] * 3


def test_rewritten_completions_are_demonstrations_unless_in_quarantine(project: Project, labelers: list[User]) -> None:
    ann, ben, *_ = labelers
    for number, labeler in ((0, ann), (1, ben)):
        fix(judge(compare(project, number), labeler, -1), f"better {number}")
    Membership.objects.filter(user=ben).update(is_quarantined=True)

    dataset = freeze_demonstrations(project, name="d")

    assert [row["messages"][-1]["content"] for row in rows_of(dataset)] == ["better 0"]
    assert dataset.counts["fixes"] == 1
    assert [source.judgment.labeler for source in dataset.sources.select_related("judgment__labeler")] == [ann]
    with pytest.raises(EmptyDataset):
        freeze_demonstrations(project, name="d", use_fixes=False)


def test_demonstrations_hold_what_pairs_count_of_what_was_rewritten(project: Project, labelers: list[User]) -> None:
    ann, ben, eve, dan = labelers
    kept, denied, returned, waiting, by_ben, by_dan, gold = (compare(project, number) for number in range(7))
    for comparison in (kept, denied, returned, waiting, gold):
        fix(judge(comparison, ann, -2), f"better of {comparison.pk}")
    fix(judge(by_ben, ben, -2), "better by Ben")
    fix(judge(by_dan, dan, -2), "better by Dan")
    decide(denied, eve, "override", strength=3 if denied.completion_a.text.startswith("a") else -3)
    decide(returned, eve, "send_back")
    Comparison.objects.filter(pk=waiting.pk).update(state="triage")
    Membership.objects.filter(user=dan).update(is_quarantined=True)
    Gold.objects.create(comparison=gold, strength_min=-3, strength_max=-1)

    dataset = freeze_demonstrations(project, name="d")
    without_ben = freeze_demonstrations(project, name="d", exclude_labelers=("labeler1",))

    assert rewritten(dataset) == {f"better of {kept.pk}", "better by Ben"}
    assert rewritten(without_ben) == {f"better of {kept.pk}"}
    assert without_ben.rule["exclude_labelers"] == ["labeler1"]
    in_pairs = {row["chosen"][0]["content"] for row in rows_of(freeze(project)) if row["source"] == "fixes"}
    assert in_pairs == rewritten(dataset)


def rewritten(dataset: Dataset) -> set[str]:
    return {row["messages"][-1]["content"] for row in rows_of(dataset)}


def test_a_pair_that_prefers_the_unsafe_is_left_out(project: Project, labelers: list[User]) -> None:
    both, chosen, few = (compare(project, number) for number in range(3))
    for comparison, n_flags in ((both, 2), (chosen, 2), (few, 1)):
        side, other = ("unsafe_a", "unsafe_b") if comparison.completion_a.text[0] == "a" else ("unsafe_b", "unsafe_a")
        for place, labeler in enumerate(labelers[:3]):
            flags = {side: place < n_flags, other: place < n_flags and comparison == both}
            judge(comparison, labeler, -2, **flags)

    dataset, with_unsafe = freeze(project), freeze(project, use_unsafe=True)

    assert set(pairs(dataset)) == {"question 0", "question 2"}
    assert dataset.counts["unsafe_left_out"] == 1
    assert (len(pairs(with_unsafe)), "unsafe_left_out" in with_unsafe.counts) == (3, False)


def test_soft_labels_are_written_as_targets(project: Project, labelers: list[User]) -> None:
    ann, ben, cat, _ = labelers
    clear, split = compare(project, 0), compare(project, 1)
    judge(clear, ann, -1)
    for labeler, strength in ((ann, 2), (ben, 2), (cat, -1)):
        judge(split, labeler, strength)

    dataset = freeze(project, consensus="soft")

    assert {row["chosen"][0]["content"]: row["target"] for row in rows_of(dataset)} == {
        "a 0": 1.0,
        "b 1": pytest.approx(2 / 3),
    }
    likely = {
        row["chosen"][0]["content"]: row["target"]
        for row in rows_of(freeze(project, consensus="dawid_skene", soft=True))
    }
    assert set(likely) == {"a 0", "b 1"}
    assert all(0.5 < target < 1 for target in likely.values())
    assert all("target" not in row for row in rows_of(freeze(project, consensus="dawid_skene")))


def test_both_bad_is_kept_for_unpaired_training_on_its_side(
    project: Project, labelers: list[User], tmp_path: Path
) -> None:
    ann = labelers[0]
    for number in range(12):
        judge(compare(project, number), ann, -1)
    for number in range(12, 24):
        judge(compare(project, number, group="question 0's" if number == 12 else None), ann, 0, both_bad=True)

    dataset = freeze(project, test_share=0.4)
    files = export_dataset(dataset, format="kto", path=tmp_path / "out")

    rows = {file.stem: [read_row(line) for line in file.read_text("utf-8").splitlines()] for file in files[:-1]}
    everything = [row for found in rows.values() for row in found]
    assert Counter(row["label"] for row in everything) == {True: 12, False: 12 + 24}
    assert {row["prompt"][0]["content"] for row in rows["train"]}.isdisjoint(
        row["prompt"][0]["content"] for row in rows["test"]
    )
    assert {frozenset(row) for row in everything} == {frozenset({"prompt", "completion", "label"})}
    assert dataset.counts["unpaired"] == 24
    assert len(rows_of(dataset)) == 12


def read_row(line: str) -> dict[str, Any]:
    return dict(json.loads(line))


def test_what_is_unpaired_follows_its_group_even_where_the_draw_says_otherwise(
    project: Project, labelers: list[User]
) -> None:
    for number in range(6):
        comparison = compare(project, number, group=f"g{number % 3}")
        judge(comparison, labelers[0], -1 if number < 3 else 0, both_bad=number >= 3)

    dataset = freeze(project, test_share=1e-6)  # no group draws the test side, so one is moved there

    (test_row,) = open_split(dataset, "test")
    groups = {split: {row["group"] for row in open_unpaired(dataset, split)} for split in ("train", "test")}
    assert groups["test"] == {test_row["group"]}
    assert groups["train"] == {"g0", "g1", "g2"} - groups["test"]


def test_votes_that_were_frozen_cannot_be_revised(project: Project, labelers: list[User]) -> None:
    first = judge(compare(project, 0), labelers[0], -1)
    judge(compare(project, 1), labelers[0], -1)

    freeze(project)

    project.refresh_from_db()
    assert project.frozen_upto == Judgment.objects.order_by("-id").first().pk
    with pytest.raises(AlreadyFrozen):
        revise_judgment(first, labelers[0], idempotency_key=uuid.uuid4(), vote=Vote(preference=2))


def test_no_labeler_stands_behind_more_than_her_share(project: Project, labelers: list[User]) -> None:
    rng = random.Random(4)
    for number in range(60):
        comparison = compare(project, number)
        keen = labelers[0] if number % 6 else labelers[1]
        for labeler in {keen, rng.choice(labelers[1:])}:
            judge(comparison, labeler, rng.choice([-1, 1, 1]))

    free, capped = freeze(project), freeze(project, labeler_share_max=0.34)

    assert max(shares(free).values()) > 0.36
    assert max(shares(capped).values()) <= 0.34
    assert capped.counts["over_share_left_out"] > 0
    assert capped.n_train + capped.n_test > 20
    with pytest.raises(InvalidRule, match="cannot be kept by"):
        freeze(project, labeler_share_max=0.1)


def test_a_cap_that_is_a_third_but_for_rounding_ends_with_three_labelers(
    project: Project, labelers: list[User]
) -> None:
    for number, labeler in enumerate(labelers[:3]):
        judge(compare(project, number), labeler, -1)

    dataset = freeze(project, labeler_share_max=0.3333333333)

    assert (len(pairs(dataset)), "over_share_left_out" in dataset.counts) == (3, False)


def test_whoever_rewrites_everything_keeps_within_her_share_too(project: Project, labelers: list[User]) -> None:
    for number in range(30):
        comparison = compare(project, number)
        said = [judge(comparison, labeler, -1, is_extra=True) for labeler in labelers]
        fix(said[0], f"better {number}")

    free, capped = freeze(project), freeze(project, labeler_share_max=0.3)

    assert shares(free)[labelers[0].pk] == 90 / 180
    assert 0.25 < max(shares(capped).values()) <= 0.3
    assert capped.counts["fixes"] == 24
    assert capped.counts["pairs"] == 30


def shares(dataset: Dataset) -> dict[int, float]:
    counts = Counter(DatasetSource.objects.filter(dataset=dataset).values_list("judgment__labeler", flat=True))
    return {labeler: n / counts.total() for labeler, n in counts.items()}


def test_a_rule_of_before_its_newer_parts_still_reads() -> None:
    old = {
        "include": ["own"],
        "consensus": "majority",
        "min_judgments": 2,
        "upto": 7,
        "after": 0,
        "use_extra": True,
        "use_margin": False,
        "test_share": 0.2,
        "seed": 1,
        "note": "",
    }

    assert FreezeRule.from_json(old) == FreezeRule(min_judgments=2, upto=7, test_share=0.2, seed=1)


def test_a_row_says_which_slice_its_prompt_is_of(project: Project, labelers: list[User], tmp_path: Path) -> None:
    code = Slice.objects.create(project=project, name="code", language="en")
    for number in range(4):
        comparison = compare(project, number)
        judge(comparison, labelers[0], -2)
        if number < 3:
            Prompt.objects.filter(pk=comparison.prompt_id).update(slice=code)

    dataset = freeze(project, test_share=0.0)

    assert sorted(row.get("slice", "") for row in rows_of(dataset)) == ["", *["code (en)"] * 3]
    export_dataset(dataset, format="parquet", path=tmp_path / "out")
    table = pyarrow.parquet.read_table(tmp_path / "out/data/train-00000-of-00001.parquet")
    assert Counter(table.column("slice").to_pylist()) == {None: 1, "code (en)": 3}
