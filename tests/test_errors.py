"""Bad input: a user sees one line and exit code 2, no traceback, and no partial file is left."""

import json

import pytest
from conftest import make_document, save_tagger

from pii_kit.__main__ import main
from pii_kit.documents import write_documents


@pytest.fixture
def place(tmp_path, documents, sha_rnn_tagger, monkeypatch):
    """Change to a folder with documents, a trained run and submissions."""
    monkeypatch.chdir(tmp_path)
    write_documents("train.json", documents)
    write_documents("few.json", documents[:3])
    (tmp_path / "listed").mkdir()
    (tmp_path / "listed" / "config.json").write_text("[]")
    write_documents("unlabelled.json", [make_document("Hello there", number=number) for number in range(1, 4)])
    save_tagger(tmp_path / "run", sha_rnn_tagger)
    (tmp_path / "good.csv").write_text("row_id,document,token,label\n0,1,1,B-EMAIL\n")
    (tmp_path / "bad.csv").write_text("row_id,document,token,label\n0,1,9,B-EMAIL\n")
    (tmp_path / "cut.json").write_text((tmp_path / "train.json").read_text()[:1000])
    return tmp_path


TRAIN = "train --model sha_rnn --preset cpu --run new --data"

CASES = {
    f"{TRAIN} nowhere.json": "nowhere.json: no such file",
    f"{TRAIN} cut.json": "cut.json: not JSON",
    f"{TRAIN} unlabelled.json": "document 1: labels missing (training and scoring need them)",
    "train --model sha_rnn --preset published --run new --data train.json": "unknown preset 'published' of sha_rnn",
    f"{TRAIN} few.json": "3 labelled documents in 3 groups that share no text, 5 folds: expected 2 folds or more",
    "train --model mobilebert --preset published --weights listed --run new --data train.json": "names a model_type",
    "train --model encoder --run new --data train.json": "pass a folder or a hub name with --weights",
    "train --model mobilebert --weights listed --run new --data train.json": "do not fit a preset of random weights",
    "predict --run nowhere --data train.json --out new.csv": "nowhere: not a run folder",
    "predict --run run --data train.json --out good.csv/new.csv": "good.csv",
    "export --run run --out run": "run: is used twice",
    "errors --run run --data unlabelled.json --out new.html": "document 1: labels missing",
    "score --data unlabelled.json --submission good.csv": "labels missing",
    "score --data train.json --submission bad.csv": "document: not in the data",
    "check --data unlabelled.json --submission bad.csv": "token: outside its document (row 0)",
}


@pytest.mark.parametrize("command", CASES)
def test_bad_input_prints_one_line_exits_with_2_and_writes_no_file(place, capsys, command):
    assert main(command.split()) == 2
    out, err = capsys.readouterr()
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert CASES[command] in line
    assert "Traceback" not in err and out == ""
    assert not (place / "new.csv").exists() and not (place / "new.html").exists()
    assert not (place / "new").exists() and not list(place.glob(".*.partial"))


def test_a_failed_prediction_keeps_the_earlier_submission(place):
    before = (place / "good.csv").read_bytes()
    assert main(["predict", "--run", "nowhere", "--data", "train.json", "--out", "good.csv"]) == 2
    assert (place / "good.csv").read_bytes() == before


def test_a_text_that_differs_from_its_tokens_is_a_warning_and_prediction_continues(place, capsys):
    entries = json.loads((place / "unlabelled.json").read_text())
    entries[0]["full_text"] = "Hello  there"
    (place / "unlabelled.json").write_text(json.dumps(entries))
    assert main(["predict", "--run", "run", "--data", "unlabelled.json", "--out", "new.csv"]) == 0
    err = capsys.readouterr().err
    assert "warning: unlabelled.json: full_text differs from the tokens in 1 of 3 documents" in err
    assert (place / "new.csv").exists()
