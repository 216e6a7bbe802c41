"""Completions that say which model wrote them: they would unblind the people who compare, so they never reach the queue.

Some phrases no person's assistant needs to say. A maker's or a model's name gives the writer away unless the prompt asked
about it. Names that are also words (a llama, Claude Monet, the twins Gemini) do so only where somebody introduces itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rlhf.contract.records import Message

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
    *("eleutherai", "huggingface", "hugging face", "cohere", r"command[- ]r\+?", "ai21", "inflection ai", "baichuan"),
    *("chatglm", "zhipu", "internlm", "moonshot ai", "ernie bot", "vicuna", "wizardlm", "guanaco", "openassistant"),
    *("open assistant", "bing chat", "github copilot", "microsoft copilot", "tulu", "olmo", "smollm", r"phi-[1-4]"),
    *("lmsys", "prefloop"),
)
WORDS_TOO = (
    *("claude", "gemini", "bard", "llama", "grok", "copilot", "mistral", "gemma", "alpaca", "falcon", "koala", "dolly"),
    *("kimi", "ernie", "nova", "yi", "granite", "pythia", "bloom", "zephyr", "hermes", "sydney", "gpt", "titan"),
)
INTRODUCTION = r"(?:i am|i'm|my name is|my name's|call me|this is|known as),? (?:(?:called|named|your|assistant) ){0,2}"


def compile_words(words: Sequence[str], *, before: str = "") -> re.Pattern[str]:
    """Return what finds any of the words as a whole word, in any case and over any white space."""
    body = "|".join(word.replace(" ", r"\s+") for word in words)
    return re.compile(rf"(?<!\w){before}(?:{body})(?!\w)", re.IGNORECASE)


PHRASE = compile_words(PHRASES)
NAME = compile_words(NAMES)
INTRODUCED = compile_words(WORDS_TOO, before=INTRODUCTION.replace(" ", r"\s+"))


def tells_writer(text: str, prompt: Sequence[Message]) -> bool:
    """Say whether a completion gives away that a model wrote it, or which; names the prompt uses itself are allowed."""
    text = text.replace("’", "'")
    if PHRASE.search(text) or INTRODUCED.search(text):
        return True
    asked = {match.lower() for message in prompt for match in NAME.findall(message["content"])}
    return any(match.lower() not in asked for match in NAME.findall(text))
