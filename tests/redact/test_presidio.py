"""The kit in Presidio: its results are those of `redact`, at the right places, and surrogates are consistent."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
from presidio_analyzer.nlp_engine import NoOpNlpEngine
from presidio_anonymizer import AnonymizerEngine
from presidio_anonymizer.entities import RecognizerResult

from pii_kit.__main__ import main
from pii_kit.documents import document_of_spans
from pii_kit.labels import LABELS, OUTSIDE_ID, PII_TYPES
from pii_kit.predict import Tagger
from pii_kit.redact import Redaction, redact_document
from pii_kit.redact.presidio import PiiKitRecognizer, SurrogateOperator, surrogate_operators
from pii_kit.rules import DEFAULT_RULES

ROOT = Path(__file__).parents[2]
NAME, EMAIL, USERNAME, ID, PHONE, URL, ADDRESS = PII_TYPES
KNOWN = {  # token: its likeliest label and its P(O)
    "Ana": (f"B-{NAME}", 0.1),
    "Silva": (f"I-{NAME}", 0.6),
    "AB-12345": (f"B-{ID}", 0.4),
    "ana.silva77@x.de": (f"B-{EMAIL}", 0.3),
    "bo@y.de": (f"B-{EMAIL}", 0.3),
    "12": (f"B-{ADDRESS}", 0.2),
    **dict.fromkeys(("\n", "\n ", "\n\n", "\n\n "), (f"I-{ADDRESS}", 0.2)),
    "Lund": (f"I-{ADDRESS}", 0.2),
}


def predict(self, documents):
    """Stand in for a model: known tokens are PII."""
    for document in documents:
        scores = np.zeros((len(document.tokens), len(LABELS)), dtype=np.float32)
        for place, token in enumerate(document.tokens):
            label, p_outside = KNOWN.get(token, (LABELS[1], 1.0))
            scores[place, LABELS.index(label)] = 1 - p_outside
            scores[place, OUTSIDE_ID] = p_outside
        yield document, scores


@pytest.fixture
def recognizer(monkeypatch):
    """A function that makes a recognizer whose ensemble, with threshold .5, knows the tokens of KNOWN."""
    monkeypatch.setattr(Tagger, "predict", predict)

    def make(*, rules=DEFAULT_RULES, **more) -> PiiKitRecognizer:
        tagger = Tagger((), o_threshold=0.5, rules=rules)
        load = lambda *runs, thresholds, **_: replace(tagger, thresholds=thresholds or {})  # noqa: E731
        monkeypatch.setattr(Tagger, "load", load)
        return PiiKitRecognizer("run", **more)

    return make


def analyzer_of(recognizer, *, own=False) -> AnalyzerEngine:
    engine = NoOpNlpEngine([{"lang_code": "en", "model_name": ""}])
    registry = RecognizerRegistry([recognizer])
    if own:
        registry.load_predefined_recognizers(nlp_engine=engine)
    return AnalyzerEngine(registry, engine)


def found(text, recognizer, **more) -> list[tuple[str, str]]:
    results = analyzer_of(recognizer).analyze(text, language="en", **more)
    return [(one.entity_type, text[one.start : one.end]) for one in sorted(results)]


def anonymized(text, results, **more) -> str:
    engine = AnonymizerEngine()
    engine.add_anonymizer(SurrogateOperator)
    return engine.anonymize(text, results, surrogate_operators(text, results, **more)).text


def results_of(text, *spans) -> list[RecognizerResult]:
    """Results at the places of strings, given in the order of the text with their entities."""
    results, done = [], 0
    for span, entity in spans:
        start = text.index(span, done)
        done = start + len(span)
        results.append(RecognizerResult(entity, start, done, 0.9))
    return results


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ana Silva met", [(NAME, "Ana Silva")]),
        ("  🐱 I   am  Ana ,\n\n\tAB-12345  ", [(NAME, "Ana"), (ID, "AB-12345")]),
        ("é👩‍👩‍👧 e\u0301 Ana\u00a0Ana\r\nAna", [(NAME, "Ana")] * 3),
        ("At 12 \nLund\n\n", [(ADDRESS, "12 \nLund")]),
        ("\ud83d Ana", [(NAME, "Ana")]),
        ("", []),
        (" \n", []),
    ],
)
def test_a_result_is_exactly_the_text_of_its_tokens(recognizer, text, expected):
    assert found(text, recognizer()) == expected


def test_a_result_has_the_score_of_its_surest_token_and_an_explanation(recognizer):
    text = "By Ana Silva"
    (one,) = analyzer_of(recognizer(thresholds={NAME: 0.7})).analyze(text, language="en", return_decision_process=True)
    assert (one.start, one.end) == (3, 12) and one.score == pytest.approx(0.9)
    assert one.analysis_explanation.textual_explanation == "NAME_STUDENT: label, lowest P(O) 0.1, threshold 0.7"


def test_patterns_are_found_and_a_rule_is_not_lost(recognizer):
    """Presidio drops results with a score of 0."""
    text = "Write to zoe@z.de or zoe [at] z.de"
    results = analyzer_of(recognizer()).analyze(text, language="en", return_decision_process=True)
    assert [text[one.start : one.end] for one in sorted(results)] == ["zoe@z.de", "zoe [at] z.de"]
    assert "EMAIL: pattern" in sorted(results)[1].analysis_explanation.textual_explanation


def test_only_the_entities_that_were_asked_for_are_found(recognizer):
    text = "Ana ana.silva77@x.de AB-12345"
    assert found(text, recognizer(), entities=[EMAIL]) == [(EMAIL, "ana.silva77@x.de")]
    asked = found(text, recognizer(presidio_names=True), entities=["PERSON", ID])
    assert asked == [("PERSON", "Ana"), (ID, "AB-12345")]


def test_a_long_text_is_not_truncated(recognizer):
    text = "Some words. " * 100_000 + "Ana "  # longer than spaCy's pipelines accept
    (one,) = analyzer_of(recognizer()).analyze(text, language="en")
    assert (one.start, one.end) == (1_200_000, 1_200_003)


def test_results_are_what_redact_replaces(tmp_path):
    analyzer = analyzer_of(PiiKitRecognizer())
    texts = ["My name is Ana Silva (ana.silva@example.org).", "•Amara Diallo\nRing 312-555-0187 ext 40 or @amara_d!"]
    for number, text in enumerate(texts):
        (tmp_path / "in.txt").write_bytes(text.encode())
        files = ["--data", str(tmp_path / "in.txt"), "--out", str(tmp_path / f"{number}.txt")]
        assert main(["redact", *files, "--mode", "type", "--mentions", "labelled"]) == 0
        for one in sorted(analyzer.analyze(text, language="en"), reverse=True):
            text = f"{text[: one.start]}[{one.entity_type}]{text[one.end :]}"
        assert text != texts[number] and (tmp_path / f"{number}.txt").read_text() == text


@pytest.mark.parametrize(("seed", "presidio_names"), [(0, False), (1, True)])
def test_surrogates_are_consistent_in_one_text(recognizer, seed, presidio_names):
    text = "By Ana Silva, ana.silva77@x.de. Ana is AB-12345."
    analyzer = analyzer_of(recognizer(thresholds={NAME: 0.7}, presidio_names=presidio_names))
    results = analyzer.analyze(text, language="en")
    new = anonymized(text, results, seed=seed)
    first, last, email, again, number = re.fullmatch(r"By (\S+) (\S+), (\S+)\. (\S+) is (\S+)\.", new).groups()
    assert first == again and number != "AB-12345" and not re.search(r"\b(ana|silva)\b", new, re.IGNORECASE)
    assert email.startswith(re.sub("[^a-z.]", "", f"{first}.{last}".lower()))


@pytest.mark.parametrize("seed", range(2))
def test_surrogates_are_those_of_redact(seed):
    spans = [("Ana Silva", NAME), (" 🐱 ", None), ("a.silva@x.de", EMAIL), (" ", None), ("bob77", USERNAME)]
    spans += [(" ", None), ("+49 170 123456", PHONE), ("\n\n", None), ("Bo Li", NAME), (" x", None)]
    document = document_of_spans(0, spans)
    settings = Redaction(mode="surrogate", seed=seed, mentions=False)
    text = document.full_text
    results = results_of(text, *((span, pii_type) for span, pii_type in spans if pii_type))
    assert (
        anonymized(text, results, seed=seed) == redact_document(document, document.labels, settings).document.full_text
    )


def test_with_a_key_a_person_keeps_the_name_in_all_texts():
    texts = ["Ana wrote", "I am Ana, again"]
    names = {
        anonymized(text, results_of(text, ("Ana", "PERSON")), seed=seed, key=b"a key of a test").split()[2 * seed]
        for seed, text in enumerate(texts)
    }
    assert len({name.strip(",") for name in names}) == 1


def test_neighbours_that_presidio_merges_are_all_replaced():
    """The anonymizer joins results of one entity with a space between; no e-mail address may survive in them."""
    text = "To ana.silva77@x.de bo@y.de Ana Silva Bo Li"
    spans = [("ana.silva77@x.de", EMAIL), ("bo@y.de", EMAIL), ("Ana Silva", NAME), ("Bo Li", NAME)]
    new = anonymized(text, results_of(text, *spans), seed=1)
    assert not re.search(r"ana|silva|bo\b|li\b|x\.de|y\.de", new, re.IGNORECASE)
    assert [("@" in word) for word in new.split()] == [False, True, True, False, False, False, False]


def test_presidios_own_recognizers_and_operators_work_beside(recognizer):
    text = "Ana paid with 4111 1111 1111 1111"
    results = analyzer_of(recognizer(), own=True).analyze(text, language="en", entities=[NAME, "CREDIT_CARD"])
    assert anonymized(text, results).endswith(" paid with <CREDIT_CARD>")


def test_without_presidio_the_error_says_what_to_install():
    hidden = "import sys; sys.modules.update(presidio_anonymizer=None)"  # spaCy itself imports the analyzer
    done = subprocess.run(
        [sys.executable, "-c", f"{hidden}; import pii_kit.redact.presidio"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode and "KitError" in done.stderr
    assert "pip install presidio-analyzer presidio-anonymizer" in done.stderr
