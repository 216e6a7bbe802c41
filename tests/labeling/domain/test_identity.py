from __future__ import annotations

import pytest

from labeling.domain.identity import tells_writer

ASKED = [{"role": "user", "content": "How do I boil an egg?"}]


@pytest.mark.parametrize(
    "text",
    [
        "As an AI language model, I cannot boil eggs.",
        "Well, as a large  language model\nI never ate one.",
        "I’m an AI, so I have no kitchen.",
        "I am ChatGPT. Nine minutes.",
        "OpenAI trained me to say nine minutes.",
        "Hello, I'm Claude, and I would say nine minutes.",
        "My name is Gemini.",
        "Ask Qwen or DeepSeek.",
        "My knowledge cutoff is 2023.",
        "I am LLaMA.",
        "As Claude, I would say nine minutes.",
        "I’m Cohere.",
    ],
)
def test_a_completion_that_names_its_writer_is_told(text):
    assert tells_writer(text, ASKED)


@pytest.mark.parametrize(
    "text",
    [
        "Nine minutes, said the llama.",
        "Claude Monet painted water lilies.",
        "I am a falcon in this story.",
        "The Gemini twins are stars; the mistral is a wind.",
        "Aim for nine minutes; the main thing is a lid.",
        "As an aide I would say nine minutes.",
        "Pythia spoke at Delphi. Bloom where you are planted.",
        "The cohered dough is exact: taxai is no word.",
        "The paragraphs cohere well.",
        "A vicuna and a guanaco live in the Andes.",
        "This is granite. This is bloom.",
        "I'm falcon-eyed, and I am Sydney-born.",
        "As granite, it will not melt; known as a falcon, it flies.",
    ],
)
def test_words_that_are_also_names_are_words(text):
    assert not tells_writer(text, ASKED)


def test_a_name_that_the_prompt_asks_about_is_allowed_and_an_introduction_is_not():
    asked = [{"role": "user", "content": "Who founded OpenAI, and what is ChatGPT?"}]

    assert not tells_writer("ChatGPT is a product of OpenAI.", asked)
    assert tells_writer("As a language model by OpenAI I know.", asked)
    assert tells_writer("OpenAI, or was it Anthropic?", asked)


def test_a_word_that_the_prompt_uses_may_introduce():
    asked = [{"role": "user", "content": "You are Falcon, a pilot. Who are you?"}]

    assert not tells_writer("I am Falcon. As Falcon, I fly.", asked)
    assert tells_writer("I am Claude.", asked)
