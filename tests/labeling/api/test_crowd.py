"""A crowd of which two fifths are no use judges through the API, and the quality page points at them and at nobody else."""

from __future__ import annotations

import random
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from labeling.domain.gold import make_gold
from labeling.domain.pairing import Pair, propose_comparisons
from labeling.domain.quality import assess_labelers
from labeling.models import Comparison, Judgment, Membership, Project, Slot, User
from tests.labeling.conftest import log_in
from tests.labeling.crowds import ALWAYS_A, HONEST, INVERTED, RANDOM, draw_kinds

pytestmark = pytest.mark.django_db

BAD = {RANDOM: 0.2, INVERTED: 0.1, ALWAYS_A: 0.1}
N_LABELERS, N_GOLD, N_WORK = 40, 20, 64
OVERLAP = 7
ACCURACIES = {HONEST: 0.93, RANDOM: 0.5, INVERTED: 0.07}
DWELL = timedelta(seconds=20)
GOOD, POOR = "Ten metres at low tide.", "Nobody knows, and why ask?"


class Bot:
    """A labeler who sees what the API shows, and says of a pair what seed, name and question alone decide."""

    def __init__(self, user: User, kind: str, *, seed: int, is_a: dict[tuple[str, str], bool]) -> None:
        self.user, self.kind, self.seed, self.is_a = user, kind, seed, is_a
        self.client = log_in(user)
        self.claim = self.post("projects/kitchen/claims/")

    def post(self, address: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = self.client.post(f"/api/v1/{address}", body or {}, content_type="application/json")
        assert answer.status_code in (200, 201), answer.content
        return answer.json()

    def prefers_left(self) -> bool:
        question, left = self.claim["messages"][-1]["content"], self.claim["left"]
        if self.kind == ALWAYS_A:
            return self.is_a[question, left]
        is_careful = random.Random(f"{self.seed} {self.user} {question}").random() < ACCURACIES[self.kind]
        return (left == GOOD) == is_careful

    def judge(self) -> None:
        said = {name: self.claim[name] for name in ("slot", "lease_token")}
        said |= {"preference": -2 if self.prefers_left() else 2, "idempotency_key": str(uuid.uuid4())}
        self.claim = self.post("judgments/", said | {"active_ms": 20_000, "claim_next": True})["next"]


def queue_pairs(project: Project, n: int, rng: random.Random, *, name: str, overlap: int) -> list[Comparison]:
    """Queue pairs whose A is the good one half of the times."""
    order = [(GOOD, POOR) if number % 2 else (POOR, GOOD) for number in range(n)]
    rng.shuffle(order)
    asked = [[{"role": "user", "content": f"{name} {number}: how deep?"}] for number in range(n)]
    pairs = [
        Pair(messages=said, text_a=a, text_b=b, overlap=overlap) for said, (a, b) in zip(asked, order, strict=True)
    ]
    return propose_comparisons(project, pairs, rng=rng)


def read_sides(pairs: list[Comparison]) -> dict[tuple[str, str], bool]:
    sides = (
        (pair, side, text) for pair in pairs for side, text in (("A", pair.completion_a), ("B", pair.completion_b))
    )
    return {(pair.prompt.messages[-1]["content"], text.text): side == "A" for pair, side, text in sides}


def let_crowd_judge(project: Project, manager: User, *, seed: int) -> dict[str, str]:
    """Let everybody judge N_GOLD gold and N_WORK pairs of work; return the kinds by username."""
    rng = random.Random(seed)
    gold = queue_pairs(project, N_GOLD, rng, name="gold", overlap=1)
    for pair in gold:
        low, high = (-3, -1) if pair.completion_a.text == GOOD else (1, 3)
        make_gold(pair, manager, strength_min=low, strength_max=high)
    work = queue_pairs(project, (N_WORK + 8) * N_LABELERS // OVERLAP, rng, name="work", overlap=OVERLAP)
    kinds = draw_kinds(N_LABELERS, shares=BAD)
    users = User.objects.bulk_create(User(username=f"bot{number:02}") for number in range(N_LABELERS))
    Membership.objects.bulk_create(Membership(project=project, user=user) for user in users)
    is_a = read_sides(gold + work)
    crowd = [Bot(user, kind, seed=seed, is_a=is_a) for user, kind in zip(users, kinds, strict=True)]
    for _ in range(N_GOLD + N_WORK):
        Slot.objects.filter(state=Slot.State.HELD).update(shown_at=timezone.now() - DWELL)
        for bot in rng.sample(crowd, len(crowd)):
            bot.judge()
    return {bot.user.username: bot.kind for bot in crowd}


def test_the_quality_page_points_at_all_who_are_no_use_and_at_nobody_else(kitchen, ada, as_ada, settings):
    # Of 400 such crowds drawn in tests/labeling/domain/test_flags.py's way 99.7% of the bad are flagged and 0.9% of the
    # honest: so in one crowd of five an honest labeler is, and in one of twenty a lucky one passes. In this crowd neither.
    settings.JUDGMENTS_PER_MINUTE = 0  # days are pressed into seconds
    Project.objects.update(gold_share=0.5, repeat_share=0)
    kitchen.refresh_from_db()

    kinds = let_crowd_judge(kitchen, ada, seed=1)

    rows = {row.labeler.username: row for row in assess_labelers(kitchen)}
    bad = {name for name, kind in kinds.items() if kind != HONEST}
    assert {name for name, row in rows.items() if row.flags} == bad
    assert {(row.gold.n, row.n) for row in rows.values()} == {(N_GOLD, N_WORK)}
    assert all("agreement" in {flag.rule for flag in rows[name].flags} for name in bad if kinds[name] == INVERTED)
    page = as_ada.get("/projects/kitchen/quality/")
    assert {row.quality.labeler.username for row in page.context["rows"] if row.quality.flags} == bad
    assert page.text.count("data-flagged") == len(bad)
    assert not Judgment.objects.filter(is_hasty=True).exists()
