"""Trainings that are killed, or cannot write, lose nothing that they had: they are gone on with as if nothing was."""

import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from conftest import TINY_PRESETS
from safetensors.torch import load_file

from pii_kit.files import KitError, recover_folder
from pii_kit.training import config as presets
from pii_kit.training.folds import train_preset

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


def train_where_files_are_short(documents, folder: Path, n_bytes: int) -> None:
    """As `train`, where no file may be longer than `n_bytes`, which fails as a full disk does: in the middle."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))
    train_and_say(documents, folder)


def train_as_nobody(documents, folder: Path) -> None:
    """As `train`, by a user who may read the folder, but not write to it."""
    if os.getuid() == 0:
        os.setuid(65534)
    train_and_say(documents, folder)


def train_and_say(documents, folder: Path) -> None:
    """As `train`, with what is said of an error as exit code: 3 for the kit's own, in one line, that names the file."""
    try:
        train(documents, folder, None)
    except (KitError, OSError) as error:  # what the command line shows as one line
        sys.exit(3 if str(folder) in str(error) and "\n" not in str(error) else 4)


@pytest.fixture(scope="module")
def run_in_process():
    """Runs a function in a process of its own; gives back its exit code. A server forks it, with all modules loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pii_kit.train_run", "conftest"])

    def run(function, *arguments) -> int:
        process = context.Process(target=function, args=arguments)
        process.start()
        process.join(120)
        return process.exitcode

    return run


def test_a_training_killed_at_ten_random_moments_always_goes_on(run_in_process, documents, tmp_path):
    some = documents[:8]
    assert run_in_process(train, some, tmp_path / "unbroken", None) == 0
    n_events = int((tmp_path / "unbroken.events").read_text())
    rng = random.Random(5)
    n_inside = 0
    for _ in range(10):
        assert run_in_process(train, some, tmp_path / "killed", rng.randrange(1, n_events // 8)) == -signal.SIGKILL
        n_inside += any((tmp_path / "killed").glob(".checkpoint.*"))
    assert n_inside >= 3, "most kills should have come inside the writing of a checkpoint"
    assert not (tmp_path / "killed" / "result.json").exists()
    assert run_in_process(train, some, tmp_path / "killed", None) == 0
    one, other = (load_file(tmp_path / name / "tagger" / "model.safetensors") for name in ("unbroken", "killed"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    histories = [json.loads((tmp_path / name / "history.json").read_text()) for name in ("unbroken", "killed")]
    assert [[row["loss"], row["f5"]] for row in histories[0]] == [[row["loss"], row["f5"]] for row in histories[1]]
    assert not any((tmp_path / "killed").glob(".*"))


@pytest.fixture
def stopped(run_in_process, documents):
    """A run's folder that others may read, with a checkpoint, and what its files hold."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    assert run_in_process(train, documents[:8], folder / "run", 200) == -signal.SIGKILL
    recover_folder(folder / "run" / "checkpoint")
    assert (folder / "run" / "checkpoint").is_dir()
    yield folder / "run", contents(folder / "run")
    for path in (folder, folder / "run"):
        path.chmod(0o755)
    shutil.rmtree(folder)


def contents(folder: Path) -> dict[Path, bytes]:
    """All files that are not half-written ones of a kill."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and ".partial" not in str(path)}


def test_a_full_disk_leaves_the_last_checkpoint_whole(run_in_process, stopped, documents):
    folder, before = stopped
    assert run_in_process(train_where_files_are_short, documents[:8], folder, 20_000) == 3
    assert contents(folder) == before
    assert run_in_process(train, documents[:8], folder, None) == 0


def test_a_read_only_folder_leaves_the_last_checkpoint_whole(run_in_process, stopped, documents):
    folder, before = stopped
    for path in (folder.parent, folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert run_in_process(train_as_nobody, documents[:8], folder) == 3
    assert contents(folder) == before
    for path in (folder.parent, folder, *folder.rglob("*")):
        path.chmod(0o755)
    assert run_in_process(train, documents[:8], folder, None) == 0
