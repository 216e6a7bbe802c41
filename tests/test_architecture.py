"""design: data goes round, imports go one way. Each rule is also shown to catch a planted violation."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TORCH = {"torch", "transformers", "trl", "datasets", "peft", "accelerate", "tokenizers", "safetensors"}
OURS = {"config", "labeling", "rlhf"}
# Inside an app the right may import the left, never the other way.
LAYERS = ["models", "querysets", "domain", "tasks", "permissions", "forms", "api", "views", "management"]


def imported_modules(source: str) -> Iterator[str]:
    """Every module a file imports, also inside functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_within(module: str, packages: set[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def breaks_a_rule(path: str, source: str) -> list[str]:
    """The imports of a file that the direction rules forbid."""
    modules = list(imported_modules(source))
    if path.startswith("labeling/"):
        forbidden = TORCH | {"rlhf"}
    elif path.startswith("rlhf/contract/") or path.startswith("rlhf/world/"):
        allowed = set(sys.stdlib_module_names) | {"rlhf.contract", "rlhf.world"}
        return [module for module in modules if not is_within(module, allowed)]
    elif path.startswith("rlhf/learning/"):
        forbidden = {"django", "celery", "config", "labeling", "rlhf.domain", "rlhf.models", "rlhf.views", "rlhf.world"}
    elif path.startswith("rlhf/"):
        forbidden = TORCH | {"rlhf.learning"}
    else:
        forbidden = TORCH
    return [module for module in modules if is_within(module, forbidden)] + climbs(path, modules)


def climbs(path: str, modules: list[str]) -> list[str]:
    """Imports of a layer to the right of the file's own."""
    app, _, rest = path.partition("/")
    layer = rest.split("/")[0].removesuffix(".py")
    if app not in {"labeling", "rlhf"} or layer not in LAYERS:
        return []
    # querysets and models know each other: a manager is part of its model.
    right = {f"{app}.{name}" for name in LAYERS[LAYERS.index(layer) + 1 :]} - {f"{app}.querysets"}
    return [module for module in modules if is_within(module, right)]


def house_files() -> list[Path]:
    return [
        path for app in sorted(OURS) for path in sorted((ROOT / app).rglob("*.py")) if "migrations" not in path.parts
    ]


@pytest.mark.parametrize("path", house_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_imports_only_what_its_room_may(path):
    broken = breaks_a_rule(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))

    assert broken == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("labeling/views/judge.py", "from rlhf.models import Checkpoint"),
        ("labeling/domain/judging.py", "def f():\n    import torch"),
        ("rlhf/domain/runs.py", "def f():\n    from transformers import Trainer"),
        ("rlhf/views/runs.py", "import rlhf.learning.dpo"),
        ("rlhf/contract/config.py", "import django"),
        ("rlhf/contract/records.py", "from rlhf.domain import runs"),
        ("rlhf/learning/dpo.py", "from labeling.models import Judgment"),
        ("rlhf/learning/ppo.py", "import celery"),
        ("rlhf/domain/loop.py", "from rlhf.views import loop"),
        ("rlhf/domain/loop.py", "from rlhf.tasks import execute_run"),
        ("labeling/domain/pairing.py", "from labeling.forms.judging import VoteForm"),
        ("config/urls.py", "import torch"),
    ],
)
def test_a_planted_violation_is_caught(path, source):
    assert breaks_a_rule(path, source) != []


def test_the_web_process_loads_nothing_of_torch():
    source = (
        "import os, sys; os.environ['DJANGO_SETTINGS_MODULE'] = 'config.settings'\n"
        "import django; django.setup()\n"
        "import config.urls, config.celery, rlhf.tasks\n"
        f"print(sorted(set(sys.modules) & {TORCH!r}))"
    )

    process = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=True)

    assert process.stdout == "[]\n"


def test_labeling_cannot_reach_a_learning_row():
    source = (
        "import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'config.settings'\n"
        "import django; django.setup()\n"
        "from django.apps import apps\n"
        "print([f'{model.__name__}.{field.name}' for model in apps.get_app_config('labeling').get_models()\n"
        "       for field in model._meta.get_fields() if field.is_relation and field.related_model\n"
        "       and field.related_model._meta.app_label == 'rlhf'])"
    )

    process = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=True)

    assert process.stdout == "[]\n"


def test_one_file_alone_says_that_html_is_safe():
    makers = {
        str(path.relative_to(ROOT))
        for app in OURS
        for path in (ROOT / app).rglob("*.py")
        if re.search(r"\b(mark_safe|format_html|html_safe|__html__)\b", path.read_text("utf-8"))
    }
    loose = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "templates").rglob("*.html")
        if re.search(r"\|\s*safe(seq)?\b|autoescape\s+off", path.read_text("utf-8"))
    }

    assert (makers, loose) == ({"labeling/domain/rendering.py"}, set())
