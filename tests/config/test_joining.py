"""The judge page's modules, served as one script."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.staticfiles import finders

from config.joining import JOINED, CannotJoin, join_modules


@pytest.fixture
def write(tmp_path):
    def write_modules(**texts: str) -> Path:
        for name, text in texts.items():
            (tmp_path / f"{name}.js").write_text(text)
        return tmp_path

    return write_modules


def test_a_module_comes_after_all_it_imports_and_once(write):
    folder = write(
        start='import { b } from "./second.js";\nimport { a } from "./first.js";\nb(a);',
        second='import { a } from "./first.js";\nexport const b = (x) => x + a;',
        first="export let a = 1; // export it\nexport async function fetchIt() {}",
    )

    assert join_modules(folder, "start.js") == (
        "// --- first.js\nlet a = 1; // export it\nasync function fetchIt() {}\n"
        "// --- second.js\nconst b = (x) => x + a;\n"
        "// --- start.js\nb(a);\n"
    )


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({"start": 'import { a as b } from "./first.js";'}, "start.js, line 1"),
        ({"start": 'import a from "./first.js";'}, "start.js, line 1"),
        ({"start": "const x = 1;\nexport default x;"}, "start.js, line 2"),
        ({"start": "export { x };"}, "start.js, line 1"),
        ({"start": "const { x } = y;"}, "start.js, line 1"),
        ({"start": 'import "./gone.js";'}, "there is no gone.js"),
        ({"start": 'import { c } from "./first.js";', "first": "const c = 1;"}, "start.js wants c of first.js"),
        (
            {"start": 'import "./first.js";\nfunction a() {}', "first": "const a = 1;"},
            "first.js and start.js both name something a",
        ),
        (
            {"start": 'import "./first.js";', "first": 'import "./start.js";'},
            "first.js and start.js import each other",
        ),
    ],
)
def test_what_would_not_mean_the_same_joined_is_refused(write, texts, said):
    folder = write(**texts)

    with pytest.raises(CannotJoin) as error:
        join_modules(folder, "start.js")

    assert said in str(error.value)


@pytest.mark.parametrize("name", JOINED)
def test_the_served_script_is_all_its_modules_as_they_are_now(name):
    folder = (settings.BASE_DIR / "static" / JOINED[name]).parent

    served = Path(finders.find(name)).read_text()

    assert sorted(re.findall(r"^// --- (\w+\.js)$", served, re.MULTILINE)) == sorted(
        path.name for path in folder.glob("*.js")
    )
    assert served == join_modules(folder, Path(JOINED[name]).name)


def test_every_script_of_ours_is_under_a_hundred_lines():
    scripts = (settings.BASE_DIR / "static").rglob("*.js")

    assert {path.name: n for path in scripts if (n := len(path.read_text().splitlines())) >= 100} == {}
