"""The order of what is sent, with the real client and a stub of Kaggle."""

import json
import shutil
from pathlib import Path

import pytest

from pii_kit.files import KitError
from pii_kit.kaggle import client
from pii_kit.kaggle.build import build_kit, read_description
from pii_kit.kaggle.client import Kaggle
from pii_kit.kaggle.push import push_kit, select

ROOT = Path(__file__).parents[2]
CONTENT = json.loads((ROOT / "kaggle_metadata.json").read_text())
EDA, SHA_RNN, MOBILEBERT, INFERENCE, COMPARE, LANGUAGE_MODEL = (entry["slug"] for entry in CONTENT["notebooks"])
PACKAGE = "pii-kit-package"


@pytest.fixture
def push(stub, no_wheels, tmp_path, monkeypatch):
    """A function that pushes a kit from a checkout and returns the lines that the user sees."""
    monkeypatch.setattr(client, "POLL_SECONDS", 0)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns("README.md", "pictures"))
    shutil.copyfile(ROOT / "kaggle_metadata.json", tmp_path / "kaggle_metadata.json")
    description = read_description(tmp_path / "kaggle_metadata.json")
    build_kit(description, tmp_path, tmp_path / "kit", owner="writer")

    def push(**settings) -> list[str]:
        lines: list[str] = []
        kaggle = Kaggle(tmp_path, timeout=20, tell=lines.append)
        push_kit(kaggle, description, tmp_path / "kit", owner="writer", **settings)
        return lines

    return push


def test_the_package_is_sent_first_and_what_reads_outputs_only_when_they_are_complete(push, stub):
    lines = push()
    assert stub.sent() == [PACKAGE, EDA, SHA_RNN, MOBILEBERT, LANGUAGE_MODEL]
    reads = f"it reads writer/{SHA_RNN} (queued), writer/{MOBILEBERT} (queued)"
    assert f"notebook writer/{INFERENCE}: not sent yet, {reads}" in lines
    assert lines[-1].endswith(f"pii-kit kaggle push --only {INFERENCE} --only {COMPARE}")


def test_a_later_push_sends_what_waited_and_nothing_twice(push, stub):
    push()
    stub.states |= {SHA_RNN: ["COMPLETE"], MOBILEBERT: ["RUNNING"]}
    lines = push(only=[INFERENCE])
    assert lines[0].endswith("version 1 has the same content, nothing to send")
    assert lines[1].endswith(f"not sent yet, it reads writer/{MOBILEBERT} (running)")
    stub.states[MOBILEBERT] = ["COMPLETE"]
    address = f"https://www.kaggle.com/code/writer/{INFERENCE}"
    assert push(only=[INFERENCE])[-1] == f"notebook writer/{INFERENCE}: version 1 is pushed, {address}"
    assert stub.sent() == [PACKAGE, EDA, SHA_RNN, MOBILEBERT, LANGUAGE_MODEL, INFERENCE]


def test_with_wait_each_notebook_is_sent_when_what_it_reads_is_complete(push, stub):
    lines = push(wait=True)
    assert stub.sent() == [PACKAGE, EDA, SHA_RNN, MOBILEBERT, INFERENCE, COMPARE, LANGUAGE_MODEL]
    (sent,) = [place for place, line in enumerate(lines) if f"{INFERENCE}: version 1 is pushed" in line]
    assert all(f"notebook writer/{trained}: complete" in lines[:sent] for trained in (SHA_RNN, MOBILEBERT))
    assert all(f"notebook writer/{entry['slug']}: complete" in lines for entry in CONTENT["notebooks"])


@pytest.mark.parametrize("wait", [False, True])
def test_the_limit_of_sessions_postpones_a_notebook_or_is_waited_for(wait, push, stub):
    stub.sessions, stub.after_push = 2, stub.after_push if wait else ("RUNNING",)
    lines = push(wait=wait)
    if wait:
        assert set(stub.kernels) == {EDA, SHA_RNN, MOBILEBERT, INFERENCE, COMPARE, LANGUAGE_MODEL}
        assert all(f"notebook writer/{entry['slug']}: complete" in lines for entry in CONTENT["notebooks"])
    else:
        assert list(stub.kernels) == [EDA, SHA_RNN]
        assert f"not sent yet, notebook writer/{MOBILEBERT}: Maximum batch GPU" in "\n".join(lines)
        assert lines[-1].count("--only") == 4


def test_without_sessions_of_its_own_a_push_does_not_wait_for_one(push, stub):
    stub.sessions = 0
    with pytest.raises(KitError, match="Maximum batch GPU session count"):
        push(wait=True)


def test_a_training_that_fails_ends_the_push_before_inference(push, stub):
    stub.after_push = ("RUNNING", "ERROR")
    with pytest.raises(KitError, match=f"^notebook writer/{SHA_RNN}: error: it broke; look at the site$"):
        push(wait=True)
    assert INFERENCE not in stub.sent()


def test_the_first_refusal_ends_the_push(push, stub):
    stub.refuse("SaveKernel", 400, "no")
    with pytest.raises(KitError, match=f"^notebook writer/{EDA}: no; check kaggle_metadata.json$"):
        push()
    assert stub.sent() == [PACKAGE, EDA]


def test_a_selection_includes_the_data_sets_that_its_notebooks_read():
    description = read_description(ROOT / "kaggle_metadata.json")
    description.runs.append(description.package.model_copy(update={"slug": "pii-kit-runs"}))
    assert select(description, []) == ([PACKAGE, "pii-kit-runs"], description.notebooks)
    assert select(description, [EDA]) == ([PACKAGE], [description.notebooks[0]])
    assert select(description, ["pii-kit-runs"]) == (["pii-kit-runs"], [])
    with pytest.raises(KitError, match="'04_inference' is not in the description; expected pii-kit-package, pii-kit-r"):
        select(description, ["04_inference"])
