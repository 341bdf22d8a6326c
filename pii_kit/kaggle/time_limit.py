"""Label documents within a time limit: a valid submission early, the models' predictions as time allows."""

import logging
import math
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from pii_kit.data import Document
from pii_kit.kaggle import Deadline, in_rerun
from pii_kit.labels import LABELS, OUTSIDE_ID
from pii_kit.predict import DOCUMENTS_AT_A_TIME, Ensemble, Tagger, predict_group
from pii_kit.report.baselines import label_with_patterns
from pii_kit.rules import DEFAULT_RULES, apply_rules
from pii_kit.submission import Row, label_rows, rows_table, write_submission
from pii_kit.training.parallel import peak_process_memory, working_devices

# Author lines, which models learn by themselves, are a gain where there is no model.
EARLY_RULES = (*DEFAULT_RULES, "add_author_lines")
Found = Mapping[int, Sequence[Row]]  # a document's number to its rows
logger = logging.getLogger(__name__)


def label_without_model(document: Document) -> list[str]:
    """Labels (token) by regular expressions and rules."""
    outside = np.eye(len(LABELS), dtype=np.float32)[[OUTSIDE_ID] * len(document.tokens)]
    return apply_rules(document, label_with_patterns(document), outside, EARLY_RULES)


def write_early_submission(path: str | Path, documents: Sequence[Document]) -> dict[int, Sequence[Row]]:
    """Write the rows that `label_without_model` finds; gives them back by document."""
    found = {doc.document: label_rows(doc.document, label_without_model(doc)) for doc in documents}
    write_found(path, found)
    logger.info("%s: %d rows by rules, until the models' take their place", path, sum(map(len, found.values())))
    return found


def write_found(path: str | Path, found: Found) -> None:
    """Write the rows of all documents as a submission."""
    write_submission(path, rows_table(row for rows in found.values() for row in rows))


# What a group of documents still counts for when the next one has been measured: about the last ten make the speed, so
# that it follows a machine that slows down.
KEPT = 0.9


class Speeds:
    """Seconds that a tagger of each run takes for a token, as last measured. Folds of one run are equally fast."""

    def __init__(self, n_runs: int):
        self._tokens, self._seconds = [0.0] * n_runs, [0.0] * n_runs

    def add(self, run: int, *, n_tokens: int, seconds: float) -> None:
        """Take in that a tagger of the run has labelled so many tokens in so many seconds; none say nothing."""
        if n_tokens:
            self._tokens[run] = KEPT * self._tokens[run] + n_tokens
            self._seconds[run] = KEPT * self._seconds[run] + seconds

    def is_measured(self, run: int) -> bool:
        return self._tokens[run] > 0

    def seconds_per_token(self) -> list[float]:
        """By run; 0 for a run that has not been measured, so that it is tried."""
        pairs = zip(self._tokens, self._seconds, strict=True)
        return [seconds / tokens if tokens else 0 for tokens, seconds in pairs]


def plan_taggers(
    of_run: Sequence[int], seconds_per_token: Sequence[float], *, n_tokens: Sequence[int], seconds: float
) -> list[int]:
    """The taggers to use, in the order of their use, where `n_tokens` (tagger) have to be labelled in `seconds`.

    `of_run` (tagger) is the run that a tagger is a fold of, `seconds_per_token` (run) what its taggers take. First come
    the first folds of all runs, then the second ones, and so on, since runs differ more than folds do; among equal
    folds the faster run's. Each is taken that fits into what those before it leave; the first one in any case.

    Two folds of a fast run and two of one that takes three times as long; 1,000 tokens in 8, in 5, in .5 seconds:

    >>> plan_taggers([0, 0, 1, 1], [0.001, 0.003], n_tokens=[1000] * 4, seconds=8)
    [0, 2, 1, 3]
    >>> plan_taggers([0, 0, 1, 1], [0.001, 0.003], n_tokens=[1000] * 4, seconds=5)
    [0, 2, 1]
    >>> plan_taggers([0, 0, 1, 1], [0.001, 0.003], n_tokens=[1000] * 4, seconds=0.5)
    [0]
    """
    order = sorted(
        range(len(of_run)),
        key=lambda tagger: (of_run[:tagger].count(of_run[tagger]), seconds_per_token[of_run[tagger]]),
    )
    plan: list[int] = []
    for tagger in order:
        cost = n_tokens[tagger] * seconds_per_token[of_run[tagger]]
        if not plan or cost <= seconds:
            plan.append(tagger)
            seconds -= cost
    return plan


BATCH_SIZE = 16  # windows, to begin with
logger = logging.getLogger(__name__)


class DeviceTaggers:
    """The taggers of an ensemble on a device, to be asked one at a time, by their places."""

    def __init__(self, ensemble: Ensemble, device: str | torch.device):
        self.taggers = ensemble.on(device).taggers
        self.batch_size = BATCH_SIZE
        self._warm: set[int] = set()

    def ask(self, place: int, documents: Sequence[Document]) -> tuple[list[np.ndarray], float]:
        """Documents to one tagger's probabilities (token, label) for each, and the seconds that it took.

        A device's first use of a model, which sets up its kernels, is made on the shortest document and not timed.
        """
        tagger = self.taggers[place]
        if place not in self._warm:
            self._predict(tagger, [min(documents, key=lambda document: len(document.tokens) or np.inf)])
            self._warm.add(place)
        began = time.monotonic()
        return self._predict(tagger, documents), time.monotonic() - began

    def _predict(self, tagger: Tagger, documents: Sequence[Document]) -> list[np.ndarray]:
        """Half as large batches from the first on that does not fit into the device's memory.

        accelerate's find_executable_batch_size would empty the cache and collect garbage before every call too, not
        only after an error.
        """
        while True:
            try:
                return predict_group(tagger, documents, batch_size=self.batch_size)
            except torch.OutOfMemoryError:
                if self.batch_size == 1:
                    raise
            self.batch_size //= 2
            torch.cuda.empty_cache()
            logger.info("out of memory: from now on batches of %d windows", self.batch_size)


PLANNED_SHARE = 0.9  # of the time left; the rest is for rules, for writing, and for what turns out slower
MEASURED_BY = 4  # documents, at first
SECONDS_BETWEEN_WRITES = 60
logger = logging.getLogger(__name__)
Scores = dict[int, list[np.ndarray]]  # a tagger's place to the probabilities (token, label) of each document


def count_tokens(documents: Sequence[Document]) -> int:
    return sum(len(document.tokens) for document in documents)


class GroupWork:
    """What the devices' threads share: groups that wait, rows found (`found`), speeds measured, counts."""

    def __init__(
        self,
        ensemble: Ensemble,
        documents: Sequence[Document],
        path: str | Path,
        *,
        found: Found,
        deadline: Deadline,
        n_devices: int,
    ):
        self.ensemble, self.path, self.found, self.deadline = ensemble, path, dict(found), deadline
        self.n_devices = n_devices
        starts = range(0, len(documents), DOCUMENTS_AT_A_TIME)
        self.groups = [documents[start : start + DOCUMENTS_AT_A_TIME] for start in starts]
        random.Random(0).shuffle(self.groups)
        self.n_tokens = self.tokens_left = count_tokens(documents)
        self.speeds = Speeds(max(ensemble.of_run) + 1)
        self.n_documents = [0] * (len(ensemble.taggers) + 1)  # by the number of taggers that labelled them
        self.n_errors = 0
        self.lock = threading.Lock()
        self.bar = tqdm(total=len(documents), desc="documents", mininterval=10)
        self.began = self.written = time.monotonic()

    def label_on(self, device: str | torch.device) -> None:
        """One device's thread: group after group, until none waits."""
        with self._surviving():
            taggers = DeviceTaggers(self.ensemble, device)
            while group := self._next_group():
                scores: Scores = {}
                with self._surviving():
                    while (place := self._next_tagger(group, scores)) is not None:
                        asked = self._to_ask(place, group)
                        probabilities, seconds = taggers.ask(place, asked)
                        self._measure(place, asked, seconds)
                        if len(asked) == len(group):
                            scores[place] = probabilities
                with self._surviving():
                    self._keep(group, scores)

    @contextmanager
    def _surviving(self) -> Iterator[None]:
        """Errors end the block alone in a rerun; elsewhere they are raised, and no thread begins a further group."""
        try:
            yield
        except Exception:
            if not in_rerun():
                self.groups.clear()
                raise
            with self.lock:
                self.n_errors += 1
                if self.n_errors == 1:  # what one group meets, most do
                    logger.exception("documents keep the labels that they have where this happens:")

    def _next_group(self) -> Sequence[Document] | None:
        with self.lock:
            group = self.groups.pop() if self.groups else None
            self.tokens_left -= count_tokens(group or ())
            return group

    def _next_tagger(self, group: Sequence[Document], scores: Scores) -> int | None:
        """The place of the tagger to ask next about a group; None where there is no time for a further one."""
        with self.lock:
            speeds, seconds = self.speeds.seconds_per_token(), self.deadline.seconds_left()
            of_run, of_group = self.ensemble.of_run, count_tokens(group)
            n_tokens = [self.tokens_left + of_group * (place not in scores) for place in range(len(of_run))]
            seconds_of_devices = PLANNED_SHARE * seconds * self.n_devices
            plan = plan_taggers(of_run, speeds, n_tokens=n_tokens, seconds=seconds_of_devices)
            self.bar.set_postfix_str(f"{len(plan)} of {len(of_run)} models", refresh=False)
        place = next((place for place in plan if place not in scores), None)
        return None if place is None or of_group * speeds[of_run[place]] >= seconds else place

    def _to_ask(self, place: int, group: Sequence[Document]) -> Sequence[Document]:
        """The group, or a few of it to measure a run by that may be too slow for the whole."""
        with self.lock:
            measured = self.speeds.is_measured(self.ensemble.of_run[place])
        return group if measured or not count_tokens(group[:MEASURED_BY]) else group[:MEASURED_BY]

    def _measure(self, place: int, group: Sequence[Document], seconds: float) -> None:
        with self.lock:
            self.speeds.add(self.ensemble.of_run[place], n_tokens=count_tokens(group), seconds=seconds)

    def _keep(self, group: Sequence[Document], scores: Scores) -> None:
        """Decide a group's labels by what its taggers say, and write the file where it is time to."""
        rows = {}
        if places := sorted(scores):
            weights = self.ensemble.weights_of(places)
            for document, *of_taggers in zip(group, *(scores[place] for place in places), strict=True):
                mean = sum(weight * of_tagger for weight, of_tagger in zip(weights, of_taggers, strict=True))
                rows[document.document] = label_rows(document.document, self.ensemble.label(document, mean))
        with self.lock:
            self.found |= rows
            self.n_documents[len(places)] += len(group)
            self.bar.update(len(group))
            if time.monotonic() - self.written > SECONDS_BETWEEN_WRITES:
                write_found(self.path, self.found)
                self.written = time.monotonic()


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
