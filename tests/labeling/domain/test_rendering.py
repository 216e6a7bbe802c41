import re
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest

from labeling.domain.invisibles import has_invisible
from labeling.domain.rendering import (
    ATTRIBUTES,
    CLASSES,
    HTML_CHARS,
    MARKDOWN_CHARS,
    SHOWN_CHARS,
    TAGS,
    is_cut,
    render_markdown,
    render_raw,
)
from tests.labeling.domain.hostile import PAYLOADS

OF_LINKS = {"target", "rel"}


class Page(HTMLParser):
    """Every element and attribute a browser would make of the HTML, and the text it would show."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self.text = [], ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def handle_comment(self, data):
        self.elements.append(("!--", {}))

    def handle_decl(self, decl):
        self.elements.append(("!", {}))

    def handle_pi(self, data):
        self.elements.append(("?", {}))


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_a_hostile_text_is_inert(payload):
    for tag, attributes in Page(render_markdown(payload)).elements:
        allowed = ATTRIBUTES.get(tag, set()) | ({"class"} if tag in CLASSES else set())
        assert tag in TAGS
        assert set(attributes) <= allowed | (OF_LINKS if tag == "a" else set())
        assert set(attributes.get("class", "").split()) <= CLASSES.get(tag, set())
        assert urlsplit(attributes.get("href", "http:")).scheme in ("http", "https", "mailto")


def test_no_allowed_attribute_can_act():
    names = {name for names in ATTRIBUTES.values() for name in names}

    assert [name for name in names if name.startswith(("on", "hx-", "data-", "style", "src", "id", "name"))] == []
    assert (
        TAGS & {"img", "script", "style", "iframe", "form", "input", "button", "svg", "object", "base", "meta"} == set()
    )


def test_hostile_words_are_shown_not_dropped():
    text = "<script>alert(1)</script> & <b>bold</b> $\\text{<i>x</i>}$"

    assert Page(render_markdown(text)).text.strip() == "<script>alert(1)</script> & <b>bold</b> \\text{<i>x</i>}"


def test_a_link_says_where_it_leads_and_opens_apart():
    html = render_markdown("[our bank](https://evil.example/login)")

    assert html == (
        '<p><a href="https://evil.example/login" target="_blank" rel="noopener nofollow noreferrer">our bank</a>'
        '<span class="host"> (evil.example)</span></p>\n'
    )


def test_an_image_is_its_description_and_its_host():
    assert render_markdown("![a cat](http://evil.example/1.png)") == (
        '<p>[image: a cat]<span class="host"> (evil.example)</span></p>\n'
    )


def test_markdown_is_rendered_as_written():
    html = render_markdown("# Title\n\n*one*\n**two** ~~three~~\n\n1. x\n\n| a |\n|---|\n| b |")

    assert re.sub(r"\s+", "", html) == (
        "<h1>Title</h1><p><em>one</em><br><strong>two</strong><s>three</s></p><ol><li>x</li></ol>"
        "<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>b</td></tr></tbody></table>"
    )


@pytest.mark.parametrize("before", ["", "> "], ids=["by itself", "quoted"])
def test_a_row_of_a_table_keeps_the_cells_its_head_has_no_column_for(before):
    html = render_markdown(
        "\n".join(before + line for line in ("| a |", "|---|", "| b | *more* | c\\|d |", "e | f", "| g |"))
    )

    rows = re.findall(r"<tr>(.*?)</tr>", re.sub(r"\s+", "", html))
    assert rows == [
        "<th>a</th>",
        "<td>b</td><td><em>more</em></td><td>c|d</td>",
        "<td>e</td><td>f</td>",
        "<td>g</td>",
    ]


def test_a_list_of_sources_is_shown_as_it_is_written():
    html = render_markdown("Boil it [1].\n\n[1]: https://eggs.example 'eight minutes'\n[2]: https://other.example")

    assert html == (
        "<p>Boil it [1].</p>\n<p>[1]: https://eggs.example 'eight minutes'<br>\n[2]: https://other.example</p>\n"
    )


@pytest.mark.parametrize(
    ("info", "shown"),
    [
        ("", ""),
        ("python", ""),
        ("c++", ""),
        ("python title=egg.py", "python title=egg.py"),
        ("<b>" * 9, "&lt;b&gt;" * 9),
    ],
)
def test_what_a_fence_says_beyond_its_language_is_shown(info, shown):
    html = render_markdown(f"```{info}\n1\n```")

    assert html.startswith(f'<div class="plain">{shown}</div><pre><code>' if shown else "<pre><code>")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1. a\n2. b", [None, None]),
        ("1. a\n1. b\n1. c", [None, None, None]),
        ("7. a\n8. b", [None, None]),
        ("2019. a\n2015. b", ["2019", "2015"]),
        ("3. a\n2. b\n   - c\n   - d\n1. e", ["3", "2", None, None, "1"]),
        ("- a\n- b", [None, None]),
    ],
)
def test_the_numbers_of_a_list_are_those_of_its_text(text, values):
    items = re.findall(r"<li(?: value=\"(\d+)\")?>", render_markdown(text))

    assert [item or None for item in items] == values


def test_known_languages_are_coloured_and_unknown_ones_plain():
    assert '<span class="code-k">return</span>' in render_markdown("```python\nreturn 1\n```")
    assert render_markdown("```klingon\nreturn 1\n```") == "<pre><code>return 1\n</code></pre>\n"


@pytest.mark.parametrize("text", ["$x^2$ is", "so \\(x^2\\) is", "$$x^2$$", "\\[x^2\\]", "see $$x^2$$ here"])
def test_formulas_in_four_delimiters_become_mathml(text):
    assert "<msup><mi>x</mi><mn>2</mn></msup>" in render_markdown(text)


def test_prices_are_no_formulas():
    assert render_markdown("It costs $5 or $6.") == "<p>It costs $5 or $6.</p>\n"


def test_aligned_equations_line_up():
    html = render_markdown("$$\\begin{aligned} a &= b \\\\ c &= d \\end{aligned}$$")

    assert html.count("<mtr>") == 2
    assert "&amp;" not in html


@pytest.mark.parametrize("latex", ["\\frac{1}", "{", "x^", "\\left(", "\\begin{array}", "\\unknown{}", "x" * 3000])
def test_a_formula_nobody_can_read_leaves_its_words(latex):
    assert Page(render_markdown(f"${latex}$")).text.strip() != ""


INVISIBLE = [
    "\u200b",
    "\u200c",
    "\u200d",
    "\u200e",
    "\u200f",
    "\u202a",
    "\u202e",
    "\u2060",
    "\u2066",
    "\u2069",
    "\ufeff",
    "\u00ad",
    "\u2028",
    "\u2029",
    "\u061c",
    "\u180e",
    "\U000e0041",
    "\U000e0101",
    "\U0001d173",
    "\u2800",
    "\ufe01",
    "\x08",
    "\x7f",
]


@pytest.mark.parametrize("character", INVISIBLE)
def test_an_invisible_character_is_marked_and_flagged(character):
    text = f"a{character}b"

    page = Page(render_markdown(text))

    assert f"U+{ord(character):04X}" in page.text
    assert character not in page.text
    assert has_invisible(text)


@pytest.mark.parametrize(
    "text",
    [
        "\U0001f469\u200d\U0001f4bb",
        "می\u200cخواهم",
        "क्\u200dष",
        "葛\U000e0101",
        "❤\ufe0f",
        "1\ufe0f\u20e3",
        "tab\tand\nline\r\n",
    ],
)
def test_joiners_and_variants_of_scripts_and_emoji_are_left_alone(text):
    assert not has_invisible(text)


def test_variants_in_a_row_hide_something_whatever_they_stand_on():
    assert has_invisible("❤\ufe0f\U000e0101\U000e0102")


def test_an_invisible_character_in_code_is_marked_too():
    assert "U+202E" in render_markdown("```python\nif x: # \u202e\n```")


def test_a_long_text_is_shown_plain_and_a_very_long_one_cut():
    long, longer = "*" * (MARKDOWN_CHARS + 1), "x" * (SHOWN_CHARS + 1)

    assert render_markdown(long) == f'<div class="plain">{long}</div>'
    assert render_markdown(longer) == f'<div class="plain">{"x" * SHOWN_CHARS}</div>'
    assert (is_cut(long), is_cut(longer)) == (False, True)


def test_raw_text_is_as_written_with_what_cannot_be_seen_marked():
    assert render_raw("**a**\tb \u00a0<i>\nend  ") == (
        '**a**<span class="invisible">⇥</span>\tb <span class="invisible" title="no-break space">U+00A0</span>'
        '&lt;i&gt;\nend<span class="invisible">··</span>'
    )


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_raw_text_is_inert(payload):
    elements = Page(render_raw(payload)).elements

    assert {(tag, frozenset(attributes)) for tag, attributes in elements} <= {
        ("span", frozenset({"class"})),
        ("span", frozenset({"class", "title"})),
    }


@pytest.mark.parametrize(
    "flood", ["\u200b" * 20_000, "y\u202e" * 500_000, "&" * 1_000_000, "$x$" * 6_600, "a\n" * 100_000, "- " * 9_900]
)
def test_no_text_becomes_more_html_than_a_page_can_bear(flood):
    assert len(render_markdown(flood)) <= HTML_CHARS + 100
    assert len(render_raw(flood)) <= HTML_CHARS + 100
