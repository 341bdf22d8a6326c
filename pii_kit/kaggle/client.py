"""The official Kaggle client, called as a command, with a time limit and one clear line for each failure."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pii_kit.files import KitError
from pii_kit.kaggle import COMPETITION

PAGES = (".html", ".svg", ".xml")
# Names of files that stay inside the folder: the client would follow a name such as ../x out of it.
INSIDE = r"^(?![/\\])(?!(.*[/\\])?\.\.([/\\]|$))."
INSTALL = "pip install kaggle==2.2.4 six"
SIGN_IN = (
    "no valid credentials for Kaggle: get a token at https://www.kaggle.com/settings/api and set KAGGLE_API_TOKEN to "
    "it, or save it as ~/.kaggle/access_token"
)
ACCESS = (
    "check that it is yours, that your phone number is verified (accelerators and internet need it), and that you "
    f"accepted the rules at https://www.kaggle.com/competitions/{COMPETITION}/rules"
)
# A failure that the client only prints: it still ends with exit code 0.
PRINTED = re.compile(r"(push|creation) error: |not valid \w+ sources|^Upload unsuccessful|^Could not find")


class Unreachable(KitError):
    """A failure that can pass: the same call may succeed later."""


class Missing(KitError):
    """Kaggle does not have it, or does not show it to this user: Kaggle answers 403 in both cases."""


# From the client's output to advice. The client prints Kaggle's message, and the HTTP status only if there is none.
CAUSES: tuple[tuple[str, type[KitError], str], ...] = (
    (r"authentication required|^401 ", KitError, SIGN_IN),
    (r"No module named|unrecognized arguments|invalid choice", KitError, INSTALL),
    (r"connection|max retries", Unreachable, "check the network connection, then run the command again"),
    (r"too many requests|rate limit|^429 ", Unreachable, "wait a while, then run the command again"),
    (r"session count|quota", KitError, "wait until a session ends, or until the weekly quota is renewed"),
    (r"in use|already|conflict|^409 ", KitError, "choose another title and slug in kaggle_metadata.json"),
    (r"cannot access|not found|could not find|^404 ", Missing, "check the name, and push it first"),
    (r"denied|forbidden|accept|verif|^403 ", Missing, ACCESS),
    (r"not valid|invalid|bad request|must |^400 ", KitError, "check kaggle_metadata.json"),
    ("", Unreachable, "Kaggle may be in trouble: run the command again later"),
)


def explain(what: str, output: str) -> KitError:
    """Return the failure that the client's output shows, in one line: what failed, the message, what to do."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["the client printed nothing"]
    message = next((line for line in lines if PRINTED.search(line)), lines[-1])[:300]
    if "Authentication required" in output:
        return KitError(f"{what}: {SIGN_IN}")
    kind, advice = next((k, a) for pattern, k, a in CAUSES if re.search(pattern, message, re.IGNORECASE))
    return kind(f"{what}: {message}; {advice}")


class Kaggle:
    """The Kaggle client. Names are OWNER/SLUG; every method raises KitError if the client or Kaggle refuses.

    A call of the client is ended after `timeout` seconds. `tell` gets each line for the user.
    """

    def __init__(self, *, timeout: float = 600, tell: Callable[[str], None] = print):
        command = shutil.which("kaggle", path=os.path.dirname(sys.executable)) or shutil.which("kaggle")
        if command is None and importlib.util.find_spec("kaggle") is None:
            raise KitError(f"the Kaggle client is not installed: {INSTALL}")
        self._command = [command] if command else [sys.executable, "-m", "kaggle"]
        self.timeout, self.tell = timeout, tell

    def _call(self, what: str, *arguments: str, sends: bool = False) -> str:
        """Run the client and return its output. With `sends` each line is also shown as it comes."""
        lines: list[str] = []
        began = time.monotonic()
        with subprocess.Popen(
            [*self._command, "-W", *arguments],  # -W: no advice to take another version
            env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "TQDM_MININTERVAL": "10"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as process:
            timer = threading.Timer(self.timeout, process.kill)
            timer.start()
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    lines.append(line.rstrip())
                    if sends and lines[-1]:
                        self.tell(f"  {lines[-1]}")
            finally:
                timer.cancel()
        if process.returncode and time.monotonic() - began >= self.timeout:
            last = f" (last line: {lines[-1][:200]})" if lines else ""
            advice = "it may have arrived: look at the site first, then try again with a longer --timeout"
            raise Unreachable(f"{what}: no answer from Kaggle in {self.timeout:g} s{last}; {advice}")
        if process.returncode or (sends and any(map(PRINTED.search, lines))):
            raise explain(what, "\n".join(lines))
        return "\n".join(lines)

    def _table(self, what: str, *arguments: str) -> Any:
        """Return the JSON in the client's output, or an empty list if it prints that nothing is found."""
        output = self._call(what, *arguments)
        if re.search("^(Not found|No submissions found)$", output, re.MULTILINE):
            return []
        start = re.search(r"^[\[{]", output, re.MULTILINE)  # after warnings, if there are any
        try:
            return json.JSONDecoder().raw_decode(output[start.start() :] if start else "")[0]
        except json.JSONDecodeError:
            raise Unreachable(f"{what}: the client does not print JSON: {output[:200]!r}; {INSTALL}") from None

    def sign_in(self) -> str:
        """Return the name of the user whose credentials the client finds."""
        found = re.search(r"^- username: (?!None$)(.+)$", self._call("signing in", "config", "view"), re.MULTILINE)
        if found is None:
            raise KitError(SIGN_IN)
        return found[1]

    def dataset(self, name: str) -> tuple[str, int] | None:
        """Return the status of a data set, "ready" at the end, and its latest version; None if there is none."""
        try:
            state = self._table(f"data set {name}", "datasets", "status", name, "--format", "json")
        except Missing:
            return None
        return state["status"], state["current_version_number"] or 0

    def send_dataset(self, name: str, folder: Path, *, new: bool, notes: str) -> None:
        """Send a folder as a new private data set or as a new version."""
        command = ["create"] if new else ["version", "-m", notes]
        # "zip": the client leaves folders out otherwise. Kaggle unpacks them.
        self._call(f"data set {name}", "datasets", *command, "-p", str(folder), "-r", "zip", sends=True)

    def push_notebook(self, name: str, folder: Path) -> int:
        """Send a folder as the next version of a notebook, which Kaggle runs, and return the version."""
        output = self._call(f"notebook {name}", "kernels", "push", "-p", str(folder), sends=True)
        found = re.search(r"^Kernel version (\d+) successfully pushed", output, re.MULTILINE)
        if found is None:
            raise KitError(f"notebook {name}: Kaggle's answer names no version; look at the site")
        return int(found[1])

    def notebook(self, name: str) -> tuple[str, str] | None:
        """Return the status of the latest run that Kaggle knows of, and why it failed; None without such a notebook."""
        try:
            output = self._call(f"notebook {name}", "kernels", "status", name)
        except Missing:
            return None
        found = re.search(r'(?s)has status "(?:KernelWorkerStatus\.)?(\w+)"(?:\s*Failure message: "(.*)")?', output)
        if found is None:
            raise Unreachable(f"notebook {name}: the client shows no status: {output[:200]!r}; {INSTALL}")
        return found[1].lower(), " ".join((found[2] or "").split())

    def last_runs(self) -> dict[str, str]:
        """Return the time of the last run of the user's notebooks, by name; of the 100 that ran last."""
        options = ["--mine", "--sort-by", "dateRun", "--page-size", "100", "--format", "json(ref,lastRunTime)"]
        return {row["ref"]: row["lastRunTime"] for row in self._table("notebooks", "kernels", "list", *options)}

    def download(self, name: str, into: Path, *, only: str | None = None) -> list[Path]:
        """Download the log of a notebook's latest run and its output files, or `only` one, and return their paths."""
        pattern = INSIDE if only is None else f"^{re.escape(only)}$"
        options = ["-p", str(into), "--page-size", "200", "--file-pattern", pattern]
        self._call(f"outputs of {name}", "kernels", "output", name, *options, sends=True)
        files = sorted(path for path in into.rglob("*") if path.is_file())
        for path in files:  # the client saves error pages as files
            with open(path, "rb") as handle:
                start = handle.read(7).lower()
            if start == b'{"code"' or (start[:5] in (b"<?xml", b"<html", b"<!doc") and path.suffix not in PAGES):
                raise Unreachable(f"outputs of {name}: {path.name} is an error page; nothing is kept, try again later")
        return files

    def submit(self, name: str, version: int, *, competition: str, file: str, message: str) -> None:
        """Submit the output `file` of a version of a notebook."""
        options = ["-k", name, "-v", str(version), "-f", file, "-m", message]
        self._call(f"submission of {name}", "competitions", "submit", competition, *options, sends=True)

    def submissions(self, competition: str) -> dict[str, dict]:
        """Return the latest submissions, by their number, with description, status and scores."""
        options = ["--format", "json(ref,description,status,publicScore,privateScore)"]
        rows = self._table(f"submissions to {competition}", "competitions", "submissions", competition, *options)
        return {str(row["ref"]): {**row, "status": row["status"].split(".")[-1].lower()} for row in rows}
