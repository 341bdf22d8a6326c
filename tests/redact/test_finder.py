"""Finding strings, against a slow search with one regular expression for each string."""

import re

from hypothesis import given
from hypothesis import strategies as st

from pii_kit.redact.finder import Finder, fold

WORDS = st.sampled_from(["ana", "Ana", "ANA", "Anas", "José", "jose", "silva", "li", "x1", "12"])
GAPS = st.sampled_from([" ", "\n ", "-", ", ", "_", "."])


@st.composite
def texts(draw, least=1, most=12):
    """Words with gaps between them."""
    text = draw(WORDS)
    for _ in range(draw(st.integers(least, most)) - 1):
        text += draw(GAPS) + draw(WORDS)
    return text


def slow(strings, text):
    """Return the places of strings as whole words, without casing and accents; any whitespace stands for a space."""
    found = set()
    for string in strings:
        body = r"\s+".join(map(re.escape, re.split(r"\s+", fold(string))))
        pattern = re.compile(rf"(?<![^\W_])(?={body}(?![^\W_]))")
        for match in pattern.finditer(fold(text)):
            found.add((match.start(), match.start() + re.match(body, fold(text)[match.start() :]).end(), string))
    return found


@given(st.lists(texts(most=3), min_size=1, max_size=4), texts())
def test_all_strings_are_found_as_the_slow_search_finds_them(strings, text):
    assert set(Finder(strings, least=1).find(text)) == slow(strings, text)


def test_a_loose_finder_takes_anything_between_the_words_but_letters_and_digits():
    assert [place[:2] for place in Finder(["Ana Silva"], loose=True).find("ana-\u200fSILVA, anaSilva, Ana_Silva")] == [
        (0, 10),
        (22, 31),
    ]


def test_a_string_takes_its_outer_signs_along_where_they_are_there():
    assert list(Finder(["(Ana)"]).find("x (ana) ana")) == [(2, 7, "(Ana)"), (8, 11, "(Ana)")]


def test_two_letter_names_are_found_in_their_own_casing_only():
    assert [start for start, *_ in Finder(["Li", "li"]).find("Li li LI")] == [0]
