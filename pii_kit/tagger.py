"""The kit's Python interface: trained runs that find the PII of texts, as spans of characters."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from pii_kit.documents import Document, document_of_text, join_tokens, token_edges
from pii_kit.files import KitError
from pii_kit.labels import OUTSIDE_ID, PII_TYPES, spans_of
from pii_kit.predict import ENGINES, Ensemble
from pii_kit.training.ensemble import DEFAULT_RUN, load_ensemble


@dataclass(frozen=True, slots=True)
class PiiSpan:
    """PII of one type in a text: `text` is at characters `start` to `end` (exclusive), without outer whitespace.

    `probability` is 1 − P(O) of its token with the lowest P(O), near 0 where only a rule labelled it.
    """

    start: int
    end: int
    type: str
    probability: float
    text: str


@dataclass(frozen=True)
class Tagger:
    """Finds the PII of texts with the taggers, thresholds and rules of an ensemble.

    `Tagger.load` makes one of run folders. Labels are those of `python -m pii_kit predict`.
    """

    ensemble: Ensemble

    @classmethod
    def load(
        cls,
        *runs: str | Path,
        thresholds: Mapping[str, float] | None = None,
        engine: str = "torch",
        mixed_data: bool = False,
        device: str = "cpu",
    ) -> Self:
        """Load the folders of one run, or of several whose predictions are averaged as by `load_ensemble`.

        Args:
            runs: folders of runs or of exported taggers. None: the tagger that comes with the kit (`DEFAULT_RUN`).
            thresholds: by PII type; a token is of this type where P(O) is lower. Other types have the runs' threshold.
            engine: inference engine, as in `Ensemble.with_engine`; converting them to ONNX takes seconds.
            mixed_data: allow runs that were trained on different essays.
            device: of PyTorch, such as "cuda".

        Raises:
            KitError: as `load_ensemble` and `Ensemble.with_engine`, or a setting has a wrong value.
        """
        if engine not in ENGINES:
            raise KitError(f"engine is {engine!r}; expected one of {', '.join(ENGINES)}")
        for pii_type, threshold in (thresholds or {}).items():
            if pii_type not in PII_TYPES or not 0 <= threshold <= 1:
                raise KitError(f"threshold {pii_type}={threshold}; expected 0 to 1 for one of {', '.join(PII_TYPES)}")
        ensemble = load_ensemble(runs or [DEFAULT_RUN], mixed_data=mixed_data, device=device).with_engine(engine)
        return cls(replace(ensemble, by_type=dict(thresholds or {})))

    def label(self, text: str) -> list[PiiSpan]:
        """Return the PII of a text of any length, in its order. For many texts, `label_texts` takes less time."""
        (spans,) = self.label_texts([text])
        return spans

    def label_texts(self, texts: Iterable[str]) -> Iterator[list[PiiSpan]]:
        """Yield the PII of each text. Texts are read in small groups, so memory does not grow with their number."""
        if isinstance(texts, str):
            raise KitError("label_texts takes several texts; call label for a single one")
        return (spans for _, spans in self.label_documents(map(document_of_text, texts)))

    def label_documents(self, documents: Iterable[Document]) -> Iterator[tuple[Document, list[PiiSpan]]]:
        """Yield each document with its PII; places are those in its joined tokens."""
        for document, probabilities in self.ensemble.predict(documents):
            yield document, spans_in(document, self.ensemble.label(document, probabilities), probabilities)


def spans_in(document: Document, labels: Sequence[str], probabilities: np.ndarray) -> list[PiiSpan]:
    """Return the entities of `labels` (token) as spans of characters; those of whitespace alone are dropped."""
    found = []
    text, edges = join_tokens(document.tokens, document.trailing_whitespace), token_edges(document)
    for first, end, pii_type in spans_of(labels):
        covered = text[edges[first] : edges[end]]
        start, span = edges[end] - len(covered.lstrip()), covered.strip()
        if span:
            probability = 1 - float(probabilities[first:end, OUTSIDE_ID].min())
            found.append(PiiSpan(start, start + len(span), pii_type, probability, span))
    return found
