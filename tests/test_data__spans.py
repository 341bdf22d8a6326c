import pytest

from pii_kit.data import cut, document_of_spans, join, spell


def test_pii_that_parts_a_token_is_an_error():
    with pytest.raises(ValueError, match="Ann Lee"):
        document_of_spans(0, [("Ann Lee", "NAME_STUDENT"), ("_essay.docx", None)])
    with pytest.raises(ValueError, match="document 12: NAME_STUDENT 'Ann  Lee'"):
        document_of_spans(12, [("Ann  Lee", "NAME_STUDENT")])


def test_a_newline_in_an_address_is_inside_it():
    doc = document_of_spans(7, [("At ", None), ("1 Hill\nYork", "STREET_ADDRESS"), ("\n", None)])
    assert doc.tokens == ("At", "1", "Hill", "\n", "York", "\n")
    assert doc.labels == ("O", "B-STREET_ADDRESS", *["I-STREET_ADDRESS"] * 3, "O")


def test_two_pieces_of_pii_side_by_side_stay_two():
    doc = document_of_spans(1, [("Ann Lee", "NAME_STUDENT"), (" ", None), ("Bo", "NAME_STUDENT")])
    assert doc.labels == ("B-NAME_STUDENT", "I-NAME_STUDENT", "B-NAME_STUDENT")
    assert (doc.full_text, doc.trailing_whitespace) == ("Ann Lee Bo", (True, True, False))


def test_no_spans_and_empty_ones_give_an_empty_document():
    for spans in ([], [("", None)]):
        doc = document_of_spans(3, spans)
        assert (doc.document, doc.full_text, doc.tokens, doc.labels) == (3, "", (), ())


def test_parts_that_are_cut_at_any_token_join_to_the_document(documents):
    for doc in documents[:6]:
        for middle in (0, 1, len(doc.tokens) // 2, len(doc.tokens)):
            parts = [cut(doc, 0, middle), cut(doc, middle, len(doc.tokens))]
            assert join(doc.document, parts) == doc
            assert all(spell(part.tokens, part.trailing_whitespace) == part.full_text for part in parts)
