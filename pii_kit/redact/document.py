"""Replace the labelled spans of one document, and every further mention of them."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING

from pii_kit.decide import repair_bio
from pii_kit.documents import Document, document_of_text, join_tokens, token_edges, tokenize
from pii_kit.labels import ID_NUM, NAME_STUDENT, OUTSIDE, PHONE_NUM, spans_of
from pii_kit.redact import Change, Kept, Redacted, Redaction, is_ordinary, name_words, normalise
from pii_kit.redact.finder import LEAST_SYMBOLS, Finder
from pii_kit.redact.replacements import replacer_of

if TYPE_CHECKING:
    from pii_kit.predict import Tagger

FORMULA = "=+-@\t\r"  # a cell of a CSV file that starts so is a formula to a spreadsheet
SENTENCE_START = 20  # characters before a word that are looked at
SENTENCE_ENDS = (".", "!", "?", "…", ":", "\n", "\r", "•")
NUMBERS = {
    ID_NUM: re.compile(r"\d(?:[-‐‑–./]?\d)*"),
    PHONE_NUM: re.compile(r"\d(?:(?:[-‐‑–./ ]\(?|\)[- ]?)?\d)*"),
}
Place = tuple[int, int, str]  # start, end, PII type
Span = tuple[int, int]  # start, end


def redact_document(document: Document, labels: Sequence[str], settings: Redaction) -> Redacted:
    """Replace the spans of `labels` (token) and further mentions of them; text outside these is unchanged.

    A span that ends inside a phone number or an ID is extended to all its digits: taggers find some in parts.
    Tokens, whitespace and the document's own labels stay consistent: if a replacement has as many tokens as the
    original, they keep their labels, otherwise all of them get the type of the original's first label.
    """
    text = join_tokens(document.tokens, document.trailing_whitespace)
    starts = token_edges(document)
    document = replace(document, full_text=text)
    allowed = [place[:2] for place in _finder_of(settings.allow).find(text)]  # a span may be a part of such a string
    wanted, kept = _wanted(document, starts, labels, settings, allowed)
    if not wanted:
        return Redacted(document=_repaired(document), kept=tuple(kept))
    mentions: list[Place] = []
    if settings.mentions:
        mentions, kept_mentions = _mentions(text, wanted, settings, allowed)
        kept += kept_mentions
    changes = _changes(document, sorted(wanted + mentions), set(mentions), settings)
    return _apply(document, starts, changes, kept)


def redact_text(text: str, tagger: "Tagger", settings: Redaction) -> str:
    """Return a text of any length without the PII that a tagger finds.

    Without a key, surrogates depend on the whole text: so the authors of two texts do not get the same name.
    Raises KitError if `text` is no text, such as the None of an empty cell.
    """
    document = document_of_text(text)
    number = int.from_bytes(sha256(text.encode("utf-8", "surrogatepass")).digest()[:7])
    ((document, probabilities),) = tagger.predict([replace(document, number=number)])
    labels = tagger.decide(document, probabilities, keep_sure=True)
    return redact_document(document, labels, settings).document.full_text


def _repaired(document: Document) -> Document:
    return document if document.labels is None else replace(document, labels=tuple(repair_bio(document.labels)))


def _wanted(
    document: Document, starts: Sequence[int], labels: Sequence[str], settings: Redaction, allowed: Sequence[Span]
) -> tuple[list[Place], list[Kept]]:
    """Return the places of labelled spans and denied strings, overlapping ones joined, and the allowed spans."""
    text = document.full_text
    found: list[Place] = []
    kept: list[Kept] = []
    spans = spans_of(labels)
    numbers = numbers_in(text, {pii_type for _, _, pii_type in spans})
    for first, end_token, pii_type in spans:
        start, end = starts[first], starts[end_token - 1] + len(document.tokens[end_token - 1])
        span = text[start:end]
        start, end = end - len(span.lstrip()), start + len(span.rstrip())
        start, end = whole_number(start, end, numbers.get(pii_type, ()))
        span = text[start:end]
        if start < end and (normalise(span) in settings.allow or _is_inside(start, end, allowed)):
            kept.append(Kept(start=start, end=end, pii_type=pii_type, reason="allowed"))
        elif start < end:
            found.append((start, end, pii_type))
    if settings.deny:
        of_string = dict(settings.deny)
        denied = _finder_of(frozenset(of_string)).find(text)
        found += [(start, end, of_string[string]) for start, end, string in denied]
    joined: list[Place] = []
    for start, end, pii_type in sorted(found):
        if joined and start < joined[-1][1]:
            before = joined[-1]
            longer = before[2] if before[1] - before[0] >= end - start else pii_type
            joined[-1] = (before[0], max(before[1], end), longer)
        else:
            joined.append((start, end, pii_type))
    return joined, kept


def numbers_in(text: str, types: Collection[str]) -> dict[str, list[Span]]:
    """Return where a text may hold phone numbers or IDs, for those of the PII types that are numbers."""
    return {one: [match.span() for match in NUMBERS[one].finditer(text)] for one in types if one in NUMBERS}


def whole_number(start: int, end: int, numbers: Sequence[Span]) -> tuple[int, int]:
    """Extend a span to cover all numbers that it touches; `numbers` are their spans, in order.

    >>> whole_number(8, 12, [(5, 17), (20, 22)])
    (5, 17)
    """
    place = bisect_right(numbers, start, key=lambda number: number[1])
    while place < len(numbers) and numbers[place][0] < end:
        start, end = min(start, numbers[place][0]), max(end, numbers[place][1])
        place += 1
    return start, end


def _is_inside(start: int, end: int, spans: Sequence[Span]) -> bool:
    return any(first <= start and end <= last for first, last in spans)


@lru_cache(maxsize=2)
def _finder_of(strings: frozenset[str]) -> Finder:
    return Finder(strings, least=1)


def _mentions(
    text: str, wanted: Sequence[Place], settings: Redaction, allowed: Sequence[Span]
) -> tuple[list[Place], list[Kept]]:
    """Return the places outside `wanted` of the same strings and of parts of the same names, and those kept."""
    targets: dict[str, str] = {}  # string → PII type
    for start, end, pii_type in wanted:
        targets.setdefault(" ".join(text[start:end].split()), pii_type)
        if pii_type == NAME_STUDENT:
            words = name_words(text[start:end])
            short = [f"{words[0][0]}{dot} {words[-1]}" for dot in (".", "") if len(words) > 1]  # "A. Silva"
            for part in (*words, *short):
                if sum(map(str.isalpha, part)) >= LEAST_SYMBOLS:
                    targets.setdefault(part, pii_type)
    starts, ends = [place[0] for place in wanted], [place[1] for place in wanted]
    mentions: list[Place] = []
    kept: list[Kept] = []
    done = 0
    for start, end, string in Finder(targets).find(text):
        following = bisect_right(ends, start)
        if start < done or (following < len(wanted) and starts[following] < end):
            continue
        done, word, pii_type = end, text[start:end], targets[string]
        if normalise(word) in settings.allow or _is_inside(start, end, allowed):
            kept.append(Kept(start=start, end=end, pii_type=pii_type, reason="allowed"))
        elif _is_ordinary_at(text, start, end):
            kept.append(Kept(start=start, end=end, pii_type=pii_type, reason="ordinary word"))
        else:
            mentions.append((start, end, pii_type))
    return mentions, kept


def _is_ordinary_at(text: str, start: int, end: int) -> bool:
    word = text[start:end]
    return is_ordinary(word) and (word.islower() or (word.istitle() and starts_sentence(text, start)))


def starts_sentence(text: str, start: int) -> bool:
    """Return whether a sentence or line starts at a place; opening quotes and brackets do not count.

    >>> starts_sentence("So. “Will", 5), starts_sentence("So Will", 3)
    (True, False)
    """
    before = text[max(0, start - SENTENCE_START) : start].rstrip(" \t\"'“‘(")
    return not before or before.endswith(SENTENCE_ENDS)


def _changes(document: Document, places: Sequence[Place], mentions: set[Place], settings: Redaction) -> list[Change]:
    text = document.full_text
    replacement = replacer_of(settings, document, [(text[start:end], pii_type) for start, end, pii_type in places])
    first_visible = len(text) - len(text.lstrip())
    changes: list[Change] = []
    shift = 0
    for place in places:
        start, end, pii_type = place
        new = replacement(text[start:end], pii_type)
        if start <= first_visible:
            new = new.lstrip(FORMULA) or f"[{pii_type}]"
        change = Change(
            start=start,
            end=end,
            new_start=start + shift,
            pii_type=pii_type,
            original=text[start:end],
            text=new,
            is_mention=place in mentions,
        )
        changes.append(change)
        shift += len(new) - (end - start)
    return changes


def _apply(document: Document, starts: Sequence[int], changes: Sequence[Change], kept: Sequence[Kept]) -> Redacted:
    """Return the document with its changes; tokens that changes touch are tokenized anew."""
    ends = [start + len(token) for start, token in zip(starts, document.tokens, strict=False)]
    touched: list[tuple[int, int, list[Change]]] = []  # first token, end token, changes
    for change in changes:
        first, end = bisect_right(ends, change.start), bisect_left(starts, change.end, 0, len(ends))
        if touched and first < touched[-1][1]:
            touched[-1] = (touched[-1][0], max(end, touched[-1][1]), [*touched[-1][2], change])
        else:
            touched.append((first, end, [change]))
    tokens: list[str] = []
    spaces: list[bool] = []
    labels: list[str] = []
    regions = []
    done = 0
    for first, end, inside in [*touched, (len(ends), len(ends), [])]:
        tokens += document.tokens[done:first]
        spaces += document.trailing_whitespace[done:first]
        labels += (document.labels or ())[done:first]
        done = end
        if not inside:
            continue
        old = document.full_text[starts[first] : starts[end]]
        new = _replaced(old, starts[first], inside)
        cuts = [place - starts[first] for place in starts[first : end + 1]]
        if [c.isspace() for c in new] == [c.isspace() for c in old]:
            new_tokens = tuple(
                new[a : b - s]
                for (a, b), s in zip(pairwise(cuts), document.trailing_whitespace[first:end], strict=True)
            )
            new_spaces = document.trailing_whitespace[first:end]
        else:
            new_tokens, new_spaces = tokenize(new)
        regions.append((first, end, len(tokens), len(tokens) + len(new_tokens)))
        tokens += new_tokens
        spaces += new_spaces
        if document.labels is not None:
            labels += _labels_of(document.labels[first:end], len(new_tokens))
    redacted = Document(
        number=document.number,
        full_text=join_tokens(tokens, spaces),
        tokens=tuple(tokens),
        trailing_whitespace=tuple(spaces),
        labels=None if document.labels is None else tuple(labels),
    )
    return Redacted(document=_repaired(redacted), changes=tuple(changes), kept=tuple(kept), regions=tuple(regions))


def _replaced(text: str, offset: int, changes: Sequence[Change]) -> str:
    parts, done = [], 0
    for change in changes:
        parts += [text[done : change.start - offset], change.text]
        done = change.end - offset
    return "".join(parts) + text[done:]


def _labels_of(labels: Sequence[str], n_tokens: int) -> list[str]:
    """Return the labels of the tokens that replace a region with `labels`; a new region of one entity stays one."""
    if len(labels) == n_tokens:
        return list(labels)
    first = next((label for label in labels if label != OUTSIDE), OUTSIDE)
    return [first] + [first if first == OUTSIDE else f"I-{first[2:]}"] * (n_tokens - 1)
