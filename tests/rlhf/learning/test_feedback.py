import signal
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlhf.contract.errors import ConfigError, ContractError
from rlhf.contract.feedback_texts import ask_comparison
from rlhf.contract.kinds.feedback import FeedbackConfig
from rlhf.contract.records import canonical_line, read_rows, write_rows
from rlhf.contract.run_dir import FEEDBACK, prepare_run_dir
from rlhf.learning import endpoint_annotator
from rlhf.learning.endpoint_answers import compare_letters
from rlhf.learning.feedback import PART, train
from rlhf.learning.local_annotator import TOO_LONG
from rlhf.learning.reporting import HandedBack, install_stop_signal
from tests.rlhf.endpoint import Endpoint, serve

PROMPT = [{"role": "user", "content": "May I come in?"}]


def question(number: int, a: str = "Yes, please.", b: str = "Go away.") -> dict:
    return {"comparison_id": str(number), "prompt": PROMPT, "a": a, "b": b, "principle": "kind", "text": "Be kind."}


def revision(number: int, n_turns: int = 2) -> dict:
    principles = [
        {"id": f"p{turn}", "critique": f"Say what is rude, {turn}.", "revision": "Be kind.", "comparison": "Kinder?"}
        for turn in range(n_turns)
    ]
    return {"completion_id": str(number), "prompt": PROMPT, "text": "Go away.", "principles": principles}


def ask(run_dir: Path, rows: list[dict], **settings) -> tuple[list[dict], dict[str, float]]:
    config = FeedbackConfig(**settings)
    prepare_run_dir(run_dir, config)
    write_rows(run_dir / "data" / "prompts.jsonl", rows)
    metrics = train(config, run_dir)
    return list(read_rows(run_dir / FEEDBACK)), metrics


@pytest.fixture
def kind_endpoint():
    """Its A is the side that holds "please", surely wherever it stands, and a little more so when it stands first."""

    def choose(text: str) -> float:
        return 0.9 if "please" in text.split("(A)")[2].split("(B)")[0] else 0.2

    with serve(Endpoint(choose, write=lambda text: "Come in, please.")) as endpoint:
        yield endpoint


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(endpoint_annotator, "FIRST_WAIT_S", 0.01)


def test_both_orders_are_asked_and_averaged(kind_endpoint, tmp_path):
    rows, metrics = ask(tmp_path, [question(1)], endpoint=kind_endpoint.url, model="m")

    assert rows == [
        {
            "comparison_id": "1",
            "principle": "kind",
            "p": pytest.approx(0.85),
            "p_raw": pytest.approx(0.85),
            "p_ab": pytest.approx(0.9),
            "p_ba": pytest.approx(0.8),
            "is_flip": False,
            "is_unclear": False,
            "is_refused": False,
            "critique": "",
            "n_tokens": 20,
        }
    ]
    assert metrics == {
        "n_asked": 1,
        "n_tokens": 20,
        "flips": 0,
        "unclear": 0,
        "first": pytest.approx((0.9 + 0.2) / 2),
    }


def test_orders_that_name_different_winners_are_a_tie(tmp_path):
    with serve(Endpoint(lambda text: 0.8)) as always_first:
        rows, metrics = ask(tmp_path, [question(1)], endpoint=always_first.url, model="m")

    assert (rows[0]["p"], rows[0]["is_flip"], metrics["flips"]) == (0.5, True, 1.0)
    assert metrics["first"] == pytest.approx(0.8)


def test_one_order_is_asked_once(kind_endpoint, tmp_path):
    rows, _ = ask(tmp_path, [question(1)], endpoint=kind_endpoint.url, model="m", orders="one")

    assert (rows[0]["p"], rows[0]["p_ba"], len(kind_endpoint.asked)) == (pytest.approx(0.9), None, 1)


def test_whoever_reasons_first_is_kept_near_a_half(kind_endpoint, tmp_path):
    rows, _ = ask(tmp_path, [question(1)], endpoint=kind_endpoint.url, model="m", reasoning="first")

    assert (rows[0]["p"], rows[0]["critique"]) == (0.6, "Come in, please.")
    assert [body["max_tokens"] for body in kind_endpoint.asked] == [256, 1, 256, 1]
    assert "What was said of them:\nCome in, please." in kind_endpoint.asked[1]["messages"][0]["content"]


@pytest.mark.parametrize(
    ("said", "p", "is_unclear"), [("(A) of course", 0.95, False), ("B", 0.05, False), ("Both", 0.5, True)]
)
def test_an_answer_without_probabilities_is_read_by_its_letter(said, p, is_unclear, tmp_path):
    with serve(Endpoint(lambda text: said)) as endpoint:
        rows, _ = ask(tmp_path, [question(1)], endpoint=endpoint.url, model="m", orders="one")

    assert (rows[0]["p"], rows[0]["is_unclear"]) == (pytest.approx(p), is_unclear)


def test_letters_are_compared_whatever_stands_around_them():
    logprobs = {" A": -1.0, "A": -1.0, "b": -2.0, "The": -0.1}
    a, b = 2 * 2.718281828**-1, 2.718281828**-2

    assert compare_letters(logprobs) == pytest.approx(a / (a + b))
    assert compare_letters({"Yes": -0.1}) is None
    assert compare_letters({"A": -0.01, "x": -9.0}) > 0.999


def test_a_busy_endpoint_is_asked_again(kind_endpoint, no_waiting, tmp_path):
    kind_endpoint.refusals = [(429, {"Retry-After": "0"}), (503, {})]

    rows, _ = ask(tmp_path, [question(1)], endpoint=kind_endpoint.url, model="m", batch_size=1)

    assert rows[0]["p"] == pytest.approx(0.85)


def test_an_endpoint_that_refuses_says_why(kind_endpoint, no_waiting, tmp_path):
    kind_endpoint.refusals = [(401, {})]

    with pytest.raises(ContractError, match=r"did not answer \(401: .*not now.*check endpoint, model and key"):
        ask(tmp_path, [question(1)], endpoint=kind_endpoint.url, model="m", batch_size=1)

    assert not (tmp_path / FEEDBACK).exists()


def test_nobody_sends_the_key_elsewhere(kind_endpoint, no_waiting, monkeypatch, tmp_path):
    monkeypatch.setenv("AI_KEY_TEST", "secret")
    with serve(Endpoint(lambda text: 0.9)) as other:
        kind_endpoint.refusals = [(307, {"Location": f"{other.url}/chat/completions"})]
        with pytest.raises(ContractError, match="307"):
            ask(tmp_path, [question(1)], endpoint=kind_endpoint.url, model="m", key_name="AI_KEY_TEST", batch_size=1)

    assert (kind_endpoint.keys, other.keys) == (["Bearer secret"], [])


def test_a_key_that_is_not_there_is_asked_for(tmp_path):
    with pytest.raises(ContractError, match="AI_KEY_NONE is not set"):
        ask(tmp_path, [question(1)], endpoint="http://127.0.0.1:9/v1", model="m", key_name="AI_KEY_NONE")


def test_a_run_sees_no_other_secrets():
    with pytest.raises(ConfigError, match="key_name must begin with AI_KEY_, got 'DATABASE_URL'"):
        FeedbackConfig(endpoint="http://127.0.0.1:9/v1", model="m", key_name="DATABASE_URL")


def test_a_completion_is_criticized_and_rewritten_turn_by_turn(tmp_path):
    texts = iter(["Rude.", "Please go.", "Still rude.", "Come in, please."])
    with serve(Endpoint(lambda text: 0.5, write=lambda text: next(texts))) as endpoint:
        rows, metrics = ask(tmp_path, [revision(7)], task="revise", endpoint=endpoint.url, model="m")

    assert [(row["turn"], row["principle"], row["critique"], row["text"]) for row in rows] == [
        (1, "p0", "Rude.", "Please go."),
        (2, "p1", "Still rude.", "Come in, please."),
    ]
    second_critique = endpoint.asked[2]["messages"][0]["content"]
    assert "Answer:\nPlease go." in second_critique
    assert "Say what is rude, 1." in second_critique
    assert metrics == {"n_asked": 1, "n_tokens": 40, "changed": 1.0}


def test_an_empty_rewriting_leaves_the_completion_as_it_was(tmp_path):
    with serve(Endpoint(lambda text: 0.5, write=lambda text: "")) as endpoint:
        rows, metrics = ask(tmp_path, [revision(7, n_turns=1)], task="revise", endpoint=endpoint.url, model="m")

    assert (rows[0]["text"], metrics["changed"]) == ("Go away.", 0.0)


def test_a_local_model_chooses_by_its_log_probabilities(tiny_policy, tmp_path):
    rows, _ = ask(
        tmp_path, [question(1), question(2, a="No.", b="Gladly, please sit down.")], base_model=str(tiny_policy)
    )

    tokenizer = AutoTokenizer.from_pretrained(tiny_policy)
    model = AutoModelForCausalLM.from_pretrained(tiny_policy).eval()
    asked = ask_comparison(question(1), a_first=True)
    ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)[
        "input_ids"
    ]
    said = {letter: tokenizer.encode(letter, add_special_tokens=False) for letter in "AB"}
    whole = {letter: torch.cat([ids, torch.tensor([letters])], 1) for letter, letters in said.items()}
    with torch.no_grad():
        logps = [model(whole[x]).logits[0, -2].log_softmax(-1)[said[x][-1]] for x in "AB"]
    expected = torch.stack(logps).softmax(0)[0].item()
    assert len(said["A"]) == 2  # the space before a word is a token of its own here
    assert rows[0]["p_ab"] == pytest.approx(expected, abs=1e-5)
    assert [row["comparison_id"] for row in rows] == ["1", "2"]


def test_a_local_model_rewrites(tiny_policy, tmp_path):
    rows, _ = ask(tmp_path, [revision(1)], task="revise", base_model=str(tiny_policy), max_new_tokens=8)

    assert [row["turn"] for row in rows] == [1, 2]
    assert all(row["n_tokens"] > 0 for row in rows)


def test_a_run_taken_up_again_asks_only_what_is_left(kind_endpoint, tmp_path):
    done, _ = ask(tmp_path / "first", [question(1)], endpoint=kind_endpoint.url, model="m")
    resumed = tmp_path / "second"
    resumed.mkdir()
    (resumed / PART).write_bytes(canonical_line(done[0]) + b'{"comparison_id":"2","p":0.')
    kind_endpoint.asked.clear()

    rows, _ = ask(resumed, [question(1), question(2)], endpoint=kind_endpoint.url, model="m")

    assert ([row["comparison_id"] for row in rows], len(kind_endpoint.asked)) == (["1", "2"], 2)


def test_a_completion_of_which_one_turn_is_known_is_asked_anew(tmp_path):
    with serve(Endpoint(lambda text: 0.5)) as endpoint:
        done, _ = ask(tmp_path / "first", [revision(7)], task="revise", endpoint=endpoint.url, model="m")
        resumed = tmp_path / "second"
        resumed.mkdir()
        (resumed / PART).write_bytes(canonical_line(done[0]))
        rows, _ = ask(resumed, [revision(7)], task="revise", endpoint=endpoint.url, model="m")

    assert [row["turn"] for row in rows] == [1, 2]


def test_a_stop_keeps_the_answers_there_are(tmp_path):
    install_stop_signal()
    with serve(Endpoint(lambda text: 0.9)) as endpoint:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(HandedBack, match="stopped after 0 of 2 questions; the answers are kept"):
            ask(tmp_path, [question(1), question(2)], endpoint=endpoint.url, model="m", batch_size=1)
    install_stop_signal()


def test_one_question_that_is_refused_is_left_to_people(tmp_path):
    with serve(Endpoint(lambda text: 0.9 if "please" in text else 400)) as endpoint:
        rows, metrics = ask(
            tmp_path, [question(1), question(2, a="Filter me.")], endpoint=endpoint.url, model="m", orders="one"
        )

    told = [(row["p"], row["is_unclear"], row["is_refused"], row["critique"]) for row in rows]
    assert told == [
        (pytest.approx(0.9), False, False, ""),
        (0.5, True, True, 'refused with 400: {"error": {"message": "not now"}}'),
    ]
    assert metrics["unclear"] == 0.5


def test_a_run_of_which_every_question_is_refused_says_why_and_asks_anew(tmp_path):
    with serve(Endpoint(lambda text: 422)) as endpoint, pytest.raises(ContractError, match=r"every question .* 422: "):
        ask(tmp_path, [question(1), question(2)], endpoint=endpoint.url, model="m")

    assert not (tmp_path / PART).exists()
    assert not (tmp_path / FEEDBACK).exists()


@pytest.mark.parametrize(("n_written", "critique"), [(0, "refused with 413: "), (1, "refused with 413: ")])
def test_a_refused_turn_leaves_the_completion_as_it_was(tmp_path, n_written, critique):
    texts = iter(["Rude."][:n_written])
    with serve(Endpoint(lambda text: 0.5, write=lambda text: next(texts, 413))) as endpoint:
        rows, _ = ask(tmp_path, [revision(7, n_turns=1)], task="revise", endpoint=endpoint.url, model="m")

    assert (rows[0]["text"], rows[0]["is_refused"]) == ("Go away.", True)
    assert rows[0]["critique"].startswith(critique)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_key_or_model_that_is_wrong_ends_the_run_at_once(kind_endpoint, tmp_path, status):
    kind_endpoint.refusals = [(status, {})]

    with pytest.raises(ContractError, match=f"did not answer \\({status}: "):
        ask(tmp_path, [question(1)], endpoint=kind_endpoint.url, model="m", batch_size=1)

    assert kind_endpoint.asked == []


def test_a_body_that_cannot_be_unpacked_is_asked_for_again_and_named(kind_endpoint, no_waiting, tmp_path):
    kind_endpoint.headers = {"Content-Encoding": "gzip"}

    with pytest.raises(ContractError, match=r"did not answer .*check endpoint, model and key"):
        ask(tmp_path, [question(1)], endpoint=kind_endpoint.url, model="m", batch_size=1)

    assert len(kind_endpoint.asked) == endpoint_annotator.RETRIES + 1


def test_an_endpoint_that_repeats_the_key_does_not_bring_it_into_the_answers(monkeypatch, tmp_path):
    monkeypatch.setenv("AI_KEY_TEST", "not now")
    with serve(Endpoint(lambda text: 400)) as endpoint:
        rows, _ = ask(tmp_path, [question(1)], endpoint=endpoint.url, model="m", key_name="AI_KEY_TEST")

    assert rows[0]["critique"] == 'refused with 400: {"error": {"message": "***"}}'


def test_what_was_given_is_kept_beside_what_counts(kind_endpoint, tmp_path):
    rows, _ = ask(tmp_path, [question(1)], endpoint=kind_endpoint.url, model="m", reasoning="first")

    assert (rows[0]["p"], rows[0]["p_raw"]) == (0.6, pytest.approx(0.85))


def test_a_question_too_long_for_a_local_model_is_left_to_people(tiny_policy, tmp_path):
    long = question(1, a="Yes, " + "please " * 300, b="Go " + "away " * 300)

    rows, _ = ask(tmp_path, [long, question(2)], base_model=str(tiny_policy))

    assert [(row["is_unclear"], row["is_refused"]) for row in rows] == [(True, True), (False, False)]
    assert (rows[0]["p"], rows[0]["critique"]) == (0.5, TOO_LONG)
    alone, _ = ask(tmp_path / "alone", [question(2)], base_model=str(tiny_policy))
    assert rows[1] == alone[0] | {
        name: pytest.approx(alone[0][name], abs=1e-5) for name in ("p", "p_raw", "p_ab", "p_ba")
    }


def test_an_answer_too_long_to_be_shown_whole_is_not_rewritten(tiny_policy, tmp_path):
    long = revision(1, n_turns=1) | {"text": "Go away. " * 400}

    rows, _ = ask(
        tmp_path, [long, revision(2, n_turns=1)], task="revise", base_model=str(tiny_policy), max_new_tokens=8
    )

    assert (rows[0]["text"], rows[0]["critique"], rows[1]["is_refused"]) == (long["text"], TOO_LONG, False)
