import json
import math
import os
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
    in_rerun,
    input_folders,
    output_folder,
    run_folders,
    runs_below,
    seconds_left,
    submission_file,
    training_data,
    training_documents,
)
from pii_kit.sample import write_sample
from pii_kit.training.runs import fingerprint

HOUR = 3600


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
    for name in ("KAGGLE_KERNEL_RUN_TYPE", "KAGGLE_IS_COMPETITION_RERUN", DATA_VARIABLE):
        monkeypatch.delenv(name, raising=False)


def put(path: Path) -> Path:
    """Create an empty file and the folders above it; return its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path.parent


def test_the_competitions_mounts_come_first_and_made_up_essays_last(tmp_path):
    made_up = put(tmp_path / "a-demo" / "test.json")
    put(made_up / "test_labels.csv")
    copy = put(tmp_path / "copy" / "inner" / "test.json")
    old = put(tmp_path / COMPETITION / "test.json")
    new = put(tmp_path / "competitions" / COMPETITION / "test.json")
    put(tmp_path / "another-dataset" / "train.json")
    assert input_folders(tmp_path) == [new, old, copy, made_up]


@pytest.mark.parametrize("mount", [COMPETITION, f"competitions/{COMPETITION}"])
def test_either_mount_alone_is_found_once(tmp_path, mount):
    assert input_folders(tmp_path) == []
    assert [put(tmp_path / mount / "test.json")] == input_folders(tmp_path)


def test_outside_kaggle_there_are_no_input_folders(tmp_path):
    assert input_folders(tmp_path / "nowhere") == []


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without essays: an empty working folder, and nothing in `input`, which stands for /kaggle/input."""
    monkeypatch.setattr(kaggle, "INPUT", tmp_path / "input")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_places_are_searched_in_the_documented_order(machine, monkeypatch):
    assert find_data_folder() is None
    put(machine / "data" / "test.json")
    assert find_data_folder() == (Path("data"), "your own copy")
    attached = put(machine / "input" / "a-copy" / "test.json")
    assert find_data_folder() == (attached, "attached on Kaggle, not the competition's data")
    mount = put(machine / "input" / COMPETITION / "test.json")
    assert find_data_folder() == (mount, "the competition's data")
    named = put(machine / "named" / "test.json")
    monkeypatch.setenv(DATA_VARIABLE, str(named))
    assert find_data_folder() == (named, f"from {DATA_VARIABLE}")
    asked = put(machine / "asked" / "test.json")
    assert find_data_folder(asked) == (asked, "as asked")


def test_a_named_folder_without_essays_is_an_error(machine):
    put(machine / "data" / "test.json")
    with pytest.raises(KitError, match=r"elsewhere: no test.json in this folder \(as asked\)"):
        find_data_folder(machine / "elsewhere")


@pytest.mark.parametrize("mount", [COMPETITION, f"competitions/{COMPETITION}"])
def test_the_competitions_data_is_taken_in_a_rerun_though_made_up_essays_are_attached(
    machine, mount, monkeypatch, capsys
):
    monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")
    write_sample(machine / "input" / "a-demo", n_documents=10, seed=0)
    folder = put(machine / "input" / mount / "test.json")
    assert data_folder(out=machine / "out") == folder
    assert capsys.readouterr().out == f"Essays from {folder} (the competition's data)\n"


@pytest.mark.parametrize("attached", [True, False])
def test_made_up_essays_are_refused_in_a_rerun(machine, attached, monkeypatch):
    monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")
    if attached:
        write_sample(machine / "input" / "a-demo", n_documents=10, seed=0)
    with pytest.raises(KitError, match=f"without the competition's essays .* attach the competition {COMPETITION}"):
        data_folder(out=machine / "out")
    assert not (machine / "out").exists()


@pytest.mark.parametrize("by_variable", [True, False])
def test_made_up_essays_are_refused_in_a_rerun_though_they_are_named(machine, by_variable, monkeypatch):
    write_sample(machine / "essays", n_documents=10, seed=0)
    if by_variable:
        monkeypatch.setenv(DATA_VARIABLE, str(machine / "essays"))
    explicit = None if by_variable else machine / "essays"
    assert find_data_folder(explicit)
    monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")
    with pytest.raises(KitError, match=f"made-up essays cannot be submitted; attach the competition {COMPETITION}"):
        find_data_folder(explicit)


def test_made_up_essays_are_written_once_if_there_are_no_others(machine, capsys):
    folder = data_folder(out=machine / "out", n_documents=10, seed=3)
    written = (folder / "test.json").stat().st_mtime_ns
    assert data_folder(out=machine / "out", n_documents=10, seed=3) == folder
    assert (folder / "test.json").stat().st_mtime_ns == written
    assert capsys.readouterr().out.count(f"Made-up essays in {folder}") == 2


def test_an_explicit_path_is_used_everywhere(tmp_path, monkeypatch):
    for _ in range(2):
        assert output_folder(str(tmp_path)) == tmp_path
        assert submission_file(tmp_path / "mine.csv") == tmp_path / "mine.csv"
        monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")


@pytest.mark.parametrize("run_type", ["Interactive", "Batch"])
def test_on_kaggle_results_go_to_the_working_folder(monkeypatch, run_type):
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", run_type)
    assert output_folder() == WORKING
    assert submission_file() == WORKING / "submission.csv"


@pytest.mark.parametrize("inside", [".", "notebooks"])
def test_in_a_checkout_results_go_to_its_own_folders_from_notebooks_too(tmp_path, monkeypatch, inside):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / inside)
    assert output_folder() == tmp_path / "outputs"
    assert submission_file() == tmp_path / "submissions" / "submission.csv"


def trained(run: Path) -> Path:
    put(run / "tagger" / "decision.json")
    return run


def test_ones_own_runs_come_before_attached_runs(tmp_path):
    out, attached = tmp_path / "out", tmp_path / "attached"
    theirs = trained(attached / "kernel" / "runs" / "sha_rnn")
    assert run_folders(out, attached=attached) == [theirs]
    mine = [trained(out / "runs" / name) for name in ("mobilebert", "sha_rnn")]
    put(out / "runs" / "unfinished" / "run.json")
    put(out / "runs" / "language_model" / "model" / "config.json")
    assert run_folders(out, attached=attached) == mine


def test_runs_of_the_demo_are_not_averaged_with_real_runs(tmp_path):
    """The demo writes to outputs/demo, its runs to outputs/demo/runs; a real run lies in outputs/runs."""
    trained(tmp_path / "demo" / "runs" / "sha_rnn")
    trained(tmp_path / "runs" / "older" / "sha_rnn")
    mine = trained(tmp_path / "runs" / "mobilebert")
    assert run_folders(tmp_path, attached=tmp_path / "nothing") == [mine]


def test_attached_runs_are_found_at_any_depth(tmp_path):
    """A notebook's output has them in runs/, a data set of `kaggle build` at its top."""
    notebook = trained(tmp_path / "notebooks" / "me" / "02-train" / "runs" / "sha_rnn")
    dataset = trained(tmp_path / "datasets" / "me" / "my-runs" / "mobilebert")
    assert run_folders(tmp_path / "out", attached=tmp_path) == runs_below(tmp_path) == [dataset, notebook]


def test_a_cross_validated_run_is_one_folder(tmp_path):
    put(tmp_path / "runs" / "sha_rnn" / "folds.json")
    for k in range(3):
        trained(tmp_path / "runs" / "sha_rnn" / f"fold_{k}")
    alone = trained(tmp_path / "runs" / "alone")
    assert run_folders(tmp_path, attached=tmp_path) == [alone, tmp_path / "runs" / "sha_rnn"]


def test_without_a_trained_run_the_error_names_both_places(tmp_path):
    put(tmp_path / "out" / "runs" / "unfinished" / "checkpoint" / "position.json")
    with pytest.raises(KitError) as error:
        run_folders(tmp_path / "out", attached=tmp_path / "attached")
    assert str(tmp_path / "out" / "runs") in str(error.value)
    assert str(tmp_path / "attached") in str(error.value)


def test_training_data_is_that_of_the_manifest_and_unknown_for_an_exported_run(cross_validated, documents, tmp_path):
    run, _ = cross_validated(0)
    assert training_data(run) == training_data(run / "fold_1") == (len(documents), fingerprint(documents))
    assert training_data(trained(tmp_path / "exported")) is None


def test_training_documents_are_read_only_if_all_runs_were_trained_on_them(cross_validated, documents, tmp_path):
    runs = [cross_validated(seed)[0] for seed in (0, 1)]
    assert training_documents(tmp_path, runs) == []
    write_documents(tmp_path / "train.json", documents)
    assert training_documents(tmp_path, runs) == documents
    assert training_documents(tmp_path, [*runs, trained(tmp_path / "exported")]) == []
    write_documents(tmp_path / "train.json", documents[1:])
    assert training_documents(tmp_path, runs) == []


@pytest.mark.parametrize("other", ["[]", '["model_type", "mobilebert"]', "not JSON", "", '"mobilebert"', "[" * 100_000])
def test_any_attached_config_json_is_passed_over_in_the_search_for_weights(tmp_path, other):
    """Other data sets may use the file name config.json for anything."""
    put(tmp_path / "a" / "config.json")
    (tmp_path / "a" / "config.json").write_text(other)
    put(tmp_path / "b" / "config.json")
    (tmp_path / "b" / "config.json").write_bytes(b"\xff\xfe binary")
    (tmp_path / "c" / "config.json").mkdir(parents=True)
    assert attached_weights(tmp_path) is None
    for name, model_type in (("d", "bert"), ("e", "mobilebert")):
        put(tmp_path / name / "config.json")
        (tmp_path / name / "config.json").write_text(json.dumps({"model_type": model_type}))
    assert attached_weights(tmp_path) == tmp_path / "e"
    assert attached_weights(tmp_path / "nowhere") is None


def test_the_latest_attached_run_is_copied_to_be_resumed_and_does_not_change(tmp_path):
    for place, age, text in (("a", 100, "old"), ("b", 10, "new")):
        folder = tmp_path / "input" / place / "runs" / "sha_rnn"
        (folder / "fold_0").mkdir(parents=True)
        (folder / "folds.json").write_text("{}")
        (folder / "fold_0" / "history.json").write_text(text)
        for path in (folder / "folds.json", folder / "fold_0" / "history.json", folder / "fold_0"):
            os.utime(path, (10_000 - age, 10_000 - age))
        folder.joinpath("folds.json").chmod(0o444)
    run = tmp_path / "working" / "runs" / "sha_rnn"
    assert copy_attached_run(run, attached=tmp_path / "input") == run
    assert (run / "fold_0" / "history.json").read_text() == "new"
    (run / "folds.json").write_text("the copy can be written")
    assert copy_attached_run(run, attached=tmp_path / "input") == run
    assert (run / "folds.json").read_text() == "the copy can be written"


def test_without_an_attached_run_nothing_is_copied(tmp_path):
    assert copy_attached_run(tmp_path / "runs" / "sha_rnn", attached=tmp_path / "none") == tmp_path / "runs" / "sha_rnn"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("value", "expected"), [(None, False), ("", False), ("1", True)])
def test_a_competition_rerun_is_recognised_by_its_variable(monkeypatch, value, expected):
    monkeypatch.delenv("KAGGLE_IS_COMPETITION_RERUN", raising=False)
    if value is not None:
        monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", value)
    assert in_rerun() is expected


@pytest.fixture
def container(monkeypatch):
    """A function that makes this a Kaggle session of a kind, some hours after the start of its container."""

    def begin(run_type: str, hours: float, *, rerun: bool = False) -> None:
        monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", run_type)
        if rerun:
            monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")
        own = psutil.Process

        class Process:
            def __init__(self, pid: int | None = None):
                self.pid = pid

            def create_time(self) -> float:
                return time.time() - hours * HOUR if self.pid == 1 else own().create_time()

        monkeypatch.setattr(kaggle.psutil, "Process", Process)

    return begin


@pytest.mark.parametrize(
    ("run_type", "rerun", "hours", "left"),
    [
        ("Batch", False, 0.5, 8.5),
        ("Batch", True, 2, 7),
        ("Interactive", False, 2, 10),
        ("Interactive", True, 2, 7),
    ],
)
def test_kaggles_limit_counts_from_the_containers_start(container, run_type, rerun, hours, left):
    container(run_type, hours, rerun=rerun)
    assert seconds_left() == pytest.approx(left * HOUR, abs=5)
    assert deadline_in() - time.monotonic() == pytest.approx(left * HOUR - RESERVE, abs=5)


def test_a_first_process_older_than_any_container_is_the_hosts(container):
    container("Batch", 400)
    age = time.time() - psutil.Process(os.getpid()).create_time()
    assert seconds_left() == pytest.approx(9 * HOUR - age, abs=5)


def test_this_machines_first_process_has_an_age(container, monkeypatch):
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    assert 0 < seconds_left() < 9 * HOUR


def test_outside_kaggle_there_is_no_limit(container):
    assert seconds_left() is None
    assert deadline_in() == math.inf


def test_minutes_count_from_now_also_on_kaggle(container):
    for _ in range(2):
        assert deadline_in(2) - time.monotonic() == pytest.approx(120, abs=1)
        container("Batch", 8.9)


@pytest.mark.parametrize("minutes", [0, -1, math.nan])
def test_minutes_that_are_not_above_0_are_named_in_the_error(minutes):
    with pytest.raises(KitError, match=f"minutes is {minutes}; expected more than 0"):
        deadline_in(minutes)


def test_the_report_needs_no_function_that_macos_or_windows_lack(monkeypatch):
    monkeypatch.setattr(kaggle, "os", SimpleNamespace(environ=os.environ))
    report = environment_report()
    assert f"{psutil.cpu_count()} CPU cores" in report and "GiB" in report
