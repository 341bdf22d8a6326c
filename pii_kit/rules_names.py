"""Rules on names: what can be one, where it goes on, and where it occurs again."""

import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from pii_kit.data import Document
from pii_kit.decide import repair_bio
from pii_kit.labels import LABEL_TO_ID, OUTSIDE, spans_of, type_of
from pii_kit.rules_spans import runs_of, until_settled

NAME = "NAME_STUDENT"
_BEGIN, _INSIDE = f"B-{NAME}", f"I-{NAME}"

# A row helps as soon as it is right with probability F5/26, about .037; beside a decided name, B- or I- is plain, so a
# little more is enough.
MIN_EXTENSION_PROBABILITY = 0.05
MIN_PART_LETTERS = 3

HONORIFICS = frozenset({"dr", "mr", "ms", "mrs", "miss", "prof", "professor", "sir", "madam"})
NOT_NAMES = HONORIFICS | frozenset(
    {"by", "name", "student", "author", "instructor", "teacher", "mentor", "submitted", "prepared"}
)
CONNECTORS = frozenset(
    {
        "da",
        "das",
        "de",
        "del",
        "della",
        "der",
        "di",
        "do",
        "dos",
        "du",
        "e",
        "el",
        "la",
        "le",
        "van",
        "von",
        "den",
        "ter",
        "y",
        "al",
        "ul",
        "bin",
        "binti",
        "ibn",
    }
)
# Always in title case, so that the essay's own lower-case words do not give them away.
MONTHS = frozenset(
    {
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    }
)
HYPHENS = frozenset("-‐‑'’")
_NAME_CHARACTERS = HYPHENS | {"."}


def is_name_word(token: str) -> bool:
    """Letters, apostrophes, hyphens and full stops that begin with a letter that is not lower case; "Dr" is none.

    >>> [is_name_word(token) for token in ("Anna", "O'Hara", "LUND", "J.", "李", "anna", "Anna_1", "Mrs.", "'s", "-")]
    [True, True, True, True, True, False, False, False, False, False]
    """
    return (
        token[:1].isalpha()
        and not token[0].islower()
        and all(c.isalpha() or c in _NAME_CHARACTERS or unicodedata.category(c) in ("Mn", "Mc", "Cf") for c in token)
        and token.casefold().rstrip(".") not in NOT_NAMES
    )


def _may_join(token: str) -> bool:
    return token in CONNECTORS or token in _NAME_CHARACTERS


def names_are_title_case(document: Document, labels: list[str], probabilities: np.ndarray) -> list[str]:
    """NAME_STUDENT tokens that are no name words are O: lower case, digits, "_", Dr, Mr, Ms, Mrs, By (1st place).

    All 4,394 true names of the full set are in title case. What joins two name words ("da", "van", "-") stays.
    """
    result = list(labels)
    for first, end, pii_type in runs_of(labels):
        if pii_type == NAME:
            result[first:end] = _only_name_words(document.tokens[first:end], labels[first:end])
    return repair_bio(result)


def _only_name_words(tokens: Sequence[str], labels: list[str]) -> list[str]:
    words = [index for index, token in enumerate(tokens) if is_name_word(token)]
    kept = set(words)
    for before, after in pairwise(words):
        if all(map(_may_join, tokens[before + 1 : after])):
            kept.update(range(before + 1, after))
    return [label if index in kept else OUTSIDE for index, label in enumerate(labels)]


def _is_full_name(tokens: Sequence[str]) -> bool:
    """Two or more name words, joined by nothing but what may join a name; no whitespace."""
    words = [is_name_word(token) for token in tokens]
    joined = all(word or _may_join(token) for token, word in zip(tokens, words, strict=True))
    return sum(words) > 1 and words[0] and words[-1] and joined


def _full_names(document: Document, labels: list[str]) -> Iterator[tuple[str, ...]]:
    for first, end, pii_type in spans_of(labels):
        if pii_type == NAME and _is_full_name(document.tokens[first:end]):
            yield document.tokens[first:end]


@until_settled
def extend_names(document: Document, labels: list[str], probabilities: np.ndarray) -> list[str]:
    """Name words beside a decided name join it if the model half sees them; what joins two name tokens is filled.

    A threshold on single tokens cannot know of the neighbour: at the same probability a surname is right more often
    beside a first name than alone. Hyphens and apostrophes join only without spaces: a list of names stays a list.
    """
    tokens, spaces = document.tokens, document.trailing_whitespace
    share = probabilities[:, [LABEL_TO_ID[_BEGIN], LABEL_TO_ID[_INSIDE]]].sum(-1)
    named = [type_of(label) == NAME for label in labels]
    free = [label == OUTSIDE for label in labels]
    likely = [
        is_free and score > MIN_EXTENSION_PROBABILITY and is_name_word(token)
        for token, is_free, score in zip(tokens, free, share, strict=True)
    ]
    joined = set()
    for i in range(len(tokens)):
        before, after = i > 0 and named[i - 1], i + 1 < len(tokens) and named[i + 1]
        if likely[i] and (before or after):
            joined.add(i)
        if not free[i] or not 0 < i < len(tokens) - 1 or spaces[i - 1]:
            continue
        if tokens[i] == "." and before and after and len(tokens[i - 1]) == 1:
            joined.add(i)
        linked = (before or likely[i - 1]) and (after or likely[i + 1])
        if tokens[i] in HYPHENS and not spaces[i] and (before or after) and linked:
            joined.update(j for j in (i - 1, i, i + 1) if free[j])
    return _join(labels, joined)


def _join(labels: list[str], joined: set[int]) -> list[str]:
    """Labels with further tokens in names; a name that begins right behind one of them goes on from it."""
    result = list(labels)
    for i in sorted(joined):
        result[i] = _INSIDE if i > 0 and type_of(result[i - 1]) == NAME else _BEGIN
        if i + 1 < len(labels) and result[i + 1] == _BEGIN:
            result[i + 1] = _INSIDE
    return result


@until_settled
def propagate_names(document: Document, labels: list[str], probabilities: np.ndarray) -> list[str]:
    """A name of two or more tokens is labelled wherever it occurs, upper case and title case being one.

    "High impact" at the 1st, 2nd, 6th, 9th, 14th and 29th place: names at an essay's head come again further down,
    where the context tells the model less.
    """
    folded = [token.casefold() for token in document.tokens]
    names = {tuple(token.casefold() for token in name) for name in _full_names(document, labels)}
    result = list(labels)
    for name in sorted(names, key=lambda name: (-len(name), name)):
        for first in (i for i, token in enumerate(folded) if token == name[0]):
            end = first + len(name)
            types = {type_of(label) for label in result[first:end]}
            same = tuple(folded[first:end]) == name and _is_full_name(document.tokens[first:end])
            if same and None in types <= {None, NAME}:
                begin = _BEGIN if result[first] == OUTSIDE else result[first]
                result[first:end] = [begin] + [_INSIDE] * (len(name) - 1)
    return result


def propagate_name_parts(document: Document, labels: list[str], probabilities: np.ndarray) -> list[str]:
    """A first name or surname out of a decided full name is labelled where it stands alone in title case.

    Not in an essay that has the word in lower case too ("hope", "rose"), nor months, nor behind "Professor", nor inside
    another name: there it is a word, or somebody else. Propagation is what the winners agree on most.
    """
    tokens = document.tokens
    lower = {token for token in tokens if token.islower()}
    parts = {word.casefold() for name in _full_names(document, labels) for word in name if is_name_word(word)}
    parts = {part for part in parts - lower - MONTHS if sum(map(str.isalpha, part)) >= MIN_PART_LETTERS}
    result = list(labels)
    for i, token in enumerate(tokens):
        title = token.casefold() in parts and is_name_word(token) and not token.isupper()
        if labels[i] == OUTSIDE and title and _stands_alone(tokens, i, lower):
            result[i] = _BEGIN
    return result


def _stands_alone(tokens: Sequence[str], i: int, lower: set[str]) -> bool:
    if i + 1 < len(tokens) and is_name_word(tokens[i + 1]):
        return False
    before = tokens[i - 1] if i else ""
    if before.casefold().rstrip(".") in HONORIFICS:
        return False
    # A word that only begins a sentence is no name: "Then Anna", in an essay that has "then" too.
    return not is_name_word(before) or before.casefold() in lower
