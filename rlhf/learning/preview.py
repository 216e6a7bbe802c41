"""The exact tokens that a run learns from: `python -m rlhf.learning.preview RUN_DIR`, and preview.json for its page.

[Can you help me?] is context, [[Gladly.]] is what is learned or judged.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from rlhf.contract.errors import ContractError
from rlhf.contract.run_dir import DATA, PREVIEW, read_config, write_atomic
from rlhf.learning.conversations import EncodedConversations, load_conversations
from rlhf.learning.models import load_tokenizer
from rlhf.learning.preferences import EncodedPairs, load_pairs
from rlhf.learning.processes import is_first_process
from rlhf.learning.scoring import load_scoring_tokenizer
from rlhf.learning.unpaired import EncodedCompletions, load_unpaired

N_ROWS = 5
# Of a longer row the page shows the beginning and says how long it is.
N_TOKENS = 2000
Row = tuple[str, list[int], list[bool]]


def preview_conversations(data: EncodedConversations, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return what fine-tuning learns from: the assistant's tokens, each from those before it."""
    rows = [
        (f"conversation {number}", conversation.ids, [False, *conversation.loss_mask[1:]])
        for number, conversation in enumerate(data.conversations[:N_ROWS], 1)
    ]
    counts = {"n_dropped": data.n_dropped, "n_cut": data.n_cut, "n_cut_end": data.n_cut_end}
    note = "The loss is on the marked tokens; each is predicted from those before it."
    return describe(rows, tokenizer, note=note, counts=counts)


def preview_pairs(data: EncodedPairs, tokenizer: PreTrainedTokenizerBase, *, scores_end: bool) -> dict[str, Any]:
    """Return what DPO learns from, the completions' tokens; or with scores_end where a reward model's score is read."""

    def list_rows() -> Iterator[Row]:
        for number, pair in enumerate(data.pairs[:N_ROWS], 1):
            for side, ids in (("chosen", pair.chosen_ids), ("rejected", pair.rejected_ids)):
                marks = [False] * (len(ids) - 1) + [True] if scores_end else [True] * len(ids)
                yield f"pair {number}, {side}", pair.prompt_ids + ids, [False] * len(pair.prompt_ids) + marks

    note = (
        "The reward is read at the marked token, the last of its row."
        if scores_end
        else "The marked tokens are those whose log-probabilities are compared."
    )
    return describe(list_rows(), tokenizer, note=note, counts={"n_dropped": data.n_dropped, "n_cut": data.n_cut})


def preview_unpaired(data: EncodedCompletions, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return what KTO learns from: the completions' tokens, good and bad."""
    rows = [
        (
            f"completion {number}, {'good' if row.label else 'bad'}",
            row.prompt_ids + row.completion_ids,
            [False] * len(row.prompt_ids) + [True] * len(row.completion_ids),
        )
        for number, row in enumerate(data.completions[:N_ROWS], 1)
    ]
    note = "The marked tokens are those whose log-probabilities are compared with the reference's."
    return describe(rows, tokenizer, note=note, counts={"n_dropped": data.n_dropped, "n_cut": data.n_cut})


def describe(
    rows: Iterable[Row], tokenizer: PreTrainedTokenizerBase, *, note: str, counts: dict[str, int]
) -> dict[str, Any]:
    """Return what preview.json holds. rows: name, token ids, and which of them are learned or scored."""
    return {
        "note": note,
        "counts": counts,
        "rows": [
            {
                "name": name,
                "n_tokens": len(ids),
                "n_learned": sum(marks),
                "tokens": [
                    [write_token(tokenizer, token), token, mark]
                    for token, mark in zip(ids[:N_TOKENS], marks, strict=False)
                ],
            }
            for name, ids, marks in rows
        ],
    }


def write_token(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    """Return a token as text, spaces kept; the vocabulary's own spelling of what is only part of a character."""
    spelling = str(tokenizer.convert_ids_to_tokens(token))
    if token in tokenizer.all_special_ids:
        return spelling
    # Alone at the beginning, a token loses the space that a word in a sentence begins with.
    text = tokenizer.decode([token, token], clean_up_tokenization_spaces=False)
    first = tokenizer.decode([token], clean_up_tokenization_spaces=False)
    text = text[len(first) :] if text.startswith(first) else first
    return spelling if "\ufffd" in text or not text else text


def write_preview(run_dir: Path, preview: dict[str, Any]) -> None:
    """Write preview.json for the run's page; of several processes the first alone does."""
    if is_first_process():
        write_atomic(run_dir / PREVIEW, json.dumps(preview, ensure_ascii=False))


def build_preview(run_dir: Path) -> dict[str, Any]:
    """Return the preview of a run directory without training anything. Raises: ContractError."""
    config: Any = read_config(run_dir)
    if config.kind not in PREVIEWS:
        raise ContractError(f"a {config.kind} run learns from no rows; there are previews of {', '.join(PREVIEWS)}")
    return PREVIEWS[config.kind](run_dir / DATA / "train.jsonl", config)


def read_sft(path: Path, config: Any) -> dict[str, Any]:
    tokenizer = load_tokenizer(config.base_model)
    return preview_conversations(load_conversations(path, tokenizer, max_length=config.max_length), tokenizer)


def read_reward(path: Path, config: Any) -> dict[str, Any]:
    tokenizer = load_scoring_tokenizer(config.base_model)
    return preview_pairs(load_pairs(path, tokenizer, max_length=config.max_length), tokenizer, scores_end=True)


def read_dpo(path: Path, config: Any) -> dict[str, Any]:
    tokenizer = load_tokenizer(config.base_model)
    return preview_pairs(load_pairs(path, tokenizer, max_length=config.max_length), tokenizer, scores_end=False)


def read_kto(path: Path, config: Any) -> dict[str, Any]:
    tokenizer = load_tokenizer(config.base_model)
    return preview_unpaired(load_unpaired(path, tokenizer, max_length=config.max_length), tokenizer)


PREVIEWS: dict[str, Callable[[Path, Any], dict[str, Any]]] = {
    "sft": read_sft,
    "reward": read_reward,
    "dpo": read_dpo,
    "kto": read_kto,
}


def write_text(preview: dict[str, Any]) -> Iterator[str]:
    """Yield the preview in lines for a terminal, marked tokens between double brackets, then ids and marks."""
    yield f"{preview['note']} {', '.join(f'{name} {n}' for name, n in preview['counts'].items())}."
    for row in preview["rows"]:
        yield ""
        yield f"{row['name']}: {row['n_tokens']} tokens, {row['n_learned']} marked"
        yield " ".join(f"[[{text!r}]]" if mark else f"[{text!r}]" for text, _, mark in row["tokens"])
        yield f"  ids  {' '.join(str(token) for _, token, _ in row['tokens'])}"
        yield f"  mask {' '.join(str(int(mark)) for _, _, mark in row['tokens'])}"


def main() -> int:
    """Print the preview of the run directory named on the command line and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m rlhf.learning.preview", description=__doc__)
    parser.add_argument("run_dir", type=Path, help="a run directory with config.json and data/")
    try:
        preview = build_preview(parser.parse_args().run_dir.resolve())
    except ContractError as error:
        print(error, file=sys.stderr)
        return 1
    for line in write_text(preview):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
