"""A stand-in for Kaggle: a server on this machine for the real client."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from pii_kit.kaggle import build

ROOT = Path(__file__).parents[1]


@dataclass
class Stub:
    """What has arrived, and what is to be answered.

    `refusals` maps a method to (HTTP status, body, headers). The `states` of a notebook's newest version are answered
    one after the other, the last one for ever; a push sets them to `after_push`. At most `sessions` notebooks run at a
    time. `outputs` maps a notebook to its files, path to content.
    """

    address: str = ""
    calls: list[tuple[str, dict]] = field(default_factory=list)
    refusals: dict[str, tuple[int, str, dict]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    datasets: dict[str, dict] = field(default_factory=dict)
    kernels: dict[str, dict] = field(default_factory=dict)
    states: dict[str, list[str]] = field(default_factory=dict)
    after_push: tuple[str, ...] = ("QUEUED", "RUNNING", "COMPLETE")
    sessions: int = 9
    outputs: dict[str, dict[str, bytes]] = field(default_factory=dict)
    submissions: list[dict] = field(default_factory=list)

    def sent(self) -> list[str]:
        """Return the slugs of data sets and notebooks in the order in which they arrived."""
        kinds = {"CreateDataset": "slug", "CreateDatasetVersion": "datasetSlug", "SaveKernel": "slug"}
        return [body[kinds[method]].split("/")[-1] for method, body in self.calls if method in kinds]

    def bodies(self, method: str) -> list[dict]:
        return [body for called, body in self.calls if called == method]

    def refuse(self, method: str, status: int, message: str = "", **headers: str) -> None:
        self.refusals[method] = (status, json.dumps({"code": status, "message": message}), headers)

    def files(self, slug: str) -> dict[str, bytes]:
        """Return the files of a data set's latest version, name to content."""
        return {token.split(":", 1)[1]: self.blobs[token] for token in self.datasets[slug]["files"]}

    def _IntrospectToken(self, body: dict) -> dict:
        return {"active": True, "username": f"owner-of-{body['token']}"}

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
        self.datasets[body["slug"]] = {
            "version": 1,
            "status": "READY",
            "files": [one["token"] for one in body["files"]],
        }
        return {"status": "ok"}

    def _CreateDatasetVersion(self, body: dict) -> dict:
        version = self.datasets[body["datasetSlug"]]["version"] + 1
        self._CreateDataset({"slug": body["datasetSlug"], "files": body["body"]["files"]})
        self.datasets[body["datasetSlug"]]["version"] = version
        return {"status": "ok"}

    def _SaveKernel(self, body: dict) -> dict:
        if sum(states[0] in ("QUEUED", "RUNNING") for states in self.states.values()) >= self.sessions:
            return {"error": "Maximum batch GPU session count of 2 reached."}
        slug = body["slug"].split("/")[1]
        version = self.kernels.get(slug, {"version": 0})["version"] + 1
        self.kernels[slug] = {"version": version, **body}
        self.states[slug] = [*self.after_push]
        return {"versionNumber": version, "url": f"https://www.kaggle.com/code/{body['slug']}"}

    def _GetKernelSessionStatus(self, body: dict) -> dict | None:
        slug = body["kernelSlug"]
        asked, newest = body.get("versionLabel"), f"v{self.kernels.get(slug, {}).get('version')}"
        if slug not in self.states or asked not in (None, "", newest):
            return None
        state = self.states[slug].pop(0) if len(self.states[slug]) > 1 else self.states[slug][0]
        return {"status": state, "failureMessage": "it broke" if state == "ERROR" else ""}

    def _ListKernelSessionOutput(self, body: dict) -> dict:
        """Answer with two files a page."""
        slug, start = body["kernelSlug"], int(body.get("pageToken") or 0)
        paths = list(self.outputs.get(slug, {}))
        page = [(number, path) for number, path in enumerate(paths) if start <= number < start + 2]
        files = [{"fileName": path, "url": f"http://localhost/output/{slug}/{number}"} for number, path in page]
        return {"files": files, "log": "a log", "nextPageToken": str(start + 2) if start + 2 < len(paths) else ""}

    def _CreateCodeSubmission(self, body: dict) -> dict:
        self.submissions.insert(0, {"ref": 77, "status": "PENDING"})
        return {"ref": 77, "message": "Successfully submitted"}

    def _ListSubmissions(self, body: dict) -> dict:
        listed = json.loads(json.dumps(self.submissions))
        for one in self.submissions:
            one |= {"status": "COMPLETE", "publicScore": "0.95", "privateScore": "0.94"}
        return {"submissions": listed}


def _handler(stub: Stub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            method = urlsplit(self.path).path.rsplit("/", 1)[1]
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            stub.calls.append((method, body))
            if not self._refused(method):
                reply = getattr(stub, f"_{method}")(body)
                if reply is None:
                    self._reply(403, json.dumps({"code": 403, "message": f"Permission '{method}' was denied"}))
                else:
                    self._reply(200, json.dumps(reply))

        def do_PUT(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            if not self._refused("upload"):
                stub.blobs[unquote(urlsplit(self.path).path.removeprefix("/upload/"))] = content
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
            if method in stub.refusals:
                self._reply(*stub.refusals[method])
            return method in stub.refusals

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
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def built_kit(tmp_path_factory):
    """The kit of this checkout for the user "writer", built once; do not change it."""
    kit = tmp_path_factory.mktemp("built") / "kit"
    build.build_kit(build.read_description(ROOT), ROOT, kit, owner="writer")
    return kit


@pytest.fixture
def no_wheels(monkeypatch):
    """The package is built without pip, which takes seconds and, for other projects' wheels, a network."""
    monkeypatch.setattr(build, "build_wheel", lambda root, into: (into / "kit.whl").write_text("wheel"))
    monkeypatch.setattr(build, "download_wheels", lambda names, pins, into: None)


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
        home = tmp_path_factory.mktemp("home")  # with nobody's credentials, and no uploads to be resumed
        settings = {
            "API_ENVIRONMENT": "LOCALHOST",
            "USERNAME": "writer",
            "KEY": "secret",
            "CONFIG_DIR": f"{home}/.kaggle",
        }
        for name, value in settings.items():
            monkeypatch.setenv(f"KAGGLE_{name}", value)
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setattr("tempfile.tempdir", str(home))
        yield stub
        others = [call for call in stub.calls if call[0] == "CONNECT"]
        assert not others, f"the client tried another host: {others}"
