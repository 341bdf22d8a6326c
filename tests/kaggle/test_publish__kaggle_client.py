import json
import zipfile
from io import BytesIO

import pytest

from pii_kit.files import KitError
from pii_kit.kaggle.build import content_mark, dataset_folder, kernel_folder
from pii_kit.kaggle.publish import DatasetState, KernelState, Submission, connect

PACKAGE, INFERENCE = "writer/pii-kit-package", "writer/pii-kit-04-inference"


@pytest.fixture
def kaggle(stub):
    with connect(silence=2) as kaggle:
        yield kaggle


@pytest.fixture
def package(built_kit):
    return dataset_folder(built_kit, "pii-kit-package")


def test_a_new_data_set_arrives_whole_and_private(kaggle, stub, package):
    assert kaggle.dataset(PACKAGE) is None
    kaggle.send_dataset(PACKAGE, package, new=True, notes="")
    arrived = stub.files("pii-kit-package")
    assert arrived == {path.name: path.read_bytes() for path in package.glob("*.whl")}
    (request,) = stub.bodies("CreateDataset")
    assert request["isPrivate"] is True
    assert (request["ownerSlug"], request["slug"], request["title"]) == ("writer", "pii-kit-package", "PII kit package")
    assert request["licenseName"] == "MIT"
    assert kaggle.dataset(PACKAGE) == DatasetState(1, content_mark(package), "ready")


def test_a_data_set_that_is_there_gets_a_new_version(kaggle, stub, package):
    kaggle.send_dataset(PACKAGE, package, new=True, notes="")
    kaggle.send_dataset(PACKAGE, package, new=False, notes="more")
    (request,) = stub.bodies("CreateDatasetVersion")
    assert request["body"]["versionNotes"] == "more"
    assert kaggle.dataset(PACKAGE).version == 2
    assert len(stub.files("pii-kit-package")) == 2


def test_folders_in_a_data_set_are_not_left_out(kaggle, stub, tmp_path):
    (tmp_path / "sha_rnn" / "fold_0").mkdir(parents=True)
    (tmp_path / "sha_rnn" / "fold_0" / "run.json").write_text("{}")
    metadata = {"id": "writer/pii-kit-runs", "title": "PII kit runs", "description": "x"}
    metadata["licenses"] = [{"name": "other"}]
    (tmp_path / "dataset-metadata.json").write_text(json.dumps(metadata))
    kaggle.send_dataset("writer/pii-kit-runs", tmp_path, new=True, notes="")
    archive = zipfile.ZipFile(BytesIO(stub.files("pii-kit-runs")["sha_rnn.zip"]))
    assert archive.namelist() == ["fold_0/run.json"]


def test_an_upload_that_is_refused_is_not_left_out_but_ends_it(kaggle, stub, package):
    stub.refuse("upload", 403, "expired")
    with pytest.raises(KitError, match=r"data set writer/pii-kit-package: Kaggle refuses \(HTTP 403\): expired"):
        kaggle.send_dataset(PACKAGE, package, new=True, notes="")
    assert "CreateDataset" not in stub.methods()


def test_a_notebook_arrives_with_its_cells_and_settings(kaggle, stub, built_kit):
    folder = kernel_folder(built_kit, "pii-kit-04-inference")
    assert kaggle.push_kernel(INFERENCE, folder) == 1
    assert kaggle.push_kernel(INFERENCE, folder) == 2
    request = stub.kernels["pii-kit-04-inference"]
    sent = json.loads((folder / "04_inference.ipynb").read_text())["cells"]
    arrived = json.loads(request["text"])["cells"]
    assert [cell["source"] for cell in arrived] == ["".join(cell["source"]) for cell in sent]
    expected = {
        "slug": INFERENCE,
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
    "reply, expected",
    [
        ({"error": "Title is taken"}, "Kaggle refuses: Title is taken"),
        (
            {"versionNumber": 1, "invalidDatasetSources": ["writer/a", "you/b"]},
            "without data sets writer/a, you/b;",
        ),
        ({"versionNumber": 1, "invalidKernelSources": ["writer/c"]}, "runs it without notebooks writer/c;"),
        ({"versionNumber": 1, "invalidModelSources": ["m"]}, "runs it without models m;"),
        ({}, "Kaggle's reply names no version"),
    ],
)
def test_a_refusal_in_a_reply_that_is_otherwise_well_is_an_error(reply, expected, kaggle, stub, built_kit):
    stub.refusals["SaveKernel"] = (200, json.dumps(reply), {})
    with pytest.raises(KitError, match=f"^notebook {INFERENCE}: .*{expected}"):
        kaggle.push_kernel(INFERENCE, kernel_folder(built_kit, "pii-kit-04-inference"))


@pytest.mark.parametrize("new, method", [(True, "CreateDataset"), (False, "CreateDatasetVersion")])
def test_a_data_set_that_kaggle_does_not_want_is_an_error(new, method, kaggle, stub, package):
    stub.refusals[method] = (200, json.dumps({"status": "error", "error": "No more space"}), {})
    with pytest.raises(KitError, match=f"^data set {PACKAGE}: Kaggle refuses: No more space$"):
        kaggle.send_dataset(PACKAGE, package, new=new, notes="n")


def test_a_run_is_told_as_it_stands(kaggle, stub):
    stub.states = {"pii-kit-04-inference": ["QUEUED", "ERROR"]}
    assert kaggle.kernel(INFERENCE) == KernelState("queued", "")
    assert kaggle.kernel(INFERENCE) == KernelState("error", "it broke")
    assert kaggle.kernel("writer/pii-kit-01-eda") is None


@pytest.mark.parametrize("status", [403, 404])
def test_what_kaggle_does_not_show_is_not_there(status, kaggle, stub):
    stub.refuse("GetKernelSessionStatus", status, "Permission 'kernels.get' was denied")
    stub.refuse("GetDataset", status, "Permission 'datasets.get' was denied")
    assert kaggle.kernel(INFERENCE) is None
    assert kaggle.dataset(PACKAGE) is None


def test_outputs_of_all_pages_and_the_log_are_fetched(kaggle, stub, tmp_path):
    written = {"submission.csv": b"row_id\n", "runs/a/x.bin": bytes(range(256)), "runs/a/b/y": b""}
    stub.outputs["pii-kit-04-inference"] = written
    files = kaggle.download(INFERENCE, tmp_path)
    found = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {**written, "pii-kit-04-inference.log": b"a log"}
    assert sorted(files) == sorted(path for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", ""])
def test_no_output_lies_outside_of_its_folder(name, kaggle, stub, tmp_path):
    stub.outputs["pii-kit-04-inference"] = {"a": b"1", name: b"2"}
    with pytest.raises(KitError, match="would not lie inside of the folder; nothing is kept"):
        kaggle.download(INFERENCE, tmp_path / "in")
    assert list(tmp_path.glob("in/*")) == list(tmp_path.glob("evil")) == []


def test_an_error_page_is_not_kept_as_an_output(kaggle, stub, tmp_path):
    stub.outputs["pii-kit-04-inference"] = {"submission.csv": b"1"}
    stub.refuse("output", 404, "gone")
    with pytest.raises(KitError, match=r"output submission.csv of .*: Kaggle refuses \(HTTP 404\)"):
        kaggle.download(INFERENCE, tmp_path)


def test_a_submission_names_notebook_version_and_file_and_gets_its_scores(kaggle, stub):
    made = kaggle.submit(INFERENCE, 3, competition="some-competition", file="submission.csv", message="first")
    assert made == (77, "Successfully submitted")
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
    assert kaggle.submission("some-competition", 77) == Submission(77, "pending", "", None, None)
    assert kaggle.submission("some-competition", 77) == Submission(77, "complete", "", "0.95", "0.94")
    assert kaggle.submission("some-competition", 78) is None


def test_the_latest_version_is_asked_for(kaggle, stub, built_kit):
    kaggle.push_kernel(INFERENCE, kernel_folder(built_kit, "pii-kit-04-inference"))
    assert kaggle.kernel_version(INFERENCE) == 1
    stub.kernels["pii-kit-04-inference"]["version"] = 0
    with pytest.raises(KitError, match="name it with --version"):
        kaggle.kernel_version(INFERENCE)
