import numpy as np
import pytest
from conftest import make_document

from pii_kit.data import Document
from pii_kit.labels import LABEL_TO_ID, LABELS
from pii_kit.rules_names import (
    MIN_EXTENSION_PROBABILITY,
    extend_names,
    names_are_title_case,
    propagate_name_parts,
    propagate_names,
)
from pii_kit.rules_spans import label_span

SHORT = {"O": "O", "B-NAME_STUDENT": "B", "I-NAME_STUDENT": "I", "B-EMAIL": "E"}


def labelled(document: Document, *spans: tuple[int, int]) -> list[str]:
    labels = ["O"] * len(document.tokens)
    for first, end in spans:
        label_span(labels, first, end, "NAME_STUDENT")
    return labels


def named(rule, text: str, *spans: tuple[int, int], likely=(), share=2 * MIN_EXTENSION_PROBABILITY) -> str:
    """What a rule makes of names at some tokens: a letter a token. `likely` tokens are names by a small share."""
    document = make_document(text)
    scores = np.zeros((len(document.tokens), len(LABELS)), dtype=np.float32)
    for index, token in enumerate(document.tokens):
        scores[index, LABEL_TO_ID["I-NAME_STUDENT"]] = share if token in likely else 0
    return "".join(SHORT[label] for label in rule(document, labelled(document, *spans), scores))


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("Anna Berg", "BI"),
        ("ANNA O'HARA", "BI"),
        ("Anna J. Berg", "BII"),
        ("Anna Berg-Lund", "BIII"),
        ("Maria da Silva", "BII"),
        ("Maria de la Cruz", "BIII"),
        ("Ayşe Öztürk", "BI"),
        ("Dr. Anna Berg", "OBI"),
        ("By Anna", "OB"),
        ("Mrs Professor", "OO"),
        ("anna berg", "OO"),
        ("Anna_B Berg2", "OO"),
        ("Anna met Berg", "BOB"),
        ("da Silva", "OB"),
        ("Silva da", "BO"),
        ("Anna, Berg", "BOB"),
    ],
)
def test_only_name_words_and_what_joins_them_are_names(text, result):
    assert named(names_are_title_case, text, (0, len(result))) == result


def test_other_types_need_no_title_case():
    document = make_document("anna@lund.org")
    assert names_are_title_case(document, ["B-EMAIL"], None) == ["B-EMAIL"]


@pytest.mark.parametrize(
    ("text", "spans", "result"),
    [
        ("Anna Berg went. So Anna Berg came", [(0, 2)], "BIOOOBIO"),
        ("Anna Berg went. So ANNA BERG came", [(0, 2)], "BIOOOBIO"),
        ("Maria da Silva, not Maria da Silva", [(0, 3)], "BIIOOBII"),
        ("Anna Berg went. So Anna Berg came", [(0, 2), (6, 7)], "BIOOOBIO"),
        ("Anna Berg went. So anna berg came", [(0, 2)], "BIOOOOOO"),
        ("Anna Berg went. So Anna came", [(0, 2)], "BIOOOOO"),
        ("Anna went. So Anna came", [(0, 1)], "BOOOOO"),
        ("our plan went. So Our Plan came", [(0, 2)], "BIOOOOOO"),
        ("Anna Berg and Anna Berg Lund", [(0, 2), (3, 6)], "BIOBII"),
        ("Anna Berg and Anna\n\nBerg", [(0, 2)], "BIOOOO"),
    ],
)
def test_full_names_spread_through_the_essay(text, spans, result):
    assert named(propagate_names, text, *spans) == result


def test_a_name_does_not_spread_over_another_type():
    document = make_document("Anna Berg, Anna Berg")
    labels = [*labelled(document, (0, 2))[:3], "B-EMAIL", "O"]
    assert propagate_names(document, labels, None) == labels


def test_a_name_that_spreading_completes_spreads_too():
    text = "Anna Berg, Berg Lund, Anna Berg Lund"
    assert named(propagate_names, text, (0, 2), (3, 5)) in ("BIOBIOBII", "BIOBIOBIB")


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("Anna Berg: today Anna went", "BIOOBO"),
        ("Anna Berg: he met Berg.", "BIOOOBO"),
        ("Anna Berg: yes, then. Then Anna went", "BIOOOOOOBO"),
        ("Anna Berg: yes. Jon Berg went", "BIOOOOOO"),
        ("Anna Berg: today Anna\n\nHope", "BIOOBOO"),
        ("Anna Berg: the berg and Berg", "BIOOOOO"),
        ("Anna Berg: with Anna Lund", "BIOOOO"),
        ("Anna Berg: for Jon Berg.", "BIOOOOO"),
        ("Anna Berg: asked Professor Berg.", "BIOOOOO"),
        ("Anna Berg: asked Dr. Berg.", "BIOOOOO"),
        ("Anna Berg: asked BERG.", "BIOOOO"),
        ("Al Berg: then Al went", "BIOOOO"),
        ("June Berg: in June.", "BIOOOO"),
    ],
)
def test_a_part_of_a_name_spreads_where_it_stands_alone(text, result):
    assert named(propagate_name_parts, text, (0, 2)) == result


def test_a_name_of_one_word_does_not_spread():
    assert named(propagate_name_parts, "Rose went. A Rose", (0, 1)) == "BOOOO"


@pytest.mark.parametrize(
    ("text", "spans", "result"),
    [
        ("for Anna Berg today", [(1, 2)], "OBIO"),
        ("for Anna Berg today", [(2, 3)], "OBIO"),
        ("for Anna Berg Lund today", [(1, 2)], "OBIIO"),
        ("Anna Berg Lund", [(0, 1), (2, 3)], "BII"),
        ("Anna Berg-Lund", [(0, 2)], "BIII"),
        ("Berg-Lund", [(2, 3)], "BII"),
        ("for Anna and Berg", [(1, 2)], "OBOO"),
        ("Anna\n\nBerg", [(0, 1)], "BOO"),
        ("for Anna berg today", [(1, 2)], "OBOO"),
        ("Dr Anna", [(1, 2)], "OB"),
        ("Berg today", [], "OO"),
    ],
)
def test_a_likely_neighbour_joins_a_name(text, spans, result):
    assert named(extend_names, text, *spans, likely={"Anna", "Berg", "Lund", "berg", "Dr", "today"}) == result


def test_an_unlikely_neighbour_does_not_join_a_name():
    share = MIN_EXTENSION_PROBABILITY / 2
    assert named(extend_names, "for Anna Berg today", (1, 2), likely={"Berg"}, share=share) == "OBOO"


@pytest.mark.parametrize(
    ("text", "spans", "result"),
    [
        ("Anna-Berg", [(0, 1), (2, 3)], "BII"),
        ("Anna - Berg", [(0, 1), (2, 3)], "BOB"),
        ("Anna, Berg", [(0, 1), (2, 3)], "BOB"),
        ("Anna-like", [(0, 1)], "BOO"),
    ],
)
def test_a_hyphen_between_two_name_tokens_joins_them(text, spans, result):
    assert named(extend_names, text, *spans) == result


def test_the_full_stop_of_an_initial_joins_and_that_of_a_sentence_does_not():
    for first, result in (("J", "BII"), ("Jon", "BOB")):
        tokens = (first, ".", "Berg")
        document = Document(
            document=1, full_text=f"{first}. Berg", tokens=tokens, trailing_whitespace=(False, True, False)
        )
        labels = extend_names(document, labelled(document, (0, 1), (2, 3)), np.zeros((3, len(LABELS))))
        assert "".join(SHORT[label] for label in labels) == result


def test_a_neighbour_of_another_type_keeps_it():
    document = make_document("Anna Berg")
    scores = np.full((2, len(LABELS)), 0.5)
    assert extend_names(document, ["B-NAME_STUDENT", "B-EMAIL"], scores) == ["B-NAME_STUDENT", "B-EMAIL"]
