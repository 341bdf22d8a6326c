"""The official Kaggle client with typed answers, a time limit for each call, and one line for each refusal."""

import importlib.util
import io
import json
import re
import threading
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from pii_kit.files import KitError
from pii_kit.kaggle import COMPETITION

INSTALL = "pip install kaggle==2.2.5 six"
SIGN_IN = (
    "no valid credentials for Kaggle: get a token at https://www.kaggle.com/settings/api and set KAGGLE_API_TOKEN to "
    "it, or save it as ~/.kaggle/access_token"
)
ACCESS = (
    "check that it is yours, that your phone number is verified (accelerators and internet need it), and that you "
    f"accepted the rules at https://www.kaggle.com/competitions/{COMPETITION}/rules"
)
INSIDE = r"^(?![/\\])(?!(.*[/\\])?\.\.([/\\]|$))."  # names of output files that stay inside the folder


class Unreachable(KitError):
    """A failure that can pass: the same call may succeed later."""


class Busy(KitError):
    """Kaggle starts no further session of this user at present."""


class Missing(KitError):
    """Kaggle does not have it, or does not show it to this user: Kaggle answers 403 in both cases."""


ADVICE: dict[int, tuple[type[KitError], str]] = {  # by HTTP status
    400: (KitError, "check kaggle_metadata.json"),
    401: (KitError, SIGN_IN),
    403: (Missing, ACCESS),
    404: (Missing, "check the name, and push it first"),
    409: (KitError, "choose another title and slug in kaggle_metadata.json"),
    429: (Unreachable, "wait a while, then run the command again"),
}


def refusal(what: str, problem: BaseException | str) -> KitError:
    """Return the error for the user in one line: what failed, Kaggle's message, what to do."""
    failures: list[Any] = [problem, getattr(problem, "__context__", None)]
    answers = [error.response for error in failures if getattr(error, "response", None) is not None]
    status = answers[0].status_code if answers else 400
    message = " ".join(str(problem).split())[:300]
    kind, advice = ADVICE.get(status, (Unreachable, "Kaggle may be in trouble: run the command again later"))
    if isinstance(problem, SystemExit):  # the client has no credentials
        message, advice = "signing in failed", SIGN_IN
    elif isinstance(problem, ImportError):
        advice = INSTALL
    elif isinstance(problem, OSError) and not answers:
        kind, advice = Unreachable, "check the network connection, then run the command again"
    elif re.search("session count|quota", message):
        kind, advice = Busy, "wait until a session ends, or until the weekly quota is renewed"
    elif "already in use" in message:
        kind, advice = ADVICE[409]
    return kind(f"{what}: {message}; {advice}")


class Kaggle:
    """The Kaggle client. Names are OWNER/SLUG; every method raises KitError if Kaggle refuses.

    A call without an answer is given up after `timeout` seconds. `tell` gets each line for the user.
    """

    def __init__(self, *, timeout: float = 600, tell: Callable[[str], None] = print):
        if importlib.util.find_spec("kaggle") is None:
            raise KitError(f"the Kaggle client is not installed: {INSTALL}")
        self.timeout, self.tell = timeout, tell
        self._client: Any = None

    def _call(self, what: str, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the client in a thread, because the client waits for an answer without limit."""
        answers: list[Any] = []

        def call() -> None:
            try:
                if self._client is None:
                    from kaggle.api.kaggle_api_extended import KaggleApi

                    client = KaggleApi()
                    client.authenticate()
                    self._client = client
                answers.append(getattr(self._client, method)(*args, **kwargs))
            except BaseException as error:
                answers.append(error)

        thread = threading.Thread(target=call, daemon=True)
        with redirect_stdout(io.StringIO()):  # the client prints advice about itself
            thread.start()
            thread.join(self.timeout)
        if not answers:
            advice = "it may have arrived: look at the site first, then try again with a longer --timeout"
            raise Unreachable(f"{what}: no answer from Kaggle in {self.timeout:g} s; {advice}")
        if isinstance(answers[0], BaseException):
            raise refusal(what, answers[0]) from answers[0]
        if message := getattr(answers[0], "error", None):
            raise refusal(what, message)
        return answers[0]

    def sign_in(self) -> str:
        """Return the name of the user whose credentials the client finds."""
        return self._call("signing in", "get_config_value", "username")

    def dataset(self, name: str) -> tuple[str, int] | None:
        """Return the status of a data set, "ready" at the end, and its latest version; None if there is none."""
        try:
            answer = json.loads(self._call(f"data set {name}", "dataset_status", name, format="json"))
        except Missing:
            return None
        return answer["status"], answer["current_version_number"] or 0

    def send_dataset(self, name: str, folder: Path, *, new: bool, notes: str) -> None:
        """Send a folder as a new private data set or as a new version."""
        options = {"quiet": True, "dir_mode": "zip"}  # zip: the client leaves folders out otherwise; Kaggle unpacks it
        if new:
            self._call(f"data set {name}", "dataset_create_new", str(folder), public=False, **options)
        else:
            self._call(f"data set {name}", "dataset_create_version", str(folder), notes, **options)

    def push_notebook(self, name: str, folder: Path) -> int:
        """Send a folder as the next version of a notebook, which Kaggle runs, and return the version."""
        answer = self._call(f"notebook {name}", "kernels_push", str(folder))
        for sources in ("dataset", "competition", "kernel", "model"):
            if invalid := getattr(answer, f"invalid_{sources}_sources"):
                raise refusal(f"notebook {name}", f"{sources} sources that Kaggle does not know: {', '.join(invalid)}")
        if not answer.version_number:
            raise KitError(f"notebook {name}: Kaggle's answer names no version; look at the site")
        return answer.version_number

    def notebook(self, name: str, version: int | None = None) -> tuple[str, str] | None:
        """Return the status of the latest run, or of a version's, and why it failed; None without such a run."""
        try:
            answer = self._call(f"notebook {name}", "kernels_status", _versioned(name, version))
        except Missing:
            return None
        return answer.status.name.lower(), " ".join(answer.failure_message.split())

    def download(self, name: str, into: Path, *, version: int | None = None, only: str | None = None) -> list[Path]:
        """Download the log and the output files of a notebook's run, or `only` one, and return their paths."""
        options = {"file_pattern": INSIDE if only is None else f"^{re.escape(only)}$", "page_size": 200}
        self._call(f"outputs of {name}", "kernels_output", _versioned(name, version), str(into), force=True, **options)
        return sorted(path for path in into.rglob("*") if path.is_file())

    def submit(self, name: str, version: int, *, competition: str, file: str, message: str) -> int:
        """Submit the output `file` of a version of a notebook, and return the number of the submission."""
        where = {"competition": competition, "kernel": name, "kernel_version": version, "quiet": True}
        return self._call(f"submission of {name}", "competition_submit_code", file, message, **where).ref

    def submissions(self, competition: str) -> dict[int, tuple[str, str]]:
        """Return the status of the latest submissions, with their scores or the reason of an error, by their number."""
        found = self._call(f"submissions to {competition}", "competition_submissions", competition) or []
        return {one.ref: (one.status.name.lower(), one.error_description or _scores(one)) for one in found}


def _versioned(name: str, version: int | None) -> str:
    return name if version is None else f"{name}/{version}"


def _scores(submission: Any) -> str:
    return f"public {submission.public_score or '-'}, private {submission.private_score or '-'}"
