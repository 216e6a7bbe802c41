"""Whether a folder is a model that can be read without trusting whoever made it.

Loading a model is where a stranger's files meet libraries that import, fetch and allocate what a file tells them to. So a
folder is judged by its bytes before any of them sees it: by the web when it is registered, by the learning process when it
is loaded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlhf.contract.errors import ContractError
from rlhf.contract.safetensors_header import count_weights

COPIED = (".safetensors", ".json", ".jinja", ".txt", ".model")
MAX_JSON_BYTES = 64 * 2**20  # tokenizer.json of a large vocabulary has some 30 MB
# A configuration may name code to run; these keys are how it has been done (CVE-2026-4372 among them).
CODE_KEYS = (
    "auto_map",
    "_attn_implementation_internal",
    "attn_implementation",
    "custom_pipelines",
    "custom_generate",
    "trust_remote_code",
)
HEADS = ("ForCausalLM", "LMHeadModel", "ForMaskedLM", "ForSequenceClassification")
SCORER_FILE = "token_scorer.json"  # what makes the folder of a policy a reward model of words
PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
# Far above any model there is; beyond it a small file would make a library allocate all memory.
SIZES = {
    **dict.fromkeys(("vocab_size",), 4_000_000),
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "dim", "head_dim"), 200_000),
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_dim"), 2_000_000),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "n_layers"), 2_000),
    **dict.fromkeys(("num_attention_heads", "n_head", "num_key_value_heads", "n_heads"), 2_000),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), 200_000_000),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts"), 10_000),
}


def check_model_folder(folder: Path, *, needs_tokenizer: bool = False) -> None:
    """Raise ContractError, saying what to do, unless the folder is a whole model in safetensors that brings no code."""
    files = list_files(folder)
    if "config.json" not in files:
        raise ContractError(f"'{folder}' is not a model folder: it has no config.json")
    if "adapter_config.json" in files:
        raise ContractError(f"{folder} is an adapter: merge it into its base and give the whole model")
    code = sorted(name for name in files if name.endswith((".py", ".pyc", ".so")))
    if code:
        raise ContractError(f"{folder} brings code ({', '.join(code)}): models that need code of their own are refused")
    documents = {name: read_json(path) for name, path in files.items() if name.endswith(".json")}
    for name, document in documents.items():
        check_keys(folder / name, document)
    n_weights, n_tensors = check_weights(folder, files, documents)
    check_shape(folder / "config.json", documents["config.json"], n_weights=n_weights, n_tensors=n_tensors)
    if needs_tokenizer and not {"tokenizer.json", "tokenizer_config.json"} & set(files):
        raise ContractError(f"{folder} has no tokenizer: save one beside the model")
    check_tokenizer(folder / "tokenizer_config.json", documents.get("tokenizer_config.json", {}))


def gives_scores(folder: Path) -> bool:
    """Say whether a model folder holds a reward model: scalar heads, or weights of words. Raises: ContractError."""
    if (folder / SCORER_FILE).exists():
        return True
    architectures = read_json(folder / "config.json").get("architectures") or []
    return any(name.endswith("ForSequenceClassification") for name in architectures)


def list_files(folder: Path) -> dict[str, Path]:
    """Return the files that lie in the folder itself, by name. Raises: ContractError on links and on what is no file."""
    files = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_symlink():
            raise ContractError(f"{path} is a link: copy the folder with its files themselves (cp -rL)")
        if path.is_file():
            files[path.name] = path
        elif not path.is_dir():
            raise ContractError(f"{path} is neither a file nor a folder: remove it")
    return files


def read_json(path: Path) -> Any:
    """Return the content of a JSON file. Raises: ContractError when it is none, or beyond all measure."""
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ContractError(f"{path} is larger than {MAX_JSON_BYTES // 2**20} MB: a model's JSON is not")
    try:
        return json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ContractError(f"{path} is not JSON: {error}") from error


def walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key with its value, at any depth."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            yield from each.items()
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)


def check_keys(path: Path, document: Any) -> None:
    """Refuse keys that name code, at any depth, and kernels that would be fetched. Raises: ContractError."""
    if not isinstance(document, dict):
        raise ContractError(f"{path} must hold an object")
    if path.name == "tokenizer.json":
        return  # read by a library that runs nothing, and its keys are a vocabulary: any word may be one
    named = sorted({key for key, _ in walk(document) if key in CODE_KEYS})
    if named:
        raise ContractError(f"{path} names code to run ({', '.join(named)}): remove it and try again")
    for key, value in walk(document):
        if key == "_attn_implementation" and value not in (None, "eager", "sdpa", "flash_attention_2"):
            raise ContractError(f"{path} names code to run ({key}={value!r}): remove it and try again")


def check_weights(folder: Path, files: dict[str, Path], documents: dict[str, Any]) -> tuple[int, int]:
    """Return how many weights in how many tensors the folder holds. Raises: ContractError."""
    weights = [path for name, path in files.items() if name.endswith(".safetensors")]
    if not weights:
        raise ContractError(f"{folder} has no .safetensors weights: convert them, pickled weights are refused")
    shards = documents.get("model.safetensors.index.json", {}).get("weight_map", {})
    if not isinstance(shards, dict) or not all(isinstance(name, str) and name in files for name in shards.values()):
        raise ContractError(f"{folder / 'model.safetensors.index.json'} names weights that do not lie beside it")
    counts = [count_weights(path) for path in weights]
    return sum(n for n, _ in counts), sum(n for _, n in counts)


def check_shape(path: Path, config: dict[str, Any], *, n_weights: int, n_tensors: int) -> None:
    """Refuse what is no text model, and sizes that the weights do not bear out. Raises: ContractError."""
    architectures = config.get("architectures") or []
    if not isinstance(architectures, list):
        raise ContractError(f"{path}: architectures must be a list of names, got {architectures!r}")
    for name in [config.get("model_type", ""), *architectures]:
        if not isinstance(name, str) or (name and not PLAIN_NAME.fullmatch(name)):
            raise ContractError(f"{path}: {name!r} cannot be the name of an architecture")
    if not config.get("model_type"):
        raise ContractError(f"{path} does not say which model it is: set model_type")
    strange = [name for name in architectures if not name.endswith(HEADS)]
    if strange:
        raise ContractError(
            f"{path}: {', '.join(strange)} is neither a causal or masked language model nor a sequence classifier"
        )
    if "quantization_config" in config:
        raise ContractError(f"{path} describes quantized weights: give the model in float32, float16 or bfloat16")
    for key, value in walk(config):
        if key in SIZES and value is not None:
            check_size(path, key, value)
    inner = config.get("text_config")
    text: dict[str, Any] = inner if isinstance(inner, dict) else config
    if "vocab_size" in text:
        check_size(path, "vocab_size", text["vocab_size"])  # null too is none
    width = read_size(path, text, "hidden_size", "n_embd", "d_model")
    layers = read_size(path, text, "num_hidden_layers", "n_layer")
    if read_size(path, text, "vocab_size") * width > n_weights or layers > n_tensors:
        raise ContractError(f"{path} describes a larger model than its {n_weights:,} weights in {n_tensors} tensors")


def read_size(path: Path, config: dict[str, Any], *names: str) -> int:
    """Return the first size that is given under these names, 1 when none is. Raises: ContractError on a list of sizes."""
    name = next((name for name in names if config.get(name) is not None), None)
    if name is None:
        return 1
    if type(config[name]) is not int:
        raise ContractError(f"{path}: {name} must be one whole number, got {config[name]!r}")
    return int(config[name])


def check_size(path: Path, key: str, value: Any) -> None:
    """Refuse a size that no model has. Raises: ContractError."""
    for number in value if isinstance(value, list) else [value]:
        if type(number) is not int or not 0 < number <= SIZES[key]:
            raise ContractError(f"{path}: {key} must be between 1 and {SIZES[key]:,}, got {value!r}")


def check_tokenizer(path: Path, config: dict[str, Any]) -> None:
    """Refuse names that a tokenizer's loader would take for modules or paths. Raises: ContractError."""
    name = config.get("tokenizer_class")
    if name is not None and not (isinstance(name, str) and PLAIN_NAME.fullmatch(name)):
        raise ContractError(f"{path}: {name!r} cannot be the name of a tokenizer's class")
    for key, value in config.items():
        if key.endswith("_file") and value is not None and not (isinstance(value, str) and FILE_NAME.fullmatch(value)):
            raise ContractError(f"{path}: {key} must name a file in the folder, got {value!r}")
    templates = config.get("chat_template")
    for template in templates if isinstance(templates, list) else []:
        named = template.get("name") if isinstance(template, dict) else None
        if not (isinstance(named, str) and PLAIN_NAME.fullmatch(named)):
            raise ContractError(f"{path}: {named!r} cannot be the name of a chat template")
