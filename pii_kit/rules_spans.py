"""Rules on spans, whatever they spell: no whitespace, one type, whole addresses. See `rules` for how they are used."""

from collections.abc import Callable
from functools import wraps
from itertools import groupby, pairwise

import numpy as np

from pii_kit.data import Document
from pii_kit.decide import repair_bio
from pii_kit.labels import LABEL_TO_ID, LABELS, OUTSIDE, type_of

Rule = Callable[[Document, list[str], np.ndarray], list[str]]

# Two tokens hold a comma and a newline, which is what separates an address's lines (1st place).
MAX_ADDRESS_GAP = 2


def runs_of(labels: list[str]) -> list[tuple[int, int, str]]:
    """Labels to the longest stretches of one type, whatever their B- and I-: (first token, end token, type).

    >>> runs_of(["B-EMAIL", "B-EMAIL", "O", "I-ID_NUM"])
    [(0, 2, 'EMAIL'), (3, 4, 'ID_NUM')]
    """
    runs = []
    for pii_type, group in groupby(range(len(labels)), key=lambda index: type_of(labels[index])):
        places = list(group)
        if pii_type is not None:
            runs.append((places[0], places[-1] + 1, pii_type))
    return runs


def label_span(labels: list[str], first: int, end: int, pii_type: str) -> None:
    """Writes one entity into the labels, in place."""
    labels[first:end] = [f"B-{pii_type}"] + [f"I-{pii_type}"] * (end - first - 1)


def until_settled(rule: Rule) -> Rule:
    """A rule that may find more in what it just labelled, to one that is repeated until it finds nothing.

    Only for rules that turn O into PII and never back: those must come to an end.
    """

    @wraps(rule)
    def settled(document: Document, labels: list[str], probabilities: np.ndarray) -> list[str]:
        before, after = None, list(labels)
        while after != before:
            before, after = after, rule(document, after, probabilities)
        return after

    return settled


def one_type_per_span(document: Document, labels: list[str], probabilities: np.ndarray) -> list[str]:
    """A span of mixed types takes that one of them with the largest probability, summed over its tokens and B- and I-.

    An entity has one type. But a name may be followed at once by a number, and BIO repair has turned each change of
    type into B-: so a B- begins a span of its own where the model, over all types, prefers beginning to continuing.
    """
    result = list(labels)
    begin = probabilities[:, [LABEL_TO_ID[label] for label in LABELS if label.startswith("B-")]]
    inside = probabilities[:, [LABEL_TO_ID[label] for label in LABELS if label.startswith("I-")]]
    begins = begin.sum(-1) > inside.sum(-1)
    edges = [i for i, label in enumerate(labels) if label.startswith("B-") and begins[i]]
    edges += [i for i, label in enumerate(labels) if label == OUTSIDE or i == 0 or labels[i - 1] == OUTSIDE]
    for first, end in pairwise([*sorted(set(edges)), len(labels)]):
        types = sorted({type_of(label) for label in labels[first:end]} - {None})
        if len(types) > 1:
            columns = [[LABEL_TO_ID[f"{prefix}-{pii_type}"] for prefix in "BI"] for pii_type in types]
            sums = [probabilities[first:end, pair].sum() for pair in columns]
            label_span(result, first, end, types[int(np.argmax(sums))])
    return repair_bio(result)


def rebuild_boundaries(document: Document, labels: list[str], probabilities: np.ndarray) -> list[str]:
    """B- and I- anew by adjacency: the first token of a run of one type is B-, all others I-.

    The 2nd, 14th and 29th place trained on seven types and O, and built B- and I- so (+.001 private for the 14th): a
    wrong B- inside a name costs a miss and a false alarm, and two entities of a type that touch are very rare.

    >>> rebuild_boundaries(None, ["B-PHONE_NUM", "B-PHONE_NUM", "O", "B-PHONE_NUM"], None)
    ['B-PHONE_NUM', 'I-PHONE_NUM', 'O', 'B-PHONE_NUM']
    """
    result = list(labels)
    for first, end, pii_type in runs_of(labels):
        label_span(result, first, end, pii_type)
    return result


def whitespace_is_outside(document: Document, labels: list[str], probabilities: np.ndarray) -> list[str]:
    """Whitespace tokens are O, but for those between two tokens of one STREET_ADDRESS (how train.json is labelled).

    What follows removed whitespace begins anew as B-: a line break between two names of a list is far commoner than one
    inside a name, and so is a wide gap between a name and what stands beside it.
    """
    result = [OUTSIDE if token.isspace() else label for token, label in zip(document.tokens, labels, strict=True)]
    for first, end, pii_type in runs_of(labels):
        visible = [i for i in range(first, end) if not document.tokens[i].isspace()]
        if pii_type == "STREET_ADDRESS" and visible:
            result[visible[0] : visible[-1] + 1] = labels[visible[0] : visible[-1] + 1]
    return repair_bio(result)


def fill_address_gaps(document: Document, labels: list[str], probabilities: np.ndarray) -> list[str]:
    """Gaps of one or two O inside a STREET_ADDRESS are filled, line breaks included: one address (1st place).

    >>> fill_address_gaps(None, ["B-STREET_ADDRESS", "O", "B-STREET_ADDRESS"], None)
    ['B-STREET_ADDRESS', 'I-STREET_ADDRESS', 'I-STREET_ADDRESS']
    """
    result = list(labels)
    addresses = [run for run in runs_of(labels) if run[2] == "STREET_ADDRESS"]
    for (_, gap, _), (end, *_) in pairwise(addresses):
        if end - gap <= MAX_ADDRESS_GAP and set(labels[gap:end]) == {OUTSIDE}:
            result[gap : end + 1] = ["I-STREET_ADDRESS"] * (end + 1 - gap)
    return result
