import json
from pathlib import Path

import pytest

from pii_kit.kaggle.build import PLACEHOLDER, find_problems, is_owner

ROOT = Path(__file__).parents[2]
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
        ([], "owner", "not/a name", "expected a user's name"),
        ([], "notebooks", [], "expected a list of at least one notebook"),
        ([], "runs", {}, "expected a list"),
        (["package"], "slug", "short", "expected small letters, digits and single hyphens of 6 to 50 characters"),
        (["package"], "title", "x" * 51, "expected text of 6 to 50 characters"),
        (["package"], "wheels", "Faker", "expected a list"),
        (["notebooks", 0], "slug", "pii", "expected small letters, digits and single hyphens of 5 characters or more"),
        (["notebooks", 0], "slug", "PII-kit", "expected small letters"),
        (["notebooks", 0], "internet", "false", "expected true or false"),
        (["notebooks", 0], "internet", 0, "expected true or false"),
        (["notebooks", 0], "accelerator", "NvidiaTeslaP100", 'expected null or "NvidiaTeslaT4"'),
        (["notebooks", 0], "file", "../notebooks/01_eda.ipynb", "expected a path of a notebook below"),
        (["notebooks", 0], "datasets", ["a b"], "each of it a slug of this file, or somebody else's as OWNER/SLUG"),
        (["notebooks", 0], "models", ["google/bert"], "each of it OWNER/MODEL/FRAMEWORK/VARIATION/VERSION"),
    ],
)
def test_a_value_that_kaggle_would_not_take_is_named_with_what_was_expected(where, key, value, expected, content):
    entry = content
    for step in where:
        entry = entry[step]
    entry[key] = value
    (problem,) = problems_of(content)
    field = "notebooks[0]." if where[1:] else "package." if where else ""
    assert problem.startswith(f"{field}{key}: ")
    assert expected in problem


@pytest.mark.parametrize("where", [[], ["package"], ["notebooks", 2]])
def test_unknown_keys_are_named_at_every_level(where, content):
    entry = content
    for step in where:
        entry = entry[step]
    entry["enable_internet"] = False
    (problem,) = problems_of(content)
    assert "enable_internet: unknown; expected " in problem


@pytest.mark.parametrize("key", ["internet", "accelerator", "file"])
def test_nothing_of_a_notebook_is_taken_for_granted(key, content):
    del content["notebooks"][1][key]
    assert problems_of(content) == [f"notebooks[1].{key}: missing"]


def test_a_title_must_make_its_slug(content):
    content["notebooks"][1]["title"] = "PII kit 02 Train: SHA RNNs"
    (problem,) = problems_of(content)
    assert problem.startswith("notebooks[1].title:")
    assert "'pii-kit-02-train-sha-rnns', not 'pii-kit-02-train-sha-rnn'" in problem


def test_sources_must_be_described_and_stand_before_what_reads_them(content):
    content["notebooks"][0] |= {"datasets": ["pii-kit-packages"], "kernels": ["pii-kit-02-train-sha-rnn"]}
    assert problems_of(content) == [
        "notebooks[0].datasets: 'pii-kit-packages' is not in this file; expected pii-kit-package or OWNER/SLUG",
        "notebooks[0].kernels: 'pii-kit-02-train-sha-rnn' is no notebook that stands before this one, nor OWNER/SLUG",
    ]


def test_the_submitted_notebook_has_no_internet_and_is_alone(content):
    content["notebooks"][2]["submits"] = True
    assert problems_of(content) == [
        "notebooks[2].internet: true; expected false, for this notebook is submitted",
        "notebooks[3].submits: true once before; one notebook is submitted",
    ]


def test_equal_slugs_and_run_folders_of_equal_names_would_lie_on_each_other(content):
    content["runs"] = [{**RUNS, "folders": ["a/sha_rnn", "b/sha_rnn"]}, RUNS]
    content["notebooks"][1] = {**content["notebooks"][0]}
    content["notebooks"][3]["kernels"] = content["notebooks"][4]["kernels"] = []
    assert problems_of(content) == [
        "runs[1].slug: 'pii-kit-runs' is there before",
        "notebooks[1].slug: 'pii-kit-01-eda' is there before",
        "runs[0].folders: 'sha_rnn' is there twice; expected names that differ",
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
def test_a_notebook_must_be_there_and_without_outputs(text, expected, content, tmp_path):
    content["notebooks"] = [{**content["notebooks"][0], "file": "mine.ipynb"}]
    if text is not None:
        (tmp_path / "mine.ipynb").write_text(text)
    (problem,) = find_problems(content, tmp_path)
    assert problem.startswith("notebooks[0].file: 'mine.ipynb'")
    assert expected in problem


def test_the_placeholder_is_no_owner():
    assert is_owner("Some_body-1")
    assert not any(map(is_owner, (PLACEHOLDER, "", "a b", None)))
