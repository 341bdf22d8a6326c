"""The Ray engine: the result of a single process, also if workers or the whole job are killed half-way."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pii_kit.files import KitError
from pii_kit.redact import Redaction
from pii_kit.redact.essays import read_essays
from pii_kit.redact.ray_engine import _open_job, redact_file, redact_on_ray
from pii_kit.redact.release import redact_essays
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
        release = redact_essays(read_essays(path), [document.labels for document in part], settings)
        expected[path.name] = [one.text for one in release.redacted]
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
    pytest.importorskip("ray", reason="pip install ray")
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
    reports = {path.name for path in (tmp_path / "out.reports").iterdir()}
    assert first.name in written and len(written) < len(expected)

    (folder / "bad.jsonl").write_text('{"document": 1}\n')
    killed: list[int] = []
    killer = threading.Thread(target=kill_a_worker, args=(out, killed))
    killer.start()
    with pytest.raises(KitError, match=r"1 of 5 files failed.*bad\.jsonl: .*line 1: no column full_text or text"):
        redact_on_ray(folder, out, config, n_workers=1)
    killer.join()
    for path in out.glob(".*.partial"):
        path.unlink()  # what a killed worker left
    assert killed and texts_of(out) == expected
    finished = {name for name in written if f"{name}.json" in reports}
    assert {name: (out / name).stat().st_mtime_ns for name in finished} == {name: written[name] for name in finished}

    (folder / "bad.jsonl").unlink()
    report = redact_on_ray(folder, out, config)
    assert report["documents"] == 60 and report["changed_documents"] > 0
    (folder / "0.jsonl").unlink()
    with pytest.raises(KitError, match=r"rows label \d+ tokens .* do not use"):
        redact_on_ray(folder, out, config)


def test_a_job_goes_on_with_its_seed_and_refuses_other_settings_and_other_folders(essays, tmp_path):
    folder, _, _ = essays
    config = TableConfig(settings=Redaction(mode="surrogate", allow="Zebra"), submission=tmp_path / "labels.csv")
    opened = _open_job(tmp_path / "out", config, strict=False)
    assert _open_job(tmp_path / "out", config, strict=False).settings.seed == opened.settings.seed is not None
    record = tmp_path / "out.reports" / "job.json"
    assert stat.S_IMODE(record.stat().st_mode) == 0o600 and "Zebra" not in record.read_text()
    for other in (
        Redaction(mode="mask"),
        Redaction(mode="surrogate", allow="Lion"),
        Redaction(mode="surrogate", seed=4),
    ):
        with pytest.raises(KitError, match="was written with other settings"):
            _open_job(tmp_path / "out", TableConfig(settings=other, submission=config.submission), strict=False)
    with pytest.raises(KitError, match="is of no job"):
        _open_job(folder, config, strict=False)


def test_strict_writes_no_file_with_a_leak(tmp_path):
    (tmp_path / "labels.csv").write_text("row_id,document,token,label\n0,7,1,B-NAME_STUDENT\n")
    (tmp_path / "a.jsonl").write_text('{"document": 7, "text": "By Rodrigo. xrodrigox"}\n')
    config = TableConfig(settings=Redaction(mode="type"), submission=tmp_path / "labels.csv")
    with pytest.raises(KitError, match=r"1 leaks that nothing explains, in line 1 \(document 7\)"):
        redact_file(tmp_path / "a.jsonl", tmp_path / "out", config, strict=True)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.reports").exists()


def test_an_address_where_nothing_answers_is_an_error_and_nothing_is_written(essays, tmp_path):
    folder, config, _ = essays
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # it does not listen
        with pytest.raises(KitError, match="no Ray cluster answers"):
            redact_on_ray(folder, tmp_path / "out", config, address=f"127.0.0.1:{unused.getsockname()[1]}")
    assert not (tmp_path / "out").exists()


def test_without_ray_there_is_a_clear_error_and_nothing_is_written(essays, tmp_path, monkeypatch):
    folder, config, _ = essays
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(KitError, match="pip install ray"):
        redact_on_ray(folder, tmp_path / "out", config)
    assert {path.name for path in tmp_path.iterdir()} == {"in", "labels.csv"}
