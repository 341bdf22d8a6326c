"""What the kit asks of Kaggle, through the real client; every refusal is a KitError.

The client only prints what Kaggle refuses in a reply that is otherwise well; here that is an error too.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import requests

from pii_kit.errors import KitError
from pii_kit.kaggle_refusals import http_error, http_status, refusals
from pii_kit.kaggle_sign_in import signed_in


@dataclass(frozen=True)
class DatasetState:
    """A data set's latest version. `status` is ready, failed, or a step on the way."""

    version: int
    description: str
    status: str


@dataclass(frozen=True)
class KernelState:
    """A notebook's latest run: queued, running, complete, error or cancel_acknowledged, and why it failed."""

    status: str
    failure: str


@dataclass(frozen=True)
class Submission:
    """A submission. `status` is pending, complete or error; scores are None until there are some."""

    ref: int
    status: str
    error: str
    public: str | None
    private: str | None


@contextmanager
def connect(*, silence: float = 60) -> Iterator["Kaggle"]:
    """Kaggle, signed in; a request is given up when nothing comes for `silence` seconds. Raises as `signed_in`."""
    with signed_in(silence=silence) as api:
        yield Kaggle(api)


class Kaggle:
    """Names are OWNER/SLUG; every method raises KitError where Kaggle refuses."""

    def __init__(self, api):
        self._api = api

    @property
    def user(self) -> str:
        return self._api.config_values[self._api.CONFIG_NAME_USER]

    def dataset(self, name: str) -> DatasetState | None:
        """A data set's state; None where there is no such data set that we may see."""
        from kagglesdk.datasets.types.dataset_api_service import ApiGetDatasetRequest

        request = ApiGetDatasetRequest()
        request.owner_slug, request.dataset_slug = name.split("/")
        with refusals(f"data set {name}"):
            try:
                with self._api.build_kaggle_client() as client:
                    found = client.datasets.dataset_api_client.get_dataset(request)
                status = self._api.dataset_status(name)
            except requests.HTTPError as error:
                if http_status(error) in (403, 404):  # Kaggle forbids what does not exist
                    return None
                raise
            return DatasetState(found.current_version_number or 0, found.description or "", status)

    def send_dataset(self, name: str, folder: Path, *, new: bool, notes: str) -> None:
        """A data-set folder as a new private data set, or as a new version of an old one."""
        # "zip": the client leaves folders out otherwise. Kaggle unpacks them.
        settings = {"quiet": True, "convert_to_csv": False, "dir_mode": "zip"}
        with refusals(f"data set {name}"):
            if new:
                reply = self._api.dataset_create_new(str(folder), **settings)
            else:
                reply = self._api.dataset_create_version(str(folder), notes, **settings)
            if reply.error or (reply.status or "").lower() != "ok":
                raise KitError(f"data set {name}: Kaggle refuses: {reply.error or reply.status or 'no reason given'}")

    def push_kernel(self, name: str, folder: Path) -> int:
        """A notebook's folder as its next version, which Kaggle runs; gives back the version's number."""
        with refusals(f"notebook {name}"), redirect_stdout(sys.stderr):
            reply = self._api.kernels_push(str(folder))
            if reply.error:
                raise KitError(f"notebook {name}: Kaggle refuses: {reply.error}")
            left_out = {
                "data sets": reply.invalid_dataset_sources,
                "notebooks": reply.invalid_kernel_sources,
                "competitions": reply.invalid_competition_sources,
                "models": reply.invalid_model_sources,
            }
            left_out = [f"{kind} {', '.join(sources)}" for kind, sources in left_out.items() if sources]
            if left_out:
                raise KitError(f"notebook {name}: Kaggle runs it without {' and '.join(left_out)}; see that they exist")
            if not reply.version_number:
                raise KitError(f"notebook {name}: Kaggle's reply names no version; look at the site")
            return reply.version_number

    def kernel(self, name: str) -> KernelState | None:
        """How a notebook's latest run stands; None where there is no such notebook that we may see."""
        with refusals(f"notebook {name}"):
            try:
                reply = self._api.kernels_status(name)
            except (requests.HTTPError, ValueError) as error:  # ValueError: the client's guess about a 403
                refused = http_error(error)
                if refused is not None and http_status(refused) in (403, 404):
                    return None
                raise
            return KernelState(reply.status.name.lower(), reply.failure_message or "")

    def kernel_version(self, name: str) -> int:
        """The number of a notebook's latest version."""
        from kagglesdk.kernels.types.kernels_api_service import ApiGetKernelRequest

        request = ApiGetKernelRequest()
        request.user_name, request.kernel_slug = name.split("/")
        with refusals(f"notebook {name}"), self._api.build_kaggle_client() as client:
            version = client.kernels.kernels_api_client.get_kernel(request).metadata.current_version_number
        if not version:
            raise KitError(f"notebook {name}: Kaggle does not say which version is the latest; name it with --version")
        return version

    def outputs(self, name: str) -> tuple[dict[str, str], str]:
        """The files that a notebook's latest run has written, path to address, and the run's log."""
        from kagglesdk.kernels.types.kernels_api_service import ApiListKernelSessionOutputRequest

        request = ApiListKernelSessionOutputRequest()
        request.user_name, request.kernel_slug = name.split("/")
        files: dict[str, str] = {}
        with refusals(f"outputs of {name}"), self._api.build_kaggle_client() as client:
            while True:
                page = client.kernels.kernels_api_client.list_kernel_session_output(request)
                files |= {file.file_name: file.url for file in page.files}
                if not page.next_page_token or page.next_page_token == request.page_token:
                    return files, page.log or ""
                request.page_token = page.next_page_token

    def download(self, name: str, into: Path) -> list[Path]:
        """All that a notebook's latest run has written, its log with it, into a folder; gives back the files.

        The client's own download follows names such as ../x out of the folder, and keeps error pages as files.
        """
        files, log = self.outputs(name)
        for path in files:
            if not path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
                raise KitError(f"outputs of {name}: {path!r} would not lie inside of the folder; nothing is kept")
        targets = {path: into / path for path in files}
        for path, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            with refusals(f"output {path} of {name}"), requests.get(files[path], stream=True) as reply:
                reply.raise_for_status()
                with open(target, "wb") as handle:
                    for part in reply.iter_content(1 << 20):
                        handle.write(part)
        log_file = into / f"{name.split('/')[1]}.log"
        log_file.write_text(log, encoding="utf-8")
        return [*targets.values(), log_file]

    def submit(self, name: str, version: int, *, competition: str, file: str, message: str) -> tuple[int, str]:
        """Hand in a version of a notebook, whose output `file` is scored; gives back a reference and Kaggle's word."""
        with refusals(f"submission of {name}"):
            reply = self._api.competition_submit_code(file, message, competition, name, version, quiet=True)
            if not reply.message:
                raise KitError(
                    f"submission of {name}: Kaggle's reply says nothing; look at the site before you try again"
                )
            return reply.ref, reply.message

    def submission(self, competition: str, ref: int) -> Submission | None:
        """One of the latest submissions of a competition by its reference; None where it is not among them."""
        with refusals(f"submissions to {competition}"):
            for one in self._api.competition_submissions(competition) or []:
                if one.ref == ref:
                    status = one.status.name.lower()
                    error = one.error_description or ""
                    return Submission(one.ref, status, error, one.public_score or None, one.private_score or None)
        return None
