import signal
from pathlib import Path

import pytest

from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.sample import SampleConfig
from rlhf.contract.records import read_rows, write_rows
from rlhf.contract.run_dir import prepare_run_dir, read_progress
from rlhf.learning.reporting import HandedBack, install_stop_signal
from rlhf.learning.sampling import train

QUESTIONS = ["Can you help me?", "Is the shop open?", "May I come in? May I? May I come in?"]


def prepare(run_dir: Path, base_model: Path, **settings) -> SampleConfig:
    config = SampleConfig(base_model=str(base_model), **{"n": 2, "max_new_tokens": 12, "batch_size": 4, **settings})
    prepare_run_dir(run_dir, config)
    rows = [
        {"prompt_id": f"p{number}", "prompt": [{"role": "user", "content": question}]}
        for number, question in enumerate(QUESTIONS)
    ]
    write_rows(run_dir / "data" / "prompts.jsonl", rows)
    return config


def test_samples_come_by_prompt_then_index_and_say_how_they_were_drawn(tiny_policy: Path, tmp_path: Path):
    metrics = train(prepare(tmp_path, tiny_policy, seed=7), tmp_path)

    samples = list(read_rows(tmp_path / "samples.jsonl"))
    assert [(row["prompt_id"], row["index"]) for row in samples] == [(f"p{n}", i) for n in range(3) for i in range(2)]
    assert {row["seed"] for row in samples} == {7}
    assert {tuple(row) for row in samples} == {("finished", "index", "n_tokens", "prompt_id", "seed", "text")}
    assert metrics["n_completions"] == 6
    assert metrics["n_tokens"] == pytest.approx(sum(row["n_tokens"] for row in samples) / 6)
    assert metrics["finished"] == pytest.approx(sum(row["finished"] for row in samples) / 6)
    assert read_progress(tmp_path) == {"stage": "sampling", "step": 6, "total_steps": 6, "eta_s": 0.0}


def test_the_same_seed_gives_the_same_bytes(tiny_policy: Path, tmp_path: Path):
    for name, seed in (("one", 7), ("again", 7), ("other", 8)):
        train(prepare(tmp_path / name, tiny_policy, seed=seed), tmp_path / name)

    one, again, other = [(tmp_path / name / "samples.jsonl").read_bytes() for name in ("one", "again", "other")]
    assert one == again
    assert one != other


def test_greedy_samples_of_one_prompt_are_equal(tiny_policy: Path, tmp_path: Path):
    train(prepare(tmp_path, tiny_policy, temperature=0.0, n=3), tmp_path)

    texts = [row["text"] for row in read_rows(tmp_path / "samples.jsonl")]
    assert [len(set(texts[start : start + 3])) for start in (0, 3, 6)] == [1, 1, 1]


def test_a_stopped_run_leaves_no_samples(tiny_policy: Path, tmp_path: Path):
    before = signal.getsignal(signal.SIGTERM)
    install_stop_signal()
    config = prepare(tmp_path, tiny_policy, batch_size=2)
    signal.raise_signal(signal.SIGTERM)

    with pytest.raises(HandedBack, match="stopped after 2 of 6 completions"):
        train(config, tmp_path)

    install_stop_signal()
    signal.signal(signal.SIGTERM, before)
    assert not (tmp_path / "samples.jsonl").exists()


def test_no_prompts_are_refused(tiny_policy: Path, tmp_path: Path):
    config = prepare(tmp_path, tiny_policy)
    write_rows(tmp_path / "data" / "prompts.jsonl", [])

    with pytest.raises(ContractError, match=r"prompts\.jsonl holds no prompt"):
        train(config, tmp_path)
