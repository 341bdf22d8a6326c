import os
import subprocess
import sys

import pytest
import torch

from pii_kit.files import KitError, read_json
from pii_kit.training.folds import train_everywhere, train_folds

# Trains two folds in two processes, and once more with a batch that two cannot share. torch must not have been used.
SCRIPT = """
import sys

from conftest import TINY_PRESETS

from pii_kit import presets
from pii_kit.errors import KitError
from pii_kit.launch import train_everywhere
from pii_kit.sample import make_documents

presets.PRESETS = TINY_PRESETS
settings = {"n_processes": 2, "preset": "cpu", "n_folds": 3, "folds": [0, 1]}
print(train_everywhere("sha_rnn", make_documents(12, seed=1), sys.argv[1], **settings)["n_models"], "models")
try:
    train_everywhere("sha_rnn", make_documents(12, seed=1), sys.argv[1] + "_odd", batch_size=3, **settings)
except KitError as error:
    print(error)
"""


def test_a_notebook_trains_in_two_processes_and_says_what_failed_in_one_of_them(tmp_path, request):
    (tmp_path / "script.py").write_text(SCRIPT)
    paths = os.pathsep.join([str(request.config.rootpath), str(request.config.rootpath / "tests")])
    ended = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    assert "2 models" in ended.stdout
    assert "\nbatch_size is 3; expected a multiple of the 2 processes\n" in ended.stdout
    assert "Traceback" not in ended.stderr
    assert read_json(tmp_path / "run" / "result.json")["n_models"] == 2


def test_on_a_cpu_it_is_train_folds(tiny_presets, documents, tmp_path):
    settings = {"preset": "cpu", "n_folds": 3, "folds": [1]}
    result, other = (
        train("sha_rnn", documents, tmp_path / train.__name__, **settings) for train in (train_everywhere, train_folds)
    )
    clocks = {"seconds", "seconds_per_epoch"}
    assert {k: v for k, v in result.items() if k not in clocks} == {k: v for k, v in other.items() if k not in clocks}


def test_gpus_that_do_not_work_are_said_before_anything_is_written(documents, tmp_path, monkeypatch):
    monkeypatch.setattr("pii_kit.environment.try_gpus", lambda: ("Tesla P100", "Tesla P100: does not work"))
    with pytest.raises(KitError, match="Tesla P100: does not work"):
        train_everywhere("sha_rnn", documents, tmp_path / "run")
    assert not (tmp_path / "run").exists() and not torch.cuda.is_initialized()
