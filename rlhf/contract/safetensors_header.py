"""The header of a safetensors file, read without the library: what tensors it says it holds, and whether it can."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rlhf.contract.errors import ContractError

MAX_HEADER_BYTES = 100 * 2**20  # the format's own limit
MAX_DIMENSIONS = 16  # no tensor of a model has more than a few
BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "BOOL"), 8),
}


def count_weights(path: Path) -> tuple[int, int]:
    """Return how many numbers in how many tensors the file holds.

    Raises: ContractError unless its tensors fill the file exactly: a pickle or a half-written file under this name does not.
    Source: https://github.com/huggingface/safetensors, section Format.
    """
    tensors, n_bytes = read_header(path)
    ends = 0
    n_weights = 0
    for start, end, n, bits in sorted(read_tensor(facts, n_bytes=n_bytes) for facts in tensors):
        if start != ends or (end - start) * 8 != n * bits:
            raise ContractError(f"{path} is not a safetensors file: its tensors do not fit together")
        ends = end
        n_weights += n
    if ends != n_bytes:
        raise ContractError(f"{path} is not a whole safetensors file: its tensors take {ends} of {n_bytes} bytes")
    return n_weights, len(tensors)


def read_header(path: Path) -> tuple[list[Any], int]:
    """Return what the header says of each tensor, and how many bytes come after it. Raises: ContractError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            raise ContractError(f"{path} is not a safetensors file: convert the weights, pickled ones are refused")
        header = file.read(length)
    try:
        tensors = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise ContractError(f"{path} is not a safetensors file: {error}") from error
    if not isinstance(tensors, dict):
        raise ContractError(f"{path} is not a safetensors file: its header is no object")
    return [facts for name, facts in tensors.items() if name != "__metadata__"], size - 8 - length


def read_tensor(facts: Any, *, n_bytes: int) -> tuple[int, int, int, int]:
    """Return where a tensor begins and ends, how many numbers it has, and the bits of each.

    Args: n_bytes: of all tensors, so of this one at most.
    Raises: ContractError.
    """
    try:
        (start, end), shape, bits = facts["data_offsets"], facts["shape"], BITS[facts["dtype"]]
        numbers = [start, end, *shape]
    except (TypeError, KeyError, ValueError) as error:
        raise ContractError(f"a safetensors header describes a tensor as {str(facts)[:100]}") from error
    if len(shape) > MAX_DIMENSIONS or not all(type(number) is int and number >= 0 for number in numbers):
        raise ContractError(f"a safetensors header describes a tensor as {str(facts)[:100]}")
    return start, end, count_numbers(shape, at_most=n_bytes), bits


def count_numbers(shape: list[int], *, at_most: int) -> int:
    """Return the product of a shape. Raises: ContractError once it exceeds the bytes: no number takes less than one."""
    if 0 in shape:
        return 0
    n = 1
    for side in shape:
        n *= side
        if n > at_most:
            raise ContractError(f"a safetensors header describes a tensor of more than its file's {at_most:,} bytes")
    return n
