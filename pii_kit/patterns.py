"""Regular expressions for PII: the baseline that a model has to beat."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from itertools import accumulate
from types import MappingProxyType

from pii_kit.data import Document, spell
from pii_kit.labels import OUTSIDE

_NAME = r"[A-Z][\w'’-]+(?: [A-Z]\.)?(?: [A-Z][\w'’-]+){1,2}"

# In order: where two match the same token, the first keeps it. A pattern's group 1, where it has one, is what counts.
PATTERNS: Mapping[str, re.Pattern] = MappingProxyType(
    {
        "EMAIL": re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
        "URL_PERSONAL": re.compile(r"(?:https?://|www\.)[^\s<>\"']+[^\s<>\"'.,;:!?)\]]"),
        "PHONE_NUM": re.compile(r"(?<![\w-])\+?\(?\d{1,4}\)?(?:[ .-]\(?\d{2,5}\)?){2,4}(?![\w-])"),
        "ID_NUM": re.compile(r"(?<![\w.,-])(?=[\w-]*\d{4})[A-Za-z]{0,4}-?\d[\d-]{5,14}(?![\w-])"),
        "STREET_ADDRESS": re.compile(
            r"\d{1,5} (?:[A-Z][\w'.]+ ){1,3}(?:Street|St|Road|Rd|Avenue|Ave|Lane|Drive)\b[^\n]*"
        ),
        "USERNAME": re.compile(r"(?i:user(?: ?name)?|handle)[ :]+@?(\w*[\d_.]\w+)"),
        "NAME_STUDENT": re.compile(
            rf"(?:^|\n)({_NAME})[ ]*(?=\n|$)|(?:\b(?:[Bb]y|[Nn]ame(?: is|:)?|I am|I'm)[ :]+)({_NAME})"
        ),
    }
)


def matched_tokens(document: Document, pattern: re.Pattern) -> list[tuple[int, int]]:
    """(first token, end token) of each match of a pattern in the text that the tokens spell, partly covered ones too.

    Where the pattern has groups, its last one that took part is what counts.
    """
    matches = pattern.finditer(spell(document.tokens, document.trailing_whitespace))
    places = [match.span(match.lastindex or 0) for match in matches]
    if not places:
        return []
    lengths = (len(token) + space for token, space in zip(document.tokens, document.trailing_whitespace, strict=True))
    edges = [0, *accumulate(lengths)]
    return [(bisect_right(edges, start) - 1, bisect_left(edges, end)) for start, end in places]


def label_with_patterns(document: Document) -> list[str]:
    """Labels (token) by the patterns alone; a token is labelled if a match covers any part of it."""
    labels = [OUTSIDE] * len(document.tokens)
    for pii_type, pattern in PATTERNS.items():
        for first, end in matched_tokens(document, pattern):
            if all(label == OUTSIDE for label in labels[first:end]):
                labels[first:end] = [f"B-{pii_type}"] + [f"I-{pii_type}"] * (end - first - 1)
    return labels
