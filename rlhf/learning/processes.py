"""One run in several processes: who is who, and what they tell each other. Alone, every question answers itself.

The processes are started by `accelerate launch` or torchrun, which name them in the environment; all go through the one
door with the same run directory. The first of them alone writes into it.

torch is imported where it is used: the door asks who is first before it knows that torch is there at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rlhf.contract.errors import ContractError

if TYPE_CHECKING:
    from torch import Tensor

# What a launcher tells each process; without it the libraries take themselves for the only one.
LAUNCHED = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

# The methods whose models may lie in pieces in several processes.
TRAINERS = ("reward", "dpo", "kto")
SHARDABLE = ("pretrain", "sft", *TRAINERS)
WHOLE_INSTEAD = "use data parallelism instead: LEARNING_PROCESSES, or a configuration such as trl's multi_gpu.yaml"


def process_count() -> int:
    """Return how many processes work on this run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def process_rank() -> int:
    """Return this process's number among them, from 0."""
    return int(os.environ.get("RANK", "0")) if process_count() > 1 else 0


def is_first_process() -> bool:
    """Whether this is the process that writes metrics, checkpoints and the result."""
    return process_rank() == 0


def join_processes() -> None:
    """Meet the other processes of this run, if it was launched as several. Raises: what torch.distributed raises."""
    if process_count() == 1:
        return
    import torch  # noqa: PLC0415 -- see above
    import torch.distributed as dist  # noqa: PLC0415 -- see above

    if not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        print(f"process {process_rank() + 1} of {process_count()} is here", flush=True)


def leave_processes() -> None:
    """Let go of the others before this process ends."""
    if process_count() == 1:
        return
    import torch.distributed as dist  # noqa: PLC0415 -- see above

    if dist.is_initialized():
        dist.destroy_process_group()


def wants_shards() -> bool:
    """Whether the launcher's configuration asks for weights in pieces (FSDP), and there is more than one process."""
    return process_count() > 1 and is_set("ACCELERATE_USE_FSDP")


def cuts_weights() -> bool:
    """Whether a launcher's configuration may put a model's weights in pieces, by FSDP or by DeepSpeed."""
    return wants_shards() or (process_count() > 1 and is_set("ACCELERATE_USE_DEEPSPEED"))


def is_set(name: str) -> bool:
    """Whether a launcher said yes to something."""
    return os.environ.get(name, "").lower() in ("1", "true", "yes")


def require_shardable(kind: str, *, has_adapters: bool = False, in_parts: bool = False) -> None:
    """Refuse what a launcher's configuration asks for and this kind of run cannot do, before any model is loaded.

    Each process loads whole weights, whatever the configuration says: what is checked and computed before they are cut
    up (the head, the reference's log-probabilities) needs them in every process.

    Raises: ContractError.
    """
    keeps_weights = kind in TRAINERS and os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") in ("1", "2")
    if process_count() > 1 and is_set("ACCELERATE_USE_DEEPSPEED") and not keeps_weights:
        raise ContractError(
            f"a {kind} run cannot publish what DeepSpeed cuts up; use FSDP of version 2 where the kind is one of "
            f"{', '.join(SHARDABLE)}, or {WHOLE_INSTEAD}"
        )
    if process_count() > 1 and has_adapters and os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") == "2":
        # Seen: from its second update on, a reward model's loss is another one by 3e-4.
        raise ContractError("LoRA learns something else under ZeRO of stage 2; set zero_stage: 1, or lora_rank=0")
    if process_count() > 1 and in_parts and is_set("ACCELERATE_USE_DEEPSPEED"):
        raise ContractError(
            "DeepSpeed steps after every backward pass: set micro_batch_tokens=0, and a lower batch_size"
        )
    if not wants_shards():
        return
    if kind not in SHARDABLE:
        raise ContractError(f"a {kind} run keeps whole weights in each process and knows no FSDP; {WHOLE_INSTEAD}")
    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise ContractError(f"FSDP of version 1 cannot be published from; set fsdp_version: 2, or {WHOLE_INSTEAD}")
    if os.environ.get("FSDP_STATE_DICT_TYPE") != "FULL_STATE_DICT":  # torch's files of pieces are pickles
        raise ContractError("checkpoints are written in one piece: set fsdp_state_dict_type: FULL_STATE_DICT")
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"


def work_alone() -> None:
    """Forget the launcher: what this process does now, it does by itself."""
    for name in LAUNCHED:
        os.environ.pop(name, None)


def wait_for_all() -> None:
    """Return once every process has come here."""
    if process_count() > 1:
        import torch.distributed as dist  # noqa: PLC0415 -- see above

        dist.barrier()


def share_of(rows: list[int], rank: int | None = None) -> list[int]:
    """Return the rows that are this process's part, or that of a rank: every n-th of them."""
    return rows[process_rank() if rank is None else rank :: process_count()]


def take_share(rows: Sequence[Any]) -> tuple[list[Any], float]:
    """Return this process's rows of a batch that all have drawn alike, and what the mean over them counts for.

    The mean over the processes of (mean over a process's rows) times (its share) is the mean over the batch. A process for
    which no row is left gets one with a share of 0: it must go along into every exchange.
    """
    mine = list(rows[process_rank() :: process_count()])
    return mine or list(rows[:1]), len(mine) * process_count() / len(rows)


def split_batch(batch_size: int) -> int:
    """Return how many rows of a batch one process takes. Raises: ContractError when it cannot be split evenly."""
    if batch_size % process_count():
        raise ContractError(
            f"batch_size must be a multiple of the {process_count()} processes of this run, got {batch_size}"
        )
    return batch_size // process_count()


def sum_over_processes(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over the processes; the tensor itself is overwritten."""
    if process_count() > 1:
        import torch.distributed as dist  # noqa: PLC0415 -- see above

        dist.all_reduce(tensor)
    return tensor


def max_over_processes(tensor: Tensor) -> Tensor:
    """Return the largest of a tensor over the processes; the tensor itself is overwritten."""
    if process_count() > 1:
        import torch.distributed as dist  # noqa: PLC0415 -- see above

        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return tensor


def sum_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace every gradient by its sum over the processes; where a process has none, it adds 0.

    Those of weights in pieces have been averaged when they were cut up, and are made a sum.
    """
    if process_count() == 1:
        return
    import torch  # noqa: PLC0415 -- see above
    from torch.distributed.tensor import DTensor  # noqa: PLC0415 -- see above

    for parameter in parameters:
        if isinstance(parameter, DTensor):
            if parameter.grad is not None:
                parameter.grad.mul_(process_count())
        elif parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            sum_over_processes(parameter.grad)


def any_process(answer: bool) -> bool:
    """Return whether any process says yes: a signal reaches them one after the other, and they must act as one."""
    if process_count() == 1:
        return answer
    import torch  # noqa: PLC0415 -- see above

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return bool(sum_over_processes(torch.tensor(int(answer), device=device)))


def gather_parts(part: Any) -> list[Any]:
    """Return what every process has brought, by rank."""
    if process_count() == 1:
        return [part]
    import torch.distributed as dist  # noqa: PLC0415 -- see above

    parts: list[Any] = [None] * process_count()
    dist.all_gather_object(parts, part)
    return parts
