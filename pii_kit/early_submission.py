"""Essays to a submission without any model: what stands there until the models have had their say, or if they fail."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pii_kit.data import Document
from pii_kit.labels import LABELS, OUTSIDE_ID
from pii_kit.patterns import label_with_patterns
from pii_kit.rules import DEFAULT_RULES, apply_rules
from pii_kit.submission import Row, label_rows, rows_table, write_submission

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
