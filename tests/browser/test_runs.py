"""A manager watches models learn: what moves by itself, what hostile text cannot do, and pages for every eye."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.utils import timezone
from playwright.sync_api import Page

from labeling.domain.people import add_member
from labeling.models import Project, Slot, User
from rlhf.domain.checkpoints import run_folder
from rlhf.domain.feedback.annotators import add_annotator
from rlhf.domain.feedback.constitutions import STARTER, write_constitution
from rlhf.models import AIJudgment, Loop, Round, Run, Sample
from tests.rlhf.conftest import (
    judge,
    log_metrics,
    make_checkpoint,
    make_comparison,
    make_dataset,
    make_round,
    make_run,
)

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script> \u202egniht yna"


@pytest.fixture
def harbour(transactional_db: None) -> Project:
    project = Project.objects.create(slug="harbour", name="Harbour")
    Loop.objects.create(project=project, threshold=1)
    return project


@pytest.fixture
def mia(harbour: Project) -> User:
    user = User.objects.create_user("mia")
    add_member(harbour, user, role="manager")
    return user


def fill_house(project: Project, user: User) -> dict[str, str]:
    """Make one of everything, with hostile text where others may write it, and return the addresses."""
    dataset, base = make_dataset(project, n_train=3), make_checkpoint(project, name="first")
    result = {"eval_accuracy": 0.7, "eval_accuracy_low": 0.65, "eval_accuracy_high": 0.75, "n_test": 300}
    result |= {"baseline_longer": 0.52, "baseline_longer_low": 0.47, "baseline_longer_high": 0.57}
    over = make_round(project, number=1, state="succeeded", n_queued=2)
    done = make_run(project, kind="reward", state="succeeded", round=over, dataset=dataset, base=base, result=result)
    log_metrics(done, 30, **{"loss": 0.6, "accuracy": 0.8, "min_reward": -1.0, "mean_reward": 0.1, "max_reward": 1.0})
    make_checkpoint(project, kind="reward", run=done, parent=base)
    failed = make_run(project, kind="sft", state="failed", cause=HOSTILE)
    sampled = make_run(project, kind="sample", state="succeeded", base=base)
    comparison = make_comparison(project, HOSTILE)
    Slot.objects.create(project=project, comparison=comparison, number=0, a_shown_left=True)
    Sample.objects.create(
        run=sampled,
        checkpoint=base,
        prompt=comparison.prompt,
        index=0,
        text=HOSTILE,
        n_tokens=9,
        finished=True,
        seed=1,
        decoding={"temperature": 0.9},
    )
    make_round(project, number=2)
    write_constitution(project, STARTER, note=HOSTILE)
    clara = add_annotator(project, "clara", endpoint="http://127.0.0.1:9/v1", model=HOSTILE[:100])
    AIJudgment.objects.create(annotator=clara, comparison=comparison, p=0.5, p_ab=0.9, p_ba=0.1, is_flip=True)
    return {
        "feedback": "/feedback/harbour/",
        "loop": "/loop/",
        "runs": "/runs/",
        "run": done.get_absolute_url(),
        "failed run": failed.get_absolute_url(),
        "new run": "/runs/new/?kind=ppo",
        "datasets": "/datasets/",
        "dataset": dataset.get_absolute_url(),
        "freeze": "/datasets/new/",
        "checkpoints": "/checkpoints/",
        "checkpoint": base.get_absolute_url(),
        "lineage": f"/lineage/checkpoints/{done.checkpoint.pk}/",
    }


def write_log(run: Run, text: str) -> None:
    run_folder(run).mkdir(parents=True, exist_ok=True)
    (run_folder(run) / "learning.log").write_text(text)


def count_polls(page: Page) -> list[str]:
    """Collect the requests the page makes by itself from now on."""
    polls: list[str] = []
    page.on("request", lambda request: polls.append(request.url))
    return polls


def test_a_run_moves_on_the_page_until_it_is_over_and_then_the_polling_stops(harbour, mia, open_page):
    run = make_run(harbour, state="running", step=10, total_steps=100, eta_s=38.0, stage="training the policy with DPO")
    write_log(run, "the first line")
    page = open_page(mia, run.get_absolute_url())
    page.get_by_text("Log, last lines").click()
    assert page.locator("progress").get_attribute("value") == "10"
    assert page.get_by_text("about 40 s left").is_visible()

    Run.objects.filter(pk=run.pk).update(step=60, eta_s=16.0)
    log_metrics(run, 5, loss=0.5)
    write_log(run, "the second line")
    page.wait_for_selector("progress[value='60']")

    assert page.locator("svg.chart").count() == 1
    assert page.locator("#log").inner_text() == "the second line"
    assert page.locator("#log").is_visible()

    cause = "non-finite loss at step 61; lower learning_rate"
    Run.objects.filter(pk=run.pk).update(state="failed", cause=cause, finished_at=timezone.now(), lease_until=None)
    page.get_by_text(cause).wait_for()
    polls = count_polls(page)
    page.wait_for_timeout(2500)

    assert page.locator(".badge[data-state=failed]").is_visible()
    assert page.get_by_role("button", name="Cancel the run").count() == 0
    assert polls == []


def test_a_round_moves_on_the_home_page_and_ends_with_pairs_to_judge(harbour, mia, open_page):
    round = make_round(harbour, number=0, stages=["pretrain", "sft", "sample"])
    run = make_run(
        harbour,
        kind="pretrain",
        state="running",
        round=round,
        step=100,
        total_steps=400,
        eta_s=62.0,
        stage="pre-training",
    )
    page = open_page(mia, "/")
    page.get_by_text("Stage 1 of 3: pre-training").wait_for()
    assert page.get_by_text("step 100 of 400, about 60 s left").is_visible()

    now = timezone.now()
    Run.objects.filter(pk=run.pk).update(state="succeeded", finished_at=now, lease_until=None)
    Round.objects.filter(pk=round.pk).update(state="succeeded", finished_at=now, n_queued=1)
    make_checkpoint(harbour, run=run)
    Slot.objects.create(project=harbour, comparison=make_comparison(harbour), number=0, a_shown_left=True)

    page.get_by_text("comparison is waiting to be judged").wait_for()
    assert page.locator("a[href='/judge/harbour/']").first.is_visible()


def test_the_next_round_starts_with_one_click(harbour, mia, open_page):
    make_checkpoint(harbour)
    judge(make_comparison(harbour), mia)
    page = open_page(mia, "/loop/")

    page.get_by_role("button", name="Start the next round").click()
    page.get_by_text("Round 1 of Harbour is under way.").wait_for()

    round = Round.objects.get()
    assert (round.number, round.state, round.stages[:2]) == (1, "running", ["reward", "dpo"])
    assert page.get_by_text(f"Stage 1 of {len(round.stages)}: reward model").is_visible()


def test_a_run_is_described_and_started_without_javascript(harbour, mia, open_page):
    dataset, base = make_dataset(harbour), make_checkpoint(harbour)
    page = open_page(mia, f"/checkpoints/{base.pk}/", java_script_enabled=False)

    page.get_by_role("link", name="DPO").click()
    page.get_by_label("beta").fill("-1")
    page.get_by_role("button", name="Start DPO").click()
    assert page.get_by_text("beta must be > 0, got -1.0").is_visible()
    page.get_by_label("beta").fill("0.3")
    page.get_by_label("Dataset").select_option(str(dataset.pk))
    page.get_by_role("button", name="Start DPO").click()

    run = Run.objects.get()
    assert page.url.endswith(run.get_absolute_url())
    assert (run.config["beta"], run.dataset, run.base) == (0.3, dataset, base)


def test_hostile_text_stays_text_on_every_page(harbour, mia, open_page):
    addresses = fill_house(harbour, mia)
    page = open_page(mia, "/loop/")
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))

    for address in addresses.values():
        page.goto(address)
        page.wait_for_timeout(100)
        assert page.evaluate("window.violations") == []
        assert page.locator("img").count() == 0

    assert dialogs == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_readable_and_fits_a_phone(harbour, mia, open_page, scheme):
    addresses = fill_house(harbour, mia)
    page = open_page(mia, "/loop/", color_scheme=scheme, viewport={"width": 390, "height": 844})
    faults: dict[str, object] = {}

    for name, address in addresses.items():
        page.goto(address)
        page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true })")
        wrong = [f"{each['id']}: {each['nodes'][0]['html'][:120]}" for each in Axe().run(page).response["violations"]]
        if page.evaluate("document.documentElement.scrollWidth") > 390:
            wrong.append("wider than the phone")
        if wrong:
            faults[name] = wrong

    assert faults == {}
