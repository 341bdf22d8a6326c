"""Training on every GPU of a machine: one process each, started from a notebook or the command line."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import notebook_launcher
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from pii_kit.data import Document
from pii_kit.environment import check_gpus, n_gpus
from pii_kit.errors import KitError
from pii_kit.folds import result_so_far, train_folds

logger = logging.getLogger(__name__)


def train_everywhere(
    model: str, documents: Sequence[Document], folder: str | Path, *, n_processes: int | None = None, **settings
) -> dict:
    """`folds.train_folds` in `n_processes` processes, None for one on each GPU; gives back its result.

    Within a process that torchrun has started it trains as one of those, and where a GPU is in use by this process
    already, on that one alone. Raises KitError as `train_folds`, if the GPUs do not work, and if a process fails.
    """
    if "LOCAL_RANK" not in os.environ:
        check_gpus()
        n_processes = n_processes or n_gpus()
        if n_processes > 1 and torch.cuda.is_initialized():
            logger.warning("a GPU is in use by this process already: training on one GPU")
        elif n_processes > 1:
            # torch says of each process that it ended and where, of bad input too; what matters is said below.
            logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
            logging.getLogger("torch.multiprocessing").setLevel(logging.CRITICAL)
            try:
                notebook_launcher(_train, (model, documents, folder, settings), num_processes=n_processes)
            except ChildFailedError as error:
                raise KitError(_reason(error)) from None
            return result_so_far(folder, documents)
    return train_folds(model, documents, folder, **settings)


def _train(model: str, documents: Sequence[Document], folder: str | Path, settings: dict) -> None:
    train_folds(model, documents, folder, **settings)


def _reason(error: ChildFailedError) -> str:
    """What the process that failed first said last; where it was, is logged for what is not the kit's own error."""
    _, failure = error.get_first_failure()
    if not isinstance(failure.message, dict):
        return f"a process of the training died (exit code {failure.exitcode}): {failure.message}"
    said = failure.message["message"]
    if said.startswith("KitError: "):
        return said.removeprefix("KitError: ")
    logger.error("%s", failure.message["extraInfo"]["py_callstack"])
    return f"a process of the training failed: {said}"
