import json
import math
import os
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from pii_kit import kaggle
from pii_kit.documents import write_documents
from pii_kit.files import KitError
from pii_kit.kaggle import (
    COMPETITION,
    DATA_VARIABLE,
    RESERVE,
    WORKING,
    attached_weights,
    copy_attached_run,
    data_folder,
    deadline_in,
    environment_report,
    find_data_folder,
    output_folder,
    run_folders,
    seconds_left,
    submission_file,
    training_data,
    training_documents,
)
from pii_kit.sample import write_sample
from pii_kit.training.runs import digest_documents

HOUR = 3600


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine without essays: an empty working folder, and nothing in `input`, which stands for /kaggle/input."""
    for name in ("KAGGLE_KERNEL_RUN_TYPE", "KAGGLE_IS_COMPETITION_RERUN", DATA_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(kaggle, "INPUT", tmp_path / "input")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(path: Path, text: str = "") -> Path:
    """Create a file and the folders above it; return its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path.parent


def test_places_are_searched_in_the_documented_order(machine, monkeypatch):
    assert find_data_folder() is None
    put(machine / "data" / "test.json")
    assert find_data_folder() == (Path("data"), "your own copy")
    made_up = put(machine / "input" / "a-demo" / "test.json")
    put(made_up / "test_labels.csv")
    assert find_data_folder() == (made_up, "attached on Kaggle, not the competition's data")
    attached = put(machine / "input" / "copy" / "inner" / "test.json")
    assert find_data_folder() == (attached, "attached on Kaggle, not the competition's data")
    old = put(machine / "input" / COMPETITION / "test.json")
    assert find_data_folder() == (old, "the competition's data")
    new = put(machine / "input" / "competitions" / COMPETITION / "test.json")
    assert find_data_folder() == (new, "the competition's data")
    named = put(machine / "named" / "test.json")
    monkeypatch.setenv(DATA_VARIABLE, str(named))
    assert find_data_folder() == (named, f"from {DATA_VARIABLE}")
    asked = put(machine / "asked" / "test.json")
    assert find_data_folder(asked) == (asked, "as asked")
    with pytest.raises(KitError, match=r"elsewhere: no test.json in this folder \(as asked\)"):
        find_data_folder(machine / "elsewhere")


@pytest.mark.parametrize("mount", [COMPETITION, f"competitions/{COMPETITION}"])
def test_a_rerun_takes_the_competitions_essays_and_never_made_up_ones(machine, mount, monkeypatch, capsys):
    monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")
    made_up = machine / "input" / "a-demo"
    for _ in range(2):
        with pytest.raises(KitError, match=f"without the competition's essays .* attach the competition {COMPETITION}"):
            data_folder(out=machine / "out")
        write_sample(made_up, n_documents=10, seed=0)
    with pytest.raises(KitError, match=f"made-up essays cannot be submitted; attach the competition {COMPETITION}"):
        find_data_folder(made_up)
    assert not (machine / "out").exists()
    folder = put(machine / "input" / mount / "test.json")
    assert data_folder(out=machine / "out") == folder
    assert capsys.readouterr().out == f"Essays from {folder} (the competition's data)\n"


def test_made_up_essays_are_written_once_if_there_are_no_others(machine, capsys):
    folder = data_folder(out=machine / "out", n_documents=10, seed=3)
    written = (folder / "test.json").stat().st_mtime_ns
    assert data_folder(out=machine / "out", n_documents=10, seed=3) == folder
    assert (folder / "test.json").stat().st_mtime_ns == written
    assert capsys.readouterr().out.count(f"Made-up essays in {folder}") == 2


def test_results_go_where_asked_else_to_kaggles_working_folder_or_the_checkout(machine, monkeypatch):
    (machine / "notebooks").mkdir()
    for folder in (machine, machine / "notebooks"):
        monkeypatch.chdir(folder)
        places = output_folder(), submission_file()
        assert places == (machine / "outputs", machine / "submissions" / "submission.csv")
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    assert (output_folder(), submission_file()) == (WORKING, WORKING / "submission.csv")
    assert (output_folder("asked"), submission_file("mine.csv")) == (Path("asked"), Path("mine.csv"))


def trained(run: Path) -> Path:
    for fold in range(2):
        put(run / f"fold_{fold}" / "tagger" / "decision.json")
    return run


def test_ones_own_runs_come_before_attached_runs_and_those_of_the_demo_are_not_searched(machine):
    out = machine / "out"
    with pytest.raises(KitError, match=f"{out}/runs, .*attached: no trained run in either"):
        run_folders(out, attached=machine / "attached")
    theirs = trained(machine / "attached" / "kernel" / "runs" / "sha_rnn")
    for other in (out / "demo" / "runs" / "sha_rnn", out / "runs" / "older" / "sha_rnn"):
        trained(other)
    put(out / "runs" / "unfinished" / "run.json")
    put(out / "runs" / "language_model" / "model" / "config.json")
    assert run_folders(out, attached=machine / "attached") == [theirs]
    mine = [trained(out / "runs" / name) for name in ("mobilebert", "sha_rnn")]
    assert run_folders(out, attached=machine / "attached") == mine


def test_training_documents_are_read_only_if_all_runs_were_trained_on_them(cross_validated, documents, machine):
    runs = [cross_validated(seed)[0] for seed in (0, 1)]
    assert {training_data(run) for run in runs} == {(len(documents), digest_documents(documents))}
    assert training_documents(machine, runs) == []
    write_documents(machine / "train.json", documents)
    assert training_documents(machine, runs) == documents
    exported = trained(machine / "exported")
    assert training_data(exported) is None
    assert training_documents(machine, [*runs, exported]) == []
    write_documents(machine / "train.json", documents[1:])
    assert training_documents(machine, runs) == []


def test_any_attached_config_json_is_passed_over_in_the_search_for_weights(machine):
    """Other data sets may use the file name config.json for anything."""
    for name, other in enumerate(("{}", '["mobilebert"]', "not JSON", "[" * 100_000)):
        put(machine / f"a{name}" / "config.json", other)
    (machine / "c" / "config.json").mkdir(parents=True)
    assert attached_weights(machine) is None
    for name, model_type in (("d", "bert"), ("e", "mobilebert")):
        put(machine / name / "config.json", json.dumps({"model_type": model_type}))
    assert attached_weights(machine) == machine / "e"


def test_the_latest_attached_run_is_copied_to_be_resumed_and_does_not_change(machine):
    run = machine / "working" / "runs" / "sha_rnn"
    assert copy_attached_run(run, attached=machine / "none") == run and not run.exists()
    for place, age, text in (("a", 100, "old"), ("b", 10, "new")):
        folder = machine / "input" / place / "runs" / "sha_rnn"
        put(folder / "fold_0" / "history.json", text)
        put(folder / "run.json", "{}")
        for path in (folder / "run.json", folder / "fold_0" / "history.json", folder / "fold_0"):
            os.utime(path, (10_000 - age, 10_000 - age))
        folder.joinpath("run.json").chmod(0o444)
    assert copy_attached_run(run, attached=machine / "input") == run
    assert (run / "fold_0" / "history.json").read_text() == "new"
    (run / "run.json").write_text("the copy can be written")
    assert copy_attached_run(run, attached=machine / "input") == run
    assert (run / "run.json").read_text() == "the copy can be written"


@pytest.fixture
def container(monkeypatch):
    """A function that makes this a Kaggle session of a kind, some hours after the start of its container."""

    def begin(run_type: str, hours: float, *, rerun: bool = False) -> None:
        monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", run_type)
        if rerun:
            monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")
        own = psutil.Process

        def process(pid: int | None = None):
            return SimpleNamespace(create_time=lambda: time.time() - hours * HOUR) if pid == 1 else own()

        monkeypatch.setattr(kaggle.psutil, "Process", process)

    return begin


@pytest.mark.parametrize(
    ("run_type", "rerun", "hours", "left"),
    [("Batch", False, 0.5, 11.5), ("Batch", True, 2, 7), ("Interactive", False, 2, 10)],
)
def test_kaggles_limit_counts_from_the_containers_start_and_is_shorter_in_a_rerun(
    machine, container, run_type, rerun, hours, left
):
    container(run_type, hours, rerun=rerun)
    assert seconds_left() == pytest.approx(left * HOUR, abs=5)
    assert deadline_in() - time.monotonic() == pytest.approx(left * HOUR - RESERVE, abs=5)
    report = environment_report()
    assert f"Kaggle, {run_type}, {left:.1f} hours left" in report and "attached: nothing" in report
    for source in (COMPETITION, "old-data", "competitions/new", "datasets/me/weights", "notebooks/me/02-train"):
        put(machine / "input" / source / "x")
    assert f"attached: 02-train, new, old-data, {COMPETITION}, weights" in environment_report()


def test_a_first_process_older_than_any_container_is_the_hosts(container):
    container("Batch", 400)
    age = time.time() - psutil.Process(os.getpid()).create_time()
    assert seconds_left() == pytest.approx(12 * HOUR - age, abs=5)


def test_outside_kaggle_there_is_no_limit_and_minutes_count_from_now(container):
    assert seconds_left() is None
    assert deadline_in() == math.inf
    for _ in range(2):
        assert deadline_in(2) - time.monotonic() == pytest.approx(120, abs=1)
        container("Batch", 8.9)
    for minutes in (0, -1, math.nan):
        with pytest.raises(KitError, match=f"minutes is {minutes}; expected more than 0"):
            deadline_in(minutes)


def test_the_report_names_gpus_with_their_precision_and_needs_no_tool_of_linux(monkeypatch):
    monkeypatch.setattr(kaggle, "os", SimpleNamespace(environ=os.environ))
    for rows, expected in (("Tesla T4, 15360 MiB, 7.5\n" * 2, "7.5: fp16 for encoders; Tesla T4"), ("", "no GPU")):

        def run(command, rows=rows, **_):
            if not rows:
                raise FileNotFoundError(command[0])
            return SimpleNamespace(stdout=rows)

        monkeypatch.setattr(kaggle, "subprocess", SimpleNamespace(run=run, SubprocessError=subprocess.SubprocessError))
        report = environment_report()
        assert f"{psutil.cpu_count()} CPU cores" in report and "GiB" in report and expected in report
