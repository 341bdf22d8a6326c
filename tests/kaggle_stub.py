"""A stand-in for Kaggle on this machine, for the real client to talk to; nothing is ever sent anywhere else."""

import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import requests

from pii_kit.kaggle.build import build_kit, read_description

ROOT = Path(__file__).parents[1]
HANG_SECONDS = 5  # no request is kept longer than this
HERE = ("127.0.0.1", "localhost", "::1")


@dataclass
class Stub:
    """What has arrived, and what is to be answered.

    `refusals` maps a method to (HTTP status, body, headers), `hangs` are methods that are not answered. A notebook's
    `states` are told one a look, the last for ever. `outputs` maps a notebook to its files, path to content.
    """

    address: str = ""
    calls: list[tuple[str, dict]] = field(default_factory=list)
    refusals: dict[str, tuple[int, str | bytes, dict]] = field(default_factory=dict)
    hangs: set[str] = field(default_factory=set)
    blobs: dict[str, bytes] = field(default_factory=dict)
    datasets: dict[str, dict] = field(default_factory=dict)
    kernels: dict[str, dict] = field(default_factory=dict)
    states: dict[str, list[str]] = field(default_factory=dict)
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
        """The files of a data set's latest version, name to content."""
        blobs = self.datasets[slug]["files"]
        return {self.datasets[slug]["names"][token]: self.blobs[token] for token in blobs}

    def answer(self, method: str, body: dict) -> dict | None:
        """The reply to a call of the client's; None is a 404."""
        return getattr(self, f"_{method}")(body)

    def _StartBlobUpload(self, body: dict) -> dict:
        token = f"{len(self.calls)}:{body['name']}"
        return {"token": token, "createUrl": f"http://localhost/upload/{token}"}

    def _GetDataset(self, body: dict) -> dict | None:
        found = self.datasets.get(body["datasetSlug"])
        return found and {"currentVersionNumber": found["version"], "description": found["description"]}

    def _GetDatasetStatus(self, body: dict) -> dict | None:
        found = self.datasets.get(body["datasetSlug"])
        return found and {"status": found["status"]}

    def _CreateDataset(self, body: dict) -> dict:
        return self._stored(body["slug"], 1, body)

    def _CreateDatasetVersion(self, body: dict) -> dict:
        slug = body["datasetSlug"]
        return self._stored(slug, self.datasets[slug]["version"] + 1, body["body"])

    def _stored(self, slug: str, version: int, body: dict) -> dict:
        tokens = [file["token"] for file in body["files"]]
        names = {token: token.split(":", 1)[1] for token in tokens}
        kept = {"version": version, "description": body["description"], "status": "READY"}
        self.datasets[slug] = {**kept, "files": tokens, "names": names}
        return {"status": "ok", "url": f"https://www.kaggle.com/datasets/writer/{slug}"}

    def _SaveKernel(self, body: dict) -> dict:
        slug = body["slug"].split("/")[1]
        version = self.kernels.get(slug, {"version": 0})["version"] + 1
        self.kernels[slug] = {"version": version, **body}
        self.states[slug] = ["QUEUED", "RUNNING", "COMPLETE"]
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

    def _GetKernel(self, body: dict) -> dict:
        return {"metadata": {"currentVersionNumber": self.kernels[body["kernelSlug"]]["version"]}, "blob": {}}

    def _ListKernelSessionOutput(self, body: dict) -> dict:
        """Two files a page."""
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


@pytest.fixture(scope="session")
def built_kit(tmp_path_factory):
    """The checkout's kit for the user "writer", built once; not to be changed."""
    kit = tmp_path_factory.mktemp("built") / "kit"
    build_kit(read_description(ROOT / "kaggle_metadata.json"), kit, owner="writer")
    return kit


@pytest.fixture
def wheels_at_hand(built_kit, monkeypatch):
    """pip takes wheels that are here already: where a stub stands in for the network it could get no others."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(built_kit / "datasets" / "pii-kit-package"))


@pytest.fixture
def stub(monkeypatch, tmp_path_factory):
    """A stub that the real client talks to in this process; whatever would go elsewhere fails before it is sent."""
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
        look_up = socket.getaddrinfo

        def look_up_here(host, *more, **settings):
            if host not in HERE:
                raise OSError(f"a test must not look for {host!r}")
            return look_up(host, *more, **settings)

        monkeypatch.setattr(socket, "getaddrinfo", look_up_here)
        asked: set[str | None] = set()  # the hosts that requests, which the client goes through, is told to ask

        def send(adapter, request, *more, original=requests.adapters.HTTPAdapter.send, **settings):
            asked.add(urlsplit(request.url).hostname)
            return original(adapter, request, *more, **settings)

        monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
        for url in ("http://localhost/api/v1/x", "https://api.kaggle.com/v1/x"):
            assert requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url)) == stub.address
        if "kaggle" in sys.modules:  # it reads the environment once, when it is imported
            assert "--local" in sys.modules["kaggle"].KaggleApi.args
        yield stub
        assert asked <= set(HERE), "the client was to go elsewhere"  # other libraries' threads do not go this way
