"""The verbs of `kaggle`, with the real client and a stub of Kaggle."""

import json
import shutil
from pathlib import Path

import pytest

from pii_kit import __version__
from pii_kit.__main__ import main
from pii_kit.kaggle import client
from pii_kit.kaggle.client import NOT_THERE

ROOT = Path(__file__).parents[2]
CONTENT = json.loads((ROOT / "kaggle_metadata.json").read_text())
SLUGS = [entry["slug"] for entry in CONTENT["notebooks"]]
EDA, TRAINING, INFERENCE = SLUGS[0], SLUGS[1], SLUGS[3]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A copy of the checkout, made of links: what is pushed is recorded there. It is the current folder."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    for name in ("pii_kit", "pyproject.toml", "README.md", "LICENSE", "requirements.txt"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "kaggle_metadata.json").write_text(json.dumps(CONTENT))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def run(checkout, stub, no_wheels, monkeypatch, capsys):
    """A function from a verb with its arguments to what the user sees: exit code, lines, lines of errors."""
    monkeypatch.setattr(client, "POLL_SECONDS", 0)

    def run(verb: str, *arguments: str) -> tuple[int, list[str], list[str]]:
        code = main(["kaggle", verb, *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return run


def test_a_kit_is_pushed_and_its_submission_scored(run, stub, checkout):
    notebooks = [CONTENT["notebooks"][1], {**CONTENT["notebooks"][3], "kernels": [TRAINING]}]
    (checkout / "kaggle_metadata.json").write_text(json.dumps({**CONTENT, "notebooks": notebooks}))
    code, lines, errors = run("push", "--wait", "--out", "kit")
    assert (code, errors) == (0, [])
    assert lines[0] == "kit: written for writer: datasets/ (1), kernels/ (2)"
    assert stub.sent() == ["pii-kit-package", TRAINING, INFERENCE]
    assert lines[-1] == f"notebook writer/{INFERENCE}: complete"

    stub.outputs[INFERENCE] = {"submission.csv": b"row_id,document,token,label\n"}
    code, lines, errors = run("submit", "--wait")
    assert (code, errors) == (0, [])
    (submitted,) = stub.bodies("CreateCodeSubmission")
    assert (submitted["kernelSlug"], submitted["kernelVersion"]) == (INFERENCE, 1)
    assert submitted["competitionName"] == "pii-detection-removal-from-educational-data"
    assert submitted["submissionDescription"] == f"pii_kit {__version__}, {INFERENCE} version 1"
    assert lines[-1] == "submission 77: public 0.95, private 0.94"


def test_build_sends_nothing(run, stub):
    code, lines, _ = run("build", "--out", "kit", "--owner", "somebody")
    assert (code, lines) == (0, ["kit: written for somebody: datasets/ (1), kernels/ (6)"])
    metadata = json.loads(Path("kit", "kernels", INFERENCE, "kernel-metadata.json").read_text())
    assert metadata["id"] == f"somebody/{INFERENCE}"
    assert stub.calls == []


def test_without_an_owner_build_says_where_to_put_one(run, checkout, monkeypatch):
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    code, _, errors = run("build", "--out", "kit")
    assert (code, len(errors)) == (2, 1)
    assert "owner missing: put your Kaggle name in --owner NAME, KAGGLE_USERNAME, or" in errors[0]
    assert "no valid credentials for Kaggle" in errors[0]
    assert not (checkout / "kit").exists()


def test_status_shows_everything_in_the_description(run, stub):
    stub.datasets["pii-kit-package"] = {"version": 2, "status": "READY"}
    stub.states = {TRAINING: ["RUNNING"], SLUGS[2]: ["ERROR"]}
    code, lines, _ = run("status")
    assert code == 0
    assert [line.split() for line in lines[:4]] == [
        ["data", "set", "pii-kit-package", "ready,", "version", "2"],
        ["notebook", EDA, *NOT_THERE.split()],
        ["notebook", TRAINING, "running"],
        ["notebook", SLUGS[2], "error", "it", "broke"],
    ]
    assert len(lines) == 7


def test_pulled_runs_can_be_predicted_with(run, stub):
    stub.states = {TRAINING: ["COMPLETE"], SLUGS[2]: ["RUNNING"], INFERENCE: ["ERROR"]}
    training_files = {"runs/sha_rnn/run.json": b"{}", "runs/sha_rnn/fold_0/tagger/decision.json": b"{}"}
    stub.outputs = {TRAINING: training_files, INFERENCE: {"submission.csv": b"row_id\n"}}
    code, lines, errors = run("pull", "--out", "got")
    assert (code, errors) == (0, [])
    assert lines[0] == f"notebook writer/{EDA}: {NOT_THERE}, nothing to pull"
    assert lines[1] == f"notebook writer/{TRAINING}: complete, 3 files in got/{TRAINING}"
    assert lines[2] == f"notebook writer/{SLUGS[2]}: running, nothing to pull"
    assert lines[3] == f"notebook writer/{INFERENCE}: error, 2 files in got/{INFERENCE}"
    assert f"predict --run got/{TRAINING}/runs/sha_rnn" in lines[-2]
    assert lines[-1].endswith(f"--submission got/{INFERENCE}/submission.csv")


def test_a_pull_that_fails_keeps_what_was_pulled_before(run, stub):
    stub.states, stub.outputs = {INFERENCE: ["COMPLETE"]}, {INFERENCE: {"submission.csv": b"old"}}
    assert run("pull", "--out", "got", "--only", INFERENCE)[0] == 0
    stub.refuse("output", 404, "gone")
    code, _, errors = run("pull", "--out", "got", "--only", INFERENCE)
    assert (code, len(errors)) == (2, 1)
    assert Path("got", INFERENCE, "submission.csv").read_bytes() == b"old"
    assert [path.name for path in Path("got").iterdir()] == [INFERENCE]


@pytest.mark.parametrize(
    "states, expected",
    [
        (None, f"{NOT_THERE}; only a complete run can be submitted"),
        (["RUNNING"], "running; only a complete run can be submitted"),
        (["ERROR"], "error it broke; only a complete run can be submitted"),
        (["COMPLETE"], "its run has written no submission.csv; `kaggle pull` has its log"),
    ],
)
def test_only_a_complete_run_with_a_submission_is_submitted(states, expected, run, stub, checkout):
    stub.states, stub.kernels = {INFERENCE: states} if states else {}, {INFERENCE: {"version": 2}}
    (checkout / "dist").mkdir()
    (checkout / "dist" / "kaggle_pushed.json").write_text(f'{{"notebook writer/{INFERENCE}": {{"version": 2}}}}')
    code, _, errors = run("submit")
    assert (code, errors) == (2, [f"error: notebook writer/{INFERENCE}: {expected}"])
    assert stub.submissions == []


def test_a_notebook_that_was_pushed_elsewhere_is_submitted_by_its_version(run, stub):
    stub.states, stub.kernels = {INFERENCE: ["COMPLETE"]}, {INFERENCE: {"version": 3}}
    stub.outputs = {INFERENCE: {"submission.csv": b"row_id\n"}}
    code, _, errors = run("submit")
    assert (code, len(errors)) == (2, 1)
    assert "give --notebook-version N" in errors[0]
    code, lines, _ = run("submit", "--notebook-version", "3", "--message", "mine")
    assert (code, lines) == (0, ["submission 77: sent"])
    assert stub.bodies("CreateCodeSubmission")[0]["submissionDescription"] == "mine"


def test_problems_of_the_description_are_shown_before_anything_is_sent(run, stub, tmp_path):
    content = json.loads(json.dumps(CONTENT))
    content["notebooks"][0]["accelerator"] = "GPU"
    content["notebooks"][1]["internet"] = None
    (tmp_path / "mine.json").write_text(json.dumps(content))
    code, lines, errors = run("push", "--description", tmp_path / "mine.json")
    assert (code, lines, len(errors)) == (2, [], 2)
    assert "notebooks.0.accelerator" in errors[0] and "notebooks.1.internet" in errors[1]
    assert stub.calls == []
