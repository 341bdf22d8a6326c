"""The real Kaggle client against a stub on this machine."""

import json
import zipfile
from io import BytesIO

import pytest

from pii_kit.files import KitError
from pii_kit.kaggle import client
from pii_kit.kaggle.client import NOT_THERE, Busy, Kaggle, Missing, Unreachable

SLUG = "pii-kit-04-inference"
NAME, PACKAGE = f"writer/{SLUG}", "writer/pii-kit-package"
RULES = "https://www.kaggle.com/competitions/pii-detection-removal-from-educational-data/rules"


@pytest.fixture
def lines():
    return []


@pytest.fixture
def kaggle(stub, lines, tmp_path, monkeypatch):
    monkeypatch.setattr(client, "POLL_SECONDS", 0)
    monkeypatch.setattr(client, "CALL_SECONDS", 20)
    return Kaggle(tmp_path, tell=lines.append)


@pytest.fixture
def package(tmp_path):
    """A data set with a file and a folder."""
    folder = tmp_path / "data set"
    (folder / "run" / "fold_0").mkdir(parents=True)
    (folder / "kit.whl").write_text("wheel")
    (folder / "run" / "fold_0" / "history.json").write_text("{}")
    metadata = {"id": PACKAGE, "title": "PII kit package", "licenses": [{"name": "other"}]}
    (folder / "dataset-metadata.json").write_text(json.dumps(metadata))
    return folder


def test_a_data_set_arrives_whole_and_private_and_gets_new_versions(kaggle, stub, package, tmp_path):
    assert kaggle.dataset(PACKAGE) == (NOT_THERE, 0)
    kaggle.send_dataset(PACKAGE, package)
    assert stub.files("pii-kit-package")["kit.whl"] == b"wheel"
    archive = zipfile.ZipFile(BytesIO(stub.files("pii-kit-package")["run.zip"]))
    assert archive.namelist() == ["fold_0/history.json"]
    (request,) = stub.bodies("CreateDataset")
    expected = {"isPrivate": True, "ownerSlug": "writer", "slug": "pii-kit-package", "title": "PII kit package"}
    assert {**request, **expected, "licenseName": "other"} == request
    (package / "kit.whl").write_text("another wheel")
    kaggle.send_dataset(PACKAGE, package)
    assert stub.bodies("CreateDatasetVersion")[0]["body"]["versionNotes"].startswith("Content ")
    assert kaggle.dataset(PACKAGE) == ("ready", 2)


def test_equal_content_is_sent_again_only_if_the_version_that_was_sent_is_not_ready(kaggle, stub, package, tmp_path):
    kaggle.send_dataset(PACKAGE, package)
    for n_sent, change in enumerate(({}, {"version": 7}, {"status": "FAILED"}), start=1):
        stub.datasets["pii-kit-package"] |= change
        Kaggle(tmp_path, tell=[].append).send_dataset(PACKAGE, package)
        assert len(stub.sent()) == n_sent
        stub.datasets["pii-kit-package"]["status"] = "READY"


def test_a_failed_upload_makes_no_version_and_is_sent_again(kaggle, stub, package):
    stub.refuse("upload", 403, "expired")
    with pytest.raises(KitError, match=rf"^data set {PACKAGE}: Upload unsuccessful: [^\n]*$"):
        kaggle.send_dataset(PACKAGE, package)
    assert stub.datasets == {}
    stub.refusals.clear()
    kaggle.send_dataset(PACKAGE, package)
    assert kaggle.dataset(PACKAGE) == ("ready", 1)


def test_the_new_version_of_a_data_set_is_waited_for(kaggle, stub, package, lines, monkeypatch):
    states = iter([("READY", 1), ("READY", 1), ("BLOBS_RECEIVED", 2), ("READY", 2)])

    def answer(body):
        status, version = next(states)
        stub.datasets["pii-kit-package"] = {"status": status, "version": version}
        return {"status": status}

    monkeypatch.setattr(stub, "_GetDatasetStatus", answer)
    kaggle.send_dataset(PACKAGE, package)
    shown = ("sending a new version", "waiting for the new version", "blobs_received", "ready")
    assert lines == [f"data set {PACKAGE}: {state}" for state in shown]


def test_a_notebook_arrives_with_its_cells_and_settings(kaggle, stub, built_kit, capsys):
    folder = built_kit / "kernels" / SLUG
    kaggle.send_notebook(NAME, folder)
    request = stub.kernels[SLUG]
    sent = json.loads((folder / "04_inference.ipynb").read_text())["cells"]
    assert [cell["source"] for cell in json.loads(request["text"])["cells"]] == ["".join(c["source"]) for c in sent]
    expected = {
        "slug": NAME,
        "newTitle": "PII kit 04 Inference",
        "enableInternet": False,
        "isPrivate": True,
        "machineShape": "NvidiaTeslaT4",
        "datasetDataSources": [PACKAGE],
        "competitionDataSources": ["pii-detection-removal-from-educational-data"],
        "kernelDataSources": ["writer/pii-kit-02-train-sha-rnn", "writer/pii-kit-03-train-mobilebert"],
    }
    assert {key: request.get(key) for key in expected} == expected
    assert capsys.readouterr().out == ""  # the client's own lines are not for the user


@pytest.mark.parametrize(
    "status, reply, expected, kind",
    [
        (401, {"message": "Unauthenticated"}, "; no valid credentials for Kaggle: get a token at", KitError),
        (403, {"message": "Permission 'kernels.save' was denied"}, f"' was denied; check .*{RULES}", Missing),
        (429, {"message": "Too many requests"}, "; wait a while, then run the command again", Unreachable),
        (502, None, "502 Server Error: Bad Gateway .*; Kaggle may be in trouble: run the command", Unreachable),
        (200, {"error": "Maximum batch GPU session count of 2 reached."}, "reached.; wait until a session ends", Busy),
        (200, {"error": "Title is already in use."}, "in use.; choose another title and slug", KitError),
        (200, {"versionNumber": 1, "invalidDatasetSources": ["you/b"]}, "does not know: you/b; check kagg", KitError),
    ],
)
def test_a_refusal_is_one_line_with_what_to_do(status, reply, expected, kind, kaggle, stub, built_kit):
    body = json.dumps({"code": status, **reply} if status != 200 else reply) if reply is not None else "<html>"
    stub.refusals["SaveKernel"] = (status, body, {} if reply is not None else {"Content-Type": "text/html"})
    with pytest.raises(KitError, match=f"^notebook {NAME}: .*{expected}") as error:
        kaggle.send_notebook(NAME, built_kit / "kernels" / SLUG)
    assert "\n" not in str(error.value)
    assert type(error.value) is kind
    assert len(stub.calls) == 1
    assert kaggle.pushed == {}


def test_a_call_without_an_answer_is_given_up(stub, package, tmp_path, monkeypatch):
    """The client itself would wait for an hour."""
    stub.refuse("StartBlobUpload", 429, "Too many requests", Retry_After="3600")
    with pytest.raises(Unreachable, match="no answer from Kaggle in 1 s; it may have arrived: look at the site"):
        monkeypatch.setattr(client, "CALL_SECONDS", 1)
        Kaggle(tmp_path).send_dataset(PACKAGE, package)


def test_credentials_are_found_or_one_line_says_where_to_get_them(kaggle, stub, tmp_path, monkeypatch):
    assert kaggle.sign_in() == "writer"
    assert stub.calls == []
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    with pytest.raises(KitError, match=r"^signing in: [^\n]*no valid credentials for Kaggle: get a token at [^\n]*$"):
        Kaggle(tmp_path).sign_in()
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_new")
    assert Kaggle(tmp_path).sign_in() == "owner-of-KGAT_new"
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(Unreachable, match="check the network connection"):
        Kaggle(tmp_path).sign_in()


def test_without_the_client_one_line_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setattr(client.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(KitError, match=r"^the Kaggle client is not installed: pip install kaggle==2\.2\.5 six$"):
        Kaggle(tmp_path)


def test_a_run_has_a_status_and_a_reason_also_by_version(kaggle, stub):
    stub.states, stub.kernels = {SLUG: ["QUEUED", "ERROR"]}, {SLUG: {"version": 3}}
    assert kaggle.notebook(NAME) == ("queued", "")
    assert kaggle.notebook(NAME, 3) == ("error", "it broke")
    assert kaggle.notebook(NAME, 4) == kaggle.notebook("writer/pii-kit-01-eda") == (NOT_THERE, "")


def test_a_complete_status_of_the_version_before_is_not_believed(kaggle, stub, built_kit, tmp_path, monkeypatch):
    stub.kernels[SLUG] = {"version": 4}
    kaggle.send_notebook(NAME, built_kit / "kernels" / SLUG)
    stub.states[SLUG] = ["COMPLETE"]
    stub.kernels[SLUG]["version"] = 4  # Kaggle does not show version 5 yet
    assert Kaggle(tmp_path).notebook(NAME) == ("pushed", "")
    stub.kernels[SLUG]["version"] = 5
    assert Kaggle(tmp_path).notebook(NAME) == ("complete", "")
    stub.kernels[SLUG]["version"] = 6  # saved at the site, and version 5 is deleted
    monkeypatch.setattr(client, "SETTLE_SECONDS", 0)
    assert Kaggle(tmp_path).notebook(NAME) == (NOT_THERE, "")


def test_a_wait_ends_in_time(kaggle, stub, monkeypatch):
    monkeypatch.setattr(client, "POLL_SECONDS", 10**6)
    stub.states[SLUG] = ["RUNNING"]
    with pytest.raises(KitError, match=f"^notebook {NAME}: still running after 780 minutes"):
        kaggle.wait_for_notebook(NAME)


def test_a_wait_outlives_some_failures_but_not_many(kaggle, lines, monkeypatch):
    busy = [Unreachable("busy")] * (client.UNREACHABLE - 1)
    answers = iter([*busy, ("running", ""), *busy, ("complete", ""), *busy, Unreachable("busy")])

    def answer(name):
        if isinstance(state := next(answers), Exception):
            raise state
        return state

    monkeypatch.setattr(kaggle, "notebook", answer)
    kaggle.wait_for_notebook(NAME)
    shown = ("no answer, next request in 0 s (busy)", "running", "no answer, next request in 0 s (busy)", "complete")
    assert lines == [f"notebook {NAME}: {state}" for state in shown]
    with pytest.raises(Unreachable, match="busy"):
        kaggle.wait_for_notebook(NAME)


def test_outputs_are_loaded_with_the_log_and_never_leave_their_folder(kaggle, stub, tmp_path):
    written = {"submission.csv": b"row_id\n", "runs/a/x.bin": bytes(range(256)), "runs/a/b/y..z": b"{}"}
    outside = {"../evil": b"1", "a/../../evil": b"2", f"{tmp_path}/evil": b"3", "..": b"4"}
    stub.outputs[SLUG] = {**outside, **written}
    files = kaggle.download(NAME, tmp_path / "in")
    found = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*") if path.is_file()}
    expected = {**written, f"{SLUG}.log": b"a log"}
    assert {name: path.read_bytes() for name, path in found.items()} == {f"in/{k}": v for k, v in expected.items()}
    assert files == sorted(found.values())
