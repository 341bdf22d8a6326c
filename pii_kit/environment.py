"""What a notebook runs on: devices that work, versions, and what is wrong in words that say what to choose."""

import os
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import torch

from pii_kit.errors import KitError
from pii_kit.kaggle import INPUT, on_kaggle
from pii_kit.time_left import seconds_left

PACKAGES = ("pii_kit", "torch", "transformers", "tokenizers", "accelerate", "numpy", "pandas", "spacy")
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
    choice = "GPU T4 x2 in the notebook's settings" if on_kaggle() else "a GPU that this torch was built for"
    return f"{names}: does not work with torch {torch.__version__} ({reason}): choose {choice}, or none"


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


def environment_report() -> str:
    """Lines for a notebook's first cell: versions, devices, where this is, and what is wrong."""
    versions = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    left = seconds_left()
    where = f"Kaggle, {os.environ['KAGGLE_KERNEL_RUN_TYPE']}" if on_kaggle() else platform.system()
    where += "" if left is None else f", {left / 3600:.1f} hours left"
    lines = [f"Python {platform.python_version()}, {versions}", f"{where}; {_devices()}"]
    if on_kaggle():
        attached = ", ".join(sorted(path.name for path in INPUT.iterdir())) if INPUT.is_dir() else ""
        lines.append(f"attached: {attached or 'nothing'}")
    if problem := try_gpus()[1]:
        lines.append(f"WARNING: {problem}")
    return "\n".join(lines)


def _devices() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{try_gpus()[0]}; {len(os.sched_getaffinity(0))} CPU cores, {memory:.0f} GiB"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # the kit itself, run from its checkout
        return "from the checkout"
