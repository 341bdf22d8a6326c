import re

import pytest
import torch

from pii_kit.__main__ import main
from pii_kit.data import write_documents
from pii_kit.submission import check_submission


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
        r"run: F5 \d\.\d+ out of fold on \d+ documents .*; 1 models, .*; \d+ s elapsed, \d+ s of processor time, on CPU"
    )
    assert re.search(f"^{said}", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize("minutes", ["0", "-1", "soon", "inf"])
def test_minutes_are_a_number_above_0(minutes, place, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*TRAIN.split(), f"--minutes={minutes}"])
    assert ended.value.code == 2 and "expected a number above 0" in capsys.readouterr().err
    assert not (place / "run").exists()
