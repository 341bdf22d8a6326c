import pytest
import torch
from conftest import tiny_language_model

from pii_kit import language_model_benchmark
from pii_kit.language_model_benchmark import benchmark_training


@pytest.mark.parametrize(
    "variant",
    [{}, {"memory_size": 0}, {"attention_layers": []}, {"attention_layers": [0, 1, 2], "num_attention_heads": 2}],
    ids=str,
)
def test_a_step_and_its_floor_are_measured(variant):
    took = benchmark_training(
        tiny_language_model(**variant).config, batch_size=2, window_size=8, optimizer="lamb", steps=3
    )
    assert took["step_seconds"] >= took["fastest_step_seconds"] > 0
    assert took["bytes_per_second"] == pytest.approx(2 * 8 / took["step_seconds"])
    floor = took["lstm_seconds"] + took["products_seconds"]
    assert 0 < took["floor_share"] == pytest.approx(floor / took["step_seconds"])


def test_the_products_are_those_of_the_formula(monkeypatch):
    """Multiply-accumulates of the floor, counted by hand for one attending block of two, memory of 20, windows of 8."""
    macs = []
    monkeypatch.setattr(torch, "bmm", lambda one, other: macs.append(one.numel() * other.shape[2]))
    sizes = tiny_language_model(num_hidden_layers=2, vocab_size=50).config
    language_model_benchmark._products(sizes, 3, 8, torch.device("cpu"))()
    linear = 3 * 3 * 8 * 16 * (2 * 32 + 16 + 50)  # Boom twice, query, output: forward and two gradients
    memory = 4 * 3 * 8 * 16 * (20 - 8)  # scores and sum, forward and backward for the query's side
    window = 6 * 3 * 8 * 16 * 8  # and for both sides inside the window
    assert sum(macs) == linear + memory + window
