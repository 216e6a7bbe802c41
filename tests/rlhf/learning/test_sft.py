from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM
from trl.trainer.sft_config import SFTConfig as SFTArguments
from trl.trainer.sft_trainer import SFTTrainer

from rlhf.contract.errors import ContractError, RecordError
from rlhf.contract.kinds.pretrain import PretrainConfig
from rlhf.contract.kinds.sft import SFTConfig
from rlhf.contract.records import write_rows
from rlhf.contract.run_dir import prepare_run_dir, read_preview, tail_metrics, verify_sealed
from rlhf.learning.conversations import (
    build_conversation_batch,
    load_conversations,
    pack_conversations,
    require_packable,
)
from rlhf.learning.generation import generate
from rlhf.learning.models import load_policy, load_tokenizer
from rlhf.learning.sft import answer_loss, train
from rlhf.learning.shapes import describe_shape
from rlhf.learning.tokenization import encode_conversation, encode_prompt
from tests.rlhf.learning.conftest import BAD, GOOD, QUESTIONS

ANSWERS = {"Can you help me?": "Gladly, please sit down.", "May I come in?": "No, go away from me now."}
CONVERSATIONS = [
    [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    for question, answer in ANSWERS.items()
]


def prepare(run_dir: Path, base_model: Path, **settings) -> SFTConfig:
    settings = {"batch_size": 8, "epochs": 20.0, "learning_rate": 2e-2, "dtype": "float32", **settings}
    config = SFTConfig(base_model=str(base_model), **settings)
    prepare_run_dir(run_dir, config)
    write_rows(run_dir / "data" / "train.jsonl", [{"messages": messages} for messages in CONVERSATIONS * 20])
    return config


def answer(folder: Path, question: str) -> str:
    tokenizer, model = load_tokenizer(folder), load_policy(folder)
    prompt = encode_prompt(tokenizer, [{"role": "user", "content": question}], 99)
    [[rollout]] = generate(
        model, [prompt], n=1, temperature=0, top_p=1, max_new_tokens=30, stop_ids=[2], seed=0, batch_size=1
    )
    return tokenizer.decode(rollout.ids)


def test_it_answers_as_it_was_shown_and_then_stops(tiny_policy: Path, tmp_path: Path):
    train(prepare(tmp_path, tiny_policy), tmp_path)

    final = tmp_path / "checkpoints" / "final"
    verify_sealed(final)
    assert {question: answer(final, question) for question in ANSWERS} == {
        question: f"{text}<|eos|>" for question, text in ANSWERS.items()
    }


def test_only_answers_are_counted_and_learned_from(tiny_policy: Path):
    tokenizer, model = load_tokenizer(tiny_policy), load_policy(tiny_policy).cpu()
    encoded = [encode_conversation(tokenizer, messages, 99) for messages in CONVERSATIONS]

    loss = answer_loss(model, build_conversation_batch(encoded, tokenizer.pad_token_id))

    nats, n_tokens = 0.0, 0
    for conversation in encoded:
        logps = model(torch.tensor([conversation.ids])).logits[0].log_softmax(-1)
        for place, is_answer in enumerate(conversation.loss_mask):
            if is_answer:
                nats -= logps[place - 1, conversation.ids[place]].item()
                n_tokens += 1
    assert loss.item() == pytest.approx(nats / n_tokens, abs=1e-5)


@pytest.mark.parametrize("packing", ["off", "on"])
def test_it_has_the_losses_and_gradients_of_trl(packing: str, tiny_policy: Path, tmp_path: Path):
    rows = [
        [{"role": "user", "content": asked}, {"role": "assistant", "content": said}] * n
        for n, (asked, said) in enumerate(zip(QUESTIONS, GOOD, strict=True), 1)
    ]
    config = prepare(
        tmp_path / "ours", tiny_policy, max_steps=4, batch_size=4, logging_steps=1, warmup_ratio=0.0, packing=packing
    )
    write_rows(tmp_path / "ours" / "data" / "train.jsonl", [{"messages": messages} for messages in rows])
    theirs = SFTTrainer(
        model=load_policy(tiny_policy),
        args=SFTArguments(
            output_dir=str(tmp_path / "theirs"),
            per_device_train_batch_size=4,
            max_steps=4,
            logging_steps=1,
            learning_rate=config.learning_rate,
            adam_beta2=0.95,
            assistant_only_loss=True,
            bf16=False,
            gradient_checkpointing=False,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list([{"messages": messages} for messages in rows]),
        processing_class=load_tokenizer(tiny_policy),
    )

    train(config, tmp_path / "ours")
    theirs.train()

    ours, _ = tail_metrics(tmp_path / "ours", 0)
    logged = [entry for entry in theirs.state.log_history if "loss" in entry]
    assert len(ours) == 4
    for name in ("loss", "grad_norm"):
        assert [line["values"][name] for line in ours] == pytest.approx([entry[name] for entry in logged], rel=1e-5)


def test_the_epochs_decide_the_steps_unless_max_steps_does(tiny_policy: Path, tmp_path: Path):
    train(prepare(tmp_path / "epochs", tiny_policy, epochs=1.5, batch_size=16, save_steps=1), tmp_path / "epochs")
    train(prepare(tmp_path / "steps", tiny_policy, max_steps=3, save_steps=1), tmp_path / "steps")

    # 40 rows in batches of 16 are 3 steps an epoch; the last step leaves no checkpoint-N but checkpoints/final.
    assert sorted(path.name for path in (tmp_path / "epochs" / "checkpoints").iterdir()) == [
        "checkpoint-3",
        "checkpoint-4",
        "final",
    ]
    assert (tmp_path / "steps" / "checkpoints" / "checkpoint-2").exists()


def test_a_run_taken_up_at_its_checkpoint_ends_with_the_same_bytes(tiny_policy: Path, tmp_path: Path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    metrics = train(prepare(whole, tiny_policy, max_steps=7, save_steps=4), whole)
    config = prepare(resumed, tiny_policy, max_steps=7, save_steps=4)
    (whole / "checkpoints" / "checkpoint-4").rename(resumed / "checkpoints" / "checkpoint-4")

    assert train(config, resumed) == metrics
    weights = [folder / "checkpoints" / "final" / "model.safetensors" for folder in (whole, resumed)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_conversations_without_an_answer_are_refused(tiny_policy: Path, tmp_path: Path):
    config = prepare(tmp_path, tiny_policy)
    write_rows(tmp_path / "data" / "train.jsonl", [{"messages": CONVERSATIONS[0][:1]}])

    with pytest.raises(ContractError, match=r"train\.jsonl: no conversation has an answer within max_length=256"):
        train(config, tmp_path)


def encode_some(tokenizer, n: int = 6):
    rows = [
        [
            {"role": "user", "content": " ".join([*QUESTIONS][: 1 + number % 3])},
            {"role": "assistant", "content": answer},
        ]
        for number, answer in enumerate([*GOOD, *BAD][:n])
    ]
    return [encode_conversation(tokenizer, messages, 99) for messages in rows]


@pytest.mark.parametrize("shape", ["llama", "gpt2", "qwen3"])
def test_conversations_that_share_a_row_are_read_as_if_each_had_its_own(shape: str, tiny_policy: Path):
    tokenizer = load_tokenizer(tiny_policy)
    model = build_shape(shape, tokenizer)
    conversations = encode_some(tokenizer)
    apart, packed = (
        gradients(model, build_conversation_batch(conversations, 0)),
        gradients(model, pack_conversations(conversations, 0, length=64)),
    )

    assert len(pack_conversations(conversations, 0, length=64).input_ids) < len(conversations)
    assert packed["loss"].item() == pytest.approx(apart["loss"].item(), abs=1e-6)
    for name, gradient in apart.items():
        torch.testing.assert_close(packed[name], gradient, atol=1e-6, rtol=1e-5, msg=name)


def build_shape(shape: str, tokenizer):
    torch.manual_seed(0)
    config = PretrainConfig(architecture=shape, hidden_size=32, intermediate_size=64, n_layers=2, n_heads=2)
    model = AutoModelForCausalLM.from_config(describe_shape(config, tokenizer))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    return model


def gradients(model, batch) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss = answer_loss(model, batch)
    loss.backward()
    return {"loss": loss.detach()} | {name: part.grad.clone() for name, part in model.named_parameters()}


def test_a_conversation_is_untouched_by_the_others_of_its_row(tiny_policy: Path):
    tokenizer = load_tokenizer(tiny_policy)
    model = load_policy(tiny_policy)
    first, second, other = encode_some(tokenizer, 3)
    logits, inputs = [], []
    for neighbour in (second, other):
        batch = pack_conversations([first, neighbour], 0, length=99)
        embedded = model.get_input_embeddings()(batch.input_ids).detach().requires_grad_()
        found = model(
            inputs_embeds=embedded, position_ids=batch.position_ids, attention_mask=batch.attention_mask
        ).logits
        start = 0 if len(first.ids) >= len(neighbour.ids) else len(neighbour.ids)
        own = slice(start, start + len(first.ids))
        logits.append(found[0, own].detach())
        found[0, own].logsumexp(-1).sum().backward()
        outside = torch.ones(embedded.shape[1], dtype=torch.bool)
        outside[own] = False
        inputs.append(embedded.grad[0, outside].abs().max().item())

    alone = model(input_ids=torch.tensor([first.ids])).logits[0]
    for found in logits:
        torch.testing.assert_close(found, alone, atol=1e-5, rtol=0)
    assert inputs == [0.0, 0.0]


def test_a_packed_run_ends_where_the_unpacked_one_does(tiny_policy: Path, tmp_path: Path):
    losses = []
    for packing in ("off", "on"):
        run_dir = tmp_path / packing
        losses.append(
            train(prepare(run_dir, tiny_policy, max_steps=6, packing=packing, max_length=64), run_dir)["loss"]
        )

    assert losses[1] == pytest.approx(losses[0], abs=1e-5)


def test_a_model_that_looks_through_a_window_is_not_packed(tiny_policy: Path, tmp_path: Path):
    model = load_policy(tiny_policy)
    model.config.sliding_window = 4

    with pytest.raises(
        ContractError, match="LlamaForCausalLM does not keep conversations in one row apart: set packing=off"
    ):
        require_packable(model, encode_some(load_tokenizer(tiny_policy), 2), 0)


def test_rows_of_every_spelling_teach_the_same(tiny_policy: Path, tmp_path: Path):
    question, answer = "May I come in?", "Gladly, please sit down."
    spellings = [
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]},
        {"prompt": question, "completion": answer},
        {"prompt": [{"role": "user", "content": question}], "completion": [{"role": "assistant", "content": answer}]},
        {"instruction": question, "input": "", "output": answer},
        {"instruction": "May I", "input": "come in?", "output": answer},
    ]
    write_rows(tmp_path / "train.jsonl", spellings)

    found = load_conversations(tmp_path / "train.jsonl", load_tokenizer(tiny_policy), max_length=99).conversations

    assert found[:4] == [found[0]] * 4
    text = load_tokenizer(tiny_policy).decode(found[4].ids)
    assert text == f"<|bos|><|user|> May I\n\ncome in?<|assistant|> {answer}<|eos|>"


def test_a_row_of_no_known_spelling_is_named_by_its_line(tiny_policy: Path, tmp_path: Path):
    write_rows(tmp_path / "train.jsonl", [{"prompt": "May I?", "completion": "Yes."}, {"question": "May I?"}])

    with pytest.raises(RecordError, match=r"train\.jsonl line 2: a row must have messages, prompt and completion, or"):
        load_conversations(tmp_path / "train.jsonl", load_tokenizer(tiny_policy), max_length=99)


def test_what_the_length_costs_is_counted(tiny_policy: Path, tmp_path: Path):
    long = [
        {"role": "user", "content": "Is the shop open?"},
        {"role": "assistant", "content": "No, go away from me now."},
        {"role": "user", "content": "May I come in?"},
        {"role": "assistant", "content": "Gladly."},
    ]
    config = prepare(tmp_path, tiny_policy, max_length=24, max_steps=1)
    rows = [
        {"messages": long},
        {"prompt": "May I come in?", "completion": "Gladly. " * 20},
        {"prompt": "May I come in? " * 20, "completion": "Gladly."},
        {"prompt": "May I come in?", "completion": "Gladly."},
    ]
    write_rows(tmp_path / "data" / "train.jsonl", rows)

    metrics = train(config, tmp_path)

    assert {name: metrics[name] for name in ("n_train", "n_dropped", "n_cut", "n_cut_end")} == {
        "n_train": 3.0,
        "n_dropped": 1.0,
        "n_cut": 1.0,
        "n_cut_end": 1.0,
    }
    assert read_preview(tmp_path)["counts"] == {"n_dropped": 1, "n_cut": 1, "n_cut_end": 1}
