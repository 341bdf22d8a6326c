import time

import pytest
import requests

from pii_kit.files import KitError
from pii_kit.kaggle.build import kernel_folder
from pii_kit.kaggle.publish import Unreachable, connect, http_error, refusals

NAME = "writer/pii-kit-01-eda"


def push_error(built_kit) -> KitError:
    """What comes of pushing a notebook, which must be quick."""
    began = time.monotonic()
    with connect(silence=0.5) as kaggle, pytest.raises(KitError) as error:
        kaggle.push_kernel(NAME, kernel_folder(built_kit, "pii-kit-01-eda"))
    assert time.monotonic() - began < 4
    assert "\n" not in str(error.value)
    return error.value


@pytest.mark.parametrize(
    "status, what_to_do, may_go_well_later",
    [
        (400, "see that kaggle_metadata.json says what you mean", False),
        (401, "set KAGGLE_API_TOKEN to it", False),
        (403, "https://www.kaggle.com/competitions/pii-detection-removal-from-educational-data/rules", False),
        (409, "choose others in kaggle_metadata.json", False),
        (429, "wait a while, then run the command again", True),
        (500, "run the command again later", True),
    ],
)
def test_a_refusal_says_what_was_sent_what_kaggle_said_and_what_to_do(
    status, what_to_do, may_go_well_later, stub, built_kit
):
    stub.refuse("SaveKernel", status, "For\n  a reason")
    error = push_error(built_kit)
    assert str(error).startswith(f"notebook {NAME}: Kaggle refuses (HTTP {status}): For a reason; ")
    assert what_to_do in str(error)
    assert isinstance(error, Unreachable) == may_go_well_later
    assert stub.methods() == ["SaveKernel"]


def test_a_client_that_would_sleep_as_long_as_kaggle_says_does_not(stub, built_kit):
    stub.refuse("StartBlobUpload", 429, "Too many requests", Retry_After="3600")
    folder = built_kit / "datasets" / "pii-kit-package"
    with connect(silence=0.5) as kaggle, pytest.raises(KitError, match="wait 3600 s, then run the command again"):
        kaggle.send_dataset("writer/pii-kit-package", folder, new=True, notes="")
    assert stub.methods().count("StartBlobUpload") == 1


def test_a_refusal_in_the_body_of_a_good_reply_is_one(stub, built_kit):
    stub.refusals["SaveKernel"] = (200, '{"code": 403, "message": "not yours"}', {})
    assert "Kaggle refuses (HTTP 403): not yours; see that it is yours" in str(push_error(built_kit))


def test_silence_is_given_up(stub, built_kit):
    stub.hangs.add("SaveKernel")
    error = push_error(built_kit)
    assert str(error).startswith(f"notebook {NAME}: no answer from Kaggle in time")
    assert isinstance(error, Unreachable)


def test_an_upload_that_hangs_is_given_up(stub, built_kit):
    stub.hangs.add("upload")
    folder = built_kit / "datasets" / "pii-kit-package"
    with connect(silence=0.5) as kaggle, pytest.raises(Unreachable, match="no answer from Kaggle in time"):
        kaggle.send_dataset("writer/pii-kit-package", folder, new=True, notes="")


@pytest.mark.parametrize("reply", ["<html>a proxy's page</html>", "", '{"versionNumber": ', "3"])
def test_a_broken_reply_is_told_as_one(reply, stub, built_kit):
    stub.refusals["SaveKernel"] = (200, reply, {})
    error = push_error(built_kit)
    assert "Kaggle's reply is broken" in str(error) or "names no version" in str(error)


def test_an_error_page_is_told_by_its_status(stub, built_kit):
    stub.refusals["SaveKernel"] = (502, "<html>" + "x" * 5000, {"Content-Type": "text/html"})
    error = str(push_error(built_kit))
    assert "Kaggle refuses (HTTP 502): Bad Gateway; Kaggle is in trouble" in error


def test_nobody_at_the_other_end_is_told_as_no_connection(stub, built_kit, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert "no connection to Kaggle" in str(push_error(built_kit))


def test_what_the_client_itself_refuses_keeps_its_words(stub, tmp_path):
    with connect() as kaggle, pytest.raises(KitError, match=f"^notebook {NAME}: Metadata file not found"):
        kaggle.push_kernel(NAME, tmp_path)
    assert stub.calls == []


def test_a_refusal_is_found_behind_the_clients_guess():
    response = requests.Response()
    response.status_code = 401
    refused = requests.HTTPError("no", response=response)
    try:
        try:
            raise refused
        except requests.HTTPError:
            raise ValueError("most likely a wrong kernel slug")  # noqa: B904 (as the client does)
    except ValueError as error:
        assert http_error(error) is refused
    assert http_error(ValueError()) is None


def test_errors_of_other_kinds_pass_as_they_are():
    with pytest.raises(ZeroDivisionError), refusals("x"):
        raise ZeroDivisionError
