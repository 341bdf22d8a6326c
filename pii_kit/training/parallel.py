"""Devices and processes: which GPUs work, training on several of them, folds side by side on a CPU."""

import logging
import multiprocessing
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing.connection import wait as wait_for
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from tqdm import tqdm

from pii_kit.files import KitError


def ranks_on_cpu() -> bool:
    """Whether this is one of several processes without GPUs, which Accelerate must be told: it looks for GPUs alone."""
    return "LOCAL_RANK" in os.environ and not torch.cuda.is_available()


def rank_state() -> PartialState:
    """Which of the processes this is, and what waits for the others."""
    return PartialState(cpu=ranks_on_cpu())


def check_batch_size(accelerator: Accelerator, batch_size: int) -> None:
    """Raises KitError if batches cannot be cut into equal parts."""
    if batch_size % accelerator.num_processes:
        raise KitError(f"batch_size is {batch_size}; expected a multiple of the {accelerator.num_processes} processes")


def seed_rank(accelerator: Accelerator, seed: int) -> None:
    """Random numbers of its own for each rank but the first, which goes on with those that it has."""
    if accelerator.process_index:
        torch.manual_seed(seed + accelerator.process_index)


def weigh_loss(accelerator: Accelerator, loss: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A rank's weighted mean loss, scaled so that the mean over ranks is the weighted mean over the whole batch.

    `weight` is the sum of weights that the rank's mean was divided by. Gradients are averaged over ranks as they are,
    while weights differ from part to part: O counts less than PII.
    """
    if accelerator.num_processes == 1:
        return loss
    return loss * (weight / accelerator.reduce(weight, reduction="mean"))


def over_ranks(accelerator: Accelerator, loss: torch.Tensor, wants_to_stop: bool) -> tuple[float, bool]:
    """The mean loss over ranks, and whether any rank wants to stop: the same answer on all of them."""
    if accelerator.num_processes == 1:
        return loss.item(), wants_to_stop
    told = torch.stack([loss.detach().float(), loss.new_tensor(wants_to_stop, dtype=torch.float32)])
    mean, stop = accelerator.reduce(told, reduction="mean").tolist()
    return mean, stop > 0


def random_states(accelerator: Accelerator) -> dict[str, torch.Tensor]:
    """The random states of all ranks, (rank, byte) each; of one process none, since Accelerate saves that."""
    if accelerator.num_processes == 1:
        return {}
    states = {"random_states": torch.get_rng_state()}
    if accelerator.device.type == "cuda":
        states["cuda_random_states"] = torch.cuda.get_rng_state(accelerator.device)
    return {name: accelerator.gather(state.to(accelerator.device)[None]).cpu() for name, state in states.items()}


def restore_random_state(accelerator: Accelerator, tensors: Mapping[str, torch.Tensor]) -> None:
    """A rank's own random state of `random_states` put back; a rank that was not there then keeps what it has."""
    rank = accelerator.process_index
    if len(tensors.get("random_states", ())) > rank:
        torch.set_rng_state(tensors["random_states"][rank].clone())  # torch crashes on memory that is not aligned
    if accelerator.device.type == "cuda" and len(tensors.get("cuda_random_states", ())) > rank:
        torch.cuda.set_rng_state(tensors["cuda_random_states"][rank].clone(), accelerator.device)


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


PROBE_SECONDS = 180
# One product on every GPU, forward and backward: a GPU that torch knows, but has no kernels for, fails here alone.
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
    """The GPUs' names, and why they cannot be used, in a line that says what to choose: None if they can.

    They are tried in a process of its own: one that has used a GPU cannot start others that share a training, and a
    driver that hangs would take the notebook along.
    """
    if not n_gpus():
        return "no GPU", None
    try:
        ended = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        return f"{n_gpus()} GPUs", _problem(f"{n_gpus()} GPUs", f"no answer in {PROBE_SECONDS} seconds")
    names = ended.stdout.strip() or f"{n_gpus()} GPUs"
    if ended.returncode == 0:
        return names, None
    reason = next((line for line in ended.stderr.splitlines() if "Error" in line), "the process died")
    return names, _problem(names, reason[:200])


def _problem(names: str, reason: str) -> str:
    return f"{names}: does not work with torch {torch.__version__} ({reason}): choose another accelerator (on Kaggle: GPU T4 x2), or none"


def n_gpus() -> int:
    """How many GPUs this process may use, whether they work or not."""
    return torch.cuda.device_count()


def check_gpus() -> None:
    """Raises KitError if there are GPUs, and they do not work."""
    if problem := try_gpus()[1]:
        raise KitError(problem)


def working_devices() -> list[str]:
    """Every GPU, if they work; else the CPU, on which predicting can go on."""
    return [f"cuda:{index}" for index in range(n_gpus())] if n_gpus() and not try_gpus()[1] else ["cpu"]


def peak_memory() -> int:
    """The most memory, in bytes, that was in use so far: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return peak_process_memory()


def peak_process_memory() -> int:
    """The most main memory, in bytes, that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def device_name() -> str:
    """The device that training uses, in words."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
