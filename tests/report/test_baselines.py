import pytest
from conftest import make_document

from pii_kit.labels import PII_TYPES
from pii_kit.report.baselines import PATTERNS, label_with_patterns

FOUND = [
    ("NAME_STUDENT", "Ann Lee\n\nTea is good.", ["Ann", "Lee"]),
    ("NAME_STUDENT", "An essay by Ann B. Lee for class.", ["Ann", "B.", "Lee"]),
    ("NAME_STUDENT", "My name is Ann Lee, hello.", ["Ann", "Lee"]),
    ("EMAIL", "Write to ann.lee@mail.org, please.", ["ann.lee@mail.org"]),
    ("USERNAME", "My user name: ann_lee92 for now.", ["ann_lee92"]),
    ("USERNAME", "My handle @ann_92 is old.", ["@ann_92"]),
    ("ID_NUM", "My number is 860407216.", ["860407216"]),
    ("ID_NUM", "The number AB-1234567 was mine.", ["AB-1234567"]),
    ("PHONE_NUM", "Call (555) 010-9999 now.", ["(", "555", ")", "010", "-", "9999"]),
    ("PHONE_NUM", "Call +1 555 010 9999 now.", ["+1", "555", "010", "9999"]),
    ("URL_PERSONAL", "See https://annlee.me/blog.", ["https://annlee.me/blog"]),
    ("URL_PERSONAL", "See www.annlee.me/blog, please.", ["www.annlee.me/blog"]),
    ("STREET_ADDRESS", "I live at 12 Oak Street, Leeds\nand like tea.", ["12", "Oak", "Street", ",", "Leeds"]),
]

NOT_PII = [
    "In 2015, 1,000,000 people read 7 books; chapter 3.2 and 50% of it were new.",
    "The Student Handbook was written by experts in Design Thinking.",
    "We met @ noon. My user was happy, and I can handle it.",
    "A line without a name\n\nand another one",
    "   \n\n\t",
]


@pytest.mark.parametrize(("pii_type", "text", "tokens"), FOUND)
def test_a_pattern_labels_every_token_of_what_it_finds_and_no_other(pii_type, text, tokens):
    document = make_document(text)
    labels = label_with_patterns(document)
    assert len(labels) == len(document.tokens)
    expected = [(tokens[0], f"B-{pii_type}")] + [(token, f"I-{pii_type}") for token in tokens[1:]]
    assert [pair for pair in zip(document.tokens, labels, strict=True) if pair[1] != "O"] == expected


def test_every_type_has_a_pattern_and_a_case_above():
    assert set(PATTERNS) == {pii_type for pii_type, *_ in FOUND} == set(PII_TYPES)


@pytest.mark.parametrize("text", NOT_PII)
def test_ordinary_prose_is_not_called_pii(text):
    document = make_document(text)
    assert label_with_patterns(document) == ["O"] * len(document.tokens)


def test_an_empty_document_has_no_labels():
    assert label_with_patterns(make_document("")) == []


@pytest.mark.parametrize(
    ("first", "second", "text", "token"),
    [
        ("EMAIL", "URL_PERSONAL", "Write to ann@www.lee.org/blog today", "ann@www.lee.org/blog"),
        ("URL_PERSONAL", "ID_NUM", "See www.annlee.me/12345678 today", "www.annlee.me/12345678"),
        ("EMAIL", "STREET_ADDRESS", "12 Oak Street, Leeds, ann@mail.org", "ann@mail.org"),
    ],
)
def test_of_two_patterns_that_match_a_token_the_first_keeps_it(first, second, text, token):
    assert PATTERNS[first].search(text) and PATTERNS[second].search(text)
    document = make_document(text)
    labels = dict(zip(document.tokens, label_with_patterns(document), strict=True))
    assert labels[token] == f"B-{first}"
