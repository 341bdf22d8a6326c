"""Decide labels from probabilities: a threshold on P(O), then BIO repair."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from pii_kit.labels import LABELS, OUTSIDE, OUTSIDE_ID, pii_places, type_of

# These thresholds are tried: F5 rewards a row that is right with probability p if p > F5 / 26.
O_THRESHOLDS = (
    0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999,
    0.9995, 0.9999,
)  # fmt: skip


def decide(
    probabilities: np.ndarray, *, o_threshold: float, by_type: Mapping[str, float] = MappingProxyType({})
) -> list[str]:
    """Return labels (token) for probabilities (token, label): the most likely PII where P(O) < o_threshold, else O.

    `by_type` overrides the threshold for single PII types; a token's type is that of its most likely PII label.

    >>> decide(np.eye(15)[[0, 2, 2]] * 0.9 + 0.1 / 15, o_threshold=0.9)
    ['O', 'B-NAME_STUDENT', 'I-NAME_STUDENT']
    >>> decide(np.eye(15)[[0, 1, 3]] * 0.9 + 0.1 / 15, o_threshold=0.9, by_type={"EMAIL": 0.001})
    ['O', 'B-NAME_STUDENT', 'O']
    """
    limits = [by_type.get(type_of(label) or OUTSIDE, o_threshold) for label in LABELS]
    labels = [OUTSIDE] * len(probabilities)
    for token, label in zip(*likeliest_pii(probabilities, o_threshold=max(limits)), strict=True):
        if probabilities[token, OUTSIDE_ID] < limits[label]:
            labels[token] = LABELS[label]
    return repair_bio(labels)


def likeliest_pii(probabilities: np.ndarray, *, o_threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens where P(O) < o_threshold, and the id of the most likely PII label of each."""
    tokens = np.flatnonzero(probabilities[:, OUTSIDE_ID] < o_threshold)
    pii = probabilities[tokens]
    pii[:, OUTSIDE_ID] = -1
    return tokens, pii.argmax(-1)


def repair_bio(labels: Sequence[str]) -> list[str]:
    """Turn each I- that does not continue its type into B- (+.005 F5 for the competition's 22nd place).

    >>> repair_bio(["I-EMAIL", "I-EMAIL", "I-NAME_STUDENT"])
    ['B-EMAIL', 'I-EMAIL', 'B-NAME_STUDENT']
    """
    repaired = list(labels)
    for index in pii_places(labels):
        if labels[index].startswith("I-"):
            before, pii_type = labels[index - 1] if index else OUTSIDE, type_of(labels[index])
            if type_of(before) != pii_type:
                repaired[index] = f"B-{pii_type}"
    return repaired
