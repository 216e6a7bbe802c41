import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rlhf.contract.config import CONFIGS
from rlhf.contract.kinds.dpo import DPOConfig
from rlhf.contract.kinds.grpo import GRPOConfig
from rlhf.contract.kinds.kto import KTOConfig
from rlhf.contract.kinds.reward import RewardConfig
from rlhf.contract.kinds.sft import SFTConfig
from rlhf.learning.rates import RATES, peak_rate


def build_model(n_layers: int, width: int) -> LlamaForCausalLM:
    """Return a model that has a size and no memory."""
    with torch.device("meta"):
        return LlamaForCausalLM(
            LlamaConfig(
                hidden_size=width,
                intermediate_size=4 * width,
                num_hidden_layers=n_layers,
                num_attention_heads=8,
                num_key_value_heads=8,
                vocab_size=32000,
            )
        )


SEVEN_BILLION = build_model(26, 4096)


def test_methods_whose_rate_follows_from_the_size_share_one_setting_of_it():
    settings = {id(CONFIGS[kind].__dataclass_fields__["learning_rate"]) for kind in RATES}

    assert len(settings) == 1


def test_a_rate_that_is_named_is_taken():
    assert peak_rate(SFTConfig(learning_rate=0.5), SEVEN_BILLION) == 0.5
    assert peak_rate(SFTConfig(learning_rate=0.5, lora_rank=8), SEVEN_BILLION) == 0.5


@pytest.mark.parametrize(
    ("config", "low", "high"),
    [
        (SFTConfig(), 1e-5, 3e-5),
        (DPOConfig(), 1e-6, 5e-6),
        (KTOConfig(), 1e-6, 5e-6),
        (RewardConfig(), 3e-6, 1e-5),
        (GRPOConfig(), 1e-6, 5e-6),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_a_model_of_seven_billion_weights_learns_at_the_rates_of_published_recipes(config, low: float, high: float):
    assert low < peak_rate(config, SEVEN_BILLION) < high


def test_four_times_the_weights_learn_at_half_the_rate():
    small, large = build_model(8, 512), build_model(8, 1024)
    ratio = large.num_parameters() / small.num_parameters()

    assert peak_rate(DPOConfig(), small) / peak_rate(DPOConfig(), large) == pytest.approx(ratio**0.5)


def test_small_models_have_one_rate():
    tiny = build_model(1, 8)

    assert tiny.num_parameters() < 1e6
    assert peak_rate(SFTConfig(), tiny) == 1e-3


def test_adapters_learn_at_ten_times_the_rate_and_at_a_thousandth_at_most():
    assert peak_rate(DPOConfig(lora_rank=8), SEVEN_BILLION) == pytest.approx(10 * peak_rate(DPOConfig(), SEVEN_BILLION))
    assert peak_rate(SFTConfig(lora_rank=8), build_model(1, 8)) == 1e-3
