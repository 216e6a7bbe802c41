"""A page's script is written as small modules and served as one file: each request costs a labeler a round trip.

The joined file is JavaScript as it was written, one module after the other, each after those it imports; their names
share one scope, so a name means one thing in all of them. Nothing else is changed, and nothing else is understood:
what a module may say is what IMPORT and EXPORT match.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import BaseFinder
from django.contrib.staticfiles.utils import matches_patterns
from django.core.files.storage import FileSystemStorage

JOINED = {"judge.js": "judge/start.js"}  # what is served: the module that begins
IMPORT = re.compile(r'import (?:\{ (?P<names>\w+(?:, \w+)*) \} from )?"\./(?P<module>\w+\.js)";')
EXPORT = re.compile(r"export (?=(?:async function|function|const|let|class) \w)")
NAME = re.compile(r"(?:async function|function|const|let|class) (\w+)")


class CannotJoin(Exception):
    """The modules say something that is not understood, or do not fit together."""


@dataclass
class Module:
    """One file: its lines without imports and exports, what it names, and what others may have of it."""

    name: str
    lines: list[str]
    imports: dict[str, list[str]]
    names: list[str]
    exports: list[str]


def read_module(path: Path) -> Module:
    """Read one file; raises CannotJoin with the line that is not understood."""
    module = Module(path.name, [], {}, [], [])
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if found := IMPORT.fullmatch(line):
            names = module.imports.setdefault(found["module"], [])
            names.extend(found["names"].split(", ") if found["names"] else [])
            continue
        bare = EXPORT.sub("", line, count=1)
        if re.match(r"import\b|export\b|(const|let|var) [\[{]|var\b", bare):
            raise CannotJoin(
                f'{path.name}, line {number}: write one import a line, as import {{ a, b }} from "./other.js";, '
                f"export functions, constants and classes where they are made, and name one thing a line: {line}"
            )
        if named := NAME.match(bare):
            module.names.append(named[1])
            module.exports.extend([named[1]] if bare != line else [])
        module.lines.append(bare)
    return module


def join_modules(folder: Path, first: str) -> str:
    """Return a module and all it imports as one script; raises CannotJoin."""
    done: dict[str, Module] = {}
    add_module(folder, first, done, above=())
    owners: dict[str, str] = {}
    for module in done.values():
        for name in module.names:
            if owners.setdefault(name, module.name) != module.name:
                raise CannotJoin(f"{owners[name]} and {module.name} both name something {name}: rename one")
    return "\n".join(line for module in done.values() for line in (f"// --- {module.name}", *module.lines)) + "\n"


def add_module(folder: Path, name: str, done: dict[str, Module], *, above: tuple[str, ...]) -> None:
    """Put a module into done, after all it imports."""
    if name in above:
        raise CannotJoin(f"{above[-1]} and {name} import each other: let one tell the other by an event")
    if not (folder / name).is_file():
        raise CannotJoin(f"there is no {name} in {folder}: correct the import")
    module = read_module(folder / name)
    for wanted, names in module.imports.items():
        if wanted not in done:
            add_module(folder, wanted, done, above=(*above, name))
        if missing := sorted(set(names) - set(done[wanted].exports)):
            raise CannotJoin(f"{name} wants {', '.join(missing)} of {wanted}, which exports no such thing")
    done[name] = module


class JoinedFinder(BaseFinder):
    """Finds the joined files wherever static files are looked for: collectstatic, the development server, tests."""

    def __init__(self, app_names: Iterable[str] | None = None, *args: Any, **kwargs: Any) -> None:
        self.source = settings.BASE_DIR / "static"
        self.target = settings.PREFLOOP_HOME / "joined"
        super().__init__(*args, **kwargs)

    def check(self, **kwargs: Any) -> list[Any]:
        return []

    def find(self, path: str, find_all: bool = False, **kwargs: Any) -> str | list[str]:
        if path not in JOINED:
            return []
        found = str(self.write(path))
        return [found] if find_all else found

    def list(self, ignore_patterns: Iterable[str]) -> Iterator[tuple[str, FileSystemStorage]]:
        for path in JOINED:
            if not matches_patterns(path, ignore_patterns):
                self.write(path)
                yield path, FileSystemStorage(location=self.target)

    def write(self, path: str) -> Path:
        """Join the modules anew and return where the file lies; one that says the same already is left alone."""
        first = self.source / JOINED[path]
        joined, target = join_modules(first.parent, first.name).encode(), self.target / path
        if not target.is_file() or target.read_bytes() != joined:
            self.target.mkdir(parents=True, exist_ok=True)
            aside = target.with_name(f"{path}.{os.getpid()}")
            aside.write_bytes(joined)
            aside.replace(target)
        return target
