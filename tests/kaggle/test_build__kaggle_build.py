import json
from dataclasses import replace
from pathlib import Path

import pytest

from pii_kit.files import KitError
from pii_kit.kaggle import build as kaggle_build
from pii_kit.kaggle import run_folders
from pii_kit.kaggle.build import Runs, build_kit, content_mark, dataset_folder, kernel_folder, read_description

ROOT = Path(__file__).parents[2]
DESCRIPTION = read_description(ROOT / "kaggle_metadata.json")


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def without_wheels(monkeypatch):
    monkeypatch.setattr(kaggle_build, "build_wheel", lambda root, into: (into / "kit.whl").write_text("wheel"))
    monkeypatch.setattr(kaggle_build, "download_wheels", lambda names, pins, into: None)


def runs_kit(tmp_path, folders) -> Path:
    runs = Runs(slug="pii-kit-runs", title="PII kit runs", license="other", folders=tuple(folders))
    build_kit(replace(DESCRIPTION, root=ROOT, runs=(runs,)), tmp_path / "kit", owner="writer")
    return dataset_folder(tmp_path / "kit", "pii-kit-runs")


def test_a_kit_has_a_folder_for_each_notebook_and_the_package(built_kit):
    assert {path.name for path in built_kit.iterdir()} == {"kernels", "datasets"}
    slugs = {notebook.slug for notebook in DESCRIPTION.notebooks}
    assert {path.name for path in (built_kit / "kernels").iterdir()} == slugs
    assert files_of(built_kit / "datasets") == {
        f"pii-kit-package/{name}"
        for name in ("dataset-metadata.json", "pii_kit-0.1.0-py3-none-any.whl", "faker-40.54.0-py3-none-any.whl")
    }


def test_a_notebook_travels_unchanged_with_all_that_the_client_must_be_told(built_kit):
    folder = kernel_folder(built_kit, "pii-kit-04-inference")
    assert (folder / "04_inference.ipynb").read_bytes() == (ROOT / "notebooks" / "04_inference.ipynb").read_bytes()
    assert json.loads((folder / "kernel-metadata.json").read_text()) == {
        "id": "writer/pii-kit-04-inference",
        "title": "PII kit 04 Inference",
        "code_file": "04_inference.ipynb",
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_internet": False,
        "machine_shape": "NvidiaTeslaT4",
        "dataset_sources": ["writer/pii-kit-package"],
        "competition_sources": ["pii-detection-removal-from-educational-data"],
        "kernel_sources": ["writer/pii-kit-02-train-sha-rnn", "writer/pii-kit-03-train-mobilebert"],
        "model_sources": [],
    }


def test_a_notebook_without_accelerator_asks_for_none(built_kit):
    metadata = json.loads((kernel_folder(built_kit, "pii-kit-01-eda") / "kernel-metadata.json").read_text())
    assert "machine_shape" not in metadata
    assert metadata["enable_internet"] is False


def test_of_a_run_only_what_predicting_needs_travels(cross_validated, tmp_path, without_wheels):
    run, _ = cross_validated(1)
    folder = runs_kit(tmp_path, [str(run)])
    files = files_of(folder / run.name)
    assert {"folds.json", "decision.json", "result.json", "fold_2/run.json", "fold_2/words.json"} <= files
    assert {"fold_0/tagger/model.safetensors", "fold_0/tagger/out_of_fold.safetensors"} <= files
    assert not any("checkpoint" in file or file.endswith((".html", ".csv")) for file in files)
    assert run_folders(tmp_path / "nowhere", attached=folder) == [folder / run.name]


def test_what_else_lies_in_a_run_folder_stays_at_home(cross_validated, tmp_path, without_wheels):
    fold = cross_validated(1)[0] / "fold_0"
    run = tmp_path / "run"
    (run / "checkpoint").mkdir(parents=True)
    for name in ("tagger/decision.json", "run.json", "checkpoint/position.json", "errors.html", "notes.txt"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("{}")
    assert (fold / "run.json").exists()
    assert files_of(runs_kit(tmp_path, [str(run)]) / "run") == {"tagger/decision.json", "run.json"}


def test_a_folder_without_a_trained_tagger_is_named_and_no_kit_is_left(tmp_path, without_wheels):
    (tmp_path / "run").mkdir()
    with pytest.raises(KitError, match="run: no trained tagger in it"):
        runs_kit(tmp_path, [str(tmp_path / "run")])
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_equal_content_has_an_equal_mark_and_other_content_another(tmp_path, without_wheels, monkeypatch):
    marks = []
    for text in ("wheel", "wheel", "changed"):
        monkeypatch.setattr(kaggle_build, "build_wheel", lambda root, into, text=text: (into / "a").write_text(text))
        build_kit(DESCRIPTION, tmp_path / "kit", owner="writer")
        marks.append(content_mark(dataset_folder(tmp_path / "kit", "pii-kit-package")))
    assert marks[0] == marks[1] != marks[2]


def test_an_earlier_kit_is_replaced_but_no_other_folder(tmp_path, without_wheels):
    for _ in range(2):
        build_kit(DESCRIPTION, tmp_path / "kit", owner="writer")
    (tmp_path / "kit" / "thesis.txt").write_text("mine")
    with pytest.raises(KitError, match="kit: holds other things than a kit"):
        build_kit(DESCRIPTION, tmp_path / "kit", owner="writer")
    assert (tmp_path / "kit" / "thesis.txt").read_text() == "mine"
