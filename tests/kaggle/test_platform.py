import os
from pathlib import Path

import pytest

from pii_kit.files import KitError
from pii_kit.kaggle import (
    COMPETITION,
    WORKING,
    bring_back,
    in_rerun,
    input_folders,
    output_folder,
    run_folders,
    submission_file,
)


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)


def put(path: Path) -> Path:
    """An empty file with the folders above it; gives back its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path.parent


def test_the_competitions_mounts_come_before_any_other_folder_with_a_test_json(tmp_path):
    copy = put(tmp_path / "a-copy" / "inner" / "test.json")
    old = put(tmp_path / COMPETITION / "test.json")
    new = put(tmp_path / "competitions" / COMPETITION / "test.json")
    put(tmp_path / "another-dataset" / "train.json")
    assert input_folders(tmp_path) == [new, old, copy]


@pytest.mark.parametrize("mount", [COMPETITION, f"competitions/{COMPETITION}"])
def test_either_mount_alone_is_found_once(tmp_path, mount):
    assert input_folders(tmp_path) == []
    assert [put(tmp_path / mount / "test.json")] == input_folders(tmp_path)


def test_without_kaggles_root_there_are_no_input_folders(tmp_path):
    assert input_folders(tmp_path / "nowhere") == []


def test_an_explicit_place_wins_everywhere(tmp_path, monkeypatch):
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


def test_runs_of_ones_own_come_before_attached_ones(tmp_path):
    out, attached = tmp_path / "out", tmp_path / "attached"
    put(attached / "kernel" / "outputs" / "sha_rnn" / "tagger" / "decision.json")
    assert run_folders(out, attached=attached) == [attached / "kernel" / "outputs" / "sha_rnn"]
    put(out / "sha_rnn" / "tagger" / "decision.json")
    put(out / "mobilebert" / "tagger" / "decision.json")
    put(out / "unfinished" / "run.json")
    assert run_folders(out, attached=attached) == [out / "mobilebert", out / "sha_rnn"]


def test_a_cross_validated_run_is_one_folder(tmp_path):
    put(tmp_path / "runs" / "sha_rnn" / "folds.json")
    for k in range(3):
        put(tmp_path / "runs" / "sha_rnn" / f"fold_{k}" / "tagger" / "decision.json")
    put(tmp_path / "runs" / "alone" / "tagger" / "decision.json")
    assert run_folders(tmp_path, attached=tmp_path) == [tmp_path / "runs" / "alone", tmp_path / "runs" / "sha_rnn"]


def test_without_a_trained_run_the_error_names_both_places(tmp_path):
    put(tmp_path / "out" / "unfinished" / "checkpoint" / "position.json")
    with pytest.raises(KitError) as error:
        run_folders(tmp_path / "out", attached=tmp_path / "attached")
    assert str(tmp_path / "out") in str(error.value)
    assert str(tmp_path / "attached") in str(error.value)


def test_an_attached_run_is_brought_back_to_go_on_with_and_stays_as_it_is(tmp_path):
    for place, age, text in (("a", 100, "old"), ("b", 10, "new")):
        folder = tmp_path / "input" / place / "runs" / "sha_rnn"
        (folder / "fold_0").mkdir(parents=True)
        (folder / "folds.json").write_text("{}")
        (folder / "fold_0" / "history.json").write_text(text)
        for path in (folder / "folds.json", folder / "fold_0" / "history.json", folder / "fold_0"):
            os.utime(path, (10_000 - age, 10_000 - age))
        folder.joinpath("folds.json").chmod(0o444)
    run = tmp_path / "working" / "runs" / "sha_rnn"
    assert bring_back(run, attached=tmp_path / "input") == run
    assert (run / "fold_0" / "history.json").read_text() == "new"
    (run / "folds.json").write_text("to go on with, it can be written")
    assert bring_back(run, attached=tmp_path / "input") == run
    assert (run / "folds.json").read_text() == "to go on with, it can be written"


def test_where_nothing_is_attached_a_run_begins_anew(tmp_path):
    assert bring_back(tmp_path / "runs" / "sha_rnn", attached=tmp_path / "none") == tmp_path / "runs" / "sha_rnn"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("value", "expected"), [(None, False), ("", False), ("1", True)])
def test_a_rerun_on_the_hidden_test_is_told_by_its_variable(monkeypatch, value, expected):
    monkeypatch.delenv("KAGGLE_IS_COMPETITION_RERUN", raising=False)
    if value is not None:
        monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", value)
    assert in_rerun() is expected
