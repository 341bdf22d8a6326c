"""Rules that find, by what is written, PII that a model left O."""

import re

import numpy as np

from pii_kit.data import Document, spell
from pii_kit.labels import OUTSIDE, type_of
from pii_kit.patterns import PATTERNS, matched_tokens
from pii_kit.rules_format import is_institutional
from pii_kit.rules_names import HYPHENS, NAME, is_name_word
from pii_kit.rules_spans import label_span

PHONE_CUES = frozenset({"phone", "telephone", "mobile", "tel", "cell", "cellphone", "call", "whatsapp"})
PHONE_CUE_TOKENS = 4
HEAD_TOKENS = 40
MAX_AUTHOR_WORDS = 4

# ddd-ddd-dddd with points, or an area code in brackets, too; Faker adds country codes and extensions.
_PLAIN_PHONE = re.compile(
    r"(?<![\w/=.@-])(?:\+?\d{1,3}[ .-]?)?(?:\(\d{3}\) ?|\d{3}[.-])\d{3}[.-]\d{4}(?:x\d{1,5})?(?![\w/@-]|\.\d)"
)
_PHONE_AFTER_CUE = re.compile(r"(?<![\w/=.@-])(?:\+|\(?)\d(?:[ .()-]{0,2}\d){6,14}(?![\w/@-]|\.\d)")
_NINE_PLAIN_DIGITS = re.compile(r"\d{9,}")
_DATE = re.compile(r"\d{4}([.-])\d\d?\1\d\d?|\d\d?([.-])\d\d?\2\d{4}")

# What Faker's uri() is made of. Older versions have no slash between path and page, or a slash and no file ending.
_PATHS = "app|main|wp-content|search|category|tag|categories|tags|blog|posts|list|explore"
_PAGES = "index|home|search|main|post|homepage|category|register|login|faq|about|terms|privacy|author"
_NOT_USERS = "about|features|topics|explore|pricing|login|join|orgs|marketplace|search|settings"
_URL_END = r"(?![\w/?#=&%-]|\.\w)"
_PERSONAL_LINKS = (
    re.compile(
        r"https?://(?:www\.)?[a-z]+(?:-[a-z]+){0,2}\.(?:com|net|org|info|biz)/"
        rf"(?:(?:(?:{_PATHS})/){{0,2}}(?:{_PATHS})?/?(?:{_PAGES})(?:\.html?|\.php|\.asp|\.jsp|/)"
        rf"|(?:(?:{_PATHS})/){{1,3}}){_URL_END}"
    ),
    re.compile(rf"(?:https?://)?(?:www\.|[a-z]{2}\.)?linkedin\.com/in/[\w%-]+/?{_URL_END}", re.IGNORECASE),
    re.compile(
        rf"(?:https?://)?(?:www\.)?github\.com/(?!(?:{_NOT_USERS})\b)\w[\w-]*/?{_URL_END}",
        re.IGNORECASE,
    ),
)

_WORD = r"[^\W\d_][\w'’.-]*"
# A colon may be followed by a line break, a bare "By" may not. Two spaces end a line as well as a line break does.
_AUTHOR_LINE = re.compile(
    r"(?:^|\n)[^\S\n]*(?i:by|(?:submitted|prepared|written)\s+by|author|(?:student(?:['’]s)?\s+)?name)"
    rf"(?:\s*[:,–-]+\s*|[^\S\n]+)({_WORD}(?: {_WORD}){{1,{MAX_AUTHOR_WORDS - 1}}})(?=\s*\Z|[^\S\n]*\n|[^\S\n]{{2}})"
)


def _add(document: Document, labels: list[str], pattern: re.Pattern, pii_type: str, fits=None) -> list[str]:
    """Labels with each match of the pattern that is O altogether, and that `fits(first, end)`, as an entity."""
    result = list(labels)
    for first, end in matched_tokens(document, pattern):
        if set(result[first:end]) == {OUTSIDE} and (fits is None or fits(first, end)):
            label_span(result, first, end, pii_type)
    return result


def add_emails(document: Document, labels: list[str], probabilities: np.ndarray) -> list[str]:
    """E-mail addresses that are O become EMAIL: in train.json every single one is PII (1st place)."""
    return _add(document, labels, PATTERNS["EMAIL"], "EMAIL")


def add_phones(document: Document, labels: list[str], probabilities: np.ndarray) -> list[str]:
    """ddd-ddd-dddd and the like become PHONE_NUM, other numbers only shortly after "phone" or "call" (1st place).

    Nine or more plain digits stay: `long_digits_are_ids` would call them ID_NUM. Dates stay too.
    """
    tokens = document.tokens

    def fits(first: int, end: int) -> bool:
        text = spell(tokens[first:end], document.trailing_whitespace[first:end]).strip()
        cue = any(
            token.casefold().strip(":.") in PHONE_CUES for token in tokens[max(0, first - PHONE_CUE_TOKENS) : first]
        )
        return cue and not _NINE_PLAIN_DIGITS.fullmatch(text) and not _DATE.fullmatch(text)

    result = _add(document, labels, _PLAIN_PHONE, "PHONE_NUM")
    return _add(document, result, _PHONE_AFTER_CUE, "PHONE_NUM", fits)


def add_urls(document: Document, labels: list[str], probabilities: np.ndarray) -> list[str]:
    """Links to a LinkedIn or GitHub user, and links as Faker's `uri` makes them, become URL_PERSONAL.

    The competition put Faker's links in the place of personal ones, so that a link of that make is PII by construction.
    """

    def fits(first: int, end: int) -> bool:
        return not is_institutional(document.tokens[first])

    for pattern in _PERSONAL_LINKS:
        labels = _add(document, labels, pattern, "URL_PERSONAL", fits)
    return list(labels)


def add_author_lines(document: Document, labels: list[str], probabilities: np.ndarray) -> list[str]:
    """A line of "By", "Submitted by", "Name:" or the like and two to four name words names the student.

    Only at the head of the essay or at its very end: elsewhere such lines cite. Words that the essay has in lower case
    too are a title ("By Mind Mapping"), not a name. "Instructor:" and "Professor" do not introduce students.
    """
    tokens = document.tokens
    lower = {token for token in tokens if token.islower()}
    last = max((i for i, token in enumerate(tokens) if not token.isspace()), default=-1)
    result = list(labels)
    for first, end in matched_tokens(document, _AUTHOR_LINE):
        words = [token for token in tokens[first:end] if token not in HYPHENS and token != "."]
        placed = first < HEAD_TOKENS or end == last + 1
        named = all(map(is_name_word, words)) and not all(word.casefold() in lower for word in words)
        if placed and named and None in {type_of(label) for label in labels[first:end]} <= {None, NAME}:
            label_span(result, first, end, NAME)
    return result
