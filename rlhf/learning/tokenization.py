"""Tokenizers: training a byte-level BPE, and turning conversations into token ids."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from rlhf.contract.errors import ContractError
from rlhf.contract.records import Message

PAD, BOS, EOS = "<|pad|>", "<|bos|>", "<|eos|>"
MARKERS = re.compile(r"{%-?\s*generation\s*-?%}")
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
# A turn ends where the next role token stands; only the assistant says that it has finished.
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@dataclass(frozen=True)
class EncodedConversation:
    """ids: token ids. loss_mask: True at the tokens the assistant wrote, its end token included.

    lost_turns, lost_end: whether its oldest turns, or the end of its last answer, were cut to fit.
    """

    ids: list[int]
    loss_mask: list[bool]
    lost_turns: bool = field(default=False, compare=False)
    lost_end: bool = field(default=False, compare=False)


def train_tokenizer(texts: Iterable[str], *, vocab_size: int) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer with distinct padding, start, end and role tokens and a chat template.

    A text is read as if a space stood before it, so that a word is one token wherever it stands; decoding takes
    that space away again.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, BOS, EOS, *ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        additional_special_tokens=list(ROLES),
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def encode_prompt(tokenizer: PreTrainedTokenizerBase, messages: list[Message], max_tokens: int) -> list[int]:
    """Return the ids of a prompt up to and with the template's opening of the assistant's turn.

    A prompt that is too long loses its oldest turns whole, a system message excepted; if the last turn alone is too
    long, it loses the beginning of its content. The template's own tokens are never cut.

    Raises: ContractError when max_tokens does not even hold the template.
    """
    return cut_prompt(tokenizer, messages, max_tokens)[0]


def cut_prompt(
    tokenizer: PreTrainedTokenizerBase, messages: list[Message], max_tokens: int
) -> tuple[list[int], list[Message]]:
    """Return the ids of a prompt as `encode_prompt` does, and the messages that are left of it. Raises: ContractError."""
    ids = render_ids(tokenizer, messages, add_generation_prompt=True)
    while len(ids) > max_tokens and can_drop_turn(messages):
        messages = drop_oldest_turn(messages)
        ids = render_ids(tokenizer, messages, add_generation_prompt=True)
    content = tokenizer.encode(messages[-1]["content"], add_special_tokens=False)
    n_cut, kept = 0, messages
    while len(ids) > max_tokens:
        # Counted from the whole content: half a character that is cut out and encoded again may take more tokens.
        n_cut += len(ids) - max_tokens
        if n_cut >= len(content):
            raise ContractError(
                f"a prompt of {max_tokens} tokens cannot hold the chat template; raise max_prompt_tokens"
            )
        shorter = Message(role=messages[-1]["role"], content=tokenizer.decode(content[n_cut:]))
        kept = [*messages[:-1], shorter]
        ids = render_ids(tokenizer, kept, add_generation_prompt=True)
    return ids, kept


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase, prompts: Iterable[list[Message]], max_tokens: int
) -> tuple[list[list[int]], int]:
    """Return the ids of prompts as `encode_prompt` does, and how many were too long and lost something."""
    encoded, n_cut = [], 0
    for messages in prompts:
        ids = render_ids(tokenizer, messages, add_generation_prompt=True)
        if is_long := len(ids) > max_tokens:
            ids = encode_prompt(tokenizer, messages, max_tokens)
        encoded.append(ids)
        n_cut += is_long
    return encoded, n_cut


def encode_conversation(
    tokenizer: PreTrainedTokenizerBase, messages: list[Message], max_tokens: int
) -> EncodedConversation:
    """Return the ids of a whole conversation and which of them the assistant wrote.

    A conversation that is too long loses its oldest turns whole, then the end of its last answer.

    Raises: ContractError when the chat template does not tell where the assistant's words are.
    """
    n_messages = len(messages)
    encoded = mark_assistant(tokenizer, messages)
    while len(encoded.ids) > max_tokens and can_drop_turn(messages[:-1]):
        messages = drop_oldest_turn(messages)
        encoded = mark_assistant(tokenizer, messages)
    return EncodedConversation(
        encoded.ids[:max_tokens],
        encoded.loss_mask[:max_tokens],
        lost_turns=len(messages) < n_messages,
        lost_end=len(encoded.ids) > max_tokens,
    )


def render_ids(
    tokenizer: PreTrainedTokenizerBase, messages: list[Message], *, add_generation_prompt: bool
) -> list[int]:
    """Return the ids of the chat template's text. Raises: ContractError when the tokenizer has no chat template."""
    if not tokenizer.chat_template:
        raise ContractError("the tokenizer has no chat template; add a chat_template.jinja to the model's folder")
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt)
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def mark_assistant(tokenizer: PreTrainedTokenizerBase, messages: list[Message]) -> EncodedConversation:
    """Return the conversation's ids and mask: by the template's {% generation %} markers, turn by turn, or else by those
    markers in the form of the template that keeps what it says of earlier turns."""
    if MARKERS.search(tokenizer.chat_template or ""):
        return mark_generated(tokenizer, messages, tokenizer.chat_template)
    ids = render_ids(tokenizer, messages, add_generation_prompt=False)
    mask = [False] * len(ids)
    for number, message in enumerate(messages):
        if message["role"] == "assistant":
            before = render_ids(tokenizer, messages[:number], add_generation_prompt=True)
            after = render_ids(tokenizer, messages[: number + 1], add_generation_prompt=False)
            if ids[: len(before)] != before or ids[: len(after)] != after:
                return mark_generated(tokenizer, messages, find_training_template(tokenizer))
            mask[len(before) : len(after)] = [True] * (len(after) - len(before))
    return EncodedConversation(ids, mask)


def mark_generated(tokenizer: PreTrainedTokenizerBase, messages: list[Message], template: str) -> EncodedConversation:
    """Return the conversation's ids by a chat template, and what it says the assistant generates."""
    encoded = tokenizer.apply_chat_template(
        messages, chat_template=template, return_dict=True, return_assistant_tokens_mask=True
    )
    return EncodedConversation(list(encoded["input_ids"]), [bool(flag) for flag in encoded["assistant_masks"]])


def find_training_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the form that TRL knows of a chat template which takes back words it gave to earlier turns, such as thoughts.

    Raises: ContractError for a template that TRL does not know.
    """
    from trl.chat_template_utils import get_training_chat_template  # noqa: PLC0415 -- seconds, and needed by few

    try:
        template = get_training_chat_template(tokenizer)
    except ValueError:
        template = None
    if template is None:
        raise ContractError("the chat template rewrites earlier turns; add {% generation %} markers to it")
    return str(template)


def can_drop_turn(messages: list[Message]) -> bool:
    """Return whether a user turn comes after the first one: the turns before it can go."""
    return sum(message["role"] == "user" for message in messages) > 1


def drop_oldest_turn(messages: list[Message]) -> list[Message]:
    """Return the messages without the oldest user turn and its answer; a leading system message stays."""
    system = messages[:1] if messages[0]["role"] == "system" else []
    rest = messages[len(system) :]
    second = next(number for number, message in enumerate(rest) if number > 0 and message["role"] == "user")
    return system + rest[second:]
