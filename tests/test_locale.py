"""German is whole: every marked string is translated, nothing is left unmarked, and what was compiled is of this tree."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import polib
import pytest
from django.conf import settings
from django.core.management import call_command

ROOT = Path(__file__).parent.parent
CATALOGUE = ROOT / "locale/de/LC_MESSAGES/django.po"
# The pages where models learn speak English only.
TEMPLATES = [
    path
    for path in sorted((ROOT / "templates").rglob("*.html"))
    if "rlhf" not in path.parts and path.name not in ("500.html", "503.html")
]
PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[sd]|\{\w*\}")


def read_catalogue() -> polib.POFile:
    return polib.pofile(str(CATALOGUE))


def list_texts(entry: polib.POEntry) -> list[tuple[str, str]]:
    """Return the pairs of English and German of an entry: one, or one for each number."""
    if not entry.msgid_plural:
        return [(entry.msgid, entry.msgstr)]
    return [(entry.msgid, entry.msgstr_plural.get(0, "")), (entry.msgid_plural, entry.msgstr_plural.get(1, ""))]


def test_every_string_is_translated_and_none_is_a_guess():
    entries = [entry for entry in read_catalogue() if not entry.obsolete]

    missing = [english for entry in entries for english, german in list_texts(entry) if not german.strip()]
    guessed = [entry.msgid for entry in entries if entry.fuzzy]

    assert (missing, guessed) == ([], [])
    assert len(entries) > 100


def test_placeholders_and_edges_agree():
    def outline(text: str) -> tuple[list[str], bool, bool]:
        return sorted(PLACEHOLDER.findall(text)), text.startswith("\n"), text.endswith("\n")

    pairs = [pair for entry in read_catalogue() for pair in list_texts(entry)]

    assert [english for english, german in pairs if set(outline(german)[0]) - set(outline(english)[0])] == []
    # A number may be a word where there is one thing only; everything else is said in both languages.
    singular = {entry.msgid for entry in read_catalogue() if entry.msgid_plural}
    assert [
        english for english, german in pairs if english not in singular and outline(english) != outline(german)
    ] == []


def test_the_compiled_catalogue_is_of_this_text():
    compiled = polib.mofile(str(CATALOGUE.with_suffix(".mo")))

    def content(entries: list[polib.POEntry]) -> dict[tuple[str | None, str], object]:
        return {(entry.msgctxt, entry.msgid): entry.msgstr_plural or entry.msgstr for entry in entries}

    assert content(compiled) == content([entry for entry in read_catalogue() if not entry.obsolete])


def test_every_marked_string_is_in_the_catalogue(tmp_path, monkeypatch):
    if not shutil.which("xgettext"):
        pytest.skip("there is no GNU gettext here: apt-get install gettext")
    for room in ("templates", "labeling"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__", "migrations"))
    (tmp_path / "locale").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(settings, "LOCALE_PATHS", [tmp_path / "locale"])

    call_command("makemessages", locale=["de"], verbosity=0)

    marked = {(entry.msgid, entry.msgid_plural) for entry in polib.pofile(str(tmp_path / CATALOGUE.relative_to(ROOT)))}
    kept = {(entry.msgid, entry.msgid_plural) for entry in read_catalogue() if not entry.obsolete}
    assert (marked - kept, kept - marked) == (set(), set()), (
        "run manage.py makemessages -l de, translate, compilemessages"
    )


class TextFinder(HTMLParser):
    """Collects words people read, in texts and in attributes, that no tag of the template writes."""

    READ_ALOUD = frozenset({"aria-label", "title", "placeholder", "alt"})
    SAME_EVERYWHERE = frozenset({"Prefloop", "SVG", "JSONL", "CSV", "Markdown"})

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open = [*self.open, tag] if tag not in {"br", "img", "input", "link", "meta", "path", "hr"} else self.open
        for name, value in attrs:
            if name in self.READ_ALOUD:
                self.note(value or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            self.open = self.open[: len(self.open) - 1 - self.open[::-1].index(tag)]

    def handle_data(self, data: str) -> None:
        if not {"script", "style", "kbd", "code"} & set(self.open):
            self.note(data)

    def note(self, text: str) -> None:
        words = [word for word in re.findall(r"[^\W\d_]{2,}", text) if word not in self.SAME_EVERYWHERE]
        if words:
            self.found.append(" ".join(text.split()))


def find_bare_texts(source: str) -> list[str]:
    """Return the texts of a template that stand outside of translate tags."""
    source = re.sub(r"\{#.*?#\}|\{% comment.*?endcomment %\}", "", source, flags=re.S)
    source = re.sub(r"\{% block main_attributes %\}.*?\{% endblock", "", source, flags=re.S)
    source = re.sub(r"\{% blocktranslate.*?endblocktranslate %\}", "", source, flags=re.S)
    finder = TextFinder()
    finder.feed(re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "", source, flags=re.S))
    return finder.found


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT / "templates")))
def test_no_template_has_words_outside_of_translate_tags(path):
    assert find_bare_texts(path.read_text("utf-8")) == []


def test_a_planted_word_is_found():
    planted = '<p title="{{ x }} Why">{% translate "Fine" %} Bare {# note #}<kbd>Esc</kbd> A</p>'

    assert find_bare_texts(planted) == ["Why", "Bare"]
    assert find_bare_texts("{% blocktranslate %}Fine {{ n }}{% endblocktranslate %}<b>{{ x }}</b> s · …") == []
