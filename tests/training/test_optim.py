from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from conftest import tiny_mobilebert, tiny_sha_rnn
from safetensors.torch import load_file
from sklearn.utils.class_weight import compute_class_weight
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LinearLR, SequentialLR

from pii_kit.files import KitError
from pii_kit.training.optim import (
    OPTIMIZERS,
    Lamb,
    build_optimizer,
    build_schedule,
    class_weights,
    moving_average,
    rate_factor,
)

REFERENCES = Path(__file__).parents[3] / "shared" / "data"

# Weights of the original project, O first and then B-EMAIL … I-URL_PERSONAL, and the counts of pieces behind them.
ORIGINAL_BALANCED = [
    0.081871, 7.1938, 20.92, 11.17, 30.067, 38.373, 5.8495, 26.15, 78.843, 23.592, 13.449, 8.9839, 29242
]  # fmt: skip
ORIGINAL_LOG = [
    1.0, 7.45726, 8.99731, 8.09206, 9.52061, 9.87252, 7.15882, 9.31924, 10.91141, 9.17073, 8.35993, 7.77785, 19.44626
]  # fmt: skip
ORIGINAL_COUNTS = np.array([357172, 4065, 1398, 2618, 973, 762, 4999, 1118, 371, 1239, 2174, 3255, 1])


def test_balanced_weights_are_those_of_the_original_project():
    assert class_weights(ORIGINAL_COUNTS, "balanced") == pytest.approx(ORIGINAL_BALANCED, rel=1e-3)


def test_log_weights_are_those_of_the_original_project():
    assert class_weights(ORIGINAL_COUNTS, "log") == pytest.approx(ORIGINAL_LOG, abs=1e-3)


def test_balanced_weights_are_those_of_scikit_learn():
    labels = np.repeat(np.arange(13), ORIGINAL_COUNTS)
    expected = compute_class_weight("balanced", classes=np.arange(13), y=labels)
    assert class_weights(ORIGINAL_COUNTS, "balanced") == pytest.approx(expected)


def test_a_number_is_the_weight_of_o():
    assert class_weights(np.array([9, 1, 0]), 0.05).tolist() == [0.05, 1, 1]
    assert class_weights(np.array([9, 1, 0]), "none").tolist() == [1, 1, 1]


@pytest.mark.parametrize("scheme", ["none", "balanced", "log", 0.1])
def test_labels_that_do_not_occur_have_a_finite_weight(scheme):
    assert np.isfinite(class_weights(np.array([100, 0, 3]), scheme)).all()


def test_an_unknown_scheme_is_named():
    with pytest.raises(KitError, match="class_weights is 'heavy'; expected one of none, balanced, log"):
        class_weights(np.array([1, 1]), "heavy")


def rates(schedule, optimizer, n_steps) -> list[float]:
    found = []
    for _ in range(n_steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_without_decay_the_schedule_is_that_of_torch():
    ours, theirs = (torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3) for _ in range(2))
    schedule = build_schedule(ours, warmup_steps=5, cycle_steps=7, restart_decay=1.0)
    reference = SequentialLR(
        theirs,
        [LinearLR(theirs, start_factor=1 / 5, total_iters=4), CosineAnnealingWarmRestarts(theirs, T_0=7)],
        milestones=[5],
    )
    assert rates(schedule, ours, 30) == pytest.approx(rates(reference, theirs, 30))


def test_restart_peaks_decay():
    peaks = [rate_factor(3 + 4 * cycle, warmup_steps=3, cycle_steps=4, restart_decay=0.5) for cycle in range(4)]
    assert peaks == [1, 0.5, 0.25, 0.125]


def test_no_step_is_above_the_peak_or_below_zero():
    factors = [rate_factor(step, warmup_steps=10, cycle_steps=13, restart_decay=0.7) for step in range(200)]
    assert max(factors) == 1 and min(factors) >= 0
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])


def test_biases_gains_and_gates_have_no_weight_decay_and_no_parameter_is_left_out():
    model = tiny_sha_rnn()
    optimizer = build_optimizer(model, name="adamw", learning_rate=1e-3, weight_decay=0.1)
    decayed, kept = ({id(p) for p in group["params"]} for group in optimizer.param_groups)
    assert optimizer.param_groups[1]["weight_decay"] == 0
    names = dict(model.named_parameters())
    assert decayed | kept == {id(p) for p in names.values()} and not decayed & kept
    undecayed = {name for name, p in names.items() if id(p) in kept}
    assert any("query_gate" in name for name in undecayed) and any("norm_start" in name for name in undecayed)
    assert not any(name.endswith("linear.weight") or "weight_hh" in name for name in undecayed)


def rates_by_name(model, **settings) -> dict[str, float]:
    optimizer = build_optimizer(model, name="adamw", learning_rate=1.0, weight_decay=0.1, **settings)
    rates = {id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    return {name: rates[id(weight)] for name, weight in model.named_parameters()}


def test_new_parts_have_a_higher_rate_and_lower_layers_a_lower_one():
    rates = rates_by_name(tiny_mobilebert(num_hidden_layers=3), head_rate=10.0, layer_decay=0.5)
    expected = {
        "classifier.weight": 10,
        "classifier.bias": 10,
        "feature_embedding.weight": 10,
        "encoder.encoder.layer.2.intermediate.dense.weight": 1,
        "encoder.encoder.layer.1.intermediate.dense.weight": 0.5,
        "encoder.encoder.layer.0.intermediate.dense.bias": 0.25,
        "encoder.embeddings.word_embeddings.weight": 0.125,
        "encoder.embeddings.LayerNorm.weight": 0.125,
    }
    assert {name: rates[name] for name in expected} == pytest.approx(expected)
    assert set(rates_by_name(tiny_mobilebert()).values()) == {1.0}


def test_the_rate_in_the_history_is_that_of_the_top_layer():
    optimizer = build_optimizer(
        tiny_mobilebert(), name="adamw", learning_rate=1e-3, weight_decay=0.0, head_rate=10.0, layer_decay=0.5
    )
    assert build_schedule(optimizer, warmup_steps=1, cycle_steps=9, restart_decay=1.0).get_last_lr()[0] == 1e-3


def test_the_moving_average_worked_by_hand():
    """The first step sets it; then it is decay · average + (1 − decay) · weights."""
    model = torch.nn.Linear(1, 1, bias=False)
    average = moving_average(model, 0.75, Accelerator(cpu=True))
    for value in (8.0, 4.0, 0.0):
        torch.nn.init.constant_(model.weight, value)
        average.update_parameters(model)
    assert average.module.weight.item() == pytest.approx(0.75 * (0.75 * 8 + 0.25 * 4))
    assert moving_average(model, 0.0, Accelerator(cpu=True)) is None


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


def test_every_optimizer_lowers_a_loss():
    for name in OPTIMIZERS:
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 1)
        optimizer = build_optimizer(model, name=name, learning_rate=0.05, weight_decay=0.0)
        inputs, targets = torch.randn(32, 4), torch.randn(32, 1)
        losses = []
        for _ in range(30):
            loss = torch.nn.functional.mse_loss(model(inputs), targets)
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert losses[-1] < 0.95 * losses[0], name
