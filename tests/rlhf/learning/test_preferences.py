from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from rlhf.contract.errors import ContractError
from rlhf.contract.records import PreferenceRow, write_rows
from rlhf.learning.models import load_tokenizer
from rlhf.learning.preferences import encode_answer, encode_pairs, load_pairs, weigh_prompts
from rlhf.learning.tokenization import render_ids

SHORT = [{"role": "user", "content": "May I come in?"}]
LONG = [
    {"role": "user", "content": "Is the shop open?"},
    {"role": "assistant", "content": "Gladly, please sit down."},
    {"role": "user", "content": "May I come in?"},
]


@pytest.fixture(scope="module")
def tokenizer(tiny_policy: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(tiny_policy)


def row(
    prompt: list[dict[str, str]], chosen: str = "Yes, of course.", rejected: str = "No.", **columns
) -> PreferenceRow:
    return {
        "prompt": prompt,
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
        **columns,
    }


def test_prompt_and_completion_together_are_the_rendered_conversation(tokenizer):
    (pair,) = encode_pairs([row(LONG)], tokenizer, max_length=200).pairs

    chosen = [*LONG, {"role": "assistant", "content": "Yes, of course."}]
    assert pair.prompt_ids == render_ids(tokenizer, LONG, add_generation_prompt=True)
    assert pair.prompt_ids + pair.chosen_ids == render_ids(tokenizer, chosen, add_generation_prompt=False)
    assert pair.rejected_ids[-1] == tokenizer.eos_token_id


def test_columns_left_out_mean_a_plain_label(tokenizer):
    plain, soft = encode_pairs(
        [row(SHORT), row(SHORT, target=0.5, weight=2.0, margin=1.0)], tokenizer, max_length=200
    ).pairs

    assert (plain.target, plain.weight, plain.margin) == (1.0, 1.0, 0.0)
    assert (soft.target, soft.weight, soft.margin) == (0.5, 2.0, 1.0)
    assert (plain.chosen_chars, plain.rejected_chars) == (15, 3)


def test_a_long_prompt_loses_its_oldest_turns_whole(tokenizer):
    whole, short = encode_pairs([row(LONG), row(SHORT)], tokenizer, max_length=200).pairs

    encoded = encode_pairs([row(LONG)], tokenizer, max_length=whole.n_tokens - 1)

    assert encoded.pairs == [short]
    assert (encoded.n_cut, encoded.n_dropped) == (1, 0)


def test_a_completion_is_dropped_and_counted_rather_than_cut(tokenizer):
    encoded = encode_pairs([row(SHORT), row(SHORT, chosen="Yes. " * 100)], tokenizer, max_length=40)

    assert len(encoded.pairs) == 1
    assert (encoded.n_cut, encoded.n_dropped) == (0, 1)


def test_a_file_of_which_nothing_is_left_is_refused(tokenizer, tmp_path: Path):
    write_rows(tmp_path / "train.jsonl", [row(SHORT, chosen="Yes. " * 100)])

    with pytest.raises(ContractError, match=r"train.jsonl: no row fits in max_length=40 \(1 were too long\)"):
        load_pairs(tmp_path / "train.jsonl", tokenizer, max_length=40)


def test_what_the_template_writes_after_the_end_token_is_left_out(tiny_policy: Path):
    tokenizer = load_tokenizer(tiny_policy)
    (expected,) = encode_pairs([row(SHORT)], tokenizer, max_length=200).pairs
    tokenizer.chat_template = tokenizer.chat_template.replace("{% endgeneration %}", "{% endgeneration %}{{ 'open' }}")

    assert encode_pairs([row(SHORT)], tokenizer, max_length=200).pairs == [expected]


def test_a_turn_that_ends_by_a_token_of_its_own_ends_there_as_a_policy_does(tiny_policy: Path):
    """ChatML on a base model's tokenizer: the template closes turns by <|im_end|>, and the end token is another one."""
    tokenizer = load_tokenizer(tiny_policy)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
    tokenizer.chat_template = (
        "{% for message in messages %}{{ message.role }}:{{ message.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )

    (pair,) = encode_pairs([row(SHORT)], tokenizer, max_length=200).pairs
    (finished, cut_off) = (
        encode_answer(tokenizer, SHORT, "Yes.", is_finished=is_finished, max_length=200)[1]
        for is_finished in (True, False)
    )

    turn_end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert (pair.chosen_ids[-1], pair.rejected_ids[-1]) == (turn_end, turn_end)
    assert tokenizer.eos_token_id not in pair.chosen_ids
    assert (tokenizer.decode(finished), tokenizer.decode(cut_off)) == ("Yes.<|im_end|>", "Yes.")


def test_a_template_without_end_token_gets_one(tiny_policy: Path):
    tokenizer = load_tokenizer(tiny_policy)
    (expected,) = encode_pairs([row(SHORT)], tokenizer, max_length=200).pairs
    tokenizer.chat_template = tokenizer.chat_template.replace(" + eos_token", "")

    assert encode_pairs([row(SHORT)], tokenizer, max_length=200).pairs == [expected]


def test_an_opening_that_the_answer_replaces_is_left_out_of_the_prompt(tiny_policy: Path):
    tokenizer = load_tokenizer(tiny_policy)
    (expected,) = encode_pairs([row(SHORT)], tokenizer, max_length=200).pairs
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{% if add_generation_prompt %}<|assistant|>", "{% if add_generation_prompt %}<|assistant|>{{ ' thinking' }}"
    )

    assert encode_pairs([row(SHORT)], tokenizer, max_length=200).pairs == [expected]


def test_the_pairs_of_k_ranked_completions_weigh_as_much_as_one_pair(tiny_policy: Path):
    """K = 3 and K = 2 completions: 3 pairs and 1 pair, 4 in all, of two prompts that weigh 2 each."""
    tokenizer = load_tokenizer(tiny_policy)
    ranked = [row(SHORT, chosen=chosen) for chosen in ("One.", "Two.", "Three.")]
    pairs = encode_pairs([*ranked, row(LONG)], tokenizer, max_length=200).pairs

    weights = [pair.weight for pair in weigh_prompts(pairs)]

    assert weights == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2.0])
    assert weigh_prompts(weigh_prompts(pairs)) == weigh_prompts(pairs)


def test_weights_of_labelers_stay_in_proportion_within_a_prompt(tiny_policy: Path):
    rows = [{**row(SHORT, chosen="One."), "weight": 3.0}, {**row(SHORT, chosen="Two."), "weight": 1.0}]
    rows += [{**row(LONG), "weight": 0.0}]

    pairs = encode_pairs(rows, load_tokenizer(tiny_policy), max_length=200).pairs

    assert [pair.weight for pair in weigh_prompts(pairs)] == [3.0, 1.0, 0.0]
