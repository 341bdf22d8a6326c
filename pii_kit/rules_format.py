"""Rules on what a span spells: dropped, or given another type, where it cannot be what it was called."""

import re
from collections.abc import Callable, Iterator

import numpy as np

from pii_kit.data import Document, spell
from pii_kit.decide import repair_bio
from pii_kit.labels import OUTSIDE, spans_of
from pii_kit.rules_spans import label_span

# The first place's bounds.
MIN_ID_CHARACTERS, MAX_ID_CHARACTERS = 4, 25
MIN_URL_CHARACTERS = 10

_LONG_DIGITS = re.compile(r"\d{9,}")
_SOCIAL_SECURITY = re.compile(r"\d{3}-\d\d-\d{4}")
_PHONE = re.compile(r"\d{3}-\d{3}-\d{4}")

_HOST = re.compile(r"(?:https?://)?(?:[^/@\s]*@)?([\w.-]+)", re.IGNORECASE)
# Faker's links, which stand for the personal ones in train.json, end in com, org, net, info or biz.
_INSTITUTION = re.compile(
    r"(?:^|\.)(?:"
    r"(?:edu|gov|mil|int)(?:\.[a-z]{2})?|ac\.[a-z]{2}|europa\.eu"
    r"|(?:wikipedia|wikimedia|wiktionary|coursera|edx|khanacademy|unesco|un|worldbank|oecd|hbr)\.(?:org|com)"
    r"|(?:coursera|udemy|ted|futurelearn)\.com"
    r")$",
    re.IGNORECASE,
)


def _texts(document: Document, labels: list[str], *types: str) -> Iterator[tuple[int, int, str, str]]:
    """(first token, end token, type, text) of the spans of some types; the text without whitespace round it."""
    for first, end, pii_type in spans_of(labels):
        if pii_type in types:
            text = spell(document.tokens[first:end], document.trailing_whitespace[first:end])
            yield first, end, pii_type, text.strip()


def _drop(document: Document, labels: list[str], pii_type: str, wrong: Callable[[str], bool]) -> list[str]:
    result = list(labels)
    for first, end, _, text in _texts(document, labels, pii_type):
        if wrong(text):
            result[first:end] = [OUTSIDE] * (end - first)
    return repair_bio(result)


def long_digits_are_ids(document: Document, labels: list[str], probabilities: np.ndarray) -> list[str]:
    """PHONE_NUM of nine or more plain digits is ID_NUM; ddd-dd-dddd is ID_NUM and ddd-ddd-dddd PHONE_NUM (1st place).

    Models mix the two up, and the wrong one is a miss and a false alarm in one.
    """
    result = list(labels)
    for first, end, pii_type, text in _texts(document, labels, "PHONE_NUM", "ID_NUM"):
        if _SOCIAL_SECURITY.fullmatch(text) or (pii_type == "PHONE_NUM" and _LONG_DIGITS.fullmatch(text)):
            label_span(result, first, end, "ID_NUM")
        elif _PHONE.fullmatch(text):
            label_span(result, first, end, "PHONE_NUM")
    return repair_bio(result)


def emails_have_at(document: Document, labels: list[str], probabilities: np.ndarray) -> list[str]:
    """EMAIL without "@" is dropped (1st place)."""
    return _drop(document, labels, "EMAIL", lambda text: "@" not in text)


def id_length(document: Document, labels: list[str], probabilities: np.ndarray) -> list[str]:
    """ID_NUM shorter than 4 or longer than 25 characters is dropped (1st place), and so is one without a digit."""

    def wrong(text: str) -> bool:
        fits = MIN_ID_CHARACTERS <= len(text) <= MAX_ID_CHARACTERS
        return not fits or not any(character.isdigit() for character in text)

    return _drop(document, labels, "ID_NUM", wrong)


def urls_look_like_urls(document: Document, labels: list[str], probabilities: np.ndarray) -> list[str]:
    """URL_PERSONAL shorter than 10 characters is dropped (1st place), and so is one without a dot."""
    return _drop(document, labels, "URL_PERSONAL", lambda text: len(text) < MIN_URL_CHARACTERS or "." not in text)


def course_links_are_not_personal(document: Document, labels: list[str], probabilities: np.ndarray) -> list[str]:
    """URL_PERSONAL of Coursera, Wikipedia, a university (9th place), a government or the like is dropped."""
    return _drop(document, labels, "URL_PERSONAL", is_institutional)


def is_institutional(address: str) -> bool:
    """Whether a link leads to an institution, going by its host.

    >>> is_institutional("https://www.coursera.org/learn/x"), is_institutional("http://coursera.lund.com/blog/")
    (True, False)
    """
    host = _HOST.search(address)
    return bool(host and _INSTITUTION.search(host[1].rstrip(".")))
