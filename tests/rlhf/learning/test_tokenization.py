from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from trl.chat_template_utils import deepseek_r1_distill_chat_template, qwen3_chat_template

from rlhf.contract.errors import ContractError
from rlhf.learning.models import load_tokenizer
from rlhf.learning.tokenization import encode_conversation, encode_prompt, encode_prompts, train_tokenizer

TEXTS = ["Where does Mila live? Mila lives in Arnley.", "The fox lives in a den. Is it raining today?"] * 5
CHAT = [
    {"role": "user", "content": "Where does Mila live?"},
    {"role": "assistant", "content": "Mila lives in Arnley."},
    {"role": "user", "content": "Is it raining today?"},
    {"role": "assistant", "content": "It is."},
]
UNMARKED_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, vocab_size=400)


def test_padding_start_end_and_roles_are_tokens_of_their_own(tokenizer):
    names = ["<|pad|>", "<|bos|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>"]

    assert tokenizer.convert_tokens_to_ids(names) == [0, 1, 2, 3, 4, 5]
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)


@pytest.mark.parametrize("text", ["Mila lives in Arnley.", "Grüße, 東京! 🙂", "a\n\n  b\tc", "2+2=4"])
def test_any_text_survives_the_round_trip(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_a_word_is_the_same_token_wherever_it_stands(tokenizer):
    first, second = tokenizer.encode("Mila", add_special_tokens=False), tokenizer.encode("does Mila")

    assert first == second[-len(first) :]


def test_role_names_in_a_text_of_the_corpus_do_not_become_turns(tokenizer):
    assert (
        tokenizer.decode(encode_prompt(tokenizer, CHAT[:1], 99)) == "<|bos|><|user|> Where does Mila live?<|assistant|>"
    )


def test_the_saved_tokenizer_renders_the_same_prompt(tokenizer, tmp_path: Path):
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")  # a folder without any is no model's

    assert (tmp_path / "chat_template.jinja").exists()
    assert encode_prompt(load_tokenizer(tmp_path), CHAT[:3], 99) == encode_prompt(tokenizer, CHAT[:3], 99)


def test_prompts_that_are_too_long_are_counted(tokenizer):
    short, long = encode_prompt(tokenizer, CHAT[2:3], 200), encode_prompt(tokenizer, CHAT[:3], 200)

    assert encode_prompts(tokenizer, [CHAT[:3], CHAT[2:3]], len(long)) == ([long, short], 0)
    assert encode_prompts(tokenizer, [CHAT[:3], CHAT[2:3]], len(long) - 1) == ([short, short], 1)


def test_a_long_prompt_loses_its_oldest_turns_whole(tokenizer):
    whole, last = encode_prompt(tokenizer, CHAT[:3], 99), encode_prompt(tokenizer, CHAT[2:3], 99)

    assert encode_prompt(tokenizer, CHAT[:3], len(whole)) == whole
    assert encode_prompt(tokenizer, CHAT[:3], len(whole) - 1) == last


def test_the_system_message_stays_when_turns_go(tokenizer):
    system = {"role": "system", "content": "Be kind."}
    kept = encode_prompt(tokenizer, [system, CHAT[2]], 99)

    assert encode_prompt(tokenizer, [system, *CHAT[:3]], len(kept)) == kept


def test_a_last_turn_that_is_too_long_loses_its_beginning_but_not_the_template(tokenizer):
    ids = encode_prompt(tokenizer, CHAT[:1], 6)

    assert (len(ids) <= 6, ids[:2], ids[-1]) == (True, [1, 4], 5)
    assert tokenizer.decode(ids[2:-1]).endswith("live?")


def test_a_limit_below_the_template_is_refused(tokenizer):
    with pytest.raises(ContractError, match="cannot hold the chat template"):
        encode_prompt(tokenizer, CHAT[:1], 3)


def test_the_mask_covers_what_the_assistant_wrote_and_its_end_tokens(tokenizer):
    encoded = encode_conversation(tokenizer, CHAT, 99)

    written = [token for token, is_written in zip(encoded.ids, encoded.loss_mask, strict=True) if is_written]
    assert tokenizer.decode(written) == "Mila lives in Arnley.<|eos|> It is.<|eos|>"


def test_a_template_without_markers_gives_the_same_mask(tokenizer):
    plain = train_tokenizer(TEXTS, vocab_size=400)
    plain.chat_template = UNMARKED_TEMPLATE

    with_markers, without = encode_conversation(tokenizer, CHAT, 99), encode_conversation(plain, CHAT, 99)
    assert (with_markers.ids[1:], with_markers.loss_mask[1:]) == (without.ids, without.loss_mask)


def test_a_template_that_rewrites_history_is_refused(tokenizer):
    rewriting = train_tokenizer(TEXTS, vocab_size=400)
    rewriting.chat_template = "{{ messages | length }}" + UNMARKED_TEMPLATE

    with pytest.raises(ContractError, match="rewrites earlier turns"):
        encode_conversation(rewriting, CHAT, 99)


@pytest.mark.parametrize("template", [qwen3_chat_template, deepseek_r1_distill_chat_template])
def test_a_known_template_that_takes_thoughts_back_is_learned_from_in_the_form_that_keeps_them(template: str):
    thinking = train_tokenizer(TEXTS, vocab_size=400)
    thinking.chat_template = template

    encoded = encode_conversation(thinking, CHAT, 999)

    written = [token for token, is_written in zip(encoded.ids, encoded.loss_mask, strict=True) if is_written]
    text = thinking.decode(written)
    assert "Mila lives in Arnley." in text
    assert "It is." in text
    assert not any(message["content"] in text for message in CHAT if message["role"] == "user")
    first, last = (encode_conversation(thinking, CHAT[:n], 999) for n in (2, 4))
    assert last.ids[: len(first.ids)] == first.ids


def test_a_long_conversation_loses_its_oldest_turns_then_the_end_of_its_answer(tokenizer):
    last = encode_conversation(tokenizer, CHAT[2:], 99)

    assert encode_conversation(tokenizer, CHAT, len(last.ids)) == last
    shorter = encode_conversation(tokenizer, CHAT, len(last.ids) - 2)
    assert (shorter.ids, shorter.loss_mask) == (last.ids[:-2], last.loss_mask[:-2])


def test_a_tokenizer_without_a_template_is_refused(tokenizer):
    bare = train_tokenizer(TEXTS, vocab_size=400)
    bare.chat_template = None

    with pytest.raises(ContractError, match="no chat template"):
        encode_prompt(bare, CHAT[:1], 99)


def test_a_turn_of_many_byte_characters_is_cut_to_size_too(tokenizer):
    prompt = [{"role": "user", "content": "“🙂”" * 40}]

    ids = encode_prompt(tokenizer, prompt, 31)

    assert len(ids) <= 31
    assert tokenizer.decode(ids).endswith("🙂”<|assistant|>")
