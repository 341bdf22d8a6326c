import json
import re
from pathlib import Path

import pytest

from pii_kit.errors import KitError
from pii_kit.kaggle import COMPETITION, WORKING, in_rerun, input_folders, output_folder, run_folders, submission_file


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


METADATA = json.loads((Path(__file__).parents[1] / "kaggle_metadata.json").read_text())
ACCELERATORS = (None, "NvidiaTeslaT4", "NvidiaL4")


def slugify(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def test_the_metadata_names_the_competition_and_leaves_the_owner_to_its_user():
    assert METADATA["competition"] == COMPETITION
    assert METADATA["owner"] == "INSERT_KAGGLE_USERNAME"
    assert 6 <= len(METADATA["package"]["title"]) <= 50
    assert slugify(METADATA["package"]["title"]) == METADATA["package"]["slug"]


def test_every_notebook_has_one_entry_in_order():
    root = Path(__file__).parents[1]
    files = [entry["file"] for entry in METADATA["notebooks"]]
    assert files == sorted(str(path.relative_to(root)) for path in (root / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("entry", METADATA["notebooks"], ids=lambda entry: entry["slug"])
def test_an_entry_is_whole_and_what_it_names_exists(entry):
    fields = {"slug", "title", "file", "accelerator", "internet", "datasets", "models", "kernels"}
    assert set(entry) == fields
    assert slugify(entry["title"]) == entry["slug"] and len(entry["slug"]) >= 5
    assert entry["accelerator"] in ACCELERATORS
    assert isinstance(entry["internet"], bool)
    assert METADATA["package"]["slug"] in entry["datasets"]
    earlier = [other["slug"] for other in METADATA["notebooks"] if other["file"] < entry["file"]]
    assert set(entry["kernels"]) <= set(earlier)


def test_inference_runs_without_internet_on_what_was_trained():
    (inference,) = [entry for entry in METADATA["notebooks"] if "inference" in entry["file"]]
    trained = [entry["slug"] for entry in METADATA["notebooks"] if "train" in entry["file"]]
    assert inference["internet"] is False
    assert inference["kernels"] == trained


@pytest.mark.parametrize(("value", "expected"), [(None, False), ("", False), ("1", True)])
def test_a_rerun_on_the_hidden_test_is_told_by_its_variable(monkeypatch, value, expected):
    monkeypatch.delenv("KAGGLE_IS_COMPETITION_RERUN", raising=False)
    if value is not None:
        monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", value)
    assert in_rerun() is expected
