"""Trainings killed at random moments, the writing of a checkpoint above all, are gone on with as if nothing was."""

import json
import multiprocessing
import os
import random
import signal
import sys
from pathlib import Path

import pytest
import torch
from conftest import TINY_PRESETS
from safetensors.torch import load_file

from pii_kit import presets
from pii_kit.train_run import train_preset

EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")


def train(documents, folder: Path, kill_at: int | None) -> None:
    """A process's work: train in `folder`, count what happens to its files, and die at the event `kill_at`."""
    torch.set_num_threads(1)
    presets.PRESETS = TINY_PRESETS
    n_events = 0

    def hook(event, arguments):
        nonlocal n_events
        if event in EVENTS and isinstance(arguments[0], str | os.PathLike) and str(folder) in str(arguments[0]):
            n_events += 1
            if n_events == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    settings = {"epochs": 2, "checkpoint_steps": 1, "hidden_share": 0.1}
    train_preset("sha_rnn", documents, folder, preset="cpu", resume=True, quiet=True, **settings)
    folder.with_suffix(".events").write_text(str(n_events))


@pytest.fixture(scope="module")
def run_in_process():
    """Runs `train` in a process of its own and gives back its exit code. A server forks it, with all modules loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pii_kit.train_run", "conftest"])

    def run(*arguments) -> int:
        process = context.Process(target=train, args=arguments)
        process.start()
        process.join(120)
        return process.exitcode

    return run


def test_a_training_killed_at_ten_random_moments_always_goes_on(run_in_process, documents, tmp_path):
    some = documents[:8]
    assert run_in_process(some, tmp_path / "unbroken", None) == 0
    n_events = int((tmp_path / "unbroken.events").read_text())
    rng = random.Random(5)
    n_inside = 0
    for _ in range(10):
        assert run_in_process(some, tmp_path / "killed", rng.randrange(1, n_events // 8)) == -signal.SIGKILL
        n_inside += any((tmp_path / "killed").glob(".checkpoint.*"))
    assert n_inside >= 3, "most kills should have come inside the writing of a checkpoint"
    assert not (tmp_path / "killed" / "result.json").exists()
    assert run_in_process(some, tmp_path / "killed", None) == 0
    one, other = (load_file(tmp_path / name / "tagger" / "model.safetensors") for name in ("unbroken", "killed"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    histories = [json.loads((tmp_path / name / "history.json").read_text()) for name in ("unbroken", "killed")]
    assert [[row["loss"], row["f5"]] for row in histories[0]] == [[row["loss"], row["f5"]] for row in histories[1]]
    assert not any((tmp_path / "killed").glob(".*"))
