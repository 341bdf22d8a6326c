import re

import pytest
from conftest import make_document

from pii_kit.report import ERROR_COLOURS, TYPE_COLOURS
from pii_kit.report.highlight import highlight, highlight_errors

LABELLED = {"Ann": "B-NAME_STUDENT", "Lee": "I-NAME_STUDENT", "a@b.org": "B-EMAIL"}
TEXT = "if x < 3 & y > 2 then\n\nAnn Lee says one two three four five six to a@b.org today"
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
    html = highlight(ESSAY)
    assert visible(html) == "".join(TEXT.split())
    assert marks(html) == [
        ("Ann Lee", "NAME_STUDENT", TYPE_COLOURS["NAME_STUDENT"]),
        ("a@b.org", "EMAIL", TYPE_COLOURS["EMAIL"]),
    ]
    assert len(set(TYPE_COLOURS.values())) == 7 and len(set(ERROR_COLOURS.values())) == 4


def test_what_looks_like_html_is_text():
    html = highlight(make_document("<b>Ann</b> & <script>", labels=LABELLED))
    assert "<b>" not in html and "<script>" not in html
    assert visible(html) == "<b>Ann</b>&<script>"


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
    assert marks(html) == marks(highlight(ESSAY))


@pytest.mark.parametrize("text", ["", "Tea is good"])
def test_essays_without_pii_have_no_marks_and_no_neighbourhoods(text):
    essay = make_document(text, labels={})
    assert visible(highlight(essay)) == "".join(text.split()) and marks(highlight(essay)) == []
    assert visible(highlight(essay, around=2)) == ""


def test_errors_are_shown_as_correct_missed_false_or_wrong_label():
    essay = make_document("Hi Ann Lee from a@b.org and Kim", labels=LABELLED)
    labels = ["B-EMAIL", "B-NAME_STUDENT", "B-NAME_STUDENT", "O", "O", "I-ID_NUM", "I-ID_NUM"]
    assert marks(highlight_errors(essay, labels)) == [
        ("Hi", "false EMAIL", ERROR_COLOURS["false"]),
        ("Ann", "correct NAME_STUDENT", ERROR_COLOURS["correct"]),
        ("Lee", "wrong label NAME_STUDENT", ERROR_COLOURS["wrong label"]),
        ("a@b.org", "missed EMAIL", ERROR_COLOURS["missed"]),
        ("and Kim", "false ID_NUM", ERROR_COLOURS["false"]),
    ]
