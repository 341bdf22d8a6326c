from dataclasses import replace
from pathlib import Path

import pytest

from pii_kit.files import KitError
from pii_kit.kaggle import publish as kaggle_wait
from pii_kit.kaggle.build import Runs, read_description
from pii_kit.kaggle.publish import connect, push_kit, select

DESCRIPTION = read_description(Path(__file__).parents[2] / "kaggle_metadata.json")
SLUGS = [notebook.slug for notebook in DESCRIPTION.notebooks]
INFERENCE, TRAINED = SLUGS[3], SLUGS[1:3]


@pytest.fixture
def push(stub, built_kit, monkeypatch):
    """A function that pushes the built kit and gives back the lines that the user sees."""
    monkeypatch.setattr(kaggle_wait, "LOOK_SECONDS", 0.01)

    def push(**settings) -> list[str]:
        lines: list[str] = []
        with connect(silence=2) as kaggle:
            push_kit(kaggle, DESCRIPTION, built_kit, owner="writer", tell=lines.append, **settings)
        return lines

    return push


def sent(stub) -> list[str]:
    """The slugs of the notebooks that have arrived, in order."""
    return [body["slug"].removeprefix("writer/") for body in stub.bodies("SaveKernel")]


def test_the_package_comes_first_and_what_reads_outputs_waits_for_a_later_push(push, stub):
    lines = push()
    assert stub.methods().index("CreateDataset") < stub.methods().index("SaveKernel")
    assert sent(stub) == [SLUGS[0], *TRAINED, SLUGS[5]]
    waiting = f"for it reads {TRAINED[0]} (not complete), {TRAINED[1]} (not complete)"
    assert f"notebook writer/{INFERENCE}: not sent yet, {waiting}" in lines
    assert lines[-1].endswith(f"python -m pii_kit kaggle push --only {INFERENCE} --only {SLUGS[4]}")


def test_the_later_push_sends_what_waited_and_nothing_twice(push, stub):
    push()
    stub.states[TRAINED[0]] = ["COMPLETE"]
    lines = push(only=[INFERENCE])
    assert lines[0].endswith("version 1 has the same content, nothing to send")
    assert lines[1].endswith(f"not sent yet, for it reads {TRAINED[1]} (queued)")
    stub.states[TRAINED[1]] = ["COMPLETE"]
    lines = push(only=[INFERENCE])
    assert lines[-1] == f"notebook writer/{INFERENCE}: version 1 runs, https://www.kaggle.com/code/writer/{INFERENCE}"
    assert sent(stub)[-1] == INFERENCE
    assert len(sent(stub)) == 5
    assert stub.methods().count("CreateDataset") == 1


def test_what_is_not_on_kaggle_at_all_is_said(push, stub):
    lines = push(only=[INFERENCE])
    assert f"{TRAINED[0]} (not on Kaggle), {TRAINED[1]} (not on Kaggle)" in lines[-2]


def test_other_content_of_a_data_set_is_a_new_version_that_is_waited_for(push, stub):
    stub.datasets["pii-kit-package"] = {"version": 4, "description": "Content 0", "status": "READY"}
    lines = push(only=["pii-kit-package"])
    assert lines == [
        "data set writer/pii-kit-package: new content, is sent",
        "data set writer/pii-kit-package: ready",
    ]
    assert stub.datasets["pii-kit-package"]["version"] == 5
    assert stub.bodies("CreateDatasetVersion")[0]["body"]["versionNotes"].startswith("Content ")


def test_a_version_that_failed_is_sent_again_though_its_content_is_the_same(push, stub):
    push(only=["pii-kit-package"])
    stub.datasets["pii-kit-package"]["status"] = "FAILED"
    push(only=["pii-kit-package"])
    assert stub.datasets["pii-kit-package"]["version"] == 2


def test_with_wait_all_notebooks_are_sent_when_what_they_read_is_complete(push, stub):
    lines = push(wait=True)
    assert sent(stub) == SLUGS
    told = [line.removeprefix("notebook writer/") for line in lines]
    for trained in TRAINED:
        runs = f"{INFERENCE}: version 1 runs, https://www.kaggle.com/code/writer/{INFERENCE}"
        assert told.index(f"{trained}: complete") < told.index(runs)
    assert {f"{slug}: complete" for slug in SLUGS} <= set(told)


def test_a_training_that_fails_ends_the_push_before_inference(push, stub):
    save = stub._SaveKernel

    def failing(body: dict) -> dict:
        reply = save(body)
        stub.states[TRAINED[1]] = ["RUNNING", "ERROR"]
        return reply

    stub._SaveKernel = failing
    with pytest.raises(KitError, match=f"notebook writer/{TRAINED[1]}: error: it broke"):
        push(wait=True)
    assert INFERENCE not in sent(stub)


def test_the_first_refusal_ends_it(push, stub):
    stub.refuse("SaveKernel", 403, "rules not accepted")
    with pytest.raises(KitError, match=rf"notebook writer/{SLUGS[0]}: Kaggle refuses \(HTTP 403\): rules not accepted"):
        push()
    assert len(sent(stub)) == 1
    stub.refuse("CreateDatasetVersion", 500)
    stub.datasets["pii-kit-package"]["description"] = "another"
    with pytest.raises(KitError, match=r"data set writer/pii-kit-package: Kaggle refuses \(HTTP 500\)"):
        push()
    assert len(sent(stub)) == 1


def test_a_selection_brings_the_data_sets_that_its_notebooks_read():
    runs = Runs(slug="pii-kit-runs", title="PII kit runs", license="other", folders=("a",))
    described = replace(DESCRIPTION, runs=(runs,))
    assert select(described, []) == (["pii-kit-package", "pii-kit-runs"], list(DESCRIPTION.notebooks))
    assert select(described, [SLUGS[0]]) == (["pii-kit-package"], [DESCRIPTION.notebooks[0]])
    assert select(described, ["pii-kit-runs"]) == (["pii-kit-runs"], [])
    with pytest.raises(KitError, match="'04_inference' is not described; expected pii-kit-package, pii-kit-runs, pii-"):
        select(described, ["04_inference"])
