import pytest
from conftest import make_document

from pii_kit import report
from pii_kit.labels import PII_TYPES
from pii_kit.pieces import train_byte_pairs

LABELLED = {
    "Ann": "B-NAME_STUDENT",
    "Lee": "I-NAME_STUDENT",
    "Bo": "B-NAME_STUDENT",
    "ann@mail.org": "B-EMAIL",
}


@pytest.fixture
def essays():
    """Of 9 tokens with three entities, 4 without PII, none at all, and 1 that is a name."""
    texts = ("Ann Lee and Bo write\n\nto ann@mail.org .", "Tea is good .", "", "Bo")
    return [make_document(text, number, LABELLED) for number, text in enumerate(texts, start=11)]


def test_label_counts_tell_tokens_entities_and_documents_apart(essays):
    counts = report.label_counts(essays)
    assert tuple(counts.index) == PII_TYPES
    assert counts.loc["NAME_STUDENT"].to_dict() == {"B-": 3, "I-": 1, "entities": 3, "documents": 2}
    assert counts.loc["EMAIL"].to_dict() == {"B-": 1, "I-": 0, "entities": 1, "documents": 1}
    assert not counts.drop(["NAME_STUDENT", "EMAIL"]).any(axis=None)


def test_the_overview_counts_what_a_reader_counts_by_hand(essays):
    assert report.overview(essays).to_dict() == {
        "documents": 4,
        "documents with PII": 2,
        "tokens": 14,
        "tokens that are PII": 5,
        "per cent of tokens": 35.714,
        "longest document, tokens": 9,
        "labels in use": 4,
    }


def test_an_overview_of_nothing_is_all_zero():
    assert not report.overview([]).any()


def test_lengths_are_those_of_the_tokens_and_of_the_pieces_they_are_cut_into(essays):
    tokenizer = train_byte_pairs(essays, n_pieces=300)
    lengths = report.lengths(essays, tokenizer)
    assert list(lengths["document"]) == [11, 12, 13, 14]
    assert list(lengths["tokens"]) == [9, 4, 0, 1]
    assert list(lengths["whitespace"]) == [1, 0, 0, 0]
    for document, n_pieces in zip(essays, lengths["pieces"], strict=True):
        pieces = tokenizer.cut(document).ids
        assert n_pieces == len(pieces) >= len(document.tokens)
        assert tokenizer.tokenizer.decode(pieces.tolist()) == document.full_text.lower()


def test_positions_are_where_entities_begin_as_a_share_of_their_essay(essays):
    lines = report.entity_positions(essays).itertuples(index=False, name=None)
    assert list(lines) == [
        (11, "NAME_STUDENT", 0, 0.0),
        (11, "NAME_STUDENT", 3, 3 / 9),
        (11, "EMAIL", 7, 7 / 9),
        (14, "NAME_STUDENT", 0, 0.0),
    ]


def test_essays_without_pii_have_no_positions(essays):
    positions = report.entity_positions(essays[1:3])
    assert positions.empty
    assert list(positions.columns) == ["document", "type", "token", "position"]


def test_entities_per_document_count_every_document_once(essays):
    counts = report.entities_per_document(essays)
    assert counts[counts > 0].to_dict() == {0: 2, 1: 1, 3: 1}
    assert counts.index.is_monotonic_increasing
