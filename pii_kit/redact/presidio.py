"""The kit in Microsoft Presidio: a recognizer that uses trained runs, and an operator that writes surrogates."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pii_kit.documents import covered_tokens, document_to_label, token_edges
from pii_kit.files import KitError
from pii_kit.labels import EMAIL, NAME_STUDENT, OUTSIDE_ID, PHONE_NUM, PII_TYPES, STREET_ADDRESS, URL_PERSONAL
from pii_kit.predict import Tagger
from pii_kit.redact.document import find_places
from pii_kit.redact.search import fold
from pii_kit.redact.surrogates import DocumentSurrogates

try:
    from presidio_analyzer import AnalysisExplanation, EntityRecognizer, RecognizerResult
    from presidio_analyzer.nlp_engine import NlpArtifacts
    from presidio_anonymizer.entities import OperatorConfig
    from presidio_anonymizer.operators import Operator, OperatorType
except ModuleNotFoundError:
    raise KitError("this needs Presidio: pip install presidio-analyzer presidio-anonymizer") from None

PRESIDIO_NAMES = {  # it has no entity for user names or for any ID
    NAME_STUDENT: "PERSON",
    EMAIL: "EMAIL_ADDRESS",
    PHONE_NUM: "PHONE_NUMBER",
    URL_PERSONAL: "URL",
    STREET_ADDRESS: "LOCATION",
}
TYPES = {kind: kind for kind in PII_TYPES} | {name: kind for kind, name in PRESIDIO_NAMES.items()}
LEAST_SCORE = 1e-6  # Presidio drops results with a score of 0
OPERATOR = "pii_kit_surrogate"
SURROGATES = "surrogates"  # the operator's parameter


class PiiKitRecognizer(EntityRecognizer):
    """Finds what `redact` replaces: what a tagger labels, and what patterns find; further mentions are not searched.

    `runs` are one or more folders, averaged as by `Tagger.load`. `thresholds` (PII type) on P(O) take the place of
    theirs. With `presidio_names`, entities have Presidio's names where it has some (`PRESIDIO_NAMES`).

    The score of a result is 1 − P(O) of its token with the lowest P(O), or 1 for a pattern. Runs choose thresholds
    that miss little, so right results can have low scores: a score threshold of Presidio loses these.
    """

    def __init__(
        self,
        runs: str | Path | Sequence[str | Path] = (),
        *,
        thresholds: Mapping[str, float] | None = None,
        presidio_names: bool = False,
        supported_language: str = "en",
    ) -> None:
        self._names = {kind: PRESIDIO_NAMES.get(kind, kind) if presidio_names else kind for kind in PII_TYPES}
        runs = [runs] if isinstance(runs, str | Path) else runs
        self._tagger = Tagger.load(*runs, thresholds=thresholds)
        super().__init__(supported_entities=[*self._names.values()], supported_language=supported_language)

    def load(self) -> None:
        """Do nothing: the constructor has loaded the runs."""

    def analyze(
        self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts | None = None
    ) -> list[RecognizerResult]:
        """Return the PII of a text of any length, of the named entities; NLP artifacts are not used."""
        document = document_to_label(text)
        ((document, probabilities),) = self._tagger.predict([document])
        labels = self._tagger.decide(document, probabilities, keep_sure=True)
        edges, results = token_edges(document), []
        for start, end, pii_type, source in find_places(document, text, labels):
            if self._names[pii_type] not in entities:
                continue
            outside = float(probabilities[slice(*covered_tokens(edges, start, end)), OUTSIDE_ID].min())
            limit = self._tagger.thresholds.get(pii_type, self._tagger.o_threshold)
            score = max(1 - outside, LEAST_SCORE) if source == "label" else 1.0
            reason = f"{pii_type}: {source}, lowest P(O) {outside:.4g}, threshold {limit:.4g}"
            explanation = AnalysisExplanation(type(self).__name__, score, textual_explanation=reason)
            results.append(RecognizerResult(self._names[pii_type], start, end, score, explanation))
        return results


class SurrogateOperator(Operator):
    """Replaces PII with surrogates. `surrogate_operators` makes its configuration for one text."""

    def operate(self, text: str, params: Mapping[str, Any] = {}) -> str:
        """Return the surrogate of `text`; the same text of the same type has the same surrogate."""
        return params[SURROGATES](text, TYPES[params["entity_type"]])

    def validate(self, params: Mapping[str, Any] = {}) -> None:
        """Raise KitError if the parameters are not those of `surrogate_operators`."""
        if SURROGATES not in params or params["entity_type"] not in TYPES:
            raise KitError(f"operator {OPERATOR}: expected the operators of surrogate_operators")

    def operator_name(self) -> str:
        return OPERATOR

    def operator_type(self) -> OperatorType:
        return OperatorType.Anonymize


def surrogate_operators(
    text: str, results: Iterable[RecognizerResult], *, seed: int | None = None, key: bytes | None = None
) -> dict[str, OperatorConfig]:
    """Return the operators (entity name) that replace the `results` of one text, for `AnonymizerEngine.anonymize`.

    They share their surrogates, so a person keeps one name in the text, also in e-mail addresses and user names. Equal
    seeds draw equal names for different people; with a key, a person keeps the name in all texts
    (`DocumentSurrogates`). Presidio's other entities are left to other operators.
    """
    known = [result for result in sorted(results) if result.entity_type in TYPES]
    found = [(text[result.start : result.end], TYPES[result.entity_type]) for result in known]
    surrogates = DocumentSurrogates(secrets.randbits(63) if seed is None else seed, key, 0, fold(text), found)
    for original, pii_type in found:  # drawn in the order of the text, as by `redact`; Presidio replaces from the end
        surrogates(original, pii_type)
    return {name: OperatorConfig(OPERATOR, {SURROGATES: surrogates}) for name in TYPES}
