"""Hostile text becomes safe HTML: Markdown, mathematics and code, sanitised last. Nothing else marks text safe."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from urllib.parse import urlsplit

import nh3
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.common.utils import unescapeAll
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.token import STANDARD_TYPES

from labeling.domain.formulas import read_bracketed_formula, render_formula
from labeling.domain.invisibles import MARK_CHARS, UNSEEN, mark_all, mark_unseen
from labeling.domain.tables import keep_cells

MARKDOWN_CHARS = 20_000  # worst hostile text of this length: 0.3 s; a longer one is shown as plain text
SHOWN_CHARS = 100_000  # of a longer one the page shows the beginning and links the whole
HTML_CHARS = 150_000  # of HTML that one text may become: marks and formulas are longer than what they stand for
CODE_CHARS = 20_000
CODE_PREFIX = "code-"

# Names a model may write behind ``` that are worth colours; an unknown one is shown plain.
LANGUAGES = frozenset(
    {"bash", "c", "cpp", "csharp", "css", "diff", "go", "haskell", "html", "http", "ini", "java", "javascript", "js"}
    | {"json", "julia", "kotlin", "latex", "lua", "makefile", "markdown", "perl", "php", "python", "py", "r", "ruby"}
    | {"rust", "scala", "sh", "shell", "sql", "swift", "toml", "ts", "typescript", "xml", "yaml"}
)
LANGUAGE_NAME = re.compile(r"[\w+#.-]{0,20}")
MATHML = frozenset(
    {"math", "mrow", "mi", "mn", "mo", "ms", "mtext", "mspace", "msup", "msub", "msubsup", "mfrac", "msqrt", "mroot"}
    | {"mover", "munder", "munderover", "mtable", "mtr", "mtd", "mstyle", "mpadded", "mphantom", "menclose"}
)
TAGS = MATHML | frozenset(
    {"p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "em", "strong", "s", "blockquote", "ul", "ol", "li", "pre"}
    | {"code", "table", "thead", "tbody", "tr", "th", "td", "a", "span", "div"}
)
ATTRIBUTES: dict[str, set[str]] = {
    "*": set(),
    "a": {"href"},
    "ol": {"start"},
    "li": {"value"},
    "math": {"display"},
    "mo": {"stretchy", "fence", "separator", "form", "accent", "movablelimits", "minsize", "maxsize"},
    "mi": {"mathvariant"},
    "mspace": {"width"},
    "mtable": {"columnalign", "rowspacing", "columnspacing"},
    "mfrac": {"linethickness"},
    "mover": {"accent"},
    "munder": {"accentunder"},
    "span": {"title"},
}
CLASSES = {
    "span": {CODE_PREFIX + name for name in STANDARD_TYPES.values() if name} | {"invisible", "host"},
    "div": {"formula", "plain"},
}


@lru_cache(maxsize=512)
def render_markdown(text: str) -> SafeString:
    """Return the text as HTML that can neither act, load, nor pretend; of a very long one, its beginning."""
    if is_plain(text):
        html = f'<div class="plain">{mark_all(escape(text[: count_shown(text)]))}</div>'
        return mark_safe(sanitize(html))  # noqa: S308 -- what nh3 let through is safe
    return mark_safe(sanitize(mark_all(MARKDOWN.render(text))))  # noqa: S308 -- what nh3 let through is safe


@lru_cache(maxsize=512)
def render_raw(text: str) -> SafeString:
    """Return the text as it is written, every character one cannot see marked; of a very long one, its beginning."""
    marked = UNSEEN.sub(mark_unseen, escape(text[: count_shown(text)]))
    return mark_safe(sanitize(marked))  # noqa: S308 -- what nh3 let through is safe


def render_stretch(text: str) -> SafeString:
    """Return a stretch of a text as it is written, with marks for what is invisible."""
    return mark_safe(sanitize(mark_all(escape(text))))  # noqa: S308 -- what nh3 let through is safe


@lru_cache(maxsize=512)
def is_plain(text: str) -> bool:
    """Tell whether the text is too long to be read as Markdown, or would become too much HTML."""
    return len(text) > MARKDOWN_CHARS or len(mark_all(MARKDOWN.render(text))) > HTML_CHARS


@lru_cache(maxsize=512)
def count_shown(text: str) -> int:
    """Return how many of the text's characters the page shows: fewer where they need marks."""
    shown = text[:SHOWN_CHARS]
    while len(escape(shown)) + MARK_CHARS * len(UNSEEN.findall(shown)) > HTML_CHARS and len(shown) > 1000:
        shown = shown[: len(shown) // 2]
    return len(shown)


def is_cut(text: str) -> bool:
    """Tell whether the page shows only the beginning of this text."""
    return count_shown(text) < len(text) and is_plain(text)


def sanitize(html: str) -> str:
    """Keep the allow-list and nothing else."""
    return nh3.clean(
        html,
        tags=set(TAGS),
        clean_content_tags={"script", "style"},
        attributes=ATTRIBUTES,
        allowed_classes=CLASSES,
        url_schemes={"http", "https", "mailto"},
        url_relative="deny",
        link_rel="noopener nofollow noreferrer",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )


def render_code(source: str, language: str, attributes: str) -> str:
    """Return coloured code of a known language; an empty string leaves it plain."""
    if language.lower() not in LANGUAGES or len(source) > CODE_CHARS:
        return ""
    formatter = HtmlFormatter(nowrap=True, classprefix=CODE_PREFIX)
    return str(highlight(source, get_lexer_by_name(language.lower()), formatter))


class Renderer(RendererHTML):
    """Markdown's HTML, with images as their description and links that say where they lead."""

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """An image would tell its owner who read it when: show what it says it is."""
        token = tokens[idx]
        words = self.renderInlineAsText(token.children, options, env) if token.children else ""
        return f"[image: {escape(words)}]{show_host(token.attrs.get('src'))}"

    def link_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        opened = next(token for token in reversed(tokens[:idx]) if token.type == "link_open")
        return f"</a>{show_host(opened.attrs.get('href'))}"

    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Code, and before it what its fence says beyond the name of a language: a browser would not show that."""
        info, code = unescapeAll(tokens[idx].info).strip(), super().fence(tokens, idx, options, env)
        return code if LANGUAGE_NAME.fullmatch(info) else f'<div class="plain">{escape(info)}</div>{code}'

    def math_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return f'<div class="formula">{render_formula(tokens[idx].content, {"display_mode": True})}</div>'

    def math_inline(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return render_formula(tokens[idx].content, {"display_mode": False})

    def math_inline_double(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return render_formula(tokens[idx].content, {"display_mode": True})


def show_host(url: object) -> str:
    """Return where an address leads, for people to read."""
    address = str(url or "")
    try:
        host = urlsplit(address).hostname or address[:60]
    except ValueError:
        host = address[:60]
    return f'<span class="host"> ({escape(host)})</span>'


def keep_numbers(state: StateCore) -> None:
    """Give the items of a list the numbers they have in the text where these do not rise by one: years, or a countdown.

    Where all have the same, which is how some write lists, they are counted as everywhere else.
    """
    open_lists: list[list[Token]] = []
    for token in state.tokens:
        if token.type in ("ordered_list_open", "bullet_list_open"):
            open_lists.append([])
        elif token.type == "list_item_open":
            open_lists[-1].append(token)
        elif token.type in ("ordered_list_close", "bullet_list_close"):
            items = open_lists.pop()
            numbers = [int(item.info) for item in items if item.info.isdecimal()]
            is_counted = numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
            if not is_counted and len(set(numbers)) > 1:
                for item, number in zip(items, numbers, strict=True):
                    item.attrs["value"] = number


def make_markdown() -> MarkdownIt:
    """Return the parser: CommonMark without HTML, with tables, strikethrough, line breaks as written, and formulas.

    Without definitions of links, too: they are the list of sources at the end of an answer, and would not be shown.
    """
    options = {"html": False, "breaks": True, "maxNesting": 30, "highlight": render_code}
    markdown = MarkdownIt("commonmark", options, renderer_cls=Renderer)
    markdown.enable(["table", "strikethrough"]).disable("reference")
    markdown.use(dollarmath_plugin, allow_labels=False, allow_space=False, allow_digits=False, double_inline=True)
    markdown.inline.ruler.before("escape", "bracketed_formula", read_bracketed_formula)
    markdown.core.ruler.push("numbers", keep_numbers)
    markdown.core.ruler.after("block", "cells", keep_cells)
    # The plugin wraps formulas its own way and puts that over the renderer's methods; ours again.
    for name in ("math_block", "math_inline", "math_inline_double"):
        markdown.add_render_rule(name, getattr(Renderer, name))
    return markdown


MARKDOWN = make_markdown()
