"""The Kaggle client's own object, signed in, with its waiting bounded.

The client (kaggle 2.2.4) sets no time-out anywhere, tries again up to ten times with sleeps as long as Kaggle likes,
and goes on without a file whose upload failed. Here the first refusal, and the first silence, ends it.
"""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter

from pii_kit.errors import KitError
from pii_kit.kaggle_refusals import refusals

NEEDED = "pip install kaggle==2.2.4 six"
SIGN_IN = (
    "no credentials for Kaggle: get a token at https://www.kaggle.com/settings/api and set KAGGLE_API_TOKEN to it, "
    "or save it as ~/.kaggle/access_token"
)


@contextmanager
def signed_in(*, silence: float) -> Iterator:
    """The client's KaggleApi, signed in as its own configuration or environment says.

    In the block a request is given up when nothing comes for `silence` seconds. Raises KitError if the client is not
    installed, if there are no credentials, or if Kaggle does not take them.
    """
    with _given_up_after(silence):
        yield _sign_in()


@contextmanager
def _given_up_after(silence: float) -> Iterator[None]:
    # The client makes sessions in many places, one of them while it is imported; this is where all of them come by.
    send = HTTPAdapter.send

    def send_bounded(self, request, **settings):
        return send(self, request, **{**settings, "timeout": settings.get("timeout") or silence})

    HTTPAdapter.send = send_bounded
    try:
        yield
    finally:
        HTTPAdapter.send = send


def _sign_in():
    said = io.StringIO()
    try:
        with refusals("signing in"), redirect_stdout(said):
            from kaggle.api.kaggle_api_extended import KaggleApi

            KaggleApi.already_printed_version_warning = True  # the version is pinned
            api = KaggleApi()
            api.authenticate()
    except ImportError as error:
        raise KitError(f"the Kaggle client is not installed: {NEEDED} ({error})") from None
    except SystemExit:  # the client ends the process after a page of advice
        raise KitError(SIGN_IN) from None
    print(said.getvalue(), end="", file=sys.stderr)  # such as that others can read the key's file
    api.with_retry = lambda call, **_: call
    api._upload_blob = lambda path, quiet, kind, *_: _upload(api, path, kind)
    return api


def _upload(api, path: str, kind) -> str:
    """Send one file; gives back its token. The client's own way swallows refusals, and then the file is left out."""
    from kagglesdk.blobs.types.blob_api_service import ApiStartBlobUploadRequest

    request = ApiStartBlobUploadRequest()
    request.type = kind
    request.name = Path(path).name
    request.content_length = Path(path).stat().st_size
    request.last_modified_epoch_seconds = int(Path(path).stat().st_mtime)
    with api.build_kaggle_client() as client, open(path, "rb") as handle:
        started = client.blobs.blob_api_client.start_blob_upload(request)
        requests.put(started.create_url, data=handle).raise_for_status()
    return started.token
