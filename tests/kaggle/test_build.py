import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pii_kit import __version__
from pii_kit.files import KitError
from pii_kit.kaggle import COMPETITION
from pii_kit.kaggle.build import (
    build_kit,
    build_wheel,
    copy_run,
    download_wheels,
    read_description,
)

ROOT = Path(__file__).parents[2]
DESCRIPTION = read_description(ROOT)
RUNS = {"slug": "pii-kit-runs", "title": "PII kit runs", "license": "other", "folders": ["outputs/runs/sha_rnn"]}


@pytest.fixture
def content():
    return json.loads((ROOT / "kaggle_metadata.json").read_text())


@pytest.fixture
def problems(tmp_path):
    """A function from the content of a description in a checkout to its problems, without the file's name."""
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")

    def find(content) -> list[str]:
        path = tmp_path / "kaggle_metadata.json"
        path.write_text(json.dumps(content))
        try:
            read_description(tmp_path)
        except KitError as error:
            lines = str(error).splitlines()
            assert all(line.startswith(f"{path}: ") for line in lines)
            return [line.removeprefix(f"{path}: ") for line in lines]
        return []

    return find


@pytest.mark.parametrize(
    "where, key, value, expected",
    [
        ([], "runs", [{**RUNS, "folders": ["/outputs/runs"]}], "String should match pattern"),
        ([], "runs", [{**RUNS, "folders": ["a/../../b"]}], "String should match pattern"),
        (["notebooks", 0], "slug", "PII-kit", "title makes the slug 'pii-kit-01-eda'"),
        (["notebooks", 0], "internet", "false", "Input should be a valid boolean"),
        (["notebooks", 0], "accelerator", "NvidiaTeslaP100", "Input should be None, 'NvidiaTeslaT4'"),
        (["notebooks", 0], "file", "../notebooks/01_eda.ipynb", "String should match pattern"),
        (["notebooks", 0], "file", "notebooks/07.ipynb", "not a notebook: FileNotFoundError"),
        (["notebooks", 0], "accelerater", None, "Extra inputs are not permitted"),
        (["notebooks", 3], "internet", True, "internet is true; expected false, because this notebook is submitted"),
    ],
)
def test_a_wrong_value_is_one_line_with_what_was_expected(where, key, value, expected, content, problems):
    entry = content
    for step in where:
        entry = entry[step]
    entry[key] = value
    assert any(expected in line for line in problems(content))


@pytest.mark.parametrize(
    "text, expected",
    [
        ("print(1)", "not a notebook"),
        ('{"cells": [{"outputs": [1], "execution_count": null}]}', "has outputs, which can show essays"),
        ('{"cells": [{"outputs": [], "execution_count": 7}]}', "has outputs, which can show essays"),
    ],
)
def test_a_notebook_must_be_one_without_outputs(text, expected, content, problems, tmp_path):
    (tmp_path / "mine.ipynb").write_text(text)
    content["notebooks"] = [{**content["notebooks"][0], "file": "mine.ipynb"}]
    (problem,) = problems(content)
    assert problem.startswith(f"notebooks.0.file: mine.ipynb: {expected}")


def test_the_description_of_the_kit_fits_its_notebooks():
    assert (DESCRIPTION.competition, DESCRIPTION.owner) == (COMPETITION, None)
    files = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert [notebook.file for notebook in DESCRIPTION.notebooks] == files
    assert all(DESCRIPTION.package.slug in notebook.datasets for notebook in DESCRIPTION.notebooks)
    (inference,) = [notebook for notebook in DESCRIPTION.notebooks if notebook.submits]
    assert (inference.file, inference.internet) == ("notebooks/04_inference.ipynb", False)
    assert inference.kernels == [notebook.slug for notebook in DESCRIPTION.notebooks if "_train_" in notebook.file]
    with_gpu = [notebook for notebook in DESCRIPTION.notebooks if notebook.accelerator and not notebook.kernels]
    assert len(with_gpu) == 2  # as many as Kaggle runs at a time


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_kit_has_a_folder_for_each_notebook_and_the_package(built_kit):
    assert {path.name for path in built_kit.iterdir()} == {"kernels", "datasets"}
    assert {path.name for path in (built_kit / "kernels").iterdir()} == {entry.slug for entry in DESCRIPTION.notebooks}
    wheels = (f"pii_kit-{__version__}-py3-none-any.whl", "faker-40.54.0-py3-none-any.whl")
    names = ("dataset-metadata.json", *wheels)
    assert files_of(built_kit / "datasets") == {f"pii-kit-package/{name}" for name in names}
    metadata = json.loads((built_kit / "datasets" / "pii-kit-package" / "dataset-metadata.json").read_text())
    assert metadata.pop("description").startswith("pii_kit and the wheels")
    assert metadata == {"id": "writer/pii-kit-package", "title": "PII kit package", "licenses": [{"name": "other"}]}
    folder = built_kit / "kernels" / "pii-kit-01-eda"
    assert (folder / "01_eda.ipynb").read_bytes() == (ROOT / "notebooks" / "01_eda.ipynb").read_bytes()
    metadata = json.loads((folder / "kernel-metadata.json").read_text())
    assert (metadata["machine_shape"], metadata["is_private"]) == (None, True)


RUN = ("run.json", "decision.json", "result.json", "fold_0/history.json", "fold_0/out_of_fold.safetensors")
TAGGER = ("config.json", "model.safetensors", "tokenizer.json", "pieces.json", "decision.json")


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "outputs" / "runs" / "sha_rnn"
    others = ("errors.html", "notes.txt", "fold_0/checkpoint.pt", "fold_0/tagger/loot", "fold_0/tagger/a/b")
    for name in (*RUN, *(f"fold_0/tagger/{name}" for name in TAGGER), *others):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    return folder


def test_only_the_known_files_of_a_run_are_sent(run, tmp_path, no_wheels):
    description = DESCRIPTION.model_copy(
        update={"runs": [DESCRIPTION.package.model_copy(update=RUNS)], "notebooks": []}
    )
    build_kit(description, tmp_path, tmp_path / "kit", owner="writer")
    folder = tmp_path / "kit" / "datasets" / "pii-kit-runs"
    assert files_of(folder / "sha_rnn") == {*RUN, *(f"fold_0/tagger/{name}" for name in TAGGER)}
    assert json.loads((folder / "dataset-metadata.json").read_text())["description"].startswith("Taggers trained")


@pytest.mark.parametrize("name", ["fold_0", "fold_0/tagger/tokenizer.json"])
def test_a_link_in_a_run_is_refused(name, run, tmp_path):
    (run / name).rename(tmp_path / "secret")
    (run / name).symlink_to(tmp_path / "secret")
    with pytest.raises(KitError, match=rf"^{run / name}[^\n]*: a link; expected a file$"):
        copy_run(run, tmp_path / "to")


def test_an_earlier_kit_is_replaced_but_no_other_folder(tmp_path, no_wheels):
    for _ in range(2):
        build_kit(DESCRIPTION, ROOT, tmp_path / "kit", owner="writer")
    (tmp_path / "kit" / "thesis.txt").write_text("mine")
    with pytest.raises(KitError, match="kit: holds other files than a kit"):
        build_kit(DESCRIPTION, ROOT, tmp_path / "kit", owner="writer")
    assert (tmp_path / "kit" / "thesis.txt").read_text() == "mine"


def test_the_wheel_holds_every_file_of_the_package(built_kit):
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "pii_kit"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    (wheel,) = (built_kit / "datasets" / "pii-kit-package").glob("pii_kit-*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if not name.startswith("pii_kit-")}
    assert packed == {file for file in listed.stdout.splitlines() if (ROOT / file).exists()}


def test_equal_sources_give_equal_wheels_without_links_and_the_checkout_stays_as_it_was(built_kit, tmp_path):
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "pii_kit", checkout / "pii_kit", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, checkout / name)
    (checkout / "pii_kit" / "files.py").chmod(0o600)
    (checkout / "pii_kit" / "loot.json").symlink_to(ROOT / "LICENSE")
    for left_over in ("pii_kit/__pycache__/x.cpython-311.pyc", "build/lib/pii_kit/long_gone.py"):
        (checkout / left_over).parent.mkdir(parents=True)
        (checkout / left_over).touch()
    before = sorted(checkout.rglob("*"))
    build_wheel(checkout, tmp_path / "out")
    (wheel,) = (tmp_path / "out").iterdir()
    assert wheel.read_bytes() == (built_kit / "datasets" / "pii-kit-package" / wheel.name).read_bytes()
    assert sorted(checkout.rglob("*")) == before


ONE_PYTHON = f"cp{sys.version_info.major}{sys.version_info.minor}"


@pytest.mark.parametrize("tag, pin", [("py3", "40.54.0"), ("py3", "1.0"), (ONE_PYTHON, "40.54.0")])
def test_only_pinned_wheels_that_run_on_every_python_are_taken(tag, pin, built_kit, tmp_path, monkeypatch):
    (faker,) = (built_kit / "datasets" / "pii-kit-package").glob("faker-*.whl")
    (tmp_path / "links").mkdir()
    shutil.copyfile(faker, tmp_path / "links" / f"faker-40.54.0-{tag}-none-any.whl")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    (tmp_path / "pins.txt").write_text(f"Faker=={pin}\nother==1\n")
    if (tag, pin) == ("py3", "40.54.0"):
        download_wheels(["Faker"], tmp_path / "pins.txt", tmp_path / "out")
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["faker-40.54.0-py3-none-any.whl"]
    else:
        with pytest.raises(KitError, match=r"^pip download: ERROR: [^\n]*[Ff]aker[^\n]*$"):
            download_wheels(["Faker"], tmp_path / "pins.txt", tmp_path / "out")
