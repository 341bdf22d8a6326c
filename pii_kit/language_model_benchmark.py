"""How fast the language model trains, and how much of that its LSTMs and matrix products take by themselves."""

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import nn

from pii_kit.optim import build_optimizer
from pii_kit.sha_rnn import ShaRnnForCausalLM
from pii_kit.sha_rnn_config import ShaRnnConfig


def benchmark_training(
    sizes: ShaRnnConfig, *, batch_size: int, window_size: int, optimizer: str, steps: int = 15
) -> dict[str, float]:
    """Seconds of a training step with the memory full, and of its floor; medians, both measured in turn.

    The floor is what any implementation on torch's kernels pays: forward and backward of the LSTMs alone, and the
    matrix products of Boom, attention (none for gradients of the memory, which has none) and output.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    step = _training_step(sizes, batch_size, window_size, optimizer, device)
    parts = {
        "lstm": _lstms(sizes, batch_size, window_size, device),
        "products": _products(sizes, batch_size, window_size, device),
    }
    for work in (step, *parts.values()):  # the first calls set things up
        work()
        work()
    seconds: dict[str, list[float]] = {name: [] for name in ("step", *parts)}
    for _ in range(steps):
        for name, work in {"step": step, **parts}.items():
            seconds[name].append(_seconds(work, device))
    took = {f"{name}_seconds": median(of_name) for name, of_name in seconds.items()}
    return {
        **took,
        "fastest_step_seconds": min(seconds["step"]),
        "bytes_per_second": batch_size * window_size / took["step_seconds"],
        "floor_share": (took["lstm_seconds"] + took["products_seconds"]) / took["step_seconds"],
    }


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _training_step(
    sizes: ShaRnnConfig, batch_size: int, window_size: int, optimizer: str, device: torch.device
) -> Callable[[], None]:
    """A step on random bytes: forward, backward, clipping, optimizer; the state is carried, the memory full."""
    torch.manual_seed(0)
    model = ShaRnnForCausalLM(sizes).to(device)
    steps = build_optimizer(model, name=optimizer, learning_rate=1e-3, weight_decay=1.2e-6)
    ids = torch.randint(sizes.vocab_size, (batch_size, window_size + 1), device=device)
    state = model.empty_state()
    with torch.no_grad():
        for _ in range(-(-sizes.memory_size // window_size)):
            state = model(ids[:, :-1], state=state).state
    model.train()

    def step() -> None:
        nonlocal state
        done = model(ids[:, :-1], state=state, labels=ids[:, 1:])
        state = done.state
        done.loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        steps.step()
        steps.zero_grad()

    return step


def _lstms(sizes: ShaRnnConfig, batch_size: int, window_size: int, device: torch.device) -> Callable[[], None]:
    width = sizes.hidden_size
    lstm = nn.LSTM(width, width, batch_first=True, device=device)
    hidden = torch.randn(batch_size, window_size, width, device=device, requires_grad=True)
    gradient = torch.randn_like(hidden)

    def work() -> None:
        for _ in range(sizes.num_hidden_layers):
            lstm(hidden)[0].backward(gradient)

    return work


def _products(sizes: ShaRnnConfig, batch_size: int, window_size: int, device: torch.device) -> Callable[[], None]:
    """Every product of a step by its shape: (rows, inner) by (inner, columns), with a batch where it has one."""
    width, tokens, n_attending = sizes.hidden_size, batch_size * window_size, len(sizes.attention_layers)
    shapes = []
    linears = [(sizes.boom_size, sizes.num_hidden_layers), (width, n_attending), (sizes.vocab_size, 1)]
    for columns, times in linears:  # forward, gradient of the input, gradient of the weights
        shapes += times * [(1, tokens, width, columns), (1, tokens, columns, width), (1, columns, tokens, width)]
    streams, head_width = batch_size * sizes.num_attention_heads, width // sizes.num_attention_heads
    memory = max(sizes.memory_size - window_size, 0)
    for positions, times in ((memory, 2), (window_size, 3)):  # scores and sum forward, and backward as often or twice
        pair = [(streams, window_size, head_width, positions), (streams, window_size, positions, head_width)]
        shapes += n_attending * times * pair if positions else []
    factors = {
        (batch, rows, inner, columns): (
            torch.randn(batch, rows, inner, device=device),
            torch.randn(batch, inner, columns, device=device),
        )
        for batch, rows, inner, columns in shapes
    }

    def work() -> None:
        for shape in shapes:
            torch.bmm(*factors[shape])

    return work
