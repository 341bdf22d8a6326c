"""The verbs of `kaggle`, with the real client and a stub of Kaggle."""

import json
import shutil
from pathlib import Path

import pytest

from pii_kit.cli import main
from pii_kit.kaggle import client
from pii_kit.kaggle.client import NOT_THERE

ROOT = Path(__file__).parents[2]
CONTENT = json.loads((ROOT / "kaggle_metadata.json").read_text())
PACKAGE = CONTENT["package"]["slug"]
EDA, SHA_RNN, MOBILEBERT, INFERENCE, COMPARE, LANGUAGE_MODEL = (entry["slug"] for entry in CONTENT["notebooks"])


@pytest.fixture
def run(stub, no_wheels, tmp_path, monkeypatch, capsys):
    """A function from a verb with its arguments to what the user sees in a checkout: exit code, lines, errors."""
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns("README.md", "pictures"))
    (tmp_path / "kaggle_metadata.json").write_text(json.dumps(CONTENT))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(client, "POLL_SECONDS", 0)
    monkeypatch.setattr(client, "CALL_SECONDS", 20)

    def run(command: str) -> tuple[int, list[str], list[str]]:
        code = main(["kaggle", *command.split()])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return run


def test_build_sends_nothing_and_needs_an_owner(run, stub, monkeypatch):
    assert run("build --out kit --owner somebody") == (0, ["kit: written for somebody"], [])
    metadata = json.loads(Path("kit", "kernels", INFERENCE, "kernel-metadata.json").read_text())
    assert metadata["id"] == f"somebody/{INFERENCE}"
    assert run("build --out mine")[1] == ["mine: written for writer"]
    monkeypatch.delenv("KAGGLE_USERNAME")
    code, _, errors = run("build --out other")
    assert (code, len(errors)) == (2, 1) and "owner missing: give your Kaggle name" in errors[0]
    assert stub.calls == [] and not Path("other").exists()


def test_what_reads_outputs_is_pushed_when_they_are_complete_and_nothing_is_sent_twice(run, stub):
    _, lines, _ = run("push")
    assert stub.sent() == [PACKAGE, EDA, SHA_RNN, MOBILEBERT, LANGUAGE_MODEL]
    reads = f"it reads writer/{SHA_RNN} (queued), writer/{MOBILEBERT} (queued)"
    assert f"notebook writer/{INFERENCE}: not sent yet, {reads}" in lines
    assert lines[-1].endswith(f"pii-kit kaggle push --only {INFERENCE} --only {COMPARE}")
    stub.states |= {SHA_RNN: ["COMPLETE"], MOBILEBERT: ["RUNNING"]}
    assert f"not sent yet, it reads writer/{MOBILEBERT} (running)" in run(f"push --only {INFERENCE}")[1][-2]
    stub.states[MOBILEBERT] = ["COMPLETE"]
    _, lines, _ = run(f"push --only {INFERENCE}")
    assert lines[0].endswith("version 1 has the same content, nothing to send")
    assert lines[1].endswith(f"version 1 is pushed, https://www.kaggle.com/code/writer/{INFERENCE}")
    assert stub.sent() == [PACKAGE, EDA, SHA_RNN, MOBILEBERT, LANGUAGE_MODEL, INFERENCE]


@pytest.mark.parametrize("sessions", [9, 2])
def test_with_wait_each_notebook_is_sent_when_sessions_are_free_and_what_it_reads_is_complete(sessions, run, stub):
    stub.sessions = sessions
    code, lines, errors = run("push --wait")
    assert (code, errors) == (0, [])
    (sent,) = [place for place, line in enumerate(lines) if f"{INFERENCE}: version 1 is pushed" in line]
    assert all(f"notebook writer/{trained}: complete" in lines[:sent] for trained in (SHA_RNN, MOBILEBERT))
    assert all(f"notebook writer/{entry['slug']}: complete" in lines for entry in CONTENT["notebooks"])


def test_the_limit_of_sessions_postpones_notebooks(run, stub):
    stub.sessions, stub.after_push = 2, ("RUNNING",)
    _, lines, _ = run("push")
    assert list(stub.kernels) == [EDA, SHA_RNN] and lines[-1].count("--only") == 4
    assert f"not sent yet, notebook writer/{MOBILEBERT}: Maximum batch GPU" in "\n".join(lines)


def test_a_refusal_or_a_run_that_fails_ends_the_push(run, stub):
    stub.after_push = ("RUNNING", "ERROR")
    failed = f"error: notebook writer/{SHA_RNN}: error: it broke; look at the site"
    assert run("push --wait")[::2] == (2, [failed]) and INFERENCE not in stub.sent()
    stub.sessions = 0
    assert "Maximum batch GPU session count" in run("push --wait")[2][0]
    stub.refuse("SaveKernel", 400, "no")
    assert run("push")[::2] == (2, [f"error: notebook writer/{EDA}: no; check kaggle_metadata.json"])
    assert "'04_inference' is not in kaggle_metadata.json; expected pii-k" in run("push --only 04_inference")[2][0]


def test_problems_of_the_description_are_shown_before_anything_is_sent(run, stub):
    content = json.loads(json.dumps(CONTENT))
    content["notebooks"][0]["accelerator"] = "GPU"
    content["notebooks"][1]["internet"] = None
    Path("kaggle_metadata.json").write_text(json.dumps(content))
    code, lines, errors = run("push")
    assert (code, lines, len(errors)) == (2, [], 2)
    assert "notebooks.0.accelerator" in errors[0] and "notebooks.1.internet" in errors[1]
    assert stub.calls == []


def test_status_shows_everything_in_the_description(run, stub):
    stub.datasets[PACKAGE] = {"version": 2, "status": "READY"}
    stub.states = {SHA_RNN: ["RUNNING"], MOBILEBERT: ["ERROR"]}
    code, lines, _ = run("status")
    assert (code, len(lines)) == (0, 7)
    assert [line.split(maxsplit=2)[-1] for line in lines[1:4]] == [NOT_THERE, "running", "error it broke"]
    assert lines[0].split()[2:] == [PACKAGE, "ready,", "version", "2"]


def test_pulled_runs_can_be_predicted_with_and_a_failed_pull_keeps_them(run, stub):
    stub.states = {SHA_RNN: ["COMPLETE"], MOBILEBERT: ["RUNNING"], INFERENCE: ["ERROR"]}
    training_files = {"runs/sha_rnn/run.json": b"{}", "runs/sha_rnn/fold_0/tagger/decision.json": b"{}"}
    stub.outputs = {SHA_RNN: training_files, INFERENCE: {"submission.csv": b"row_id\n"}}
    code, lines, errors = run("pull --out got")
    assert (code, errors) == (0, [])
    assert lines[:4] == [
        f"notebook writer/{EDA}: {NOT_THERE}, nothing to pull",
        f"notebook writer/{SHA_RNN}: complete, 3 files in got/{SHA_RNN}",
        f"notebook writer/{MOBILEBERT}: running, nothing to pull",
        f"notebook writer/{INFERENCE}: error, 2 files in got/{INFERENCE}",
    ]
    assert f"predict --run got/{SHA_RNN}/runs/sha_rnn" in lines[-1]
    stub.refuse("output", 404, "gone")
    assert run(f"pull --out got --only {INFERENCE}")[0] == 2
    assert Path("got", INFERENCE, "submission.csv").read_bytes() == b"row_id\n" and len([*Path("got").iterdir()]) == 2


def test_only_a_complete_run_is_submitted_by_the_version_that_was_pushed_or_a_given_one(run, stub):
    stub.kernels = {INFERENCE: {"version": 3}}
    assert "not pushed from this checkout; give --notebook-version N" in run("submit")[2][0]
    for states, reason in ((None, NOT_THERE), (["RUNNING"], "running"), (["ERROR"], "error it broke")):
        stub.states = {INFERENCE: states} if states else {}
        refused = f"error: notebook writer/{INFERENCE}: {reason}; only a complete run can be submitted"
        assert run("submit --notebook-version 3")[2] == [refused]
    stub.states = {SHA_RNN: ["COMPLETE"], MOBILEBERT: ["COMPLETE"]}
    run(f"push --wait --only {INFERENCE}")
    assert stub.submissions == []
    code, lines, errors = run("submit --wait")
    assert (code, errors, lines[-1]) == (0, [], "submission 77: public 0.95, private 0.94")
    (submitted,) = stub.bodies("CreateCodeSubmission")
    assert (submitted["kernelSlug"], submitted["kernelVersion"]) == (INFERENCE, 4)
    assert submitted["competitionName"] == "pii-detection-removal-from-educational-data"
    assert submitted["submissionDescription"].endswith(f"{INFERENCE} version 4")
