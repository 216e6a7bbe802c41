"""What draws a rollout's completions: our own loop, transformers' continuous batching, or vLLM. One signature for all.

The loop is the one whose draws a seed decides, and the one that several processes share to the digit. The others schedule
requests by themselves: on a GPU they are faster, and a repeated run draws others of the same distribution.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig, PreTrainedModel

from rlhf.contract.errors import ContractError
from rlhf.learning.adapters import merged_weights
from rlhf.learning.generation import Decoding, Rollout, check_positions, generate

# A part of the GPU that sampling may take for its cache while the models that learn lie beside it.
CACHE_SHARE = 0.3
# A part of a CPU's memory for the same. transformers would take most of what the whole machine has.
CPU_SHARE = 0.05


class Backend(Protocol):
    """Draws n completions of each prompt whose number is in `only`, in its order."""

    def __call__(
        self,
        model: PreTrainedModel,
        prompts: list[list[int]],
        decoding: Decoding,
        *,
        n: int,
        seed: int,
        only: Sequence[int],
    ) -> list[list[Rollout]]: ...


def pick_backend(name: str, *, device: torch.device, base_model: str, batch_size: int) -> Backend:
    """Return the backend of a setting.

    Args: base_model: the folder vLLM reads the model's shape from. batch_size: completions that our loop draws at once.
    Raises: ContractError for vllm where it is not installed.
    """
    if name == "vllm":
        return VLLMBackend(base_model)
    if name == "continuous" or (name == "auto" and device.type == "cuda"):
        return draw_continuously
    return LoopBackend(batch_size)


class LoopBackend:
    """Our own loop over padded batches. Args: batch_size: completions drawn at once."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size

    def __call__(
        self,
        model: PreTrainedModel,
        prompts: list[list[int]],
        decoding: Decoding,
        *,
        n: int,
        seed: int,
        only: Sequence[int],
    ) -> list[list[Rollout]]:
        """Return completions as `generation.generate` draws them."""
        return generate(
            model,
            prompts,
            n=n,
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            max_new_tokens=decoding.max_new_tokens,
            stop_ids=decoding.stop_ids,
            seed=seed,
            batch_size=self.batch_size,
            only=only,
        )


def draw_continuously(
    model: PreTrainedModel,
    prompts: list[list[int]],
    decoding: Decoding,
    *,
    n: int,
    seed: int,
    only: Sequence[int],
) -> list[list[Rollout]]:
    """Return completions by transformers' continuous batching: finished rows make room for waiting ones at once."""
    check_positions(model, prompts, decoding.max_new_tokens)
    settings = GenerationConfig(
        do_sample=decoding.temperature > 0,
        temperature=decoding.temperature or None,
        top_p=decoding.top_p,
        top_k=0,
        max_new_tokens=decoding.max_new_tokens,
        eos_token_id=decoding.stop_ids,
        pad_token_id=0,  # a paged cache holds no padding; without a name for it transformers warns at every call
    )
    torch.manual_seed(seed)
    with paged_attention(model), torch.no_grad():
        outputs = model.generate_batch(  # type: ignore[operator]
            [prompts[index] for index in only for _ in range(n)],
            generation_config=settings,
            continuous_batching_config=ContinuousBatchingConfig(
                return_logprobs=True, max_memory_percent=CPU_SHARE if model.device.type == "cpu" else None
            ),
            warmup=False,
        )
    # Requests are numbered in the order they were made, and answered in the order they end.
    drawn = [read_output(outputs[key], decoding.stop_ids) for key in sorted(outputs, key=request_number)]
    if len(drawn) != n * len(only):
        raise RuntimeError(f"continuous batching answered {len(drawn)} of {n * len(only)} requests")
    return [drawn[start : start + n] for start in range(0, len(drawn), n)]


@contextmanager
def paged_attention(model: PreTrainedModel) -> Iterator[None]:
    """Give the model back the attention and the mode it had: continuous batching leaves its own behind."""
    attention, was_training = model.config._attn_implementation, model.training
    model.eval()
    try:
        yield
    finally:
        model.set_attn_implementation(attention)
        model.train(was_training)


def request_number(key: str) -> int:
    """Return the number in a request's id, "req_12"."""
    return int(key.rpartition("_")[2])


def read_output(output: Any, stop_ids: list[int]) -> Rollout:
    """Return one answered request. Raises: RuntimeError when it failed."""
    if output.error:
        raise RuntimeError(f"continuous batching failed: {output.error}")
    return cut_after_stop(output.generated_tokens, list(output.logprobs), stop_ids)


def cut_after_stop(ids: Sequence[int], logps: list[float], stop_ids: list[int]) -> Rollout:
    """Return a completion up to its first stop token, which it keeps."""
    ends = next((place + 1 for place, token in enumerate(ids) if token in stop_ids), len(ids))
    return Rollout(list(ids[:ends]), bool(ends) and ids[ends - 1] in stop_ids, logps[:ends])


class VLLMBackend:
    """vLLM in this process, given the policy's weights anew before each rollout. Written to its documentation, not tried.

    Args: base_model: a model folder. Raises: ContractError where vLLM is not installed.
    """

    def __init__(self, base_model: str) -> None:
        if importlib.util.find_spec("vllm") is None:
            raise ContractError(
                "generation_backend=vllm needs vLLM on the learning host: pip install vllm, or set auto, which needs nothing"
            )
        import vllm  # noqa: PLC0415 -- an optional package that takes the GPU when it is imported

        self.vllm = vllm
        self.engine = vllm.LLM(
            model=base_model, skip_tokenizer_init=True, gpu_memory_utilization=CACHE_SHARE, enforce_eager=True
        )

    def __call__(
        self,
        model: PreTrainedModel,
        prompts: list[list[int]],
        decoding: Decoding,
        *,
        n: int,
        seed: int,
        only: Sequence[int],
    ) -> list[list[Rollout]]:
        """Return completions drawn by vLLM from the model's present weights."""
        check_positions(model, prompts, decoding.max_new_tokens)
        weights = list(merged_weights(model).items())
        self.engine.apply_model(lambda inner: inner.load_weights(weights))
        settings = self.vllm.SamplingParams(
            n=n,
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            top_k=-1,
            max_tokens=decoding.max_new_tokens,
            stop_token_ids=decoding.stop_ids,
            ignore_eos=True,  # which ids stop is said above
            logprobs=0,  # that of the drawn token alone
            seed=seed,
            detokenize=False,
        )
        requests = [{"prompt_token_ids": prompts[index]} for index in only]
        return [
            [self.read(completion, decoding.stop_ids) for completion in answer.outputs]
            for answer in self.engine.generate(requests, settings, use_tqdm=False)
        ]

    def read(self, completion: Any, stop_ids: list[int]) -> Rollout:
        """Return one completion of vLLM's."""
        ids = list(completion.token_ids)
        logps = [step[token].logprob for token, step in zip(ids, completion.logprobs, strict=True)]
        return cut_after_stop(ids, logps, stop_ids)
