"""Redact the files of a folder on Ray: each by an actor that has loaded the tagger once, and whole or not at all.

OUT/NAME                 the redacted file
OUT.reports/NAME.json    its report; with it, the file is finished
OUT.reports/job.json     the settings of the job, for its owner's eyes only
"""

import json
import logging
import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pii_kit.files import KitError, atomic_write, in_one_line, read_json, write_json
from pii_kit.redact.essays import FORMS, read_essays
from pii_kit.redact.release import PRIVATE, describe, redact_essays, report_of, write_release
from pii_kit.redact.table import TableConfig, read_rows

TRIES = 3  # of a file whose worker is killed
CPUS = 0.5  # CPUs of a worker; with 1 the workers would take all, and Ray's own tasks would wait forever
CONNECT_SECONDS = 10
OBJECT_STORE = 100 * 2**20  # bytes on this machine: only names and numbers go through it
N_NAMED = 5  # files in an error


class _Worker:
    """An actor that redacts one file after another."""

    def __init__(self, config: TableConfig, out: Path, strict: bool) -> None:
        self.config, self.out, self.strict = config, out, strict

    def redact(self, path: Path) -> str:
        """Redact a file and write its report. Return an error about the input, or an empty text."""
        try:
            redact_file(path, self.out, self.config, strict=self.strict)
        except KitError as error:
            return str(error)
        return ""


def redact_file(path: Path, out: Path, config: TableConfig, *, strict: bool) -> None:
    """Redact a file into the folder `out`. Raises KitError if it is wrong, or `strict` and the leak check fails."""
    before = _state(path)
    essays = read_essays(path, config.text_column)
    labels = list(config.labels(list(essays.documents.values())))
    release = redact_essays(essays, labels, config.settings)
    if strict and release.unexplained:
        names = ", ".join(dict.fromkeys(essays.names[leak.document] for leak in release.unexplained[:N_NAMED]))
        raise KitError(f"{path}: {len(release.unexplained)} leaks that nothing explains, in {names}")
    report = report_of(release, {"labelled_tokens": sum(len(of) - of.count("O") for of in map(list, labels))})
    write_release(release, out / path.name)
    write_json(_reports(out) / f"{path.name}.json", {"input": before, "report": report})


def redact_on_ray(
    data: Path,
    out: Path,
    config: TableConfig,
    *,
    strict: bool = False,
    address: str | None = None,
    n_workers: int | None = None,
) -> dict[str, Any]:
    """Redact the files of a folder into another folder, each with its own name; return the sum of their reports.

    The same command finishes a job that was interrupted. On a cluster at `address`, all machines must see the folders.

    Raises:
        KitError: Ray is not installed, nothing answers at `address`, the output is of another job, files could not be
            redacted (all others are finished), or the submission has rows of documents that no file holds.
    """
    ray = _ray_module(address)
    data, out = data.resolve(), out.resolve()
    paths = sorted(path for path in data.glob("*") if path.suffix.lower() in FORMS and not path.is_symlink())
    if not paths:
        raise KitError(f"{data}: no folder of files with {', '.join(FORMS)}")
    config = _open_job(out, config, strict)
    failed: dict[str, str] = {}
    waiting: dict[Any, tuple[Any, Path]] = {}
    todo = [path for path in paths if not _finished(path, out)]
    with _started(ray, address, n_workers) as n_workers, tqdm(total=len(todo), unit="file") as bar:
        Worker = ray.remote(num_cpus=CPUS, max_restarts=-1, max_task_retries=TRIES - 1)(_Worker)
        idle = [Worker.remote(config, out, strict) for _ in range(min(n_workers, len(todo)))]
        while todo or waiting:
            while idle and todo:
                worker, path = idle.pop(), todo.pop(0)
                waiting[worker.redact.remote(path)] = worker, path
            (done, *_), _ = ray.wait(list(waiting))
            worker, path = waiting.pop(done)
            idle.append(worker)
            try:
                error = ray.get(done)
            except ray.exceptions.RayError as failure:  # one file, whatever is wrong with it, must not stop the job
                error = f"{type(failure).__name__}: {in_one_line(failure)}"
            failed |= {path.name: error} if error else {}
            bar.update()
    if failed:
        first = "; ".join(f"{name}: {error}" for name, error in sorted(failed.items())[:N_NAMED])
        raise KitError(f"{data}: {len(failed)} of {len(paths)} files failed, the others are in {out}: {first}")
    report: dict[str, Any] = {}
    for path in paths:
        report = _sum(report, read_json(_reports(out) / f"{path.name}.json")["report"])
    report |= {"note": PRIVATE, "settings": describe(config.settings)}
    n_rows = len(read_rows(Path(config.submission))) if config.submission else report["labelled_tokens"]
    if n_rows != report["labelled_tokens"]:
        raise KitError(
            f"{config.submission}: {n_rows} rows label {report['labelled_tokens']} tokens of {data}; do not use {out}; "
            "expected one token for each row: is it of other documents, or is a document in two files?"
        )
    return report


def _reports(out: Path) -> Path:
    return out.with_name(f"{out.name}.reports")


def _state(path: Path) -> list[int]:
    return [path.stat().st_size, path.stat().st_mtime_ns]


def _finished(path: Path, out: Path) -> bool:
    """Return whether a file was redacted before. Raises KitError if it was changed since."""
    report = _reports(out) / f"{path.name}.json"
    if not (report.exists() and (out / path.name).exists()):
        return False
    if read_json(report)["input"] != _state(path):
        raise KitError(f"{path}: was changed since it was redacted; choose a new output folder")
    return True


def _open_job(out: Path, config: TableConfig, strict: bool) -> TableConfig:
    """Start a job that writes to the folder `out`, or go on with it, with its seed. Raises KitError if it differs."""
    path = _reports(out) / "job.json"
    before = read_json(path) if path.exists() else {}
    if not before and out.exists() and any(out.iterdir()):
        raise KitError(f"{out}: exists already, and is of no job; choose a new folder")
    seed = before.get("seed", secrets.randbits(63)) if config.settings.seed is None else config.settings.seed
    config = replace(config, settings=replace(config.settings, seed=seed))
    record = {"seed": seed, "settings": sha256(repr((strict, config, config.settings.key)).encode()).hexdigest()}
    if before and before != record:
        raise KitError(f"{out}: was written with other settings; choose a new folder")
    out.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, private=True) as handle:
        handle.write(json.dumps(record))
    return config


def _sum(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sum of the counts of two reports; the rest is that of the first."""
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


@contextmanager
def _started(ray: Any, address: str | None, n_workers: int | None) -> Iterator[int]:
    """Start Ray on this machine, or connect to a cluster, unless this is done; yield the number of workers."""
    is_ours = not ray.is_initialized()
    if is_ours:
        n_cpus = max(os.cpu_count() or 1, n_workers or 1)
        local = {"num_cpus": n_cpus, "object_store_memory": OBJECT_STORE, "include_dashboard": False}
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **({} if address else local))
    try:
        yield n_workers or int(ray.cluster_resources()["CPU"])
    finally:
        if is_ours:
            ray.shutdown()
