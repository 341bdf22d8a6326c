"""A trained tagger to ONNX: a folder that `predict` takes like a run's, and that needs no PyTorch model class."""

import importlib.util
import warnings
from pathlib import Path

import torch
from torch import nn

from pii_kit.errors import KitError
from pii_kit.files import atomic_folder
from pii_kit.folds import fold_folders
from pii_kit.onnx_model import FILE, OnnxModel
from pii_kit.out_of_fold import load_out_of_fold, save_out_of_fold
from pii_kit.pieces import CASINGS
from pii_kit.predict import Tagger
from pii_kit.runs import load_tagger, read_json, save_tokenizer_and_decision, write_json

INPUTS = ["input_ids", "attention_mask", "casing_ids"]
OPSET = 18
LARGEST_DIFFERENCE = 1e-3  # of the logits' own scale; more is another model, not rounding


class _Logits(nn.Module):
    """The model as the exporter wants it: tensors in, one tensor out."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.model(**dict(zip(INPUTS, inputs, strict=True))).logits


def export_run(run: str | Path, folder: str | Path) -> float:
    """Write all taggers of a run folder to another one, as ONNX, and its decision; the largest difference of a logit.

    Raises KitError as `export_tagger`.
    """
    run, folder = Path(run), Path(folder)
    if not (run / "folds.json").exists():
        return export_tagger(run, folder)
    difference = max(export_tagger(of_fold, folder / of_fold.name) for of_fold in fold_folders(run))
    for name in ("decision.json", "folds.json"):
        write_json(folder / name, read_json(run / name))
    return difference


def export_tagger(run: str | Path, folder: str | Path) -> float:
    """Write the tagger of a run folder to another one, as ONNX; gives back the largest difference of a logit.

    Batch and length of the windows are free. The exported model is run in ONNX Runtime on random windows of several
    shapes beside PyTorch's, and nothing is written if they differ. Raises KitError then, if the folder has a tagger
    already, and if onnx or onnxruntime is missing.
    """
    folder = Path(folder)
    if missing := [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]:
        raise KitError(f"export needs {' and '.join(missing)} (pip install {' '.join(missing)})")
    tagger = load_tagger(run)
    if isinstance(tagger.model, OnnxModel):
        raise KitError(f"{run}: is exported already")
    if (folder / "tagger").exists():
        raise KitError(f"{folder}: holds a tagger already; choose another folder")
    with atomic_folder(folder / "tagger") as inside:
        _write_model(tagger, inside / FILE)
        tagger.model.config.save_pretrained(inside)
        save_tokenizer_and_decision(inside, tagger)
        if (kept := load_out_of_fold(Path(run) / "tagger")) is not None:
            save_out_of_fold(inside, kept)  # the weights of an average are chosen on it
        difference, scale = _largest_difference(tagger, OnnxModel(inside))
        if not difference <= LARGEST_DIFFERENCE * scale:
            raise KitError(
                f"{run}: not exported: a logit in ONNX Runtime is {difference:.3g} off PyTorch's (largest: {scale:.3g})"
            )
    return difference


def _write_model(tagger: Tagger, path: Path) -> None:
    example = _random_windows(tagger, n_windows=2, n_pieces=8)
    free = {name: {0: "batch", 1: "piece"} for name in [*INPUTS, "logits"]}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # what tracing might get wrong is found by comparing, for several shapes
        torch.onnx.export(
            _Logits(tagger.model).eval(),
            tuple(example[name] for name in INPUTS),
            path,
            input_names=INPUTS,
            output_names=["logits"],
            dynamic_axes=free,
            opset_version=OPSET,
            dynamo=False,  # the newer exporter's LSTM cannot be made int8 by ONNX Runtime
        )


def _random_windows(tagger: Tagger, *, n_windows: int, n_pieces: int) -> dict[str, torch.Tensor]:
    """Windows of random pieces, the first full and the others padded, as `batches.collate` gives them."""
    generator = torch.Generator().manual_seed(n_windows * n_pieces)
    shape = (n_windows, n_pieces)
    lengths = torch.randint(1, n_pieces + 1, (n_windows, 1), generator=generator)
    lengths[0] = n_pieces
    return {
        "input_ids": torch.randint(tagger.tokenizer.n_pieces, shape, generator=generator),
        "attention_mask": (torch.arange(n_pieces) < lengths).long(),
        "casing_ids": torch.randint(len(CASINGS), shape, generator=generator),
    }


@torch.inference_mode()
def _largest_difference(tagger: Tagger, exported: OnnxModel) -> tuple[float, float]:
    """The largest difference of a real piece's logit, and the largest logit, over windows of several shapes."""
    difference = scale = 0.0
    for n_windows, n_pieces in ((1, 1), (1, tagger.window_size), (3, 7), (5, tagger.window_size)):
        windows = _random_windows(tagger, n_windows=n_windows, n_pieces=n_pieces)
        real = windows["attention_mask"].bool()
        expected = tagger.model(**windows).logits[real]
        difference = max(difference, (exported(**windows).logits[real] - expected).abs().max().item())
        scale = max(scale, expected.abs().max().item())
    return difference, scale
