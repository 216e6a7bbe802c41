"""Real files of other people's judgments; they lie beside the repository and are not part of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import call_command

from labeling.models import Comparison, Demonstration, Import, ImportedJudgment, Judgment, Prompt, Slot
from rlhf.domain.datasets.freezing import default_rule, freeze_preferences
from rlhf.domain.datasets.shelf import open_split

DATA = Path(__file__).parents[4] / "shared" / "data"

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.database,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data is not here: {DATA} is missing"),
]


def import_file(name, project):
    call_command("import_preferences", str(DATA / name), project=project)
    return Import.objects.get(project__slug=project)


def test_fifteen_hundred_hh_pairs_are_imported_whole_and_kept_apart_from_our_own():
    imported = import_file("hh-rlhf-harmless-dev.jsonl.gz", "hh")

    assert (imported.state, imported.source, imported.format) == ("committed", "hh-rlhf-harmless-dev", "hh")
    assert (ImportedJudgment.objects.count(), Judgment.objects.count(), Slot.objects.count()) == (1500, 0, 0)
    assert all(prompt.messages[-1]["role"] == "user" for prompt in Prompt.objects.all())


def test_a_dry_run_of_the_real_file_writes_nothing(capsys):
    call_command("import_preferences", str(DATA / "hh-rlhf-harmless-dev.jsonl.gz"), project="hh", dry_run=True)

    assert "1,500 rows in the format hh" in capsys.readouterr().out
    assert (Import.objects.count(), Comparison.objects.count()) == (0, 0)


def test_ranked_trees_become_pairs_whose_group_is_their_tree():
    import_file("oasst-trees-dev.jsonl.gz", "oasst")

    pairs_by_prompt = {prompt.pk: prompt.comparisons.count() for prompt in Prompt.objects.all()}
    assert (len(pairs_by_prompt), sum(pairs_by_prompt.values())) == (122, 446)
    assert Prompt.objects.values("group").distinct().count() <= 60


def test_instructions_become_demonstrations():
    import_file("alpaca-seed-tasks.jsonl", "alpaca")

    assert (Demonstration.objects.count(), ImportedJudgment.objects.count()) == (175, 0)


def test_no_tree_of_the_real_data_stands_on_both_sides_of_the_split():
    imported = import_file("oasst-trees-dev.jsonl.gz", "oasst")

    dataset = freeze_preferences(imported.project, rule=default_rule(imported.project), name="oasst")

    groups = {split: {row["group"] for row in open_split(dataset, split)} for split in ("train", "test")}
    assert (dataset.n_train + dataset.n_test, groups["train"] & groups["test"]) == (446, set())
    assert groups["test"]
