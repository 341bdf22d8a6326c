import pytest
from conftest import make_document

from pii_kit.labels import PII_TYPES
from pii_kit.metrics import bootstrap_interval
from pii_kit.pieces import train_byte_pairs
from pii_kit.report import tables
from pii_kit.submission import submission_rows, true_rows

LABELLED = {"Ann": "B-NAME_STUDENT", "Lee": "I-NAME_STUDENT", "Bo": "B-NAME_STUDENT", "ann@mail.org": "B-EMAIL"}


@pytest.fixture
def essays():
    """Of 9 tokens with three entities, 4 without PII, none at all, and 1 that is a name."""
    texts = ("Ann Lee and Bo write\n\nto ann@mail.org .", "Tea is good .", "", "Bo")
    return [make_document(text, number, LABELLED) for number, text in enumerate(texts, start=11)]


def test_label_counts_tell_tokens_entities_and_documents_apart(essays):
    counts = tables.label_counts(essays)
    assert tuple(counts.index) == PII_TYPES
    assert counts.loc["NAME_STUDENT"].to_dict() == {"B-": 3, "I-": 1, "entities": 3, "documents": 2}
    assert counts.loc["EMAIL"].to_dict() == {"B-": 1, "I-": 0, "entities": 1, "documents": 1}
    assert not counts.drop(["NAME_STUDENT", "EMAIL"]).any(axis=None)


def test_the_overview_counts_what_a_reader_counts_by_hand(essays):
    assert tables.overview(essays).tolist() == [4, 2, 14, 5, 35.714, 9]


def test_documents_are_counted_in_tokens_pieces_and_entities(essays):
    tokenizer = train_byte_pairs(essays, n_pieces=300)
    table = tables.document_table(essays, tokenizer)
    assert table.drop(columns="pieces").to_numpy().tolist() == [
        [11, 9, 1, 3],
        [12, 4, 0, 0],
        [13, 0, 0, 0],
        [14, 1, 0, 1],
    ]
    assert table["pieces"].tolist() == [len(tokenizer.cut(document).ids) for document in essays]
    assert "pieces" not in tables.document_table(essays)


def test_entities_are_where_they_begin_as_a_share_of_their_essay(essays):
    assert tables.entity_table(essays).to_numpy().tolist() == [
        [11, "NAME_STUDENT", 0, 2, 0.0],
        [11, "NAME_STUDENT", 3, 4, 3 / 9],
        [11, "EMAIL", 7, 8, 7 / 9],
        [14, "NAME_STUDENT", 0, 1, 0.0],
    ]
    assert list(tables.entity_table([]).columns) == ["document", "type", "first", "end", "position"]


@pytest.fixture
def predicted():
    """Documents and predicted labels: correct, a false row, a miss, a wrong label with a miss, a false row."""
    texts = {5: "Ann Lee", 9: "tea time", 6: "ann@mail.org is", 8: "Ann Lee", 7: "tea is"}
    labels = [["B-NAME_STUDENT", "I-NAME_STUDENT"], ["O", "B-ID_NUM"], ["O", "O"], ["I-NAME_STUDENT", "O"]]
    return [make_document(text, number, LABELLED) for number, text in texts.items()], [*labels, ["B-ID_NUM", "O"]]


def test_error_counts_put_the_most_costly_document_first_and_leave_out_correct_ones(predicted):
    table = tables.error_counts(*predicted)
    assert list(table.columns) == ["document", "missed", "false", "wrong label", "cost"]
    assert table.to_numpy().tolist() == [[8, 1, 0, 1, 51], [6, 1, 0, 0, 25], [7, 0, 1, 0, 1], [9, 0, 1, 0, 1]]


def test_scores_have_their_interval_and_types_only_rows_of_their_own(predicted):
    documents, labels = predicted
    numbers = [document.number for document in documents]
    truth, rows = true_rows(documents), submission_rows(zip(numbers, labels, strict=True))
    table = tables.score_table(truth, {"one": rows, "nothing": rows[:0]}, numbers)
    low, high = bootstrap_interval(truth, rows, numbers)
    line = table.loc["one"]
    assert line[["tp", "fp", "fn", "f5_low", "f5_high"]].tolist() == [2, 3, 3, low, high]
    assert line[["f5", "precision", "recall"]].tolist() == pytest.approx([26 * 2 / (26 * 2 + 25 * 3 + 3), 2 / 5, 2 / 5])
    assert table.loc["nothing", "f5"] == 0
    by_type = tables.type_table(truth, rows, numbers)
    assert list(by_type.index) == ["NAME_STUDENT", "EMAIL", "ID_NUM"]
    assert by_type[["tp", "fp", "fn"]].to_numpy().tolist() == [[2, 1, 2], [0, 0, 1], [0, 2, 0]]
