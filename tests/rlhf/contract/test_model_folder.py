from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from rlhf.contract.errors import ContractError
from rlhf.contract.model_folder import check_model_folder

CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 10,
    "hidden_size": 4,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "max_position_embeddings": 64,
}


def pack(tensors: dict[str, list[int]]) -> bytes:
    """Return a safetensors file of zeros with these shapes, in float32."""
    header, end = {}, 0
    for name, shape in tensors.items():
        size = 4
        for side in shape:
            size *= side
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that is a model."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"auto_map": 0}}}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    (folder / "model.safetensors").write_bytes(pack({"embed": [10, 4], "matrix": [4, 4]}))
    return folder


def config(**changes: object) -> Callable[[Path, Path], None]:
    def write(folder: Path, canary: Path) -> None:
        (folder / "config.json").write_text(json.dumps({**CONFIG, **changes}))

    return write


def tokenizer(**settings: object) -> Callable[[Path, Path], None]:
    def write(folder: Path, canary: Path) -> None:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))

    return write


class Touch:
    """A pickle that makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.path}",)


def pickled(name: str) -> Callable[[Path, Path], None]:
    def write(folder: Path, canary: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / name).write_bytes(pickle.dumps(Touch(canary)))

    return write


def code(folder: Path, canary: Path) -> None:
    (folder / "modeling_llama.py").write_text(f"import pathlib; pathlib.Path({str(canary)!r}).touch()")


def link(folder: Path, canary: Path) -> None:
    (folder / "chat_template.jinja").symlink_to("/etc/hostname")


def pipe(folder: Path, canary: Path) -> None:
    os.mkfifo(folder / "extra.json")


def shard_elsewhere(folder: Path, canary: Path) -> None:
    index = {"weight_map": {"embed": "../../other.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def adapter(folder: Path, canary: Path) -> None:
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "somebody/else"}))


def nested_json(folder: Path, canary: Path) -> None:
    (folder / "generation_config.json").write_text("[" * 200_000)


def cut_weights(folder: Path, canary: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-8])


def overlapping_weights(folder: Path, canary: Path) -> None:
    header = json.dumps(
        {f"t{n}": {"dtype": "F32", "shape": [4, 10], "data_offsets": [0, 160]} for n in range(9)}
    ).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(160))


def weights(shape: object) -> Callable[[Path, Path], None]:
    def write(folder: Path, canary: Path) -> None:
        header = json.dumps({"t": {"dtype": "F32", "shape": shape, "data_offsets": [0, 4]}}).encode()
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))

    return write


REFUSED = {
    "pickled weights": (pickled("pytorch_model.bin"), "pickled weights are refused"),
    "a pickle under another name": (pickled("model.safetensors"), "is not a safetensors file"),
    "weights cut short": (cut_weights, "tensors take 224 of 216 bytes"),
    "weights that overlap": (overlapping_weights, "do not fit together"),
    "a tensor of a hundred thousand dimensions": (weights([10**9] * 100_000), "describes a tensor as"),
    "a tensor of more numbers than bytes": (weights([10**4000] * 16), "a tensor of more than its file's 4 bytes"),
    "a tensor whose shape is a number": (weights(4), "describes a tensor as"),
    "code beside the model": (code, r"brings code \(modeling_llama\.py\)"),
    "an automatic class": (config(auto_map={"AutoModel": "modeling_llama.Evil"}), r"names code to run \(auto_map\)"),
    "an automatic class of the tokenizer": (tokenizer(auto_map={"AutoTokenizer": ["a.B", None]}), "names code to run"),
    "trust in a part": (config(keypoint_detector_config={"trust_remote_code": True}), r"\(trust_remote_code\)"),
    "a kernel to fetch": (config(_attn_implementation_internal="evil/kernel"), "_attn_implementation_internal"),
    "a kernel by its other name": (
        config(_attn_implementation="evil/kernel:run"),
        "_attn_implementation='evil/kernel:run'",
    ),
    "a link out of the folder": (link, r"chat_template\.jinja is a link"),
    "a pipe that never ends": (pipe, "neither a file nor a folder"),
    "weights that lie elsewhere": (shard_elsewhere, "names weights that do not lie beside it"),
    "an adapter that fetches its base": (adapter, "is an adapter: merge it into its base"),
    "a vocabulary beyond memory": (config(vocab_size=10**12), "vocab_size must be between 1 and 4,000,000"),
    "a width below nothing": (config(hidden_size=-4), "hidden_size must be between 1"),
    "a vocabulary of no size": (config(vocab_size=None), "vocab_size must be between 1 and 4,000,000, got None"),
    "a vocabulary of no size inside a part": (config(text_config={"vocab_size": None}), "vocab_size must be between 1"),
    "a list of widths": (config(hidden_size=[2]), r"hidden_size must be one whole number, got \[2\]"),
    "a list of vocabularies": (config(vocab_size=[2]), r"vocab_size must be one whole number, got \[2\]"),
    "a size inside a part": (config(text_config={"n_layer": 10**9}), "n_layer must be between 1 and 2,000"),
    "more than the weights bear out": (config(vocab_size=3_000_000), "describes a larger model than its 56 weights"),
    "more layers than tensors": (config(num_hidden_layers=900), "describes a larger model than its 56 weights"),
    "an architecture that is a path": (
        config(architectures=["../evil.Model"]),
        "cannot be the name of an architecture",
    ),
    "architectures that are a number": (config(architectures=5), "architectures must be a list of names, got 5"),
    "an architecture of another trade": (config(architectures=["LightGlueForKeypointMatching"]), "is neither a causal"),
    "no architecture": (config(model_type=""), "set model_type"),
    "quantized weights": (config(quantization_config={"quant_method": "x"}), "describes quantized weights"),
    "JSON without bottom": (nested_json, "is not JSON"),
    "a tokenizer class that is a module": (tokenizer(tokenizer_class="evil.Tokenizer"), "name of a tokenizer's class"),
    "a vocabulary of another user": (tokenizer(vocab_file="/etc/passwd"), "vocab_file must name a file in the folder"),
    "a template that is a path": (
        tokenizer(chat_template=[{"name": "../../evil", "template": ""}]),
        "cannot be the name of a chat template",
    ),
}


def test_a_model_is_accepted(folder: Path):
    check_model_folder(folder, needs_tokenizer=True)


@pytest.mark.parametrize("case", REFUSED)
def test_what_could_do_harm_is_refused_before_anything_reads_it(case: str, folder: Path, tmp_path: Path):
    spoil, message = REFUSED[case]
    canary = tmp_path / "canary"
    spoil(folder, canary)

    with pytest.raises(ContractError, match=message):
        check_model_folder(folder)
    assert not canary.exists()


def test_a_model_without_a_tokenizer_cannot_be_registered(folder: Path):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()

    check_model_folder(folder)
    with pytest.raises(ContractError, match="has no tokenizer"):
        check_model_folder(folder, needs_tokenizer=True)
