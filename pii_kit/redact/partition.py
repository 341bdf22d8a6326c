"""Redact a folder of files one by one: each is written whole or not at all, and recorded, so that a job can restart.

OUT/NAME                 the redacted file
OUT.reports/job.json     the settings of the job and the fingerprints of what labels come from
OUT.reports/NAME.json    a finished file: hash of its input, and the report in counts
OUT.reports/NAME.tries   one byte for each try of a file, while the job runs
"""

import json
import warnings
from collections.abc import Callable, Mapping
from hashlib import file_digest
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from pii_kit.documents import DataWarning
from pii_kit.files import KitError, atomic_write, read_json, write_json
from pii_kit.redact.forms import json_entries, parquet_module
from pii_kit.redact.table import TableConfig, add_reports, redact_rows

BLOCK = 1024  # documents that are in memory at a time; a multiple of `predict.DOCUMENTS_AT_A_TIME`
NAMED = 5  # documents, or files, in an error
Redact = Callable[[pd.DataFrame], pd.DataFrame]


def partitions(folder: Path) -> list[Path]:
    """Return the files of a folder that `redact_file` reads, sorted. Raises KitError if there are none."""
    if not folder.is_dir():
        raise KitError(f"{folder}: no such folder; expected a folder of files with {' or '.join(_FORMS)}")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _FORMS and path.is_file())
    if not paths:
        raise KitError(f"{folder}: no files with {' or '.join(_FORMS)}")
    n_others = sum(1 for _ in folder.iterdir()) - len(paths)
    if n_others:
        warnings.warn(f"{folder}: {n_others} other entries are left out", DataWarning, stacklevel=2)
    return paths


def open_job(out: Path, identity: Mapping[str, Any]) -> None:
    """Start a job that writes to the folder `out`, or restart it.

    Raises:
        KitError: the folder holds files of something else, or of a job with another identity.
    """
    path = _reports(out) / "job.json"
    if path.exists():
        before = read_json(path)
        if different := [name for name in identity if before.get(name) != identity[name]]:
            raise KitError(f"{out}: was written with other settings: {', '.join(different)}; choose a new folder")
    elif out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise KitError(f"{out}: exists already, and is of no job; choose a new folder")
    else:
        out.mkdir(parents=True, exist_ok=True)
        write_json(path, identity)
    close_job(out)


def close_job(out: Path) -> None:
    """Remove what counts tries, and what killed workers left behind."""
    for path in (*out.glob(".*.partial"), *_reports(out).glob("*.tries")):
        path.unlink(missing_ok=True)


def count_try(out: Path, name: str) -> int:
    """Count one more try of a file, where it outlives a killed worker; return the number of tries."""
    path = _reports(out) / f"{name}.tries"
    with open(path, "ab") as handle:
        handle.write(b".")
    return path.stat().st_size


def redact_file(path: Path, out: Path, config: TableConfig, *, strict: bool) -> int:
    """Redact a file into the folder `out`; return its number of documents, or 0 if this was done before.

    Raises:
        KitError: the input was changed since it was redacted, a document is wrong as for `redact_table`, or `strict` is
            set and the leak check finds something that it cannot explain.
    """
    with open(path, "rb") as source:
        input_sha256 = file_digest(source, "sha256").hexdigest()
    if before := finished(out, path.name):
        if before["input_sha256"] != input_sha256:
            raise KitError("was changed since it was redacted; choose a new output folder")
        return 0
    # A report of nothing, for a file without documents.
    report = redact_rows(pd.DataFrame({"document": [], "text": []}), config)[1]

    def redact(table: pd.DataFrame) -> pd.DataFrame:
        nonlocal report
        new, more = redact_rows(table, config)
        report = add_reports(report, more)
        return new

    with atomic_write(out / path.name) as handle:
        _FORMS[path.suffix.lower()](path, handle, redact)
        if strict and report["leaks"]["unexplained"]:
            numbers = ", ".join(map(str, report["documents_with_unexplained_leaks"][:NAMED]))
            raise KitError(f"{report['leaks']['unexplained']} leaks that nothing explains, in documents {numbers}")
        # The record comes first: an output without one would be written again.
        write_json(_reports(out) / f"{path.name}.json", {"input_sha256": input_sha256, "report": report})
    return report["documents"]


def finished(out: Path, name: str) -> dict[str, Any]:
    """Return the record of a finished file, empty if it is not finished."""
    path = _reports(out) / f"{name}.json"
    return read_json(path) if path.exists() and (out / name).exists() else {}


def _reports(out: Path) -> Path:
    return out.with_name(f"{out.name}.reports")


def _redact_parquet(path: Path, handle: TextIO, redact: Redact) -> None:
    """Redact a parquet file with its schema. Arrow's own dtypes keep every type and missing value of other columns."""
    import pyarrow

    parquet = parquet_module()
    with parquet.ParquetFile(path) as source:
        schema = source.schema_arrow
        with parquet.ParquetWriter(handle.buffer, schema) as writer:
            for batch in source.iter_batches(BLOCK):
                table = batch.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)
                new = pyarrow.Table.from_pandas(redact(table), schema=schema, preserve_index=False)
                writer.write_table(new)


def _redact_lines(path: Path, handle: TextIO, redact: Redact) -> None:
    """Redact JSON lines; values stay, but their layout is that of `json.dumps`."""
    with open(path, encoding="utf-8-sig") as source:
        lines = ((number, line) for number, line in enumerate(source, 1) if line.strip())
        while block := list(islice(lines, BLOCK)):
            entries = [entry for number, line in block for entry, _ in json_entries(line, 0, f"line {number}")]
            names = dict.fromkeys(name for entry in entries for name in entry)
            table = pd.DataFrame({name: [entry.get(name) for entry in entries] for name in names}, dtype=object)
            for entry, row in zip(entries, redact(table).to_dict("records"), strict=True):
                handle.write(json.dumps({name: row[name] for name in entry}) + "\n")


_FORMS: dict[str, Callable[[Path, TextIO, Redact], None]] = {
    ".parquet": _redact_parquet,
    ".jsonl": _redact_lines,
    ".ndjson": _redact_lines,
}
