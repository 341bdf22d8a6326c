"""The real Kaggle client against a stub on this machine. Each call starts a process, so there are few tests."""

import json
import time
import zipfile
from io import BytesIO

import pytest

from pii_kit.files import KitError
from pii_kit.kaggle import client
from pii_kit.kaggle.client import Kaggle, Missing, Unreachable, explain

NAME, PACKAGE = "writer/pii-kit-04-inference", "writer/pii-kit-package"
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
    assert request["isPrivate"] is True
    assert (request["ownerSlug"], request["slug"], request["title"]) == ("writer", "pii-kit-package", "PII kit package")
    assert request["licenseName"] == "other"
    kaggle.send_dataset(PACKAGE, folder, new=False, notes="more")
    assert stub.bodies("CreateDatasetVersion")[0]["body"]["versionNotes"] == "more"
    assert kaggle.dataset(PACKAGE) == ("ready", 2)


def test_folders_in_a_data_set_are_sent_too(kaggle, stub, tmp_path):
    (tmp_path / "sha_rnn" / "fold_0").mkdir(parents=True)
    (tmp_path / "sha_rnn" / "fold_0" / "run.json").write_text("{}")
    metadata = {"id": "writer/pii-kit-runs", "title": "PII kit runs", "licenses": [{"name": "other"}]}
    (tmp_path / "dataset-metadata.json").write_text(json.dumps(metadata))
    kaggle.send_dataset("writer/pii-kit-runs", tmp_path, new=True, notes="")
    archive = zipfile.ZipFile(BytesIO(stub.files("pii-kit-runs")["sha_rnn.zip"]))
    assert archive.namelist() == ["fold_0/run.json"]


def test_a_failed_upload_is_an_error_although_the_client_ends_with_exit_code_0(kaggle, stub, built_kit):
    stub.refuse("upload", 403, "expired")
    with pytest.raises(KitError, match=f"^data set {PACKAGE}: Upload unsuccessful: .*whl; ") as error:
        kaggle.send_dataset(PACKAGE, built_kit / "datasets" / "pii-kit-package", new=True, notes="")
    assert "\n" not in str(error.value)


def test_a_notebook_arrives_with_its_cells_and_settings_and_the_output_is_shown(stub, built_kit):
    lines: list[str] = []
    kaggle = Kaggle(timeout=20, tell=lines.append)
    folder = built_kit / "kernels" / "pii-kit-04-inference"
    assert kaggle.push_notebook(NAME, folder) == 1
    assert lines == [
        f"  Kernel version 1 successfully pushed.  Please check progress at https://www.kaggle.com/code/{NAME}"
    ]
    request = stub.kernels["pii-kit-04-inference"]
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


@pytest.mark.parametrize(
    "status, reply, expected, kind",
    [
        (401, {"code": 401, "message": "Unauthenticated"}, "no valid credentials for Kaggle: get a token at", KitError),
        (
            403,
            {"code": 403, "message": "Permission 'kernels.save' was denied"},
            f"' was denied; check .*{RULES}",
            Missing,
        ),
        (502, "<html>", "502 Server Error: Bad Gateway .*; Kaggle may be in trouble: run the command", Unreachable),
        (
            200,
            {"error": "Maximum batch GPU session count of 2 reached."},
            "reached.; wait until a session ends",
            KitError,
        ),
        (200, {"versionNumber": 1, "invalidDatasetSources": ["you/b"]}, "you/b'.*; check kaggle_metadata", KitError),
        (200, {}, "Kaggle's answer names no version", KitError),
    ],
)
def test_a_refusal_is_one_line_with_what_to_do(status, reply, expected, kind, kaggle, stub, built_kit):
    page = isinstance(reply, str)
    headers = {"Content-Type": "text/html"} if page else {}
    stub.refusals["SaveKernel"] = (status, reply if page else json.dumps(reply), headers)
    with pytest.raises(KitError, match=f"^notebook {NAME}: .*{expected}") as error:
        kaggle.push_notebook(NAME, built_kit / "kernels" / "pii-kit-04-inference")
    assert "\n" not in str(error.value)
    assert type(error.value) is kind
    assert stub.methods() == ["SaveKernel"]


def test_a_call_without_an_answer_is_ended(stub, built_kit):
    stub.hangs.add("SaveKernel")
    began = time.monotonic()
    with pytest.raises(Unreachable, match="no answer from Kaggle in 2 s; it may have arrived: look at the site"):
        Kaggle(timeout=2, tell=[].append).push_notebook(NAME, built_kit / "kernels" / "pii-kit-04-inference")
    assert time.monotonic() - began < 4.5


def test_a_long_pause_that_kaggle_asks_for_ends_with_the_time_limit_and_is_shown(stub, built_kit):
    stub.refuse("StartBlobUpload", 429, "Too many requests", Retry_After="3600")
    with pytest.raises(Unreachable, match=r"no answer from Kaggle in 3 s \(last line: .*Will retry in 3600.0 seconds"):
        Kaggle(timeout=3, tell=[].append).send_dataset(
            PACKAGE, built_kit / "datasets" / "pii-kit-package", new=True, notes=""
        )


def test_credentials_are_found_or_one_line_says_where_to_get_them(kaggle, stub, monkeypatch):
    assert kaggle.sign_in() == "writer"
    assert stub.calls == []
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    with pytest.raises(KitError, match=r"^signing in: no valid credentials for Kaggle: get a token at [^\n]*$"):
        kaggle.sign_in()
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_old")
    with pytest.raises(Unreachable, match="check the network connection"):
        kaggle.sign_in()


def test_without_the_client_one_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(client.shutil, "which", lambda name, path=None: None)
    assert Kaggle()._command[1:] == ["-m", "kaggle"]
    monkeypatch.setattr(client.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(KitError, match=r"^the Kaggle client is not installed: pip install kaggle==2\.2\.4 six$"):
        Kaggle()


def test_runs_are_listed_with_status_reason_and_time(kaggle, stub):
    stub.states = {"pii-kit-04-inference": ["QUEUED", "ERROR"]}
    assert kaggle.notebook(NAME) == ("queued", "")
    assert kaggle.notebook(NAME) == ("error", "it broke")
    assert kaggle.notebook("writer/pii-kit-01-eda") is None
    assert kaggle.last_runs() == {}
    stub.last_runs = {"pii-kit-04-inference": "2026-01-02T12:00:00Z"}
    assert list(kaggle.last_runs()) == [NAME]
    assert kaggle.last_runs()[NAME].startswith("2026-01-02T12:00:00")


def test_outputs_are_loaded_with_the_log_and_never_leave_their_folder(kaggle, stub, tmp_path):
    written = {"submission.csv": b"row_id\n", "runs/a/x.bin": bytes(range(256)), "runs/a/b/y..z": b"{}"}
    outside = {"../evil": b"1", "a/../../evil": b"2", f"{tmp_path}/evil": b"3", "..": b"4"}
    stub.outputs["pii-kit-04-inference"] = {**outside, **written}
    files = kaggle.download(NAME, tmp_path / "in")
    found = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*") if path.is_file()}
    expected = {**written, "pii-kit-04-inference.log": b"a log"}
    assert {name: path.read_bytes() for name, path in found.items()} == {f"in/{k}": v for k, v in expected.items()}
    assert files == sorted(found.values())
    only = kaggle.download(NAME, tmp_path / "one", only="submission.csv")
    assert [path.name for path in only if path.suffix != ".log"] == ["submission.csv"]


def test_an_error_page_is_not_kept_as_an_output(kaggle, stub, tmp_path):
    stub.outputs["pii-kit-04-inference"] = {"submission.csv": b"1"}
    stub.refusals["output"] = (403, "<?xml version='1.0'?><Error>expired</Error>", {"Content-Type": "text/xml"})
    with pytest.raises(Unreachable, match=f"outputs of {NAME}: submission.csv is an error page"):
        kaggle.download(NAME, tmp_path)


def test_a_submission_names_notebook_version_and_file_and_gets_its_scores(kaggle, stub):
    assert kaggle.submissions("some-competition") == {}
    kaggle.submit(NAME, 3, competition="some-competition", file="submission.csv", message="first")
    assert stub.bodies("CreateCodeSubmission") == [
        {
            "competitionName": "some-competition",
            "kernelOwner": "writer",
            "kernelSlug": "pii-kit-04-inference",
            "kernelVersion": 3,
            "fileName": "submission.csv",
            "submissionDescription": "first",
        }
    ]
    pending = kaggle.submissions("some-competition")["77"]
    assert (pending["status"], pending["publicScore"], pending["description"]) == ("pending", "", "first")
    scored = kaggle.submissions("some-competition")["77"]
    assert (scored["status"], scored["publicScore"], scored["privateScore"]) == ("complete", "0.95", "0.94")


@pytest.mark.parametrize(
    "output, kind, expected",
    [
        ("Traceback:\nModuleNotFoundError: No module named 'six'", KitError, "pip install kaggle==2.2.4 six"),
        ("kaggle: error: unrecognized arguments: --format json", KitError, "pip install kaggle==2.2.4 six"),
        ("Title is already in use", KitError, "choose another title and slug in kaggle_metadata.json"),
        ("Too many requests", Unreachable, "wait a while, then run the command again"),
        ("404 Client Error: Not Found for url: x", Missing, "check the name"),
        ("You must accept this competition's rules", Missing, RULES),
        ("Bad Request", KitError, "check kaggle_metadata.json"),
        ("HTTPConnectionPool(...): Max retries exceeded with url", Unreachable, "check the network connection"),
        ("Something new", Unreachable, "Something new; Kaggle may be in trouble: run the command again later"),
        ("", Unreachable, "the client printed nothing"),
    ],
)
def test_each_failure_has_its_advice(output, kind, expected):
    error = explain("notebook a/b", output)
    assert type(error) is kind
    assert str(error).startswith("notebook a/b: ") and expected in str(error)
