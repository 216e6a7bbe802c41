"""The pictures of the README: every page in light and dark, wide and on a phone, from a project made for them.

`make images` writes them into docs/images; without `--images FOLDER` they go to a folder that is thrown away.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from labeling.domain.gold import make_gold
from labeling.domain.people import add_member
from labeling.domain.projects import publish_guideline
from labeling.models import Project, User
from tests.browser.conftest import wait_for_pair
from tests.labeling.rows import add_pair, claim, judge

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

SIZES = {"wide": {"width": 1440, "height": 900}, "phone": {"width": 390, "height": 844}}
QUESTION = "How do I compute the mean of a list in Python, and what does it estimate?"
GOOD = """Use `statistics.mean`, which keeps fractions exact:

```python
from statistics import mean

heights = [168, 174, 181]
print(mean(heights))  # 174.33
```

It estimates the expectation $E[X]$ of what the values were drawn from:

$$\\bar{x} = \\frac{1}{n} \\sum_{i=1}^{n} x_i$$

An empty list raises `StatisticsError`."""
POOR = """You can write a loop yourself:

```python
total = 0
for h in heights:
    total += h
print(total / len(heights))
```

| n | mean |
|---|------|
| 1 | exact |
| 3 | better |

It is always the typical value, whatever the data look like."""


@pytest.fixture
def lab(transactional_db: None) -> Project:
    """A project at work: a hundred and some judgments by four labelers, one of whom presses keys at random."""
    project = Project.objects.create(
        slug="assistant",
        name="Assistant",
        overlap=3,
        scale="seven",
        gold_share=0.3,
        reasons=["Correct", "Clear", "Complete", "Polite", "Brief"],
    )
    publish_guideline(
        project, "Choose the completion you would **rather send**.\n\n- right before polite\n- short before long"
    )
    ada = User.objects.create_user("ada")
    add_member(project, ada, role="manager")
    rng = random.Random(3)
    for number in range(8):
        gold = add_pair(
            project, f"Is {number} even?", text_a=f"{number} is what it is.", text_b="Divide by two and see."
        )
        make_gold(gold, ada, strength_min=1, strength_max=3)
    for number in range(24):
        texts = (f"{7 * number}.", f"About {7 * number + 3}, I guess.")
        text_a, text_b = texts if number % 2 else texts[::-1]
        add_pair(project, f"What is {number} times 7?", text_a=text_a, text_b=text_b)
    for name in ("bo", "cy", "di", "eve"):
        labeler = User.objects.create_user(name)
        add_member(project, labeler, role="labeler")
        for _ in range(20):
            slot = claim(project, labeler)
            truth = -2 if "About" in slot.comparison.completion_b.text else 2
            said = rng.choice([-3, -2, 2, 3]) if name == "eve" else truth + rng.choice([-1, 0, 0, 1])
            judge(slot, labeler, said if slot.a_shown_left else -said, scale="seven")
    return project


def names_of(page: str) -> list[tuple[str, str, str]]:
    return [(f"{page}-{size}-{scheme}.png", size, scheme) for size in SIZES for scheme in ("light", "dark")]


@pytest.mark.parametrize("page", ["judge", "review", "quality"])
def test_every_page_has_its_picture(lab, open_page, images: Path, page: str):
    grace = User.objects.create_user("grace")
    add_member(lab, grace, role="manager")
    Project.objects.update(gold_share=0)
    add_pair(lab, QUESTION, text_a=GOOD, text_b=POOR, priority=9)
    Project.objects.update(overlap=3)
    addresses = {
        "judge": "/judge/assistant/",
        "review": "/projects/assistant/review/",
        "quality": "/projects/assistant/quality/",
    }

    written = []
    for name, size, scheme in names_of(page):
        tab = open_page(grace, addresses[page], viewport=SIZES[size], color_scheme=scheme, device_scale_factor=1)
        if page == "judge":
            wait_for_pair(tab)
        tab.wait_for_timeout(300)
        tab.screenshot(path=images / name)
        written.append((images / name).stat().st_size)
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")

    assert min(written) > 8_000
