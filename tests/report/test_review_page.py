import json
import re

import pytest
from chromium import needs_chromium, open_chromium, wait_until
from conftest import make_document

from pii_kit.redact.review import Detection, fingerprint_texts, read_decisions
from pii_kit.report.pages import write_review_page

NAME, EMAIL = "NAME_STUDENT", "EMAIL"


def detection(start, end, pii_type=NAME, *, margin=1.0, is_suggestion=False) -> Detection:
    return Detection(start=start, end=end, pii_type=pii_type, chance=0.75, margin=margin, is_suggestion=is_suggestion)


def page_of(tmp_path, documents, detections):
    path = tmp_path / "page.html"
    names = {document.number: f"Document {document.number}" for document in documents}
    write_review_page(path, documents, detections, names=names, title="Review")
    return path


def test_the_document_with_the_most_uncertain_detection_comes_first_and_those_without_any_last(tmp_path):
    documents = [make_document("Hi Ann Lee", number) for number in (1, 2, 3, 4, 2**63 - 1)]
    margins = [(), (2.0,), (3.0, 1.0), (), (1.5,)]
    detections = [[detection(i, i + 1, margin=margin) for i, margin in enumerate(of_one)] for of_one in margins]
    html = page_of(tmp_path, documents, detections).read_text()
    data = json.loads(re.search('<script type="application/json" id="data">(.*)</script>', html)[1])
    assert [number for number, *_ in data["documents"]] == ["3", str(2**63 - 1), "2", "1", "4"]
    assert data["fingerprint"] == fingerprint_texts(documents)
    assert data["documents"][0][1:] == [["Hi ", "Ann ", "Lee"], [[0, 1, 0, 0.75, 0], [1, 2, 0, 0.75, 0]], "Document 3"]


TEXT = "Hi Ann Lee, Ann wrote to a@b.org on Monday"  # tokens: Hi Ann Lee , Ann wrote to a@b.org on Monday


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_chromium(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture
def review(browser, tmp_path):
    """Open a page that shows documents 2 (a detection Ann Lee, a suggestion Monday), 3 (a detection Ann) and 1."""
    documents = [
        make_document("Monday it rained", 1),
        make_document(TEXT, 2),
        make_document("Ann met </script>", 3),
    ]
    detections = [[], [detection(1, 3, margin=0.5), detection(9, 10, is_suggestion=True)], [detection(0, 1, EMAIL)]]
    browser.send("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    path = page_of(tmp_path, documents, detections)

    class Review:
        def __init__(self):
            self.press, self.evaluate, self.click = browser.press, browser.evaluate, browser.click
            self.browser, self.documents, self.file = browser, documents, tmp_path / "decisions.json"
            self.open()

        def open(self):
            browser.evaluate("typeof unsaved === 'undefined' || (unsaved = false)")  # or Chromium asks to stay
            browser.open(path)

        def status(self) -> str:
            return browser.evaluate("document.querySelector('[role=status]').textContent")

        def spans(self) -> dict[str, dict[tuple[int, int], tuple[str, str]]]:
            """Save, and return the spans of each document in the file: place to type and decision."""
            self.file.unlink(missing_ok=True)
            browser.press("s")
            wait_until(lambda: self.file.exists() and self.file.read_text().endswith("}"))
            content = json.loads(self.file.read_text())
            return {
                number: {(one["start"], one["end"]): (one["type"], one["decision"]) for one in spans}
                for number, spans in content["documents"].items()
            }

    return Review()


ANN_LEE, MONDAY, ANN = (1, 3), (9, 10), (4, 5)
ALONE = {ANN_LEE: (NAME, "undecided")}
UNDECIDED = {"2": ALONE, "3": {(0, 1): (EMAIL, "undecided")}}
MONDAYS = {ANN_LEE: (NAME, "undecided"), MONDAY: (NAME, "accepted")}
DECIDED = {ANN_LEE: (NAME, "accepted"), MONDAY: (NAME, "rejected")}
AT_FOUR = ["ArrowRight"] * 4  # after Ann Lee: , Ann wrote to
CASES = {
    "suggestions are kept out": ([], UNDECIDED),
    "accept, reject, type": (["a", "r", "6"], {"2": DECIDED, "3": {(0, 1): ("URL_PERSONAL", "accepted")}}),
    "select and add": ([*AT_FOUR, "Shift+ArrowRight", "2"], {**UNDECIDED, "2": {**ALONE, (6, 8): (EMAIL, "accepted")}}),
    "other ends": (["Shift+ArrowLeft", "1"], {"2": {ANN_LEE: (NAME, "rejected"), (0, 3): (NAME, "accepted")}}),
    "a document without detections": (
        ["J", "J", "ArrowRight", "Shift+ArrowRight", "1"],
        {**UNDECIDED, "1": {(0, 2): (NAME, "accepted")}},
    ),
    "all in the document": (["j", "m", "a"], {**UNDECIDED, "2": MONDAYS}),
    "all documents": (["j", "m", "m", "a"], {**UNDECIDED, "2": MONDAYS, "1": {(0, 1): (NAME, "accepted")}}),
    "mentions of an added string": (
        ["ArrowRight", "ArrowRight", "m", "m", "1"],  # the second Ann, but not the one in Ann Lee
        {"2": {**ALONE, ANN: (NAME, "accepted")}, "3": {(0, 1): (NAME, "accepted")}},
    ),
}


@needs_chromium
@pytest.mark.parametrize("name", CASES)
def test_keys_decide(review, name):
    keys, expected = CASES[name]
    review.press(*keys)
    spans = review.spans()
    assert {number: spans[number] for number in expected} == expected
    assert not set(re.findall(r"\w+", TEXT)) & set(re.findall(r"\w+", review.file.read_text())), "text in the file"


@needs_chromium
def test_a_selection_by_mouse_is_added_as_whole_tokens(review):
    box = review.evaluate(
        "(() => { const text = document.querySelector(\"[data-start='3']\").firstChild, range = new Range();"
        "const at = text.data.indexOf('a@b.org'); range.setStart(text, at + 2); range.setEnd(text, at + 5);"
        "const box = range.getBoundingClientRect(); return [box.left, box.right, box.top + box.height / 2]; })()"
    )
    left, right, middle = box
    review.browser.drag((left, middle), (right, middle))
    review.press("2")
    assert review.spans()["2"] == {ANN_LEE: (NAME, "undecided"), (7, 8): (EMAIL, "accepted")}


@needs_chromium
def test_undo_takes_back_one_step_with_all_its_mentions(review):
    review.press("a", "m", "m", "a", "u")
    assert review.spans() == {**UNDECIDED, "2": {ANN_LEE: (NAME, "accepted")}}
    review.press("u")
    assert review.spans() == UNDECIDED
    assert review.evaluate("document.querySelector('[data-key=u]').disabled")


@needs_chromium
def test_saved_decisions_are_loaded_again_and_others_are_refused(review, tmp_path):
    review.press("Shift+ArrowLeft", "2", "j", "r")
    before, content = review.spans(), review.file.read_text()
    review.open()
    root = review.browser.send("DOM.getDocument")["root"]["nodeId"]
    node = review.browser.send("DOM.querySelector", nodeId=root, selector="[type=file]")["nodeId"]

    def load(text: str) -> str:
        path = tmp_path / "kept.json"
        path.write_text(text)
        review.evaluate("message.textContent = ''")
        review.browser.send("DOM.setFileInputFiles", nodeId=node, files=[str(path)])
        return review.browser.wait_for("message.textContent")

    assert "not a file of decisions" in load("{}")
    assert "decisions about other documents" in load(content.replace('"data": "', '"data": "0'))
    assert "a wrong span in document 2" in load(content.replace('"end": 3', '"end": 99'))
    assert review.spans() == UNDECIDED
    assert load(content) == "3 of 4 decided. Loaded kept.json."
    assert review.spans() == before


@needs_chromium
def test_hidden_suggestions_are_not_counted_and_not_visited(review):
    review.click("#suggestions")
    assert review.status() == "0 of 2 decided"
    review.evaluate("document.querySelector('mark').focus()")
    review.press("j", "r")
    assert review.spans()["3"] == {(0, 1): (EMAIL, "rejected")}


@needs_chromium
def test_what_the_page_saves_is_what_redact_reads(review):
    review.press("a", "a", "r")
    review.spans()
    labels, n_spans, n_undecided = read_decisions(review.file, review.documents)
    assert labels[1][1:3] == ["B-NAME_STUDENT", "I-NAME_STUDENT"] and labels[1][9] == "B-NAME_STUDENT"
    assert set(labels[0] + labels[2]) == {"O"} and (n_spans, n_undecided) == (3, 0)


@needs_chromium
@pytest.mark.parametrize("texts", [[], ["", "\n"]])
def test_a_page_without_detections_opens(browser, tmp_path, texts):
    documents = [make_document(text, number) for number, text in enumerate(texts)]
    browser.open(page_of(tmp_path, documents, [[] for _ in documents]))
    browser.press("a", "j", "J", "ArrowRight", "m", "1", "?")
    assert browser.evaluate("message.textContent").startswith("0 of 0 decided")
    assert browser.evaluate("document.querySelector('dialog').open")
