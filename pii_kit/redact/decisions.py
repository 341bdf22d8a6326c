"""Detections for a reviewer to decide, and a reviewer's decisions as labels."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logit

from pii_kit.decide import repair_bio
from pii_kit.documents import Document
from pii_kit.files import KitError
from pii_kit.labels import OUTSIDE, OUTSIDE_ID, PII_TYPES, spans_of
from pii_kit.predict import Tagger
from pii_kit.training.runs import fingerprint

FORMAT = "pii_kit review decisions, version 1"
DECISIONS = ("accepted", "rejected", "undecided")
SUGGESTED = 10  # suggestions are tokens whose P(PII) is up to this many times lower than the threshold asks for
_LEAST = 1e-7  # float32 rounds probabilities nearer to 0 and 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Detection:
    """A span of tokens that may be PII.

    `margin` is the distance of P(O) to its threshold, in log-odds, of the token where it is smallest, and `chance` is
    that token's P(PII). A suggestion misses the threshold: it is not PII unless a reviewer accepts it.
    """

    start: int
    end: int
    pii_type: str
    chance: float
    margin: float
    is_suggestion: bool


def find_detections(document: Document, probabilities: np.ndarray, tagger: Tagger) -> list[Detection]:
    """Return the detections of a document, with suggestions, in order, from its probabilities (token, label)."""
    labels = tagger.decide(document, probabilities, keep_sure=True)
    loosened = {pii_type: _loosened(limit) for pii_type, limit in tagger.thresholds.items()}
    looser = replace(tagger, o_threshold=_loosened(tagger.o_threshold), thresholds=loosened)
    more = looser.decide(document, probabilities, keep_sure=True)
    suggested = [OUTSIDE if sure != OUTSIDE else other for sure, other in zip(labels, more, strict=True)]
    spans = [(*span, False) for span in spans_of(labels)]
    for start, end, pii_type in spans_of(repair_bio(suggested)):
        if any(map(str.isalnum, "".join(document.tokens[start:end]))):
            spans.append((start, end, pii_type, True))
    detections = []
    for start, end, pii_type, is_suggestion in sorted(spans):
        outside = probabilities[start:end, OUTSIDE_ID]
        limit = tagger.thresholds.get(pii_type, tagger.o_threshold)
        margins = abs(_log_odds(outside) - _log_odds(limit))
        nearest = int(margins.argmin())
        detection = Detection(
            start=start,
            end=end,
            pii_type=pii_type,
            chance=1 - float(outside[nearest]),
            margin=float(margins[nearest]),
            is_suggestion=is_suggestion,
        )
        detections.append(detection)
    return detections


def _loosened(o_threshold: float) -> float:
    return 1 - (1 - o_threshold) / SUGGESTED


def _log_odds(probabilities: Any) -> Any:
    return logit(np.clip(np.asarray(probabilities, dtype=np.float64), _LEAST, 1 - _LEAST))


def fingerprint_texts(documents: Sequence[Document]) -> str:
    """Return a digest of the numbers and tokens of documents, whether they are labelled or not."""
    return fingerprint(replace(document, labels=None) for document in documents)


def read_decisions(path: Path, documents: Sequence[Document]) -> tuple[list[list[str]], int, int]:
    """Read the file that the review page saves.

    Returns:
        The labels (document, token), where undecided detections count as accepted; the number of all detections in
        the file, and how many of them are undecided.

    Raises:
        KitError: the file is not of these documents, or is not what the page writes. The message names file, document
            and span.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_without_repeats)
    except FileNotFoundError:
        raise KitError(f"{path}: no such file; expected the decisions that the review page saves") from None
    except (ValueError, RecursionError) as error:
        raise KitError(f"{path}: not JSON in UTF-8, or damaged: {type(error).__name__}; save it again") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise KitError(f"{path}: not a file of the review page; expected the format {FORMAT!r}")
    if content.get("data") != fingerprint_texts(documents):
        raise KitError(f"{path}: these are decisions about other documents; give the --data that was reviewed")
    if set(content) != {"format", "data", "documents"} or not isinstance(content["documents"], dict):
        raise KitError(f"{path}: expected the fields format, data and documents, which is an object")
    by_number = {str(document.number): [OUTSIDE] * len(document.tokens) for document in documents}
    n_spans = n_undecided = 0
    for number, spans in content["documents"].items():
        where = f"{path}: document {number[:20]}"
        if number not in by_number:
            raise KitError(f"{where}: is not in the data")
        if not isinstance(spans, list):
            raise KitError(f"{where}: expected a list of spans")
        for place, span in enumerate(spans):
            _apply(span, by_number[number], f"{where}: span {place}")
        if len({(span["start"], span["end"]) for span in spans}) < len(spans):
            raise KitError(f"{where}: a span is there twice; expected one decision for each")
        n_spans += len(spans)
        n_undecided += sum(span["decision"] == "undecided" for span in spans)
    return list(by_number.values()), n_spans, n_undecided


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a field is there twice")
    return dict(pairs)


def _apply(span: Any, labels: list[str], where: str) -> None:
    """Check a span of the file and write it into the document's labels unless it is rejected."""
    if not isinstance(span, dict) or set(span) != {"start", "end", "type", "decision"}:
        raise KitError(f"{where}: expected an object with start, end, type and decision")
    start, end, pii_type, decision = span["start"], span["end"], span["type"], span["decision"]
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(labels):
        raise KitError(f"{where}: start and end: expected token numbers with 0 ≤ start < end ≤ {len(labels)}")
    if pii_type not in PII_TYPES:
        raise KitError(f"{where}: type: expected one of {', '.join(PII_TYPES)}")
    if decision not in DECISIONS:
        raise KitError(f"{where}: decision: expected one of {', '.join(DECISIONS)}")
    if decision == "rejected":
        return
    if set(labels[start:end]) != {OUTSIDE}:
        raise KitError(f"{where}: overlaps another span that is not rejected; reject one of them")
    labels[start:end] = [f"B-{pii_type}"] + [f"I-{pii_type}"] * (end - start - 1)
