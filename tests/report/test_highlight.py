import re

import pytest
from conftest import make_document
from matplotlib import pyplot as plt

from pii_kit.documents import document_of_spans
from pii_kit.redact import Redaction, redact_document
from pii_kit.report import ERROR_COLOURS, TYPE_COLOURS
from pii_kit.report.highlight import _lines, draw_redaction, highlight, highlight_errors
from pii_kit.sample import make_documents

LABELLED = {"Ann": "B-NAME_STUDENT", "Lee": "I-NAME_STUDENT", "a@b.org": "B-EMAIL"}
TEXT = "if <b>x</b> < 3 & y > 2 then\n\nAnn Lee says one two three four five six to a@b.org today"
MARK = re.compile(r"<mark[^>]*background: (#\w+);[^>]*>\s*(.*?)\s*<span[^>]*>(.*?)</span>\s*</mark>", re.DOTALL)


def marks(html: str) -> list[tuple[str, str, str]]:
    """Return the text, caption and colour of each mark."""
    return [(" ".join(text.split()), caption, colour) for colour, text, caption in MARK.findall(html)]


def visible(html: str) -> str:
    """Return the text of highlighted HTML without captions and whitespace."""
    text = re.sub(r"<[^>]*>", "", MARK.sub(r"\2", html))
    return "".join(text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").split())


ESSAY = make_document(TEXT, labels=LABELLED)


def test_the_whole_essay_is_shown_with_every_entity_in_the_colour_of_its_type():
    html = highlight(ESSAY, around=99)
    assert visible(html) == "".join(TEXT.split())
    assert marks(html) == [
        ("Ann Lee", "NAME_STUDENT", TYPE_COLOURS["NAME_STUDENT"]),
        ("a@b.org", "EMAIL", TYPE_COLOURS["EMAIL"]),
    ]
    assert len(set(TYPE_COLOURS.values())) == 7 and len(set(ERROR_COLOURS.values())) == 4


@pytest.mark.parametrize(
    ("around", "shown"),
    [
        (2, "… then Ann Lee says one … … six to a@b.org today"),
        (4, "… > 2 then Ann Lee says one two three four five six to a@b.org today"),  # adjacent parts are one
    ],
)
def test_around_shows_only_tokens_near_entities_and_marks_what_is_left_out(around, shown):
    html = highlight(ESSAY, around=around)
    assert visible(html) == "".join(shown.split())
    assert marks(html) == marks(highlight(ESSAY, around=99))


@pytest.mark.parametrize("text", ["", "Tea is good"])
def test_nothing_is_shown_of_essays_without_pii(text):
    assert visible(highlight(make_document(text, labels={}), around=2)) == ""


def test_errors_are_shown_as_correct_missed_false_or_wrong_label():
    essay = make_document("Hi Ann Lee from a@b.org and Kim", labels=LABELLED)
    labels = ["B-EMAIL", "B-NAME_STUDENT", "B-NAME_STUDENT", "O", "O", "I-ID_NUM", "I-ID_NUM"]
    assert marks(highlight_errors(essay, labels, around=0)) == [
        ("Hi", "false EMAIL", ERROR_COLOURS["false"]),
        ("Ann", "correct NAME_STUDENT", ERROR_COLOURS["correct"]),
        ("Lee", "wrong label NAME_STUDENT", ERROR_COLOURS["wrong label"]),
        ("a@b.org", "missed EMAIL", ERROR_COLOURS["missed"]),
        ("and Kim", "false ID_NUM", ERROR_COLOURS["false"]),
    ]


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
