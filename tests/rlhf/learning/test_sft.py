from pathlib import Path

import pytest
import torch

from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.sft import SFTConfig
from rlhf.contract.records import write_rows
from rlhf.contract.run_dir import prepare_run_dir, verify_sealed
from rlhf.learning.generation import generate
from rlhf.learning.models import load_policy, load_tokenizer
from rlhf.learning.sft import answer_loss, build_conversation_batch, train
from rlhf.learning.tokenization import encode_conversation, encode_prompt

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
