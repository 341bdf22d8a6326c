"""Essays to a submission within a time limit: as many taggers label each group of documents as there is time for."""

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from pii_kit.cost import peak_process_memory
from pii_kit.data import Document
from pii_kit.early_submission import Found, write_found
from pii_kit.ensemble import Ensemble
from pii_kit.environment import working_devices
from pii_kit.group_work import GroupWork
from pii_kit.time_left import Deadline


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """What came of labelling: documents by who labelled them, rows, and what it cost.

    `models_a_document` is a mean over all documents. `seconds_with_all` is what all models would have taken for all of
    them, at the speed measured; nan where a run's was not. `peak_gib` is the process's main memory at its peak.
    """

    documents: int
    by_all_models: int
    by_fewer_models: int
    by_rules_alone: int
    models: int
    models_a_document: float
    rows: int
    errors: int
    seconds: float
    documents_per_second: float
    seconds_with_all: float
    peak_gib: float


def label_in_time(
    ensemble: Ensemble,
    documents: Sequence[Document],
    path: str | Path,
    *,
    found: Found,
    deadline: Deadline,
    devices: Sequence[str | torch.device] = (),
) -> Labelled:
    """Label documents with as many taggers as there is time for, and write the submission; gives back a report.

    `found` are the rows of `write_early_submission`, which a document keeps whose turn never comes. `devices`, by
    default all GPUs if they work, else the CPU, share the work. Without a deadline the rows are those of
    `Ensemble.predict` and `Ensemble.label`, whatever the devices.

    Groups of documents are taken in random order, so that the speed of those done tells about those left, and before
    each use of a tagger it is planned anew which ones fit into the time left. The cut-off on P(O) stays as it is: it
    was chosen on what one fold of each run says, so it suits a few folds as well as all.

    An error is raised after what had been found by then is written. But where Kaggle runs a submitted notebook again,
    an error would cost the whole score: there its traceback is printed, and the work goes on without what failed.
    """
    devices = devices or working_devices()
    work = GroupWork(ensemble, documents, path, found=found, deadline=deadline, n_devices=len(devices))
    try:
        with ThreadPoolExecutor(len(devices)) as pool:
            try:
                for thread in [pool.submit(work.label_on, device) for device in devices]:
                    thread.result()
            finally:
                work.groups.clear()  # the other threads end with the group they are at
    finally:
        work.bar.close()
        write_found(path, work.found)
    return _report(work)


def _report(work: GroupWork) -> Labelled:
    n_documents, n_models = work.bar.total, len(work.ensemble.taggers)
    *_, by_all = work.n_documents
    by_any = sum(work.n_documents[1:])
    speeds = work.speeds.seconds_per_token()
    seconds_a_token = sum(speeds[run] for run in work.ensemble.of_run) if all(speeds) else math.nan
    seconds = time.monotonic() - work.began
    asked = sum(n * of_many for n, of_many in enumerate(work.n_documents))
    return Labelled(
        documents=n_documents,
        by_all_models=by_all,
        by_fewer_models=by_any - by_all,
        by_rules_alone=n_documents - by_any,
        models=n_models,
        models_a_document=asked / max(n_documents, 1),
        rows=sum(map(len, work.found.values())),
        errors=work.n_errors,
        seconds=seconds,
        documents_per_second=n_documents / max(seconds, 1e-9),
        seconds_with_all=work.n_tokens * seconds_a_token / work.n_devices,
        peak_gib=peak_process_memory() / 2**30,
    )
