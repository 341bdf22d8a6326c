"""Tables: the same result as for files, whatever holds the table and in whatever parts it comes."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest

from pii_kit.documents import DataWarning, join_tokens
from pii_kit.files import KitError
from pii_kit.labels import PII_TYPES
from pii_kit.predict import DEFAULT_RUN
from pii_kit.redact import MODES, Redaction
from pii_kit.redact.forms import read_files
from pii_kit.redact.partition import close_job, finished, open_job, partitions, redact_file
from pii_kit.redact.release import redact_files
from pii_kit.redact.table import TableConfig, add_reports, redact_rows, redact_table
from pii_kit.sample import make_documents
from pii_kit.submission import true_rows, write_submission

ROOT = Path(__file__).parents[2]
NAME = PII_TYPES[0]
FIELDS = ("document", "full_text", "tokens", "trailing_whitespace", "labels")


def entries_of(documents) -> list[dict]:
    return [{name: getattr(document, name) for name in FIELDS} for document in documents]


def write_lines(path: Path, entries) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


@pytest.fixture
def submission(documents, tmp_path) -> Path:
    """The true labels of the made-up essays."""
    write_submission(tmp_path / "labels.csv", true_rows(documents))
    return tmp_path / "labels.csv"


def config_of(submission, mode="type", **more) -> TableConfig:
    key = {"key": b"0123456789abcdef"} if mode == "hash" else {}
    return TableConfig(settings=Redaction(mode=mode, **key | more), submission=submission)


@pytest.mark.parametrize("mode", MODES)
def test_a_table_is_redacted_as_the_file_of_the_same_documents(documents, submission, tmp_path, mode):
    config = config_of(submission, mode)
    files = read_files(write_lines(tmp_path / "in.jsonl", entries_of(documents)))
    release = redact_files(files, [document.labels for document in documents], config.settings)
    expected = [json.loads(line) for line in release.output[""].decode().splitlines()]
    parts = [pd.DataFrame(entries_of(part)) for part in (documents[:7], documents[7:])]
    found = pd.concat([redact_table(part, config) for part in parts]).to_dict("records")
    assert json.loads(json.dumps(found)) == expected
    reports = [redact_rows(part, config)[1] for part in parts]
    report = add_reports(*reports)
    assert report["documents"] == 24
    assert report["changed_documents"] == sum(bool(document.types) for document in documents) > 0
    assert report["leaks"]["unexplained"] == len(release.unexplained)
    assert report["labelled_tokens"] == len(true_rows(documents))


def test_other_columns_dtypes_and_the_index_stay(documents, submission):
    table = pd.DataFrame(entries_of(documents)).drop(columns="labels")
    table["tokens"] = table["tokens"].map(np.array)
    table.insert(0, "grade", pd.array([1, None] * 12, dtype="Int8"))
    table["when"] = pd.Timestamp("2024-05-01", tz="UTC")
    table["kind"] = pd.Categorical(["a", "b"] * 12)
    table["scores"] = [np.array([0.5])] * 24
    table.index = [f"row {number}" for number in range(24)]
    before = table.copy(deep=True)
    new = redact_table(table, config_of(submission))
    assert list(new.columns) == list(table.columns) and new.dtypes.equals(table.dtypes)
    assert new.index.equals(table.index)
    pd.testing.assert_frame_equal(new[["grade", "when", "kind", "scores"]], before[["grade", "when", "kind", "scores"]])
    pd.testing.assert_frame_equal(table, before)
    changed = new["full_text"] != table["full_text"]
    assert changed.tolist() == [bool(document.types) for document in documents]
    for row in new.itertuples():
        assert join_tokens(row.tokens, row.trailing_whitespace) == row.full_text


def test_a_table_needs_only_numbers_and_a_text(tmp_path):
    (tmp_path / "labels.csv").write_text(f"row_id,document,token,label\n0,7,1,B-{NAME}\n")
    table = pd.DataFrame({"text": ["By Ana.", "Ana"], "document": [7, 8], "tokens": [None, ["Ana"]]})
    table["trailing_whitespace"] = [None, np.array([False])]
    new = redact_table(table, config_of(tmp_path / "labels.csv"))
    assert new["text"].tolist() == ["By [NAME_STUDENT].", "Ana"]
    assert new["tokens"].tolist() == [None, ["Ana"]]
    assert redact_table(table[:0], config_of(tmp_path / "labels.csv")).equals(table[:0])


def test_the_leak_check_searches_other_columns(tmp_path):
    (tmp_path / "labels.csv").write_text(f"row_id,document,token,label\n0,7,1,B-{NAME}\n")
    more = {"author": ["rodrigo"], "nested": [np.array(["x"] * 2000 + ["Rodrigo"])], "empty": [None]}
    table = pd.DataFrame({"text": ["By Rodrigo."], "document": [7], **more})
    report = redact_rows(table, config_of(tmp_path / "labels.csv"))[1]
    assert report["leaks"]["unexplained"] == 2 and report["documents_with_unexplained_leaks"] == [7]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"full_text": ["a"]}, "no column document"),
        ({"document": [1]}, "no column full_text or text"),
        ({"document": [1.5], "text": ["a"]}, "document: expected a whole number"),
        ({"document": [None], "text": ["a"]}, "document: expected a whole number, found null"),
        ({"document": [3], "text": [None]}, "document 3: full_text: expected a string, found null"),
        ({"document": [3, 3], "text": ["a", "b"]}, "1 document numbers are used twice"),
        ({"document": [3], "text": pd.Categorical(["a"])}, "text: a categorical column"),
        ({"document": [3], "text": ["a"], "tokens": [["a"]]}, "document 3: trailing_whitespace missing"),
    ],
)
def test_a_table_that_cannot_be_redacted_is_one_error_with_its_place(submission, columns, message):
    with pytest.raises(KitError, match=message):
        redact_table(pd.DataFrame(columns), config_of(submission))


def test_labels_come_from_one_source_that_fits(documents, submission, tmp_path):
    with pytest.raises(KitError, match="expected one of them"):
        TableConfig(settings=Redaction(mode="type"), submission=submission, runs=(tmp_path,))
    assert TableConfig(settings=Redaction(mode="type")).runs == (DEFAULT_RUN,), "the tagger that comes with the kit"
    table = pd.DataFrame({"text": ["Too short"], "document": [true_rows(documents)["document"][0]]})
    with pytest.raises(KitError, match="outside its document"):
        redact_table(table, config_of(submission))
    with pytest.raises(KitError, match="no such file"):
        config_of(tmp_path / "none.csv").identity()


def test_runs_label_a_table(cross_validated, documents):
    config = TableConfig(settings=Redaction(mode="type"), runs=(cross_validated(0)[0],))
    table = pd.DataFrame(entries_of(documents))
    new, report = redact_rows(table, config)
    assert (new["full_text"] != table["full_text"]).any()
    assert len(config.identity()["taggers"]) == 3
    rules_alone = replace(config, thresholds=tuple((pii_type, 1e-9) for pii_type in PII_TYPES))
    assert redact_rows(table, rules_alone)[1]["labelled_tokens"] < report["labelled_tokens"]


def test_the_identity_of_a_job_has_all_settings_and_no_secret(submission):
    config = config_of(submission, "hash")
    others = [{"seed": 1}, {"key": b"another key of a test"}, {"allow": frozenset({"ana"})}, {"deny": (("ana", NAME),)}]
    others += [{"mode": "mask"}, {"mentions": False}]
    identities = [
        config.identity(),
        *(replace(config, settings=replace(config.settings, **o)).identity() for o in others),
    ]
    assert all(one != other for one in identities for other in identities if one is not other)
    assert not any(word in json.dumps(identities) for word in ("ana", "0123456789", "another"))


def job(folder: Path, config: TableConfig, *, strict=False) -> None:
    """What the Ray engine does with each file, without Ray."""
    out = folder.with_name("out")
    open_job(out, config.identity() | {"strict": strict})
    for path in partitions(folder):
        redact_file(path, out, config, strict=strict)
    close_job(out)


def test_a_parquet_file_is_redacted_in_blocks_with_its_schema(documents, submission, tmp_path, monkeypatch):
    monkeypatch.setattr("pii_kit.redact.partition.BLOCK", 5)
    folder = tmp_path / "in"
    folder.mkdir()
    table = pyarrow.Table.from_pylist(entries_of(documents))
    more = {
        "n": pyarrow.array([1, None] * 12, pyarrow.int8()),
        "kind": pyarrow.array(["a", "b"] * 12).dictionary_encode(),
        "nested": pyarrow.array([{"a": [1, None]}, None] * 12),
        "when": pyarrow.array([0, None] * 12, pyarrow.timestamp("us", "UTC")),
    }
    for name, column in more.items():
        table = table.append_column(name, column)
    table = table.replace_schema_metadata({"made": "up"})
    pyarrow.parquet.write_table(table, folder / "a.parquet")
    pyarrow.parquet.write_table(table[:0], folder / "empty.parquet")
    config = config_of(submission, "surrogate")
    job(folder, config)
    new = pyarrow.parquet.read_table(tmp_path / "out" / "a.parquet")
    assert new.schema.equals(pyarrow.parquet.read_schema(folder / "a.parquet"), check_metadata=True)
    assert new.select(list(more)).equals(table.select(list(more)))
    expected = redact_table(pd.DataFrame(entries_of(documents)), config)["full_text"].tolist()
    assert new["full_text"].to_pylist() == expected != table["full_text"].to_pylist()
    assert pyarrow.parquet.read_table(tmp_path / "out" / "empty.parquet").num_rows == 0
    assert finished(tmp_path / "out", "a.parquet")["report"]["documents"] == 24


def test_json_lines_keep_their_fields(tmp_path):
    (tmp_path / "labels.csv").write_text(f"row_id,document,token,label\n0,7,1,B-{NAME}\n")
    entries = [
        {"x": [1.50, None], "document": 7, "text": "By Ana. \ud83d é"},
        {"text": "Ana", "document": 8, "y": True},
    ]
    write_lines(tmp_path / "in" / "a.jsonl", entries)
    (tmp_path / "in" / "empty.jsonl").touch()
    (tmp_path / "in" / "_SUCCESS").touch()
    with pytest.warns(DataWarning, match="1 other entries"):
        job(tmp_path / "in", config_of(tmp_path / "labels.csv"))
    new = [json.loads(line) for line in (tmp_path / "out" / "a.jsonl").read_text().splitlines()]
    assert new == [entries[0] | {"text": "By [NAME_STUDENT]. \ud83d é"}, entries[1]]
    assert [list(entry) for entry in new] == [list(entry) for entry in entries]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.jsonl", "empty.jsonl"}


def test_a_job_goes_on_and_refuses_other_settings_and_changed_files(documents, submission, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    for number in range(3):
        write_lines(folder / f"{number}.jsonl", entries_of(documents[8 * number : 8 * number + 8]))
    config = config_of(submission, "surrogate")
    bad = (folder / "1.jsonl").read_text()
    (folder / "1.jsonl").write_text(bad + "{")
    with pytest.raises(KitError, match="line 9: not JSON"):
        job(folder, config)
    assert {path.name for path in out.iterdir()} == {"0.jsonl"}
    (folder / "1.jsonl").write_text(bad)
    (out / ".2.jsonl.77.partial").touch()
    written = (out / "0.jsonl").stat().st_mtime_ns
    job(folder, config)
    assert {path.name for path in out.iterdir()} == {"0.jsonl", "1.jsonl", "2.jsonl"}
    assert (out / "0.jsonl").stat().st_mtime_ns == written
    with pytest.raises(KitError, match="other settings: seed"):
        job(folder, config_of(submission, "surrogate", seed=1))
    (folder / "1.jsonl").write_text(bad + "\n")
    with pytest.raises(KitError, match="was changed"):
        job(folder, config)
    shutil.rmtree(tmp_path / "out.reports")
    with pytest.raises(KitError, match="exists already"):
        job(folder, config)


def test_strict_writes_no_file_with_a_leak(tmp_path):
    (tmp_path / "labels.csv").write_text(f"row_id,document,token,label\n0,7,1,B-{NAME}\n")
    write_lines(tmp_path / "in" / "a.jsonl", [{"document": 7, "text": "By Rodrigo. xrodrigox"}])
    with pytest.raises(KitError, match="1 leaks that nothing explains, in documents 7"):
        job(tmp_path / "in", config_of(tmp_path / "labels.csv"), strict=True)
    assert list((tmp_path / "out").iterdir()) == []
    assert [path.name for path in (tmp_path / "out.reports").iterdir()] == ["job.json"]


def test_a_folder_without_such_files_is_refused(tmp_path):
    with pytest.raises(KitError, match="no files with"):
        partitions(tmp_path)
    with pytest.raises(KitError, match="no such folder"):
        partitions(tmp_path / "none")


@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java")
def test_the_example_of_the_readme_runs_on_spark(tmp_path, cross_validated):
    pytest.importorskip("pyspark", reason="pip install pyspark")
    section = (ROOT / "README.md").read_text().split("### Larger than a machine\n")[1].split("\n##")[0]
    (code,) = [part.split("```")[0] for part in section.split("```python\n")[1:]]
    run = shutil.copytree(cross_validated(0)[0], tmp_path / "runs" / "sha_rnn")
    (tmp_path / "essays").mkdir()
    documents = [replace(document, labels=None) for document in make_documents(40, seed=8)]
    tables = [pd.DataFrame(entries_of(part)).drop(columns="labels") for part in (documents[:20], documents[20:])]
    for number, table in enumerate(tables):
        table.to_parquet(tmp_path / "essays" / f"{number}.parquet")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = pd.read_parquet(tmp_path / "released").sort_values("document")
    config = TableConfig(settings=Redaction(mode="surrogate", seed=1), runs=(run,))
    expected = pd.concat([redact_table(table, config) for table in tables])
    assert found["full_text"].tolist() == expected["full_text"].tolist()
    assert found["tokens"].map(list).tolist() == expected["tokens"].tolist()
    assert (expected["full_text"] != pd.concat(tables)["full_text"]).any()
