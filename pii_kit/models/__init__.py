"""Networks: SHA-RNN, transformers' encoders, their export; here: save, load and count them.

torch and transformers are imported inside the functions: `models.onnx` runs exported networks without them.
"""

import json
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pii_kit.files import KitError, loading

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel


def save_model(inside: Path, model: "PreTrainedModel") -> None:
    """Write a model and its config into a folder, as safetensors."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # transformers draws one for each file, however small
    # Under our names: by default transformers renames some encoders' weights to those of an earlier version.
    model.save_pretrained(inside, save_original_format=False)


def load_model(inside: Path, *, language_model: bool = False) -> "PreTrainedModel":
    """Load a tagger's model, or a language model, that `save_model` wrote.

    Raises:
        KitError: the folder is damaged, holds another kind of model, or names code of its own.
    """
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoModelForTokenClassification

    import pii_kit.models.encoder
    import pii_kit.models.sha_rnn  # noqa: F401, with the import above: transformers' Auto classes know them

    kind: Any = AutoModelForCausalLM if language_model else AutoModelForTokenClassification
    with loading(inside):
        model = kind.from_config(read_config(inside))
        # Weights are copied into the model's own memory. Tensors mapped from the file are aligned differently, which
        # changes the last bit of some sums.
        model.load_state_dict(load_file(inside / "model.safetensors"))
        check_finite(model)
    return model


def read_config(weights: str | Path, **where: Any) -> "PreTrainedConfig":
    """Read the configuration of a folder or a name on the hub.

    Code of the folder's author is never run: a configuration with `auto_map` is an error, and its choice of kernels for
    attention and experts, which transformers would download, is replaced by PyTorch's own.
    """
    from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig, __version__

    content, _ = PreTrainedConfig.get_config_dict(str(weights), **where)
    model_type = content.get("model_type") if isinstance(content, dict) else None
    if '"auto_map"' in json.dumps(content):
        raise KitError(f"{weights}: config.json names code of its own (auto_map), which is never run")
    if not model_type:
        raise KitError(f"{weights}: no config.json that names a model_type; expected a folder of transformers' format")
    if model_type not in CONFIG_MAPPING:
        advice = f"transformers {__version__} does not know it; a newer one may: pip install -U transformers"
        raise KitError(f"{weights}: config.json: model_type is {str(model_type)[:40]!r}; {advice}")
    config = AutoConfig.from_pretrained(str(weights), trust_remote_code=False, **where)
    config._attn_implementation = config._experts_implementation = None
    return config


def check_finite(model: "nn.Module") -> None:
    """Raise ValueError if a weight is not a number or infinite: labels of such a model are arbitrary."""
    if broken := [name for name, weight in model.named_parameters() if not weight.isfinite().all()]:
        raise ValueError(f"weights are not finite, such as {broken[0]}")


def linear_parameters(model: "nn.Module") -> int:
    """Count the parameters of nn.Linear layers only, which the original project's profiler called parameters."""
    from torch import nn

    layers = nn.ModuleList(module for module in model.modules() if isinstance(module, nn.Linear))
    return sum(parameter.numel() for parameter in layers.parameters())


def flops(model: "PreTrainedModel", *, n_pieces: int) -> int:
    """Count the floating-point operations of all matrix products in one window, LSTM and attention included.

    A multiply-accumulate is two operations; the original project's "FLOPs" are multiply-accumulates of nn.Linear layers
    alone. Element-wise operations are not counted. The counts of three short windows give that of any length, because
    layers take operations in proportion to the length, and attention to its square.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from pii_kit.models.encoder import EncoderForTokenClassification, for_export

    if isinstance(model, EncoderForTokenClassification):
        counted = for_export(model)  # attention as plain products, which the counter knows on every device
        counted.config.encoder._experts_implementation = "batched_mm"  # likewise a mixture of experts
    else:
        with torch.device("meta"):  # splits an LSTM into its matrix products
            counted = type(model)(model.config)
    counts = []
    for length in (8, 16, 24):
        pieces = torch.zeros(1, length, dtype=torch.long, device=counted.device)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            counted.eval()(input_ids=pieces, feature_ids=pieces[..., None])
        counts.append(counter.get_total_flops())
    one, two, three = counts
    step = Fraction(n_pieces - 8, 8)
    return int(one + step * (two - one) + step * (step - 1) / 2 * (three - 2 * two + one))
