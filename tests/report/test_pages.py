"""What all pages share: one file that loads nothing, that only its owner reads, and that no text breaks out of."""

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
from conftest import make_document

from pii_kit.documents import Document, document_of_spans, write_documents
from pii_kit.labels import LABELS, NAME_STUDENT
from pii_kit.redact import Redaction
from pii_kit.redact.essays import read_essays
from pii_kit.redact.release import redact_essays, report_of
from pii_kit.redact.review import Detection
from pii_kit.report.pages import _table, read_asset, write_error_page, write_redaction_page, write_review_page

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
def test_the_policy_allows_exactly_the_script_of_the_page_and_nothing_is_loaded(tmp_path, name):
    html = write(name, tmp_path / "page.html").read_text()
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


@PAGES
@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_only_the_owner_can_read_a_page(tmp_path, name):
    assert stat.S_IMODE(write(name, tmp_path / "page.html").stat().st_mode) == 0o600


def test_a_table_has_all_columns_of_its_rows():
    html = _table([{"a_b": 1, "c": "<"}, {"c": 0.12345, "d": ""}])
    assert re.findall(r"<t[hd]>(.*?)</t", html) == ["a b", "c", "d", "1", "&lt;", "", "", "0.123", ""]
    assert _table([]) == "<p>None.</p>\n"


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
