"""The order of what is sent, and waiting, with a fake in place of the client; one test with the real client."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from kaggle_stub import FakeKaggle

from pii_kit.files import KitError
from pii_kit.kaggle import publish
from pii_kit.kaggle.build import read_description
from pii_kit.kaggle.client import Kaggle, Unreachable
from pii_kit.kaggle.publish import (
    NOT_THERE,
    Pushes,
    push_kit,
    run_state,
    select,
    wait_for_dataset,
    wait_for_notebook,
    wait_for_submission,
)

DESCRIPTION = read_description(Path(__file__).parents[2] / "kaggle_metadata.json")
SLUGS = [notebook["slug"] for notebook in DESCRIPTION.notebooks]
INFERENCE, TRAINED = SLUGS[3], SLUGS[1:3]
PACKAGE, NOTEBOOK = "writer/pii-kit-package", f"writer/{SLUGS[0]}"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(publish, "POLL_SECONDS", 0)
    monkeypatch.setattr(publish, "SETTLE_SECONDS", 0)


@pytest.fixture
def kaggle():
    return FakeKaggle()


@pytest.fixture
def pushes(tmp_path):
    return Pushes(tmp_path)


@pytest.fixture
def push(kaggle, built_kit, tmp_path):
    """A function that pushes the built kit and returns the lines that the user sees."""

    def push(**settings) -> list[str]:
        kaggle.lines.clear()
        push_kit(kaggle, replace(DESCRIPTION, root=tmp_path), built_kit, owner="writer", **settings)
        return kaggle.lines

    return push


def full(*slugs: str) -> list[str]:
    return [f"writer/{slug}" for slug in slugs]


def test_the_package_is_sent_first_and_what_reads_outputs_only_when_they_are_complete(push, kaggle):
    lines = push()
    assert kaggle.sent == [PACKAGE, *full(SLUGS[0], *TRAINED, SLUGS[5])]
    reads = f"it reads writer/{TRAINED[0]} (queued), writer/{TRAINED[1]} (queued)"
    assert f"notebook writer/{INFERENCE}: not sent yet, {reads}" in lines
    assert lines[-1].endswith(f"python -m pii_kit kaggle push --only {INFERENCE} --only {SLUGS[4]}")


def test_a_later_push_sends_what_waited_and_nothing_twice(push, kaggle):
    push()
    kaggle.states |= {f"writer/{TRAINED[0]}": [("complete", "")], f"writer/{TRAINED[1]}": [("running", "")]}
    lines = push(only=[INFERENCE])
    assert lines[0].endswith("version 1 has the same content, nothing to send")
    assert lines[1].endswith(f"not sent yet, it reads writer/{TRAINED[1]} (running)")
    kaggle.states[f"writer/{TRAINED[1]}"] = [("complete", "")]
    lines = push(only=[INFERENCE])
    assert (
        lines[-1] == f"notebook writer/{INFERENCE}: version 1 is pushed, https://www.kaggle.com/code/writer/{INFERENCE}"
    )
    assert kaggle.sent == [PACKAGE, *full(SLUGS[0], *TRAINED, SLUGS[5], INFERENCE)]


def test_a_source_that_is_not_on_kaggle_is_named(push):
    assert f"writer/{TRAINED[0]} ({NOT_THERE}), writer/{TRAINED[1]} ({NOT_THERE})" in push(only=[INFERENCE])[-2]


def test_with_wait_each_notebook_is_sent_when_what_it_reads_is_complete(push, kaggle):
    lines = push(wait=True)
    assert kaggle.sent == [PACKAGE, *full(*SLUGS)]
    sent = lines.index(
        f"notebook writer/{INFERENCE}: version 1 is pushed, https://www.kaggle.com/code/writer/{INFERENCE}"
    )
    assert all(lines.index(f"notebook writer/{trained}: complete") < sent for trained in TRAINED)
    assert all(f"notebook writer/{slug}: complete" in lines for slug in SLUGS)


def test_a_training_that_fails_ends_the_push_before_inference(push, kaggle):
    kaggle.after_push = [("running", ""), ("error", "it broke")]
    with pytest.raises(KitError, match=f"notebook writer/{TRAINED[0]}: error: it broke; `kaggle pull` has its log"):
        push(wait=True)
    assert f"writer/{INFERENCE}" not in kaggle.sent


def test_the_first_refusal_ends_the_push(push, kaggle, monkeypatch):
    def refuse(name, folder):
        raise KitError(name)

    monkeypatch.setattr(kaggle, "push_notebook", refuse)
    with pytest.raises(KitError, match=NOTEBOOK):
        push()
    assert kaggle.sent == [PACKAGE]


@pytest.mark.parametrize("state", [("ready", 2), ("failed", 1), ("ready", 0)])
def test_a_data_set_is_sent_again_unless_the_version_that_was_sent_is_ready(state, push, kaggle):
    push(only=["pii-kit-package"])
    push(only=["pii-kit-package"])
    assert kaggle.sent == [PACKAGE]
    kaggle.datasets[PACKAGE] = state
    push(only=["pii-kit-package"])
    assert kaggle.sent == [PACKAGE, PACKAGE]


def test_other_content_of_a_data_set_is_a_new_version(push, kaggle, built_kit, tmp_path):
    push(only=["pii-kit-package"])
    shutil.copytree(built_kit, tmp_path / "kit")
    (tmp_path / "kit" / "datasets" / "pii-kit-package" / "more.whl").touch()
    description = replace(DESCRIPTION, root=tmp_path)
    push_kit(kaggle, description, tmp_path / "kit", owner="writer", only=["pii-kit-package"])
    assert kaggle.datasets[PACKAGE] == ("ready", 2)


def test_an_upload_that_failed_is_sent_again(push, kaggle, monkeypatch):
    send = kaggle.send_dataset

    def send_and_fail(*arguments, **settings):
        send(*arguments, **settings)
        raise KitError("Upload unsuccessful")

    with monkeypatch.context() as patched, pytest.raises(KitError):
        patched.setattr(kaggle, "send_dataset", send_and_fail)
        push(only=["pii-kit-package"])
    push(only=["pii-kit-package"])
    assert kaggle.sent == [PACKAGE, PACKAGE]


def test_a_complete_status_of_the_version_before_is_not_believed(push, kaggle, monkeypatch, tmp_path):
    push(only=[SLUGS[0]], wait=True)
    kaggle.stale.add(NOTEBOOK)  # status and time stay as they were
    monkeypatch.setattr(publish, "SESSION_SECONDS", 0.2)
    monkeypatch.setattr(publish, "POLL_SECONDS", 0.01)
    with pytest.raises(KitError, match=f"notebook {NOTEBOOK}: still pushed after 0 minutes"):
        push(only=[SLUGS[0]], wait=True)
    assert run_state(kaggle, NOTEBOOK, Pushes(tmp_path)) == ("pushed", "")  # another process knows it too
    kaggle.runs[NOTEBOOK] = "2026-01-02"
    assert run_state(kaggle, NOTEBOOK, Pushes(tmp_path)) == ("complete", "")


def test_shortly_after_a_push_a_new_time_of_the_last_run_does_not_make_an_old_status_new(push, kaggle, monkeypatch):
    push(only=[TRAINED[0]], wait=True)
    kaggle.after_push = [("complete", "")]
    monkeypatch.setattr(publish, "SETTLE_SECONDS", 60)
    lines = push(only=[TRAINED[0], INFERENCE])
    assert any(f"it reads writer/{TRAINED[0]} (pushed)" in line for line in lines)
    assert f"writer/{INFERENCE}" not in kaggle.sent


def test_an_old_error_is_not_taken_for_one_of_the_new_version(pushes, kaggle):
    pushes.add(f"notebook {NOTEBOOK}", version=2, time=0, last_run="2026-01-01", started=False)
    kaggle.runs[NOTEBOOK] = "2026-01-01"
    kaggle.states[NOTEBOOK] = [("error", "old"), ("error", "old"), ("queued", ""), ("complete", "")]
    wait_for_notebook(kaggle, NOTEBOOK, pushes)
    assert kaggle.lines == [f"notebook {NOTEBOOK}: {state}" for state in ("pushed", "queued", "complete")]


def test_the_real_client_is_not_misled_by_an_old_complete_status_either(stub, built_kit, tmp_path, monkeypatch):
    lines: list[str] = []
    kaggle, slug = Kaggle(timeout=20, tell=lines.append), SLUGS[0]
    save = stub._SaveKernel

    def save_late(body: dict) -> dict:
        last_run = stub.last_runs[slug]
        reply = save(body)
        stub.states[slug], stub.last_runs[slug] = ["COMPLETE"], last_run
        return reply

    stub._SaveKernel = save_late
    stub.kernels[slug], stub.last_runs[slug] = {"version": 4}, "2026-01-04T12:00:00Z"
    stub.datasets["pii-kit-package"] = {"version": 1, "status": "READY"}
    description = replace(DESCRIPTION, root=tmp_path)
    content = publish.digest(built_kit / "datasets" / "pii-kit-package")
    Pushes(tmp_path).add(f"data set {PACKAGE}", version=1, content=content)
    push_kit(kaggle, description, built_kit, owner="writer", only=[slug])
    assert f"notebook {NOTEBOOK}: version 5 is pushed, https://www.kaggle.com/code/{NOTEBOOK}" in lines
    pushes = Pushes(tmp_path)
    assert run_state(kaggle, NOTEBOOK, pushes) == ("pushed", "")
    stub.last_runs[slug] = "2026-01-05T12:00:00Z"
    assert run_state(kaggle, NOTEBOOK, pushes) == ("complete", "")


def test_each_change_of_a_run_is_shown_once(kaggle, pushes):
    states = ("queued", "queued", "running", "running", "complete")
    kaggle.states[NOTEBOOK] = [(state, "") for state in states]
    wait_for_notebook(kaggle, NOTEBOOK, pushes)
    assert kaggle.lines == [f"notebook {NOTEBOOK}: {state}" for state in ("queued", "running", "complete")]


@pytest.mark.parametrize("state, why", [("error", "it broke"), ("cancel_acknowledged", "")])
def test_a_run_that_fails_ends_the_wait(state, why, kaggle, pushes):
    kaggle.states[NOTEBOOK] = [("running", ""), (state, why)]
    with pytest.raises(KitError, match=f"^notebook {NOTEBOOK}: {state}: {why or 'no reason given'}; "):
        wait_for_notebook(kaggle, NOTEBOOK, pushes)


def test_a_notebook_that_is_not_on_kaggle_is_not_waited_for(kaggle, pushes):
    with pytest.raises(KitError, match=f"{NOT_THERE}; push it first"):
        wait_for_notebook(kaggle, NOTEBOOK, pushes)


def test_a_wait_outlives_some_failures_but_not_many(kaggle, pushes):
    busy = [Unreachable("busy")] * (publish.UNREACHABLE - 1)
    kaggle.states[NOTEBOOK] = [*busy, ("running", ""), *busy, ("complete", "")]
    wait_for_notebook(kaggle, NOTEBOOK, pushes)
    assert kaggle.lines[0] == f"notebook {NOTEBOOK}: no answer, next request in 0 s (busy)"
    assert len(kaggle.lines) == 4
    kaggle.states[NOTEBOOK] = [*busy, Unreachable("busy"), ("complete", "")]
    with pytest.raises(Unreachable, match="busy"):
        wait_for_notebook(kaggle, NOTEBOOK, pushes)


def test_a_refusal_ends_a_wait_at_once(kaggle, pushes):
    kaggle.states[NOTEBOOK] = [KitError("no valid credentials"), ("complete", "")]
    with pytest.raises(KitError, match="no valid credentials"):
        wait_for_notebook(kaggle, NOTEBOOK, pushes)


def test_a_data_set_is_ready_when_its_new_version_is(kaggle, monkeypatch):
    states = iter([("ready", 1), None, ("blobs_received", 2), ("ready", 2)])
    monkeypatch.setattr(kaggle, "dataset", lambda name: next(states))
    assert wait_for_dataset(kaggle, PACKAGE, before=("ready", 1)) == 2
    shown = ("waiting for the new version", "waiting for the new version", "blobs_received", "ready")
    assert kaggle.lines == [f"data set {PACKAGE}: {state}" for state in dict.fromkeys(shown)]


def test_a_new_version_of_a_data_set_that_failed_is_waited_for(kaggle, monkeypatch):
    states = iter([("failed", 1), ("ready", 2)])
    monkeypatch.setattr(kaggle, "dataset", lambda name: next(states))
    assert wait_for_dataset(kaggle, PACKAGE, before=("failed", 1)) == 2


def test_a_data_set_that_fails_is_an_error(kaggle):
    kaggle.datasets[PACKAGE] = ("failed", 1)
    with pytest.raises(
        KitError, match=f"^data set {PACKAGE}: failed; look at https://www.kaggle.com/datasets/{PACKAGE}$"
    ):
        wait_for_dataset(kaggle, PACKAGE, before=None)


def test_a_submission_is_waited_for_until_it_is_scored(kaggle):
    kaggle.submitted = {"8": {"status": "pending", "publicScore": "", "privateScore": ""}}
    assert wait_for_submission(kaggle, "some-competition", "8")["publicScore"] == "0.95"
    assert kaggle.lines == ["submission 8: pending", "submission 8: complete"]
    kaggle.submitted["8"]["status"] = "error"
    with pytest.raises(KitError, match=r"^submission 8: error; look at the site"):
        wait_for_submission(kaggle, "some-competition", "8")


def test_a_selection_includes_the_data_sets_that_its_notebooks_read():
    runs = {"slug": "pii-kit-runs", "title": "PII kit runs", "license": "other", "folders": ["a"]}
    described = replace(DESCRIPTION, datasets=[*DESCRIPTION.datasets, runs])
    assert select(described, []) == (["pii-kit-package", "pii-kit-runs"], DESCRIPTION.notebooks)
    assert select(described, [SLUGS[0]]) == (["pii-kit-package"], [DESCRIPTION.notebooks[0]])
    assert select(described, ["pii-kit-runs"]) == (["pii-kit-runs"], [])
    with pytest.raises(
        KitError, match="'04_inference' is not in the description; expected pii-kit-package, pii-kit-runs, "
    ):
        select(described, ["04_inference"])
