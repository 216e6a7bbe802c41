import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from rlhf.contract.errors import ContractError
from rlhf.learning.logps import (
    CPU_ROWS,
    align_left,
    build_batch,
    completion_logits,
    completion_logps,
    require_compact_head,
    sum_rows,
    token_logps,
)

SIZES = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
LLAMA_LIKE = {**SIZES, "num_key_value_heads": 2, "intermediate_size": 32, "head_dim": 8, "pad_token_id": 0}
MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**LLAMA_LIKE)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**LLAMA_LIKE, final_logit_softcapping=2.0)),
    "cohere": lambda: CohereForCausalLM(CohereConfig(**LLAMA_LIKE, logit_scale=0.25)),
    "granite": lambda: GraniteForCausalLM(GraniteConfig(**LLAMA_LIKE, logits_scaling=3.0)),
}
PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13]]
COMPLETIONS = [[20, 21], [22, 23, 24, 25], [26]]


def build(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return MODELS[name]().eval()


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_the_shortcut_gives_what_the_whole_model_gives(name: str):
    model = build(name)
    expected = []
    for prompt, completion in zip(PROMPTS, COMPLETIONS, strict=True):
        logps = model(torch.tensor([prompt + completion])).logits[0].float().log_softmax(-1)
        expected += [logps[len(prompt) - 1 + place, token].item() for place, token in enumerate(completion)]

    batch = build_batch(PROMPTS, COMPLETIONS, pad_id=0)

    assert completion_logps(model, batch).tolist() == pytest.approx(expected, abs=2e-6)
    require_compact_head(model, batch)


def test_temperature_divides_the_logits():
    model, batch = build("llama"), build_batch(PROMPTS, COMPLETIONS, pad_id=0)

    logits = completion_logits(model, batch)
    expected = (logits / 0.7).log_softmax(-1).gather(1, batch.targets[:, None]).squeeze(1)

    torch.testing.assert_close(completion_logps(model, batch, temperature=0.7), expected)


def test_the_gradient_is_that_of_the_whole_model():
    model, batch = build("llama"), build_batch(PROMPTS, COMPLETIONS, pad_id=0)
    completion_logps(model, batch).sum().backward()
    shortcut = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    model.zero_grad()
    logps = model(batch.input_ids).logits.log_softmax(-1)[:, :-1]
    whole = logps.gather(2, batch.input_ids[:, 1:, None]).squeeze(2)
    (whole * batch.completion_mask[:, 1:]).sum().backward()

    for name, parameter in model.named_parameters():
        torch.testing.assert_close(shortcut[name], parameter.grad, atol=1e-5, rtol=1e-4, msg=name)


def test_the_model_is_as_it_was_after_the_shortcut():
    model, batch = build("llama"), build_batch(PROMPTS, COMPLETIONS, pad_id=0)
    before = model(batch.input_ids).logits

    completion_logits(model, batch)

    assert torch.equal(model(batch.input_ids).logits, before)


def test_a_head_that_looks_at_its_neighbours_is_refused():
    class Smearing(torch.nn.Linear):
        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return super().forward(hidden + hidden.roll(1, -2))

    model = build("llama")
    model.lm_head.__class__ = Smearing

    with pytest.raises(ContractError, match="LlamaForCausalLM computes its logits"):
        require_compact_head(model, build_batch(PROMPTS, COMPLETIONS, pad_id=0))


def test_tokens_go_back_to_their_rows():
    values, lengths = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1, 3])

    assert align_left(values, lengths).tolist() == [[1.0, 0.0, 0.0], [2.0, 3.0, 4.0]]
    assert sum_rows(values, lengths).tolist() == [1.0, 9.0]


@torch.no_grad()
def test_the_head_keeps_its_precision_where_the_trunk_gives_some_up():
    model, batch = build("llama"), build_batch(PROMPTS, COMPLETIONS, pad_id=0)
    seen = {}
    model.lm_head.register_forward_hook(
        lambda head, args, output: seen.update(logits=output.dtype, hidden=args[0].dtype)
    )
    exact = completion_logps(model, batch)

    with torch.autocast("cpu", torch.bfloat16):
        rough = completion_logps(model, batch)
        trunk = model.model.layers[0].mlp.up_proj(torch.ones(1, 16))

    assert seen == {"logits": torch.float32, "hidden": torch.float32}
    assert trunk.dtype == torch.bfloat16
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, atol=0.02, rtol=0.01)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_and_their_gradient_are_those_of_cross_entropy(temperature: float):
    torch.manual_seed(0)
    logits = (3 * torch.randn(2 * CPU_ROWS + 5, 40, dtype=torch.float64)).requires_grad_()
    targets, slopes = torch.randint(0, 40, (len(logits),)), torch.randn(len(logits), dtype=torch.float64)
    expected = -torch.nn.functional.cross_entropy(logits / temperature, targets, reduction="none")
    (gradient,) = torch.autograd.grad(expected, logits, slopes)

    logps = token_logps(logits, targets, temperature=temperature)

    torch.testing.assert_close(logps, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(torch.autograd.grad(logps, logits, slopes)[0], gradient, atol=1e-12, rtol=0)
    assert torch.autograd.gradcheck(lambda some: token_logps(some, targets[:6], temperature=temperature), logits[:6])


def test_log_probabilities_make_one_more_matrix_of_the_size_of_the_logits():
    logits = torch.randn(3 * CPU_ROWS, 50, requires_grad=True)
    targets = torch.zeros(len(logits), dtype=torch.long)

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            made = func(*args, **(kwargs or {}))
            if isinstance(made, torch.Tensor) and made.shape == logits.shape:
                storages.add(made.untyped_storage().data_ptr())
            return made

    storages = {logits.untyped_storage().data_ptr()}
    with Count():
        token_logps(logits, targets).sum().backward()

    assert len(storages) == 2
