"""The floor of patterns: what it finds whole, what it leaves alone, and in linear time."""

import time
from itertools import pairwise

import pytest

from pii_kit import Tagger, patterns
from pii_kit.labels import PII_TYPES

NAME, EMAIL, USERNAME, ID, PHONE, URL, ADDRESS = PII_TYPES


@pytest.mark.parametrize(
    ("found", "pii_type"),
    [
        ("lena.ott+7@uni-x.ac.uk", EMAIL), ("lena＠example．com", EMAIL), ("lena[at]example[dot]com", EMAIL),
        ("lena (at) example.com", EMAIL), ("lena.ott@example dot com", EMAIL), ("lenaott at example dot org", EMAIL),
        ("lena dot ott at mail dot example dot com", EMAIL), ("lena {AT} example {DOT} de", EMAIL),
        ("@lena_ott", USERNAME), ("@lena.ott7", USERNAME),
        ("219-45-6021", ID), ("GB82 WEST 1234 5698 7654 32", ID), ("DE89370400440532013000", ID),
        ("4111 1111 1111 1111", ID), ("378282246310005", ID),
        ("312-555-0187", PHONE), ("(415) 555-0134", PHONE), ("1-800-555-0199", PHONE), ("415.555.0134 ext. 22", PHONE),
        ("415\u2011555\u20110134", PHONE), ("312-555-0187x40", PHONE), ("+44 20 7946 0958", PHONE),
        ("+49 (170) 123-4567", PHONE), ("+14155550134", PHONE),
        ("77 Birch Hollow Rd, Salem, OR 97301", ADDRESS), ("9 E 3rd St", ADDRESS), ("12 Elm Street, Apt 4", ADDRESS),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["{}", "So {}, then", "See:{};", "({})", "\n{}\n"])
def test_what_is_certain_is_found_whole(found, pii_type, form):
    text = form.format(found)
    assert [(text[start:end], kind) for start, end, kind in patterns.find(text)] == [(found, pii_type)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Call me at 0171 5550123", "0171 5550123"), ("WhatsApp: 98765 43210", "98765 43210"),
        ("The card reads 730514928861", "730514928861"), ("student number AB-204188", "AB-204188"),
        ("SSN 219 45 6021", "219 45 6021"), ("Our flat on Birch Lane is small", "Birch Lane"),
        ("I live at Elm Close", "Elm Close"),
    ],
)  # fmt: skip
def test_words_before_a_number_or_a_street_make_it_certain(text, found):
    assert [text[start:end] for start, end, _ in patterns.find(text)] == [found]


def test_addresses_that_are_glued_are_two():
    for sign in ";,/|":
        assert len(patterns.find(f"a.ray@example.com{sign}b.roy@sample.org")) == 2


@pytest.mark.parametrize(
    "text",
    [
        "Look at the dot com bubble; meet me at example.com", "ISBN 978-3-16-148410-0, DOI 10.1000/182",
        "In 2010 Wall Street fell by 5 points", "mobile phones 2019-2020, version 1.2.3.4 of 2019-04-11",
        "GB82 WEST 1234 5698 7654 33", "4111 1111 1111 1112", "a student population of 1,200,000", "000-12-3456",
        "@gmail.com and a @ b", "We had 3 Way calls in Room 12", "from 100-200 to 3000 people at 10:30", "1 000 000 km",
    ],
)  # fmt: skip
def test_ordinary_text_is_left_alone(text):
    assert patterns.find(text) == []


@pytest.mark.parametrize(
    "unit",
    ["a", "_", "(", "+", "@", "1", "1 ", "1-", "a@", "dot ", "a dot ", "at ", "+1", "A ", "AB12", "1 A St, ", "call ",
     "id ", "[at]", "a.", "x@a.", "9 E 3rd ", "live on ", "€", "\u200b", "🐱"],
)  # fmt: skip
def test_time_is_linear_in_the_length(unit):
    began = time.perf_counter()
    patterns.find(unit * (80_000 // len(unit)))
    assert time.perf_counter() - began < 3


def test_a_tagger_reports_what_only_a_pattern_finds():
    """Its source says so; nothing that the model found is reported twice."""
    text = "My name is Ana Silva. Reach me: ana dot silva at example dot com"
    spans = Tagger.load().label(text)
    assert [(span.text, span.source) for span in spans if span.type == EMAIL] == [
        ("ana dot silva at example dot com", "pattern")
    ]
    assert ("Ana Silva", "model") in [(span.text, span.source) for span in spans]
    assert all(one.end <= other.start for one, other in pairwise(spans))
