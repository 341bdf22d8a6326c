"""The real Kaggle client against a stub on this machine."""

import json
import time
import zipfile
from io import BytesIO

import pytest

from pii_kit.files import KitError
from pii_kit.kaggle import client
from pii_kit.kaggle.client import Busy, Kaggle, Missing, Unreachable

SLUG = "pii-kit-04-inference"
NAME, PACKAGE = f"writer/{SLUG}", "writer/pii-kit-package"
RULES = "https://www.kaggle.com/competitions/pii-detection-removal-from-educational-data/rules"


@pytest.fixture
def kaggle(stub):
    return Kaggle(timeout=20, tell=[].append)


def test_a_data_set_arrives_whole_and_private_and_gets_new_versions(kaggle, stub, built_kit):
    folder = built_kit / "datasets" / "pii-kit-package"
    assert kaggle.dataset(PACKAGE) is None
    kaggle.send_dataset(PACKAGE, folder, new=True, notes="")
    assert stub.files("pii-kit-package") == {path.name: path.read_bytes() for path in folder.glob("*.whl")}
    (request,) = stub.bodies("CreateDataset")
    expected = {"isPrivate": True, "ownerSlug": "writer", "slug": "pii-kit-package", "title": "PII kit package"}
    assert {**request, **expected, "licenseName": "other"} == request
    kaggle.send_dataset(PACKAGE, folder, new=False, notes="more")
    assert stub.bodies("CreateDatasetVersion")[0]["body"]["versionNotes"] == "more"
    assert kaggle.dataset(PACKAGE) == ("ready", 2)


def test_folders_in_a_data_set_are_sent_too(kaggle, stub, tmp_path):
    (tmp_path / "sha_rnn" / "fold_0").mkdir(parents=True)
    (tmp_path / "sha_rnn" / "fold_0" / "history.json").write_text("{}")
    metadata = {"id": "writer/pii-kit-runs", "title": "PII kit runs", "licenses": [{"name": "other"}]}
    (tmp_path / "dataset-metadata.json").write_text(json.dumps(metadata))
    kaggle.send_dataset("writer/pii-kit-runs", tmp_path, new=True, notes="")
    archive = zipfile.ZipFile(BytesIO(stub.files("pii-kit-runs")["sha_rnn.zip"]))
    assert archive.namelist() == ["fold_0/history.json"]


def test_a_failed_upload_makes_no_version(kaggle, stub, built_kit):
    stub.refuse("upload", 403, "expired")
    with pytest.raises(KitError, match=rf"^data set {PACKAGE}: Upload unsuccessful: [^\n]*whl; [^\n]*$"):
        kaggle.send_dataset(PACKAGE, built_kit / "datasets" / "pii-kit-package", new=True, notes="")
    assert stub.datasets == {}


def test_a_notebook_arrives_with_its_cells_and_settings(kaggle, stub, built_kit, capsys):
    folder = built_kit / "kernels" / SLUG
    assert kaggle.push_notebook(NAME, folder) == 1
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
        (404, {"message": "Not found"}, "Not found; check the name", Missing),
        (409, {"message": "Conflict"}, "Conflict; choose another title and slug", KitError),
        (429, {"message": "Too many requests"}, "; wait a while, then run the command again", Unreachable),
        (502, None, "502 Server Error: Bad Gateway .*; Kaggle may be in trouble: run the command", Unreachable),
        (200, {"error": "Maximum batch GPU session count of 2 reached."}, "reached.; wait until a session ends", Busy),
        (200, {"error": "Title is already in use."}, "in use.; choose another title and slug", KitError),
        (200, {"versionNumber": 1, "invalidDatasetSources": ["you/b"]}, "does not know: you/b; check kagg", KitError),
        (200, {}, "Kaggle's answer names no version", KitError),
    ],
)
def test_a_refusal_is_one_line_with_what_to_do(status, reply, expected, kind, kaggle, stub, built_kit):
    body = json.dumps({"code": status, **reply} if status != 200 else reply) if reply is not None else "<html>"
    stub.refusals["SaveKernel"] = (status, body, {} if reply is not None else {"Content-Type": "text/html"})
    with pytest.raises(KitError, match=f"^notebook {NAME}: .*{expected}") as error:
        kaggle.push_notebook(NAME, built_kit / "kernels" / SLUG)
    assert "\n" not in str(error.value)
    assert type(error.value) is kind
    assert len(stub.calls) == 1


@pytest.mark.parametrize("pause", [False, True])
def test_a_call_without_an_answer_is_given_up(stub, built_kit, pause):
    if pause:  # the client would wait for an hour
        stub.refuse("StartBlobUpload", 429, "Too many requests", Retry_After="3600")
    else:
        stub.hangs.add("StartBlobUpload")
    began = time.monotonic()
    with pytest.raises(Unreachable, match="no answer from Kaggle in 1 s; it may have arrived: look at the site"):
        Kaggle(timeout=1).send_dataset(PACKAGE, built_kit / "datasets" / "pii-kit-package", new=True, notes="")
    assert time.monotonic() - began < 3


def test_credentials_are_found_or_one_line_says_where_to_get_them(kaggle, stub, monkeypatch):
    assert kaggle.sign_in() == "writer"
    assert stub.calls == []
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    with pytest.raises(KitError, match=r"^signing in: [^\n]*no valid credentials for Kaggle: get a token at [^\n]*$"):
        Kaggle().sign_in()
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_old")
    with pytest.raises(Unreachable, match="check the network connection"):
        Kaggle().sign_in()


def test_an_access_token_signs_in_its_user(stub, monkeypatch):
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_new")
    assert Kaggle().sign_in() == "owner-of-KGAT_new"


def test_without_the_client_one_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(client.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(KitError, match=r"^the Kaggle client is not installed: pip install kaggle==2\.2\.5 six$"):
        Kaggle()


def test_a_run_has_a_status_and_a_reason_also_by_version(kaggle, stub):
    stub.states, stub.kernels = {SLUG: ["QUEUED", "ERROR"]}, {SLUG: {"version": 3}}
    assert kaggle.notebook(NAME) == ("queued", "")
    assert kaggle.notebook(NAME, 3) == ("error", "it broke")
    assert kaggle.notebook(NAME, 4) is None
    assert kaggle.notebook("writer/pii-kit-01-eda") is None


def test_outputs_are_loaded_with_the_log_and_never_leave_their_folder(kaggle, stub, tmp_path):
    written = {"submission.csv": b"row_id\n", "runs/a/x.bin": bytes(range(256)), "runs/a/b/y..z": b"{}"}
    outside = {"../evil": b"1", "a/../../evil": b"2", f"{tmp_path}/evil": b"3", "..": b"4"}
    stub.outputs[SLUG] = {**outside, **written}
    files = kaggle.download(NAME, tmp_path / "in")
    found = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*") if path.is_file()}
    expected = {**written, f"{SLUG}.log": b"a log"}
    assert {name: path.read_bytes() for name, path in found.items()} == {f"in/{k}": v for k, v in expected.items()}
    assert files == sorted(found.values())
    only = kaggle.download(NAME, tmp_path / "one", only="submission.csv")
    assert [path.name for path in only if path.suffix != ".log"] == ["submission.csv"]


def test_an_error_page_is_not_kept_as_an_output(kaggle, stub, tmp_path):
    stub.outputs[SLUG] = {"submission.csv": b"1"}
    stub.refusals["output"] = (403, "<?xml version='1.0'?><Error>expired</Error>", {"Content-Type": "text/xml"})
    with pytest.raises(KitError, match=f"^outputs of {NAME}: 403 "):
        kaggle.download(NAME, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_submission_names_notebook_version_and_file_and_gets_its_scores(kaggle, stub):
    assert kaggle.submissions("some-competition") == {}
    assert kaggle.submit(NAME, 3, competition="some-competition", file="submission.csv", message="first") == 77
    (request,) = stub.bodies("CreateCodeSubmission")
    assert (request["kernelOwner"], request["kernelSlug"], request["kernelVersion"]) == ("writer", SLUG, 3)
    assert (request["competitionName"], request["fileName"]) == ("some-competition", "submission.csv")
    assert request["submissionDescription"] == "first"
    assert kaggle.submissions("some-competition") == {77: ("pending", "public -, private -")}
    assert kaggle.submissions("some-competition") == {77: ("complete", "public 0.95, private 0.94")}
