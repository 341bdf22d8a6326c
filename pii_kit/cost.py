"""What a model costs: parameters and operations counted, seconds and memory measured."""

import resource
import time
from collections.abc import Callable, Sequence
from fractions import Fraction

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from pii_kit.data import Document
from pii_kit.predict import Tagger, predict_documents


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


def tokens_per_second(tagger: Tagger, documents: Sequence[Document], *, repeats: int = 3) -> float:
    """Tokens labelled a second on the tagger's device, cutting into pieces included; the fastest of `repeats` runs."""
    n_tokens = sum(len(document.tokens) for document in documents)
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        for _ in predict_documents([tagger], documents):
            pass
        seconds.append(time.perf_counter() - began)
    return n_tokens / min(seconds)


def peak_memory() -> int:
    """The most memory, in bytes, that was in use so far: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return peak_process_memory()


def peak_process_memory() -> int:
    """The most main memory, in bytes, that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def device_name() -> str:
    """The device that training uses, in words."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
