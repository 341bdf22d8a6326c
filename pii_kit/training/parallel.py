"""Devices and processes: which GPUs work, training in several processes, and folds side by side on a CPU."""

import gc
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache, partial
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.context import BaseContext
from typing import Any

import psutil
import torch
from accelerate import Accelerator, PartialState, notebook_launcher
from accelerate.state import AcceleratorState
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from tqdm import tqdm

from pii_kit.files import KitError

logger = logging.getLogger(__name__)


def ranks_on_cpu() -> bool:
    """Return whether this is one of several processes without GPUs; Accelerate does not find that out by itself."""
    return "LOCAL_RANK" in os.environ and not torch.cuda.is_available()


def new_accelerator(**settings: Any) -> Accelerator:
    """Return an Accelerator for one training, whatever the precision of an earlier training in this process.

    Accelerate has one precision for each process, and offers no other way to begin again with another one.
    """
    AcceleratorState._reset_state()
    return Accelerator(cpu=ranks_on_cpu(), **settings)


def rank_state() -> PartialState:
    """Return the rank of this process among those of one training, with the means to wait for the others."""
    return PartialState(cpu=ranks_on_cpu())


def end_ranks() -> None:
    """Close this process's connection to the other ranks, if it has one. Nothing trains in this process afterwards.

    PyTorch may abort a process that exits with the connection open, which torchrun reports as a failure.
    """
    gc.collect()  # a model that several ranks trained holds the connection too
    rank_state().destroy_process_group()


def check_batch_size(accelerator: Accelerator, batch_size: int) -> None:
    """Raise KitError if a batch cannot be split into equal parts, one for each process."""
    if batch_size % accelerator.num_processes:
        raise KitError(f"batch_size is {batch_size}; expected a multiple of the {accelerator.num_processes} processes")


def weigh_loss(accelerator: Accelerator, loss: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Scale a rank's weighted mean loss, so that the mean over ranks is the weighted mean over the whole batch.

    `weight` is the sum of weights that the rank's mean was divided by. Accelerate averages gradients over ranks with
    equal weights, but the weights of the parts differ: O counts less than PII.
    """
    if accelerator.num_processes == 1:
        return loss
    return loss * (weight / accelerator.reduce(weight, reduction="mean"))


def over_ranks(accelerator: Accelerator, loss: torch.Tensor, wants_to_stop: bool) -> tuple[float, bool]:
    """Return the mean loss over ranks, and whether any rank wants to stop: the same answer on all of them."""
    if accelerator.num_processes == 1:
        return loss.item(), wants_to_stop
    shared = torch.stack([loss.detach().float(), loss.new_tensor(wants_to_stop, dtype=torch.float32)])
    mean, stop = accelerator.reduce(shared, reduction="mean").tolist()
    return mean, stop > 0


def sum_over_ranks(accelerator: Accelerator, value: float) -> float:
    """Return the sum of a number over all ranks. All of them must call it."""
    if accelerator.num_processes == 1:
        return value
    return accelerator.reduce(torch.tensor(value, device=accelerator.device), reduction="sum").item()


def random_states(accelerator: Accelerator) -> dict[str, torch.Tensor]:
    """Return the random states (rank, byte) of all ranks; empty for one process, whose state Accelerate saves."""
    if accelerator.num_processes == 1:
        return {}
    states = {"random_states": torch.get_rng_state()}
    if accelerator.device.type == "cuda":
        states["cuda_random_states"] = torch.cuda.get_rng_state(accelerator.device)
    return {name: accelerator.gather(state.to(accelerator.device)[None]).cpu() for name, state in states.items()}


def restore_random_state(accelerator: Accelerator, tensors: Mapping[str, torch.Tensor]) -> None:
    """Restore this rank's part of `random_states`. A rank that is new in the resumed run keeps the state it has."""
    rank = accelerator.process_index
    if len(tensors.get("random_states", ())) > rank:
        torch.set_rng_state(tensors["random_states"][rank].clone())  # torch crashes on memory that is not aligned
    if accelerator.device.type == "cuda" and len(tensors.get("cuda_random_states", ())) > rank:
        torch.cuda.set_rng_state(tensors["cuda_random_states"][rank].clone(), accelerator.device)


def launch(function: Callable[[], Any], *, n_processes: int) -> None:
    """Call a function in `n_processes` processes that train together, one on each GPU, and wait for their end.

    Raises:
        KitError: a process failed. The message is that of the process that failed first.
    """
    # torch logs the end of each process, also after bad input; the error below says what matters.
    for name in ("torch.distributed.elastic", "torch.multiprocessing"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        notebook_launcher(_call, (function,), num_processes=n_processes)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        found: Any = failure.message  # torch declares a str, but an exception in the process makes it a dict
        if isinstance(found, str):
            raise KitError(f"a training process died (exit code {failure.exitcode}): {found}") from None
        if found["message"].startswith("KitError: "):
            raise KitError(found["message"].removeprefix("KitError: ")) from None
        logger.error("%s", found["extraInfo"]["py_callstack"])
        raise KitError(f"a training process failed: {found['message']}") from None


def _call(function: Callable[[], Any]) -> None:
    function()  # torch needs a function with a name, which a partial one does not have


def run_in_parallel(
    tasks: Sequence[partial], *, n_workers: int, bar: tqdm, count: Callable[[], int] | None = None
) -> list:
    """Run tasks in worker processes of one thread each, and return their results in order.

    `bar` follows `count()`; default: the number of tasks that are done. The first error of a task ends all workers and
    is raised. The workers also end if this process is killed, so that a resumed run has its folder for itself. Tasks
    and results must be picklable.

    Raises:
        KitError: a worker died.
    """
    context = _worker_context([task.func.__module__ for task in tasks])
    alive, held = context.Pipe(duplex=False)  # `held` is also closed when this process is killed
    with ProcessPoolExecutor(n_workers, context, initializer=_start_worker, initargs=(alive,)) as pool, bar:
        with _ignoring_interrupts():
            futures = [pool.submit(task) for task in tasks]
        try:
            pending = set(futures)
            while pending:
                done, pending = wait(pending, timeout=1.0, return_when=FIRST_EXCEPTION)
                bar.update((count() if count else len(tasks) - len(pending)) - bar.n)
                for future in done:
                    future.result()
        except BrokenProcessPool:
            raise KitError("a training process died, perhaps because memory ran out; resume the run") from None
        except BaseException:
            held.close()
            raise
    return [future.result() for future in futures]


def _worker_context(modules: Sequence[str]) -> BaseContext:
    """Return how to start workers: on POSIX forked from a server that imports `modules` once, which saves 300 MB each.

    A process forked from this one would hang in torch's threads.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *modules])
    return context


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C, as processes that are started meanwhile do as long as they live: only this one has to react."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may choose
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _start_worker(alive: Connection) -> None:
    """Use one thread, and end this process as soon as the other end of the pipe is closed."""
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    threading.Thread(target=lambda: wait_for([alive]) and os._exit(1), daemon=True).start()


PROBE_SECONDS = 180
# One product on every GPU, forward and backward: a GPU that torch finds but has no kernels for fails only here.
PROBE = """
import torch
gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
print(", ".join(f"{gpu.name} ({gpu.total_memory / 2**30:.0f} GiB)" for gpu in gpus), flush=True)
for index in range(len(gpus)):
    matrix = torch.ones(64, 64, device=f"cuda:{index}", requires_grad=True)
    (matrix @ matrix).sum().backward()
    assert matrix.grad.sum().item() == 2 * 64**3
"""


@cache
def try_gpus() -> tuple[str, str | None]:
    """Return the names of the GPUs, and one line on why they do not work and what to choose; None if they work.

    A separate process tries them: a process that has used a GPU cannot start others that train together, and a driver
    that hangs would block the notebook.
    """
    if not torch.cuda.device_count():
        return "no GPU", None
    names = f"{torch.cuda.device_count()} GPUs"
    try:
        ended = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=PROBE_SECONDS)
        names = ended.stdout.strip() or names
        if ended.returncode == 0:
            return names, None
        reason = next((line for line in ended.stderr.splitlines() if "Error" in line), "the process died")[:200]
    except subprocess.TimeoutExpired:
        reason = f"no answer in {PROBE_SECONDS} seconds"
    advice = "choose another accelerator (on Kaggle: GPU T4 x2), or none"
    return names, f"{names}: does not work with torch {torch.__version__} ({reason}): {advice}"


def check_gpus() -> None:
    """Raise KitError if there are GPUs that do not work."""
    if problem := try_gpus()[1]:
        raise KitError(problem)


def working_devices() -> list[str]:
    """Return all GPUs if they work, else the CPU, which is enough for prediction."""
    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return gpus if gpus and not try_gpus()[1] else ["cpu"]


_samples = [0]  # the largest resident memory that was seen so far


def peak_memory() -> int:
    """Return the most memory, in bytes, used so far: on a GPU as torch counts it, else as the calls so far have seen.

    Only Windows counts the true peak of a process in a form that psutil reads. Elsewhere memory that was used and freed
    between two calls is not seen, so call it where memory use is high: training does so after each epoch.
    """
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    memory = psutil.Process().memory_info()
    _samples[0] = max(_samples[0], memory.rss, getattr(memory, "peak_wset", 0))
    return _samples[0]


def device_name() -> str:
    """Return the name of the device that training uses."""
    n_threads = torch.get_num_threads()
    on_cpu = f"CPU, {n_threads} thread{'s' * (n_threads > 1)}"
    return torch.cuda.get_device_name() if torch.cuda.is_available() else on_cpu
