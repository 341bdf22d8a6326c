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
import pytest

from pii_kit.documents import DataWarning, join_tokens
from pii_kit.files import KitError
from pii_kit.labels import PII_TYPES
from pii_kit.redact import MODES, Redaction
from pii_kit.redact.essays import read_essays
from pii_kit.redact.release import redact_essays
from pii_kit.redact.table import TableConfig, redact_rows, redact_table
from pii_kit.sample import make_documents
from pii_kit.submission import true_rows, write_submission

ROOT = Path(__file__).parents[2]
NAME = PII_TYPES[0]
FIELDS = ("document", "full_text", "tokens", "trailing_whitespace", "labels")


def entries_of(documents) -> list[dict]:
    return [
        {"document": document.number} | {name: getattr(document, name) for name in FIELDS[1:]} for document in documents
    ]


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
    return TableConfig(settings=Redaction(mode=mode, patterns=False, **key | more), submission=submission)


@pytest.mark.parametrize("mode", MODES)
def test_a_table_is_redacted_as_the_file_of_the_same_documents(documents, submission, tmp_path, mode):
    config = config_of(submission, mode, seed=1)
    essays = read_essays(write_lines(tmp_path / "in.jsonl", entries_of(documents)))
    release = redact_essays(essays, [document.labels for document in documents], config.settings)
    expected = [json.loads(line) for line in release.contents[""].decode().splitlines()]
    parts = [redact_rows(pd.DataFrame(entries_of(part)), config) for part in (documents[:7], documents[7:])]
    found = pd.concat([table for table, _ in parts]).to_dict("records")
    assert json.loads(json.dumps(found)) == expected
    assert sum(report["documents"] for _, report in parts) == 24
    assert sum(report["leaks"]["unexplained"] for _, report in parts) == len(release.unexplained)


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


def test_a_table_needs_only_a_text_and_missing_ones_stay(tmp_path):
    (tmp_path / "labels.csv").write_text(f"row_id,document,token,label\n0,0,1,B-{NAME}\n")
    table = pd.DataFrame({"Essay": ["By Ana.", None, "Ana", float("nan")], "tokens": [None, None, ["Ana"], None]})
    table["trailing_whitespace"] = [None, None, np.array([False]), None]
    config = replace(config_of(tmp_path / "labels.csv"), text_column="essay")
    with pytest.warns(DataWarning, match="2 without text, passed through as they are: row 2, row 4"):
        new = redact_table(table, config)
    assert new["Essay"].tolist()[::2] == ["By [NAME_STUDENT].", "Ana"] and new["Essay"].isna().sum() == 2
    assert new["tokens"].tolist() == [None, None, ["Ana"], None]
    with pytest.warns(DataWarning):
        assert redact_table(table[:0], config).equals(table[:0])


def test_the_leak_check_searches_other_columns(tmp_path):
    (tmp_path / "labels.csv").write_text(f"row_id,document,token,label\n0,7,1,B-{NAME}\n")
    more = {"author": ["rodrigo"], "nested": [np.array(["x"] * 2000 + ["Rodrigo"])], "empty": [None]}
    table = pd.DataFrame({"text": ["By Rodrigo."], "document": [7], **more})
    leaks = redact_rows(table, config_of(tmp_path / "labels.csv"))[1]["leaks"]
    assert leaks["unexplained"] == 2 and {place["name"] for place in leaks["places"]} == {"row 1 (document 7)"}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"document": [1]}, "table: no column full_text or text; found document"),
        ({"document": [3, 3], "text": ["a", "b"]}, "1 document numbers are used twice"),
        ({"document": [3], "text": pd.Categorical(["a"])}, "text: a categorical column"),
        ({"document": [3], "text": [5]}, "row 1: expected text, found int"),
        ({"document": [3], "text": ["a"], "tokens": [["a"]]}, "trailing_whitespace: Field required"),
    ],
)
def test_a_table_that_cannot_be_redacted_is_one_error_with_its_place(submission, columns, message):
    with pytest.raises(KitError, match=message):
        redact_table(pd.DataFrame(columns), config_of(submission))


def test_labels_come_from_one_source_that_fits(documents, submission, tmp_path):
    with pytest.raises(KitError, match="expected one of them"):
        TableConfig(settings=Redaction(mode="type"), submission=submission, runs=(tmp_path,))
    table = pd.DataFrame({"text": ["Too short"], "document": [true_rows(documents)["document"][0]]})
    with pytest.raises(KitError, match="outside its document"):
        redact_table(table, config_of(submission))


def test_a_tagger_labels_a_table_with_its_thresholds():
    config = TableConfig(settings=Redaction(mode="type"))
    table = pd.DataFrame({"text": ["My name is Ana Silva.", "Nobody here, but a@b.de"]})
    assert redact_table(table, config)["text"].tolist() == ["My name is [NAME_STUDENT].", "Nobody here, but [EMAIL]"]
    never = replace(config, thresholds=tuple((pii_type, 1e-9) for pii_type in PII_TYPES))
    assert redact_table(table, never)["text"][0] == table["text"][0]


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
