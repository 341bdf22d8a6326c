"""The command line from documents to a checked submission."""

import json
import re
from pathlib import Path

import pytest
from conftest import TINY_PRESETS

import pii_kit
from pii_kit.__main__ import main
from pii_kit.documents import write_documents
from pii_kit.kaggle.time_limit import write_early_submission
from pii_kit.predict import Tagger
from pii_kit.submission import submission_rows, write_submission

PACKAGE = Path(pii_kit.__file__).parent
REFERENCES = PACKAGE.parents[1] / "shared" / "data"


def test_essays_go_in_and_a_checked_submission_comes_out(tmp_path, tiny_presets, monkeypatch, capsys):
    """SHA-RNN is trained on every fold, MobileBERT on one; essays that that one learned from are on no page."""
    monkeypatch.setitem(TINY_PRESETS["sha_rnn"], "cpu", TINY_PRESETS["sha_rnn"]["every_fold"])
    monkeypatch.chdir(tmp_path)
    commands = [
        "sample --out essays --documents 40 --seed 3",
        "train --model sha_rnn --preset cpu --data essays/train.json --run runs/sha_rnn",
        "train --model mobilebert --preset cpu --data essays/train.json --run runs/mobilebert",
        "predict --run runs/sha_rnn --run runs/mobilebert --data essays/test.json --out submission.csv",
        "check --data essays/test.json --submission submission.csv",
        "check --data essays/test.json --submission essays/test_labels.csv",
        "errors --run runs/sha_rnn --data essays/train.json --out sha_rnn.html",
        "errors --run runs/sha_rnn --run runs/mobilebert --data essays/train.json --out both.html",
    ]
    printed = {}
    for command in commands:
        assert main(command.split()) == 0, capsys.readouterr().err
        printed[command] = capsys.readouterr().out.splitlines()[-1]
    assert "5 models" in printed[commands[1]] and "1 model," in printed[commands[2]]
    assert "6 models" in printed[commands[3]] and "nothing wrong" in printed[commands[5]]
    assert re.search(r": F5 [\d.]+ out of fold on 40 documents", printed[commands[1]])
    errors = r"sha_rnn.html: 40 documents, 40 out of fold, 0 predicted: F5 [\d.]+ \(optimistic: .*\)"
    assert re.fullmatch(errors, printed[commands[-2]])
    assert "both.html: 8 documents, 8 out of fold, 0 predicted; 32 left out" in printed[commands[-1]]
    assert "40 documents, 40 out of fold, 0 predicted. PII where" in (tmp_path / "sha_rnn.html").read_text()


def test_an_exported_average_writes_the_submission_of_the_runs(
    cross_validated, documents, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    monkeypatch.chdir(tmp_path)
    write_documents("train.json", documents)
    runs = [cross_validated(seed)[0] for seed in (0, 1)]
    for place, run in enumerate(runs):
        assert main(["export", "--run", str(run), "--out", f"exported_{place}"]) == 0
    for name, of in (("runs", runs), ("exported", ["exported_0", "exported_1"])):
        both = f"--run {of[0]} --run {of[1]} --data train.json --out {name}"
        assert main(f"predict {both}.csv".split()) == main(f"errors {both}.html".split()) == 0
    assert (tmp_path / "runs.csv").read_bytes() == (tmp_path / "exported.csv").read_bytes()
    lines = [line.partition(":")[2] for line in capsys.readouterr().out.splitlines() if ".html: " in line]
    assert lines[0] == lines[1] and lines[0].startswith(" 24 documents, 24 out of fold, 0 predicted: F5 ")


def read(name: str) -> bytes:
    return Path(name).read_bytes()


def test_with_minutes_enough_the_file_is_the_same_and_with_none_it_is_the_rules(
    cross_validated, documents, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    write_documents("test.json", documents)
    ensemble = Tagger.load(cross_validated(0)[0])
    rows = submission_rows((doc.number, ensemble.decide(doc, scores)) for doc, scores in ensemble.predict(documents))
    write_submission("plain.csv", rows)
    write_early_submission("rules.csv", documents)
    predict = f"predict --run {cross_validated(0)[0]} --data test.json --out"
    printed = {}
    for name, minutes in (("whole", ""), ("enough", "--minutes 5"), ("none", "--minutes 0.000001")):
        assert main(f"{predict} {name}.csv {minutes}".split()) == 0
        printed[name] = capsys.readouterr().out
    assert read("whole.csv") == read("enough.csv") == read("plain.csv") != read("rules.csv") == read("none.csv")
    assert "want of time" not in printed["whole"] + printed["enough"]
    assert "24 documents (out of time: 0 by fewer runs, 24 by rules alone); 3 models" in printed["none"]


def test_scoring_prints_one_object_of_figures(tmp_path, monkeypatch, capsys, documents):
    from pii_kit.submission import true_rows

    monkeypatch.chdir(tmp_path)
    write_documents("truth.json", documents)
    rows = true_rows(documents)
    write_submission("all_but_one.csv", rows.iloc[:-1])
    assert main(["score", "--data", "truth.json", "--submission", "all_but_one.csv", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    n = len(rows)
    assert printed["f5"] == pytest.approx(26 * (n - 1) / (26 * (n - 1) + 25))
    assert (printed["tp"], printed["fp"], printed["fn"]) == (n - 1, 0, 1)
    assert printed["precision"] == 1 and printed["recall"] == pytest.approx((n - 1) / n)


def test_the_competitions_sample_submission_scores_one(capsys):
    truth, submission = REFERENCES / "essays_public_test.json", REFERENCES / "sample_submission.csv"
    if not truth.is_file():
        pytest.skip("the public test essays are not at hand")
    assert main(["score", "--data", str(truth), "--submission", str(submission), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["f5"] == 1.0
