"""The verbs redact, redact-eval and review, from their arguments to their files."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pii_kit.cli import main
from pii_kit.documents import document_of_spans, read_documents, write_documents
from pii_kit.labels import LABELS, OUTSIDE_ID, PII_TYPES
from pii_kit.predict import Tagger
from pii_kit.redact.essays import read_essays
from pii_kit.redact.review import FORMAT, fingerprint_texts
from pii_kit.submission import true_rows, write_submission

NAME, EMAIL, *_ = PII_TYPES
ROWS = ["--submission", "labels.csv"]
SECRET = "a long random text of a test"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with in.json, its labels in labels.csv, a key and a table; the commands run there."""
    spans = [("By ", None), ("Ana Silva", NAME), (", ", None), ("ana.silva@x.de", EMAIL), (". Ana met xsilvax.", None)]
    documents = [document_of_spans(4, spans), document_of_spans(9, [("No names.", None)])]
    write_documents(tmp_path / "in.json", documents)
    write_submission(tmp_path / "labels.csv", true_rows(documents))
    (tmp_path / "key").write_text(SECRET + "\n")
    (tmp_path / "in.csv").write_text("student;essay\nSilva;Ana and we met Silva\n;nobody\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PII_KIT_KEY", raising=False)
    return tmp_path


@pytest.fixture
def unsure(monkeypatch, sha_rnn_tagger):
    """A tagger in place of any run; it takes capital letters for names, and is unsure of "we"."""
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


def redact(*more: str, mode="type", data="in.json", out="out.json") -> int:
    return main(["redact", "--data", data, "--mode", mode, "--out", out, *more])


@pytest.mark.parametrize("mode", ["type", "surrogate", "hash"])
def test_essays_are_redacted_and_restored(folder, mode):
    assert redact(*ROWS, "--key-file", "key", "--mapping", "map.json", mode=mode) == 0
    first, second = read_documents("out.json")
    assert "Ana" not in first.full_text and first.full_text.endswith(" met xsilvax.")
    assert second == read_documents("in.json")[1]
    assert main(["redact", "--restore", "--data", "out.json", "--mapping", "map.json", "--out", "back.json"]) == 0
    assert (folder / "back.json").read_bytes() == (folder / "in.json").read_bytes()


def test_a_key_comes_from_a_file_or_the_environment_and_is_long(folder, monkeypatch, capsys):
    assert redact(*ROWS, mode="hash") == 2
    assert "--key-file" in capsys.readouterr().err and not (folder / "out.json").exists()
    monkeypatch.setenv("PII_KIT_KEY", SECRET)
    assert redact(*ROWS, mode="hash") == redact(*ROWS, "--key-file", "key", mode="hash", out="same.json") == 0
    assert (folder / "same.json").read_bytes() == (folder / "out.json").read_bytes()
    for content in ("\n", "abc"):
        (folder / "key").write_text(content)
        assert redact(*ROWS, "--key-file", "key", mode="hash") == 2
    assert "abc" not in capsys.readouterr().err and redact(*ROWS, "--key-file", "missing", mode="hash") == 2


def test_strict_releases_nothing_when_a_leak_has_no_reason(folder, capsys):
    assert redact(*ROWS, "--strict", "--report", "report.json", "--mapping", "map.json") == 2
    assert "1 leaks" in capsys.readouterr().err
    assert not (folder / "out.json").exists() and not (folder / "map.json").exists()
    report = json.loads((folder / "report.json").read_text())
    assert report["leaks"]["unexplained"] == 1 and report["look_at_first"] == ["entry 1 (document 4)"]
    assert report["submission"] == "labels.csv" and "ilva" not in (folder / "report.html").read_text()
    (folder / "allow.txt").write_text("xsilvax\n")
    assert redact(*ROWS, "--strict", "--allow", "allow.txt") == 0


def test_lists_of_allowed_and_denied_strings(folder, capsys):
    (folder / "deny.txt").write_text(f"No names\n{EMAIL}\tmet\n\n")
    (folder / "allow.txt").write_text("ANA SILVA\n")
    assert redact(*ROWS, "--allow", "allow.txt", "--deny", "deny.txt") == 0
    texts = [document.full_text for document in read_documents("out.json")]
    assert texts == ["By Ana Silva, [EMAIL]. Ana [EMAIL] xsilvax.", "[NAME_STUDENT]."]
    (folder / "deny.txt").write_text("COLOUR\tred\n")
    assert redact(*ROWS, "--deny", "deny.txt") == 2
    error = capsys.readouterr().err
    assert "entry 1" in error and "red" not in error.replace("expected", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    {
        "--submission labels.csv": "--mode is missing",
        "--mode type --submission labels.csv --run r": "expected one of --submission, --run",
        "--mode type --submission labels.csv --threshold EMAIL=.2": "are for taggers",
        "--mode type --run r --recall .9": "on --train FILE.json",
        "--mode type --submission labels.csv --ray --mapping m": "--ray takes no --mapping",
        "--restore": "--restore needs --mapping FILE.json",
    }.items(),
)
def test_arguments_that_do_not_fit_are_one_line(folder, capsys, arguments, message):
    assert main(["redact", "--data", "in.json", "--out", "out.json", *arguments.split()]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (folder / "out.json").exists()


def test_runs_label_a_column_with_thresholds_by_type_and_other_columns_are_named(folder, unsure, capsys):
    table = ["--run", "r", "--text-column", "Essay"]
    assert redact(*table, "--threshold", f"{EMAIL}=.2", data="in.csv", out="out.csv") == 0
    assert (
        folder / "out.csv"
    ).read_text() == "student;essay\nSilva;[NAME_STUDENT] and we met [NAME_STUDENT]\n;nobody\n"
    assert "replaced strings are still in other columns or file names: student: row 2\n" in capsys.readouterr().err
    assert redact(*table, "--threshold", f"{NAME}=.2", data="in.csv", out="out.csv") == 0
    assert (folder / "out.csv").read_text() == (folder / "in.csv").read_text()


def test_review_writes_a_page_and_redact_takes_its_decisions(folder, unsure, capsys):
    table = ["--data", "in.csv", "--text-column", "essay"]
    assert main(["review", *table, "--run", "runs/a", "--out", "review.html", "--threshold", "EMAIL=.5"]) == 0
    assert "2 detections and 1 suggestions in 2 documents" in capsys.readouterr().out
    page = (folder / "review.html").read_text()
    assert "Detections of a: P(O) &lt; 0.9, EMAIL: 0.5." in page
    first, _ = json.loads(re.search('type="application/json" id="data">(.*)</script>', page)[1])["documents"]
    assert first[2:] == [[[0, 1, 0, 0.7, 0], [2, 3, 0, 0.05, 1], [4, 5, 0, 0.7, 0]], "row 2"]

    decided = ((0, 1, "rejected"), (2, 3, "accepted"), (4, 5, "undecided"))
    entries = [
        dict(zip(("start", "end", "type", "decision"), (*place, NAME, it), strict=True)) for *place, it in decided
    ]
    texts = fingerprint_texts(read_essays(folder / "in.csv", "essay").documents.values())
    (folder / "decisions.json").write_text(json.dumps({"format": FORMAT, "data": texts, "documents": {"0": entries}}))
    decisions = ["redact", *table, "--mode", "type", "--out", "out.csv", "--decisions", "decisions.json"]
    assert main(decisions) == 0
    assert (folder / "out.csv").read_text().splitlines()[1] == "Silva;Ana and [NAME_STUDENT] met [NAME_STUDENT]"
    assert "1 of 3 detections undecided" in capsys.readouterr().out
    (folder / "in.csv").write_text("essay\nAna but we met Silva\nnobody\n")
    assert main(decisions) == 2 and "these are decisions about other documents" in capsys.readouterr().err


def test_redact_eval_measures_a_run_and_recall_chooses_its_threshold(folder, cross_validated, documents, capsys):
    write_documents("train.json", documents)
    run, n_rows = ["--run", str(cross_validated(0)[0])], len(true_rows(documents))
    assert main(["redact-eval", "--data", "train.json", *run, "--out", "eval.csv"]) == 0
    assert f"{len(documents)} documents have the threshold that the other folds choose" in capsys.readouterr().out
    assert pd.read_csv("eval.csv", index_col="counted").loc["rows", "n"] == n_rows
    assert redact(*run, "--train", "train.json", "--recall", ".1", "--report", "report.json") == 0
    limit = json.loads((folder / "report.json").read_text())["o_threshold"]
    found = re.search(rf"P\(O\) < {limit:g} finds (\d+) of {n_rows} rows out of fold", capsys.readouterr().out)
    assert int(found[1]) >= 0.1 * n_rows
