"""Search the released text for what was replaced, and measure on labelled essays what survives."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pii_kit.documents import Document, covered_tokens, join_tokens, token_edges, true_labels
from pii_kit.labels import EMAIL, NAME_STUDENT, OUTSIDE, PII_TYPES, STREET_ADDRESS, URL_PERSONAL, spans_of
from pii_kit.lexicon import LISTS, MISSPELT, look_up
from pii_kit.redact import search
from pii_kit.redact.document import Redacted, Redaction, finder_of, is_ordinary_at, redact_document
from pii_kit.redact.surrogates import AT, PLACEHOLDER, RUNS, SITES
from pii_kit.rules import is_institutional

if TYPE_CHECKING:
    import pandas as pd

ORDINARY, INSIDE, ALLOWED = "ordinary word", "part of another word", "allowed"
LEAST_INSIDE = {True: 4, False: 6}  # letters, or digits, of a part that is also searched inside longer words
# Parts of hosts that identify nobody, beside those of institutions and the last part of any host.
HOSTS = frozenset((
    "gmail", "googlemail", "yahoo", "hotmail", "outlook", "live", "icloud", "mail", "www", "com", "org", "net", "edu",
    "gov", "http", "https",
))  # fmt: skip
IDENTIFIERS, DOCUMENTS, WORDS = "identifiers", "documents with PII", "other words"
ROWS = "rows"
Span = tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Leak:
    """A replaced string or part of it in the released text of `field`; `reason` is empty if nothing explains it."""

    document: int
    field: str
    start: int
    pii_type: str
    reason: str


def find_leaks(
    redacted: Sequence[Redacted], others: Sequence[Mapping[str, str]], settings: Redaction
) -> Iterator[Leak]:
    """Yield what survives of a document's replaced strings in its new text and in its other fields."""
    for document, fields in zip(redacted, others, strict=True):
        finders = _finders({(change.original, change.pii_type) for change in document.changes})
        for name, text in {"full_text": document.text, **fields}.items():
            found = _find(text, finders, settings)
            for (start, _), (pii_type, reason) in sorted(found.items()):
                number = document.original.number
                yield Leak(document=number, field=name, start=start, pii_type=pii_type, reason=reason)


def parts_of(string: str, pii_type: str) -> set[str]:
    """Return the parts of PII that must not survive: runs of three letters or more and of four digits or more.

    >>> sorted(parts_of("Ana de Souza", "NAME_STUDENT")), sorted(parts_of("ana.s@mit.edu", "EMAIL"))
    (['Ana', 'Souza'], ['ana'])
    >>> sorted(parts_of("2019-04-11872", "ID_NUM")), sorted(parts_of("https://github.com/ingrid", "URL_PERSONAL"))
    (['11872'], ['ingrid'])
    """
    string = search.plain(string)
    if pii_type == NAME_STUDENT:
        return {word for word in search.name_words(string) if len(word) > 1}
    local, *host = AT.split(string, maxsplit=1) if pii_type == EMAIL else [string]
    if pii_type == URL_PERSONAL:
        host = re.findall(r"^(?:https?://)?([^/\s]+)", string)
        local = string.partition(host[0])[2] if host else string
        host = [] if SITES.match(string) else host
    names = [] if not host or is_institutional(host[0]) else RUNS.findall(host[0])[:-1]
    parts = {*RUNS.findall(local), *names}
    return {part for part in parts if part.lower() not in HOSTS and not search.YEAR.fullmatch(part)}


def _finders(strings: set[search.Target]) -> tuple[search.Finder, ...]:
    """Return the finders of whole words, and of what is also searched inside words: "xsilvax", "anasilva"."""
    parts = {(part, pii_type) for string, pii_type in strings for part in parts_of(string, pii_type)}
    words = [search.name_words(search.plain(string)) for string, pii_type in strings if pii_type == NAME_STUDENT]
    joined = {("".join(of_name), NAME_STUDENT) for of_name in words if len(of_name) > 1}
    inside = {part for part in parts | joined if len(part[0]) >= LEAST_INSIDE[part[0].isalpha()]}
    wholes = {target for string in strings for target in search.targets_of(*string)}
    return search.Finder(wholes | parts), search.Finder(inside, inside=True)


def _find(text: str, finders: Iterable[search.Finder], settings: Redaction) -> dict[Span, tuple[str, str]]:
    """Return the places of strings and parts of strings, with their types and reasons."""
    original, folded = text, search.fold_with_places(text)
    stays = [match.span() for match in PLACEHOLDER.finditer(original)]
    allowed = [(start, end) for start, end, _ in finder_of(tuple(settings.allow)).find(folded)]
    return {
        (start, end): (pii_type, ALLOWED if _covers(allowed, start, end) else _reason(original, start, end, pii_type))
        for finder in finders
        for start, end, (_, pii_type) in finder.find(folded)
        if not _covers(stays, start, end)
    }


def _covers(spans: Iterable[Span], start: int, end: int) -> bool:
    return any(first <= start and end <= last for first, last in spans)


def _reason(text: str, start: int, end: int, pii_type: str) -> str:
    """Return why a string may stay, empty if nothing explains it."""
    first, last = start, end
    while first > max(0, start - search.LONGEST_WORD) and text[first - 1].isalnum():
        first -= 1
    while last < min(len(text), start + 2 * search.LONGEST_WORD) and text[last].isalnum():
        last += 1
    word = text[first:last]
    if len(word) > search.LONGEST_WORD or not word.isalpha():
        return ""
    entry = dict(zip(LISTS, look_up(word), strict=True))
    if (first, last) != (start, end):
        return INSIDE if any(entry.values()) else ""
    if pii_type == NAME_STUDENT:
        return ORDINARY if is_ordinary_at(text, start, end) else ""
    is_word = 0 < entry["commonness"] < MISSPELT and not entry["first name"] and not entry["surname"]
    is_place = pii_type == STREET_ADDRESS and bool(entry["place"])
    return ORDINARY if is_word or is_place or search.is_ordinary(word) else ""


def evaluate_redaction(
    documents: Iterable[Document], labels: Iterable[Sequence[str]], settings: Redaction
) -> "pd.DataFrame":
    """Redact labelled documents by predicted `labels` (document, token), and compare with their true labels.

    An identifier is a string that is labelled in a document. It survives if one of its labelled places is not replaced,
    or if the leak check finds it, or a part of it, in the released text without a reason.

    Returns:
        A table: `good` of `n` are removed (identifiers, per type and all), without a leak (documents with PII),
        replaced (rows), or left alone (words that are not PII). `low` and `high` are the exact binomial interval of
        the share, `bound` its lower confidence bound. Counts of one document are not independent: the true bounds are
        wider.
    """
    import pandas as pd
    from scipy.stats import binomtest

    from pii_kit.metrics import LEVEL, recall_bound

    counts = {name: [0, 0] for name in (IDENTIFIERS, *PII_TYPES, DOCUMENTS, ROWS, WORDS)}  # good, bad
    for document, predicted in zip(documents, labels, strict=True):
        redacted = redact_document(document, predicted, settings)
        edges = token_edges(document)
        replaced = [False] * len(document.tokens)  # whether what is PII in a token is: "Ana" of "Ana(group"
        for change in redacted.changes:
            first, end = covered_tokens(edges, change.start, change.end)
            replaced[first:end] = [True] * (end - first)
        left: dict[search.Target, bool] = {}  # type, identifier → whether it survives
        for first, end, pii_type in spans_of(true_labels(document)):
            string = join_tokens(document.tokens[first:end], document.trailing_whitespace[first:end]).strip()
            if _is_word(string):
                found = _find(redacted.text, _finders({(string, pii_type)}), settings)
                is_left = any(_is_word(document.tokens[n]) and not replaced[n] for n in range(first, end))
                key = pii_type, search.identity_of(string, pii_type)
                left[key] = left.get(key, False) or is_left or any(not reason for _, reason in found.values())
        counted = [(name, survives) for (pii_type, _), survives in left.items() for name in (IDENTIFIERS, pii_type)]
        counted += [(DOCUMENTS, any(left.values()))] * bool(left)
        for token, label, is_replaced in zip(document.tokens, true_labels(document), replaced, strict=True):
            if label != OUTSIDE:
                counted.append((ROWS, not is_replaced))
            elif _is_word(token):
                counted.append((WORDS, is_replaced))
        for name, is_bad in counted:
            counts[name][is_bad] += 1
    table = pd.DataFrame(counts, index=["good", "bad"]).T
    table = table.assign(n=table.sum(axis=1)).query("n > 0")
    intervals = [binomtest(good, n).proportion_ci(LEVEL) for good, n in zip(table["good"], table["n"], strict=True)]
    table[["low", "high"]] = [(interval.low, interval.high) for interval in intervals]
    bounds = list(map(recall_bound, table["good"], table["bad"]))
    table = table.assign(share=table["good"] / table["n"], bound=bounds)
    return table[["n", "good", "share", "low", "high", "bound"]].astype(float)


def _is_word(text: str) -> bool:
    return any(map(str.isalnum, text))
