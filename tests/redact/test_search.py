"""Finding strings, against a slow search of one word sequence at a time, and folding worked by hand."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pii_kit.labels import ID_NUM, NAME_STUDENT, PHONE_NUM
from pii_kit.redact.search import Finder, fold, fold_with_places, identity_of, name_words, national

WORDS = st.sampled_from(
    ["ana", "Ana", "ANA", "Anas", "José", "jose", "silva", "x12", "123456", "Jose\u0301", "Groß", "gross"]
)
GAPS = st.sampled_from([" ", "\n ", "-", ", ", "_", "."])


@st.composite
def texts(draw, least=1, most=12):
    """Words with gaps between them."""
    text = draw(WORDS)
    for _ in range(draw(st.integers(least, most)) - 1):
        text += draw(GAPS) + draw(WORDS)
    return text


def plain(text: str) -> str:
    for old, new in (("é", "e"), ("\u0301", ""), ("ß", "ss")):
        text = text.lower().replace(old, new)
    return text


def places_of(text: str) -> list[int]:
    """The place in the text of each character of the plain one."""
    return [place for place, c in enumerate(text) for _ in plain(c)] + [len(text)]


@given(st.lists(texts(most=3), min_size=1, max_size=4), texts())
def test_strings_are_found_as_a_slow_search_finds_them(strings, text):
    """All places that the search reports are right, and every place of the slow search is at least touched."""
    found = [
        (start, end) for start, end, _ in Finder((string, ID_NUM) for string in strings).find(fold_with_places(text))
    ]
    slow, places = set(), places_of(text)
    for string in strings:
        body = r"\s+".join(map(re.escape, plain(string).split()))
        for match in re.finditer(rf"(?<![^\W_])(?=({body})(?![^\W_]))", plain(text)):
            slow.add((places[match.start(1)], places[match.end(1)]))
    assert set(found) <= {(start, end + text[end:].startswith("\u0301")) for start, end in slow} | slow
    for start, end in slow:
        assert any(first < end and start < last for first, last in found)


@given(st.text(alphabet="aé\u0301ßÄ&;#233eacut \u200b\u00adﬁ李🐱\ud83d", max_size=20))
def test_places_of_a_folded_text_are_those_of_its_original(text):
    folded = fold_with_places(text)
    assert len(folded.text) == len(folded.starts) == len(folded.ends)
    assert list(folded.starts) == sorted(folded.starts) and list(folded.ends) == sorted(folded.ends)
    assert all(0 <= start < end <= len(text) for start, end in zip(folded.starts, folded.ends, strict=True))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("JOSÉ Jose\u0301 Jos&eacute; Jos&#xe9; Jos&#233;", "jose jose jose jose jose"),
        ("Łódź Đorđe Þór Groß Æsop", "lodz dorde thor gross aesop"),
        ("Müller Mu\u0308ller Bjørn Ångström", "mueller mueller bjoern aangstroem"),
        ("O’Neil OʼNeil O`Neil", "o'neil o'neil o'neil"),
        ("a\u2011b a–b", "a-b a-b"),
        ("ken＠example．com\u00a0x", "ken@example.com x"),
        ("A\u200bn\u00ada \ufeff", "ana "),
        ("R&D & &foo;", "r&d & &foo;"),
    ],
)
def test_folding_by_hand(text, expected):
    assert fold(text) == expected


def test_a_longer_string_wins_and_short_names_have_their_casing():
    finder = Finder([("Ana", NAME_STUDENT), ("Ana Silva", NAME_STUDENT), ("Ng", NAME_STUDENT), ("12", ID_NUM)])
    text = "ana silva, ANA; Ng ng NG 12"
    assert [text[start:end] for start, end, _ in finder.find(fold_with_places(text))] == ["ana silva", "ANA", "Ng"]


def test_numbers_are_found_in_any_grouping():
    finder = Finder([("+44 20 7946 0958", PHONE_NUM), ("2041-8837", ID_NUM)])
    text = "020 7946 0958, (0)20-79460958, 2079460958; 20418837, 2041 8837, 120418837"
    found = [text[start:end] for start, end, _ in finder.find(fold_with_places(text))]
    assert found[-2:] == ["20418837", "2041 8837"] and len(found) == 5


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("J. O'Hara-de Souza's", ["J", "O'Hara", "Souza"]),
        ("Maria De La Cruz", ["Maria", "Cruz"]),
        ("DE LA CRUZ", ["CRUZ"]),
        ("Le Thi Mai", ["Le", "Thi", "Mai"]),
        ("Nguyen Do", ["Nguyen", "Do"]),
        ("Wei Ng Jr.", ["Wei", "Ng"]),
        ("Sushila Nair, PhD, MBA", ["Sushila", "Nair"]),
        ("Ma", ["Ma"]),
    ],
)
def test_words_of_a_name_are_without_particles_and_suffixes(name, expected):
    assert name_words(name) == expected


def test_identities_of_numbers():
    assert len({identity_of(one, PHONE_NUM) for one in ("+1 415 555 0134", "(415) 555-0134 x 22", "14155550134")}) == 1
    assert {national(one) for one in ("+49 (0)170 1234567", "0170-1234567", "0049 170 1234567")} == {"1701234567"}


def test_many_strings_in_a_long_text_take_little_time():
    names = [f"{a}{b}{c}el" for a in "bdfgklmnprst" for b in "aeiou" for c in "bdfglmnrst"]
    finder = Finder((f"{name} {name[::-1]}", NAME_STUDENT) for name in names)
    began = time.process_time()
    assert len(list(finder.find(fold_with_places("some words of an essay and Bagel Legab " * 500)))) == 500
    assert time.process_time() - began < 2
