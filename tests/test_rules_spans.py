import numpy as np
import pytest
from conftest import make_document
from test_decide import probabilities

from pii_kit.data import Document
from pii_kit.rules_spans import fill_address_gaps, one_type_per_span, rebuild_boundaries, whitespace_is_outside

NAME = ["B-NAME_STUDENT", "I-NAME_STUDENT"]
ADDRESS = ["B-STREET_ADDRESS", "I-STREET_ADDRESS"]


def document_of(*tokens: str) -> Document:
    spaces = (False,) * len(tokens)
    return Document(document=1, full_text="".join(tokens), tokens=tokens, trailing_whitespace=spaces)


def test_mixed_types_of_a_span_become_the_likelier_one():
    scores = probabilities({"B-ID_NUM": 0.5}, {"I-PHONE_NUM": 0.9}, {"I-ID_NUM": 0.2, "I-PHONE_NUM": 0.1})
    labels = ["B-ID_NUM", "B-PHONE_NUM", "B-ID_NUM"]
    assert one_type_per_span(None, labels, scores) == ["B-PHONE_NUM", "I-PHONE_NUM", "I-PHONE_NUM"]


def test_a_number_right_behind_a_name_stays_a_number():
    scores = probabilities({"B-NAME_STUDENT": 0.9}, {"I-NAME_STUDENT": 0.9}, {"B-ID_NUM": 0.5, "I-ID_NUM": 0.2})
    assert one_type_per_span(None, [*NAME, "B-ID_NUM"], scores) == [*NAME, "B-ID_NUM"]


def test_types_with_an_o_between_stay_two():
    scores = probabilities({"B-NAME_STUDENT": 0.9}, {}, {"I-EMAIL": 0.5})
    assert one_type_per_span(None, [NAME[0], "O", "B-EMAIL"], scores) == [NAME[0], "O", "B-EMAIL"]


def test_a_span_of_one_type_keeps_its_boundaries():
    labels = ["B-NAME_STUDENT", "B-NAME_STUDENT"]
    assert one_type_per_span(None, labels, np.zeros((2, 15))) == labels


def test_neighbours_of_one_type_are_one_entity_after_rebuilding():
    assert rebuild_boundaries(None, [NAME[0], NAME[0], NAME[1]], None) == [*NAME, NAME[1]]


def test_rebuilding_leaves_other_types_and_gaps_apart():
    labels = ["B-NAME_STUDENT", "B-EMAIL", "O", "B-EMAIL"]
    assert rebuild_boundaries(None, labels, None) == labels


@pytest.mark.parametrize("gap", ["\n", "\n\n", "  ", "\xa0"])
def test_whitespace_in_a_name_is_outside_and_what_follows_begins_anew(gap):
    document = document_of("Anna", gap, "Berg")
    assert whitespace_is_outside(document, [*NAME, NAME[1]], None) == ["B-NAME_STUDENT", "O", "B-NAME_STUDENT"]


def test_whitespace_inside_an_address_stays_and_round_it_goes():
    document = document_of("\n", "Elm", "\n", "Lundville", "\n", "Anna")
    labels = [ADDRESS[0], *[ADDRESS[1]] * 4, "B-NAME_STUDENT"]
    expected = ["O", ADDRESS[0], ADDRESS[1], ADDRESS[1], "O", "B-NAME_STUDENT"]
    assert whitespace_is_outside(document, labels, None) == expected


def test_whitespace_alone_is_no_address():
    assert whitespace_is_outside(document_of("\n", " "), ADDRESS, None) == ["O", "O"]


@pytest.mark.parametrize("gap", [1, 2])
def test_a_small_gap_in_an_address_is_filled(gap):
    labels = [*ADDRESS, *["O"] * gap, *ADDRESS]
    assert fill_address_gaps(None, labels, None) == [ADDRESS[0], *[ADDRESS[1]] * (gap + 3)]


@pytest.mark.parametrize(
    "labels",
    [
        [*ADDRESS, "O", "O", "O", *ADDRESS],
        [*ADDRESS, "O", "B-NAME_STUDENT", *ADDRESS],
        [*NAME, "O", *NAME],
        [*NAME, "O", *ADDRESS],
        ["O", *ADDRESS, "O"],
    ],
)
def test_other_gaps_stay(labels):
    assert fill_address_gaps(make_document("x"), labels, None) == labels
