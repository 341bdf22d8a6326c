"""Run folders to one ensemble; predictions for documents that its taggers did not train on; export."""

import importlib.util
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from pii_kit.data import Document
from pii_kit.files import KitError, atomic_folder, read_json, write_json
from pii_kit.metrics import Predictions
from pii_kit.models.onnx import FILE, OnnxModel
from pii_kit.pieces import CASINGS
from pii_kit.predict import Ensemble, Tagger, predict_documents
from pii_kit.training.distill import Taught
from pii_kit.training.folds import fold_folders, is_whole, load_folds_out_of_fold
from pii_kit.training.out_of_fold import choose_weights, load_out_of_fold, save_out_of_fold
from pii_kit.training.runs import fingerprint_tagger, load_tagger, save_tokenizer_and_decision


def load_ensemble(
    runs: Sequence[str | Path],
    *,
    documents: Sequence[Document] = (),
    mixed_data: bool = False,
    device: str | torch.device = "cpu",
) -> Ensemble:
    """All taggers of run folders. The folds of one run count alike; how runs count is chosen by `choose_weights`.

    Where runs kept no out-of-fold probabilities of the same documents, they count alike, at the mean of their cut-offs.
    Raises KitError for a folder without a trained tagger.
    """
    folders = [fold_folders(run) for run in runs]
    taggers = [[load_tagger(folder, device=device) for folder in of_run] for of_run in folders]
    of_runs = [_decision(Path(run), of_run) for run, of_run in zip(runs, taggers, strict=True)]
    rules = tuple(dict.fromkeys(rule for _, of_run in of_runs for rule in of_run))
    o_threshold = sum(threshold for threshold, _ in of_runs) / len(of_runs)
    weights = [1 / len(of_runs)] * len(of_runs)
    kept = [load_folds_out_of_fold(run) for run in runs] if len(runs) > 1 else []
    if kept and all(part is not None and np.array_equal(part.documents, kept[0].documents) for part in kept):
        weights, o_threshold = choose_weights(kept)
    return Ensemble(
        taggers=tuple(tagger for of_run in taggers for tagger in of_run),
        weights=tuple(w / len(of_run) for w, of_run in zip(weights, taggers, strict=True) for _ in of_run),
        of_run=tuple(place for place, of_run in enumerate(taggers) for _ in of_run),
        o_threshold=o_threshold,
        rules=rules,
    )


def teach(runs: Sequence[str | Path], documents: Sequence[Document], *, device: str | torch.device = "cpu") -> Taught:
    """What all taggers of run folders, averaged as in `load_ensemble`, say of essays: a student's targets.

    60 bytes a token are held in memory. Raises KitError as `load_ensemble`.
    """
    ensemble = load_ensemble(runs, device=device)
    folders = [folder for run in runs for folder in fold_folders(run)]
    teacher = tuple(
        f"{tagger.model.config.model_type} {fingerprint_tagger(folder)}"
        for tagger, folder in zip(ensemble.taggers, folders, strict=True)
    )
    predictions = tqdm(ensemble.predict(documents), total=len(documents), desc="taught essays")
    return Taught(predictions=tuple(predictions), teacher=teacher)


def _decision(run: Path, taggers: Sequence[Tagger]) -> tuple[float, Sequence[str]]:
    """A run's cut-off and rules: its own, or where it was not cross-validated the mean of its taggers' cut-offs."""
    if (run / "decision.json").exists():
        decision = read_json(run / "decision.json")
        return decision["o_threshold"], decision["rules"]
    return sum(tagger.o_threshold for tagger in taggers) / len(taggers), ()


Said = dict[int, np.ndarray]  # a document's number to its probabilities (token, label)


@dataclass(frozen=True)
class Unseen:
    """Documents with their probabilities (token, label). `n_predicted` of them are not out of fold in every run.

    `n_left_out` documents are not among them, because a run may have been trained on them.
    """

    predictions: Predictions
    n_predicted: int
    n_left_out: int

    def counts(self) -> str:
        """How many documents there are, and where their probabilities are from, in words."""
        n_documents = len(self.predictions)
        words = f"{n_documents} documents, {n_documents - self.n_predicted} out of fold, {self.n_predicted} predicted"
        if self.n_left_out:
            words += f"; {self.n_left_out} left out, which may have been trained on"
        return words


def predict_unseen(ensemble: Ensemble, runs: Sequence[str | Path], documents: Sequence[Document]) -> Unseen:
    """Labelled documents to what `load_ensemble(runs)` says of them, with no tagger's word on essays it learned from.

    Of a document on which a run validated, a run says what that fold's tagger said; of others, what its taggers say.
    Left out are documents with number and length, but not the labels, of an essay in the training, and where a run
    lacks folds but validated on some of the documents, all others: it kept nothing of those it only learned from.
    """
    left = list(zip(ensemble.taggers, ensemble.weights, strict=True))
    of_runs: list[Said] = []
    predicted: set[int] = set()
    for run in runs:
        taggers = [left.pop(0) for _ in fold_folders(run)]
        kept, others = _out_of_fold(run, documents)
        weight = sum(share for _, share in taggers)
        of_runs.append({number: weight * scores for number, scores in kept.items()} | _predicted(taggers, others))
        predicted |= {document.document for document in others}
    shown = [document for document in documents if all(document.document in said for said in of_runs)]
    return Unseen(
        predictions=[(document, sum(said[document.document] for said in of_runs)) for document in shown],
        n_predicted=sum(document.document in predicted for document in shown),
        n_left_out=len(documents) - len(shown),
    )


def _out_of_fold(run: str | Path, documents: Sequence[Document]) -> tuple[Said, list[Document]]:
    """What a run kept of documents, and those that it was not trained on."""
    kept = load_folds_out_of_fold(run)
    if kept is None:
        return {}, list(documents)
    said = {document.document: kept.of(document) for document in documents if kept.holds(document)}
    if said and not is_whole(run):
        return said, []
    n_tokens = dict(zip(kept.documents.tolist(), kept.n_tokens.tolist(), strict=True))
    others = [document for document in documents if document.document not in said]
    return said, [document for document in others if n_tokens.get(document.document) != len(document.tokens)]


def _predicted(taggers: Sequence[tuple[Tagger, float]], documents: Sequence[Document]) -> Said:
    """What the taggers of a run say of documents, each by its weight."""
    networks, weights = zip(*taggers, strict=True)
    predictions = predict_documents(networks, documents, weights=weights)
    return {document.document: scores for document, scores in predictions}


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
