import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pii_kit.__main__ import main
from pii_kit.documents import write_documents
from pii_kit.files import read_json
from pii_kit.kaggle import time_limit
from pii_kit.predict import Tagger
from pii_kit.sample import make_documents
from pii_kit.submission import check_submission
from pii_kit.training.out_of_fold import choose_threshold
from pii_kit.training.runs import digest_of
from pii_kit.training.split import without_near_duplicates
from pii_kit.training.train import train


@pytest.fixture
def place(tmp_path, documents, tiny_presets, monkeypatch):
    """A folder with essays, in which the test then stands; folds are trained one after another, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    write_documents("train.json", documents)
    return tmp_path


TRAIN = "train --model sha_rnn --preset cpu --data train.json --run run"


def test_a_training_out_of_time_says_how_to_go_on_and_predicts_until_then(place, documents, capsys):
    assert main([*TRAIN.split(), "--minutes", "0.01"]) == 0
    said = r"run: the time ran out: 0 folds finished, 1 models so far; F5 .*; \d+ s elapsed, .*; continue with --resume"
    assert re.search(f"^{said}$", capsys.readouterr().out, re.MULTILINE)
    assert main(["predict", "--run", "run", "--data", "train.json", "--out", "early.csv"]) == 0
    assert check_submission("early.csv", documents) == []
    assert main([*TRAIN.split(), "--resume"]) == 0
    said = (
        r"run: F5 \d\.\d+ out of fold on \d+ documents .*; 1 model, .*; \d+ s elapsed, \d+ s of processor time, on CPU"
    )
    assert re.search(f"^{said}", capsys.readouterr().out, re.MULTILINE)


def test_ctrl_c_during_a_training_says_how_to_continue_it(place, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("pii_kit.training.train.train", interrupted)
    assert main(TRAIN.split()) == 130
    assert capsys.readouterr().err == "interrupted; the same command with --resume continues the run\n"


def test_extra_essays_are_trained_on_and_must_be_labelled(place, documents, capsys):
    extra = without_near_duplicates(make_documents(12, seed=9), documents)[:4]
    write_documents("one.json", extra[:3])
    write_documents("two.json", extra[3:])
    write_documents("unlabelled.json", [replace(extra[0], labels=None)])
    assert main([*TRAIN.split(), "--fold", "0", "--extra", "unlabelled.json"]) == 2
    assert "unlabelled.json: document" in capsys.readouterr().err and not (place / "run").exists()
    assert main([*TRAIN.split(), "--extra", "one.json", "--set", "extra_share=1"]) == 2
    assert "extra_share is '1'" in capsys.readouterr().err and not (place / "run").exists()
    files = "--extra one.json --extra two.json --set extra_share=0.4"
    assert main([*TRAIN.split(), "--fold", "0", *files.split()]) == 0
    manifest = read_json(place / "run" / "run.json")
    assert [entry[2] for entry in manifest["extra"]] == [digest_of(document) for document in extra]
    assert manifest["settings"]["train"]["extra_share"] == 0.4


def test_settings_are_listed_as_they_are_set_and_need_no_files(place, capsys):
    assert main(["train", "--model", "sha_rnn", "--list-settings", "--set", "augment=none", "--seed", "3"]) == 0
    lines = {line.split()[0]: line.split(maxsplit=2)[1:] for line in capsys.readouterr().out.splitlines()}
    assert lines["augment"][0] == lines["cycle_epochs"][0] == "none" and lines["seed"][0] == "3"
    assert lines["model.hidden_size"] == ["16", "width of embedding, LSTM and Block"]
    assert lines["clip_norm"] == ["0.25", "largest norm of the gradient"] and "augment.plant_share" in lines
    assert not (place / "run").exists()


@pytest.mark.parametrize(
    ("command", "needle"),
    [
        ("--set epochs=3 --epochs 4", "--set epochs and --epochs are one setting"),
        ("--set epoch=3", "'epoch' is no setting of sha_rnn; did you mean 'epochs'?"),
        ("--set model.hidden_size=17", "sizes do not fit together"),
    ],
)
def test_a_wrong_setting_is_one_line_and_no_run_begins(command, needle, place, capsys):
    assert main([*TRAIN.split(), *command.split()]) == 2
    err = capsys.readouterr().err
    assert needle in err and err.count("\n") == 1 and not (place / "run").exists()


@pytest.fixture
def predict(cross_validated, documents, tmp_path, monkeypatch):
    """The command line of predict, for a trained run and a folder in which the test then stands."""
    monkeypatch.chdir(tmp_path)
    write_documents("test.json", documents)
    return f"predict --run {cross_validated(0)[0]} --data test.json --out out/submission.csv".split()


def test_a_given_threshold_replaces_the_runs_and_excludes_a_recall(predict, capsys):
    assert main([*predict, "--threshold", "0.3"]) == 0
    assert "P(O) < 0.3" in capsys.readouterr().out
    assert main([*predict, "--threshold", "0.3", "--recall", ".9", "--train", "test.json"]) == 2
    assert "--recall chooses the threshold that --threshold P sets" in capsys.readouterr().err


@pytest.mark.parametrize("minutes", [[], ["--minutes", "5"]])
def test_predict_writes_nothing_before_the_end_so_that_a_kill_leaves_no_file(
    predict, minutes, documents, tmp_path, monkeypatch
):
    label, seen = Tagger.decide, []

    def look(*arguments, **settings):
        seen.append([path.name for path in tmp_path.rglob("*") if path.is_file()])
        return label(*arguments, **settings)

    monkeypatch.setattr(Tagger, "decide", look)
    assert main([*predict, *minutes]) == 0
    assert len(seen) >= len(documents)
    assert all(files == ["test.json"] for files in seen)
    assert check_submission("out/submission.csv", documents) == []


def test_predict_labels_by_rules_first_only_under_a_time_limit(predict, documents, monkeypatch):
    label_in_time, found = time_limit.label_in_time, []

    def look(*arguments, **settings):
        found.append(set(settings["found"]))
        return label_in_time(*arguments, **settings)

    monkeypatch.setattr(time_limit, "label_in_time", look)
    assert main(predict) == 0
    assert found == []
    assert main([*predict, "--minutes", "5"]) == 0
    assert found == [{doc.number for doc in documents}]


@pytest.mark.parametrize("minutes", [[], ["--minutes", "5"]])
def test_an_error_while_predicting_leaves_an_earlier_file_as_it_was(predict, minutes, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "submission.csv").write_text("an earlier result")

    def fail(*_, **__):
        raise RuntimeError("a model broke")

    monkeypatch.setattr(Tagger, "decide", fail)
    with pytest.raises(RuntimeError, match="a model broke"):
        main([*predict, *minutes])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["submission.csv"]
    assert (tmp_path / "out" / "submission.csv").read_text() == "an earlier result"


def test_predict_names_a_bad_document_before_it_loads_a_model(predict, documents, monkeypatch, capsys):
    entries = json.loads(Path("test.json").read_text())
    entries[-1]["tokens"] = 7
    Path("test.json").write_text(json.dumps(entries))
    monkeypatch.setattr(Tagger, "load", lambda *_, **__: pytest.fail("a model was loaded"))
    assert main(predict) == 2
    assert f"document {documents[-1].number}: tokens: expected a list" in capsys.readouterr().err


def test_predict_warns_once_of_texts_that_differ_from_their_tokens(predict, documents, capsys):
    write_documents("test.json", [replace(documents[0], full_text="other"), *documents[1:]])
    assert main(predict) == 0
    assert capsys.readouterr().err.count(f"differs from the tokens in 1 of {len(documents)} documents") == 1


def test_without_time_predict_says_that_rules_labelled_the_documents(predict, documents, capsys):
    assert main([*predict, "--minutes", "0.000001"]) == 0
    printed = capsys.readouterr().out
    assert f" (out of time: 0 by fewer runs, {len(documents)} by rules alone); 3 models" in printed
    assert check_submission("out/submission.csv", documents) == []


def test_training_documents_without_labels_are_an_error(predict, documents, capsys):
    write_documents("unlabelled.json", [replace(document, labels=None) for document in documents])
    assert main([*predict, "--train", "unlabelled.json"]) == 2
    assert "unlabelled.json" in capsys.readouterr().err


def test_training_documents_without_pii_are_an_error(predict, documents, capsys):
    """A threshold would be chosen on nothing that can be missed."""
    write_documents("empty.json", [replace(doc, labels=("O",) * len(doc.tokens)) for doc in documents])
    assert main([*predict, "--train", "empty.json"]) == 2
    assert "empty.json: no document has PII; expected the labels" in capsys.readouterr().err


def test_errors_can_choose_the_threshold_and_refuses_runs_of_different_data(
    cross_validated, documents, tiny_presets, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    write_documents("train.json", documents)
    train("sha_rnn", documents[:12], tmp_path / "half", n_folds=3, folds=range(3), changes={"epochs": 1})
    same, other = cross_validated(0)[0], "half"
    errors = f"errors --data train.json --out page.html --run {same} --run"
    assert main(f"{errors} {cross_validated(1)[0]} --train train.json".split()) == 0
    runs = [same, cross_validated(1)[0]]
    chosen = choose_threshold(runs, documents, Tagger.load(*runs).rules)
    assert f"PII where P(O) &lt; {chosen:g}" in (tmp_path / "page.html").read_text()
    assert main(f"{errors} {other}".split()) == 2
    assert "different data" in capsys.readouterr().err
    assert main(f"{errors} {other} --mixed-data".split()) == 0
