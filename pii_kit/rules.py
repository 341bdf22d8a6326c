"""Correct decided labels with rules: what a threshold on single tokens cannot know.

A rule takes a document, its labels (token) and its probabilities (token, label), and returns new labels. It keeps valid
BIO labels valid, does not change its arguments, and changes nothing when it is applied again. Its time is linear in the
length of the document.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from types import MappingProxyType

import numpy as np

from pii_kit import labels as types
from pii_kit.decide import decide, repair_bio
from pii_kit.documents import Document, covered_tokens, join_tokens, token_edges
from pii_kit.files import KitError
from pii_kit.labels import NAME_STUDENT, OUTSIDE, OUTSIDE_ID, label_span, pii_places, spans_of, type_of
from pii_kit.lexicon import in_lower_case

Rule = Callable[[Document, Sequence[str], np.ndarray], list[str]]

MIN_ID_LENGTH, MAX_ID_LENGTH = 4, 25  # characters; the bounds of the 1st place
SURE = 0.02  # P(O) below which a name is copied to its other mentions, and which `keep_sure` keeps
MIN_NAME_LENGTH = 3
_in_lower_case = lru_cache(4)(in_lower_case)  # rules run at many thresholds on one document
HEAD_TOKENS = 40  # an author line stands among the first tokens of a document, or is its last line

# The second alternative skips a run that is no address at once: a new try at each of its characters is quadratic.
EMAIL = re.compile(r"([\w.+-]++@[\w-]+(?:\.[\w-]+)+)|[\w.+-]++")
# Three, three and four digits, as phone numbers of North America are written (North American Numbering Plan).
PHONE = re.compile(r"(?<![\w.+/(-])(?:\+?1[ .-]?)?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\w/-])")
# Skips punctuation, scheme and user name before the host; linear because nothing is tried twice.
_HOST = re.compile(r"(?:[^\w.@-]|@(?![\w.-]))*+(?:https?://)?(?:[^/@\s]*+@)?([\w.-]+)", re.IGNORECASE)
# Faker's links, which replace the personal ones in train.json, end in com, org, net, info or biz.
_INSTITUTION = re.compile(
    r"(?:^|\.)(?:"
    r"(?:edu|gov|mil|int)(?:\.[a-z]{2})?|ac\.[a-z]{2}|europa\.eu"
    r"|(?:wikipedia|wikimedia|wiktionary|coursera|edx|khanacademy|unesco|un|worldbank|oecd|hbr)\.(?:org|com)"
    r"|(?:coursera|udemy|ted|futurelearn)\.com"
    r")$",
    re.IGNORECASE,
)
_WORD = r"[^\W\d_][\w'’.-]*"
# A line break may follow a colon but not a bare "By". Two spaces end a line as a line break does.
_AUTHOR_LINE = re.compile(
    r"(?:^|\n)[^\S\n]*(?i:by|(?:submitted|prepared|written)\s+by|author|(?:student(?:['’]s)?\s+)?name)"
    rf"(?:\s*[:,–-]+\s*|[^\S\n]+)({_WORD}(?: {_WORD}){{1,3}})(?=\s*\Z|[^\S\n]*\n|[^\S\n]{{2}})"
)
_NOT_NAMES = frozenset((
    "dr", "mr", "ms", "mrs", "miss", "prof", "professor", "sir", "madam", "by", "name", "student", "author",
    "instructor", "teacher", "mentor", "submitted", "prepared",
))  # fmt: skip
_NAME_CHARACTERS = frozenset("-‐‑'’.")
CONNECTORS = _NAME_CHARACTERS.union((
    "da", "das", "de", "del", "della", "der", "di", "do", "dos", "du", "e", "el", "la", "le", "van", "von", "den",
    "ter", "y", "al", "ul", "bin", "binti", "ibn",
))  # fmt: skip


def whitespace_is_outside(document: Document, labels: Sequence[str], probabilities: np.ndarray) -> list[str]:
    """Label whitespace tokens O, except between two tokens of one STREET_ADDRESS (train.json is labelled so).

    A token after removed whitespace starts a new entity: a line break mostly stands between two names of a list.
    """
    result = list(labels)
    if not (spaces := [index for index in pii_places(labels) if document.tokens[index].isspace()]):
        return result
    for index in spaces:
        result[index] = OUTSIDE
    for first, end, pii_type in spans_of(labels, joined=True):
        visible = [i for i in range(first, end) if not document.tokens[i].isspace()]
        if pii_type == types.STREET_ADDRESS and visible:
            result[visible[0] : visible[-1] + 1] = labels[visible[0] : visible[-1] + 1]
    return repair_bio(result)


def names_are_title_case(document: Document, labels: Sequence[str], probabilities: np.ndarray) -> list[str]:
    """Set NAME_STUDENT tokens that cannot be part of a name to O: lower case, digits, "_", Dr, Mr, By (1st place).

    A connector between two words of a name ("da", "-") keeps its label. In a document without capital letters, names
    may be in lower case.
    """
    result, tokens = list(labels), document.tokens
    if f"B-{NAME_STUDENT}" in labels and _in_lower_case(tokens):
        tokens = tuple(token if token in CONNECTORS else token.capitalize() for token in tokens)
    for first, end, pii_type in spans_of(labels, joined=True):
        if pii_type != NAME_STUDENT:
            continue
        words = [index for index in range(first, end) if is_name_word(tokens[index])]
        name = set(words)
        for before, after in pairwise(words):
            if CONNECTORS.issuperset(document.tokens[before + 1 : after]):
                name.update(range(before + 1, after))
        result[first:end] = [labels[index] if index in name else OUTSIDE for index in range(first, end)]
    return repair_bio(result)


def emails_have_at(document: Document, labels: Sequence[str], probabilities: np.ndarray) -> list[str]:
    """Drop EMAIL entities without "@" (1st place)."""
    return _drop(document, labels, types.EMAIL, lambda text: "@" not in text)


def id_length(document: Document, labels: Sequence[str], probabilities: np.ndarray) -> list[str]:
    """Drop ID_NUM entities shorter than 4 or longer than 25 characters (1st place), and those without a digit."""

    def is_wrong(text: str) -> bool:
        return not MIN_ID_LENGTH <= len(text) <= MAX_ID_LENGTH or not any(map(str.isdigit, text))

    return _drop(document, labels, types.ID_NUM, is_wrong)


def course_links_are_not_personal(document: Document, labels: Sequence[str], probabilities: np.ndarray) -> list[str]:
    """Drop URL_PERSONAL entities that link to Coursera, Wikipedia, a university (9th place), a government etc."""
    return _drop(document, labels, types.URL_PERSONAL, is_institutional)


def add_emails(document: Document, labels: Sequence[str], probabilities: np.ndarray) -> list[str]:
    """Label every e-mail address whose tokens are all O as EMAIL: in train.json each of them is PII (1st place)."""
    if "@" not in "".join(document.tokens):  # much faster than the pattern, and most documents have none
        return list(labels)
    return _add(document, labels, types.EMAIL, EMAIL)


def add_phone_numbers(document: Document, labels: Sequence[str], probabilities: np.ndarray) -> list[str]:
    """Label every phone number of North American form whose tokens are all O as PHONE_NUM."""
    return _add(document, labels, types.PHONE_NUM, PHONE)


def add_author_lines(document: Document, labels: Sequence[str], probabilities: np.ndarray) -> list[str]:
    """Label two to four name words after "By", "Submitted by", "Name:" etc. on one line as NAME_STUDENT.

    Only at the head of a document and on its last line: elsewhere such lines cite somebody. Words that the document
    also has in lower case are a title ("By Mind Mapping").
    """
    tokens = document.tokens
    lower = {token for token in tokens if token.islower()}
    last = max((i for i, token in enumerate(tokens) if not token.isspace()), default=-1)
    result = list(labels)
    for first, end in matched_tokens(document, _AUTHOR_LINE):
        words = [token for token in tokens[first:end] if token not in _NAME_CHARACTERS]
        in_place = first < HEAD_TOKENS or end == last + 1
        are_names = all(map(is_name_word, words)) and not all(word.casefold() in lower for word in words)
        if in_place and are_names and None in {type_of(label) for label in labels[first:end]} <= {None, NAME_STUDENT}:
            label_span(result, first, end, NAME_STUDENT)
    return result


def propagate_lone_names(document: Document, labels: Sequence[str], probabilities: np.ndarray) -> list[str]:
    """Copy the label of a name of one token, predicted with P(O) < SURE, to its other mentions in title case.

    Words that the document also has in lower case are left alone.
    """
    tokens = document.tokens
    sure = {
        tokens[first]
        for first, end, pii_type in spans_of(labels)
        if pii_type == NAME_STUDENT and end == first + 1 and probabilities[first, OUTSIDE_ID] < SURE
    }
    if not sure:
        return list(labels)
    lower = {token for token in tokens if token.islower()}
    names = {name for name in sure if len(name) >= MIN_NAME_LENGTH and name.istitle() and name.lower() not in lower}
    return [
        f"B-{NAME_STUDENT}" if label == OUTSIDE and token in names else label
        for token, label in zip(tokens, labels, strict=True)
    ]


# Applied in this order: first drop what cannot be right, then add what is missing, and copy names last, so that no
# wrong name is copied. The ledger in submissions/ has their measured effect.
RULES: Mapping[str, Rule] = {
    rule.__name__: rule
    for rule in (
        whitespace_is_outside,
        names_are_title_case,
        emails_have_at,
        id_length,
        course_links_are_not_personal,
        add_emails,
        add_phone_numbers,
        add_author_lines,
        propagate_lone_names,
    )
}
# `add_author_lines` helps only where no model has run, and `add_phone_numbers` only the tagger that comes with the kit:
# models that train on real essays learn author lines, and which numbers are a hotline's.
DEFAULT_RULES = tuple(name for name in RULES if name not in ("add_author_lines", "add_phone_numbers"))


def apply_rules(
    document: Document,
    labels: Sequence[str],
    probabilities: np.ndarray,
    names: Sequence[str],
    *,
    keep_sure: bool = False,
) -> list[str]:
    """Apply the named rules in the order of `RULES`; with `keep_sure` none removes a token with P(O) < SURE.

    Raises:
        KitError: a name is not in `RULES`.
    """
    if unknown := [name for name in names if name not in RULES]:
        raise KitError(f"unknown rule {', '.join(map(repr, unknown))}; expected some of {', '.join(RULES)}")
    result = list(labels)
    for rule in (rule for name, rule in RULES.items() if name in names):
        before, result = result, rule(document, result, probabilities)
        removed = [token for token in pii_places(before) if result[token] == OUTSIDE] if keep_sure else []
        sure = {token for token in removed if probabilities[token, OUTSIDE_ID] < SURE}
        if sure := {token for token in sure if not document.tokens[token].isspace()}:
            for token in pii_places(before):  # a token after a removed one may have become the first of an entity
                if token in sure or type_of(result[token]) == type_of(before[token]):
                    result[token] = before[token]
            result = repair_bio(result)
    return result


def label_document(
    document: Document,
    probabilities: np.ndarray,
    *,
    o_threshold: float,
    by_type: Mapping[str, float] = MappingProxyType({}),
    rules: Sequence[str] = DEFAULT_RULES,
    keep_sure: bool = False,
) -> list[str]:
    """Decide the labels (token) of a document from its probabilities (token, label): thresholds first, then rules."""
    labels = decide(probabilities, o_threshold=o_threshold, by_type=by_type)
    return apply_rules(document, labels, probabilities, rules, keep_sure=keep_sure)


def matched_tokens(document: Document, pattern: re.Pattern) -> list[tuple[int, int]]:
    """Find a pattern in the joined tokens; return (first token, end token) of each match, of its last group if any.

    A token that a match covers in part counts. A match without one of the pattern's groups is skipped.
    """
    matches = pattern.finditer(join_tokens(document.tokens, document.trailing_whitespace))
    places = [match.span(match.lastindex or 0) for match in matches if match.lastindex or not pattern.groups]
    edges = token_edges(document) if places else []
    return [covered_tokens(edges, start, end) for start, end in places]


def is_name_word(token: str) -> bool:
    """Check that a token is no title and has only letters, the first a capital, apostrophes, hyphens and full stops.

    >>> [is_name_word(token) for token in ("Anna", "O'Hara", "LUND", "J.", "李", "anna", "Anna_1", "Mrs.", "'s", "-")]
    [True, True, True, True, True, False, False, False, False, False]
    """
    return (
        token[:1].isalpha()
        and not token[0].islower()
        and all(c.isalpha() or c in _NAME_CHARACTERS or unicodedata.category(c) in ("Mn", "Mc", "Cf") for c in token)
        and token.casefold().rstrip(".") not in _NOT_NAMES
    )


def is_institutional(address: str) -> bool:
    """Check by its host whether a link leads to an institution.

    >>> is_institutional("https://www.coursera.org/learn/x"), is_institutional("http://coursera.lund.com/blog/")
    (True, False)
    """
    host = _HOST.match(address)
    return bool(host and _INSTITUTION.search(host[1].rstrip(".")))


def _add(document: Document, labels: Sequence[str], pii_type: str, pattern: re.Pattern) -> list[str]:
    """Label the matches of a pattern whose tokens are all O."""
    result = list(labels)
    for first, end in matched_tokens(document, pattern):
        if set(result[first:end]) == {OUTSIDE}:
            label_span(result, first, end, pii_type)
    return result


def _drop(document: Document, labels: Sequence[str], pii_type: str, is_wrong: Callable[[str], bool]) -> list[str]:
    """Set the entities of a type to O whose text, without outer whitespace, is wrong."""
    result = list(labels)
    if f"B-{pii_type}" not in labels:
        return result
    for first, end, span_type in spans_of(labels):
        if span_type == pii_type:
            text = join_tokens(document.tokens[first:end], document.trailing_whitespace[first:end]).strip()
            if is_wrong(text):
                result[first:end] = [OUTSIDE] * (end - first)
    return result
