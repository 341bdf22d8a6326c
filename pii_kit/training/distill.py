"""Distillation: a student learns from a teacher's predictions on unlabelled documents (arXiv 1503.02531).

The targets are the teacher's probabilities as they are, usually the mean of several taggers. The paper's temperature,
which would soften them further, is left out.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from pii_kit.documents import Document
from pii_kit.files import KitError
from pii_kit.predict import Tagger

TARGETS = "taught.safetensors"  # in the run folder, until the run is finished
logger = logging.getLogger(__name__)


def teachable(unlabelled: Sequence[Document], labelled: Sequence[Document]) -> list[Document]:
    """Leave out documents without tokens, and those with the same tokens as a labelled document.

    The teacher may have been trained on a validation document, and would pass its labels on to the student; of a
    training document the labels are known. What a teacher learned from validation documents still reaches the student
    through other documents.

    Raises:
        KitError: no document is left.
    """
    known = {document.tokens for document in labelled}
    left = [document for document in unlabelled if document.tokens and document.tokens not in known]
    n_left_out = len(unlabelled) - len(left)
    if not left:
        raise KitError(f"all {n_left_out} unlabelled documents are empty or also labelled; add others to learn from")
    logger.info("learning from %d unlabelled documents; %d are empty or also labelled", len(left), n_left_out)
    return left


def write_targets(
    folder: Path,
    teachers: Sequence[str | Path],
    documents: Sequence[Document],
    *,
    device: str,
    report: Callable[[float], None],
) -> None:
    """Predict documents with the mean of the teachers, and keep the probabilities in a run folder, without text."""
    tagger = Tagger.load(*teachers, engine="torch", devices=[device], mixed_data=True)
    predicted = []
    for _, probabilities in tagger.predict(documents):
        predicted.append(probabilities)
        report(1)
    partial = folder / f".{TARGETS}.partial"
    save_file({"probabilities": np.concatenate(predicted)}, partial)
    partial.replace(folder / TARGETS)


def read_targets(folder: Path, documents: Sequence[Document]) -> list[tuple[Document, np.ndarray]]:
    """Return documents with the probabilities (token, label) that `write_targets` kept."""
    if not documents:
        return []
    probabilities = load_file(folder / TARGETS)["probabilities"]
    ends = np.cumsum([len(document.tokens) for document in documents])
    return list(zip(documents, np.split(probabilities, ends[:-1]), strict=True))
