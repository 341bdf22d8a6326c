"""The measures of a redaction, by hand."""

import pytest

from pii_kit.documents import document_of_spans
from pii_kit.labels import PII_TYPES
from pii_kit.metrics import recall_bound
from pii_kit.redact import Redaction
from pii_kit.redact.evaluate import evaluate_redaction

NAME, EMAIL, *_ = PII_TYPES
FOUR_WORDS = document_of_spans(
    1, [("By ", None), ("Ana Silva", NAME), (" of class; ", None), ("b@x.de", EMAIL), (". Ana came.", None)]
)


def measure(document, *, hide=(), mentions=True, also=()):
    """Evaluate with the true labels, without those of tokens in `hide`, and with names for tokens in `also`."""
    labels = [
        "O" if token in hide else f"B-{NAME}" if token in also else label
        for token, label in zip(document.tokens, document.labels, strict=True)
    ]
    return evaluate_redaction([document], [labels], Redaction(mode="type", mentions=mentions))


def test_true_labels_and_their_mentions_leave_nothing():
    table = measure(FOUR_WORDS)
    assert table["good"].to_dict() == {
        "identifiers": 2, NAME: 1, EMAIL: 1, "documents with PII": 1, "rows": 3, "other words": 4,
    }  # fmt: skip
    assert table.loc["other words", "n"] == 5  # "Ana" in "Ana came" is replaced although it is not labelled


def test_a_token_that_is_not_replaced_survives():
    table = measure(FOUR_WORDS, hide=["Silva"])
    assert table.loc[NAME, "good"] == 0 and table.loc[EMAIL, "good"] == 1
    assert table.loc["rows", ["n", "good"]].tolist() == [3, 2]
    assert table.loc["documents with PII", "good"] == 0


def test_a_part_that_is_elsewhere_in_the_text_survives():
    table = measure(FOUR_WORDS, mentions=False)
    assert table.loc["rows", "good"] == 3 and table.loc[NAME, "good"] == 0


def test_other_words_that_are_replaced_count_against_the_redaction():
    table = measure(FOUR_WORDS, also=["class"])
    assert table.loc["other words", ["n", "good"]].tolist() == [5, 3]


def test_a_place_of_the_same_identifier_that_is_missed_is_one_survivor():
    document = document_of_spans(1, [("Ana", NAME), (" and ", None), ("Ana", NAME), (".", None)])
    labels = [f"B-{NAME}", "O", "O", "O"]
    table = evaluate_redaction([document], [labels], Redaction(mode="type", mentions=False))
    assert table.loc["identifiers", ["n", "good"]].tolist() == [1, 0]
    assert table.loc["rows", ["n", "good"]].tolist() == [2, 1]


def test_intervals_are_exact_binomial_ones():
    documents = [document_of_spans(n, [("Ana", NAME), (" came.", None)]) for n in range(10)]
    table = evaluate_redaction(documents, [doc.labels for doc in documents], Redaction(mode="mask"))
    low, high = table.loc["identifiers", ["low", "high"]]
    assert low == pytest.approx(0.025 ** (1 / 10)) and high == 1  # Clopper & Pearson without a miss
    assert table.loc["identifiers", "bound"] == pytest.approx(recall_bound(10, 0))


def test_documents_without_pii_have_only_words():
    table = measure(document_of_spans(1, [("No names.", None)]))
    assert table.index.tolist() == ["other words"] and table.loc["other words", "share"] == 1
