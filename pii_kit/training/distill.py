"""Distillation: a student learns from a teacher's predictions on unlabelled documents (arXiv 1503.02531).

The targets are the teacher's probabilities as they are, usually the mean of several taggers. The paper's temperature,
which would soften them further, is left out.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from pii_kit.documents import Document
from pii_kit.files import KitError
from pii_kit.predict import Tagger

TARGETS = "taught.safetensors"  # in the run folder, until the run is finished


def teachable(unlabelled: Sequence[Document], labelled: Sequence[Document]) -> list[Document]:
    """Leave out documents without tokens, and labelled ones, of which a teacher may know and pass on the labels.

    What it learned from them still reaches the student through others. Raises KitError if no document is left.
    """
    known = {document.tokens for document in labelled}
    left = [document for document in unlabelled if document.tokens and document.tokens not in known]
    if unlabelled and not left:
        raise KitError(f"all {len(unlabelled)} unlabelled documents are empty or also labelled; add others")
    return left


def write_targets(
    run: Path, teachers: Sequence[str | Path], documents: Sequence[Document], *, device: str, report: Callable
) -> None:
    """Predict documents with the mean of the teachers, and keep the probabilities in a run folder, without text."""
    predicted = []
    for _, probabilities in Tagger.load(*teachers, engine="torch", devices=[device], mixed_data=True).predict(
        documents
    ):
        predicted.append(probabilities)
        report(1)
    partial = run / f".{TARGETS}.partial"
    save_file({"probabilities": np.concatenate(predicted)}, partial)
    partial.replace(run / TARGETS)


def read_targets(run: Path, documents: Sequence[Document]) -> list[tuple[Document, np.ndarray]]:
    """Return documents with the probabilities (token, label) that `write_targets` kept."""
    if not documents:
        return []
    ends = np.cumsum([len(document.tokens) for document in documents])
    return list(zip(documents, np.split(load_file(run / TARGETS)["probabilities"], ends[:-1]), strict=True))
