"""Redact in many processes: tables of pandas and Spark with one function, and the files of a folder on Ray."""

import logging
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from pii_kit.documents import Document
from pii_kit.files import KitError, check_output, in_one_line, loading, read_json, write_json
from pii_kit.predict import Tagger
from pii_kit.redact.document import Redaction, redact_document
from pii_kit.redact.essays import FORMS, LIST_FIELDS, N_NAMED, essays_of_rows, read_essays, text_field
from pii_kit.redact.release import PRIVATE, describe, redact_essays, report_of, write_release

CPUS = 0.5  # of a worker on Ray; with 1 the workers would take all, and Ray's own tasks would wait forever
RETRIES = 2  # of a file whose worker is killed
CONNECT_SECONDS = 10
OBJECT_STORE = 100 * 2**20  # bytes on this machine: only names and numbers go through it


@dataclass(frozen=True, kw_only=True)
class TableConfig:
    """How to redact in other processes: the settings, and the runs that label, or else the kit's own tagger.

    `o_threshold` and `thresholds` (pairs of a PII type and its threshold) are those of `Tagger.load`. Paths become
    absolute, because workers may run in other folders.
    """

    settings: Redaction
    runs: tuple[str | Path, ...] = ()
    o_threshold: float | None = None
    thresholds: tuple[tuple[str, float], ...] = ()
    text_column: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "runs", tuple(Path(run).resolve() for run in self.runs))

    def labels(self, documents: Iterable[Document]) -> Iterator[list[str]]:
        """Yield the labels (token) of each document. A process loads the tagger once."""
        tagger = _load(self.runs, self.o_threshold, self.thresholds)
        return (tagger.decide(*pair, keep_sure=True) for pair in tagger.predict(documents))


@lru_cache(maxsize=1)
def _load(runs: tuple[str | Path, ...], o_threshold: float | None, thresholds: tuple[tuple[str, float], ...]) -> Tagger:
    return Tagger.load(*runs, o_threshold=o_threshold, thresholds=dict(thresholds))


def redact_table(table: pd.DataFrame, config: TableConfig) -> pd.DataFrame:
    """Return a table of essays without their PII: same columns, order, dtypes and index; the input is unchanged.

    The table needs a column `full_text` or `text`, or the `text_column` of the settings. It may have `tokens`,
    `trailing_whitespace` and `labels`, which stay consistent with the text. Other columns and missing texts stay.
    Surrogates depend on the column `document`, if that has whole numbers, none twice in all tables; else on the row.

    Raises:
        KitError: a column is missing or a value is wrong; the message names row and column.
    """
    rows = [{name: _cell(value) for name, value in row.items()} for row in table.to_dict("records")]
    names = [f"row {number}" for number in range(1, len(rows) + 1)]
    text_field(list(map(str, table.columns)), config.text_column, "table")
    essays = essays_of_rows("table", rows, names, config.text_column)
    pairs = zip(essays.documents.values(), config.labels(essays.documents.values()), strict=True)
    redacted = essays.redacted_rows(redact_document(*pair, config.settings) for pair in pairs)
    new = table.copy(deep=False)
    for name in {*essays.fields, *LIST_FIELDS} & {*table.columns}:
        if isinstance(table[name].dtype, pd.CategoricalDtype):
            raise KitError(f"{name}: a categorical column, whose dtype holds the texts; expected strings")
        values = [old if row[name] is None else row[name] for old, row in zip(table[name], redacted, strict=True)]
        new[name] = pd.Series(values, index=table.index, dtype=table[name].dtype)
    return new


def _cell(value: Any) -> Any:
    """Return a value as JSON has it: lists of Python's objects, and None for what pandas takes for missing."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    return None if pd.api.types.is_scalar(value) and pd.isna(value) else value


class _Worker:
    """An actor of Ray: its process redacts one file after another with the same tagger."""

    def redact(self, path: Path, out: Path, config: TableConfig, strict: bool) -> None:
        redact_file(path, out, config, strict=strict)


def redact_file(path: Path, out: Path, config: TableConfig, *, strict: bool) -> None:
    """Redact a file into the folder `out`. Raises KitError if it is wrong, or `strict` and the leak check fails."""
    job = _job(path, config, strict)
    essays = read_essays(path, config.text_column)
    release = redact_essays(essays, config.labels(essays.documents.values()), config.settings)
    if strict and release.unexplained:
        names = ", ".join(dict.fromkeys(essays.names[leak.document] for leak in release.unexplained[:N_NAMED]))
        raise KitError(f"{path}: {len(release.unexplained)} leaks that nothing explains, in {names}")
    write_json(_report_path(path, out), {"job": job, "report": report_of(release, {})})
    write_release(release, out / path.name)  # last: a file that is there is finished


def redact_on_ray(
    data: Path,
    out: Path,
    config: TableConfig,
    *,
    strict: bool = False,
    address: str | None = None,
    n_workers: int | None = None,
) -> dict[str, Any]:
    """Redact the files of a folder into OUT, each with its own name; return the sum of the reports in OUT.reports.

    A file is written whole or not at all, and the same command finishes an interrupted job. On a cluster at `address`,
    all machines must see the folders.

    Raises:
        KitError: Ray is not installed, nothing answers at `address`, the output is of other settings, or files could
            not be redacted; all others are finished.
    """
    ray = _ray_module(address)
    data, out = data.resolve(), out.absolute()
    paths = sorted(path for path in data.glob("*") if path.suffix.lower() in FORMS and not path.is_symlink())
    if not paths:
        raise KitError(f"{data}: no folder of files with {', '.join(FORMS)}")
    for path in [out / path.name for path in paths] if _report_path(data, out).parent.is_dir() else [out]:
        check_output(path, data, *config.runs, folder=path == out)
    todo = [path for path in paths if not _is_finished(path, out, _job(path, config, strict))]
    failures = []
    if todo:
        local = {"num_cpus": max(os.cpu_count() or 1, n_workers or 1), "object_store_memory": OBJECT_STORE}
        local |= {"include_dashboard": False}
        with loading("Ray"):  # on a busy machine it may not start in time
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **({} if address else local))
        try:
            failures = _run(ray, [(path, out, config, strict) for path in todo], n_workers)
        finally:
            ray.shutdown()
    if failures:
        first = "; ".join(sorted(failures)[:N_NAMED])
        raise KitError(f"{data}: {len(failures)} of {len(paths)} files failed, the others are in {out}: {first}")
    report: dict[str, Any] = {}
    for path in paths:
        report = _sum(report, read_json(_report_path(path, out))["report"])
    return report | {"note": PRIVATE, "settings": describe(config.settings)}


def _run(ray: Any, jobs: list[tuple[Any, ...]], n_workers: int | None) -> list[str]:
    """Give the jobs to workers as these get free; return what was wrong with those that failed."""
    Worker = ray.remote(num_cpus=CPUS, max_restarts=-1, max_task_retries=RETRIES)(_Worker)
    n_workers = n_workers or int(ray.cluster_resources()["CPU"])
    idle = [Worker.remote() for _ in range(min(n_workers, len(jobs)))]
    running: dict[Any, Any] = {}  # task → worker
    failures = []
    with tqdm(total=len(jobs), unit="file") as bar:
        while jobs or running:
            while jobs and idle:
                worker = idle.pop()
                running[worker.redact.remote(*jobs.pop(0))] = worker
            (done, *_), _ = ray.wait(list(running))
            idle.append(running.pop(done))
            try:
                ray.get(done)
            except ray.exceptions.RayError as error:  # a file that fails must not stop the others
                failures.append(in_one_line(getattr(error, "cause", None) or error))
            bar.update()
    return failures


def _report_path(path: Path, out: Path) -> Path:
    return out.with_name(f"{out.name}.reports") / f"{path.name}.json"


def _job(path: Path, config: TableConfig, strict: bool) -> str:
    """Return what a redacted file depends on, without secrets."""
    labels = config.runs, config.o_threshold, config.thresholds, config.text_column
    return f"{describe(config.settings)} {strict} {labels} {path.stat().st_size} {path.stat().st_mtime_ns}"


def _is_finished(path: Path, out: Path, job: str) -> bool:
    report = _report_path(path, out)
    if not (report.exists() and (out / path.name).exists()):
        return False
    if read_json(report)["job"] != job:
        raise KitError(f"{out / path.name}: is of another text of {path} or of other settings; choose a new folder")
    return True


def _sum(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sum of the counts of two reports."""
    total = dict(one)
    for name, value in other.items():
        if isinstance(value, Mapping):
            total[name] = _sum(one.get(name, {}), value)
        elif type(value) is int:
            total[name] = one.get(name, 0) + value
    return total


def _ray_module(address: str | None) -> Any:
    """Return Ray. Raises KitError if it is not installed, or nothing answers at HOST:PORT: Ray would try for ever."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray sends statistics unless it is told not to
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it reports each start of an actor that can restart
    try:
        import ray
    except ImportError:
        raise KitError("--ray needs Ray: pip install ray") from None
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
        except OSError as error:
            raise KitError(f"{address}: no Ray cluster answers: {error}") from None
    return ray
