import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import make_document

from pii_kit.files import KitError
from pii_kit.labels import LABEL_TO_ID, LABELS, OUTSIDE_ID
from pii_kit.predict import Tagger
from pii_kit.redact.review import FORMAT, find_detections, fingerprint_texts, read_decisions


def scores_of(*tokens: tuple[float, str]) -> np.ndarray:
    """Return probabilities (token, label): for each token P(O), and the label that has the rest."""
    scores = np.zeros((len(tokens), len(LABELS)))
    for token, (outside, label) in enumerate(tokens):
        scores[token, OUTSIDE_ID] = outside
        scores[token, LABEL_TO_ID[label]] = 1 - outside
    return scores


def found(text, *tokens, thresholds=(), rules=()):
    tagger = Tagger(members=(), o_threshold=0.9, rules=rules, thresholds=dict(thresholds))
    detections = find_detections(make_document(text), scores_of(*tokens), tagger)
    return [(one.start, one.end, one.pii_type, one.is_suggestion) for one in detections]


def test_tokens_up_to_ten_times_less_likely_than_the_threshold_are_suggestions():
    """P(O) < .9 is PII, and P(PII) > .1 / 10 is suggested; a type may have its own threshold."""
    tokens = (0.89, "B-EMAIL"), (0.91, "B-EMAIL"), (0.989, "B-EMAIL"), (0.991, "B-EMAIL")
    assert found("a b c d", *tokens) == [(0, 1, "EMAIL", False), (1, 2, "EMAIL", True), (2, 3, "EMAIL", True)]
    tokens = (0.4, "B-EMAIL"), (0.6, "B-EMAIL"), (0.96, "B-EMAIL"), (0.96, "B-ID_NUM")
    detections = found("a b c d", *tokens, thresholds={"EMAIL": 0.5})
    assert detections == [(0, 1, "EMAIL", False), (1, 2, "EMAIL", True), (3, 4, "ID_NUM", True)]


def test_a_suggestion_beside_a_detection_is_a_span_of_its_own_and_punctuation_is_none():
    tokens = (0.1, "B-NAME_STUDENT"), (0.95, "I-NAME_STUDENT"), (0.95, "B-ID_NUM")
    assert found("Ann Lee -", *tokens) == [(0, 1, "NAME_STUDENT", False), (1, 2, "NAME_STUDENT", True)]


def test_what_a_rule_removes_is_suggested_unless_the_model_is_sure():
    tokens = (0.1, "B-NAME_STUDENT"), (0.01, "B-NAME_STUDENT"), (1.0, "B-EMAIL")
    expected = [(0, 1, "NAME_STUDENT", True), (1, 2, "NAME_STUDENT", False)]
    assert found("ann lee Wrote", *tokens, rules=("names_are_title_case",)) == expected


def test_what_patterns_find_is_a_detection():
    tokens = (1.0, "B-EMAIL"), (1.0, "B-EMAIL"), (1.0, "B-EMAIL"), (0.1, "B-EMAIL")
    assert found("Write ken@example.com, b@c.de", *tokens) == [(1, 2, "EMAIL", False), (3, 4, "EMAIL", False)]


def test_the_margin_is_that_of_the_least_certain_token():
    scores = scores_of((0.0, "B-NAME_STUDENT"), (0.5, "I-NAME_STUDENT"))
    [one] = find_detections(make_document("Ann Lee"), scores, Tagger(members=(), o_threshold=0.9, rules=()))
    assert one.chance == 0.5 and one.margin == pytest.approx(np.log(9))  # odds of 1 and of 9


@pytest.fixture
def documents():
    return [make_document("Hi Ann Lee", 7), make_document("a@b.org is Ann", -8)]


def span(start=0, end=1, pii_type="EMAIL", decision="accepted") -> dict:
    return {"start": start, "end": end, "type": pii_type, "decision": decision}


def decisions(tmp_path, documents, of_documents, **changes):
    content = {"format": FORMAT, "data": fingerprint_texts(documents), "documents": of_documents, **changes}
    (tmp_path / "decisions.json").write_text(json.dumps(content))
    return tmp_path / "decisions.json"


def test_accepted_and_undecided_spans_become_labels_and_rejected_ones_do_not(tmp_path, documents):
    spans = {
        "7": [span(1, 3, "NAME_STUDENT", "undecided"), span(2, 3, "ID_NUM", "rejected")],
        "-8": [span(0, 1), span(1, 3)],
    }
    labels, n_spans, n_undecided = read_decisions(decisions(tmp_path, documents, spans), documents)
    assert labels == [["O", "B-NAME_STUDENT", "I-NAME_STUDENT"], ["B-EMAIL", "B-EMAIL", "I-EMAIL"]]
    assert (n_spans, n_undecided) == (4, 1)


def test_decisions_are_of_the_same_essays_but_do_not_give_them_back(tmp_path, documents):
    """Numbers, lengths and ordinary words are compared: whoever tries names against the digest learns nothing."""
    path = decisions(tmp_path, documents, {})
    labelled = [replace(document, labels=("B-EMAIL",) * 3) for document in documents]
    assert read_decisions(path, labelled)[1:] == (0, 0)
    for others in (documents[:1], documents[::-1], [documents[0], make_document("a@b.org was Ann", -8)]):
        with pytest.raises(KitError, match="other documents"):
            read_decisions(path, others)
    assert fingerprint_texts([make_document("Hi Ann Lee")]) == fingerprint_texts([make_document("Hi Bo Kim")])


@pytest.mark.parametrize(
    ("of_documents", "message"),
    [
        ([], "documents: "),
        ({"9": []}, "document 9: is not in the data"),
        ({"7": [span(), [0, 1]]}, r"documents\.7\.1: "),
        ({"7": [{**span(), "text": "Ann"}]}, r"documents\.7\.0\.text: "),
        ({"7": [span(0, 4)]}, "document 7: span 0: .*end ≤ 3"),
        ({"7": [span(1, 1)]}, "0 ≤ start < end"),
        ({"7": [span(pii_type="NAME")]}, r"documents\.7\.0\.type: .*'NAME_STUDENT'"),
        ({"7": [span(0, 2), span(1, 3, decision="undecided")]}, "document 7: span 1: overlaps"),
    ],
)
def test_wrong_decisions_are_refused_with_file_document_and_span(tmp_path, documents, of_documents, message):
    with pytest.raises(KitError, match=message) as error:
        read_decisions(decisions(tmp_path, documents, of_documents), documents)
    assert str(error.value).startswith(str(tmp_path / "decisions.json")) and "Ann" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[" * 100000, "[]", "1", '{"format": "x"}', "\ud800"])
def test_other_files_are_refused(tmp_path, documents, text):
    path = tmp_path / "decisions.json"
    path.write_text(text, errors="surrogatepass")
    with pytest.raises(KitError, match=r"decisions\.json: .*expected what the review page of this version saves"):
        read_decisions(path, documents)
    path.unlink()
    with pytest.raises(KitError, match="no such file"):
        read_decisions(path, documents)
