"""Distillation: a student learns from what a teacher says of essays without labels (Hinton et al., arXiv 1503.02531).

The targets are the teacher's probabilities as they are, mostly a mean over taggers; the paper's temperature, which
would soften them further, is left out.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from pii_kit.data import Document
from pii_kit.files import KitError
from pii_kit.training.runs import fingerprint

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Taught:
    """Essays with a teacher's probabilities (token, label), and who the teacher is: a name for each of its taggers.

    Labels that the essays have are not looked at.
    """

    predictions: tuple[tuple[Document, np.ndarray], ...]
    teacher: tuple[str, ...]

    def beside(self, labelled: Iterable[Document]) -> "Taught":
        """The taught essays without those whose tokens are a labelled document's, whatever their numbers.

        The teacher may have been trained on a validation document, and would hand its labels to the student; for a
        training document the labels are known. What a teacher learned from validation documents still reaches the
        student through other essays: for scores free of that, teach fold K by a teacher's tagger of fold K alone.
        Raises KitError if none is left.
        """
        known = {document.tokens for document in labelled}
        left = tuple((doc, scores) for doc, scores in self.predictions if doc.tokens and doc.tokens not in known)
        if not left:
            raise KitError(f"none of {len(self.predictions)} unlabelled essays has tokens and is not a labelled one")
        logger.info("taught on %d essays; %d more are labelled or empty", len(left), len(self.predictions) - len(left))
        return replace(self, predictions=left)

    def manifest(self) -> dict:
        """What a run's folder says of it."""
        documents = [replace(document, labels=None) for document, _ in self.predictions]
        return {"teacher": list(self.teacher), "n_documents": len(documents), "data": fingerprint(documents)}


def soft_cross_entropy(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Logits and target probabilities, both (batch, piece, label), and class weights (label) to the mean loss.

    A piece weighs the mean of the class weights under its targets, so that the loss is least at the targets whatever
    the weights; pieces whose targets are all zero are left out. With one-hot targets it is torch's cross-entropy.
    """
    of_pieces = F.cross_entropy(logits.flatten(0, 1), targets.flatten(0, 1), reduction="none")
    piece_weights = targets.flatten(0, 1) @ weights
    return (of_pieces * piece_weights).sum() / piece_weights.sum()
