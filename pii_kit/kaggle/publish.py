"""Send the kit to Kaggle with the official client, in the right order, and wait for its runs."""

import io
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import requests
from requests.adapters import HTTPAdapter

from pii_kit.files import KitError
from pii_kit.kaggle import COMPETITION
from pii_kit.kaggle import publish as kaggle_wait
from pii_kit.kaggle.build import Description, Notebook, content_mark, dataset_folder, full_name, kernel_folder

ADVICE = {
    400: "see that kaggle_metadata.json says what you mean",
    401: "get a new token at https://www.kaggle.com/settings/api and set KAGGLE_API_TOKEN to it",
    403: "see that it is yours, that your phone number is verified (accelerators and internet need it) and that you "
    f"accepted the rules at https://www.kaggle.com/competitions/{COMPETITION}/rules",
    404: "see that the name is right, and that it was pushed",
    409: "the title or slug is taken: choose others in kaggle_metadata.json",
    429: "wait a while, then run the command again",
}
LATER = "Kaggle is in trouble: run the command again later"


class Unreachable(KitError):
    """No answer that means anything: the same call may go well later."""


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Every way in which the client's calls in the block can fail, as a KitError that begins with `what`.

    Unreachable, where it was no refusal: a time-out, no connection, too many requests, or trouble at Kaggle.
    """
    try:
        yield
    except requests.Timeout as error:
        detail = "no answer from Kaggle in time; it may have arrived, so look at the site before another try"
        raise Unreachable(f"{what}: {detail}") from error
    except requests.ConnectionError as error:
        detail = f"no connection to Kaggle ({type(error).__name__}); see that this machine has one, then run it again"
        raise Unreachable(f"{what}: {detail}") from error
    except (requests.RequestException, ValueError, KeyError, TypeError, AttributeError) as error:
        # The last four are how the client stumbles over a reply that it does not understand, and how it refuses input.
        refused = http_error(error)
        if refused is not None:
            raise _refusal(what, refused) from error
        if isinstance(error, json.JSONDecodeError | KeyError | TypeError | AttributeError):
            detail = "Kaggle's reply is broken or not Kaggle's (a proxy?); run the command again later"
            raise Unreachable(f"{what}: {detail} ({in_one_line(repr(error))})") from error
        raise KitError(f"{what}: {in_one_line(str(error))}") from error


def http_error(error: BaseException | None) -> requests.HTTPError | None:
    """The refusal that an exception comes from: the client hides some of them behind a guess of its own."""
    while error is not None:
        if isinstance(error, requests.HTTPError) and error.response is not None:
            return error
        error = error.__context__
    return None


def http_status(error: requests.HTTPError) -> int:
    """The status of a refusal; Kaggle may send it in the body of a reply whose own status is 200."""
    content = _content(error.response)
    code = content.get("code")
    return code if error.response.status_code < 400 and isinstance(code, int) else error.response.status_code


def _refusal(what: str, error: requests.HTTPError) -> KitError:
    status = http_status(error)
    message = _content(error.response).get("message") or error.response.reason or "no reason given"
    advice = ADVICE.get(status, LATER if status >= 500 else "run the command again later")
    seconds = error.response.headers.get("Retry-After", "")
    if status == 429 and seconds.isdecimal():
        advice = f"wait {seconds} s, then run the command again"
    kind = Unreachable if status == 429 or status >= 500 else KitError
    return kind(f"{what}: Kaggle refuses (HTTP {status}): {in_one_line(str(message))}; {advice}")


def _content(response: requests.Response) -> dict:
    """The reply's JSON object, if it is one: error pages of servers on the way are not."""
    try:
        content = response.json()
    except requests.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}


def in_one_line(text: str) -> str:
    return " ".join(text.split())[:300]


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


LOOK_SECONDS = 30  # from one look to the next
DATASET_SECONDS = 900
SESSION_SECONDS = 13 * 3600  # a session ends after 12 hours, and may stand in a queue before
UNREACHABLE = 10  # looks without an answer, one after the other, that a long wait outlives
FAILED = ("error", "cancel_acknowledged")
Tell = Callable[[str], None]


def wait_for_dataset(kaggle: Kaggle, name: str, *, after: int, tell: Tell) -> None:
    """Until a version of a data set later than `after` is ready. Raises KitError if it fails or is never ready."""

    def look() -> str:
        state = kaggle.dataset(name)
        if state is None:
            return "not there yet"
        if state.status in ("failed", "deleted"):
            raise KitError(f"data set {name}: {state.status}; look at https://www.kaggle.com/datasets/{name}")
        return state.status if state.version > after or not state.version else "the version before"

    _wait(look, f"data set {name}", until="ready", seconds=DATASET_SECONDS, tell=tell)


def wait_for_notebook(kaggle: Kaggle, name: str, *, tell: Tell) -> None:
    """Until a notebook's latest run is complete. Raises KitError if it fails or takes too long."""

    def look() -> str:
        state = kaggle.kernel(name)
        if state is None:
            raise KitError(f"notebook {name}: not on Kaggle; push it first")
        if state.status in FAILED:
            raise KitError(f"notebook {name}: {state.status}: {state.failure or 'no reason given'}; pull has its log")
        return state.status

    _wait(look, f"notebook {name}", until="complete", seconds=SESSION_SECONDS, tell=tell)


def wait_for_submission(kaggle: Kaggle, competition: str, ref: int, *, tell: Tell) -> Submission:
    """A submission when it is scored. Raises KitError if that fails or takes too long."""
    found: list[Submission] = []

    def look() -> str:
        submission = kaggle.submission(competition, ref)
        if submission is None:
            return "not listed yet"
        if submission.status == "error":
            raise KitError(f"submission {ref}: {submission.error or 'error, with no reason given'}")
        found.append(submission)
        return submission.status

    _wait(look, f"submission {ref}", until="complete", seconds=SESSION_SECONDS, tell=tell)
    return found[-1]


def _wait(look: Callable[[], str], what: str, *, until: str, seconds: float, tell: Tell) -> None:
    end = time.monotonic() + seconds
    told, unreachable = "", 0
    while True:
        try:
            status, unreachable = look(), 0
        except Unreachable as error:
            unreachable += 1
            if unreachable == UNREACHABLE:
                raise
            status = f"no answer, another look in {LOOK_SECONDS} s ({error})"
        if status != told:
            tell(f"{what}: {status}")
        if status == until:
            return
        if time.monotonic() + LOOK_SECONDS > end:
            raise KitError(f"{what}: still {status} after {seconds / 60:.0f} minutes; look at the site")
        told = status
        time.sleep(LOOK_SECONDS)


PUSH = "python -m pii_kit kaggle push"
STATUS = "python -m pii_kit kaggle status"


def push_kit(
    kaggle: Kaggle,
    description: Description,
    kit: Path,
    *,
    owner: str,
    only: Sequence[str] = (),
    wait: bool = False,
    tell: Tell = print,
) -> None:
    """Send a built kit's data sets and, when they are ready, its notebooks, which Kaggle runs at once.

    A notebook that reads outputs of others is sent when those are complete: with `wait` that is waited for, and all
    runs are followed to their end; without, a line says what to do later. `tell` gets the lines for the user. Raises
    KitError at the first refusal, and for a run that fails.
    """
    datasets, notebooks = select(description, only)
    for slug in datasets:
        _send_dataset(kaggle, full_name(owner, slug), dataset_folder(kit, slug), tell)
    running: list[str] = []  # sent just now: until it is waited for, Kaggle may still tell of the run before
    later: list[str] = []
    for notebook in notebooks:
        name = full_name(owner, notebook.slug)
        sources = [source for source in notebook.kernels if "/" not in source]
        if wait:
            for source in sources:
                _follow(kaggle, source, owner, running, tell)
        elif missing := _unfinished(kaggle, sources, owner, running + later):
            tell(f"notebook {name}: not sent yet, for it reads {missing}")
            later.append(notebook.slug)
            continue
        version = kaggle.push_kernel(name, kernel_folder(kit, notebook.slug))
        tell(f"notebook {name}: version {version} runs, https://www.kaggle.com/code/{name}")
        running.append(notebook.slug)
    for slug in list(running) if wait else ():
        _follow(kaggle, slug, owner, running, tell)
    if later:
        only_later = " ".join(f"--only {slug}" for slug in later)
        tell(f"When `{STATUS}` says that those are complete: {PUSH} {only_later}")


def select(description: Description, only: Sequence[str]) -> tuple[list[str], list[Notebook]]:
    """The slugs of the data sets and the notebooks that the slugs `only` mean; all, where there are none.

    A notebook's data sets come with it, so that it never runs with a package older than the one at hand. Raises
    KitError for a slug that is not described.
    """
    datasets = [dataset.slug for dataset in description.datasets]
    notebooks = list(description.notebooks)
    known = [*datasets, *(notebook.slug for notebook in notebooks)]
    for slug in only:
        if slug not in known:
            raise KitError(f"{slug!r} is not described; expected {', '.join(known)}")
    if only:
        notebooks = [notebook for notebook in notebooks if notebook.slug in only]
        read = {source for notebook in notebooks for source in notebook.datasets}
        datasets = [slug for slug in datasets if slug in only or slug in read]
    return datasets, notebooks


def _send_dataset(kaggle: Kaggle, name: str, folder: Path, tell: Tell) -> None:
    mark = content_mark(folder)
    before = kaggle.dataset(name)
    if before is not None and before.status == "ready" and before.description == mark:
        tell(f"data set {name}: version {before.version} has the same content, nothing to send")
        return
    tell(f"data set {name}: {'new' if before is None else 'new content'}, is sent")
    kaggle.send_dataset(name, folder, new=before is None, notes=mark.rsplit(". ", 1)[-1])
    wait_for_dataset(kaggle, name, after=0 if before is None else before.version, tell=tell)


def _unfinished(kaggle: Kaggle, sources: Sequence[str], owner: str, just_now: Sequence[str]) -> str:
    """The sources that are not complete, with their states, as text; empty if all are."""
    states = {}
    for source in sources:
        state = None if source in just_now else kaggle.kernel(full_name(owner, source))
        states[source] = "not complete" if source in just_now else "not on Kaggle" if state is None else state.status
    return ", ".join(f"{source} ({state})" for source, state in states.items() if state != "complete")


def _follow(kaggle: Kaggle, slug: str, owner: str, running: list[str], tell: Tell) -> None:
    if slug in running:
        time.sleep(kaggle_wait.LOOK_SECONDS)
        running.remove(slug)
    wait_for_notebook(kaggle, full_name(owner, slug), tell=tell)
