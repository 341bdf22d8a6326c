"""Several trainings at once on one CPU, each in a process and on a thread of its own."""

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for
from typing import Any

import torch
from tqdm import tqdm

from pii_kit.errors import KitError

SECONDS_BETWEEN_LOOKS = 1.0


def run_side_by_side(
    tasks: Sequence[Callable[[], Any]], *, n_workers: int, bar: tqdm, count: Callable[[], int]
) -> list:
    """The results of tasks that can be pickled, in their order; `bar` follows `count()` meanwhile.

    The first task that fails stops those that have not begun, and its error is raised. A process that dies, for want
    of memory mostly, is a KitError. Processes whose parent is killed end at once, so that a resumed run has its folder
    for itself.
    """
    context = multiprocessing.get_context("spawn")  # a forked process hangs in torch's threads
    with ProcessPoolExecutor(n_workers, mp_context=context, initializer=_begin) as pool, bar:
        futures = [pool.submit(task) for task in tasks]
        running = set(futures)
        try:
            while running:
                done, running = wait(running, timeout=SECONDS_BETWEEN_LOOKS)
                bar.update(count() - bar.n)
                for future in done:
                    future.result()
        except BrokenProcessPool:
            raise KitError("a training's process died, for want of memory perhaps; go on with resume") from None
        finally:
            pool.shutdown(wait=not running, cancel_futures=True)
        return [future.result() for future in futures]


def _begin() -> None:
    """What a process does first: one thread, and an eye on its parent."""
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    wait_for([multiprocessing.parent_process().sentinel])
    os._exit(1)
