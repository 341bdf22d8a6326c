import pytest
from matplotlib import pyplot as plt

from pii_kit.documents import document_of_spans
from pii_kit.redact import Redaction
from pii_kit.redact.document import redact_document
from pii_kit.report.picture import _lines, draw_redaction
from pii_kit.sample import make_documents


def test_a_picture_shows_each_character_with_its_type():
    spans = [("By ", None), ("Ana Silva", "NAME_STUDENT"), ("\n\n\nI wrote this text myself", None)]
    lines = _lines(document_of_spans(0, spans), width=12)
    assert ["".join(character for character, _ in line) for line in lines] == [
        "By Ana Silva",
        "",
        "I wrote this ",
        "text myself",
    ]
    assert [pii_type for _, pii_type in lines[0]] == [None] * 3 + ["NAME_STUDENT"] * 9
    assert not any(pii_type for line in lines[1:] for _, pii_type in line)


def test_lines_are_never_wider_than_the_picture():
    document = document_of_spans(0, [("x" * 30 + " short words follow here", None)])
    lines = _lines(document, width=12)
    assert max(map(len, lines)) <= 13  # a space may hang over
    assert "".join(character for line in lines for character, _ in line) == document.full_text


@pytest.mark.parametrize("n_lines", [3, 500])
def test_a_picture_names_the_types_that_it_shows(n_lines):
    document = next(doc for doc in make_documents(20, seed=0) if doc.types)
    after = redact_document(document, document.labels, Redaction(mode="type")).document
    figure = draw_redaction(document, after, n_lines=n_lines)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert ("…" in texts) == (n_lines == 3) and {"detected", "redacted"} <= {*texts}
    if n_lines > 3:
        assert {text.get_text() for text in figure.axes[0].get_legend().get_texts()} == {*document.types}
    plt.close(figure)
