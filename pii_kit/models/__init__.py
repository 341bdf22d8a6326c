"""What all models share: load and save as transformers folders, count parameters and operations."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoConfig,
    PreTrainedModel,
)
from transformers.utils.logging import disable_progress_bar

import pii_kit.models.encoder
import pii_kit.models.sha_rnn  # noqa: F401
from pii_kit.files import KitError, in_one_line


def parameters(model: nn.Module) -> int:
    """Every parameter, each shared one once."""
    return sum(parameter.numel() for parameter in model.parameters())


def linear_parameters(model: nn.Module) -> int:
    """Parameters of nn.Linear layers alone, which is what the seed project's profiler called parameters."""
    return sum(parameter.numel() for layer in _linear_layers(model) for parameter in layer.parameters())


def _linear_layers(model: nn.Module) -> list[nn.Linear]:
    return [module for module in model.modules() if isinstance(module, nn.Linear)]


def linear_macs(model: PreTrainedModel, *, n_pieces: int) -> int:
    """Multiply-accumulates of nn.Linear layers for one window, which is what the seed project's profiler called FLOPs.

    Attention products, LSTMs and embeddings are not counted.
    """

    def count(length: int) -> int:
        macs = []
        shadow = _shadow(model)
        for layer in _linear_layers(shadow):
            layer.register_forward_hook(lambda layer, inputs, output: macs.append(output.numel() * layer.in_features))
        _run(shadow, length)
        return sum(macs)

    return _at_length(count, n_pieces)


def flops(model: PreTrainedModel, *, n_pieces: int) -> int:
    """Floating-point operations (two per multiply-accumulate) of one window, LSTM and attention products included.

    Counted by torch, which sees every matrix product; element-wise work is not counted.
    """

    def count(length: int) -> int:
        with FlopCounterMode(display=False) as counter:
            _run(_shadow(model), length)
        return counter.get_total_flops()

    return _at_length(count, n_pieces)


def _at_length(count: Callable[[int], int], n_pieces: int) -> int:
    """count(n_pieces), out of three short windows: layers cost in proportion to the length, attention to its square.

    >>> _at_length(lambda n: 5 + 7 * n + 3 * n * n, 1024)
    3152901
    """
    step = 8
    one, two, three = (count(step * times) for times in (1, 2, 3))
    slope, bend = Fraction(two - one, step), Fraction(three - 2 * two + one, 2 * step**2)
    return int(one + (n_pieces - step) * slope + (n_pieces - step) * (n_pieces - 2 * step) * bend)


def _shadow(model: PreTrainedModel) -> PreTrainedModel:
    """The same model without memory for its numbers, where torch breaks an LSTM down into its matrix products."""
    with torch.device("meta"):
        return type(model)(model.config).eval()


def _run(shadow: PreTrainedModel, n_pieces: int) -> None:
    pieces = torch.zeros(1, n_pieces, dtype=torch.long, device="meta")
    with torch.inference_mode():
        shadow(input_ids=pieces, casing_ids=pieces)


def save_model(inside: Path, model: PreTrainedModel) -> None:
    disable_progress_bar()  # transformers draws one for each of its files, however small
    model.save_pretrained(inside)


def load_model(inside: Path, kind: type) -> PreTrainedModel:
    try:
        model = kind.from_config(AutoConfig.from_pretrained(inside))
        # Copied into the model's own memory: tensors mapped from the file lie elsewhere in a cache line, and the last
        # bit of a sum depends on that.
        model.load_state_dict(load_file(inside / "model.safetensors"))
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise KitError(f"{inside}: cannot be loaded: {in_one_line(error)}") from None
    return model
