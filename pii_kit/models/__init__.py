"""Save and load models as transformers folders, and count their parameters and operations."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForTokenClassification, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

# Importing them makes transformers' Auto classes know the kit's models.
import pii_kit.models.encoder
import pii_kit.models.sha_rnn  # noqa: F401
from pii_kit.files import KitError, in_one_line


def save_model(inside: Path, model: PreTrainedModel) -> None:
    """Write a model and its config into a folder, as safetensors."""
    disable_progress_bar()  # transformers draws one for each file, however small
    # Under our names: by default transformers renames some encoders' weights to those of an earlier version.
    model.save_pretrained(inside, save_original_format=False)


def load_model(
    inside: Path, kind: type[AutoModelForTokenClassification] | type[AutoModelForCausalLM]
) -> PreTrainedModel:
    """Load what `save_model` wrote.

    Raises:
        KitError: the folder is damaged, or holds another kind of model.
    """
    try:
        model = kind.from_config(AutoConfig.from_pretrained(inside))
        # Weights are copied into the model's own memory. Tensors mapped from the file are aligned differently, which
        # changes the last bit of some sums.
        model.load_state_dict(load_file(inside / "model.safetensors"))
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise KitError(f"{inside}: cannot be loaded: {in_one_line(error)}") from None
    return model


def linear_parameters(model: nn.Module) -> int:
    """Count the parameters of nn.Linear layers only, which the original project's profiler called parameters."""
    layers = nn.ModuleList(module for module in model.modules() if isinstance(module, nn.Linear))
    return sum(parameter.numel() for parameter in layers.parameters())


def flops(model: PreTrainedModel, *, n_pieces: int) -> int:
    """Count the floating-point operations of all matrix products in one window, LSTM and attention included.

    A multiply-accumulate counts as two. Element-wise operations are not counted.
    """
    with torch.device("meta"):  # needs no memory, and splits an LSTM into its matrix products
        meta_model = type(model)(model.config).eval()

    def count(length: int) -> int:
        pieces = torch.zeros(1, length, dtype=torch.long, device="meta")
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            meta_model(input_ids=pieces, feature_ids=pieces[..., None])
        return counter.get_total_flops()

    return _extrapolate(count, n_pieces)


def _extrapolate(count: Callable[[int], int], n_pieces: int) -> int:
    """Return count(n_pieces) from three short windows: the count is a polynomial of degree 2 in the length.

    Layers take time proportional to the length, attention to its square.

    >>> _extrapolate(lambda n: 5 + 7 * n + 3 * n * n, 1024)
    3152901
    """
    step = 8
    one, two, three = (count(step * times) for times in (1, 2, 3))
    slope, bend = Fraction(two - one, step), Fraction(three - 2 * two + one, 2 * step**2)
    return int(one + (n_pieces - step) * slope + (n_pieces - step) * (n_pieces - 2 * step) * bend)
