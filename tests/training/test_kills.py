"""A training that is killed, or cannot write, loses nothing: it resumes as if nothing had happened."""

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

from pii_kit import training as presets
from pii_kit.files import KitError, recover_folder
from pii_kit.training.folds import train_fold

EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")


def train(documents, folder: Path, kill_at: int | None) -> None:
    """Train in `folder`, count the file events in it, and end this process at the event `kill_at`."""
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
    train_fold("sha_rnn", documents, folder, preset="cpu", resume=True, quiet=True, **settings)
    folder.with_suffix(".events").write_text(str(n_events))


def train_where_files_are_short(documents, folder: Path, n_bytes: int) -> None:
    """Do as `train` with a limit of `n_bytes` for each file: writing fails in the middle, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))
    train_and_exit(documents, folder)


def train_as_nobody(documents, folder: Path) -> None:
    """Do as `train` as a user who may read the folder, but not write to it."""
    if os.getuid() == 0:
        os.setuid(65534)
    train_and_exit(documents, folder)


def train_and_exit(documents, folder: Path) -> None:
    """Do as `train`, and exit with code 3 after an error of one line that names the folder, with 4 after another."""
    try:
        train(documents, folder, None)
    except (KitError, OSError) as error:  # what the command line shows as one line
        sys.exit(3 if str(folder) in str(error) and "\n" not in str(error) else 4)


@pytest.fixture(scope="module")
def run_in_process():
    """A function that runs another in its own process and returns its exit code. A server with all modules forks it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pii_kit.training.folds", "conftest"])

    def run(function, *arguments) -> int:
        process = context.Process(target=function, args=arguments)
        process.start()
        process.join(120)
        return process.exitcode

    return run


def test_a_training_killed_at_ten_random_moments_always_resumes(run_in_process, documents, tmp_path):
    some = documents[:8]
    assert run_in_process(train, some, tmp_path / "unbroken", None) == 0
    n_events = int((tmp_path / "unbroken.events").read_text())
    rng = random.Random(5)
    n_inside = 0
    for _ in range(10):
        assert run_in_process(train, some, tmp_path / "killed", rng.randrange(1, n_events // 8)) == -signal.SIGKILL
        n_inside += any((tmp_path / "killed").glob(".checkpoint.*"))
    assert n_inside >= 3, "most kills should hit the writing of a checkpoint"
    assert not (tmp_path / "killed" / "result.json").exists()
    assert run_in_process(train, some, tmp_path / "killed", None) == 0
    one, other = (load_file(tmp_path / name / "tagger" / "model.safetensors") for name in ("unbroken", "killed"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    histories = [json.loads((tmp_path / name / "history.json").read_text()) for name in ("unbroken", "killed")]
    assert [[row["loss"], row["f5"]] for row in histories[0]] == [[row["loss"], row["f5"]] for row in histories[1]]
    assert not any((tmp_path / "killed").glob(".*"))


@pytest.fixture
def stopped(run_in_process, documents):
    """The folder of a killed run with a checkpoint, readable by others, and the content of its files."""
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
    """All files except those that the kill left half-written."""
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
