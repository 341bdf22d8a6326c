"""Tables and Ray: the same result as for files, in whatever parts, and also if workers or the whole job are killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from pii_kit.documents import DataWarning, join_tokens
from pii_kit.files import KitError
from pii_kit.labels import PII_TYPES
from pii_kit.redact import MODES, Redaction
from pii_kit.redact.essays import read_essays
from pii_kit.redact.release import redact_essays
from pii_kit.redact.table import TableConfig, redact_file, redact_on_ray, redact_table
from pii_kit.sample import make_documents

ROOT = Path(__file__).parents[2]
NAME = PII_TYPES[0]
FIELDS = ("full_text", "tokens", "trailing_whitespace", "labels")


def entries_of(documents) -> list[dict]:
    return [
        {"document": document.number} | {name: getattr(document, name) for name in FIELDS} for document in documents
    ]


def write_lines(path: Path, entries) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def config_of(mode="type", **more) -> TableConfig:
    key = {"key": b"0123456789abcdef"} if mode == "hash" else {}
    return TableConfig(settings=Redaction(mode=mode, **key | more))


@pytest.mark.parametrize("mode", MODES)
def test_a_table_is_redacted_as_the_file_of_the_same_documents(documents, tmp_path, mode):
    config = config_of(mode, seed=1)
    essays = read_essays(write_lines(tmp_path / "in.jsonl", entries_of(documents)))
    release = redact_essays(essays, config.labels(documents), config.settings)
    expected = [json.loads(line) for line in release.contents[""].decode().splitlines()]
    parts = [redact_table(pd.DataFrame(entries_of(part)), config) for part in (documents[:7], documents[7:])]
    assert json.loads(json.dumps(pd.concat(parts).to_dict("records"))) == expected


def test_other_columns_dtypes_and_the_index_stay(documents):
    table = pd.DataFrame(entries_of(documents)).drop(columns="labels")
    table["tokens"] = table["tokens"].map(np.array)
    table.insert(0, "grade", pd.array([1, None] * 12, dtype="Int8"))
    table["when"] = pd.Timestamp("2024-05-01", tz="UTC")
    table["kind"] = pd.Categorical(["a", "b"] * 12)
    table["scores"] = [np.array([0.5])] * 24
    table.index = [f"row {number}" for number in range(24)]
    before = table.copy(deep=True)
    new = redact_table(table, config_of())
    assert list(new.columns) == list(table.columns) and new.dtypes.equals(table.dtypes)
    assert new.index.equals(table.index)
    pd.testing.assert_frame_equal(new[["grade", "when", "kind", "scores"]], before[["grade", "when", "kind", "scores"]])
    pd.testing.assert_frame_equal(table, before)
    assert (new["full_text"] != table["full_text"]).any()
    for row in new.itertuples():
        assert join_tokens(row.tokens, row.trailing_whitespace) == row.full_text


def test_a_table_needs_only_a_text_and_missing_ones_stay():
    table = pd.DataFrame({"Essay": ["By Ana.", None, "Ana", float("nan")], "tokens": [None, None, ["Ana"], None]})
    table["trailing_whitespace"] = [None, None, np.array([False]), None]
    config = replace(config_of(deny="Ana"), text_column="essay")
    with pytest.warns(DataWarning, match="2 without text, passed through as they are: row 2, row 4"):
        new = redact_table(table, config)
    assert new["Essay"].tolist()[::2] == ["By [NAME_STUDENT].", "[NAME_STUDENT]"] and new["Essay"].isna().sum() == 2
    assert new["tokens"].tolist() == [None, None, ["[", "NAME_STUDENT", "]"], None]
    with pytest.warns(DataWarning):
        assert redact_table(table[:0], config).equals(table[:0])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"document": [1]}, "table: no column full_text or text; found document"),
        ({"document": [3, 3], "text": ["a", "b"]}, "1 document numbers are used twice"),
        ({"document": [3], "text": pd.Categorical(["a"])}, "text: a categorical column"),
        ({"document": [3], "text": [5]}, "row 1: expected text, found int"),
    ],
)
def test_a_table_that_cannot_be_redacted_is_one_error_with_its_place(columns, message):
    with pytest.raises(KitError, match=message):
        redact_table(pd.DataFrame(columns), config_of())


def test_a_tagger_labels_a_table_with_its_thresholds():
    config = config_of()
    table = pd.DataFrame({"text": ["My name is Ana Silva.", "Nobody here, but a@b.de"]})
    assert redact_table(table, config)["text"].tolist() == ["My name is [NAME_STUDENT].", "Nobody here, but [EMAIL]"]
    never = replace(config, thresholds=tuple((pii_type, 1e-9) for pii_type in PII_TYPES))
    assert redact_table(table, never)["text"][0] == table["text"][0]


@pytest.fixture
def essays(tmp_path):
    """Sixty essays in four files; returns the folder, the configuration and the redacted texts."""
    documents, config = make_documents(60, seed=4), config_of("surrogate", seed=3)
    expected = {}
    for number in range(4):
        part = documents[15 * number : 15 * number + 15]
        entries = [{"document": document.number, "text": document.full_text} for document in part]
        path = write_lines(tmp_path / "in" / f"{number}.jsonl", entries)
        given = read_essays(path)
        release = redact_essays(given, config.labels(given.documents.values()), config.settings)
        expected[path.name] = [one.text for one in release.redacted]
    return tmp_path / "in", config, expected


def texts_of(out: Path) -> dict[str, list[str]]:
    return {path.name: [json.loads(line)["text"] for line in path.read_text().splitlines()] for path in out.iterdir()}


def wait_for(folder: Path, pattern: str, job: subprocess.Popen | None = None) -> Path:
    """Return a file as soon as there is one of this pattern, unless the job ends before."""
    end = time.monotonic() + 300
    while time.monotonic() < end and not (job and job.poll()):
        for path in folder.glob(pattern):
            return path
        time.sleep(0.05 if job else 0.001)
    raise TimeoutError(pattern)


def kill_a_worker(out: Path, n_written: int, killed: list[int]) -> None:
    """Kill the processes of Ray's workers as soon as one of them has written a file."""
    while len(list(out.glob("*.jsonl"))) <= n_written:
        time.sleep(0.01)
    for process in psutil.process_iter(["name", "cmdline"]):
        if "ray::_Worker" in " ".join([process.info["name"] or "", *(process.info["cmdline"] or ())]):
            process.kill()
            killed.append(process.pid)


@pytest.mark.long
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_job_survives_killed_workers_a_bad_file_and_being_killed_itself(essays, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="pip install ray")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # by default they wait for everything else on a busy machine
    folder, config, expected = essays
    out = tmp_path / "out"
    command = [sys.executable, "-m", "pii_kit", "redact", "--ray", "--workers", "1", "--mode", "surrogate"]
    command += ["--seed", "3", "--data", folder, "--out", out]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with (tmp_path / "log").open("w") as log:
        job = subprocess.Popen(command, env=environment, start_new_session=True, stderr=log)
    try:
        first = wait_for(out, "*.jsonl", job)
    except TimeoutError:
        raise AssertionError((tmp_path / "log").read_text()[-3000:]) from None
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    time.sleep(2)  # Ray's own processes end when they notice
    written = {path.name: path.stat().st_mtime_ns for path in out.glob("*.jsonl")}
    assert first.name in written and len(written) < len(expected)

    (folder / "bad.jsonl").write_text('{"document": 1}\n')
    killed: list[int] = []
    killer = threading.Thread(target=kill_a_worker, args=(out, len(written), killed), daemon=True)
    killer.start()
    with pytest.raises(KitError, match=r"1 of 5 files failed.*bad\.jsonl: .*line 1: no column full_text or text"):
        redact_on_ray(folder, out, config, n_workers=1)
    killer.join()
    for path in out.glob(".*.partial"):
        path.unlink()  # what a killed worker left
    assert killed and texts_of(out) == expected
    assert {name: (out / name).stat().st_mtime_ns for name in written} == written

    (folder / "bad.jsonl").unlink()
    report = redact_on_ray(folder, out, config)
    assert report["documents"] == 60 and report["changed_documents"] > 0


def test_a_job_refuses_other_settings_changed_essays_and_an_output_over_something_else(tmp_path):
    pytest.importorskip("ray", reason="pip install ray")
    folder, config = tmp_path / "in", config_of()
    for name in ("0.jsonl", "1.jsonl"):
        path = write_lines(folder / name, [{"text": "By Rodrigo."}])
        redact_file(path, tmp_path / "out", config, strict=False)
    assert redact_on_ray(folder, tmp_path / "out", config)["documents"] == 2  # nothing is missing
    with pytest.raises(KitError, match="of other settings"):
        redact_on_ray(folder, tmp_path / "out", replace(config, settings=Redaction(mode="mask")))
    with pytest.raises(KitError, match="is used twice"):
        redact_on_ray(folder, folder, config)
    (tmp_path / "link").symlink_to(tmp_path / "new", target_is_directory=True)
    with pytest.raises(KitError, match="is a link"):
        redact_on_ray(folder, tmp_path / "link", config)
    with pytest.raises(KitError, match="exists already"):
        redact_on_ray(tmp_path / "out", tmp_path / "out.reports", config)
    os.utime(folder / "0.jsonl", (0, 0))
    with pytest.raises(KitError, match="is of another text"):
        redact_on_ray(folder, tmp_path / "out", config)


def test_strict_writes_no_file_with_a_leak(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", [{"document": 7, "text": "By Rodrigo. xrodrigox"}])
    with pytest.raises(KitError, match=r"1 leaks that nothing explains, in line 1 \(document 7\)"):
        redact_file(path, tmp_path / "out", config_of(deny="Rodrigo"), strict=True)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.reports").exists()


def test_without_ray_or_without_an_answer_there_is_one_error_and_nothing_is_written(tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="pip install ray")
    folder, config = write_lines(tmp_path / "in" / "0.jsonl", [{"text": "By Rodrigo."}]).parent, config_of()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # it does not listen
        with pytest.raises(KitError, match="no Ray cluster answers"):
            redact_on_ray(folder, tmp_path / "out", config, address=f"127.0.0.1:{unused.getsockname()[1]}")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(KitError, match="pip install ray"):
        redact_on_ray(folder, tmp_path / "out", config)
    assert {path.name for path in tmp_path.iterdir()} == {"in"}
