"""Choose thresholds of several runs, predict documents that they did not train on, and export runs to ONNX."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pii_kit.documents import Document
from pii_kit.files import KitError, atomic_folder, read_json, write_json
from pii_kit.metrics import Predictions, Score, decided_rows, micro_fbeta
from pii_kit.models.export import write_onnx
from pii_kit.models.onnx import OnnxNetwork
from pii_kit.predict import Tagger, fold_folders, load_member, predict_documents
from pii_kit.submission import true_rows
from pii_kit.training.distill import Taught
from pii_kit.training.folds import load_folds_out_of_fold, validated_documents
from pii_kit.training.out_of_fold import (
    OutOfFold,
    choose_threshold,
    labels_by_other_folds,
    load_out_of_fold,
    save_out_of_fold,
    threshold_for_recall,
)
from pii_kit.training.runs import (
    fingerprint,
    fingerprint_tagger,
    is_whole,
    save_tokenizer_and_decision,
)


def with_chosen_threshold(tagger: Tagger, runs: Sequence[str | Path], documents: Sequence[Document]) -> Tagger:
    """Return the tagger of several runs with the threshold of `choose_threshold` on the documents they trained on.

    Raises KitError as `choose_threshold` does, and for a run without out-of-fold probabilities.
    """
    return replace(tagger, o_threshold=choose_threshold(_members(runs), documents, tagger.rules))


def with_recall(
    tagger: Tagger, runs: Sequence[str | Path], documents: Sequence[Document], recall: float
) -> tuple[Tagger, Score]:
    """Return the tagger of `runs` with the threshold of `threshold_for_recall`, and what it finds out of fold.

    Raises KitError as `threshold_for_recall` does, and for a run without out-of-fold probabilities.
    """
    o_threshold, score = threshold_for_recall(_members(runs), documents, tagger.rules, recall)
    return replace(tagger, o_threshold=o_threshold), score


def labels_out_of_fold(
    tagger: Tagger, runs: Sequence[str | Path], documents: Sequence[Document], *, recall: float | None = None
) -> dict[int, list[str]]:
    """Return the labels (token) by number of those labelled documents that all runs have validated, in several folds.

    They are those of `labels_by_other_folds`, so that neither a tagger nor a threshold knows the document: with the
    folds of the first run, and the tagger's rules and thresholds of types. Raises KitError as it does.
    """
    members = [of_run for run in runs if (of_run := load_folds_out_of_fold(run)) is not None]
    shared = [document for document in documents if all(of_run.holds(document) for of_run in members)]
    if len(members) < len(runs) or not shared:
        return {}
    folds = [fold for fold in validated_documents(runs[0], shared) if fold]
    if len(folds) < 2:
        return {}
    return labels_by_other_folds(members, folds, tagger.rules, recall=recall, by_type=tagger.thresholds)[0]


def _members(runs: Sequence[str | Path]) -> list[OutOfFold]:
    kept = [load_folds_out_of_fold(run) for run in runs]
    members = [of_run for of_run in kept if of_run is not None]
    if len(members) < len(runs):
        raise KitError(f"{runs[kept.index(None)]}: holds no out-of-fold probabilities to choose a threshold on")
    return members


def teach(
    runs: Sequence[str | Path], documents: Sequence[Document], *, mixed_data: bool = False, device: str = "cpu"
) -> Taught:
    """Predict documents with all taggers of `runs`, equally weighted by run, as the targets of a student.

    The predictions take 60 bytes of memory for each token. Raises KitError as `Tagger.load` does.
    """
    n_tokens = sum(len(document.tokens) for document in documents)
    tagger = Tagger.load(*runs, mixed_data=mixed_data, devices=[device], n_tokens=n_tokens)
    folders = [folder for run in runs for folder in fold_folders(run)]
    configs = [read_json(folder / "tagger" / "config.json") for folder in folders]
    kinds = [config.get("encoder", config)["model_type"] for config in configs]
    teacher = tuple(f"{kind} {fingerprint_tagger(folder)}" for kind, folder in zip(kinds, folders, strict=True))
    predictions = tqdm(tagger.predict(documents), total=len(documents), desc="teacher's predictions")
    return Taught(predictions=tuple(predictions), teacher=teacher)


@dataclass(frozen=True)
class LabelledScores:
    """Documents with probabilities (token, label); `n_predicted` of them were not validated by every run."""

    predictions: Predictions
    n_predicted: int
    n_left_out: int  # because a run may have been trained on them

    def counts(self) -> str:
        """Describe how many documents there are and where their probabilities come from."""
        n = len(self.predictions)
        text = f"{n} documents, {n - self.n_predicted} out of fold, {self.n_predicted} predicted"
        return text + f"; {self.n_left_out} left out (a run may have been trained on them)" * (self.n_left_out > 0)


def predict_labelled(tagger: Tagger, runs: Sequence[str | Path], documents: Sequence[Document]) -> LabelledScores:
    """Predict labelled documents with the tagger of `runs`, using only taggers that did not train on the document.

    For documents that a run validated, its out-of-fold probabilities are used; it predicts the others. Its extra
    documents are left out, and documents with the number and length, but not the labels, of one that it was trained on.
    A run that lacks folds does not know all documents that it was trained on: if it validated any document, all others
    are left out.
    """
    of_runs: list[dict[int, np.ndarray]] = []  # document number to weighted probabilities
    predicted: set[int] = set()
    for place, run in enumerate(runs):
        members = [member for member in tagger.members if member.run == place]
        weight = sum(member.weight for member in members)
        kept, scores = load_folds_out_of_fold(run), {}
        if kept is not None:
            scores = {doc.number: weight * kept.of(doc) for doc in documents if kept.holds(doc)}
        others = not_trained_on(run, documents)
        scores |= {doc.number: weight * found for doc, found in predict_documents(members, others)}
        predicted |= {doc.number for doc in others}
        of_runs.append(scores)
    shown = [doc for doc in documents if all(doc.number in scores for scores in of_runs)]
    return LabelledScores(
        predictions=[(doc, np.sum([scores[doc.number] for scores in of_runs], axis=0)) for doc in shown],
        n_predicted=sum(doc.number in predicted for doc in shown),
        n_left_out=len(documents) - len(shown),
    )


def not_trained_on(run: str | Path, documents: Sequence[Document]) -> list[Document]:
    """Return the documents that a run was certainly not trained on, as `predict_labelled` decides it."""
    kept, extra = load_folds_out_of_fold(run), _extra(run)
    known: set[tuple[int, int]] = set()
    if kept is not None:
        known = set(zip(kept.documents.tolist(), kept.n_tokens.tolist(), strict=True))
        if not is_whole(run) and any(kept.holds(document) for document in documents):
            return []
    others = [document for document in documents if (document.number, len(document.tokens)) not in known]
    return [document for document in others if not extra or fingerprint([document]) not in extra]


def _extra(run: str | Path) -> set[str]:
    """Return the fingerprints of the extra documents that a run's taggers were trained on."""
    manifests = [read_json(path) for folder in fold_folders(run) if (path := folder / "run.json").exists()]
    return {one for manifest in manifests for one in manifest.get("extra") or ()}


def export_run(run: str | Path, folder: str | Path, *, int8: Sequence[Document] | None = None) -> float:
    """Export all taggers of a run to ONNX into a new folder that works like a run's; return `write_onnx`'s difference.

    With `int8`, the labelled documents that the run was trained on, weights are rounded to 8 bits.

    Raises:
        KitError: `folder` exists, the run is exported already, or as `write_onnx`; or the taggers in int8 miss more
            rows than in fp32 of the documents that each did not train on. Then nothing is written.
    """
    run, folder = Path(run), Path(folder)
    if folder.exists():
        raise KitError(f"{folder}: exists already; choose a new folder")
    with atomic_folder(folder) as inside:
        is_int8 = int8 is not None
        difference = max(
            _export_tagger(of_fold, inside / of_fold.relative_to(run), int8=is_int8) for of_fold in fold_folders(run)
        )
        _copy_json(run, inside)
        if int8 is not None:
            _check_int8(run, inside, int8)
    return difference


def _check_int8(run: Path, exported: Path, documents: Sequence[Document]) -> None:
    """Raise KitError if exported taggers miss more rows of their validation documents than those of the run."""
    before: list[tuple[Document, np.ndarray]] = []
    after: list[tuple[Document, np.ndarray]] = []
    taggers = [load_member(of_fold) for of_fold in fold_folders(exported)]
    for of_fold, tagger in zip(fold_folders(run), taggers, strict=True):
        kept = load_out_of_fold(of_fold / "tagger")
        held = [document for document in documents if kept is not None and kept.holds(document)]
        before += [(document, kept.of(document)) for document in held if kept is not None]
        after += predict_documents([tagger], held)
    truth = true_rows(document for document, _ in before)
    if truth.empty:
        raise KitError(f"{run}: no taggers held out essays with PII among these; expected the run's training essays")
    decision = read_json(run / "decision.json")
    missed, further = (micro_fbeta(truth, decided_rows(predictions, **decision)).fn for predictions in (before, after))
    if further > missed:
        raise KitError(
            f"not exported: of {len(truth)} rows out of fold {run} misses {further} in 8 bits, {missed} before"
        )


def _export_tagger(run: Path, inside: Path, *, int8: bool) -> float:
    tagger = load_member(run, devices=["cpu"], engine="torch")
    network: Any = tagger.network
    if isinstance(network, OnnxNetwork):
        raise KitError(f"{run}: is exported already")
    folder = inside / "tagger"
    folder.mkdir(parents=True)
    save_tokenizer_and_decision(folder, tagger)
    if (kept := load_out_of_fold(run / "tagger")) is not None:
        save_out_of_fold(folder, kept)
    _copy_json(run, inside)
    sizes = {"n_pieces": tagger.tokenizer.n_pieces, "window_size": tagger.window_size}
    return write_onnx(network.model, folder, **sizes, int8=int8)


def _copy_json(run: Path, inside: Path) -> None:
    """Copy the records of a run's training. `Tagger.load` compares the fingerprints of the data in run.json."""
    for name in ("run.json", "folds.json", "decision.json", "result.json"):
        if (run / name).exists():
            write_json(inside / name, read_json(run / name))
