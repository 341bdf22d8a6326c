import pytest
from matplotlib import pyplot as plt

from pii_kit.documents import document_of_spans
from pii_kit.redact import Redaction, redact_document
from pii_kit.report.picture import _lines, draw_redaction
from pii_kit.sample import make_documents


def test_lines_are_wrapped_and_show_each_character_with_its_type():
    spans = [("By ", None), ("Ana Silva", "NAME_STUDENT"), (f"\n\n\nI wrote this text {'x' * 15}", None)]
    lines = _lines(document_of_spans(0, spans), width=12)
    assert [text.rstrip() for text, _ in lines] == ["By Ana Silva", "", "I wrote this", "text xxxxxx", "x" * 9]
    assert lines[0][1] == [None] * 3 + ["NAME_STUDENT"] * 9
    assert not any(pii_type for _, types in lines[1:] for pii_type in types)


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
