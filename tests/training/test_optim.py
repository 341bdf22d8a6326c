import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import likely, tiny_mobilebert, tiny_sha_rnn
from safetensors.torch import load_file

from pii_kit.labels import LABELS
from pii_kit.settings import TrainSettings
from pii_kit.training.optim import Lamb, build_optimizer, build_schedule, class_weights, mean_loss
from pii_kit.windows import IGNORED

REFERENCES = Path(__file__).parents[3] / "shared" / "data"

# Weights of the original project, O first and then B-EMAIL … I-URL_PERSONAL, and the counts of pieces behind them.
ORIGINAL_BALANCED = [
    0.081871, 7.1938, 20.92, 11.17, 30.067, 38.373, 5.8495, 26.15, 78.843, 23.592, 13.449, 8.9839, 29242
]  # fmt: skip
ORIGINAL_LOG = [
    1.0, 7.45726, 8.99731, 8.09206, 9.52061, 9.87252, 7.15882, 9.31924, 10.91141, 9.17073, 8.35993, 7.77785, 19.44626
]  # fmt: skip
ORIGINAL_COUNTS = np.array([357172, 4065, 1398, 2618, 973, 762, 4999, 1118, 371, 1239, 2174, 3255, 1])


@pytest.mark.parametrize(("scheme", "expected"), [("balanced", ORIGINAL_BALANCED), ("log", ORIGINAL_LOG)])
def test_class_weights_are_those_of_the_original_project(scheme, expected):
    assert class_weights(ORIGINAL_COUNTS, scheme) == pytest.approx(expected, rel=1e-3)


def test_a_number_is_the_weight_of_o():
    assert class_weights(np.array([9, 1, 0]), 0.05).tolist() == [0.05, 1, 1]
    assert class_weights(np.array([9, 1, 0]), "none").tolist() == [1, 1, 1]


@pytest.mark.parametrize("scheme", ["none", "balanced", "log", 0.1])
def test_labels_that_do_not_occur_have_a_finite_weight(scheme):
    assert np.isfinite(class_weights(np.array([100, 0, 3]), scheme)).all()


def settings(**changes) -> TrainSettings:
    return TrainSettings(**{"learning_rate": 0.3, "weight_decay": 0.1, **changes})


def rates(n_batches: int, n_steps: int, **changes) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    schedule = build_schedule(optimizer, settings(**changes), n_batches)
    found = []
    for _ in range(n_steps):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


def test_the_rate_rises_and_then_falls_in_cosine_cycles():
    """Two epochs of four batches to warm up, cycles of three epochs."""
    expected = [0.3 * (step + 1) / 8 for step in range(8)]
    expected += [0.3 * (1 + math.cos(math.pi * step / 12)) / 2 for step in range(12)] * 2
    assert rates(4, 32, epochs=8, warmup_epochs=2, cycle_epochs=3) == pytest.approx(expected)


@pytest.mark.parametrize(("warmup_epochs", "n_warmup"), [(0, 1), (0.3, 3), (1, 10), (5, 50)])
def test_without_cycles_the_rate_falls_until_the_end(warmup_epochs, n_warmup):
    found = rates(10, 50, epochs=5, warmup_epochs=warmup_epochs)
    assert found.index(max(found)) == n_warmup - 1 and max(found) == pytest.approx(0.3)
    assert min(found) > 0 and found[n_warmup - 1 :] == sorted(found[n_warmup - 1 :], reverse=True)
    if n_warmup < 50:
        assert found[-1] < 0.01


def test_biases_gains_and_gates_have_no_weight_decay_and_no_parameter_is_left_out():
    model = tiny_sha_rnn()
    optimizer = build_optimizer(model, name="adamw", learning_rate=0.1, weight_decay=0.1)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decay = {names[id(p)]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert set(decay) == set(names.values())
    undecayed = {name for name, value in decay.items() if value == 0}
    assert any("query_gate" in name for name in undecayed) and any("norm_start" in name for name in undecayed)
    assert not any(name.endswith("linear.weight") or "weight_hh" in name for name in undecayed)


def test_new_parts_have_a_higher_rate_and_the_history_shows_that_of_the_others():
    model = tiny_mobilebert()
    optimizer = build_optimizer(model, name="adamw", learning_rate=1.0, weight_decay=0.1, head_rate=10.0)
    rates = {id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    of_names = {name: rates[id(weight)] for name, weight in model.named_parameters()}
    heads = {name for name, rate in of_names.items() if rate == 10}
    assert heads == {"classifier.weight", "classifier.bias", "feature_embedding.weight"}
    assert {rate for name, rate in of_names.items() if name not in heads} == {1.0}
    assert optimizer.param_groups[0]["lr"] == 1.0


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_lamb_takes_the_steps_of_the_published_optimizer(weight_decay):
    path = REFERENCES / f"lamb_weight_decay_{weight_decay}.safetensors"
    if not path.is_file():
        pytest.skip("the steps of the published optimizer are not available")
    trace = load_file(path)
    parameters = [torch.nn.Parameter(trace[f"start.{index}"].clone()) for index in range(3)]
    optimizer = Lamb(parameters, lr=2e-3, weight_decay=weight_decay)
    for step in range(6):
        for index, parameter in enumerate(parameters):
            parameter.grad = trace[f"step_{step}.gradient.{index}"]
        optimizer.step()
        for index, parameter in enumerate(parameters):
            torch.testing.assert_close(parameter.data, trace[f"step_{step}.parameter.{index}"], rtol=1e-5, atol=0)


FIRST = 0.1 / 0.001**0.5  # m = .1 g, v = .001 g²: each element of the first update, whatever the gradient


@pytest.mark.parametrize(
    ("weight", "trust"),
    [
        ([30.0, 40.0], 10 / (FIRST * 2**0.5)),  # a norm of 50 counts as 10
        ([0.3, 0.4], 0.25),  # .5 / 4.47 is below the minimum
        ([0.0, 0.0], 1.0),
    ],
)
def test_the_first_step_of_lamb_worked_by_hand(weight, trust):
    parameter = torch.nn.Parameter(torch.tensor(weight))
    parameter.grad = torch.tensor([7.0, 7.0])
    Lamb([parameter], lr=0.01).step()
    torch.testing.assert_close(parameter.data, torch.tensor(weight) - 0.01 * trust * FIRST, rtol=1e-5, atol=1e-6)


def test_the_loss_of_one_hot_targets_is_that_of_labels():
    rng = np.random.default_rng(0)
    logits, labels = torch.randn(2, 7, len(LABELS)), torch.tensor(rng.integers(0, len(LABELS), (2, 7)))
    weights = torch.tensor(rng.random(len(LABELS)), dtype=torch.float32)
    targets = torch.nn.functional.one_hot(labels, len(LABELS)).float()
    labels[0, 3:], targets[0, 3:] = IGNORED, 0
    torch.testing.assert_close(mean_loss(logits, targets, weights), mean_loss(logits, labels, weights))


def test_the_loss_is_least_at_the_targets_whatever_the_weights():
    targets = torch.tensor(likely(np.random.default_rng(0), ["O", "B-EMAIL", "O"]))[None]
    logits = torch.zeros_like(targets).requires_grad_()
    weights = torch.linspace(0.1, 2, len(LABELS))
    for _ in range(3000):
        (gradient,) = torch.autograd.grad(mean_loss(logits, targets, weights), logits)
        logits.data -= 20 * gradient
    assert (logits.softmax(-1) - targets).abs().max() < 0.02
