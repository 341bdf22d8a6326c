"""The order of what is sent, and waiting, with the real client and a stub of Kaggle."""

import json
import shutil
from pathlib import Path

import pytest

from pii_kit.files import KitError
from pii_kit.kaggle import push as kaggle_push
from pii_kit.kaggle.build import build_kit, read_description
from pii_kit.kaggle.client import Kaggle, Unreachable
from pii_kit.kaggle.push import NOT_THERE, Pushes, push_kit, run_state, select, wait_for_notebook, wait_for_submission

CONTENT = json.loads((Path(__file__).parents[2] / "kaggle_metadata.json").read_text())
EDA, SHA_RNN, MOBILEBERT, INFERENCE, COMPARE, LANGUAGE_MODEL = (entry["slug"] for entry in CONTENT["notebooks"])
PACKAGE = "pii-kit-package"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(kaggle_push, "POLL_SECONDS", 0)


@pytest.fixture
def lines():
    return []


@pytest.fixture
def kaggle(stub, lines):
    return Kaggle(timeout=20, tell=lines.append)


@pytest.fixture
def push(kaggle, lines, no_wheels, tmp_path):
    """A function that pushes a kit from a checkout and returns the lines that the user sees."""
    notebooks = Path(__file__).parents[2] / "notebooks"
    shutil.copytree(notebooks, tmp_path / "notebooks", ignore=shutil.ignore_patterns("README.md", "pictures"))
    (tmp_path / "kaggle_metadata.json").write_text(json.dumps(CONTENT))
    description = read_description(tmp_path / "kaggle_metadata.json")
    build_kit(description, tmp_path / "kit", owner="writer")

    def push(**settings) -> list[str]:
        lines.clear()
        push_kit(kaggle, description, tmp_path / "kit", owner="writer", **settings)
        return lines

    return push


@pytest.fixture
def pushes(tmp_path):
    return Pushes(tmp_path)


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
    lines = push(only=[INFERENCE])
    address = f"https://www.kaggle.com/code/writer/{INFERENCE}"
    assert lines[-1] == f"notebook writer/{INFERENCE}: version 1 is pushed, {address}"
    assert stub.sent() == [PACKAGE, EDA, SHA_RNN, MOBILEBERT, LANGUAGE_MODEL, INFERENCE]


def test_a_source_that_is_not_on_kaggle_is_named(push):
    assert f"writer/{SHA_RNN} ({NOT_THERE}), writer/{MOBILEBERT} ({NOT_THERE})" in push(only=[INFERENCE])[-2]


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
        assert set(stub.sent()) == {PACKAGE, EDA, SHA_RNN, MOBILEBERT, INFERENCE, COMPARE, LANGUAGE_MODEL}
        assert all(f"notebook writer/{entry['slug']}: complete" in lines for entry in CONTENT["notebooks"])
    else:
        assert list(stub.kernels) == [EDA, SHA_RNN]
        assert "not sent yet, notebook writer/pii-kit-03-train-mobilebert: Maximum batch GPU" in "\n".join(lines)
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


@pytest.mark.parametrize("change", [{"version": 2}, {"status": "FAILED"}, {"version": 0}])
def test_a_data_set_is_sent_again_unless_the_version_that_was_sent_is_ready(change, push, stub):
    push(only=[PACKAGE])
    push(only=[PACKAGE])
    assert stub.sent() == [PACKAGE]
    stub.datasets[PACKAGE] |= change
    push(only=[PACKAGE])
    assert stub.sent() == [PACKAGE, PACKAGE]


def test_other_content_or_an_upload_that_failed_is_sent_again(push, stub, tmp_path):
    stub.refuse("CreateDataset", 400, "no")
    with pytest.raises(KitError):
        push(only=[PACKAGE])
    stub.refusals.clear()
    push(only=[PACKAGE])
    (tmp_path / "kit" / "datasets" / PACKAGE / "more.whl").write_text("wheel")
    push(only=[PACKAGE])
    assert stub.datasets[PACKAGE]["version"] == 2
    assert set(stub.files(PACKAGE)) == {"kit.whl", "more.whl"}


def test_the_new_version_of_a_data_set_is_waited_for(push, stub, monkeypatch):
    stub.datasets[PACKAGE] = {"version": 1, "status": "READY", "files": []}
    states = iter([("READY", 1), ("READY", 1), ("BLOBS_RECEIVED", 2), ("READY", 2)])

    def answer(body):
        stub.datasets[PACKAGE]["status"], stub.datasets[PACKAGE]["version"] = next(states)
        return {"status": stub.datasets[PACKAGE]["status"]}

    monkeypatch.setattr(stub, "_GetDatasetStatus", answer)
    lines = push(only=[PACKAGE])
    shown = ("sending a new version", "waiting for the new version", "blobs_received", "ready")
    assert lines == [f"data set writer/{PACKAGE}: {state}" for state in shown]


def test_a_data_set_that_fails_ends_the_push(push, stub, monkeypatch):
    monkeypatch.setattr(stub, "_GetDatasetStatus", lambda body: {"status": "FAILED"} if stub.datasets else None)
    with pytest.raises(KitError, match=f"^data set writer/{PACKAGE}: failed: "):
        push()


def test_a_complete_status_of_the_version_before_is_not_believed(push, kaggle, stub, pushes, tmp_path, monkeypatch):
    push(only=[EDA], wait=True)
    stub.kernels[EDA]["version"] = 4
    push(only=[EDA])
    stub.kernels[EDA]["version"] = 4  # Kaggle does not show version 5 yet
    stub.states[EDA] = ["COMPLETE"]
    assert run_state(kaggle, f"writer/{EDA}", Pushes(tmp_path)) == ("pushed", "")
    stub.kernels[EDA]["version"] = 5
    assert run_state(kaggle, f"writer/{EDA}", Pushes(tmp_path)) == ("complete", "")
    stub.kernels[EDA]["version"] = 6  # saved at the site, and version 5 is deleted
    monkeypatch.setattr(kaggle_push, "SETTLE_SECONDS", 0)
    assert run_state(kaggle, f"writer/{EDA}", Pushes(tmp_path)) == (NOT_THERE, "")


def test_each_change_of_a_run_is_shown_once(kaggle, stub, pushes, lines):
    stub.states[EDA] = ["QUEUED", "QUEUED", "RUNNING", "RUNNING", "COMPLETE"]
    wait_for_notebook(kaggle, f"writer/{EDA}", pushes)
    assert lines == [f"notebook writer/{EDA}: {state}" for state in ("queued", "running", "complete")]


@pytest.mark.parametrize("states, why", [(["RUNNING", "ERROR"], "error: it broke"), (None, f"{NOT_THERE}: no reason")])
def test_a_run_that_fails_or_is_not_there_ends_the_wait(states, why, kaggle, stub, pushes):
    stub.states = {EDA: states} if states else {}
    with pytest.raises(KitError, match=f"^notebook writer/{EDA}: {why}"):
        wait_for_notebook(kaggle, f"writer/{EDA}", pushes)


def test_a_wait_ends_in_time(kaggle, stub, pushes, monkeypatch):
    monkeypatch.setattr(kaggle_push, "POLL_SECONDS", 10**6)
    stub.states[EDA] = ["RUNNING"]
    with pytest.raises(KitError, match=f"^notebook writer/{EDA}: still running after 780 minutes"):
        wait_for_notebook(kaggle, f"writer/{EDA}", pushes)


def test_a_wait_outlives_some_failures_but_not_many(kaggle, pushes, lines, monkeypatch):
    busy = [Unreachable("busy")] * (kaggle_push.UNREACHABLE - 1)
    answers = iter([*busy, ("running", ""), *busy, ("complete", ""), *busy, Unreachable("busy")])

    def answer(name, version):
        if isinstance(state := next(answers), Exception):
            raise state
        return state

    monkeypatch.setattr(kaggle, "notebook", answer)
    wait_for_notebook(kaggle, EDA, pushes)
    assert lines[0] == f"notebook {EDA}: no answer, next request in 0 s (busy)"
    assert len(lines) == 4
    with pytest.raises(Unreachable, match="busy"):
        wait_for_notebook(kaggle, EDA, pushes)


def test_a_submission_is_waited_for_until_it_is_scored(kaggle, stub, lines):
    stub.submissions = [{"ref": 8, "status": "PENDING"}]
    assert wait_for_submission(kaggle, "some-competition", 8) == ("complete", "public 0.95, private 0.94")
    assert lines == ["submission 8: pending", "submission 8: complete"]
    stub._ListSubmissions = lambda body: {"submissions": [{"ref": 8, "status": "ERROR", "errorDescription": "row 3"}]}
    with pytest.raises(KitError, match=r"^submission 8: error: row 3; look at the site$"):
        wait_for_submission(kaggle, "some-competition", 8)


def test_a_selection_includes_the_data_sets_that_its_notebooks_read():
    description = read_description(Path(__file__).parents[2] / "kaggle_metadata.json")
    description.runs.append(description.package.model_copy(update={"slug": "pii-kit-runs"}))
    assert select(description, []) == ([PACKAGE, "pii-kit-runs"], description.notebooks)
    assert select(description, [EDA]) == ([PACKAGE], [description.notebooks[0]])
    assert select(description, ["pii-kit-runs"]) == (["pii-kit-runs"], [])
    with pytest.raises(KitError, match="'04_inference' is not in the description; expected pii-kit-package, pii-kit-r"):
        select(description, ["04_inference"])
