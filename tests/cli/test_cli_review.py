"""The verb review, and `redact` with the decisions that its page saves."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from pii_kit.__main__ import main
from pii_kit.labels import LABELS, OUTSIDE_ID
from pii_kit.predict import Tagger
from pii_kit.redact.essays import read_essays
from pii_kit.redact.review import FORMAT, fingerprint_texts

NAME = "NAME_STUDENT"


@pytest.fixture
def folder(tmp_path, monkeypatch, sha_rnn_tagger):
    """A folder with a csv file; the run is a stub that takes capital letters for names, and is unsure of "we"."""
    tagger = Tagger((sha_rnn_tagger,), o_threshold=0.9, rules=())

    def predict(self, documents):
        for document in documents:
            scores = np.zeros((len(document.tokens), len(LABELS)))
            scores[:, OUTSIDE_ID] = [
                0.3 if token.istitle() else 0.95 if token == "we" else 1 for token in document.tokens
            ]
            scores[:, LABELS.index(f"B-{NAME}")] = 1 - scores[:, OUTSIDE_ID]
            yield document, scores

    monkeypatch.setattr(Tagger, "predict", predict)
    monkeypatch.setattr(Tagger, "load", lambda *runs, thresholds, **_: replace(tagger, thresholds=thresholds))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.csv").write_text("text\nAna and we met Bob\nnobody\n")
    return tmp_path


def review(*more: str) -> int:
    return main(["review", "--data", "in.csv", "--run", "runs/a", "--out", "review.html", *more])


def redact(*more: str) -> int:
    return main(["redact", "--data", "in.csv", "--mode", "type", "--out", "out.csv", *more])


def write_decisions(folder, *spans) -> None:
    """Write decisions about the first document: start, end, decision."""
    documents = read_essays(folder / "in.csv").documents.values()
    names = ("start", "end", "type", "decision")
    entries = [dict(zip(names, (start, end, NAME, decision), strict=True)) for start, end, decision in spans]
    content = {"format": FORMAT, "data": fingerprint_texts(documents), "documents": {"0": entries}}
    (folder / "decisions.json").write_text(json.dumps(content))


def test_review_writes_a_page_with_detections_and_suggestions(folder, capsys):
    assert review("--threshold", "EMAIL=.5") == 0
    assert "2 detections and 1 suggestions in 2 documents" in capsys.readouterr().out
    page = (folder / "review.html").read_text()
    assert "Detections of a: P(O) &lt; 0.9, EMAIL: 0.5." in page
    data = json.loads(re.search('type="application/json" id="data">(.*)</script>', page)[1])
    assert data["documents"] == [
        [
            "0",
            ["Ana ", "and ", "we ", "met ", "Bob"],
            [[0, 1, 0, 0.7, 0], [2, 3, 0, 0.05, 1], [4, 5, 0, 0.7, 0]],
            "row 2",
        ],
        ["1", ["nobody"], [], "row 3"],
    ]


def test_redact_uses_decisions_and_counts_undecided_detections_as_accepted(folder, capsys):
    write_decisions(folder, (0, 1, "rejected"), (2, 3, "accepted"), (4, 5, "undecided"))
    assert redact("--decisions", "decisions.json", "--report", "report.json") == 0
    assert (folder / "out.csv").read_text() == "text\nAna and [NAME_STUDENT] met [NAME_STUDENT]\nnobody\n"
    assert "1 of 3 detections undecided" in capsys.readouterr().out
    assert json.loads((folder / "report.json").read_text())["decisions"] == "decisions.json"


def test_decisions_about_other_essays_are_refused_and_nothing_is_written(folder, capsys):
    write_decisions(folder, (0, 1, "accepted"))
    (folder / "in.csv").write_text("text\nAna but we met Bob\nnobody\n")
    assert redact("--decisions", "decisions.json") == 2
    error = capsys.readouterr().err
    assert "decisions.json: these are decisions about other documents" in error and error.count("\n") == 1
    assert not (folder / "out.csv").exists()


@pytest.mark.parametrize("more", [["--run", "a"], ["--submission", "labels.csv"]])
def test_redact_takes_one_source_of_labels(folder, capsys, more):
    write_decisions(folder)
    assert redact("--decisions", "decisions.json", *more) == 2
    assert "not more than one of" in capsys.readouterr().err


def test_documents_of_a_folder_have_the_names_of_their_files(folder):
    (folder / "texts").mkdir()
    for name in ("b.txt", "a.txt"):
        (folder / "texts" / name).write_text("Ana and we met Bob")
    assert main(["review", "--data", "texts", "--run", "runs/a", "--out", "page.html"]) == 0
    page = (folder / "page.html").read_text()
    content = json.loads(re.search(r'id="data"[^>]*>(.*?)</script>', page, re.DOTALL)[1])
    assert [(number, title) for number, *_, title in content["documents"]] == [("0", "a.txt"), ("1", "b.txt")]
    assert review() == 0 and '"row 2"' in (folder / "review.html").read_text()
