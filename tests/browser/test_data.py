"""A manager brings in a table with columns of her own, corrects it, has it judged, and takes out what was said."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.core.files.storage import default_storage
from playwright.sync_api import Page

from labeling.domain.assignment import claim_slot
from labeling.domain.intake.checking import check_import
from labeling.domain.intake.committing import commit_import
from labeling.domain.people import add_member
from labeling.models import Import, ImportedJudgment, Project, User
from rlhf.domain.exporting import write_export
from rlhf.models import Export
from tests.labeling.rows import judge

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

TABLE = "Frage;Gut;Schlecht\nWie tief ist das Meer?;Sehr.;<script>alert(1)</script>\nUnd der See?;gleich;gleich\n"
IMPORTS = "/projects/kitchen/imports/"


@pytest.fixture(autouse=True)
def storage(settings: Any, tmp_path: Path) -> None:
    backend = {**settings.STORAGES["default"], "OPTIONS": {"location": str(tmp_path / "files")}}
    settings.STORAGES = {**settings.STORAGES, "default": backend}


@pytest.fixture
def kitchen(transactional_db: None) -> Project:
    return Project.objects.create(slug="kitchen", name="Kitchen")


@pytest.fixture
def ada(kitchen: Project) -> User:
    user = User.objects.create_user("ada")
    add_member(kitchen, user, role="manager")
    return user


def upload(page: Page, text: str) -> Import:
    """Upload a table, see that it is waited for, and let the worker check it."""
    page.goto(IMPORTS)
    page.set_input_files("[name=file]", {"name": "meer.csv", "mimeType": "text/csv", "buffer": text.encode()})
    page.get_by_role("button", name="Upload and check").click()
    page.get_by_text("Reading the file: 0%").wait_for()
    return work(page, check_import)


def work(page: Page, task: Any) -> Import:
    imported = Import.objects.latest("pk")
    task(imported.pk)
    imported.refresh_from_db()
    page.wait_for_selector("[hx-get] .badge:not([data-state=busy])")  # the page noticed by itself
    return imported


def find_faults(page: Page) -> list[str]:
    return [fault["id"] for fault in Axe().run(page).response["violations"]]


def test_a_table_goes_in_is_judged_and_comes_out(kitchen, ada, open_page):
    page = open_page(ada, IMPORTS)
    faults = find_faults(page)

    upload(page, TABLE)
    for field, column in {"prompt": "Frage", "chosen": "Gut", "rejected": "Schlecht"}.items():
        option = page.locator(f"[name={field}] option").filter(has_text=f"{column} ·")
        page.select_option(f"[name={field}]", option.get_attribute("value"))
    faults += find_faults(page)
    page.get_by_role("button", name="Check again").click()
    page.get_by_text("Reading the file").wait_for()
    work(page, check_import)
    bad = page.locator("tbody tr").filter(has_text="both completions are the same text")
    assert bad.locator("th").inner_text() == "3"
    assert page.locator("script", has_text="alert(1)").count() == 0
    faults += find_faults(page)

    upload(page, TABLE.replace("gleich\n", "anders\n"))
    page.get_by_label("Judgments wanted for each new pair").fill("1")
    faults += find_faults(page)
    page.get_by_role("button", name="Import 2 rows").click()
    page.get_by_text("Storing its rows").wait_for()
    imported = work(page, commit_import)
    assert (imported.state, ImportedJudgment.objects.count()) == ("committed", 2)

    page.goto("/judge/kitchen/")
    page.locator("main").get_by_text(re.compile("Und der See|Wie tief ist das Meer")).first.wait_for()
    judgment = judge(claim_slot(kitchen, ada), ada, -2)

    page.goto("/exports/")
    faults += find_faults(page)
    page.get_by_role("button", name="Export the judgments").click()
    page.get_by_text("waiting for a worker").wait_for()
    export = Export.objects.get()
    write_export(export.pk)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    export.refresh_from_db()
    content = Path(download.value.path()).read_bytes()
    assert content == default_storage.open(export.file).read()
    assert download.value.suggested_filename == "kitchen-judgments.jsonl.gz"
    (row,) = [json.loads(line) for line in gzip.decompress(content).splitlines()]
    assert (row["strength"], "ada" in gzip.decompress(content).decode()) == (judgment.strength, False)
    faults += find_faults(page)
    assert (faults, page.evaluate("window.violations")) == ([], [])


def test_without_javascript_the_same_forms_do_it(kitchen, ada, open_page):
    page = open_page(ada, IMPORTS, java_script_enabled=False)

    page.set_input_files("[name=file]", {"name": "meer.csv", "mimeType": "text/csv", "buffer": TABLE.encode()})
    page.get_by_role("button", name="Upload and check").click()
    check_import(Import.objects.get().pk)
    page.reload()
    page.get_by_role("button", name="Throw away").click()

    assert page.locator(".message").inner_text() == "meer.csv was thrown away; nothing of it was imported."
    assert Import.objects.count() == 0


def test_the_upload_form_keeps_to_its_card_on_a_narrow_phone(ada, open_page):
    page = open_page(ada, IMPORTS, viewport={"width": 360, "height": 740})

    wide = page.evaluate(
        "() => [...document.querySelectorAll('.card .field, .card .field *')].filter((part) =>"
        " part.getBoundingClientRect().right > part.closest('.card').getBoundingClientRect().right).length"
    )

    assert wide == 0
