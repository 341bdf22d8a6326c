"""The verbs redact and redact-eval, from their arguments to their files."""

import json
import os
import re
import stat
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pii_kit.__main__ import main
from pii_kit.documents import document_of_spans, join_tokens, read_documents, write_documents
from pii_kit.labels import LABELS, OUTSIDE_ID, PII_TYPES
from pii_kit.predict import Tagger
from pii_kit.submission import true_rows, write_submission

NAME, EMAIL, *_ = PII_TYPES
ONE_SOURCE = "not more than one of --submission, --run and --decisions"
SECRET = "a long random text of a test"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with in.json, its labels in labels.csv, and a key; the commands run there."""
    spans = [("By ", None), ("Ana Silva", NAME), (", ", None), ("ana.silva@x.de", EMAIL), (". Ana met xsilvax.", None)]
    documents = [document_of_spans(4, spans), document_of_spans(9, [("No names.", None)])]
    write_documents(tmp_path / "in.json", documents)
    write_submission(tmp_path / "labels.csv", true_rows(documents))
    (tmp_path / "key").write_text(SECRET + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PII_KIT_KEY", raising=False)
    return tmp_path


def redact(*more: str, mode="type", data="in.json", out="out.json") -> int:
    labels = [] if "--run" in more else ["--submission", "labels.csv"]
    return main(["redact", "--data", data, *labels, "--mode", mode, "--out", out, *more])


@pytest.mark.parametrize("mode", ["mask", "type", "surrogate", "hash"])
def test_essays_are_redacted_and_restored(folder, mode):
    assert redact("--key-file", "key", "--mapping", "map.json", mode=mode) == 0
    first, second = read_documents("out.json")
    assert join_tokens(first.tokens, first.trailing_whitespace) == first.full_text
    assert "Ana" not in first.full_text and first.full_text.endswith(" met xsilvax.")
    assert second == read_documents("in.json")[1]
    if os.name == "posix":
        assert stat.S_IMODE((folder / "map.json").stat().st_mode) == 0o600
    assert main(["redact", "--restore", "--data", "out.json", "--mapping", "map.json", "--out", "back.json"]) == 0
    assert (folder / "back.json").read_bytes() == (folder / "in.json").read_bytes()


def test_other_columns_and_file_names_with_replaced_strings_are_named(folder, capsys):
    (folder / "t.csv").write_text("student,email,text\nAna Silva,none,By Ana Silva\n")
    (folder / "labels.csv").write_text("row_id,document,token,label\n0,0,1,B-NAME_STUDENT\n1,0,2,I-NAME_STUDENT\n")
    assert redact(data="t.csv", out="out.csv") == 0
    assert "replaced strings are still in other columns or file names: student: row 2\n" in capsys.readouterr().err
    (folder / "texts").mkdir()
    (folder / "texts" / "silva_01.txt").write_text("By Ana Silva")
    assert redact(data="texts", out="redacted") == 0
    assert "columns or file names: name: silva_01.txt\n" in capsys.readouterr().err


def test_a_text_column_can_be_named(folder, capsys):
    (folder / "t.csv").write_text("Essay;n\nBy Ana Silva;1\n;2\n")
    (folder / "labels.csv").write_text("row_id,document,token,label\n0,0,1,B-NAME_STUDENT\n1,0,2,I-NAME_STUDENT\n")
    assert redact(data="t.csv", out="out.csv") == 2
    assert "found Essay, n; --text-column NAME chooses one" in capsys.readouterr().err
    assert redact("--text-column", "essay", data="t.csv", out="out.csv") == 0
    assert (folder / "out.csv").read_text() == "Essay;n\nBy [NAME_STUDENT];1\n;2\n"
    assert "1 without text, passed through as they are: row 3" in capsys.readouterr().err


def test_equal_seeds_give_equal_output_and_others_do_not(folder):
    for out, seed in (("a.json", "1"), ("b.json", "1"), ("c.json", "2")):
        assert redact("--seed", seed, mode="surrogate", out=out) == 0
    a, b, c = ((folder / f"{name}.json").read_bytes() for name in "abc")
    assert a == b != c


def test_a_hash_needs_a_key_from_a_file_or_the_environment(folder, monkeypatch, capsys):
    assert redact(mode="hash") == 2
    assert "--key-file" in capsys.readouterr().err and not (folder / "out.json").exists()
    monkeypatch.setenv("PII_KIT_KEY", SECRET)
    assert redact(mode="hash") == 0
    assert redact("--key-file", "key", mode="hash", out="same.json") == 0
    assert (folder / "same.json").read_bytes() == (folder / "out.json").read_bytes()
    (folder / "key").write_text("\n")
    assert redact("--key-file", "key", mode="hash") == 2
    assert redact("--key-file", "missing", mode="hash") == 2


def test_a_short_key_is_refused(folder, capsys):
    (folder / "key").write_text("abc")
    assert redact("--key-file", "key", mode="hash") == 2
    error = capsys.readouterr().err
    assert "at least 16 random bytes" in error and "abc" not in error


def test_strict_releases_nothing_when_a_leak_has_no_reason(folder, capsys):
    assert redact("--report", "report.json") == 0
    (folder / "out.json").unlink()
    assert redact("--strict", "--report", "report.json", "--mapping", "map.json") == 2
    assert "1 leaks" in capsys.readouterr().err
    assert not (folder / "out.json").exists() and not (folder / "map.json").exists()
    report = json.loads((folder / "report.json").read_text())
    assert report["leaks"]["unexplained"] == 1 and report["look_at_first"] == ["entry 1 (document 4)"]
    (folder / "allow.txt").write_text("xsilvax\n")
    assert redact("--strict", "--allow", "allow.txt") == 0


def test_a_report_has_settings_and_no_text(folder):
    assert redact("--report", "report.json", "--mentions", "labelled") == 0
    text = (folder / "report.json").read_text()
    report = json.loads(text)
    assert report["settings"]["mentions"] == "labelled" and report["types"][EMAIL]["label"] == 1
    assert report["submission"] == "labels.csv"
    assert not any(word in text.lower() for word in ("silva", "ana.", "no names"))


def test_lists_of_allowed_and_denied_strings(folder, capsys):
    (folder / "deny.txt").write_text(f"No names\n{EMAIL}\tmet\n\n")
    (folder / "allow.txt").write_text("ANA SILVA\n")
    assert redact("--allow", "allow.txt", "--deny", "deny.txt") == 0
    texts = [document.full_text for document in read_documents("out.json")]
    assert texts == ["By Ana Silva, [EMAIL]. Ana [EMAIL] xsilvax.", "[NAME_STUDENT]."]
    (folder / "deny.txt").write_text("COLOUR\tred\n")
    assert redact("--deny", "deny.txt") == 2
    error = capsys.readouterr().err
    assert "entry 1" in error and "red" not in error.replace("expected", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--submission", "labels.csv"], "--mode"),
        (["--mode", "type", "--submission", "labels.csv", "--run", "r"], ONE_SOURCE),
        (["--mode", "type", "--submission", "labels.csv", "--threshold", f"{NAME}=.2"], "need probabilities"),
        (["--mode", "type", "--submission", "labels.csv", "--recall", ".9"], "need probabilities"),
        (["--mode", "type", "--run", "r", "--recall", ".9"], "needs --train FILE.json"),
        (["--mode", "type", "--submission", "labels.csv", "--workers", "2"], "need --ray"),
        (["--mode", "type", "--submission", "labels.csv", "--ray"], "no folder of files"),
        (["--mode", "type", "--submission", "labels.csv", "--ray", "--mapping", "m"], "--ray takes no --mapping"),
        (["--restore"], "--mapping"),
        (["--mode", "type", "--submission", "labels.csv", "--report", "page.html"], "used twice"),  # the page's name
    ],
)
def test_arguments_that_do_not_fit_are_one_line(folder, capsys, arguments, message):
    before = (folder / "in.json").read_bytes()
    assert main(["redact", "--data", "in.json", "--out", "out.json", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (folder / "out.json").exists() and (folder / "in.json").read_bytes() == before


def test_a_submission_of_other_documents_is_refused(folder, capsys):
    (folder / "labels.csv").write_text("row_id,document,token,label\n0,4,999,B-EMAIL\n")
    assert redact() == 2
    assert "outside its document" in capsys.readouterr().err


def test_runs_label_plain_text_with_thresholds_by_type(folder, monkeypatch, sha_rnn_tagger):
    """The model is a stub that is unsure of every token; the threshold of a type decides."""
    (folder / "essay.txt").write_text("By Ana Silva")
    tagger = Tagger((sha_rnn_tagger,), o_threshold=0.1, rules=())

    def predict(self, documents):
        for document in documents:
            scores = np.full((len(document.tokens), len(LABELS)), 0.01)
            scores[:, LABELS.index(f"B-{NAME}")] = 0.4
            scores[:, OUTSIDE_ID] = [0.7, 0.5, 0.5]
            yield document, scores

    monkeypatch.setattr(Tagger, "predict", predict)
    monkeypatch.setattr(Tagger, "load", lambda *runs, thresholds, **_: replace(tagger, thresholds=thresholds))
    arguments = {"data": "essay.txt", "out": "out.txt"}
    assert redact("--run", "r", **arguments) == 0
    assert (folder / "out.txt").read_text() == "By Ana Silva"
    assert redact("--run", "r", "--threshold", f"{EMAIL}=.6", **arguments) == 0
    assert (folder / "out.txt").read_text() == "By Ana Silva"
    assert redact("--run", "r", "--threshold", f"{NAME}=.6", **arguments) == 0
    assert (folder / "out.txt").read_text() == "By [NAME_STUDENT]"


def test_recall_chooses_the_threshold_and_redact_eval_measures_it(folder, cross_validated, documents, capsys):
    (run, _), essays = cross_validated(0), documents
    write_documents("train.json", essays)
    arguments = ["--run", str(run), "--train", "train.json", "--recall", ".3"]
    assert main(["redact-eval", "--data", "train.json", *arguments, "--out", "eval.csv"]) == 0
    printed = capsys.readouterr().out
    found, rows = map(int, re.search(r"finds (\d+) of (\d+) rows out of fold", printed).groups())
    assert 0.3 * rows <= found <= rows == len(true_rows(essays))
    table = pd.read_csv("eval.csv", index_col="counted")
    assert table.loc["rows", "n"] == rows
    assert f"{len(essays)} documents have the threshold that the other folds choose." in printed
    assert redact(*arguments, "--report", "report.json") == 0
    report = json.loads((folder / "report.json").read_text())
    assert f"P(O) < {report['o_threshold']:g} finds {found} of {rows}" in capsys.readouterr().out
