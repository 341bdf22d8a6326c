import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import make_document

from pii_kit.files import KitError
from pii_kit.labels import LABEL_TO_ID, LABELS, OUTSIDE_ID
from pii_kit.predict import Tagger
from pii_kit.redact.decisions import FORMAT, find_detections, fingerprint_texts, read_decisions


def scores_of(*tokens: tuple[float, str]) -> np.ndarray:
    """Return probabilities (token, label): for each token P(O), and the label that has the rest."""
    scores = np.zeros((len(tokens), len(LABELS)))
    for token, (outside, label) in enumerate(tokens):
        scores[token, OUTSIDE_ID] = outside
        scores[token, LABEL_TO_ID[label]] = 1 - outside
    return scores


def ensemble_with(*, by_type=(), rules=(), o_threshold=0.9):
    """An ensemble that decides, but has no taggers."""
    return Tagger((), o_threshold=o_threshold, rules=rules, thresholds=dict(by_type))


def found(text, *tokens, **decision):
    detections = find_detections(make_document(text), scores_of(*tokens), ensemble_with(**decision))
    return [(one.start, one.end, one.pii_type, one.is_suggestion) for one in detections]


def test_tokens_up_to_ten_times_less_likely_than_the_threshold_are_suggestions():
    """P(O) < .9 is PII, and P(PII) > .1 / 10 is suggested."""
    tokens = (0.89, "B-EMAIL"), (0.91, "B-EMAIL"), (0.989, "B-EMAIL"), (0.991, "B-EMAIL")
    assert found("a b c d", *tokens) == [(0, 1, "EMAIL", False), (1, 2, "EMAIL", True), (2, 3, "EMAIL", True)]


def test_a_type_has_its_own_threshold_for_suggestions_too():
    tokens = (0.4, "B-EMAIL"), (0.6, "B-EMAIL"), (0.96, "B-EMAIL"), (0.96, "B-ID_NUM")
    detections = found("a b c d", *tokens, by_type={"EMAIL": 0.5})
    assert detections == [(0, 1, "EMAIL", False), (1, 2, "EMAIL", True), (3, 4, "ID_NUM", True)]


def test_a_suggestion_beside_a_detection_is_a_span_of_its_own():
    tokens = (0.1, "B-NAME_STUDENT"), (0.95, "I-NAME_STUDENT")
    assert found("Ann Lee", *tokens) == [(0, 1, "NAME_STUDENT", False), (1, 2, "NAME_STUDENT", True)]


def test_rules_apply_and_punctuation_alone_is_not_suggested():
    tokens = (0.1, "B-NAME_STUDENT"), (0.95, "B-ID_NUM"), (0.1, "B-NAME_STUDENT")
    assert found("Ann - lee", *tokens, rules=("names_are_title_case",)) == [(0, 1, "NAME_STUDENT", False)]


def test_the_margin_is_that_of_the_least_certain_token():
    scores = scores_of((0.0, "B-NAME_STUDENT"), (0.5, "I-NAME_STUDENT"))
    [one] = find_detections(make_document("Ann Lee"), scores, ensemble_with())
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
        "-8": [span(0, 1), span(2, 3, "NAME_STUDENT", "rejected")],
    }
    labels, n_spans, n_undecided = read_decisions(decisions(tmp_path, documents, spans), documents)
    assert labels == [["O", "B-NAME_STUDENT", "I-NAME_STUDENT"], ["B-EMAIL", "O", "O"]]
    assert (n_spans, n_undecided) == (4, 1)


def test_adjacent_spans_of_one_type_stay_apart(tmp_path, documents):
    path = decisions(tmp_path, documents, {"7": [span(0, 1), span(1, 3)]})
    assert read_decisions(path, documents)[0][0] == ["B-EMAIL", "B-EMAIL", "I-EMAIL"]


def test_labels_of_the_documents_do_not_matter_but_tokens_and_numbers_do(tmp_path, documents):
    path = decisions(tmp_path, documents, {})
    labelled = [replace(document, labels=("B-EMAIL",) * 3) for document in documents]
    assert read_decisions(path, labelled)[1:] == (0, 0)
    for others in (documents[:1], documents[::-1], [documents[0], make_document("a@b.org is Bob", -8)]):
        with pytest.raises(KitError, match="other documents"):
            read_decisions(path, others)


@pytest.mark.parametrize(
    ("of_documents", "message"),
    [
        ([], "documents, which is an object"),
        ({"9": []}, "document 9: is not in the data"),
        ({"07": []}, "document 07: is not in the data"),
        ({"7": {}}, "document 7: expected a list"),
        ({"7": [span(), [0, 1]]}, "document 7: span 1: expected an object with"),
        ({"7": [{**span(), "text": "Ann"}]}, "document 7: span 0: expected an object with"),
        ({"7": [span(0, 4)]}, "document 7: span 0: start and end: .*end ≤ 3"),
        ({"7": [span(1, 1)]}, "start and end"),
        ({"7": [span(-1, 1)]}, "start and end"),
        ({"7": [span(False, 1)]}, "start and end"),
        ({"7": [span(0, 1.0)]}, "start and end"),
        ({"7": [span(pii_type="NAME")]}, "span 0: type: expected one of NAME_STUDENT"),
        ({"7": [span(pii_type=["EMAIL"])]}, "span 0: type"),
        ({"7": [span(decision="yes")]}, "span 0: decision: expected one of accepted"),
        ({"7": [span(0, 2), span(1, 3, decision="undecided")]}, "document 7: span 1: overlaps"),
        ({"7": [span(), span(decision="rejected")]}, "document 7: a span is there twice"),
    ],
)
def test_wrong_decisions_are_refused_with_file_document_and_span(tmp_path, documents, of_documents, message):
    with pytest.raises(KitError, match=message) as error:
        read_decisions(decisions(tmp_path, documents, of_documents), documents)
    assert str(error.value).startswith(str(tmp_path / "decisions.json")) and "Ann" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[" * 100000, "[]", "1", '{"format": "x"}', '{"a": 1, "a": 2}', "\ud800"])
def test_other_files_are_refused(tmp_path, documents, text):
    path = tmp_path / "decisions.json"
    path.write_text(text, errors="surrogatepass")
    with pytest.raises(KitError, match=r"decisions\.json: not"):
        read_decisions(path, documents)
    path.unlink()
    with pytest.raises(KitError, match="no such file"):
        read_decisions(path, documents)


def test_unknown_fields_of_the_file_are_refused(tmp_path, documents):
    with pytest.raises(KitError, match="expected the fields"):
        read_decisions(decisions(tmp_path, documents, {}, note="x"), documents)
