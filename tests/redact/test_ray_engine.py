"""The Ray engine: the result of a single process, also if workers or the whole job are killed half-way."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from pii_kit.files import KitError
from pii_kit.redact import Redaction, ray_engine
from pii_kit.redact.forms import read_files
from pii_kit.redact.partition import count_try
from pii_kit.redact.ray_engine import TRIES, redact_on_ray
from pii_kit.redact.release import redact_files
from pii_kit.redact.table import TableConfig
from pii_kit.sample import make_documents
from pii_kit.submission import true_rows, write_submission

ROOT = Path(__file__).parents[2]


@pytest.fixture
def essays(tmp_path):
    """Sixty essays in four files, and their labels; returns the folder, the configuration and the redacted texts."""
    documents = make_documents(60, seed=4)
    folder = tmp_path / "in"
    folder.mkdir()
    expected = {}
    settings = Redaction(mode="surrogate", seed=3)
    for number in range(4):
        path, part = folder / f"{number}.jsonl", documents[15 * number : 15 * number + 15]
        entries = [{"document": document.number, "text": document.full_text} for document in part]
        path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        release = redact_files(read_files(path), [document.labels for document in part], settings)
        expected[path.name] = [one.document.full_text for one in release.redacted]
    write_submission(tmp_path / "labels.csv", true_rows(documents))
    return folder, TableConfig(settings=settings, submission=tmp_path / "labels.csv"), expected


def texts_of(out: Path) -> dict[str, list[str]]:
    return {path.name: [json.loads(line)["text"] for line in path.read_text().splitlines()] for path in out.iterdir()}


def wait_for(folder: Path, pattern: str) -> Path:
    """Return a file as soon as there is one of this pattern."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        for path in folder.glob(pattern):
            return path
        time.sleep(0.001)
    raise TimeoutError(pattern)


def kill_a_worker(out: Path, killed: list[int]) -> None:
    """Kill the process that is writing a file: its number is in the file's temporary name."""
    killed.append(int(wait_for(out, ".*.partial").name.split(".")[-2]))
    os.kill(killed[0], signal.SIGKILL)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_job_survives_killed_workers_a_bad_file_and_being_killed_itself(essays, tmp_path, monkeypatch):
    pytest.importorskip("ray.data", reason="pip install 'ray[data]'")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # by default they wait for everything else on a busy machine
    folder, config, expected = essays
    out = tmp_path / "out"
    command = [sys.executable, "-m", "pii_kit", "redact", "--ray", "--workers", "1", "--mode", "surrogate"]
    command += ["--seed", "3", "--data", folder, "--out", out, "--submission", config.submission]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    job = subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        first = wait_for(out, "*.jsonl")
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    time.sleep(2)  # Ray's own processes end when they notice
    written = {path.name: path.stat().st_mtime_ns for path in out.glob("*.jsonl")}
    assert first.name in written and len(written) < len(expected)

    (folder / "bad.jsonl").write_text('{"document": 1}\n')
    killed: list[int] = []
    killer = threading.Thread(target=kill_a_worker, args=(out, killed))
    killer.start()
    with pytest.raises(KitError, match=r"1 of 5 files failed.*bad\.jsonl: the table has no column full_text or text$"):
        redact_on_ray(folder, out, config, n_workers=1)
    killer.join()
    assert killed and texts_of(out) == expected
    assert {name: (out / name).stat().st_mtime_ns for name in written} == written


@pytest.fixture
def in_this_process(monkeypatch):
    """The engine without Ray: one worker in this process."""

    def rows(ray, paths, arguments, n_workers):
        worker = ray_engine._Worker(*arguments)
        return (worker({"path": str(path)}) for path in paths)

    monkeypatch.setattr(ray_engine, "_rows", rows)
    monkeypatch.setattr(ray_engine, "_ray_module", lambda: None)
    monkeypatch.setattr(ray_engine, "_started", lambda *_: nullcontext(1))


def test_the_report_is_the_sum_of_all_files(essays, tmp_path, in_this_process):
    folder, config, expected = essays
    report = redact_on_ray(folder, tmp_path / "out", config)
    assert texts_of(tmp_path / "out") == expected
    assert report["documents"] == 60 and report["changed_documents"] == 9
    assert report == redact_on_ray(folder, tmp_path / "out", config)


def test_a_file_is_tried_three_times_even_if_it_kills_its_worker(essays, tmp_path, in_this_process, monkeypatch):
    folder, config, _ = essays
    done = ray_engine.redact_file
    tried = []

    def redact_file(path, out, config, *, strict):
        tried.append(path.name)
        if path.name == "2.jsonl" or tried.count(path.name) == 1:
            raise OSError("disk\nerror")
        return done(path, out, config, strict=strict)

    monkeypatch.setattr(ray_engine, "redact_file", redact_file)
    with pytest.raises(KitError, match=r"1 of 4 files failed.*2\.jsonl: OSError: disk error \(3 tries\)$"):
        redact_on_ray(folder, tmp_path / "out", config)
    assert sorted(tried) == sorted([f"{number}.jsonl" for number in (0, 1, 3)] * 2 + ["2.jsonl"] * TRIES)
    assert not list((tmp_path / "out.reports").glob("*.tries"))
    for _ in range(TRIES):  # as the workers did that were killed
        count_try(tmp_path / "out", "2.jsonl")
    worker = ray_engine._Worker(str(tmp_path / "out"), config, False)
    assert worker({"path": str(folder / "2.jsonl")})["error"] == "its worker was killed (3 tries)"


def test_a_submission_of_other_documents_is_an_error(essays, tmp_path, in_this_process):
    folder, config, _ = essays
    (folder / "0.jsonl").unlink()
    with pytest.raises(KitError, match=r"rows label \d+ tokens .* do not use"):
        redact_on_ray(folder, tmp_path / "out", config)


def test_an_address_where_nothing_answers_is_an_error(essays, tmp_path, in_this_process):
    folder, config, _ = essays
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # it does not listen
        with pytest.raises(KitError, match="no Ray cluster answers"):
            redact_on_ray(folder, tmp_path / "out", config, address=f"127.0.0.1:{unused.getsockname()[1]}")
    assert not (tmp_path / "out").exists()


def test_without_ray_there_is_a_clear_error_and_nothing_is_written(essays, tmp_path, monkeypatch):
    folder, config, _ = essays
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(KitError, match=r"pip install 'ray\[data\]'"):
        redact_on_ray(folder, tmp_path / "out", config)
    assert {path.name for path in tmp_path.iterdir()} == {"in", "labels.csv"}
