import numpy as np
import pytest
from conftest import make_document

from pii_kit.data import Document
from pii_kit.decide import decide, repair_bio
from pii_kit.files import KitError
from pii_kit.labels import LABELS, PII_TYPES, spans_of
from pii_kit.report.baselines import label_with_patterns
from pii_kit.rules import RULES, apply_rules, label_span

TEXT = """By: Anna Berg-Lund

A plan of Dr. Anna Berg   and Maria da Silva.\tWrite to anna@lund.org or call +91 98765 43210, 555-123-4567.
12 Elm Street,
Lundville
ID 123-45-6789, see http://www.berg-lund.com/app/tagsabout.php or https://www.coursera.org/learn/x
Then Anna and J. Berg met Maria da Silva and Anna\x20\x20
Lund. So Ulla told Ulla that Ulla , Ulla and Ulla know Ulla , and Ulla knows Ulla .

Submitted by Maria Silva"""
BLANK = np.zeros((0, len(LABELS)), dtype=np.float32)


def dice(seed: int, document: Document) -> tuple[list[str], np.ndarray]:
    """Random probabilities, and labels: what is decided from them, or dice for each token, or for each likely span."""
    n_tokens = len(document.tokens)
    rng = np.random.default_rng(seed)
    alpha = np.full(len(LABELS), 0.15)
    alpha[0], alpha[1:3] = 1.0, 0.4
    scores = rng.dirichlet(alpha, size=n_tokens).astype(np.float32)
    if seed % 3 == 0:
        return decide(scores, o_threshold=0.7), scores
    if seed % 3 == 1:
        labels = ["O"] * n_tokens
        for first, end, pii_type in spans_of(label_with_patterns(document)):
            if rng.random() < 0.6:
                label_span(labels, first, end, pii_type if rng.random() < 0.6 else rng.choice(PII_TYPES))
        return labels, scores
    weights = np.array([8, 6, 6] + [1] * (len(LABELS) - 3))
    return repair_bio([LABELS[i] for i in rng.choice(len(LABELS), size=n_tokens, p=weights / weights.sum())]), scores


@pytest.mark.parametrize("name", RULES)
def test_a_rule_leaves_valid_labels_and_its_input_alone_and_is_done_at_once(name):
    document = make_document(TEXT)
    for seed in range(45):
        labels, scores = dice(seed, document)
        labels_before, scores_before = list(labels), scores.copy()
        result = RULES[name](document, labels, scores)
        assert labels == labels_before
        assert np.array_equal(scores, scores_before)
        assert result is not labels
        assert len(result) == len(labels) and set(result) <= set(LABELS)
        assert repair_bio(result) == result
        assert RULES[name](document, result, scores) == result


@pytest.mark.parametrize("name", RULES)
def test_every_rule_has_something_to_do_in_some_essay(name):
    document = make_document(TEXT)
    results = (dice(seed, document) for seed in range(45))
    assert any(RULES[name](document, labels, scores) != labels for labels, scores in results)


@pytest.mark.parametrize("name", RULES)
def test_an_essay_without_tokens_has_no_labels(name):
    assert RULES[name](make_document(""), [], BLANK) == []


@pytest.mark.parametrize("name", RULES)
def test_a_rule_says_why_it_is_there(name):
    assert RULES[name].__name__ == name
    assert len(RULES[name].__doc__) > 40


@pytest.mark.parametrize(
    "text", ["Hope is a plan. We met in May 2019 and drew 12-3 lines; see figure 4.", " \n\n ", "By"]
)
def test_an_essay_without_pii_stays_so(text):
    document = make_document(text)
    labels = ["O"] * len(document.tokens)
    scores = np.tile(np.eye(len(LABELS), dtype=np.float32)[0], (len(labels), 1))
    assert apply_rules(document, labels, scores, list(RULES)) == labels


def test_rules_are_applied_in_their_own_order():
    document = make_document("Call 555 123 4567 now")
    scores = np.zeros((len(document.tokens), len(LABELS)), dtype=np.float32)
    labels = ["O", "B-PHONE_NUM", "I-PHONE_NUM", "I-ID_NUM", "O"]
    names = ["rebuild_boundaries", "long_digits_are_ids", "fill_address_gaps", "id_length"]
    once = apply_rules(document, labels, scores, names)
    assert once == apply_rules(document, labels, scores, names[::-1])
    for name in (name for name in RULES if name in names):
        labels = RULES[name](document, labels, scores)
    assert once == labels


def test_no_rules_change_nothing():
    labels = ["B-EMAIL"]
    result = apply_rules(make_document("anna"), labels, np.zeros((1, len(LABELS))), [])
    assert result == labels and result is not labels
    assert apply_rules(make_document("anna"), labels, np.zeros((1, len(LABELS))), ["emails_have_at"]) == ["O"]


def test_an_unknown_rule_is_named_with_those_that_there_are():
    with pytest.raises(KitError, match=r"'emails_have_ad': no such rule; there are .*emails_have_at"):
        apply_rules(make_document(""), [], BLANK, ["emails_have_at", "emails_have_ad"])
