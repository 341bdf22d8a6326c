"""Run tasks side by side, each in a process of its own that has one device: a GPU, or one core of the CPU."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
from tqdm import tqdm

from pii_kit.files import KitError, in_one_line


@dataclass(frozen=True)
class Task:
    """A call of `function(*arguments, device=…, report=…)`, all picklable; `report(step)` moves the bar."""

    name: str
    function: Callable[..., Any]
    arguments: tuple = ()


def all_devices() -> list[str]:
    """Return all GPUs, or else "cpu" once for each core that torch would use.

    GPUs are counted by NVML (see `pii_kit/__init__.py`), which leaves CUDA uninitialised in this process.
    """
    return [f"cuda:{index}" for index in range(torch.cuda.device_count())] or ["cpu"] * torch.get_num_threads()


def progress_bar(name: str, total: float, unit: str) -> tqdm:
    """Return a bar that is drawn once in 30 s where each drawing is kept: in a log, and in a notebook on Kaggle."""
    is_kept = not sys.stderr.isatty() or "KAGGLE_KERNEL_RUN_TYPE" in os.environ
    form = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total:.0f} {unit} [{elapsed}<{remaining}]"
    return tqdm(desc=name, total=total, unit=unit, bar_format=form, mininterval=30 if is_kept else 0.5, miniters=0)


def run_side_by_side(tasks: Sequence[Task], bar: tqdm, devices: Sequence[str] | None = None) -> list[Any]:
    """Run each task on the next device that is free, and return their results in order.

    This process neither forks nor uses a GPU: processes of GPUs are spawned, since a forked one could not use CUDA;
    those of the CPU are forked by a server that has imported the modules once. They end when this process ends.

    Raises:
        KitError: a task failed or its process died. The message names task and device; the other tasks are ended.
    """
    free, waiting = deque(devices or all_devices()), deque(enumerate(tasks))
    forks = free[0] == "cpu" and "forkserver" in multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if forks else "spawn")
    if forks:
        context.set_forkserver_preload([__name__, *{task.function.__module__ for task in tasks}])
    running: dict[Any, tuple[int, Any, str]] = {}  # by the connection that the process reports on
    results: dict[int, Any] = {}
    try:
        with bar:
            while waiting or running:
                while waiting and free:
                    (index, task), device = waiting.popleft(), free.popleft()
                    receiver, sender = context.Pipe(duplex=False)
                    process = context.Process(target=_work, args=(task, device, sender), daemon=True)
                    with suppress(BrokenPipeError):  # it died at once, which is noticed below
                        process.start()
                    sender.close()  # so that the end of the process ends the connection
                    running[receiver] = index, process, device
                ready: list[Any] = wait(list(running))
                for receiver in ready:
                    index, process, device = running[receiver]
                    try:
                        kind, value = receiver.recv()
                    except EOFError:
                        kind, value = "died", None
                    if kind == "step":
                        bar.update(min(value, (bar.total or 0) - bar.n))
                        continue
                    process.join(10)
                    if kind != "done":
                        died = f"its process died (exit code {process.exitcode}), perhaps because memory ran out"
                        raise KitError(f"{tasks[index].name} on {device}: {value or died}")
                    results[index] = value
                    free.append(device)
                    del running[receiver]
    finally:
        for _, process, _ in running.values():
            process.kill()
            process.join()
    return [results[index] for index in range(len(tasks))]


def _work(task: Task, device: str, sender: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one ends the others
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        check_device(device)
        result = task.function(*task.arguments, device=device, report=lambda step: sender.send(("step", step)))
        sender.send(("done", result))
    except (KitError, OSError, torch.OutOfMemoryError) as error:
        sender.send(("failed", in_one_line(error)))
    except Exception as error:  # a bug
        traceback.print_exc()
        sender.send(("failed", f"{type(error).__name__}: {in_one_line(error)}"))


def _end_with_parent() -> None:
    parent: Any = multiprocessing.parent_process()
    parent.join()
    os._exit(1)


def check_device(device: str) -> None:
    """Raise KitError if a device cannot compute: torch finds GPUs for which it has no kernels."""
    try:
        matrix = torch.ones(64, 64, device=device, requires_grad=True)
        (matrix @ matrix).sum().backward()
        torch.testing.assert_close(matrix.grad, torch.full_like(matrix, 128))
    except Exception as error:  # whatever a driver raises
        advice = "choose another accelerator (on Kaggle: GPU T4 x2), or none"
        raise KitError(f"does not work with torch {torch.__version__} ({in_one_line(error)}): {advice}") from None


def random_states(device: str) -> dict[str, torch.Tensor]:
    """Return the states of torch's random numbers that a training on a device uses."""
    return {"cpu": torch.get_rng_state()} | ({} if device == "cpu" else {"cuda": torch.cuda.get_rng_state(device)})


def set_random_states(device: str, states: dict[str, torch.Tensor]) -> None:
    """Restore what `random_states` returned; one of another kind of device is ignored."""
    torch.set_rng_state(states["cpu"].cpu())
    if device != "cpu" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)
