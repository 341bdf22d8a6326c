"""Groups of documents that the threads of several devices label, each with the taggers that there is time for."""

import logging
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from pii_kit.data import Document
from pii_kit.device_taggers import DeviceTaggers
from pii_kit.early_submission import Found, write_found
from pii_kit.ensemble import Ensemble
from pii_kit.kaggle import in_rerun
from pii_kit.predict import DOCUMENTS_AT_A_TIME
from pii_kit.submission import label_rows
from pii_kit.tagger_plan import Speeds, plan_taggers
from pii_kit.time_left import Deadline

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
