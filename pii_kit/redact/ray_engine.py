"""Redact a folder of files on Ray Data: actors load the taggers once; a file that fails is retried, then named."""

import logging
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pii_kit.files import KitError, in_one_line
from pii_kit.redact.partition import NAMED, close_job, count_try, finished, open_job, partitions, redact_file
from pii_kit.redact.table import TableConfig, add_reports, read_rows

TRIES = 3  # of a file, also if its worker is killed; Ray itself would start it again and again
CPUS = 0.5  # CPUs of a worker; with 1 the workers would take all, and Ray Data's own tasks would wait forever
CONNECT_SECONDS = 10
OBJECT_STORE = 100 * 2**20  # bytes on this machine: only names and numbers go through it


class _Worker:
    """An actor that redacts one file after another."""

    def __init__(self, out: str, config: TableConfig, strict: bool) -> None:
        self.out, self.config, self.strict = Path(out), config, strict

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Redact the file `row["path"]`; return its name, its number of documents, and an error or an empty text."""
        path = Path(row["path"])
        done = {"name": path.name, "documents": 0, "error": ""}
        error = "its worker was killed"
        while count_try(self.out, path.name) <= TRIES:
            try:
                return done | {"documents": redact_file(path, self.out, self.config, strict=self.strict)}
            except KitError as bad_input:  # another try would end alike
                return done | {"error": str(bad_input)}
            except Exception as failure:  # one file, whatever is wrong with it, must not stop the job
                error = f"{type(failure).__name__}: {in_one_line(failure)}"
        return done | {"error": f"{error} ({TRIES} tries)"}


def redact_on_ray(
    data: Path,
    out: Path,
    config: TableConfig,
    *,
    strict: bool = False,
    address: str | None = None,
    n_workers: int | None = None,
) -> dict[str, Any]:
    """Redact the parquet and JSON lines files of a folder into another folder; return the report in counts.

    A job that was interrupted goes on where it stopped. A worker that is killed is started again. On a cluster at
    `address`, all machines must see the same folders.

    Raises:
        KitError: Ray is not installed, nothing answers at `address`, the output is of another job, files could not be
            redacted (all others are finished), or the submission has rows of documents that no file holds.
    """
    ray = _ray_module()
    if address:
        _check_address(address)
    paths = partitions(data.resolve())
    out = out.resolve()
    n_rows = len(read_rows(config.submission)) if config.submission else None
    open_job(out, config.identity() | {"strict": strict})
    failed: dict[str, str] = {}
    n_documents = 0
    with _started(ray, address, n_workers) as n_workers, tqdm(total=len(paths), unit="file") as bar:
        started = time.monotonic()
        for row in _rows(ray, paths, (str(out), config, strict), n_workers):
            if row["error"]:
                failed[row["name"]] = row["error"]
            n_documents += row["documents"]
            bar.set_postfix_str(f"{n_documents / (time.monotonic() - started):.1f} documents/s")
            bar.update()
    close_job(out)
    if failed:
        first = "; ".join(f"{name}: {error}" for name, error in sorted(failed.items())[:NAMED])
        raise KitError(f"{data}: {len(failed)} of {len(paths)} files failed, the others are in {out}: {first}")
    report: dict[str, Any] = {}
    for path in paths:
        report = add_reports(report, finished(out, path.name)["report"])
    if n_rows not in (None, report["labelled_tokens"]):
        raise KitError(
            f"{config.submission}: {n_rows} rows label {report['labelled_tokens']} tokens of {data}; do not use {out}; "
            "expected one token for each row: is it of other documents, or is a document in two files?"
        )
    return report


def _ray_module() -> Any:
    """Return Ray with Ray Data. Raises KitError if they are not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray sends statistics unless it is told not to
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it reports each start of an actor that can restart
    try:
        import ray.data
    except ImportError:
        raise KitError("--ray needs Ray Data and pyarrow: pip install 'ray[data]' pyarrow") from None
    return ray


def _check_address(address: str) -> None:
    """Raise KitError if nothing answers at HOST:PORT. Ray itself would try for ever."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
        except OSError as error:
            raise KitError(f"{address}: no Ray cluster answers: {error}") from None


@contextmanager
def _started(ray: Any, address: str | None, n_workers: int | None) -> Iterator[int]:
    """Start Ray on this machine, or connect to a cluster, unless this is done; yield the number of workers."""
    is_ours = not ray.is_initialized()
    if is_ours:
        local = {
            "num_cpus": max(os.cpu_count() or 1, n_workers or 1),
            "object_store_memory": OBJECT_STORE,
            "include_dashboard": False,
        }
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **({} if address else local))
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = context.print_on_execution_start = False
    try:
        with ray.data.DataContext.current(context):
            yield n_workers or int(ray.cluster_resources()["CPU"])
    finally:
        if is_ours:
            ray.shutdown()


def _rows(ray: Any, paths: Sequence[Path], arguments: tuple, n_workers: int) -> Iterator[dict[str, Any]]:
    """Yield what the workers return, as soon as a file is done."""
    files = ray.data.from_items([{"path": str(path)} for path in paths], override_num_blocks=len(paths))
    pool = ray.data.ActorPoolStrategy(size=n_workers, max_tasks_in_flight_per_actor=1)
    yield from files.map(_Worker, fn_constructor_args=arguments, compute=pool, num_cpus=CPUS).iter_rows()
