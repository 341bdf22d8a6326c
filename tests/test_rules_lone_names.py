import numpy as np
import pytest
from conftest import make_document

from pii_kit.labels import LABEL_TO_ID
from pii_kit.rules_lone_names import propagate_lone_names


def spread(text: str, found: dict[int, float]) -> list[int]:
    """The tokens labelled as names after the rule, where those at `found` were names before, with so much P(O)."""
    document = make_document(text)
    labels = ["B-NAME_STUDENT" if i in found else "O" for i in range(len(document.tokens))]
    scores = np.zeros((len(labels), 15), dtype=np.float32)
    scores[:, 0] = 1
    for token, outside in found.items():
        scores[token, [0, LABEL_TO_ID["B-NAME_STUDENT"]]] = outside, 1 - outside
    return [i for i, label in enumerate(propagate_lone_names(document, labels, scores)) if label != "O"]


def test_a_sure_name_of_one_word_is_a_name_wherever_it_stands():
    assert spread("I am Anna and they asked Anna twice", {2: 0.001}) == [2, 6]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("I am Anna and they asked Anna twice", {2: 0.1}),
        ("I am Hope and I hope that Hope wins", {2: 0.001}),
        ("I am Jo and they asked Jo twice", {2: 0.001}),
        ("I am ANNA and they asked ANNA twice", {2: 0.001}),
        ("I am Anna and they asked anna twice", {2: 0.001}),
    ],
    ids=["unsure", "a word too", "short", "capitals", "lower case"],
)
def test_others_do_not_spread(text, found):
    assert spread(text, found) == list(found)


def test_a_part_of_a_full_name_is_no_lone_name():
    document = make_document("Anna Berg asked Anna")
    labels = ["B-NAME_STUDENT", "I-NAME_STUDENT", "O", "O"]
    assert propagate_lone_names(document, labels, np.zeros((4, 15), dtype=np.float32)) == labels
