"""Distillation: a student learns from a teacher's predictions on unlabelled documents (arXiv 1503.02531).

The targets are the teacher's probabilities as they are, usually the mean of several taggers. The paper's temperature,
which would soften them further, is left out.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from pii_kit.documents import Document, true_labels
from pii_kit.files import KitError, read_json
from pii_kit.labels import LABEL_TO_ID, LABELS
from pii_kit.predict import load_member, predict_documents
from pii_kit.training.epochs import documents_of_epoch
from pii_kit.training.parallel import rank_state
from pii_kit.training.runs import fingerprint, fingerprint_tagger
from pii_kit.training.settings import TrainConfig

N_VARIANTS = 6  # of the training documents that a teacher labels: predictions take time
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Taught:
    """Documents with a teacher's probabilities (token, label); `teacher` names its taggers. Labels are ignored."""

    predictions: tuple[tuple[Document, np.ndarray], ...]
    teacher: tuple[str, ...]

    def without(self, labelled: Iterable[Document]) -> "Taught":
        """Leave out documents without tokens, and those with the same tokens as a labelled document.

        The teacher may have been trained on a validation document, and would pass its labels on to the student; of a
        training document the labels are known. What a teacher learned from validation documents still reaches the
        student through other documents. For scores free of that, train fold K with a teacher's tagger of fold K alone.

        Raises:
            KitError: no document is left.
        """
        known = {document.tokens for document in labelled}
        left = tuple((doc, scores) for doc, scores in self.predictions if doc.tokens and doc.tokens not in known)
        n_left_out = len(self.predictions) - len(left)
        if not left:
            raise KitError(
                f"all {n_left_out} unlabelled documents are empty or also labelled; add others to learn from"
            )
        logger.info("learning from %d unlabelled documents; %d are empty or also labelled", len(left), n_left_out)
        return replace(self, predictions=left)

    def manifest(self) -> dict:
        """Return what run.json records."""
        documents = [replace(document, labels=None) for document, _ in self.predictions]
        return {"teacher": list(self.teacher), "n_documents": len(documents), "data": fingerprint(documents)}


def fold_teachers(runs: Sequence[str | Path], fold: int, validation: Sequence[Document]) -> list[str]:
    """Return the names of the taggers of a fold in `runs`, which must not have been trained on `validation`.

    Raises:
        KitError: a run has no tagger of this fold, or its fold validates other documents.
    """
    names = []
    for run in runs:
        folder = Path(run) / f"fold_{fold}"
        manifest = read_json(folder / "run.json")
        if not {document.number for document in validation} <= set(manifest["validation"]):
            raise KitError(
                f"{folder}: trained on documents that fold {fold} validates, and would pass their labels on; "
                "train teacher and student on the same documents with the same folds and seed"
            )
        names.append(f"{manifest['model']} {fingerprint_tagger(folder)}")
    return names


def teach_fold(
    runs: Sequence[str | Path],
    fold: int,
    training: Sequence[Document],
    config: TrainConfig,
    *,
    extra: Sequence[Document] = (),
) -> list[list[tuple[Document, np.ndarray]]]:
    """Make N_VARIANTS augmented variants of an epoch's documents, with target probabilities (token, label).

    The targets are the mean of the labels, which are right by construction, and of the probabilities of the runs'
    taggers of this fold, which know more words.
    """
    device = rank_state().device
    members = [load_member(Path(run) / f"fold_{fold}", devices=[str(device)]) for run in runs]
    variants = []
    for epoch in range(N_VARIANTS if config.augment else 1):
        made = documents_of_epoch(training, extra, config, epoch)
        predicted = list(predict_documents(members, made))
        variants.append([(document, (scores + _one_hot(document)) / 2) for document, scores in predicted])
    return variants


def _one_hot(document: Document) -> np.ndarray:
    return np.eye(len(LABELS), dtype=np.float32)[[LABEL_TO_ID[label] for label in true_labels(document)]]


def soft_cross_entropy(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the mean loss of logits and target probabilities, both (batch, piece, label), with class weights (label).

    The weight of a piece is the mean of the class weights under its targets, so the loss is least at the targets
    whatever the weights. Pieces with targets of zero do not count. With one-hot targets this is plain cross-entropy.
    """
    of_pieces = F.cross_entropy(logits.flatten(0, 1), targets.flatten(0, 1), reduction="none")
    piece_weights = targets.flatten(0, 1) @ weights
    return (of_pieces * piece_weights).sum() / piece_weights.sum()
