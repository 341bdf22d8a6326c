import re
import subprocess
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser

import numpy as np
import pytest
from chromium import CHROMIUM, needs_chromium
from conftest import make_document

from pii_kit.documents import Document
from pii_kit.files import KitError
from pii_kit.labels import LABEL_TO_ID, LABELS, PII_TYPES
from pii_kit.metrics import micro_fbeta
from pii_kit.report import error_counts
from pii_kit.report.error_page import AROUND, check_document, write_error_page
from pii_kit.report.page import read_asset
from pii_kit.submission import submission_rows, true_rows

TRUE = {"Ann": "B-NAME_STUDENT", "Lee": "I-NAME_STUDENT", "a@b.org": "B-EMAIL"}


class Page(HTMLParser):
    """Parse a page: `articles` (number, text, spans, hints, hidden), `boxes` (filters), and every link in it."""

    def __init__(self, html: str):
        super().__init__()
        self.articles, self.boxes, self.links, self.tags, self.text = [], {}, [], [], ""
        self.stack = []
        self.feed(html)
        assert self.stack == []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append(tag)
        self.links += [values[name] for name in ("src", "href", "action", "data") if name in values]
        if tag == "article":
            number = int(values["id"].removeprefix("document-"))
            article = {"number": number, "hidden": "hidden" in values, "text": "", "spans": [], "hints": []}
            self.articles.append(article)
        if tag == "span" and values.get("class", "").startswith("span"):
            off = "off" in values["class"].split()
            self.articles[-1]["spans"].append([values["data-kind"], values["data-types"], "", off])
        if tag == "mark":
            assert values["tabindex"] == "0"
            self.articles[-1]["hints"].append(values.get("data-hint") or values["title"])
        if tag == "input":
            self.boxes[values["name"], values["value"]] = "checked" in values
            return
        if tag != "meta":
            self.stack.append((tag, values.get("class") or ""))

    def handle_endtag(self, tag):
        assert self.stack.pop()[0] == tag

    def handle_data(self, data):
        tags = [tag for tag, _ in self.stack]
        if "style" in tags or "script" in tags:
            return
        self.text += data
        if "essay" in [name for _, name in self.stack] and not {"button", "small"} & set(tags):
            self.articles[-1]["text"] += data
            if any(name.startswith("span") for _, name in self.stack):
                self.articles[-1]["spans"][-1][2] += data


def likely(labels) -> np.ndarray:
    """Return probabilities (token, label) of 0.9 for the given labels and 0.1 for O; 1 where the label is O."""
    scores = np.zeros((len(labels), len(LABELS)), np.float32)
    for index, label in enumerate(labels):
        scores[index, 0] = 0.1
        scores[index, LABEL_TO_ID[label]] += 0.9
    return scores


def page_of(tmp_path, documents, labels, **texts):
    path = tmp_path / "page.html"
    write_error_page(path, documents, [likely(one) for one in labels], labels, **{"title": "Run 3", **texts})
    return path


@pytest.fixture
def predicted():
    """Documents and labels: correct, no PII, 30 false, a miss, a wrong label beside a correct one, a false row."""
    texts = ("Ann Lee", "tea time", "tea " * 30, "a@b.org is", "Ann Lee", "tea is")
    documents = [make_document(text, number, TRUE) for number, text in enumerate(texts, start=1)]
    labels = [
        ["B-NAME_STUDENT", "I-NAME_STUDENT"],
        ["O", "O"],
        ["B-ID_NUM"] * 30,
        ["O", "O"],
        ["B-NAME_STUDENT", "B-EMAIL"],
        ["B-PHONE_NUM", "O"],
    ]
    return documents, labels


def test_documents_with_missed_rows_come_first_then_the_most_costly_and_correct_ones_last_and_hidden(
    tmp_path, predicted
):
    page = Page(page_of(tmp_path, *predicted).read_text())
    assert [(essay["number"], essay["hidden"]) for essay in page.articles] == [
        (5, False),
        (4, False),
        (3, False),  # costs more than the miss above it, but misses nothing
        (6, False),
        (1, True),
    ]


def test_documents_without_true_or_predicted_pii_are_only_counted(tmp_path, predicted):
    page = Page(page_of(tmp_path, *predicted).read_text())
    assert 2 not in [essay["number"] for essay in page.articles]
    assert (
        "6 documents: 4 with errors, 1 with only correct rows, 1 without true or predicted PII (not listed)."
        in page.text
    )


def test_tokens_are_coloured_by_error_kind_and_have_a_caption(tmp_path):
    essay = make_document("Hi Ann Lee from a@b.org and Kim", labels=TRUE)
    labels = ["B-EMAIL", "B-NAME_STUDENT", "B-NAME_STUDENT", "O", "O", "B-ID_NUM", "I-ID_NUM"]
    html = page_of(tmp_path, [essay], [labels]).read_text()
    [article] = Page(html).articles
    assert article["spans"] == [
        ["false", "EMAIL", "Hi", False],
        ["correct", "NAME_STUDENT", "Ann", False],
        ["wrong label", "NAME_STUDENT", "Lee", False],
        ["missed", "EMAIL", "a@b.org", False],
        ["false", "ID_NUM", "and Kim", False],
    ]
    captions = ["+ false EMAIL", "✓ correct NAME_STUDENT", "≠ wrong label NAME_STUDENT B/I", "− missed EMAIL"]
    assert re.findall("<small>([^<]* [^<]*)</small></span>", html) == [*captions, "+ false ID_NUM"]


def test_a_wrong_type_is_found_under_both_types(tmp_path):
    page = Page(page_of(tmp_path, [make_document("Ann", labels=TRUE)], [["B-EMAIL"]]).read_text())
    assert page.articles[0]["spans"] == [["wrong label", "NAME_STUDENT EMAIL", "Ann", False]]


def test_the_tooltip_has_both_labels_the_probability_of_o_and_the_three_most_likely_labels(tmp_path):
    scores = np.full((1, len(LABELS)), 0.001, np.float32)
    for label, probability in {"O": 0.25, "B-EMAIL": 0.5, "I-URL_PERSONAL": 0.125, "B-USERNAME": 0.0625}.items():
        scores[0, LABEL_TO_ID[label]] = probability
    path = tmp_path / "page.html"
    write_error_page(path, [make_document("Ann", labels=TRUE)], [scores], [["B-EMAIL"]], title="")
    [hint] = Page(path.read_text()).articles[0]["hints"]
    assert [line.split() for line in hint.splitlines()] == [
        ["token", "0"],
        ["true", "label", "B-NAME_STUDENT"],
        ["predicted", "label", "B-EMAIL"],
        ["P(O)", "0.25000"],
        ["most", "likely:"],
        ["0.50000", "B-EMAIL"],
        ["0.25000", "O"],
        ["0.12500", "I-URL_PERSONAL"],
    ]


def test_the_head_shows_title_note_and_the_competitions_score(tmp_path, predicted):
    documents, labels = predicted
    numbers = [document.number for document in documents]
    score = micro_fbeta(true_rows(documents), submission_rows(zip(numbers, labels, strict=True)))
    text = Page(page_of(tmp_path, documents, labels, title="Run <3>", note="P(O) < 0.9").read_text()).text
    head = " ".join(text.split("6 documents")[0].split())
    assert head == (
        f"Run <3> Run <3> P(O) < 0.9 F5 {score.f:.4f} precision {score.precision:.4f} recall {score.recall:.4f} "
        f"correct rows {score.tp} false rows {score.fp} missed rows {score.fn}"
    )


def test_costs_are_those_of_error_counts(predicted):
    table = error_counts(*predicted).set_index("document")["cost"]
    for document, labels in zip(*predicted, strict=True):
        assert check_document(document, likely(labels), labels).cost == table.get(document.number, 0)


def test_every_type_and_kind_has_a_filter_with_its_count(tmp_path, predicted):
    html = page_of(tmp_path, *predicted).read_text()
    assert Page(html).boxes == {
        **{("kind", kind): kind != "correct" for kind in ("missed", "false", "wrong label", "correct")},
        **{("type", pii_type): True for pii_type in PII_TYPES},
    }
    counts = dict(re.findall(r'name="\w+" value="([\w ]+)".*<small>([\d/]+)</small>', html))
    assert counts == {
        **{"missed": "1", "false": "31", "wrong label": "1", "correct": "3"},
        **{"NAME_STUDENT": "1/4", "EMAIL": "2/2", "ID_NUM": "30/30", "PHONE_NUM": "1/1"},
        **{"USERNAME": "0/0", "URL_PERSONAL": "0/0", "STREET_ADDRESS": "0/0"},
    }


def long_essay() -> tuple[Document, list[str]]:
    words = [f"w{number}" for number in range(300)]
    words[100] = words[140] = words[230] = "Ann"
    return make_document(" ".join(words), 7, TRUE), ["O"] * 300


def test_text_far_from_coloured_tokens_is_folded_but_still_in_the_page(tmp_path):
    essay, labels = long_essay()
    html = page_of(tmp_path, [essay], [labels]).read_text()
    assert re.findall(r"… (\d+) tokens? …", html) == [
        str(n) for n in (100 - AROUND, 230 - 140 - 1 - 2 * AROUND, 299 - 230 - AROUND)
    ]
    assert Page(html).articles[0]["text"] == essay.full_text


def test_texts_are_shown_unchanged_with_their_line_breaks(tmp_path, documents):
    labels = [["B-ID_NUM"] * len(document.tokens) for document in documents]
    page = Page(page_of(tmp_path, documents, labels).read_text())
    shown = {essay["number"]: essay["text"] for essay in page.articles}
    assert shown == {document.number: document.full_text for document in documents}


@pytest.mark.parametrize("found", ["O", "B-EMAIL"])
def test_what_looks_like_html_is_text_in_essays_titles_and_notes(tmp_path, found):
    evil = '</script><script>alert(1)</script> &lt; <img src="http://x.org/"> " \' <!-- ]]>'
    essay = make_document(evil + " Ann", labels=TRUE)
    labels = [found] * len(essay.tokens)
    page = Page(page_of(tmp_path, [essay], [labels], title=evil, note=evil).read_text())
    assert page.articles[0]["text"] == essay.full_text
    assert page.text.count(evil) == 4  # two titles, a note, the essay
    assert page.tags.count("script") == 1 and "img" not in page.tags and page.links == []


def test_the_page_is_one_file_that_loads_nothing(tmp_path, predicted):
    html = page_of(tmp_path, *predicted).read_text()
    assert Page(html).links == []
    assert not re.search(r"https?:|@import|url\(|\bfetch\b|XMLHttpRequest|<link|<iframe", html)
    assert "default-src 'none'" in html


def test_lone_surrogates_become_question_marks(tmp_path):
    half = chr(0xD800)
    essay = Document(
        number=1,
        full_text=f"a{half} {half}",
        tokens=(f"a{half}", half),
        trailing_whitespace=(True, False),
        labels=("O", "B-EMAIL"),
    )
    page = Page(page_of(tmp_path, [essay], [["O", "O"]], title=half, note=half).read_text(encoding="utf-8"))
    assert page.articles[0]["text"] == "a? ?"


def test_coloured_tokens_without_visible_characters_get_a_sign(tmp_path):
    tokens = ("1 High St", "\n\n", "  ", "", "Ahaus")
    labels = ("B-STREET_ADDRESS", *["I-STREET_ADDRESS"] * 4)
    essay = Document(
        number=1, full_text="".join(tokens), tokens=tokens, trailing_whitespace=(False,) * 5, labels=labels
    )
    html = page_of(tmp_path, [essay], [["O"] * 5]).read_text()
    assert re.findall('data-sign="(.)"', html) == ["↵", "␣", "∅"]
    assert Page(html).articles[0]["spans"] == [["missed", "STREET_ADDRESS", essay.full_text, False]]


@pytest.mark.parametrize("text", [None, "", "tea time"])
def test_a_page_without_documents_to_list_is_written(tmp_path, text):
    documents = [] if text is None else [make_document(text, labels={})]
    page = Page(page_of(tmp_path, documents, [["O"] * len(document.tokens) for document in documents]).read_text())
    assert page.articles == []
    assert f"{len(documents)} documents: 0 with errors" in page.text


def test_the_policy_allows_exactly_the_script_of_the_page(tmp_path, predicted):
    html = page_of(tmp_path, *predicted).read_text()
    [script] = re.findall("<script>(.*?)</script>", html, re.DOTALL)
    assert script == read_asset("page.js") + read_asset("error_page.js")
    digest = b64encode(sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'\"" in html


def test_equal_input_gives_equal_pages(tmp_path, predicted):
    assert page_of(tmp_path / "a", *predicted).read_bytes() == page_of(tmp_path / "b", *predicted).read_bytes()


def test_bad_input_is_refused_with_the_document_number_and_the_old_page_stays(tmp_path):
    path, fine = tmp_path / "page.html", make_document("Hi Ann", 4, TRUE)
    path.write_text("old")
    scores = likely(["O", "O"])
    bad_documents = {
        "document 5: labels missing": (replace(fine, number=5, labels=None), scores, ["O", "O"]),
        "document 6: 2 tokens, but 2 true and 1 predicted": (replace(fine, number=6), scores, ["O"]),
        "document 7: 2 tokens, but 2 true and 2 predicted labels, 1 prob": (
            replace(fine, number=7),
            scores[:1],
            "OO",
        ),
        r"document 8: probabilities have shape \(2, 3\)": (replace(fine, number=8), scores[:, :3], ["O", "O"]),
        "document 9: unknown label 'B-NAME'": (replace(fine, number=9), scores, ["O", "B-NAME"]),
    }
    for message, (document, probabilities, labels) in bad_documents.items():
        with pytest.raises(KitError, match=message):
            write_error_page(path, [fine, document], [scores, probabilities], [["O", "O"], labels], title="")
    with pytest.raises(KitError, match="1 documents, 0 with probabilities, 1 with labels"):
        write_error_page(path, [fine], [], [["O", "O"]], title="")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def open_in_chromium(tmp_path, address: str) -> Page:
    """Return the page after its script has run."""
    arguments = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    arguments += " --disable-component-update --disable-sync --virtual-time-budget=5000 --dump-dom"
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    done = subprocess.run(
        [CHROMIUM, *arguments.split(), profile, address], capture_output=True, timeout=120, check=True
    )
    return Page(done.stdout.decode())


@needs_chromium
def test_the_address_sets_filters_that_hide_documents_and_fade_tokens(tmp_path, predicted):
    path = page_of(tmp_path, *predicted)
    page = open_in_chromium(tmp_path, f"{path.as_uri()}#type=EMAIL&kind=missed&kind=correct")
    assert [essay["number"] for essay in page.articles if not essay["hidden"]] == [4]
    assert [span for essay in page.articles for span in essay["spans"] if not span[3]] == [
        ["missed", "EMAIL", "a@b.org", False]
    ]
    assert "1 of 5 documents listed, with 1 coloured tokens" in page.text


@needs_chromium
def test_clicks_filter_unfold_and_go_into_the_address_and_tab_shows_probabilities(tmp_path, predicted):
    essay, labels = long_essay()
    path = page_of(tmp_path, [*predicted[0], essay], [*predicted[1], labels])
    clicks = """<script>
      document.querySelector("[value=correct]").click();
      document.querySelector("[value=EMAIL]").click();
      document.querySelector("#document-7 .fold").click();
      document.querySelector("#document-7 mark").dispatchEvent(new FocusEvent("focusin", {bubbles: true}));
      document.title = [location.hash, document.querySelectorAll(".folded[hidden]").length,
        document.getElementById("hint").hidden, document.getElementById("hint").textContent].join("|");
    </script></body>"""
    html = re.sub("<meta http-equiv[^>]*>", "", path.read_text())  # the policy would block the added script
    path.write_text(html.replace("</body>", clicks))
    page = open_in_chromium(tmp_path, path.as_uri())
    address, n_folded, hidden, hint = page.text.split("\n", 1)[1].strip().split("|", 3)
    kinds = "kind=missed&kind=false&kind=wrong+label&kind=correct"
    types = "&".join(f"type={pii_type}" for pii_type in PII_TYPES if pii_type != "EMAIL")
    assert address == f"#{kinds}&{types}"
    assert (n_folded, hidden) == ("2", "false")
    assert "true label       B-NAME_STUDENT" in hint and "P(O)" in hint
    assert [essay["number"] for essay in page.articles if not essay["hidden"]] == [7, 5, 3, 6, 1]


@needs_chromium
def test_a_script_in_an_essay_does_not_run(tmp_path):
    evil = "Ann <script>document.title='run'</script> <img src=x onerror=document.title='run'>"
    path = page_of(tmp_path, [make_document(evil, labels=TRUE)], [["O"] * len(make_document(evil).tokens)], note=evil)
    page = open_in_chromium(tmp_path, path.as_uri())
    assert page.tags.count("script") == 1 and "img" not in page.tags
    assert page.articles[0]["text"] == evil
