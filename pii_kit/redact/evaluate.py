"""Measure a redaction as a data officer does: which identifiers survive in the output, and which words were lost."""

from collections.abc import Iterable, Sequence

import pandas as pd
from scipy.stats import binomtest

from pii_kit.documents import Document, join_tokens, true_labels
from pii_kit.labels import OUTSIDE, PII_TYPES, spans_of
from pii_kit.metrics import LEVEL, recall_bound
from pii_kit.redact import Redaction, normalise
from pii_kit.redact.document import redact_document
from pii_kit.redact.leaks import survives_in

IDENTIFIERS, DOCUMENTS, WORDS = "identifiers", "documents with PII", "other words"
ROWS = "rows"


def evaluate_redaction(
    documents: Iterable[Document], labels: Iterable[Sequence[str]], settings: Redaction
) -> pd.DataFrame:
    """Redact labelled documents by predicted `labels` (document, token), and compare with their true labels.

    An identifier is a string that is labelled in a document; it counts once for the document. It survives if a token
    of one of its labelled places is not replaced, or if the leak check finds it, or a part of it, anywhere in the
    released text without a reason. Rows are true rows of the competition, which are replaced or not.

    Returns:
        A table (what was counted; n, good, share, low, high, bound): of each line `good` of `n` are removed
        (identifiers, per type and all), without a leak (documents with PII), replaced (rows), or left alone (words
        that are not PII). `low` and `high` are the exact binomial interval of the share at the level LEVEL, and
        `bound` is its lower confidence bound (`recall_bound`). Both take the counts as independent; those of one
        document are not, so the true bounds are wider.
    """
    counts = {name: [0, 0] for name in (IDENTIFIERS, *PII_TYPES, DOCUMENTS, ROWS, WORDS)}  # good, bad

    def count(name: str, bad: bool) -> None:
        counts[name][bad] += 1

    for document, predicted in zip(documents, labels, strict=True):
        redacted = redact_document(document, predicted, settings)
        replaced = {token for first, end, *_ in redacted.regions for token in range(first, end)}
        left: dict[tuple[str, str], bool] = {}  # type, identifier → whether it survives
        for first, end, pii_type in spans_of(true_labels(document)):
            string = join_tokens(document.tokens[first:end], document.trailing_whitespace[first:end]).strip()
            if not _is_word(string):
                continue
            survives = any(_is_word(document.tokens[n]) for n in {*range(first, end)} - replaced)
            survives = survives or survives_in(redacted, string, pii_type, settings)
            key = pii_type, normalise(string)
            left[key] = left.get(key, False) or survives
        for (pii_type, _), survives in left.items():
            count(IDENTIFIERS, survives)
            count(pii_type, survives)
        if left:
            count(DOCUMENTS, any(left.values()))
        for place, (token, label) in enumerate(zip(document.tokens, true_labels(document), strict=True)):
            if label != OUTSIDE:
                count(ROWS, place not in replaced)
            elif _is_word(token):
                count(WORDS, place in replaced)
    return pd.DataFrame({name: _line(*of_name) for name, of_name in counts.items() if sum(of_name)}).T


def _is_word(text: str) -> bool:
    return any(map(str.isalnum, text))


def _line(good: int, bad: int) -> dict[str, float]:
    low, high = binomtest(good, good + bad).proportion_ci(LEVEL)
    share = good / (good + bad)
    return {"n": good + bad, "good": good, "share": share, "low": low, "high": high, "bound": recall_bound(good, bad)}
