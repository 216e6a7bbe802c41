"""Completions that say which model wrote them: they would unblind the people who compare, so they never reach the queue.

Some phrases no person's assistant needs to say. A maker's or a model's name gives the writer away unless the prompt asked
about it. Names that are also words (a llama, Claude Monet, paragraphs that cohere) do so only where somebody introduces
itself, "I am Claude" or "as Claude,", and not where the prompt uses the word: what is dropped for nothing is missing from
the queue, and not by chance.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

PHRASES = (
    r"as an? (?:\w+[ -])?(?:ai|artificial intelligence)(?: (?:assistant|chatbot|language model|model|system))?",
    r"as an? (?:large )?language model",
    r"i(?: a|')m (?:just |only )?an? (?:ai|artificial intelligence|(?:large )?language model)",
    r"(?:large )?language model (?:trained|made|created|developed|built) by",
    r"my (?:knowledge|training)(?: data)? cut-?off",
    r"my training data",
)
NAMES = (
    *("openai", "chatgpt", r"gpt[- ]?[2-5](?:\.\d)?o?", "instructgpt", "anthropic", "deepmind", "google ai", "meta ai"),
    *("mistral ai", "mixtral", "qwen", "tongyi", "alibaba cloud", "deepseek", "xai", "stability ai", "stablelm"),
    *("eleutherai", "huggingface", "hugging face", r"command[- ]r\+?", "ai21", "inflection ai", "baichuan"),
    *("chatglm", "zhipu", "internlm", "moonshot ai", "ernie bot", "wizardlm", "openassistant"),
    *("open assistant", "bing chat", "github copilot", "microsoft copilot", "tulu", "olmo", "smollm", r"phi-[1-4]"),
    *("lmsys", "prefloop"),
)
WORDS_TOO = (
    *("claude", "gemini", "bard", "llama", "grok", "copilot", "mistral", "gemma", "alpaca", "falcon", "koala", "dolly"),
    *("kimi", "ernie", "nova", "yi", "granite", "pythia", "bloom", "zephyr", "hermes", "sydney", "gpt", "titan"),
    *("cohere", "vicuna", "guanaco"),
)
INTRODUCTION = r"(?:i am|i'm|my name is|my name's|call me|known as),? (?:(?:called|named|your|assistant) ){0,2}"


def compile_words(words: Sequence[str], *, before: str = "", after: str = r"(?!\w)") -> re.Pattern[str]:
    """Return what finds any of the words as a whole word, in any case and over any white space."""
    body = "|".join(word.replace(" ", r"\s+") for word in words)
    return re.compile(rf"(?<!\w){before}({body}){after}", re.IGNORECASE)


PHRASE = compile_words(PHRASES)
NAME = compile_words(NAMES)
WORD_TOO = compile_words(WORDS_TOO)
INTRODUCED = compile_words(WORDS_TOO, before=INTRODUCTION.replace(" ", r"\s+"), after=r"(?![\w-])")
# "As Claude, I": whoever says it speaks of itself. "As granite, it is hard" is of granite.
SPEAKING_AS = compile_words(WORDS_TOO, before=r"as\s+", after=r",\s+i(?!\w)")


def tells_writer(text: str, prompt: Sequence[Mapping[str, str]]) -> bool:
    """Say whether a completion gives away that a model wrote it, or which; names the prompt uses itself are allowed."""
    text = text.replace("’", "'")
    if PHRASE.search(text):
        return True
    told = find_names(NAME, text) | find_names(INTRODUCED, text) | find_names(SPEAKING_AS, text)
    asked = {
        name for message in prompt for pattern in (NAME, WORD_TOO) for name in find_names(pattern, message["content"])
    }
    return not told <= asked


def find_names(pattern: re.Pattern[str], text: str) -> set[str]:
    """Return the names a pattern finds, in small letters and with single spaces."""
    return {" ".join(name.lower().split()) for name in pattern.findall(text)}
