"""The settings of AI feedback."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import urlsplit

from rlhf.contract.errors import ConfigError
from rlhf.contract.settings import RunConfig, setting

PLAIN = r"[!-\[\]-~]+"  # printable ASCII without a space or a backslash, which readers of addresses take differently


@dataclass(frozen=True, kw_only=True)
class FeedbackConfig(RunConfig):
    """AI feedback by written principles (arXiv 2212.08073): compare pairs, or criticize and revise completions.

    It reads data/prompts.jsonl, whose rows carry the principle they are asked under, and writes feedback.jsonl.
    """

    kind: ClassVar[str] = "feedback"
    needs: ClassVar[tuple[str, ...]] = ("prompts.jsonl",)

    task: str = setting(
        "compare", "Compare two completions, or revise one after criticizing it.", choices=("compare", "revise")
    )
    base_model: str = setting("", "Folder of the model that is asked; empty when it is an endpoint.")
    endpoint: str = setting("", "Base URL of an OpenAI-compatible endpoint, up to and with /v1.")
    model: str = setting("", "What the endpoint calls its model.")
    key_name: str = setting("", "Environment variable with the endpoint's key; its name begins with AI_KEY_.")
    orders: str = setting("both", "Ask about each pair twice, sides swapped, or once.", choices=("both", "one"))
    reasoning: str = setting(
        "none",
        "Let it write what speaks for each side first; its probabilities are then kept within 40 and 60%.",
        choices=("none", "first"),
    )
    temperature: float = setting(0.7, "Of critiques and revisions; choices are read from probabilities.", low=0)
    max_new_tokens: int = setting(256, "Longest critique or revision, tokens.", low=1, high=32768)
    max_prompt_tokens: int = setting(
        2048, "Longest question to a local model, tokens; a longer one is left to people.", low=64, high=131072
    )
    batch_size: int = setting(16, "Questions asked at once.", low=1, high=1024)
    timeout_s: float = setting(60.0, "How long an endpoint may take for one answer.", above=0, high=3600)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.endpoint:
            check_endpoint(self.endpoint)
        if self.endpoint and not self.model:
            raise ConfigError("name the model of the endpoint: model=NAME")
        if self.key_name and not self.key_name.startswith("AI_KEY_"):
            raise ConfigError(f"key_name must begin with AI_KEY_, got {self.key_name!r}: a run sees no other secrets")


def check_endpoint(endpoint: str) -> str:
    """Return the host of an address that can be asked. Raises: ConfigError."""
    wrong = ConfigError(f"endpoint must be like https://host/v1, got {endpoint!r}")
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError as error:
        raise wrong from error
    is_plain = re.fullmatch(PLAIN, endpoint) and "@" not in parts.netloc and not parts.query and not parts.fragment
    if not is_plain or parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise wrong
    return parts.hostname
