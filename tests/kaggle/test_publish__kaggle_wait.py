import time

import pytest

from pii_kit.files import KitError
from pii_kit.kaggle import publish as kaggle_wait
from pii_kit.kaggle.publish import Unreachable, connect, wait_for_dataset, wait_for_notebook, wait_for_submission

NOTEBOOK, PACKAGE = "writer/pii-kit-01-eda", "writer/pii-kit-package"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(kaggle_wait, "LOOK_SECONDS", 0.01)


@pytest.fixture
def kaggle(stub):
    with connect(silence=2) as kaggle:
        yield kaggle


def test_a_run_is_followed_and_each_change_told_once(kaggle, stub):
    stub.states["pii-kit-01-eda"] = ["QUEUED", "QUEUED", "RUNNING", "RUNNING", "COMPLETE"]
    lines = []
    wait_for_notebook(kaggle, NOTEBOOK, tell=lines.append)
    assert lines == [f"notebook {NOTEBOOK}: {state}" for state in ("queued", "running", "complete")]


@pytest.mark.parametrize("state, why", [("ERROR", "it broke"), ("CANCEL_ACKNOWLEDGED", "no reason given")])
def test_a_run_that_fails_ends_the_waiting(state, why, kaggle, stub):
    stub.states["pii-kit-01-eda"] = ["RUNNING", state]
    with pytest.raises(KitError, match=f"^notebook {NOTEBOOK}: {state.lower()}: {why}; pull has its log$"):
        wait_for_notebook(kaggle, NOTEBOOK, tell=lambda line: None)


def test_a_notebook_that_is_not_there_is_not_waited_for(kaggle):
    with pytest.raises(KitError, match="not on Kaggle; push it first"):
        wait_for_notebook(kaggle, NOTEBOOK, tell=lambda line: None)


def test_waiting_ends(kaggle, stub, monkeypatch):
    monkeypatch.setattr(kaggle_wait, "SESSION_SECONDS", 0.2)
    stub.states["pii-kit-01-eda"] = ["RUNNING"]
    began = time.monotonic()
    with pytest.raises(KitError, match="still running after 0 minutes; look at the site"):
        wait_for_notebook(kaggle, NOTEBOOK, tell=lambda line: None)
    assert time.monotonic() - began < 3


def test_trouble_on_the_way_is_outlived_but_not_for_ever(kaggle, stub):
    stub.states["pii-kit-01-eda"] = ["RUNNING"]
    stub.refuse("GetKernelSessionStatus", 503, "busy")
    lines = []
    with pytest.raises(Unreachable, match="HTTP 503"):
        wait_for_notebook(kaggle, NOTEBOOK, tell=lines.append)
    assert stub.methods() == ["GetKernelSessionStatus"] * kaggle_wait.UNREACHABLE
    stub.states["pii-kit-01-eda"] = ["COMPLETE"]

    def mend(line: str) -> None:
        stub.refusals.clear()
        lines.append(line)

    wait_for_notebook(kaggle, NOTEBOOK, tell=mend)
    assert "no answer, another look in 0.01 s" in lines[-2]
    assert lines[-1] == f"notebook {NOTEBOOK}: complete"


def test_a_refusal_is_not_outlived(kaggle, stub):
    stub.refuse("GetKernelSessionStatus", 401, "token expired")
    with pytest.raises(KitError, match="HTTP 401"):
        wait_for_notebook(kaggle, NOTEBOOK, tell=lambda line: None)
    assert len(stub.calls) == 1


def test_a_data_set_is_ready_when_its_new_version_is(kaggle, stub):
    stub.datasets["pii-kit-package"] = {"version": 1, "description": "", "status": "READY"}
    lines = []

    def tell(line: str) -> None:
        lines.append(line)
        stub.datasets["pii-kit-package"] |= {"version": 2, "status": "BLOBS_RECEIVED" if len(lines) == 1 else "READY"}

    wait_for_dataset(kaggle, PACKAGE, after=1, tell=tell)
    states = ("the version before", "blobs_received", "ready")
    assert lines == [f"data set {PACKAGE}: {state}" for state in states]


def test_a_data_set_that_fails_is_told(kaggle, stub):
    stub.datasets["pii-kit-package"] = {"version": 1, "description": "", "status": "FAILED"}
    with pytest.raises(
        KitError, match=f"^data set {PACKAGE}: failed; look at https://www.kaggle.com/datasets/{PACKAGE}$"
    ):
        wait_for_dataset(kaggle, PACKAGE, after=0, tell=lambda line: None)


def test_a_submission_is_followed_to_its_scores(kaggle, stub):
    stub.submissions = [{"ref": 8, "status": "PENDING"}]
    lines = []
    assert wait_for_submission(kaggle, "some-competition", 8, tell=lines.append).public == "0.95"
    assert lines == ["submission 8: pending", "submission 8: complete"]
    stub.submissions = [{"ref": 9, "status": "ERROR", "errorDescription": "Submission Scoring Error"}]
    with pytest.raises(KitError, match=r"^submission 9: Submission Scoring Error$"):
        wait_for_submission(kaggle, "some-competition", 9, tell=lines.append)
