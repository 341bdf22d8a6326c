import json
import sys
from pathlib import Path

import pytest

from pii_kit.__main__ import main
from pii_kit.kaggle import publish as kaggle_wait
from pii_kit.kaggle import runs_below

ROOT = Path(__file__).parents[2]
SLUGS = [entry["slug"] for entry in json.loads((ROOT / "kaggle_metadata.json").read_text())["notebooks"]]
INFERENCE = SLUGS[3]


@pytest.fixture
def kit(stub, wheels_at_hand, monkeypatch, capsys):
    """A function from a verb with its arguments to what the user sees: exit code, lines, lines of errors."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(kaggle_wait, "LOOK_SECONDS", 0.01)

    def kit(verb: str, *arguments: str) -> tuple[int, list[str], list[str]]:
        code = main(["kaggle", verb, *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return kit


def test_the_whole_kit_goes_up_and_its_submission_is_scored(kit, stub, tmp_path):
    code, lines, errors = kit("push", "--wait", "--out", tmp_path / "kit")
    assert (code, errors) == (0, [])
    assert lines[0] == f"{tmp_path / 'kit'}: written for writer: datasets/ (1), kernels/ (6)"
    assert list(stub.kernels) == SLUGS
    wheels = sorted(stub.files("pii-kit-package"))
    assert wheels == ["faker-40.54.0-py3-none-any.whl", "pii_kit-0.1.0-py3-none-any.whl"]

    stub.outputs[INFERENCE] = {"submission.csv": b"row_id,document,token,label\n"}
    code, lines, errors = kit("submit", "--wait")
    assert (code, errors) == (0, [])
    (submitted,) = stub.bodies("CreateCodeSubmission")
    assert (submitted["kernelSlug"], submitted["kernelVersion"]) == (INFERENCE, 1)
    assert submitted["competitionName"] == "pii-detection-removal-from-educational-data"
    assert submitted["submissionDescription"] == f"pii_kit 0.1.0, {INFERENCE} version 1"
    assert lines[0] == f"writer/{INFERENCE}, version 1: Successfully submitted"
    assert lines[-1] == "submission 77: complete, public 0.95, private 0.94"


def test_build_sends_nothing(kit, stub, tmp_path):
    code, lines, _ = kit("build", "--out", tmp_path / "kit", "--owner", "somebody")
    assert (code, lines) == (0, [f"{tmp_path / 'kit'}: written for somebody: datasets/ (1), kernels/ (6)"])
    metadata = json.loads((tmp_path / "kit" / "kernels" / INFERENCE / "kernel-metadata.json").read_text())
    assert metadata["id"] == f"somebody/{INFERENCE}"
    assert stub.calls == []


def test_without_an_owner_build_says_where_to_put_one(kit, stub, tmp_path, monkeypatch):
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    code, _, errors = kit("build", "--out", tmp_path / "kit")
    assert code == 2
    assert "owner missing: put your Kaggle name in --owner NAME, KAGGLE_USERNAME, or" in errors[0]
    assert "no credentials for Kaggle" in errors[0]
    assert not (tmp_path / "kit").exists()


def test_the_placeholder_is_no_owner(kit, tmp_path):
    code, _, errors = kit("build", "--out", tmp_path / "kit", "--owner", "INSERT_KAGGLE_USERNAME")
    expected = "expected the name in the address of your Kaggle profile"
    assert (code, errors) == (2, [f"error: owner 'INSERT_KAGGLE_USERNAME': {expected}"])


def test_status_shows_all_that_is_described(kit, stub):
    stub.datasets["pii-kit-package"] = {"version": 2, "description": "", "status": "READY"}
    stub.states = {SLUGS[1]: ["RUNNING"], SLUGS[2]: ["ERROR"]}
    code, lines, _ = kit("status")
    assert code == 0
    assert [line.split() for line in lines[:4]] == [
        ["data", "set", "pii-kit-package", "ready,", "version", "2"],
        ["notebook", SLUGS[0], "not", "on", "Kaggle"],
        ["notebook", SLUGS[1], "running"],
        ["notebook", SLUGS[2], "error", "it", "broke"],
    ]
    assert len(lines) == 7


def test_pulled_runs_lie_where_notebooks_and_predict_find_them(kit, stub, tmp_path):
    stub.states = {SLUGS[1]: ["COMPLETE"], SLUGS[2]: ["RUNNING"], INFERENCE: ["COMPLETE"]}
    run = {"runs/sha_rnn/folds.json": b"{}", "runs/sha_rnn/fold_0/tagger/decision.json": b"{}"}
    stub.outputs = {SLUGS[1]: run, INFERENCE: {"submission.csv": b"row_id\n"}}
    code, lines, errors = kit("pull", "--out", tmp_path)
    assert (code, errors) == (0, [])
    assert lines[0] == f"notebook writer/{SLUGS[0]}: not on Kaggle, nothing to pull"
    assert lines[1] == f"notebook writer/{SLUGS[1]}: complete, 3 files to {tmp_path / SLUGS[1]}"
    assert lines[2] == f"notebook writer/{SLUGS[2]}: running, nothing to pull"
    folder = tmp_path / SLUGS[1] / "runs" / "sha_rnn"
    assert runs_below(tmp_path) == [folder]
    assert f"predict --run {folder} --data" in lines[-2]
    assert lines[-1].endswith(f"--submission {tmp_path / INFERENCE / 'submission.csv'}")


def test_a_pull_that_breaks_off_leaves_what_was_pulled_before(kit, stub, tmp_path):
    stub.states = {INFERENCE: ["COMPLETE"]}
    stub.outputs = {INFERENCE: {"submission.csv": b"old"}}
    assert kit("pull", "--out", tmp_path, "--only", INFERENCE)[0] == 0
    stub.outputs = {INFERENCE: {"submission.csv": b"new", "../../evil": b"x"}}
    code, _, errors = kit("pull", "--out", tmp_path, "--only", INFERENCE)
    assert (code, len(errors)) == (2, 1)
    assert (tmp_path / INFERENCE / "submission.csv").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == [INFERENCE]


@pytest.mark.parametrize(
    "states, outputs, expected",
    [
        ({}, {}, "not on Kaggle; only a complete run can be submitted"),
        ({INFERENCE: ["RUNNING"]}, {}, "running; only a complete run can be submitted"),
        ({INFERENCE: ["ERROR"]}, {}, "error it broke; only a complete run can be submitted"),
        ({INFERENCE: ["COMPLETE"]}, {INFERENCE: {"a.csv": b""}}, "has written no submission.csv (its files: a.csv)"),
    ],
)
def test_what_kaggle_would_not_score_is_not_submitted(states, outputs, expected, kit, stub):
    stub.states, stub.outputs = states, outputs
    code, _, errors = kit("submit")
    assert (code, errors) == (2, [f"error: notebook writer/{INFERENCE}: {expected}"])
    assert "CreateCodeSubmission" not in stub.methods()


def test_a_description_with_problems_is_told_before_anything_is_sent(kit, stub, tmp_path):
    content = json.loads((ROOT / "kaggle_metadata.json").read_text())
    content["notebooks"][0]["accelerator"] = "GPU"
    content["notebooks"][1]["internet"] = None
    (tmp_path / "mine.json").write_text(json.dumps(content))
    code, lines, errors = kit("push", "--description", tmp_path / "mine.json")
    assert (code, lines, len(errors)) == (2, [], 2)
    assert "notebooks[0].accelerator" in errors[0] and "notebooks[1].internet" in errors[1]
    assert stub.calls == []


def test_without_the_client_build_works_and_push_says_what_to_install(kit, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "kaggle"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "kaggle", None)
    assert kit("build", "--out", tmp_path / "kit")[0] == 0
    code, _, errors = kit("push", "--out", tmp_path / "other")
    assert code == 2
    assert "pip install kaggle==2.2.4 six" in errors[0]
    assert not (tmp_path / "other").exists()
