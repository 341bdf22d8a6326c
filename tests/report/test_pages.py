"""Pages are one file that loads nothing, that only its owner reads, and that no text breaks out of."""

import json
import os
import re
import stat
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser

import numpy as np
import pytest
from chromium import needs_chromium, open_chromium
from conftest import make_document

from pii_kit.documents import Document, document_of_spans, write_documents
from pii_kit.files import KitError
from pii_kit.labels import LABEL_TO_ID, LABELS, NAME_STUDENT, PII_TYPES
from pii_kit.metrics import micro_fbeta
from pii_kit.redact import Redaction
from pii_kit.redact.essays import read_essays
from pii_kit.redact.release import redact_essays, report_of
from pii_kit.redact.review import Detection
from pii_kit.report.pages import read_asset, write_error_page, write_redaction_page, write_review_page
from pii_kit.submission import submission_rows, true_rows

HALF = chr(0xD800)
HOSTILE = '</script><script>document.title="run"</script> <img src=x onerror=document.title="run"> &lt; <!-- \u202e\x00'
EVIL = make_document(HOSTILE + " Ann", 5, {"Ann": "B-NAME_STUDENT"})
SCRIPTS = {"error": ["error_page.js"], "review": ["review_view.js", "review_page.js"], "redaction": []}
PAGES = pytest.mark.parametrize("name", SCRIPTS)


class Parts(HTMLParser):
    """Parse a page: its tags, the text between them, and the text of each script."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.text, self.scripts, self.inside = [], "", [], None
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.inside = tag
        assert not {"src", "href", "action", "onerror"} & dict(attributes).keys()

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts.append(data)
        elif self.inside != "style":
            self.text += data


def write(name: str, path, document: Document = EVIL, text: str = HOSTILE):
    """Write a page of a document whose every token is taken for PII, with a title and a note; return its path."""
    n_tokens = len(document.tokens)
    if name == "error":
        scores, labels = np.full((n_tokens, len(LABELS)), 1 / len(LABELS)), ["B-EMAIL"] * n_tokens
        write_error_page(path, [(document, scores)], [labels], title=text, note=text)
    elif name == "review":
        found = Detection(start=0, end=n_tokens, pii_type="EMAIL", chance=0.5, margin=1.0, is_suggestion=False)
        write_review_page(path, [document], [[found]], title=text, note=text, names={document.number: text})
    else:
        leaks = {"unexplained": 1, "explained": {text: 2}, "places": [{"document": 5, "reason": text}]}
        counts = {"documents": 2, "changed_documents": 1, "types": {"EMAIL": {"spans": 3}}, "mentions": [], "kept": []}
        write_redaction_page(path, {**counts, "leaks": leaks, "look_at_first": [5], "settings": {text: text}})
    return path


@PAGES
def test_only_its_owner_reads_a_page_that_runs_its_own_script_and_loads_nothing(tmp_path, name):
    path = write(name, tmp_path / "page.html")
    html = path.read_text()
    assert os.name != "posix" or stat.S_IMODE(path.stat().st_mode) == 0o600
    script = Parts(html).scripts[-1]
    assert script == "".join(map(read_asset, ["page.js", *SCRIPTS[name]]))
    digest = b64encode(sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'\"" in html
    assert not re.search(r"https?:|@import|url\(|\bfetch\b|XMLHttpRequest|<link|<iframe|Storage", html)


@PAGES
def test_hostile_text_is_text_and_never_html(tmp_path, name):
    parts = Parts(write(name, tmp_path / "page.html").read_text(encoding="utf-8"))
    assert parts.tags.count("script") == 2 == len(parts.scripts) and "img" not in parts.tags
    assert parts.text.count(HOSTILE) == {"error": 3, "review": 3, "redaction": 4}[name]  # title, heading, note; cells
    data = json.loads(parts.scripts[0])
    if name != "redaction":
        tokens = data["documents"][0][1]
        assert [token.rstrip() for token in tokens] == [token.rstrip() for token in EVIL.tokens]


@PAGES
def test_halves_of_surrogate_pairs_can_be_written(tmp_path, name):
    halves = {"full_text": f"a{HALF} {HALF}", "tokens": (f"a{HALF}", HALF), "labels": ("O", "B-EMAIL")}
    document = replace(make_document("a b"), **halves)
    assert "?" in write(name, tmp_path / "page.html", document, HALF).read_text(encoding="utf-8")


def test_the_page_of_a_redaction_has_counts_and_places_but_no_text(tmp_path):
    spans = [("By ", None), ("Ana Silva", NAME_STUDENT), (". Ana met xsilvax. Will", None)]
    write_documents(tmp_path / "in.json", [document_of_spans(41, spans), document_of_spans(9, [("No.", None)])])
    essays = read_essays(tmp_path / "in.json")
    labels = [document.labels for document in essays.documents.values()]
    report = report_of(redact_essays(essays, labels, Redaction(mode="type")), {"submission": "abc123<"})
    write_redaction_page(tmp_path / "page.html", report)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "1 of 2 documents changed. Leaks: 1 unexplained, 0 with a reason." in page
    assert report["output_sha256"][0] in page and "not for publication" in page
    assert "<td>entry 1 (document 41)</td>" in page and "NAME_STUDENT" in page
    assert "abc123&lt;" in page and "abc123<" not in page
    assert not any(word in page.casefold() for word in ("ana ", "silva", "xsilvax"))


TRUE = {"Ann": "B-NAME_STUDENT", "Lee": "I-NAME_STUDENT", "a@b.org": "B-EMAIL"}
ARTICLES = """[...document.querySelectorAll("article")].map(article => [Number(article.id.slice(9)), article.hidden])"""
SPANS = """[...document.querySelectorAll("article:not([hidden]) .span")].map(span => [span.dataset.kind,
  span.dataset.types, span.textContent.slice(0, -span.querySelector("small").textContent.length),
  span.querySelector("small").textContent, span.classList.contains("off")])"""


def page_of(tmp_path, documents, labels, **texts):
    path = tmp_path / "page.html"
    predictions = [(document, np.zeros((len(document.tokens), len(LABELS)))) for document in documents]
    write_error_page(path, predictions, labels, **{"title": "Run 3", **texts})
    return path


def data_of(path) -> dict:
    return json.loads(re.search('<script type="application/json" id="data">(.*)</script>', path.read_text())[1])


@pytest.fixture
def predicted():
    """Documents and labels: correct, no PII, 30 false, a miss, a wrong label beside a correct one, a false row."""
    texts = ("Ann Lee", "tea time", "tea " * 30, "a@b.org is", "Ann Lee", "tea is")
    documents = [make_document(text, number, TRUE) for number, text in enumerate(texts, start=1)]
    return documents, [
        ["B-NAME_STUDENT", "I-NAME_STUDENT"],
        ["O", "O"],
        ["B-ID_NUM"] * 30,
        ["O", "O"],
        ["B-NAME_STUDENT", "B-EMAIL"],
        ["B-PHONE_NUM", "O"],
    ]


def test_missed_rows_come_first_then_costly_documents_under_the_competitions_score(tmp_path, predicted):
    documents, labels = predicted
    path = page_of(tmp_path, documents, labels, note="P(O) < 0.9")
    costs = [(number, cost) for number, *_, cost in data_of(path)["documents"]]
    assert costs == [("5", 26), ("4", 25), ("3", 30), ("6", 1), ("1", 0)]
    counts = "6 documents: 4 with errors, 1 with only correct rows, 1 without true or predicted PII (not\nlisted)."
    html = path.read_text()
    assert counts in html and html.count("P(O) &lt; 0.9") == 1
    rows = submission_rows((document.number, of_one) for document, of_one in zip(documents, labels, strict=True))
    score = micro_fbeta(true_rows(documents), rows)
    figures = [f"{share:.4f}" for share in (score.f, score.precision, score.recall)]
    assert re.findall("<dd>(.*)</dd>", html) == [*figures, *map(str, (score.tp, score.fp, score.fn))]


def test_the_tooltip_has_both_labels_the_probability_of_o_and_the_three_most_likely_labels(tmp_path):
    scores = np.full((1, len(LABELS)), 0.001, np.float32)
    for label, probability in {"O": 0.25, "B-EMAIL": 0.5, "I-URL_PERSONAL": 0.125, "B-USERNAME": 0.0625}.items():
        scores[0, LABEL_TO_ID[label]] = probability
    path = tmp_path / "page.html"
    write_error_page(path, [(make_document("Ann", labels=TRUE), scores)], [["B-EMAIL"]], title="")
    [[*_, [[index, kind, types, hint]], _]] = data_of(path)["documents"]
    assert (index, kind, types) == (0, "wrong label", ["NAME_STUDENT", "EMAIL"])
    labels = "token 0 true label B-NAME_STUDENT predicted label B-EMAIL P(O) 0.25000 most likely:"
    assert " ".join(hint.split()) == f"{labels} 0.50000 B-EMAIL 0.25000 O 0.12500 I-URL_PERSONAL"


def test_a_page_is_never_written_into_a_run_folder_and_unlabelled_documents_are_refused(tmp_path):
    document = make_document("Hi Ann", 5, TRUE)
    (tmp_path / "run" / "fold_0").mkdir(parents=True)
    (tmp_path / "run" / "run.json").write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "run" / "fold_0")
    for folder in ("run", "run/fold_0", "link"):
        with pytest.raises(KitError, match="essays into the run folder"):
            page_of(tmp_path / folder, [document], [["O", "O"]])
    with pytest.raises(KitError, match="document 6: labels missing"):
        page_of(tmp_path, [document, make_document("Ann", 6)], [["O", "O"], ["O"]])
    assert not list(tmp_path.rglob("*.html"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_chromium(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@needs_chromium
def test_tokens_are_coloured_by_error_kind_and_have_a_caption(tmp_path, browser):
    essay = make_document("Hi Ann Lee from a@b.org and Kim", labels=TRUE)
    labels = ["B-EMAIL", "B-NAME_STUDENT", "B-NAME_STUDENT", "O", "O", "B-ID_NUM", "I-ID_NUM"]
    browser.open(page_of(tmp_path, [essay], [labels]))
    browser.evaluate('document.querySelector("[value=correct]").click()')
    assert browser.evaluate(SPANS) == [
        ["false", "EMAIL", "Hi", "+ false EMAIL", False],
        ["correct", "NAME_STUDENT", "Ann", "✓ correct NAME_STUDENT", False],
        ["wrong label", "NAME_STUDENT", "Lee", "≠ wrong label NAME_STUDENT B/I", False],
        ["missed", "EMAIL", "a@b.org", "− missed EMAIL", False],
        ["false", "ID_NUM", "and Kim", "+ false ID_NUM", False],
    ]
    mark = 'document.querySelector("[data-kind=missed] mark")'
    assert browser.evaluate(f"getComputedStyle({mark}).backgroundColor") == "rgb(242, 132, 130)"


@needs_chromium
def test_filters_have_counts_and_hide_documents_and_are_in_the_address(tmp_path, browser, predicted):
    path = page_of(tmp_path, *predicted)
    browser.open(path)
    assert browser.evaluate(ARTICLES) == [[5, False], [4, False], [3, False], [6, False], [1, True]]
    counts = browser.evaluate(
        'Object.fromEntries([...document.querySelectorAll("label")].map(label => '
        '[label.querySelector("input").value, label.querySelector("small").textContent]))'
    )
    assert counts == {
        **{"missed": "1", "false": "31", "wrong label": "1", "correct": "3"},
        **{"NAME_STUDENT": "1/4", "EMAIL": "2/2", "ID_NUM": "30/30", "PHONE_NUM": "1/1"},
        **{"USERNAME": "0/0", "URL_PERSONAL": "0/0", "STREET_ADDRESS": "0/0"},
    }
    browser.evaluate('["correct", "EMAIL"].forEach(value => document.querySelector(`[value=${value}]`).click())')
    kinds = "kind=missed&kind=false&kind=wrong+label&kind=correct"
    types = "&".join(f"type={pii_type}" for pii_type in PII_TYPES if pii_type != "EMAIL")
    assert browser.evaluate("location.hash") == f"#{kinds}&{types}"
    assert browser.evaluate(ARTICLES) == [[5, False], [4, True], [3, False], [6, False], [1, False]]
    browser.evaluate("location.hash = 'type=EMAIL&kind=missed&kind=correct'; new Promise(done => setTimeout(done, 50))")
    assert browser.evaluate(SPANS) == [["missed", "EMAIL", "a@b.org", "− missed EMAIL", False]]
    status = browser.evaluate("document.querySelector('[role=status]').textContent")
    assert status == "1 of 5 documents listed, with 1 coloured tokens"


@needs_chromium
def test_text_far_from_coloured_tokens_is_folded_and_tab_shows_the_tooltip(tmp_path, browser):
    words = [f"w{number}" for number in range(300)]
    words[100] = words[140] = words[230] = "Ann"
    essay = make_document(" ".join(words), 7, TRUE)
    browser.open(page_of(tmp_path, [essay], [["O"] * 300]))
    folds = 'document.querySelectorAll(".fold")'
    assert browser.evaluate(f"[...{folds}].map(fold => fold.textContent)") == [
        f"… {n} tokens …" for n in (100 - 30, 230 - 140 - 1 - 2 * 30, 299 - 230 - 30)
    ]
    browser.evaluate(f"{folds}[0].click()")
    assert browser.evaluate('document.querySelectorAll(".folded[hidden]").length') == 2
    browser.evaluate('document.querySelector("mark").focus()')
    assert "true label       B-NAME_STUDENT" in browser.evaluate('document.getElementById("hint").textContent')
    for button in (".fold", "small"):
        browser.evaluate(f'document.querySelectorAll(".essay {button}").forEach(node => node.remove())')
    assert browser.evaluate('document.querySelector(".essay").textContent') == essay.full_text
