"""What benchmarks/training.py counts and keeps; what it measures is its own affair."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.machine import PEAK_FLOPS, peak_flops, write_results
from benchmarks.scale import SHAPES, Scale, build_model, count_tokens, draw_pairs, needed_flops
from benchmarks.stopwatch import PHASES, Watch

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "millions"),
    [("20m", (15, 25)), ("33m", (30, 36)), ("100m", (95, 105)), ("500m", (490, 510)), ("1b", (980, 1030))],
)
def test_a_shape_has_the_weights_it_is_named_after(name: str, millions: tuple[int, int]):
    with torch.device("meta"):
        model = build_model(Scale(shape=name, device="meta"))

    assert millions[0] <= sum(value.numel() for value in model.parameters()) / 1e6 <= millions[1]
    assert SHAPES[name]["hidden_size"] == 64 * SHAPES[name]["num_attention_heads"]


def test_a_pairs_prompt_is_counted_once_in_operations_and_twice_in_tokens():
    scale = Scale(prompt=10, completion=4)
    pairs = draw_pairs(2, scale, varied=False)
    blocks = 2 * 4 * (4 * 256**2 + 3 * 256 * 688)
    attention, head = 4 * 256 * 4, 2 * 256 * 32_000

    rows = 2 * 14 * (blocks + 14 * attention) - 10 * (blocks + 10 * attention)
    assert needed_flops("reward", pairs, scale) == 3 * 2 * rows
    assert needed_flops("dpo", pairs, scale) == 3 * 2 * (rows + 2 * 4 * head)
    assert needed_flops("sft", pairs, scale) == 3 * 2 * (14 * (blocks + 14 * attention) + 4 * head)
    assert [count_tokens(method, pairs) for method in ("dpo", "sft")] == [56, 28]


def test_what_a_chip_is_promised_to_do_depends_on_the_precision_and_is_unknown_of_a_cpu(monkeypatch):
    assert peak_flops(CPU, torch.float32) is None

    monkeypatch.setattr("benchmarks.machine.name_chip", lambda device: "NVIDIA H100 PCIe")

    assert peak_flops(CPU, torch.bfloat16) == 756e12
    assert peak_flops(CPU, torch.float32) == 51e12
    assert all(half > whole for half, whole in PEAK_FLOPS.values())


def test_phases_add_up_to_the_steps():
    model = nn.Linear(4, 4)
    model.base_model = model.__class__(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(asks_phases=True)
    watch.follow(model, optimizer)

    for _ in range(5):
        model.base_model(torch.ones(2, 4)).sum().backward()
        optimizer.step()
        watch.note_step()

    total = sum(map(sum, watch.phases.values()))
    assert [len(watch.phases[name]) for name in PHASES] == [4, 4, 4, 4]
    assert total == pytest.approx(watch.ended[-1][0] - watch.ended[0][0], rel=1e-3)


def test_a_results_file_names_the_machine_and_what_was_asked(tmp_path: Path):
    path = tmp_path / "results" / "training.json"

    write_results(path, CPU, {"shape": "20m"}, [{"method": "sft"}])

    found = json.loads(path.read_text())
    assert found["settings"] == {"shape": "20m"}
    assert found["rows"] == [{"method": "sft"}]
    assert found["machine"]["torch"] == torch.__version__
    assert found["machine"]["device"]
