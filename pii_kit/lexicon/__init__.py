"""Lexicon features of a token: its casing, and its entries in public word lists.

One table holds the categories of all features, so that a model adds up rows of one embedding.
"""

import lzma
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("words.txt.xz")
CASINGS = ("lower", "Title", "UPPER", "mixed", "digits", "other", "Title word", "UPPER word")
WORD_SHIFT = CASINGS.index("Title word") - CASINGS.index("Title")
# List → number of categories, 0 for a word that is not in it (`build` lists the sources). Commonness is 1 to 5 (most
# common), or MISSPELT.
LISTS = {"commonness": 7, "place": 4, "first name": 3, "surname": 3}
MISSPELT = 6  # not in a list, and a spelling mistake away from a common word
COMMON = 3  # lowest commonness of words whose misspellings are recognised (from LEAST_LETTERS letters)
LEAST_LETTERS = 6
CAPITALS = 0.02  # share of words with a capital letter: below it, authors wrote in lower case
SIZES = (len(CASINGS), *LISTS.values())
OFFSETS = tuple(sum(SIZES[:place]) for place in range(len(SIZES)))  # row of each feature's category 0
N_FEATURES, N_ROWS = len(SIZES), sum(SIZES)


def casing_of(token: str) -> int:
    """Return the casing of a token as an index into CASINGS. A single capital is Title; with a digit it is digits.

    >>> [CASINGS[casing_of(token)] for token in ("tea", "Ana", "I", "NASA", "eBay", "B52", "\\n")]
    ['lower', 'Title', 'Title', 'UPPER', 'mixed', 'digits', 'other']
    """
    if any(character.isdigit() for character in token):
        return 4
    letters = [character for character in token if character.isalpha()]
    if not letters:
        return 5
    if token.istitle():
        return 1
    if token.isupper():
        return 2
    return 3 if any(character.isupper() for character in letters) else 0


@cache
def read_lexicon() -> dict[str, tuple[int, ...]]:
    """Return the categories (list) of each word in lower case."""
    fields = lzma.decompress(FILE.read_bytes()).decode("utf-8").split()  # words and digits in turn
    categories = {digits: tuple(map(int, digits)) for digits in set(fields[1::2])}
    return dict(zip(fields[::2], map(categories.__getitem__, fields[1::2]), strict=True))


def in_lower_case(tokens: Sequence[str]) -> bool:
    """Return whether a text has almost no capital letters: a share of its words that is below CAPITALS.

    >>> in_lower_case("my name is ana".split()), in_lower_case("My name is ana".split())
    (True, False)
    """
    words = [token for token in tokens if any(map(str.isalpha, token))]
    return sum(not word.islower() for word in words) < CAPITALS * len(words)


def look_up(token: str) -> tuple[int, ...]:
    """Return the categories (list) of a token, whatever its casing, written with its accents or without.

    >>> look_up("Garcia"), look_up("FRANCE"), look_up("Reflecton")
    ((2, 1, 0, 2), (3, 3, 1, 2), (6, 0, 0, 0))
    """
    lexicon, word = read_lexicon(), token.lower()
    forms = {word} if word.isascii() else {word, without_accents(word)}
    entries = [lexicon[form] for form in forms if form in lexicon]
    unknown = (0 if entries or not _is_misspelt(word) else MISSPELT, 0, 0, 0)
    return tuple(map(max, *entries, unknown)) if entries else unknown


def without_accents(text: str) -> str:
    """Return a text without accents and other combining marks."""
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def _is_misspelt(word: str) -> bool:
    """Return whether adding, removing, replacing or moving a letter makes a common word (as Garbe's SymSpell)."""
    if len(word) < LEAST_LETTERS or not word.isalpha():
        return False
    near, longest = _near_common_words()
    if len(word) > longest + 1:  # a token may be long, and the forms without a letter take the square of its memory
        return False
    return word in near or any(shorter in near for shorter in _without_a_letter(word))


@cache
def _near_common_words() -> tuple[frozenset[str], int]:
    """Return the common words with their forms without one letter, and the length of the longest."""
    common = [word for word, (n, *_) in read_lexicon().items() if n >= COMMON and len(word) >= LEAST_LETTERS]
    near = frozenset(common) | {shorter for word in common for shorter in _without_a_letter(word)}
    return near, max(map(len, common))


def _without_a_letter(word: str) -> set[str]:
    return {word[:place] + word[place + 1 :] for place in range(len(word))}


@cache
def features_of(token: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the rows (feature) of a token, and those for a token that is also a word; only its casing may differ."""
    casing, categories = casing_of(token), look_up(token)
    as_word = casing + WORD_SHIFT * (CASINGS[casing] in ("Title", "UPPER"))
    return _rows(casing, categories), _rows(as_word, categories)


def _rows(casing: int, categories: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(offset + category for offset, category in zip(OFFSETS, (casing, *categories), strict=True))


NO_WORD = _rows(CASINGS.index("other"), (0,) * len(LISTS))  # features of special pieces
