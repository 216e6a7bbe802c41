"""Encoders as reward models: BERT, RoBERTa, DeBERTa and ModernBERT shapes, tiny and random."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForMaskedLM,
    BertConfig,
    DebertaV2Config,
    ModernBertConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.evaluate import EvaluateConfig
from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.contract.kinds.reward import RewardConfig
from rlhf.contract.records import write_rows
from rlhf.contract.run_dir import prepare_run_dir, tail_metrics, verify_sealed
from rlhf.learning import evaluation, ppo, reward_model
from rlhf.learning.actor_critic import FreshCritic
from rlhf.learning.logps import build_batch
from rlhf.learning.models import load_tokenizer
from rlhf.learning.preferences import encode_pairs
from rlhf.learning.reward_card import read_card, require_parity
from rlhf.learning.scorer import load_scorer, reads_same_tokens
from rlhf.learning.scoring import Ensemble, load_reward_model, load_scoring_tokenizer, score_heads, score_rows
from rlhf.learning.tokenization import encode_prompt
from tests.rlhf.learning.conftest import BAD, GOOD, QUESTIONS, polite_pairs, write_pairs

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}
SHAPES = {
    "bert": lambda n: BertConfig(vocab_size=n, **SIZES),
    "roberta": lambda n: RobertaConfig(vocab_size=n, pad_token_id=0, bos_token_id=2, eos_token_id=3, **SIZES),
    "deberta": lambda n: DebertaV2Config(
        vocab_size=n, relative_attention=True, position_biased_input=False, pos_att_type=["p2c", "c2p"], **SIZES
    ),
    "modernbert": lambda n: ModernBertConfig(
        vocab_size=n, pad_token_id=0, cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3, **SIZES
    ),
}


def word_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of words as encoders have them: neither an end token nor a chat template."""
    words = sorted({word for text in (*GOOD, *BAD, *QUESTIONS, "user assistant : . ,") for word in split(text)})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: number for number, word in enumerate([*special, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def split(text: str) -> list[str]:
    return [word for word, _ in pre_tokenizers.Whitespace().pre_tokenize_str(text)]


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {}
    for name, describe in SHAPES.items():
        folder = folders[name] = tmp_path_factory.mktemp(name)
        tokenizer = word_tokenizer()
        torch.manual_seed(0)
        AutoModelForMaskedLM.from_config(describe(len(tokenizer))).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folders


def run(run_dir: Path, base_model: Path, **changes) -> dict:
    values = {"batch_size": 8, "epochs": 2, "learning_rate": 2e-3, "max_length": 60, "dtype": "float32", **changes}
    config = RewardConfig(base_model=str(base_model), **values)
    prepare_run_dir(run_dir, config)
    write_pairs(run_dir, n_train=64, n_test=20)
    return reward_model.train(config, run_dir)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_encoder_learns_the_rule_and_is_loaded_as_it_was_published(
    shape: str, encoders: dict[str, Path], tmp_path: Path
):
    metrics = run(tmp_path / "run", encoders[shape])

    final = tmp_path / "run" / "checkpoints" / "final"
    verify_sealed(final)
    tokenizer = load_scoring_tokenizer(final)
    require_parity(load_reward_model(final, tokenizer, seed=1), final)
    config = EvaluateConfig(base_model=str(final), max_length=60)
    prepare_run_dir(tmp_path / "again", config)
    write_pairs(tmp_path / "again", n_train=1, n_test=20)
    again = evaluation.train(config, tmp_path / "again")
    assert metrics["eval_accuracy"] == 1.0
    assert again["eval_log_loss"] == pytest.approx(metrics["eval_log_loss"], rel=1e-4)
    assert len(read_card(final)["parity"]) == 20


@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_a_score_does_not_depend_on_the_padding_beside_it(shape: str, encoders: dict[str, Path]):
    tokenizer = load_scoring_tokenizer(encoders[shape])
    model = load_reward_model(encoders[shape], tokenizer, seed=0)
    pairs = encode_pairs(polite_pairs(6), tokenizer, max_length=60).pairs
    rows = [pair.prompt_ids + ids for pair in pairs for ids in (pair.chosen_ids, pair.rejected_ids)]
    rows[0] = rows[0][-9:]

    together = score_rows(model, rows)
    alone = torch.cat([score_rows(model, [row]) for row in rows])

    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_several_heads_of_an_encoder_tell_how_sure_they_are(encoders: dict[str, Path], tmp_path: Path):
    metrics = run(tmp_path, encoders["bert"], n_heads=3)

    final = tmp_path / "checkpoints" / "final"
    tokenizer = load_scoring_tokenizer(final)
    model = load_reward_model(final, tokenizer, seed=0)
    rows = [tokenizer.encode("user: Can you help me?[SEP]assistant: Gladly.[SEP]")]
    assert score_heads(model, rows).shape == (1, 3)
    assert metrics["eval_spread"] > 0
    assert metrics["eval_accuracy"] == 1.0


def test_a_run_of_an_encoder_taken_up_ends_with_the_same_bytes(encoders: dict[str, Path], tmp_path: Path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    metrics = run(whole, encoders["deberta"], max_steps=6, save_steps=4)
    (resumed / "checkpoints").mkdir(parents=True)
    (whole / "checkpoints" / "checkpoint-4").rename(resumed / "checkpoints" / "checkpoint-4")

    assert run(resumed, encoders["deberta"], max_steps=6, save_steps=4) == metrics
    weights = [folder / "checkpoints" / "final" / "model.safetensors" for folder in (whole, resumed)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_long_dialogue_loses_its_oldest_turns_whole(encoders: dict[str, Path]):
    tokenizer = load_scoring_tokenizer(encoders["bert"])
    (row,) = polite_pairs(1)
    turns = [
        {"role": "user", "content": "Is the shop open?"},
        {"role": "assistant", "content": "Silence, you are boring."},
    ]
    long = {**row, "prompt": [*turns * 5, *row["prompt"]]}

    short, cut = (encode_pairs([one], tokenizer, max_length=48) for one in (row, long))

    text = tokenizer.decode(cut.pairs[0].prompt_ids)
    assert (cut.n_cut, cut.n_dropped) == (1, 0)
    assert cut.pairs[0].n_tokens <= 48
    assert text.startswith("[CLS] user : Is the shop open ? [SEP] assistant : Silence")
    assert text.endswith(tokenizer.decode(short.pairs[0].prompt_ids)[len("[CLS] ") :])


def test_rows_beyond_the_positions_of_an_encoder_are_refused(encoders: dict[str, Path], tmp_path: Path):
    config = RewardConfig(base_model=str(encoders["roberta"]), max_length=128)
    prepare_run_dir(tmp_path, config)
    (row,) = polite_pairs(1)
    long = {**row, "chosen": [{"role": "assistant", "content": "Gladly, please sit down. " * 12}]}
    write_rows(tmp_path / "data" / "train.jsonl", [long])
    write_rows(tmp_path / "data" / "test.jsonl", [row])

    with pytest.raises(ContractError, match=r"exceeds the 63 positions of RobertaFor\w+; set max_length=63 or lower"):
        reward_model.train(config, tmp_path)


def test_what_a_policy_wrote_is_scored_as_if_the_reward_model_had_read_it(
    encoders: dict[str, Path], tiny_policy: Path, tmp_path: Path
):
    run(tmp_path, encoders["bert"])
    final = tmp_path / "checkpoints" / "final"
    policy, own = load_tokenizer(tiny_policy), load_scoring_tokenizer(final)
    pairs = polite_pairs(5)
    prompts = [encode_prompt(policy, pair["prompt"], 99) for pair in pairs]
    texts = [pair["chosen"][0]["content"] for pair in pairs]
    completions = [policy.encode(text, add_special_tokens=False) for text in texts]
    conversations = {tuple(ids): pair["prompt"] for ids, pair in zip(prompts, pairs, strict=True)}
    stop_id = policy.eos_token_id

    scorer = load_scorer(final, policy, conversations=conversations, stop_ids=[stop_id], ensemble=Ensemble(), seed=0)
    finished = scorer(prompts, [[*ids, stop_id] for ids in completions])
    unfinished = scorer(prompts, completions)

    assert not reads_same_tokens(policy, own)
    model = load_reward_model(final, own, seed=0)
    encoded = encode_pairs(pairs, own, max_length=60).pairs
    torch.testing.assert_close(finished, score_rows(model, [pair.prompt_ids + pair.chosen_ids for pair in encoded]))
    cut = [pair.prompt_ids + pair.chosen_ids[:-1] for pair in encoded]
    torch.testing.assert_close(unfinished, score_rows(model, cut))
    assert scorer.n_cut == 0
    scorer([[*prompts[0]]], [completions[0] * 9])
    assert scorer.n_cut == 1


def test_a_policy_with_the_same_tokens_is_scored_by_its_ids(tiny_policy: Path, tmp_path: Path):
    tokenizer = load_tokenizer(tiny_policy)
    folder = tmp_path / "reward-model"
    load_reward_model(tiny_policy, tokenizer, seed=0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)

    scorer = load_scorer(folder, tokenizer, conversations={}, stop_ids=[2], ensemble=Ensemble(), seed=0)

    model = load_reward_model(folder, tokenizer, seed=0)
    torch.testing.assert_close(scorer([[1, 4, 9]], [[30, 31]]), score_rows(model, [[1, 4, 9, 30, 31]]))


@pytest.mark.parametrize("lora_rank", [0, 4], ids=["weights", "adapters"])
def test_ppo_learns_from_an_encoder_that_reads_other_tokens(
    lora_rank: int, encoders: dict[str, Path], tiny_policy: Path, tmp_path: Path
):
    run(tmp_path / "reward", encoders["bert"])
    config = PPOConfig(
        base_model=str(tiny_policy),
        reward_model=str(tmp_path / "reward" / "checkpoints" / "final"),
        rollouts=3,
        rollout_batch_size=4,
        num_minibatches=2,
        max_new_tokens=6,
        learning_rate=1e-3,
        value_learning_rate=3e-4,
        critic_warmup_rollouts=1,
        target_kl=0.05,
        lora_rank=lora_rank,
        missing_eos_penalty=0.0,
    )
    prepare_run_dir(tmp_path / "ppo", config)
    prompts = [{"prompt_id": text, "prompt": [{"role": "user", "content": text}]} for text in QUESTIONS]
    write_rows(tmp_path / "ppo" / "data" / "prompts.jsonl", prompts)

    metrics = ppo.train(config, tmp_path / "ppo")

    verify_sealed(tmp_path / "ppo" / "checkpoints" / "final")
    first = tail_metrics(tmp_path / "ppo", 0)[0][0]["values"]
    assert metrics["episode"] == 12
    assert first["objective/kl"] == pytest.approx(0.0, abs=1e-4)
    # The first rollout's scores are its own measure.
    assert first["objective/scores_norm"] == pytest.approx(0.0, abs=1e-4)


def test_a_critic_over_a_trunk_that_scored_nothing_starts_at_zero(tiny_policy: Path):
    tokenizer = load_tokenizer(tiny_policy)
    critic = FreshCritic(load_reward_model(tiny_policy, tokenizer, seed=0))
    critic.set_scale(3.0, 2.0)

    assert critic(build_batch([[1, 4]], [[7, 8]], pad_id=0)).tolist() == [0.0, 0.0]
