"""Time what runs in processes of its own, in turns, and measure its memory and this machine."""

import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from pii_kit.documents import Document
from pii_kit.files import KitError

CPU_INFO = Path("/proc/cpuinfo")  # only Linux has it; elsewhere the name comes from `platform`
PACKAGES = ("torch", "transformers", "tokenizers", "onnxruntime", "spacy", "numpy")


@dataclass(frozen=True)
class Loaded:
    """What a process measures: `predict(documents, **setting)` with the fastest of `settings`, and its labels."""

    predict: Callable[..., object]
    settings: Sequence[dict[str, int]] = ({},)
    label: Callable[[Sequence[Document]], list[list[str]]] | None = None


# In a worker process: what it measures, and the setting to measure it with.
_loaded: list[Loaded] = []
_setting: dict[str, int] = {}


def _load(load: Callable[[], Loaded]) -> tuple[int, float]:
    began = time.perf_counter()
    _loaded[:] = [load()]
    return os.getpid(), time.perf_counter() - began


def _seconds(documents: Sequence[Document]) -> float:
    began = time.perf_counter()
    _loaded[0].predict(documents, **_setting)
    return time.perf_counter() - began


def _choose_setting(documents: Sequence[Document]) -> str:
    if len(_loaded[0].settings) > 1:
        seconds = []
        for setting in _loaded[0].settings:
            _setting.update(setting)
            seconds.append(_seconds(documents))
        _setting.update(_loaded[0].settings[int(np.argmin(seconds))])
    return ", ".join(f"{name} {value}" for name, value in _setting.items())


def _label(documents: Sequence[Document]) -> list[list[str]] | None:
    return _loaded[0].label(documents) if _loaded[0].label else None


class Worker:
    """A process that has loaded what it measures and runs it with its fastest setting.

    `peak_memory` is the most memory of the process and its children, in bytes, while it predicted `documents`. It is
    read every hundredth of a second.
    """

    def __init__(self, pool: ProcessPoolExecutor, load: Callable[[], Loaded], documents: Sequence[Document]):
        self.pool, self.peak_memory = pool, 0
        pid, self.load_seconds = self._ask(_load, load)
        self.seconds(documents)  # the first time is slower: memory is allocated, code is loaded
        self.setting = self.choose_setting(documents)
        process, once_more = psutil.Process(pid), pool.submit(_seconds, documents)
        done = False
        while not done:  # measured at least once, however fast the prediction is
            done = bool(wait([once_more], timeout=0.01).done)
            with suppress(psutil.NoSuchProcess):  # a child that ended since it was listed
                tree = [process, *process.children(recursive=True)]
                self.peak_memory = max(self.peak_memory, sum(one.memory_info().rss for one in tree))

    def choose_setting(self, documents: Sequence[Document]) -> str:
        """Use the setting that is fastest on documents from now on, and return it."""
        return self._ask(_choose_setting, documents)

    def seconds(self, documents: Sequence[Document]) -> float:
        """Predict documents, and return the seconds that it took."""
        return self._ask(_seconds, documents)

    def labels(self, documents: Sequence[Document]) -> list[list[str]] | None:
        """Return predicted labels (document, token); None if they mean nothing."""
        return self._ask(_label, documents)

    def _ask(self, function: Callable, argument: Any) -> Any:
        return self.pool.submit(function, argument).result()


@contextmanager
def start_worker(load: Callable[[], Loaded], documents: Sequence[Document]) -> Iterator[Worker]:
    """Start a worker that warms up on `documents`, and end it after the block.

    Raises:
        KitError: the worker died, or as `load`, which must be picklable.
    """
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            yield Worker(pool, load, documents)
    except BrokenProcessPool:
        raise KitError("a process of the benchmark died, perhaps because memory ran out") from None


def in_turns(tasks: Mapping[str, tuple[Worker, Sequence[Document]]], repeats: int) -> dict[str, list[float]]:
    """Time each worker on its documents, one after the other, `repeats` times; return the seconds (turn) by name."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, (worker, documents) in tasks.items():
            seconds[name].append(worker.seconds(documents))
    return seconds


def matrix_rate(size: int = 2048, repeats: int = 10) -> float:
    """Measure the floating-point operations per second of a product of two matrices in fp32: the fastest one."""
    one, two, seconds = torch.rand(size, size), torch.rand(size, size), []
    for _ in range(repeats):
        began = time.perf_counter()
        torch.mm(one, two)
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds)


def machine() -> dict[str, Any]:
    """Return the processor's name, cores and load, and versions of what computes."""
    lines = CPU_INFO.read_text(encoding="utf-8").splitlines() if CPU_INFO.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    versions = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {
        "processor": next(iter(names), platform.processor()),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": psutil.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_average": psutil.getloadavg(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }
