"""Detections for a reviewer to decide, and a reviewer's decisions as labels."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ValidationError
from scipy.special import logit

from pii_kit import patterns
from pii_kit.decide import repair_bio
from pii_kit.documents import Document, covered_tokens, join_tokens, token_edges
from pii_kit.files import KitError, printable
from pii_kit.labels import OUTSIDE, OUTSIDE_ID, PII_TYPES, label_span, spans_of
from pii_kit.predict import Tagger
from pii_kit.redact.search import is_ordinary

FORMAT = "pii_kit review decisions, version 2; not for publication"
SUGGESTED = 10  # suggestions are tokens whose P(PII) is up to this many times lower than the threshold asks for
_LEAST = 1e-7  # float32 rounds probabilities nearer to 0 and 1


@dataclass(frozen=True, slots=True)
class Detection:
    """A span of tokens that may be PII.

    `margin` is the distance of P(O) to its threshold, in log-odds, of the token where it is smallest, and `chance` is
    that token's P(PII). A suggestion is not PII unless a reviewer accepts it: it misses the threshold, or a rule
    removed it.
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
    edges, text = token_edges(document), join_tokens(document.tokens, document.trailing_whitespace)
    for start, end, pii_type in patterns.find(text):
        first, last = covered_tokens(edges, start, end)
        if set(labels[first:last]) == {OUTSIDE}:
            label_span(labels, first, last, pii_type)

    def loosened(limit: float) -> float:
        return 1 - (1 - limit) / SUGGESTED

    by_type = {pii_type: loosened(limit) for pii_type, limit in tagger.thresholds.items()}
    looser = replace(tagger, o_threshold=loosened(tagger.o_threshold), thresholds=by_type, rules=())
    more = looser.decide(document, probabilities)
    suggested = [OUTSIDE if sure != OUTSIDE else other for sure, other in zip(labels, more, strict=True)]
    spans = [(*span, False) for span in spans_of(repair_bio(labels))]
    spans += [(*span, True) for span in spans_of(repair_bio(suggested))]
    detections = []
    for start, end, pii_type, is_suggestion in sorted(spans):
        if is_suggestion and not any(map(str.isalnum, "".join(document.tokens[start:end]))):
            continue
        outside = np.clip(probabilities[start:end, OUTSIDE_ID].astype(np.float64), _LEAST, 1 - _LEAST)
        limit = tagger.thresholds.get(pii_type, tagger.o_threshold)
        margins = abs(logit(outside) - logit(np.clip(limit, _LEAST, 1 - _LEAST)))
        nearest = int(margins.argmin())
        chance, margin = 1 - float(probabilities[start + nearest, OUTSIDE_ID]), float(margins[nearest])
        detections.append(Detection(start, end, pii_type, chance, margin, is_suggestion))
    return detections


def fingerprint_texts(documents: Iterable[Document]) -> str:
    """Return a digest of the numbers, lengths and ordinary words of documents.

    Names, numbers and addresses are not in it, so that trying candidates does not give them back.
    """
    digest = sha256()
    for document in documents:
        digest.update(f"\n{document.number} {len(document.tokens)}".encode())
        for place, token in enumerate(document.tokens):
            if token.islower() and is_ordinary(token):
                digest.update(f" {place} {token}".encode())
    return digest.hexdigest()


class _Span(BaseModel, extra="forbid", strict=True):
    start: int
    end: int
    type: Literal[PII_TYPES]  # type: ignore[valid-type]
    decision: Literal["accepted", "rejected", "undecided"]


class _Decisions(BaseModel, extra="forbid", strict=True):
    format: Literal[FORMAT]  # type: ignore[valid-type]
    data: str
    documents: dict[str, list[_Span]]


def read_decisions(path: Path, documents: Sequence[Document]) -> tuple[list[list[str]], int, int]:
    """Read the file that the review page saves.

    Return the labels (document, token), where undecided detections count as accepted, the number of detections, and
    how many of them are undecided. Raise KitError if the file is of other documents, or not what the page writes.
    """
    if not path.is_file():
        raise KitError(f"{path}: no such file; expected the decisions that the review page saves")
    try:
        decisions = _Decisions.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        problem = f"{printable('.'.join(map(str, first['loc'])))}: {first['msg']}"
        raise KitError(f"{path}: {problem}; expected what the review page of this version saves") from None
    if decisions.data != fingerprint_texts(documents):
        raise KitError(f"{path}: these are decisions about other documents; give the --data that was reviewed")
    labels = {str(document.number): [OUTSIDE] * len(document.tokens) for document in documents}
    states = Counter(span.decision for spans in decisions.documents.values() for span in spans)
    for number, spans in decisions.documents.items():
        where = f"{path}: document {printable(number)}"
        if number not in labels:
            raise KitError(f"{where}: is not in the data")
        for place, span in enumerate(spans):
            if not 0 <= span.start < span.end <= len(labels[number]):
                raise KitError(f"{where}: span {place}: expected tokens with 0 ≤ start < end ≤ {len(labels[number])}")
            if span.decision != "rejected":
                if set(labels[number][span.start : span.end]) != {OUTSIDE}:
                    raise KitError(f"{where}: span {place}: overlaps another one that is not rejected; reject one")
                label_span(labels[number], span.start, span.end, span.type)
    return list(labels.values()), states.total(), states["undecided"]
