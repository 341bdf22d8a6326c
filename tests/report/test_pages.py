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

from pii_kit.documents import Document
from pii_kit.labels import LABELS
from pii_kit.redact.review import Detection
from pii_kit.report.error_page import write_error_page
from pii_kit.report.page import read_asset, table
from pii_kit.report.redaction_page import write_redaction_page
from pii_kit.report.review_page import write_review_page

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
    html = table([{"a_b": 1, "c": "<"}, {"c": 0.12345, "d": ""}])
    assert re.findall(r"<t[hd]>(.*?)</t", html) == ["a b", "c", "d", "1", "&lt;", "", "", "0.123", ""]
    assert table([]) == "<p>None.</p>\n"
