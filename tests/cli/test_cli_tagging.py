"""The verbs sample, train, predict, score and errors."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from pii_kit.cli import main
from pii_kit.documents import write_documents
from pii_kit.files import read_json
from pii_kit.predict import Tagger
from pii_kit.sample import make_documents
from pii_kit.submission import check_submission
from pii_kit.training.out_of_fold import choose_threshold
from pii_kit.training.split import without_near_duplicates

TRAIN = "train --model sha_rnn --preset cpu --data train.json --run run"


@pytest.fixture
def place(tmp_path, documents, tiny_presets, monkeypatch):
    """A folder with essays, in which the test then stands."""
    monkeypatch.chdir(tmp_path)
    write_documents("train.json", documents)
    return tmp_path


def test_the_test_essays_of_sample_are_scored_with_their_labels(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["sample", "--out", "in", "--documents", "4"]) == 0
    score = "score --data in/test.json --submission in/test_labels.csv"
    assert main(f"{score} --labels in/test_labels.csv".split()) == 0 and "F5 1.0000" in capsys.readouterr().out
    assert main(score.split()) == 2 and "labels missing" in capsys.readouterr().err


def test_a_training_out_of_time_says_how_to_go_on_and_predicts_until_then(place, documents, capsys):
    assert main([*TRAIN.split(), "--minutes", "0.01"]) == 0
    said = r"run: the time ran out: 0 folds finished, 1 model so far; F5 .*; \d+ s elapsed, .*; continue with --resume"
    assert re.search(f"^{said}$", capsys.readouterr().out, re.MULTILINE)
    assert main(["predict", "--run", "run", "--data", "train.json", "--out", "early.csv"]) == 0
    assert check_submission("early.csv", documents) == []
    assert main([*TRAIN.split(), "--resume"]) == 0
    said = r"run: F5 [\d.]+ out of fold on \d+ documents .*; 1 model, .*, on CPU.*; \d+ s elapsed, \d+ s of processor"
    assert re.search(f"^{said}", capsys.readouterr().out, re.MULTILINE)


def test_extra_essays_are_trained_on_and_must_be_labelled(place, documents, capsys):
    extra = without_near_duplicates(make_documents(12, seed=9), documents)[:4]
    write_documents("one.json", extra[:3])
    write_documents("two.json", extra[3:])
    write_documents("unlabelled.json", [replace(extra[0], labels=None)])
    assert main([*TRAIN.split(), "--fold", "0", "--extra", "unlabelled.json"]) == 2
    assert "unlabelled.json: document" in capsys.readouterr().err and not (place / "run").exists()
    files = "--extra one.json --extra two.json --set extra_share=0.4"
    assert main([*TRAIN.split(), "--fold", "0", *files.split()]) == 0
    record = read_json(place / "run" / "run.json")
    assert len(record["extra"]) == len(extra) and record["settings"]["train"]["extra_share"] == 0.4


def test_settings_are_listed_as_they_are_set_and_need_no_files(place, capsys):
    assert main(["train", "--model", "sha_rnn", "--list-settings", "--set", "augment=none", "--seed", "3"]) == 0
    lines = {line.split()[0]: line.split(maxsplit=2)[1:] for line in capsys.readouterr().out.splitlines()}
    assert lines["augment"][0] == lines["cycle_epochs"][0] == "none" and lines["seed"][0] == "3"
    assert lines["model.hidden_size"][0] == "16" and "augment.plant_share" in lines
    assert all(len(line) == 2 for line in lines.values()) and not (place / "run").exists()


@pytest.mark.parametrize(
    ("command", "needle"),
    {
        "--set epochs=3 --epochs 4": "--set epochs and --epochs are one setting",
        "--set epoch=3": "did you mean 'epochs'?",
        "--learning-rate 0": "learning_rate",
        "--teacher run": "--teacher and --unlabelled need each other",
    }.items(),
)
def test_a_wrong_setting_is_one_line_and_no_run_begins(command, needle, place, capsys):
    assert main([*TRAIN.split(), *command.split()]) == 2
    error = capsys.readouterr().err
    assert needle in error and error.count("\n") == 1 and not (place / "run").exists()


@pytest.fixture
def predict(cross_validated, documents, tmp_path, monkeypatch):
    """The command line of predict, for a trained run and a folder in which the test then stands."""
    monkeypatch.chdir(tmp_path)
    write_documents("test.json", documents)
    return f"predict --run {cross_validated(0)[0]} --data test.json --out out/submission.csv".split()


@pytest.mark.parametrize("minutes", [[], ["--minutes", "5"]])
def test_predict_writes_its_file_at_the_end_and_an_error_leaves_an_earlier_one(
    predict, minutes, documents, monkeypatch
):
    decide, seen = Tagger.decide, []

    def look(*arguments, **settings):
        seen.append([path.name for path in Path().rglob("*") if path.is_file()])
        return decide(*arguments, **settings)

    def fail(*_, **__):
        raise RuntimeError("a model broke")

    monkeypatch.setattr(Tagger, "decide", look)
    assert main([*predict, *minutes]) == 0
    assert len(seen) >= len(documents) and all(files == ["test.json"] for files in seen)
    assert check_submission("out/submission.csv", documents) == []
    Path("out/submission.csv").write_text("an earlier result")
    monkeypatch.setattr(Tagger, "decide", fail)
    with pytest.raises(RuntimeError, match="a model broke"):
        main([*predict, *minutes])
    assert [path.read_text() for path in Path("out").iterdir()] == ["an earlier result"]


def test_predict_without_time_labels_by_rules_and_with_a_threshold_by_that(predict, documents, capsys):
    assert main([*predict, "--minutes", "0.000001"]) == 0
    late = f" (out of time: 0 by fewer runs, {len(documents)} by rules alone); 3 models"
    assert late in capsys.readouterr().out and check_submission("out/submission.csv", documents) == []
    assert main([*predict, "--threshold", "0.3"]) == 0 and "P(O) < 0.3" in capsys.readouterr().out


def test_predict_names_a_bad_document_before_it_loads_a_model(predict, documents, monkeypatch, capsys):
    entries = json.loads(Path("test.json").read_text())
    entries[-1]["tokens"] = 7
    Path("test.json").write_text(json.dumps(entries))
    monkeypatch.setattr(Tagger, "load", lambda *_, **__: pytest.fail("a model was loaded"))
    assert main(predict) == 2
    assert f"document {documents[-1].number}: tokens: expected a" in capsys.readouterr().err


def test_a_threshold_is_chosen_on_essays_with_labels_and_pii(predict, documents, capsys):
    write_documents("unlabelled.json", [replace(document, labels=None) for document in documents])
    write_documents("empty.json", [replace(doc, labels=("O",) * len(doc.tokens)) for doc in documents])
    for name, message in (("unlabelled", "labels missing"), ("empty", "no document has PII; expected the labels")):
        assert main([*predict, "--train", f"{name}.json"]) == 2
        error = capsys.readouterr().err
        assert f"{name}.json" in error and message in error


def test_errors_can_choose_the_threshold_of_two_runs(cross_validated, documents, place):
    runs = [cross_validated(seed)[0] for seed in (0, 1)]
    errors = f"errors --data train.json --out page.html --run {runs[0]} --run {runs[1]} --train train.json"
    assert main(errors.split()) == 0
    chosen = choose_threshold(runs, documents, Tagger.load(*runs).rules)
    assert f"PII where P(O) &lt; {chosen:g}" in (place / "page.html").read_text()
