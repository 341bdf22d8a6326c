from itertools import pairwise

import numpy as np
import pytest

from pii_kit.decide import O_THRESHOLDS, decide, repair_bio
from pii_kit.labels import LABEL_TO_ID, LABELS


def probabilities(*rows: dict[str, float]) -> np.ndarray:
    """Rows of {label: probability}, the rest is P(O)."""
    table = np.zeros((len(rows), len(LABELS)), dtype=np.float32)
    for place, row in enumerate(rows):
        for label, share in row.items():
            table[place, LABEL_TO_ID[label]] = share
        table[place, 0] = 1 - sum(row.values())
    return table


def test_the_likeliest_pii_is_taken_where_o_is_below_the_threshold():
    scores = probabilities({"B-EMAIL": 0.06, "B-ID_NUM": 0.05}, {"B-EMAIL": 0.04})
    assert decide(scores, o_threshold=0.9) == ["B-EMAIL", "O"]
    assert decide(scores, o_threshold=0.5) == ["O", "O"]
    assert decide(scores, o_threshold=0.97) == ["B-EMAIL", "B-EMAIL"]


def test_a_higher_threshold_never_drops_a_token():
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.full(15, 0.1), size=200).astype(np.float32)
    found = [{i for i, label in enumerate(decide(scores, o_threshold=t)) if label != "O"} for t in O_THRESHOLDS]
    assert all(fewer <= more for fewer, more in pairwise(found))
    assert found[0] != found[-1]


def test_a_document_without_tokens_has_no_labels():
    assert decide(np.empty((0, 15), dtype=np.float32), o_threshold=0.9) == []


@pytest.mark.parametrize(
    ("labels", "repaired"),
    [
        (["I-EMAIL"], ["B-EMAIL"]),
        (["O", "I-ID_NUM", "I-ID_NUM"], ["O", "B-ID_NUM", "I-ID_NUM"]),
        (["B-EMAIL", "I-ID_NUM"], ["B-EMAIL", "B-ID_NUM"]),
        (["B-EMAIL", "O", "I-EMAIL"], ["B-EMAIL", "O", "B-EMAIL"]),
        (["B-EMAIL", "I-EMAIL", "B-EMAIL"], ["B-EMAIL", "I-EMAIL", "B-EMAIL"]),
        ([], []),
    ],
)
def test_an_i_that_continues_nothing_becomes_b(labels, repaired):
    assert repair_bio(labels) == repaired
    assert repair_bio(repaired) == repaired
