from html.parser import HTMLParser

import pytest
from conftest import make_document

from pii_kit.documents import Document
from pii_kit.files import KitError
from pii_kit.labels import LABELS
from pii_kit.metrics import micro_fbeta
from pii_kit.report import ERROR_COLOURS, TYPE_COLOURS, error_counts, highlight, highlight_errors
from pii_kit.submission import submission_rows, true_rows

LABELLED = {"Ann": "B-NAME_STUDENT", "Lee": "I-NAME_STUDENT", "a@b.org": "B-EMAIL"}
TEXT = "if x < 3 & y > 2 then\n\nAnn Lee says one two three four five six to a@b.org today"


class Page(HTMLParser):
    """Parse highlighted HTML: the visible text, and the marks as (text, caption, colour)."""

    def __init__(self, html: str):
        super().__init__()
        self.text, self.marks, self.inside, self.colour = "", [], [], None
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.inside.append(tag)
        if tag == "br":
            self.inside.pop()
            self.text += "\n"
        if tag == "mark":
            self.colour = dict(attributes)["style"].split(";")[0].removeprefix("background: ")
            self.marks.append(("", "", self.colour))

    def handle_endtag(self, tag):
        assert self.inside.pop() == tag

    def handle_data(self, data):
        if "mark" in self.inside:
            text, caption, colour = self.marks[-1]
            in_caption = self.inside[-1] == "span"
            data = data.replace("\n    ", "").strip("\n")  # displaCy's indentation
            self.marks[-1] = (text, caption + data, colour) if in_caption else (text + data, caption, colour)
            data = "" if in_caption else data
        self.text += data


def visible(text: str) -> str:
    """Return text without whitespace, which displaCy adds around marks."""
    return "".join(text.split())


@pytest.fixture
def essay():
    return make_document(TEXT, labels=LABELLED)


def test_the_whole_essay_is_shown_and_nothing_else(essay):
    assert visible(Page(highlight(essay)).text) == visible(TEXT)


def test_every_entity_is_marked_once_in_the_colour_of_its_type(essay):
    assert Page(highlight(essay)).marks == [
        ("Ann Lee", "NAME_STUDENT", TYPE_COLOURS["NAME_STUDENT"]),
        ("a@b.org", "EMAIL", TYPE_COLOURS["EMAIL"]),
    ]


def test_types_and_errors_have_colours_of_their_own():
    assert len(set(TYPE_COLOURS.values())) == 7
    assert len(set(ERROR_COLOURS.values())) == 4


def test_what_looks_like_html_is_text():
    essay = make_document("<b>Ann</b> & <script>", labels=LABELLED)
    html = highlight(essay)
    assert "<b>" not in html and "<script>" not in html
    assert visible(Page(html).text) == visible(essay.full_text)


def test_around_shows_only_tokens_near_entities(essay):
    page = Page(highlight(essay, around=2))
    assert visible(page.text) == visible("then Ann Lee says one six to a@b.org today")
    assert page.marks == Page(highlight(essay)).marks


def test_adjacent_neighbourhoods_are_merged(essay):
    apart, together = highlight(essay, around=3), highlight(essay, around=4)
    assert apart.count('class="entities"') == 2
    assert together.count('class="entities"') == 1
    assert visible(Page(together).text) == visible("> 2 then Ann Lee says one two three four five six to a@b.org today")


@pytest.mark.parametrize("text", ["", "Tea is good"])
def test_essays_without_pii_have_no_marks_and_no_neighbourhoods(text):
    essay = make_document(text, labels={})
    page = Page(highlight(essay))
    assert (page.text, page.marks) == (text, [])
    assert Page(highlight(essay, around=2)).text == ""


def test_errors_are_shown_as_correct_missed_false_or_wrong_label():
    essay = make_document("Hi Ann Lee from a@b.org and Kim", labels=LABELLED)
    #         Hi        Ann               Lee               from a@b.org and       Kim
    labels = ["B-EMAIL", "B-NAME_STUDENT", "B-NAME_STUDENT", "O", "O", "I-ID_NUM", "I-ID_NUM"]
    page = Page(highlight_errors(essay, labels))
    assert page.marks == [
        ("Hi", "false EMAIL", ERROR_COLOURS["false"]),
        ("Ann", "correct NAME_STUDENT", ERROR_COLOURS["correct"]),
        ("Lee", "wrong label NAME_STUDENT", ERROR_COLOURS["wrong label"]),
        ("a@b.org", "missed EMAIL", ERROR_COLOURS["missed"]),
        ("and Kim", "false ID_NUM", ERROR_COLOURS["false"]),
    ]
    assert visible(page.text) == visible(essay.full_text)


def test_a_document_without_labels_is_refused_by_its_number():
    for show in (highlight, lambda document: highlight_errors(document, ["O", "O"])):
        with pytest.raises(KitError, match="document 8: labels missing"):
            show(make_document("Hi Ann", 8))


def test_labels_for_another_number_of_tokens_are_refused():
    with pytest.raises(ValueError):
        highlight_errors(make_document("Hi Ann", labels=LABELLED), ["O"])


@pytest.fixture
def predicted():
    """Documents and predicted labels: correct, a false row, a miss, a wrong label with a miss, a false row."""
    texts = ("Ann Lee", "tea time", "a@b.org is", "Ann Lee", "tea is")
    labels = (
        ["B-NAME_STUDENT", "I-NAME_STUDENT"],
        ["O", "B-ID_NUM"],
        ["O", "O"],
        ["I-NAME_STUDENT", "O"],
        ["B-ID_NUM", "O"],
    )
    numbers = (5, 9, 6, 8, 7)
    return [make_document(text, number, LABELLED) for text, number in zip(texts, numbers, strict=True)], labels


def test_error_counts_put_the_most_costly_document_first_and_leave_out_correct_ones(predicted):
    table = error_counts(*predicted)
    assert list(table.columns) == ["document", "missed", "false", "wrong label", "cost"]
    assert table.to_numpy().tolist() == [
        [8, 1, 0, 1, 25 + 26],
        [6, 1, 0, 0, 25],
        [7, 0, 1, 0, 1],
        [9, 0, 1, 0, 1],
    ]


def test_costs_add_up_to_the_denominator_of_f5(predicted):
    documents, labels = predicted
    numbers = [document.number for document in documents]
    score = micro_fbeta(true_rows(documents), submission_rows(zip(numbers, labels, strict=True)))
    assert error_counts(documents, labels)["cost"].sum() == 25 * score.fn + score.fp == 78


def test_every_pair_of_labels_costs_what_the_score_says():
    for true in LABELS:
        document = Document(number=1, full_text="Ann", tokens=("Ann",), trailing_whitespace=(False,), labels=(true,))
        for label in LABELS:
            score = micro_fbeta(true_rows([document]), submission_rows([(1, [label])]))
            assert error_counts([document], [[label]])["cost"].sum() == 25 * score.fn + score.fp
