"""How the demo is made: the seed, how much of the world it uses, and the settings of its runs over the defaults."""

from __future__ import annotations

from typing import Any

SEED = 1
N_DEMONSTRATIONS = 3000
N_PROMPTS = 2400
N_HELD_OUT_PROMPTS = 500

# By run kind; the loop of the demo project keeps a copy that its manager may change.
SETTINGS: dict[str, dict[str, Any]] = {}
