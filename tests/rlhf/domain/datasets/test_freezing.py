"""From votes to bytes that never change, and back from the bytes to every vote."""

from __future__ import annotations

import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import IntegrityError, transaction
from django.utils import timezone

from labeling.domain.content import hash_messages
from labeling.domain.intake.mapping import Mapping
from labeling.domain.intake.staging import stage_file
from labeling.domain.intake.storing import commit_file
from labeling.domain.pairing import add_prompt, propose_comparison
from labeling.models import (
    Comparison,
    Guideline,
    Import,
    ImportedJudgment,
    Judgment,
    Membership,
    Project,
    Prompt,
    Slot,
    User,
)
from rlhf.contract.errors import CorruptError
from rlhf.contract.records import canonical_line
from rlhf.domain.datasets.completions import freeze_demonstrations, freeze_texts
from rlhf.domain.datasets.freezing import default_rule, freeze_preferences
from rlhf.domain.datasets.rule import FreezeRule, InvalidRule
from rlhf.domain.datasets.shelf import EmptyDataset, freeze_rows, materialize_dataset, open_split
from rlhf.models import Dataset, DatasetSource

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture(autouse=True)
def storage(settings: Any, tmp_path: Path) -> Path:
    """Files of their own for each test."""
    folder = tmp_path / "files"
    backend = {**settings.STORAGES["default"], "OPTIONS": {"location": str(folder)}}
    settings.STORAGES = {**settings.STORAGES, "default": backend}
    return folder


@pytest.fixture
def project() -> Project:
    return Project.objects.create(slug="p", name="P")


@pytest.fixture
def labelers(project: Project) -> list[User]:
    users = [User.objects.create(username=f"labeler{number}", email=f"{number}@example.org") for number in range(4)]
    Membership.objects.bulk_create(Membership(project=project, user=user) for user in users)
    return users


def compare(project: Project, number: int, *, question: str = "", group: str | None = None) -> Comparison:
    prompt = add_prompt(project, [{"role": "user", "content": question or f"question {number}"}], group=group)
    return propose_comparison(prompt, f"a {number}", f"b {number}", overlap=4)


def judge(comparison: Comparison, labeler: User, strength: int, **fields: Any) -> Judgment:
    """Store a vote as the judging page does; strength is negative where the text "a ..." is better."""
    is_a = comparison.completion_a.text.startswith("a")
    strength = strength if is_a else -strength
    if "revises" not in fields and not fields.get("is_extra"):
        fields["slot"] = Slot.objects.filter(comparison=comparison, state="free").order_by("number").first()
        Slot.objects.filter(pk=fields["slot"].pk).update(state="done", labeler=labeler)
    return Judgment.objects.create(
        comparison=comparison,
        labeler=labeler,
        verdict="tie" if strength == 0 else "A" if strength < 0 else "B",
        strength=strength,
        scale="seven",
        a_shown_left=True,
        shown_at=timezone.now(),
        **fields,
    )


def write_votes(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def import_votes(project: Project, folder: Path, rows: list[dict[str, Any]], *, source: str = "s") -> Import:
    return commit_file(project, stage_file(write_votes(folder / f"{source}.jsonl", rows)), source=source)


def pairs(dataset: Dataset) -> dict[str, tuple[str, str]]:
    """Return {question: (chosen, rejected)} over both splits."""
    rows = [row for split in ("train", "test") for row in open_split(dataset, split)]
    return {row["prompt"][-1]["content"]: (row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in rows}


def test_majorities_become_pairs_and_the_rest_is_counted(project: Project, labelers: list[User]) -> None:
    ann, ben, cat, _ = labelers
    guideline = Guideline.objects.create(project=project, version=3, text="Be fair.")
    first, tied, bad, split, second, unjudged = (compare(project, number) for number in range(6))
    for labeler, strength in ((ann, -2), (ben, 1), (cat, -1)):
        judge(first, labeler, strength, guideline=guideline)
    judge(tied, ann, 0)
    judge(bad, ann, -3, both_bad=True)
    judge(split, ann, -1)
    judge(split, ben, 1)
    judge(second, ann, 3)

    dataset = freeze_preferences(project, rule=FreezeRule(), name="d", user=ann)

    assert pairs(dataset) == {"question 0": ("a 0", "b 0"), "question 4": ("b 4", "a 4")}
    assert dataset.counts == {
        "pairs": 2,
        "ties": 1,
        "both_bad": 1,
        "disagreements": 1,
        "too_few_judgments": 0,
        "held_out": 0,
        "votes": {"own": 8},
        "guidelines": {"none": 5, "v3": 3},
        "groups": {"train": 1, "test": 1},
        "unpaired": 2,
        "unpaired_sha256": dataset.counts["unpaired_sha256"],
    }
    assert FreezeRule.from_json(dataset.rule) == FreezeRule()
    assert (dataset.n_train, dataset.n_test, dataset.created_by) == (1, 1, ann)
    assert unjudged.judgments.count() == 0


def test_only_the_last_word_of_each_labeler_counts(project: Project, labelers: list[User]) -> None:
    comparison = compare(project, 0)
    first = judge(comparison, labelers[0], -2)
    judge(comparison, labelers[0], 2, revises=first)

    assert pairs(freeze_preferences(project, rule=FreezeRule(), name="d")) == {"question 0": ("b 0", "a 0")}


def test_late_extra_votes_count_unless_the_rule_leaves_them_out(project: Project, labelers: list[User]) -> None:
    ann, ben, cat, _ = labelers
    comparison = compare(project, 0)
    judge(comparison, ann, -1)
    judge(comparison, ben, 1, is_extra=True)
    judge(comparison, cat, 1, is_extra=True)

    with_extra, without = (
        freeze_preferences(project, rule=FreezeRule(use_extra=use), name="d") for use in (True, False)
    )

    assert pairs(with_extra) == {"question 0": ("b 0", "a 0")}
    assert pairs(without) == {"question 0": ("a 0", "b 0")}


def test_imported_votes_are_mixed_with_our_own_only_when_the_rule_says_so(
    project: Project, labelers: list[User], tmp_path: Path
) -> None:
    import_votes(project, tmp_path, [{"prompt": "question 0", "chosen": "b 0", "rejected": "a 0"}], source="s")
    import_votes(project, tmp_path, [{"prompt": "question 0", "chosen": "b 0", "rejected": "a 0"}] * 2, source="t")
    comparison = Comparison.objects.get()
    Comparison.objects.update(overlap=4)
    judge(comparison, labelers[0], -1, is_extra=True)

    def freeze(*include: str) -> Dataset:
        return freeze_preferences(project, rule=FreezeRule(include=include), name="d")

    own, both = freeze("own"), freeze("own", "imported:s", "imported:t")

    assert pairs(own) == {"question 0": ("a 0", "b 0")}
    assert pairs(both) == {"question 0": ("b 0", "a 0")}
    assert both.counts["votes"] == {"own": 1, "imported:s": 1, "imported:t": 2}
    assert next(open_split(both, "train"))["source"] == "imported:s + imported:t + own"
    with pytest.raises(EmptyDataset, match="none of the 1 judged comparisons of P makes a pair"):
        freeze("own", "imported:s")


def test_what_others_called_both_bad_is_no_pair_and_no_tie(project: Project, tmp_path: Path) -> None:
    rows = [{"p": f"q {n}", "a": "x", "b": "y", "winner": said} for n, said in enumerate(("A", "tie", "tie (bothbad)"))]
    file = write_votes(tmp_path / "arena.jsonl", rows)
    mapping = Mapping({"prompt": "p", "chosen": "a", "rejected": "b", "verdict": "winner"})
    commit_file(project, stage_file(file, format=mapping.to_format()), source="arena")

    dataset = freeze_preferences(project, rule=FreezeRule(include=("imported:arena",)), name="d")

    assert list(ImportedJudgment.objects.order_by("pk").values_list("strength", "both_bad")) == [
        (-2, False),
        (0, False),
        (0, True),
    ]
    assert (dataset.counts["ties"], dataset.counts["both_bad"]) == (1, 1)
    assert pairs(dataset) == {"q 0": ("x", "y")}


def test_votes_of_an_import_that_is_not_committed_do_not_count(project: Project, tmp_path: Path) -> None:
    imported = import_votes(project, tmp_path, [{"prompt": "q", "chosen": "x", "rejected": "y"}])
    Import.objects.filter(pk=imported.pk).update(state=Import.State.STAGED)

    with pytest.raises(EmptyDataset, match="has no judgments"):
        freeze_preferences(project, rule=FreezeRule(include=("imported:s",)), name="d")
    assert default_rule(project) == FreezeRule()


def test_the_default_rule_takes_our_own_votes_before_imported_ones(
    project: Project, labelers: list[User], tmp_path: Path
) -> None:
    import_votes(project, tmp_path, [{"prompt": "q", "chosen": "x", "rejected": "y"}], source="t")
    import_votes(project, tmp_path, [{"prompt": "q", "chosen": "x", "rejected": "z"}], source="s")
    assert default_rule(project).include == ("imported:s", "imported:t")

    judge(compare(project, 0), labelers[0], 1)

    assert default_rule(project).include == ("own",)


def test_held_out_prompts_never_enter_a_dataset(project: Project, labelers: list[User]) -> None:
    for number in range(2):
        judge(compare(project, number), labelers[0], 1)
    Prompt.objects.filter(content_sha=hash_messages([{"role": "user", "content": "question 0"}])).update(
        is_held_out=True
    )

    dataset = freeze_preferences(project, rule=FreezeRule(), name="d")

    assert pairs(dataset) == {"question 1": ("b 1", "a 1")}
    assert dataset.counts["held_out"] == 1


def test_margins_are_written_when_the_rule_asks(project: Project, labelers: list[User]) -> None:
    judge(compare(project, 0), labelers[0], -3)

    dataset = freeze_preferences(project, rule=FreezeRule(use_margin=True), name="d")

    assert list(open_split(dataset, "train")) == [
        {
            "prompt": [{"role": "user", "content": "question 0"}],
            "chosen": [{"role": "assistant", "content": "a 0"}],
            "rejected": [{"role": "assistant", "content": "b 0"}],
            "margin": 1.0,
            "group": Prompt.objects.get().group,
            "source": "own",
        }
    ]


def test_no_group_and_no_opening_is_in_train_and_test(project: Project, labelers: list[User]) -> None:
    for number in range(60):
        judge(compare(project, number, group=f"group {number // 3}"), labelers[0], 1)
    for number in range(60, 80):
        turns = [
            {"role": "user", "content": f"question {number - 60}"},
            {"role": "assistant", "content": "?"},
            {"role": "user", "content": "go on"},
        ]
        judge(propose_comparison(add_prompt(project, turns), f"a {number}", f"b {number}"), labelers[0], 1)

    dataset = freeze_preferences(project, rule=FreezeRule(test_share=0.3), name="d")

    sides = {split: list(open_split(dataset, split)) for split in ("train", "test")}
    groups, openings = (
        {split: {read(row) for row in rows} for split, rows in sides.items()}
        for read in (lambda row: row["group"], lambda row: row["prompt"][0]["content"])
    )
    assert not groups["train"] & groups["test"]
    assert not openings["train"] & openings["test"]
    assert {split: len(found) for split, found in groups.items()} == dataset.counts["groups"]
    assert (len(sides["train"]), len(sides["test"])) == (dataset.n_train, dataset.n_test)
    assert dataset.n_train + dataset.n_test == 80
    assert dataset.n_test > 0


def test_the_hashes_are_those_of_the_stored_bytes_and_every_line_is_canonical(
    project: Project, labelers: list[User], storage: Path
) -> None:
    for number in range(12):
        judge(compare(project, number, question=f"frage {number} — ü\u2028 😀\t\\"), labelers[0], 1)

    dataset = freeze_preferences(project, rule=FreezeRule(), name="d")

    train, test = ((storage / dataset.file_name(split)).read_bytes() for split in ("train", "test"))
    identity = canonical_line({"rule": dataset.rule, "train": dataset.train_sha256, "test": dataset.test_sha256})
    assert dataset.sha256 == hashlib.sha256(identity).hexdigest()
    assert (dataset.train_sha256, dataset.test_sha256) == tuple(
        hashlib.sha256(part).hexdigest() for part in (train, test)
    )
    assert train == b"".join(canonical_line(row) for row in open_split(dataset, "train"))


def test_the_same_rows_split_otherwise_are_another_dataset(project: Project) -> None:
    rows = [{"text": "a"}, {"text": "b"}]

    whole = freeze_rows(project, kind="text", name="whole", train=rows, test=[], rule={})
    split = freeze_rows(project, kind="text", name="split", train=rows[:1], test=rows[1:], rule={})

    assert [(whole.n_train, whole.n_test), (split.n_train, split.n_test)] == [(2, 0), (1, 1)]


def test_the_same_pairs_from_more_judgments_are_another_dataset_with_all_its_sources(
    project: Project, labelers: list[User]
) -> None:
    comparison = compare(project, 1)
    judge(comparison, labelers[0], -2)
    first = freeze_preferences(project, rule=FreezeRule(), name="first")
    judge(comparison, labelers[1], -2)

    second = freeze_preferences(project, rule=FreezeRule(), name="second")

    assert first.train_sha256 == second.train_sha256
    assert [first.sources.count(), second.sources.count()] == [1, 2]


def test_a_comparison_judged_again_is_decided_by_all_its_votes(project: Project, labelers: list[User]) -> None:
    comparison = compare(project, 1)
    judge(comparison, labelers[0], -2)
    last = judge(comparison, labelers[1], -2)
    judge(comparison, labelers[2], 2)
    untouched = compare(project, 2)

    dataset = freeze_preferences(project, rule=FreezeRule(after=last.pk), name="new")

    (row,) = open_split(dataset, "train")
    assert row["chosen"] == [{"role": "assistant", "content": comparison.completion_a.text}]
    assert not dataset.sources.filter(comparison=untouched).exists()


def test_a_dataset_up_to_a_judgment_is_what_it_was_then(project: Project, labelers: list[User]) -> None:
    judge(compare(project, 1), labelers[0], -2)
    then = judge(compare(project, 2), labelers[0], -2)
    judge(compare(project, 3), labelers[0], -2)

    dataset = freeze_preferences(project, rule=FreezeRule(upto=then.pk), name="then")

    assert dataset.n_train + dataset.n_test == 2


def test_the_same_votes_in_another_order_are_the_same_dataset(project: Project, labelers: list[User]) -> None:
    other = Project.objects.create(slug="other", name="Other")
    Membership.objects.bulk_create(Membership(project=other, user=user) for user in labelers)
    for number in range(30):
        judge(compare(project, number), labelers[0], -1)
    for number in reversed(range(30)):
        judge(compare(other, number), labelers[1], -2)

    datasets = [freeze_preferences(where, rule=FreezeRule(), name="d") for where in (project, other, project)]

    assert datasets[0].sha256 == datasets[1].sha256
    assert datasets[0] == datasets[2]
    assert Dataset.objects.count() == 2


def test_every_line_leads_back_to_every_vote_behind_it(project: Project, labelers: list[User], tmp_path: Path) -> None:
    for number in range(10):
        comparison = compare(project, number)
        for labeler, strength in zip(labelers[:3], (-1, -1, 1), strict=True):
            judge(comparison, labeler, strength)
    import_votes(project, tmp_path, [{"prompt": "question 0", "chosen": "a 0", "rejected": "b 0"}])

    dataset = freeze_preferences(project, rule=FreezeRule(include=("own", "imported:s")), name="d")

    lines = {
        (split, line): row for split in ("train", "test") for line, row in enumerate(open_split(dataset, split), 1)
    }
    sources = DatasetSource.objects.filter(dataset=dataset).select_related("comparison__prompt")
    for source in sources:
        assert lines[source.split, source.line]["prompt"] == source.comparison.prompt.messages
    behind = dict.fromkeys(lines, 0)
    for source in sources:
        behind[source.split, source.line] += 1
    assert sorted(behind.values()) == [3] * 9 + [4]
    assert {source.judgment_id for source in sources} - {None} == set(Judgment.objects.values_list("pk", flat=True))


def test_a_sealed_dataset_takes_no_change(project: Project, labelers: list[User]) -> None:
    judgment = judge(compare(project, 0), labelers[0], 1)
    dataset = freeze_preferences(project, rule=FreezeRule(), name="d")

    with pytest.raises(IntegrityError), transaction.atomic():
        Dataset.objects.filter(pk=dataset.pk).update(n_train=7)
    with pytest.raises(IntegrityError), transaction.atomic():
        DatasetSource.objects.create(
            dataset=dataset, split="train", line=9, comparison=judgment.comparison, judgment=judgment
        )


def test_a_run_directory_gets_the_very_bytes_and_corruption_is_noticed(
    project: Project, tmp_path: Path, storage: Path
) -> None:
    dataset = freeze_rows(project, kind="text", name="d", train=[{"text": "x"}, {"text": "y"}], test=[], rule={})
    data = tmp_path / "run" / "data"

    materialize_dataset(dataset, data)

    assert {path.name: path.read_bytes() for path in data.iterdir()} == {
        "train.jsonl": b'{"text":"x"}\n{"text":"y"}\n',
        "test.jsonl": b"",
    }
    (storage / dataset.file_name("train")).write_bytes(b'{"text":"x"}\n{"text":"z"}\n')
    with pytest.raises(CorruptError, match="does not match its hash any more"):
        materialize_dataset(dataset, tmp_path / "second")
    assert not (tmp_path / "second" / "train.jsonl").exists()
    with pytest.raises(CorruptError, match="does not match its hash any more"):
        list(open_split(dataset, "train"))
    (storage / dataset.file_name("train")).unlink()
    with pytest.raises(CorruptError, match="is gone from the storage"):
        list(open_split(dataset, "train"))


def test_bytes_a_killed_writer_left_behind_are_written_again(project: Project) -> None:
    line = canonical_line({"text": "x"})
    default_storage.save(f"datasets/{hashlib.sha256(line).hexdigest()}.jsonl", ContentFile(line[:3]))

    dataset = freeze_rows(project, kind="text", name="d", train=[{"text": "x"}], test=[], rule={})

    assert list(open_split(dataset, "train")) == [{"text": "x"}]


def test_demonstrations_and_texts_are_frozen_from_imports(project: Project, tmp_path: Path) -> None:
    import_votes(project, tmp_path, [{"instruction": f"task {n}", "output": f"done {n}"} for n in range(20)])

    demonstrations, texts = freeze_demonstrations(project, name="d"), freeze_texts(project, name="t")

    rows = [row for split in ("train", "test") for row in open_split(demonstrations, split)]
    assert sorted(rows, key=str) == sorted(
        (
            {
                "messages": [
                    {"role": "user", "content": f"task {number}"},
                    {"role": "assistant", "content": f"done {number}"},
                ]
            }
            for number in range(20)
        ),
        key=str,
    )
    assert demonstrations.counts["rows"] == demonstrations.n_train + demonstrations.n_test == 20
    assert demonstrations.n_test >= 1
    found = {row["text"] for split in ("train", "test") for row in open_split(texts, split)}
    assert found == {f"task {number}\n\ndone {number}" for number in range(20)}


def test_nothing_to_freeze_is_said_with_what_to_do(project: Project) -> None:
    with pytest.raises(EmptyDataset, match="import_preferences FILE --project p"):
        freeze_preferences(project, rule=FreezeRule(), name="d")
    with pytest.raises(EmptyDataset, match="import_preferences FILE --project p"):
        freeze_demonstrations(project, name="d")
    with pytest.raises(EmptyDataset, match="no rows to train on"):
        freeze_rows(project, kind="text", name="d", train=[], test=[{"text": "x"}], rule={})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"include": ()}, "include must name own, imported:SOURCE or ai:ANNOTATOR, got nothing"),
        ({"include": ("own", "hh")}, "include must name own, imported:SOURCE or ai:ANNOTATOR, got hh"),
        ({"include": ("imported:",)}, "got imported:"),
        ({"consensus": "mean"}, "consensus must be one of majority, mean3, dawid_skene, soft, strength, got 'mean'"),
        ({"min_judgments": 0}, "min_judgments must be at least 1, got 0"),
        ({"test_share": 1.0}, "test_share must be at least 0 and under 1, got 1.0"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRule, match=reason):
        FreezeRule(**changes)


def test_a_rule_survives_json() -> None:
    rule = FreezeRule(include=("own", "imported:s"), min_judgments=2, use_margin=True, note=str(uuid.uuid4()))

    assert FreezeRule.from_json(json.loads(json.dumps(rule.to_json()))) == rule
    with pytest.raises(InvalidRule, match="unknown parts of a rule: includes"):
        FreezeRule.from_json({"includes": []})
