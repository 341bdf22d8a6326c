import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from pii_kit import __version__
from pii_kit.files import KitError
from pii_kit.kaggle import COMPETITION
from pii_kit.kaggle import build as kaggle_build
from pii_kit.kaggle.build import (
    PLACEHOLDER,
    SCHEMA,
    build_kit,
    build_wheel,
    download_wheels,
    find_problems,
    is_owner,
    read_description,
)

ROOT = Path(__file__).parents[2]
DESCRIPTION = read_description(ROOT / "kaggle_metadata.json")
RUNS = {"slug": "pii-kit-runs", "title": "PII kit runs", "license": "other", "folders": ["outputs/runs/sha_rnn"]}
OTHERS = {"datasets": ["pii-kit-package", "you/some-data"], "kernels": ["you/some-kernel"]}


@pytest.fixture
def content():
    return json.loads((ROOT / "kaggle_metadata.json").read_text())


def problems_of(content) -> list[str]:
    return find_problems(content, ROOT)


def test_what_is_right_has_no_problems(content):
    content["runs"] = [RUNS]
    content["notebooks"][3] |= {
        "datasets": ["pii-kit-package", "pii-kit-runs"],
        "models": ["google/bert/pyTorch/base/1"],
    }
    content["notebooks"][4] |= OTHERS
    assert problems_of(content) == []


@pytest.mark.parametrize(
    "where, key, value, expected",
    [
        ([], "competition", "pii-detection", 'expected "pii-detection-removal-from-educational-data"'),
        ([], "owner", "not/a name", "expected the name in the address of your Kaggle profile"),
        ([], "notebooks", [], "expected a list of at least one notebook"),
        ([], "runs", {}, "expected a list"),
        (["package"], "slug", "short", "expected small letters, digits and single hyphens, 6 to 50 characters"),
        (["package"], "title", "x" * 51, "expected text of 6 to 50 characters"),
        (["package"], "wheels", "Faker", "expected a list of the names of distributions"),
        (["notebooks", 0], "slug", "pii", "expected small letters, digits and single hyphens, at least 5 characters"),
        (["notebooks", 0], "slug", "PII-kit", "expected small letters"),
        (["notebooks", 0], "internet", "false", "expected true or false"),
        (["notebooks", 0], "internet", 0, "expected true or false"),
        (["notebooks", 0], "accelerator", "NvidiaTeslaP100", 'expected null or "NvidiaTeslaT4" or "NvidiaL4"'),
        (["notebooks", 0], "file", "../notebooks/01_eda.ipynb", "expected the path of a notebook below"),
        (["notebooks", 0], "datasets", "a-b", "expected a list"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(where, key, value, expected, content):
    entry = content
    for step in where:
        entry = entry[step]
    entry[key] = value
    (problem,) = problems_of(content)
    field = "notebooks[0]." if where[1:] else "package." if where else ""
    assert problem.startswith(f"{field}{key}: ")
    assert expected in problem


def test_a_wrong_item_of_a_list_is_named_by_its_position(content):
    content["notebooks"][0]["datasets"] = ["pii-kit-package", "a b"]
    content["notebooks"][4]["models"] = ["google/bert"]
    content["runs"] = [{**RUNS, "folders": ["/outputs/runs"]}]
    assert problems_of(content) == [
        'runs[0].folders[0]: "/outputs/runs"; expected a path below the folder of this file',
        'notebooks[0].datasets[1]: "a b"; expected a slug of this file, or OWNER/SLUG for somebody else\'s',
        'notebooks[4].models[0]: "google/bert"; expected OWNER/MODEL/FRAMEWORK/VARIATION/VERSION',
    ]


@pytest.mark.parametrize("where", [[], ["package"], ["notebooks", 2]])
def test_unknown_keys_are_named_at_every_level(where, content):
    entry = content
    for step in where:
        entry = entry[step]
    entry["enable_internet"] = False
    (problem,) = problems_of(content)
    assert "enable_internet: unknown; expected " in problem


@pytest.mark.parametrize("key", ["internet", "accelerator", "file"])
def test_a_missing_field_of_a_notebook_has_no_default(key, content):
    del content["notebooks"][1][key]
    assert problems_of(content) == [f"notebooks[1].{key}: missing"]


def test_a_title_must_make_its_slug(content):
    content["notebooks"][1]["title"] = "PII kit 02 Train: SHA RNNs"
    (problem,) = problems_of(content)
    assert problem.startswith("notebooks[1].title:")
    assert (
        "makes the slug 'pii-kit-02-train-sha-rnns'; expected a title that makes 'pii-kit-02-train-sha-rnn'" in problem
    )


def test_sources_must_be_in_the_file_before_the_notebook_that_reads_them(content):
    later = "pii-kit-02-train-sha-rnn"
    content["notebooks"][0] |= {"datasets": ["pii-kit-packages"], "kernels": [later]}
    assert problems_of(content) == [
        "notebooks[0].datasets: 'pii-kit-packages' is not in this file; expected pii-kit-package or OWNER/SLUG",
        f"notebooks[0].kernels: '{later}' is no earlier notebook of this file; expected one or OWNER/SLUG",
    ]


def test_only_one_notebook_submits_and_it_has_no_internet(content):
    content["notebooks"][2]["submits"] = True
    assert problems_of(content) == [
        "notebooks[2].internet: true; expected false, because this notebook is submitted",
        "notebooks[3].submits: true; expected false, an earlier notebook submits",
    ]


def test_equal_slugs_and_run_folders_of_equal_names_are_refused(content):
    content["runs"] = [{**RUNS, "folders": ["a/sha_rnn", "b/sha_rnn"]}, RUNS]
    content["notebooks"][1] = {**content["notebooks"][0]}
    content["notebooks"][3]["kernels"] = content["notebooks"][4]["kernels"] = []
    assert problems_of(content) == [
        "runs[1].slug: 'pii-kit-runs' is used twice; expected a different one",
        "notebooks[1].slug: 'pii-kit-01-eda' is used twice; expected a different one",
        "runs[0].folders: two folders are named 'sha_rnn'; expected different names",
    ]


@pytest.mark.parametrize(
    "text, expected",
    [
        (None, "does not exist in"),
        ("print(1)", "is not a notebook"),
        ("[]", "is not a notebook"),
        ('{"cells": [{"cell_type": "code", "outputs": [1], "execution_count": null}]}', "has outputs in 1 cells"),
        ('{"cells": [{"cell_type": "code", "outputs": [], "execution_count": 7}]}', "has outputs in 1 cells"),
    ],
)
def test_a_notebook_must_exist_and_have_no_outputs(text, expected, content, tmp_path):
    content["notebooks"] = [{**content["notebooks"][0], "file": "mine.ipynb"}]
    if text is not None:
        (tmp_path / "mine.ipynb").write_text(text)
    (problem,) = find_problems(content, tmp_path)
    assert problem.startswith("notebooks[0].file: 'mine.ipynb'")
    assert expected in problem


def test_the_placeholder_is_no_owner():
    assert is_owner("Some_body-1")
    assert not any(map(is_owner, (PLACEHOLDER, "", "a b", "-a", "a\n")))


def test_the_description_of_the_kit_is_valid_and_its_owner_is_the_placeholder():
    assert SCHEMA["properties"]["competition"]["enum"] == [DESCRIPTION.competition] == [COMPETITION]
    assert DESCRIPTION.owner is None
    assert [dataset.get("wheels") for dataset in DESCRIPTION.datasets] == [["Faker"]]


def test_every_notebook_has_one_entry_in_order_and_reads_the_package():
    files = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert [notebook["file"] for notebook in DESCRIPTION.notebooks] == files
    package = DESCRIPTION.datasets[0]["slug"]
    assert all(package in notebook["datasets"] for notebook in DESCRIPTION.notebooks)


def test_inference_alone_is_submitted_and_reads_what_was_trained():
    (inference,) = [notebook for notebook in DESCRIPTION.notebooks if notebook.get("submits")]
    assert inference["file"] == "notebooks/04_inference.ipynb"
    assert inference["internet"] is False
    trained = [notebook["slug"] for notebook in DESCRIPTION.notebooks if "_train_" in notebook["file"]]
    assert inference["kernels"] == trained


def test_a_name_in_place_of_the_placeholder_is_the_owner(tmp_path):
    content = json.loads((ROOT / "kaggle_metadata.json").read_text())
    content |= {"owner": "writer", "notebooks": content["notebooks"][:1]}
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_eda.ipynb").write_text((ROOT / "notebooks" / "01_eda.ipynb").read_text())
    (tmp_path / "kaggle_metadata.json").write_text(json.dumps(content))
    described = read_description(tmp_path / "kaggle_metadata.json")
    assert described.owner == "writer"
    assert described.root == tmp_path


def test_each_problem_is_one_line_with_file_and_field(tmp_path):
    path = tmp_path / "kaggle_metadata.json"
    content = json.loads((ROOT / "kaggle_metadata.json").read_text())
    content["notebooks"][3]["accelerator"] = "NvidiaTeslaT5"
    content["package"]["licence"] = content["package"].pop("license")
    path.write_text(json.dumps(content))
    with pytest.raises(KitError) as error:
        read_description(path)
    first, second, third = str(error.value).splitlines()
    assert first.startswith(f"{path}: package.licence: unknown; expected slug, title, license")
    assert second == f"{path}: package.license: missing"
    assert third.startswith(f'{path}: notebooks[3].accelerator: "NvidiaTeslaT5"; expected null or "NvidiaTeslaT4"')


@pytest.mark.parametrize("text, expected", [(None, "no such file"), ("{", "not JSON"), ("[]", "expected an object")])
def test_a_file_that_is_no_description_is_named(text, expected, tmp_path):
    if text is not None:
        (tmp_path / "d.json").write_text(text)
    with pytest.raises(KitError, match=f"d.json: {expected}"):
        read_description(tmp_path / "d.json")


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def without_wheels(monkeypatch):
    monkeypatch.setattr(kaggle_build, "build_wheel", lambda root, into: (into / "kit.whl").write_text("wheel"))
    monkeypatch.setattr(kaggle_build, "download_wheels", lambda names, pins, into: None)


def runs_kit(tmp_path, folders) -> Path:
    description = replace(DESCRIPTION, datasets=[{**RUNS, "folders": folders}])
    build_kit(description, tmp_path / "kit", owner="writer")
    return tmp_path / "kit" / "datasets" / "pii-kit-runs"


def test_a_kit_has_a_folder_for_each_notebook_and_the_package(built_kit):
    assert {path.name for path in built_kit.iterdir()} == {"kernels", "datasets"}
    slugs = {notebook["slug"] for notebook in DESCRIPTION.notebooks}
    assert {path.name for path in (built_kit / "kernels").iterdir()} == slugs
    assert files_of(built_kit / "datasets") == {
        f"pii-kit-package/{name}"
        for name in (
            "dataset-metadata.json",
            f"pii_kit-{__version__}-py3-none-any.whl",
            "faker-40.54.0-py3-none-any.whl",
        )
    }


def test_a_notebook_is_unchanged_and_all_settings_are_written(built_kit):
    folder = built_kit / "kernels" / "pii-kit-04-inference"
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


def test_a_data_set_is_described_and_private(built_kit):
    folder = built_kit / "datasets" / "pii-kit-package"
    metadata = json.loads((folder / "dataset-metadata.json").read_text())
    assert metadata.pop("description").startswith("pii_kit as a wheel")
    assert metadata == {
        "id": "writer/pii-kit-package",
        "title": "PII kit package",
        "licenses": [{"name": "other"}],
    }


def test_a_notebook_without_accelerator_asks_for_none(built_kit):
    metadata = json.loads((built_kit / "kernels" / "pii-kit-01-eda" / "kernel-metadata.json").read_text())
    assert metadata["machine_shape"] is None
    assert metadata["enable_internet"] is False


def test_a_run_is_sent_with_results_and_without_checkpoints_and_pages(cross_validated, tmp_path, without_wheels):
    run, _ = cross_validated(1)
    folder = runs_kit(tmp_path, [str(run)])
    files = files_of(folder / run.name)
    assert {"folds.json", "decision.json", "result.json", "fold_2/run.json", "fold_2/pieces.json"} <= files
    assert {"fold_0/tagger/model.safetensors", "fold_0/tagger/out_of_fold.safetensors"} <= files
    assert not any("checkpoint" in file or file.endswith((".html", ".csv")) for file in files)


def test_other_files_of_a_run_folder_are_left_out(cross_validated, tmp_path, without_wheels):
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


def test_an_earlier_kit_is_replaced_but_no_other_folder(tmp_path, without_wheels):
    for _ in range(2):
        build_kit(DESCRIPTION, tmp_path / "kit", owner="writer")
    (tmp_path / "kit" / "thesis.txt").write_text("mine")
    with pytest.raises(KitError, match="kit: holds other files than a kit"):
        build_kit(DESCRIPTION, tmp_path / "kit", owner="writer")
    assert (tmp_path / "kit" / "thesis.txt").read_text() == "mine"


def test_the_wheel_holds_every_file_of_the_package(built_kit):
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "pii_kit"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = {file for file in listed.stdout.splitlines() if (ROOT / file).exists()}
    assert "pii_kit/kaggle/schema.json" in files
    (wheel,) = (built_kit / "datasets" / "pii-kit-package").glob("pii_kit-*.whl")
    packed = zipfile.ZipFile(wheel).namelist()
    assert files == {name for name in packed if not name.startswith("pii_kit-")}


def test_the_wheels_install_and_import_without_a_network(built_kit, tmp_path):
    wheels = sorted(map(str, (built_kit / "datasets" / "pii-kit-package").glob("*.whl")))
    assert len(wheels) == 2
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", str(tmp_path)]
    subprocess.run([*install, *wheels], check=True)
    code = "import pii_kit.labels, faker; print(pii_kit.__file__, faker.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.count(str(tmp_path)) == 2, done.stderr


def test_equal_sources_give_equal_wheels_and_the_checkout_stays_as_it_was(built_kit, tmp_path):
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "pii_kit", checkout / "pii_kit", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, checkout / name)
    (checkout / "pii_kit" / "files.py").chmod(0o600)
    (checkout / "pii_kit" / "kaggle" / "__pycache__").mkdir(exist_ok=True)
    (checkout / "pii_kit" / "kaggle" / "__pycache__" / "build.cpython-311.pyc").touch()
    (checkout / "build" / "lib" / "pii_kit").mkdir(parents=True)
    (checkout / "build" / "lib" / "pii_kit" / "long_gone.py").touch()
    before = sorted(checkout.rglob("*"))
    build_wheel(checkout, tmp_path / "out")
    (wheel,) = (tmp_path / "out").iterdir()
    assert wheel.read_bytes() == (built_kit / "datasets" / "pii-kit-package" / wheel.name).read_bytes()
    assert sorted(checkout.rglob("*")) == before


def test_a_folder_that_is_no_checkout_is_named(tmp_path):
    with pytest.raises(KitError, match=r"not a checkout of the kit: pyproject.toml is missing"):
        build_wheel(tmp_path, tmp_path / "out")


def test_only_pinned_wheels_are_downloaded(tmp_path, wheels_at_hand):
    (tmp_path / "pins.txt").write_text("Faker==40.54.0\nother==1\n")
    download_wheels(["Faker"], tmp_path / "pins.txt", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["faker-40.54.0-py3-none-any.whl"]
    with pytest.raises(KitError, match=r"pins.txt: does not pin tzdata, seven"):
        download_wheels(["tzdata", "Faker", "seven"], tmp_path / "pins.txt", tmp_path / "out")


def test_an_error_of_pip_is_one_line(tmp_path, wheels_at_hand):
    (tmp_path / "pins.txt").write_text("Faker==1.0\n")
    with pytest.raises(KitError, match=r"^pip download: ERROR: .*Faker==1.0[^\n]*$"):
        download_wheels(["Faker"], tmp_path / "pins.txt", tmp_path / "out")


def test_a_wheel_for_one_python_is_refused(tmp_path, monkeypatch, built_kit):
    (faker,) = (built_kit / "datasets" / "pii-kit-package").glob("faker-*.whl")
    links = tmp_path / "links"
    links.mkdir()
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    shutil.copyfile(faker, links / faker.name.replace("py3-none-any", f"{tag}-none-any"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    (tmp_path / "pins.txt").write_text("Faker==40.54.0\n")
    with pytest.raises(KitError, match="made for one Python"):
        download_wheels(["Faker"], tmp_path / "pins.txt", tmp_path / "out")
