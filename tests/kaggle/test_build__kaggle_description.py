import json
from pathlib import Path

import pytest

from pii_kit.files import KitError
from pii_kit.kaggle import COMPETITION
from pii_kit.kaggle.build import read_description

ROOT = Path(__file__).parents[2]
DESCRIPTION = read_description(ROOT / "kaggle_metadata.json")


def test_the_kits_own_description_has_nothing_wrong_and_leaves_the_owner_to_its_user():
    assert DESCRIPTION.competition == COMPETITION
    assert DESCRIPTION.owner is None
    assert DESCRIPTION.package.wheels == ("Faker",)
    assert DESCRIPTION.datasets == (DESCRIPTION.package,)


def test_every_notebook_has_one_entry_in_order_and_reads_the_package():
    files = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert [notebook.file for notebook in DESCRIPTION.notebooks] == files
    assert all(DESCRIPTION.package.slug in notebook.datasets for notebook in DESCRIPTION.notebooks)


def test_inference_alone_is_submitted_and_reads_what_was_trained():
    (inference,) = [notebook for notebook in DESCRIPTION.notebooks if notebook.submits]
    assert inference.file == "notebooks/04_inference.ipynb"
    assert inference.internet is False
    assert list(inference.kernels) == [
        notebook.slug for notebook in DESCRIPTION.notebooks if "_train_" in notebook.file
    ]


def test_a_name_in_place_of_the_placeholder_is_the_owner(tmp_path):
    content = json.loads((ROOT / "kaggle_metadata.json").read_text())
    content |= {"owner": "writer", "notebooks": content["notebooks"][:1]}
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_eda.ipynb").write_text((ROOT / "notebooks" / "01_eda.ipynb").read_text())
    (tmp_path / "kaggle_metadata.json").write_text(json.dumps(content))
    described = read_description(tmp_path / "kaggle_metadata.json")
    assert described.owner == "writer"
    assert described.root == tmp_path


def test_all_problems_are_said_one_a_line_each_with_file_and_field(tmp_path):
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
