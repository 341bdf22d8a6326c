"""Talk to Kaggle through its official client: typed answers, a time limit for each call, one line for each refusal."""

import hashlib
import importlib.util
import io
import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from pii_kit.files import KitError, read_json, write_json
from pii_kit.kaggle import COMPETITION
from pii_kit.kaggle.build import Description, full_name

INSTALL = "pip install kaggle==2.2.5 six"
SIGN_IN = (
    "no valid credentials for Kaggle: get a token at https://www.kaggle.com/settings/api and set KAGGLE_API_TOKEN to "
    "it, or save it as ~/.kaggle/access_token"
)
ACCESS = (
    "check that it is yours, that your phone number is verified (accelerators and internet need it), and that you "
    f"accepted the rules at https://www.kaggle.com/competitions/{COMPETITION}/rules"
)
NOT_THERE = "not on Kaggle, or not visible to you"
FAILED = ("error", "cancel_acknowledged")  # a notebook's run or a submission
INSIDE = r"^(?![/\\])(?!(.*[/\\])?\.\.([/\\]|$))."  # names of output files that stay inside the folder
CALL_SECONDS = 600
POLL_SECONDS = 30  # between two requests for a status
DATASET_SECONDS = 900
SESSION_SECONDS = 13 * 3600  # a session ends after 12 hours, and can be queued before
SETTLE_SECONDS = 600  # after a push, in which Kaggle need not show the new version yet
UNREACHABLE = 10  # requests in a row that may fail before a wait ends


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
    """Kaggle for the signed-in user. Names are OWNER/SLUG; every method raises KitError if Kaggle refuses.

    What is sent from the checkout `root` is recorded in its dist/kaggle_pushed.json. `tell` gets each line for the
    user.
    """

    def __init__(self, root: Path, *, tell: Callable[[str], None] = print):
        if importlib.util.find_spec("kaggle") is None:
            raise KitError(f"the Kaggle client is not installed: {INSTALL}")
        self.tell = tell
        self._client: Any = None
        self._record = root / "dist" / "kaggle_pushed.json"
        self.pushed: dict[str, dict] = read_json(self._record) if self._record.exists() else {}

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
            thread.join(CALL_SECONDS)
        if not answers:
            advice = "it may have arrived: look at the site, then run the command again"
            raise Unreachable(f"{what}: no answer from Kaggle in {CALL_SECONDS} s; {advice}")
        if isinstance(answers[0], BaseException):
            raise refusal(what, answers[0]) from answers[0]
        if message := getattr(answers[0], "error", None):
            raise refusal(what, message)
        return answers[0]

    def _remember(self, what: str, **entry: Any) -> None:
        self.pushed[what] = entry
        write_json(self._record, self.pushed)

    def sign_in(self) -> str:
        """Return the name of the user whose credentials the client finds."""
        return self._call("signing in", "get_config_value", "username")

    def dataset(self, name: str) -> tuple[str, int]:
        """Return the status of a data set, "ready" at the end, and its latest version; 0 if there is none."""
        try:
            answer = json.loads(self._call(f"data set {name}", "dataset_status", name, format="json"))
        except Missing:
            return NOT_THERE, 0
        return answer["status"], answer["current_version_number"] or 0

    def send_dataset(self, name: str, folder: Path) -> None:
        """Send a folder as a new private data set or version, and wait until it is ready. Equal content is not sent."""
        what, total = f"data set {name}", hashlib.sha256()
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            total.update(path.relative_to(folder).as_posix().encode() + hashlib.sha256(path.read_bytes()).digest())
        before, content = self.dataset(name), total.hexdigest()[:16]
        if before[0] == "ready" and self.pushed.get(what) == {"version": before[1], "content": content}:
            self.tell(f"{what}: version {before[1]} has the same content, nothing to send")
            return
        self.tell(f"{what}: sending a new {'version' if before[1] else 'data set'}")
        options = {"quiet": True, "dir_mode": "zip"}  # zip: the client leaves folders out otherwise; Kaggle unpacks it
        if before[0] == NOT_THERE:
            self._call(what, "dataset_create_new", str(folder), public=False, **options)
        else:
            self._call(what, "dataset_create_version", str(folder), f"Content {content}", **options)

        def look() -> tuple[str, int]:
            state = self.dataset(name)
            return state if state[1] > before[1] else ("waiting for the new version", 0)

        _, version = self._wait(what, look, until="ready", seconds=DATASET_SECONDS)
        self._remember(what, version=version, content=content)  # only now: an upload can fail on the way

    def send_notebook(self, name: str, folder: Path) -> None:
        """Send a folder as the next version of a notebook, which Kaggle runs."""
        answer = self._call(f"notebook {name}", "kernels_push", str(folder))
        for sources in ("dataset", "competition", "kernel", "model"):
            if invalid := getattr(answer, f"invalid_{sources}_sources"):
                raise refusal(f"notebook {name}", f"{sources} sources that Kaggle does not know: {', '.join(invalid)}")
        self._remember(f"notebook {name}", version=answer.version_number, time=time.time())
        self.tell(f"notebook {name}: version {answer.version_number} is pushed, https://www.kaggle.com/code/{name}")

    def notebook(self, name: str, version: int | None = None) -> tuple[str, str]:
        """Return the status of a notebook's run, or NOT_THERE, and why it failed.

        The run is that of the version, by default the one pushed last from this checkout, or else the latest.
        """
        pushed = self.pushed.get(f"notebook {name}", {})
        version = version or pushed.get("version")
        try:
            answer = self._call(f"notebook {name}", "kernels_status", f"{name}/{version}" if version else name)
        except Missing:
            return ("pushed" if time.time() - pushed.get("time", 0) < SETTLE_SECONDS else NOT_THERE), ""
        return answer.status.name.lower(), " ".join(answer.failure_message.split())

    def wait_for_notebook(self, name: str) -> None:
        """Wait until a notebook's run is complete."""
        self._wait(f"notebook {name}", lambda: self.notebook(name), until="complete", seconds=SESSION_SECONDS)

    def download(self, name: str, into: Path) -> list[Path]:
        """Download the log and the output files of a notebook's latest run; return their paths."""
        options = {"force": True, "file_pattern": INSIDE, "page_size": 200}
        self._call(f"outputs of {name}", "kernels_output", name, str(into), **options)
        return sorted(path for path in into.rglob("*") if path.is_file())

    def submit(self, name: str, version: int, *, file: str, message: str) -> int:
        """Submit the output `file` of a version of a notebook, and return the number of the submission."""
        where = {"competition": COMPETITION, "kernel": name, "kernel_version": version, "quiet": True}
        return self._call(f"submission of {name}", "competition_submit_code", file, message, **where).ref

    def wait_for_submission(self, number: int) -> str:
        """Wait until a submission is scored, and return its scores."""

        def look() -> tuple[str, str]:
            listed = self._call("submissions", "competition_submissions", COMPETITION) or []
            for submission in (submission for submission in listed if submission.ref == number):
                scores = f"public {submission.public_score or '-'}, private {submission.private_score or '-'}"
                return submission.status.name.lower(), submission.error_description or scores
            return "not listed", ""

        return self._wait(f"submission {number}", look, until="complete", seconds=SESSION_SECONDS)[1]

    def _wait(self, what: str, look: Callable[[], tuple], *, until: str, seconds: float) -> tuple:
        """Ask for a state until its first item, the status, is `until`; raise KitError if it fails or is late."""
        end, last, n_failed = time.monotonic() + seconds, "", 0
        while True:
            try:
                state, n_failed = look(), 0
            except Unreachable as error:
                n_failed += 1
                if n_failed == UNREACHABLE:
                    raise
                state = (f"no answer, next request in {POLL_SECONDS} s ({error})",)
            if state[0] != last:
                self.tell(f"{what}: {state[0]}")
            if state[0] == until:
                return state
            if state[0] in (*FAILED, "failed", "deleted", NOT_THERE):
                raise KitError(f"{what}: {state[0]}: {state[1] or 'no reason given'}; look at the site")
            if time.monotonic() + POLL_SECONDS > end:
                raise KitError(f"{what}: still {state[0]} after {seconds / 60:.0f} minutes; look at the site")
            last = state[0]
            time.sleep(POLL_SECONDS)


def push_kit(
    kaggle: Kaggle, description: Description, kit: Path, *, owner: str, only: Sequence[str] = (), wait: bool = False
) -> None:
    """Send the data sets of a built kit and then its notebooks, which Kaggle runs at once.

    A notebook that reads the outputs of others is sent when these are complete. With `wait` the function waits for
    that, for a free session, and for the end of all runs; otherwise it shows what to do later. Raises KitError if
    Kaggle refuses or a run fails.
    """
    datasets, notebooks = description.select(only)
    for slug in datasets:
        kaggle.send_dataset(full_name(owner, slug), kit / "datasets" / slug)
    sent: list[str] = []
    later = ""
    for notebook in notebooks:
        name, folder = full_name(owner, notebook.slug), kit / "kernels" / notebook.slug
        sources = [full_name(owner, source) for source in notebook.kernels if "/" not in source]
        for source in sources if wait else ():
            kaggle.wait_for_notebook(source)
        states = {source: kaggle.notebook(source)[0] for source in sources}
        unfinished = [f"{source} ({state})" for source, state in states.items() if state != "complete"]
        try:
            if unfinished:
                raise Busy(f"it reads {', '.join(unfinished)}")
            kaggle.send_notebook(name, folder)
        except Busy as reason:
            if not wait:
                kaggle.tell(f"notebook {name}: not sent yet, {reason}")
                later += f" --only {notebook.slug}"
                continue
            for earlier in sent:  # at their end, their sessions are free
                kaggle.wait_for_notebook(earlier)
            kaggle.send_notebook(name, folder)
        sent.append(name)
    for name in sent if wait else ():
        kaggle.wait_for_notebook(name)
    if later:
        kaggle.tell(f"When `pii-kit kaggle status` shows that the others are complete: pii-kit kaggle push{later}")
