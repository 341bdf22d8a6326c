"""Label documents within a time limit: a valid submission exists early, and nothing ends late.

`write_early_submission` writes rows from regular expressions and rules. `label_in_time` then measures each run on one
document, and labels groups of documents in random order. For each group it chooses as many taggers as fit into the time
left. It rewrites the file about once a minute. Documents that it does not reach keep the rows from rules.
"""

import logging
import math
import random
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pii_kit.documents import Document
from pii_kit.kaggle import in_rerun
from pii_kit.labels import LABELS, OUTSIDE_ID
from pii_kit.predict import DOCUMENTS_AT_A_TIME, Tagger, predict_documents
from pii_kit.report.baselines import label_with_patterns
from pii_kit.rules import DEFAULT_RULES, apply_rules
from pii_kit.submission import Row, label_rows, rows_table, write_submission

EARLY_RULES = (*DEFAULT_RULES, "add_author_lines")  # models find author lines themselves; without a model the rule pays
N_TIMINGS = 10  # the slowest of the latest timings is planned with; older ones say little about a busy machine
SAFETY = 1.25  # a step starts only if 1.25 times the time that it should take is left
SECONDS_BETWEEN_WRITES = 60
DECIDE = -1  # key of the timings from probabilities to rows; those of runs have the keys 0, 1, …
Rows = Mapping[int, Sequence[Row]]  # document number → rows
logger = logging.getLogger(__name__)


def label_by_rules(document: Document) -> list[str]:
    """Return labels (token) from regular expressions and rules."""
    outside = np.eye(len(LABELS), dtype=np.float32)[[OUTSIDE_ID] * len(document.tokens)]
    return apply_rules(document, label_with_patterns(document), outside, EARLY_RULES)


def write_early_submission(path: str | Path, documents: Sequence[Document]) -> Rows:
    """Write a submission from `label_by_rules` and return its rows by document number."""
    rows = {doc.number: label_rows(doc.number, label_by_rules(doc)) for doc in documents}
    write_submission(path, rows_table(chain.from_iterable(rows.values())))
    return rows


def plan_taggers(of_run: Sequence[int], seconds_per_token: Sequence[float], n_tokens: int, seconds: float) -> list[int]:
    """Choose the taggers that can label `n_tokens` in `seconds`, in the order of their use.

    First folds of all runs come before second folds, because runs differ more than folds do; among equal folds the
    faster run comes first. A tagger is taken if it fits into the time that those before it leave, the first in any
    case. Two runs of two folds, one run three times as slow; 1,000 tokens in 8, in 5 and in 0.5 seconds:

    >>> [plan_taggers([0, 0, 1, 1], [0.001, 0.003], 1000, seconds) for seconds in (8, 5, 0.5)]
    [[0, 2, 1, 3], [0, 2, 1], [0]]
    """
    fold = [of_run[:place].count(run) for place, run in enumerate(of_run)]
    plan: list[int] = []
    for place in sorted(range(len(of_run)), key=lambda place: (fold[place], seconds_per_token[of_run[place]])):
        cost = n_tokens * seconds_per_token[of_run[place]]
        if not plan or cost <= seconds:
            plan.append(place)
            seconds -= cost
    return plan


def _count_tokens(documents: Sequence[Document]) -> int:
    return sum(len(document.tokens) for document in documents)


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Report of `label_in_time`: documents by who labelled them, taggers, rows, errors survived, and seconds."""

    documents: int
    by_all_models: int
    by_fewer_models: int
    by_rules: int
    models: int
    rows: int
    errors: int
    seconds: float


def label_in_time(
    tagger: Tagger,
    documents: Sequence[Document],
    path: str | Path,
    *,
    found: Rows,
    deadline: float = math.inf,
) -> Labelled:
    """Label documents with as many taggers as there is time for, and write the submission.

    Without a deadline the rows are those of `Tagger.predict` and `Tagger.decide`. The threshold on P(O) does not change
    with the number of taggers: it was chosen on predictions of one fold of each run.

    Documents without time for a tagger keep the rows `found` by `write_early_submission`. `deadline` is a time of
    `time.monotonic()`.

    An error is raised after the rows found so far are written. But in a competition rerun, where an error would cost
    the whole score, the first error is logged, and the work continues without what failed.
    """
    began = time.monotonic()
    starts = range(0, len(documents), DOCUMENTS_AT_A_TIME)  # the groups that Tagger.predict makes
    groups = [documents[start : start + DOCUMENTS_AT_A_TIME] for start in starts]
    random.Random(0).shuffle(groups)  # the speed of the first groups then predicts that of the rest
    by_length = sorted((document for document in documents if document.tokens), key=lambda doc: len(doc.tokens))
    sample = by_length[len(by_length) // 2 :][:1]  # a document of usual length
    rows, count, work = dict(found), Counter[int](), _Work(tagger, deadline)
    bar = tqdm(total=len(documents), desc="documents", mininterval=10)
    try:
        work.write(path, rows)
        work.measure(sample)
        while groups:
            group = groups.pop()
            plan = work.plan(_count_tokens(group) + sum(map(_count_tokens, groups)))
            with work.surviving():
                rows_of_group, n_members = work.label(group, plan)
                rows |= rows_of_group
                count[n_members] += len(group)
                bar.update(len(group))
                if work.is_write_due():
                    work.write(path, rows)
    finally:
        bar.close()
        work.write(path, rows)
    by_models, by_all = count.total() - count[0], count[len(tagger.members)]
    return Labelled(
        documents=len(documents),
        by_all_models=by_all,
        by_fewer_models=by_models - by_all,
        by_rules=len(documents) - by_models,
        models=len(tagger.members),
        rows=sum(map(len, rows.values())),
        errors=work.errors,
        seconds=time.monotonic() - began,
    )


class _Work:
    """Predictions of a tagger before a deadline, with the timings (seconds per token) that decide what is begun."""

    def __init__(self, tagger: Tagger, deadline: float):
        self.tagger, self.deadline = tagger, deadline
        self.of_run = [member.run for member in tagger.members]
        self.timings = {key: deque([0.0], maxlen=N_TIMINGS) for key in (DECIDE, *self.of_run)}
        self.written = self.write_seconds = 0.0
        self.errors = 0

    @contextmanager
    def surviving(self) -> Iterator[None]:
        """In a competition rerun log the first error and go on; elsewhere raise it."""
        try:
            yield
        except Exception:
            if not in_rerun():
                raise
            self.errors += 1
            if self.errors == 1:  # an error of one group is likely to occur in most
                logger.exception("An error occurred; labelling goes on without what failed:")

    def is_write_due(self) -> bool:
        due = time.monotonic() - self.written > SECONDS_BETWEEN_WRITES
        return due and self.seconds_left() > SAFETY * self.write_seconds

    def write(self, path: str | Path, rows: Rows) -> None:
        """Write the rows of all documents, and measure how long that takes."""
        began = time.monotonic()
        with self.surviving():
            write_submission(path, rows_table(chain.from_iterable(rows.values())))
            self.written = time.monotonic()
            self.write_seconds = self.written - began

    def measure(self, sample: Sequence[Document]) -> None:
        """Time a member of each run on the sample."""
        for place in map(self.of_run.index, sorted(set(self.of_run))):
            with self.surviving():
                if sample and self.seconds_left() > 0:
                    self.predict(place, sample)  # not timed: the first use takes longer
                    self.label(sample, [place])

    def plan(self, n_tokens: int) -> list[int]:
        """Return the members that fit into the time left for all documents left."""
        speeds = [self.slowest(run) for run in range(max(self.of_run) + 1)]
        return plan_taggers(self.of_run, speeds, n_tokens, self.seconds_left())

    def label(self, group: Sequence[Document], plan: Sequence[int]) -> tuple[Rows, int]:
        """Label a group with the planned members that fit the time left; return its rows and the number of members."""
        scores: dict[int, list[np.ndarray]] = {}
        n_tokens = max(1, _count_tokens(group))
        for place in plan:
            began = time.monotonic()
            if SAFETY * n_tokens * (self.slowest(self.of_run[place]) + self.slowest(DECIDE)) < self.seconds_left():
                with self.surviving():
                    scores[place] = self.predict(place, group)
                    self.timings[self.of_run[place]].append((time.monotonic() - began) / n_tokens)
        if not scores:
            return {}, 0
        began, rows, places = time.monotonic(), {}, sorted(scores)
        weights = self.weights_of(places)
        for document, *of_members in zip(group, *(scores[place] for place in places), strict=True):
            mean = sum(weight * of_member for weight, of_member in zip(weights, of_members, strict=True))
            rows[document.number] = label_rows(document.number, self.tagger.decide(document, mean))
        self.timings[DECIDE].append((time.monotonic() - began) / n_tokens)
        return rows, len(scores)

    def weights_of(self, places: Sequence[int]) -> list[float]:
        """Return weights (sum 1) for some of the members: each run that is left keeps its weight."""
        folds, left = Counter(self.of_run), Counter(self.of_run[place] for place in places)
        members = self.tagger.members
        if folds == left:
            return [members[place].weight for place in places]
        weights = [members[place].weight * folds[self.of_run[place]] / left[self.of_run[place]] for place in places]
        return [weight / sum(weights) for weight in weights]

    def predict(self, place: int, documents: Sequence[Document]) -> list[np.ndarray]:
        """Return probabilities (token, label) of each document by one member."""
        return [scores for _, scores in predict_documents([self.tagger.members[place]], documents)]

    def slowest(self, key: int) -> float:
        return max(self.timings[key].copy())  # a copy, because other threads append

    def seconds_left(self) -> float:
        """Return the seconds until the last write has to begin, if it takes SAFETY times the latest one."""
        return self.deadline - time.monotonic() - SAFETY * self.write_seconds
