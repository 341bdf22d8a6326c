"""Stand-ins for Kaggle: a server on this machine for the real client, and an object in place of the client."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from pii_kit.files import KitError
from pii_kit.kaggle.build import build_kit, read_description

ROOT = Path(__file__).parents[1]
HANG_SECONDS = 5  # no request is kept longer than this


@dataclass
class Stub:
    """What has arrived, and what is to be answered.

    `refusals` maps a method to (HTTP status, body, headers); methods in `hangs` are not answered. The `states` of a
    notebook are answered one after the other, the last one for ever. `last_runs` maps a notebook to a time. `outputs`
    maps a notebook to its files, path to content.
    """

    address: str = ""
    calls: list[tuple[str, dict]] = field(default_factory=list)
    refusals: dict[str, tuple[int, str | bytes, dict]] = field(default_factory=dict)
    hangs: set[str] = field(default_factory=set)
    blobs: dict[str, bytes] = field(default_factory=dict)
    datasets: dict[str, dict] = field(default_factory=dict)
    kernels: dict[str, dict] = field(default_factory=dict)
    states: dict[str, list[str]] = field(default_factory=dict)
    last_runs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, dict[str, bytes]] = field(default_factory=dict)
    submissions: list[dict] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def methods(self) -> list[str]:
        return [method for method, _ in self.calls]

    def bodies(self, method: str) -> list[dict]:
        return [body for called, body in self.calls if called == method]

    def refuse(self, method: str, status: int, message: str = "", **headers: str) -> None:
        self.refusals[method] = (status, json.dumps({"code": status, "message": message}), headers)

    def files(self, slug: str) -> dict[str, bytes]:
        """Return the files of a data set's latest version, name to content."""
        blobs = self.datasets[slug]["files"]
        return {self.datasets[slug]["names"][token]: self.blobs[token] for token in blobs}

    def answer(self, method: str, body: dict) -> dict | None:
        """Return the reply to a call of the client; None is a 404."""
        return getattr(self, f"_{method}")(body)

    def _StartBlobUpload(self, body: dict) -> dict:
        token = f"{len(self.calls)}:{body['name']}"
        return {"token": token, "createUrl": f"http://localhost/upload/{token}"}

    def _GetDataset(self, body: dict) -> dict | None:
        found = self.datasets.get(body["datasetSlug"])
        return found and {"currentVersionNumber": found["version"]}

    def _GetDatasetStatus(self, body: dict) -> dict | None:
        found = self.datasets.get(body["datasetSlug"])
        return found and {"status": found["status"]}

    def _CreateDataset(self, body: dict) -> dict:
        return self._stored(body["slug"], 1, body)

    def _CreateDatasetVersion(self, body: dict) -> dict:
        slug = body["datasetSlug"]
        return self._stored(slug, self.datasets[slug]["version"] + 1, body["body"])

    def _stored(self, slug: str, version: int, body: dict) -> dict:
        tokens = [file["token"] for file in body.get("files", [])]
        names = {token: token.split(":", 1)[1] for token in tokens}
        kept = {"version": version, "status": "READY"}
        self.datasets[slug] = {**kept, "files": tokens, "names": names}
        return {"status": "ok", "url": f"https://www.kaggle.com/datasets/writer/{slug}"}

    def _SaveKernel(self, body: dict) -> dict:
        slug = body["slug"].split("/")[1]
        version = self.kernels.get(slug, {"version": 0})["version"] + 1
        self.kernels[slug] = {"version": version, **body}
        self.states[slug] = ["QUEUED", "RUNNING", "COMPLETE"]
        self.last_runs[slug] = f"2026-01-{version:02}T12:00:00Z"
        return {
            "ref": f"/{body['slug']}",
            "versionNumber": version,
            "url": f"https://www.kaggle.com/code/{body['slug']}",
        }

    def _GetKernelSessionStatus(self, body: dict) -> dict | None:
        states = self.states.get(body["kernelSlug"])
        if states is None:
            return None
        state = states.pop(0) if len(states) > 1 else states[0]
        return {"status": state, "failureMessage": "it broke" if state == "ERROR" else ""}

    def _ListKernels(self, body: dict) -> dict:
        rows = [{"ref": f"writer/{slug}", "lastRunTime": time} for slug, time in self.last_runs.items()]
        return {"kernels": rows}

    def _ListKernelSessionOutput(self, body: dict) -> dict:
        """Answer with two files a page."""
        slug, start = body["kernelSlug"], int(body.get("pageToken") or 0)
        paths = list(self.outputs.get(slug, {}))
        files = [
            {"fileName": path, "url": f"http://localhost/output/{slug}/{start + i}"}
            for i, path in enumerate(paths[start : start + 2])
        ]
        more = str(start + 2) if start + 2 < len(paths) else ""
        return {"files": files, "log": "a log", "nextPageToken": more}

    def _CreateCodeSubmission(self, body: dict) -> dict:
        self.submissions.insert(0, {"ref": 77, "status": "PENDING", "description": body["submissionDescription"]})
        return {"ref": 77, "message": "Successfully submitted"}

    def _GetSubmissionLimits(self, body: dict) -> dict:
        return {"numAllowedNow": 4}

    def _ListSubmissions(self, body: dict) -> dict:
        listed = json.loads(json.dumps(self.submissions))
        for one in self.submissions:
            one |= {"status": "COMPLETE", "publicScore": "0.95", "privateScore": "0.94"}
        return {"submissions": listed}


def _handler(stub: Stub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = HANG_SECONDS

        def do_POST(self) -> None:
            method = urlsplit(self.path).path.rsplit("/", 1)[1]
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            stub.calls.append((method, body))
            if not self._refused(method):
                reply = stub.answer(method, body)
                self._reply(404 if reply is None else 200, json.dumps(reply or {"code": 404, "message": "Not found"}))

        def do_PUT(self) -> None:
            token = unquote(urlsplit(self.path).path.removeprefix("/upload/"))
            content = self.rfile.read(int(self.headers["Content-Length"]))
            stub.calls.append(("upload", {"token": token}))
            if not self._refused("upload"):
                stub.blobs[token] = content
                self._reply(200, "")

        def do_GET(self) -> None:
            _, _, slug, number = urlsplit(self.path).path.split("/")
            if not self._refused("output"):
                self._reply(200, list(stub.outputs[slug].values())[int(number)], {"Content-Type": "text/plain"})

        def do_CONNECT(self) -> None:
            if "kaggle" in self.path or "google" in self.path:  # not what other threads of the tests may ask for
                stub.calls.append(("CONNECT", {"to": self.path}))
            self._reply(502, "")

        def _refused(self, method: str) -> bool:
            if method in stub.hangs:
                stub.released.wait(HANG_SECONDS)
                return True
            if method in stub.refusals:
                self._reply(*stub.refusals[method])
                return True
            return False

        def _reply(self, status: int, content: str | bytes, headers: dict | None = None) -> None:
            content = content.encode() if isinstance(content, str) else content
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_) -> None:
            pass

    return Handler


@contextmanager
def running_stub() -> Iterator[Stub]:
    stub = Stub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(stub))
    stub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield stub
    finally:
        stub.released.set()
        server.shutdown()
        server.server_close()


class FakeKaggle:
    """In place of the client, for tests of what is called and when.

    The `states` of a notebook are returned one after the other, the last one for ever; an exception is raised. A push
    sets them to `after_push`, and the time of the last run to a new one, except for notebooks in `stale`.
    """

    def __init__(self, **_):
        self.lines: list[str] = []
        self.tell: Callable[[str], None] = self.lines.append
        self.sent: list[str] = []
        self.datasets: dict[str, tuple[str, int]] = {}
        self.versions: dict[str, int] = {}
        self.states: dict[str, list] = {}
        self.runs: dict[str, str] = {}
        self.stale: set[str] = set()
        self.after_push = [("queued", ""), ("running", ""), ("complete", "")]
        self.files: dict[str, dict[str, bytes]] = {}
        self.submitted: dict[str, dict] = {}

    def sign_in(self) -> str:
        return "writer"

    def dataset(self, name: str):
        return self.datasets.get(name)

    def send_dataset(self, name: str, folder: Path, *, new: bool, notes: str) -> None:
        assert new == (name not in self.datasets)
        assert (folder / "dataset-metadata.json").exists()
        self.sent.append(name)
        self.datasets[name] = ("ready", self.datasets.get(name, ("", 0))[1] + 1)

    def push_notebook(self, name: str, folder: Path) -> int:
        assert (folder / "kernel-metadata.json").exists()
        self.sent.append(name)
        self.versions[name] = self.versions.get(name, 0) + 1
        if name not in self.stale:
            self.states[name], self.runs[name] = [*self.after_push], f"2026-01-{self.versions[name]:02}"
        return self.versions[name]

    def notebook(self, name: str):
        states = self.states.get(name, [None])
        state = states.pop(0) if len(states) > 1 else states[0]
        if isinstance(state, Exception):
            raise state
        return state

    def last_runs(self) -> dict[str, str]:
        return dict(self.runs)

    def download(self, name: str, into: Path, *, only: str | None = None) -> list[Path]:
        files = {**self.files.get(name, {}), "run.log": b"a log"}
        paths = []
        for file, content in files.items():
            if content == b"refused":
                raise KitError(f"outputs of {name}: refused")
            if only in (None, file):
                (into / file).parent.mkdir(parents=True, exist_ok=True)
                (into / file).write_bytes(content)
                paths.append(into / file)
        return paths

    def submit(self, name: str, version: int, *, competition: str, file: str, message: str) -> None:
        self.sent.append(f"{name} {version} {competition} {file} {message}")
        self.submitted["77"] = {"status": "pending", "publicScore": "", "privateScore": ""}

    def submissions(self, competition: str) -> dict[str, dict]:
        rows = {number: dict(row) for number, row in self.submitted.items()}
        for row in self.submitted.values():
            row |= {"status": "complete", "publicScore": "0.95", "privateScore": "0.94"}
        return rows


@pytest.fixture(scope="session")
def built_kit(tmp_path_factory):
    """The kit of this checkout for the user "writer", built once; do not change it."""
    kit = tmp_path_factory.mktemp("built") / "kit"
    build_kit(read_description(ROOT / "kaggle_metadata.json"), kit, owner="writer")
    return kit


@pytest.fixture
def wheels_at_hand(built_kit, monkeypatch):
    """Make pip take wheels that are here already, because the tests have no network."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(built_kit / "datasets" / "pii-kit-package"))


@pytest.fixture
def stub(monkeypatch, tmp_path_factory):
    """A stub that the real client talks to: its requests to all other hosts go there too, and fail the test."""
    with running_stub() as stub:
        for name in ("http_proxy", "https_proxy", "all_proxy"):  # the client's "localhost" has port 80, so: a proxy
            monkeypatch.setenv(name, stub.address)
            monkeypatch.setenv(name.upper(), stub.address)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "")
        monkeypatch.delenv("KAGGLE_API_TOKEN", raising=False)
        monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
        monkeypatch.setenv("KAGGLE_USERNAME", "writer")
        monkeypatch.setenv("KAGGLE_KEY", "secret")
        home = tmp_path_factory.mktemp("home")  # with nobody's credentials
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(home / ".kaggle"))
        monkeypatch.setenv("TMPDIR", str(home))  # the client resumes uploads that it finds in the temporary folder
        yield stub
        others = [call for call in stub.calls if call[0] == "CONNECT"]
        assert not others, f"the client tried another host: {others}"
