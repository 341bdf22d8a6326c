"""Label documents within a time limit: a valid submission exists early, each run improves it, and nothing ends late."""

import logging
import math
import random
import time
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
from pii_kit.predict import DOCUMENTS_AT_A_TIME, Tagger
from pii_kit.rules import DEFAULT_RULES, apply_rules
from pii_kit.submission import Row, label_rows, rows_table, write_submission

EARLY_RULES = (*DEFAULT_RULES, "add_author_lines")  # models find author lines themselves; without a model the rule pays
N_MEASURED = 4  # documents on which each run is timed
SAFETY = 1.25  # a run begins only if 1.25 times the time that it should take is left
Rows = Mapping[int, Sequence[Row]]  # document number → rows
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Report of `label_in_time`: documents by what labelled them, rows, errors survived, and seconds."""

    documents: int
    by_all_runs: int
    by_some_runs: int
    by_rules: int
    rows: int
    errors: int
    seconds: float


@contextmanager
def surviving(errors: list[Exception]) -> Iterator[None]:
    """In a competition rerun, where an error costs the whole score, log and collect it; elsewhere raise it."""
    try:
        yield
    except Exception as error:
        if not in_rerun():
            raise
        logger.exception("An error occurred; the submission keeps the rows found so far:")
        errors.append(error)


def label_by_rules(document: Document) -> list[str]:
    """Return labels (token) from regular expressions and rules."""
    from pii_kit.report.baselines import label_with_patterns  # here, because pandas and spaCy take seconds

    outside = np.eye(len(LABELS), dtype=np.float32)[[OUTSIDE_ID] * len(document.tokens)]
    return apply_rules(document, label_with_patterns(document), outside, EARLY_RULES)


def write_early_submission(path: str | Path, documents: Sequence[Document]) -> Rows:
    """Write a submission from `label_by_rules` and return its rows by document number."""
    rows = {doc.number: label_rows(doc.number, label_by_rules(doc)) for doc in documents}
    write_submission(path, rows_table(chain.from_iterable(rows.values())))
    return rows


def label_in_time(
    tagger: Tagger, documents: Sequence[Document], path: str | Path, *, found: Rows, deadline: float = math.inf
) -> Labelled:
    """Label documents with as many runs as there is time for, and write the submission after each.

    The fastest run comes first and labels as many documents as it can; a further run begins only if it should end in
    time. A document has the average of the runs that reached it, or the rows `found` by `write_early_submission`.
    Without a deadline, a time of `time.monotonic()`, the rows are those of `Tagger.predict` and `Tagger.decide`.

    An error is raised after the rows found so far are written. In a competition rerun it is logged and counted, and
    the next run follows.
    """
    began, rows = time.monotonic(), dict(found)
    errors: list[Exception] = []
    write_seconds = 0.0

    def write() -> None:
        nonlocal write_seconds
        start = time.monotonic()
        with surviving(errors):
            write_submission(path, rows_table(chain.from_iterable(rows.values())))
        write_seconds = time.monotonic() - start

    def seconds_left() -> float:
        return deadline - time.monotonic() - SAFETY * write_seconds

    write()
    shuffled = random.Random(0).sample(documents, len(documents))  # the first documents tell the time of the others
    shares: dict[int, float] = {}
    for member in tagger.members:
        shares[member.run] = shares.get(member.run, 0) + member.weight
    seconds: dict[int, float] = {}
    for run in shares:
        with surviving(errors):
            if seconds_left() > 0:
                seconds[run] = 0 if deadline == math.inf else _measure(tagger.of_runs([run]), shuffled)
    sums: dict[int, np.ndarray] = {}
    weights: dict[int, float] = dict.fromkeys(rows, 0)
    for run in sorted(seconds, key=seconds.__getitem__):
        pause = seconds[run] * DOCUMENTS_AT_A_TIME / max(len(documents), DOCUMENTS_AT_A_TIME)  # for a group
        if SAFETY * (seconds[run] if sums else pause) > seconds_left():
            break
        latest, scored = time.monotonic(), tagger.of_runs([run]).predict(shuffled)
        try:
            with surviving(errors):
                for document, scores in tqdm(scored, f"run {run}", len(shuffled), mininterval=30):
                    number = document.number
                    sums[number] = sums.get(number, 0) + shares[run] * scores
                    weights[number] += shares[run]
                    rows[number] = label_rows(number, tagger.decide(document, sums[number] / weights[number]))
                    pause, latest = max(pause, time.monotonic() - latest), time.monotonic()
                    if SAFETY * pause > seconds_left():  # the next group could end too late
                        break
        finally:
            write()
    by_all = sum(math.isclose(weight, sum(shares.values())) for weight in weights.values())
    return Labelled(
        documents=len(documents),
        by_all_runs=by_all,
        by_some_runs=len(sums) - by_all,
        by_rules=len(documents) - len(sums),
        rows=sum(map(len, rows.values())),
        errors=len(errors),
        seconds=time.monotonic() - began,
    )


def _measure(tagger: Tagger, documents: Sequence[Document]) -> float:
    """Return the seconds that a tagger should take to label the documents, from a few of them."""
    few = documents[:N_MEASURED]
    list(tagger.predict(few[:1]))  # not timed: the first use takes longer
    start = time.monotonic()
    for document, scores in tagger.predict(few):
        tagger.decide(document, scores)
    n_tokens, n_measured = (sum(len(document.tokens) for document in some) for some in (documents, few))
    return (time.monotonic() - start) * n_tokens / max(1, n_measured)
