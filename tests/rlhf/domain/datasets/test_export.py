"""A dataset in other people's formats, byte for byte and whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from labeling.domain.intake.detection import FORMATS as IMPORT_FORMATS
from labeling.domain.intake.items import Pair
from labeling.domain.intake.staging import stage_file
from labeling.models import Project
from rlhf.domain.datasets.export import ExportRefused, export_dataset, materialize_unpaired
from rlhf.domain.datasets.shelf import freeze_rows, open_split
from rlhf.models import Dataset

pytestmark = pytest.mark.django_db

HOSTILE = '  =SUM(A1)\r\n\t\u2028 “ü” 😀 \\ " \n\nHuman? </script>  '


@pytest.fixture(autouse=True)
def storage(settings: Any, tmp_path: Path) -> None:
    backend = {**settings.STORAGES["default"], "OPTIONS": {"location": str(tmp_path / "files")}}
    settings.STORAGES = {**settings.STORAGES, "default": backend}


@pytest.fixture
def project() -> Project:
    return Project.objects.create(slug="p", name="P")


def row(number: int, **extra: Any) -> dict[str, Any]:
    prompt = [
        {"role": "user", "content": f"{HOSTILE}{number}"},
        {"role": "assistant", "content": "go on"},
        {"role": "user", "content": "more"},
    ]
    return {
        "prompt": prompt,
        "chosen": [{"role": "assistant", "content": f"good {number}{HOSTILE}"}],
        "rejected": [{"role": "assistant", "content": f"bad {number}"}],
        "group": f"g{number}",
        "source": "own",
        **extra,
    }


def freeze(project: Project, train: list[dict[str, Any]], test: list[dict[str, Any]]) -> Dataset:
    return freeze_rows(project, kind="preference", name="my “pairs”", train=train, test=test, rule={"seed": 1})


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def test_trl_files_are_the_very_bytes_that_were_hashed(project: Project, tmp_path: Path) -> None:
    dataset = freeze(project, [row(1, margin=1 / 3), row(2, margin=1.0)], [row(3, margin=2 / 3)])

    files = export_dataset(dataset, format="trl", path=tmp_path / "out")

    assert files == [tmp_path / "out" / name for name in ("train.jsonl", "test.jsonl", "README.md")]
    assert read_lines(files[0]) == [row(1, margin=1 / 3), row(2, margin=1.0)]
    assert read_lines(files[1]) == [row(3, margin=2 / 3)]


def test_parquet_holds_the_same_rows_in_a_schema_of_its_own(project: Project, tmp_path: Path) -> None:
    dataset = freeze(project, [row(number, margin=1.0) for number in range(2300)], [row(5000, margin=1 / 3)])

    train, test, _ = export_dataset(dataset, format="parquet", path=tmp_path / "out")

    assert pyarrow.parquet.read_table(train).to_pylist() == list(open_split(dataset, "train"))
    assert pyarrow.parquet.read_table(test).to_pylist() == list(open_split(dataset, "test"))
    assert train == tmp_path / "out" / "data" / "train-00000-of-00001.parquet"
    metadata = pyarrow.parquet.ParquetFile(train).metadata
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert pyarrow.parquet.read_schema(train).names == ["prompt", "chosen", "rejected", "margin", "group", "source"]


@pytest.mark.parametrize("format", ["trl", "hh", "openai", "parquet"])
def test_what_goes_out_comes_in_again_unchanged(project: Project, tmp_path: Path, format: str) -> None:
    dataset = freeze(project, [row(number) for number in range(5)], [])
    train, _ = export_dataset(dataset, format=format, path=tmp_path / "out")

    staged = stage_file(train)

    assert staged.format.name == ("trl" if format == "parquet" else format)
    group = {"trl": "g{}", "parquet": "g{}"}.get(format)
    expected = [
        Pair(row(n)["prompt"], f"good {n}{HOSTILE}", f"bad {n}", group=group and group.format(n)) for n in range(5)
    ]
    read = [
        item for raw in staged.source.read_rows() for item in IMPORT_FORMATS[staged.format.name].read(raw.value).items
    ]
    assert read == expected


def test_kto_has_two_rows_a_pair(project: Project, tmp_path: Path) -> None:
    train, _ = export_dataset(freeze(project, [row(1)], []), format="kto", path=tmp_path / "out")

    assert read_lines(train) == [
        {"prompt": row(1)["prompt"], "completion": row(1)["chosen"], "label": True},
        {"prompt": row(1)["prompt"], "completion": row(1)["rejected"], "label": False},
    ]


def test_kto_and_sft_hold_each_completion_once_and_kto_none_both_ways(project: Project, tmp_path: Path) -> None:
    said = {name: [{"role": "assistant", "content": name}] for name in ("a", "b", "fix")}
    orders = [("a", "b"), ("fix", "a"), ("fix", "b")]
    rows = [row(1) | {"chosen": said[chosen], "rejected": said[rejected]} for chosen, rejected in orders]
    dataset = freeze(project, rows, [])

    kto, card = export_dataset(dataset, format="kto", path=tmp_path / "kto")
    sft, _ = export_dataset(dataset, format="sft", path=tmp_path / "sft")

    assert [(line["completion"], line["label"]) for line in read_lines(kto)] == [
        (said["b"], False),
        (said["fix"], True),
    ]
    assert '"both_ways_left_out": 1' in card.read_text("utf-8")
    assert [line["messages"][-1:] for line in read_lines(sft)] == [said["a"], said["fix"]]


def test_the_card_names_the_splits_the_hash_and_the_rule(project: Project, tmp_path: Path) -> None:
    dataset = freeze(project, [row(1), row(2)], [row(3)])

    *_, card = export_dataset(dataset, format="parquet", path=tmp_path / "out")

    files = [{"split": split, "path": f"data/{split}-00000-of-00001.parquet"} for split in ("train", "test")]
    assert card.read_text("utf-8").splitlines() == [
        "---",
        'pretty_name: "my “pairs”"',
        'tags: ["preference", "dpo", "rlhf"]',
        f"configs: {json.dumps([{'config_name': 'default', 'data_files': files}])}",
        "---",
        "",
        "# my “pairs”",
        "",
        "2 rows to train on and 1 to test on; no group of prompts is in both.",
        "",
        f"Content: sha256 `{dataset.sha256}` over the canonical rows of train, then test.",
        "",
        "## Rule",
        "",
        "```json",
        "{",
        ' "seed": 1',
        "}",
        "```",
        "",
        "## Counts",
        "",
        "```json",
        "{}",
        "```",
    ]


def test_demonstrations_go_out_as_messages(project: Project, tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": HOSTILE}]}]
    dataset = freeze_rows(project, kind="demonstration", name="d", train=rows, test=[], rule={})

    as_lines, as_parquet = (
        export_dataset(dataset, format=format, path=tmp_path / format)[0] for format in ("trl", "parquet")
    )

    assert read_lines(as_lines) == pyarrow.parquet.read_table(as_parquet).to_pylist() == rows
    with pytest.raises(ExportRefused, match="which kto has no rows for: use trl or sft or parquet"):
        export_dataset(dataset, format="kto", path=tmp_path / "kto")


def test_nothing_is_left_behind_where_a_row_does_not_fit(project: Project, tmp_path: Path) -> None:
    with_system = row(2)
    with_system["prompt"] = [{"role": "system", "content": "Be brief."}, *with_system["prompt"]]
    dataset = freeze(project, [row(1), with_system], [])

    with pytest.raises(ExportRefused, match="hh has no place for a system message: use trl, openai or parquet"):
        export_dataset(dataset, format="hh", path=tmp_path / "out")

    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_not_written_over(project: Project, tmp_path: Path) -> None:
    dataset = freeze(project, [row(1)], [])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x", "utf-8")

    with pytest.raises(ExportRefused, match="exists already: choose a new folder"):
        export_dataset(dataset, format="trl", path=tmp_path / "out")

    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_a_kto_run_reads_each_completion_once_and_those_that_were_both_bad(project: Project, tmp_path: Path) -> None:
    both_bad = [{**unpaired(9, f"awful {side}"), "group": "g9", "split": "train"} for side in "ab"]
    dataset = freeze_rows(
        project,
        kind="preference",
        name="pairs",
        train=[row(1), row(1, rejected=[{"role": "assistant", "content": "worse 1"}])],
        test=[row(2)],
        unpaired=both_bad,
        rule={"seed": 1},
    )

    materialize_unpaired(dataset, tmp_path / "data")

    assert read_lines(tmp_path / "data" / "train.jsonl") == [
        unpaired(1, f"good 1{HOSTILE}", label=True),
        unpaired(1, "bad 1"),
        unpaired(1, "worse 1"),
        unpaired(9, "awful a"),
        unpaired(9, "awful b"),
    ]
    assert read_lines(tmp_path / "data" / "test.jsonl") == [
        unpaired(2, f"good 2{HOSTILE}", label=True),
        unpaired(2, "bad 2"),
    ]


def unpaired(number: int, text: str, *, label: bool = False) -> dict[str, Any]:
    return {"prompt": row(number)["prompt"], "completion": [{"role": "assistant", "content": text}], "label": label}
