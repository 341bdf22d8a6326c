"""Replace the labelled spans of one document, what a pattern finds for sure, and every further mention of them."""

import re
import secrets
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from hashlib import sha256
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING

from pii_kit import patterns
from pii_kit.documents import Document, covered_tokens, document_of_text, document_to_label, join_tokens, token_edges
from pii_kit.files import KitError
from pii_kit.labels import (
    EMAIL,
    ID_NUM,
    NAME_STUDENT,
    OUTSIDE,
    PHONE_NUM,
    PII_TYPES,
    STREET_ADDRESS,
    label_span,
    spans_of,
)
from pii_kit.lexicon import COMMON, LISTS, look_up
from pii_kit.redact import search
from pii_kit.redact.surrogates import PLACEHOLDER, replacer_of
from pii_kit.rules import CONNECTORS, is_name_word

if TYPE_CHECKING:
    from pii_kit.predict import Tagger

MODES = ("mask", "type", "surrogate", "hash")
LEAST_KEY = 16  # bytes
FORMULA = "=+-@\t\r"  # a cell that starts so is a formula to a spreadsheet
SENTENCE_START = 20  # characters before a word that are looked at
SENTENCE_ENDS = (".", "!", "?", "…", ":", "\n", "\r", "•")
Span = tuple[int, int]  # start, end, in characters
Place = tuple[int, int, str, str]  # start, end, PII type, and what found it, or why it stays

_TAG = re.compile(r"</?[A-Za-z]\w*[^<>\w]?>?|^/?\w+>|\\[A-Za-z]+\{?")
_NAME_RUN = re.compile(rf"(?:{search.ENTITY}|[^\W\d_]|[\u0300-\u036f\u00ad\u200b-\u200f'’ʼ‘`´.,\s‐‑–-])+")
_EDGES = " \t\r\n.,-‐‑–'’ʼ‘`´\u200b\ufeff"
_BEFORE_NAME = re.compile(r"(?<![\w.])(?:(?:[^\W\d_]\.[ -]?)+|[B-HJ-Z] |([^\W\d_]+)[ -])$")
_PARTICLES = "|".join(sorted(filter(str.isalpha, CONNECTORS)))
_AFTER_NAME = re.compile(
    r"(?: (?:[A-Z]\.){1,3}(?!\w)|, (?:[A-Z]\.){1,3}(?! [A-Z]|\w)"
    rf"|[ -](?:(?:{_PARTICLES}) )*([^\W\d_][\w'’]*)(?![\w@]))"
)
_NUMBERS = {
    ID_NUM: re.compile(r"(?<![^\W_])(?:[A-Z]{1,4}[-.]?)?\d(?:[-‐‑–./]?\d)*"),
    PHONE_NUM: re.compile(rf"[+(]{{0,2}}\d(?:[-‐‑–./() ]{{0,2}}\d)*(?:{search.EXTENSION})?", re.IGNORECASE),
}
_CUE = re.compile(
    r"\W{0,3}\b(?:student |national |my )*(ID|SSN|phone|tel|mobile|e-?mail)\b(?: (?:no|number|is))*[.:#\s]*",
    re.IGNORECASE,
)
_NAME_CUE = re.compile(r"(?:\bname(?: is|:)|\bI am|\bI['’]m|\bby)\s*$", re.IGNORECASE)
_NO_ADDRESS = frozenset(("mailto", "email", "mail", "e", "contact", "and", "or"))


@dataclass(frozen=True, kw_only=True)
class Redaction:
    """How to redact. Raises KitError if a value cannot be used.

    Args:
        mode: what takes the place of PII: "mask" (█), "type", "surrogate" or "hash", which needs a key.
        seed: equal seeds draw equal surrogates; without one they cannot be drawn again.
        key: with a key, equal strings have equal surrogates in all documents; without, in one document.
        mentions: whether further mentions of what was found are replaced.
        patterns: whether what `pii_kit.patterns` finds is replaced too.
        allow: strings that are never replaced.
        deny: strings that are always replaced, as names, or pairs of a string and its PII type.
    """

    mode: str
    seed: int | None = None
    drawn_seed: int = field(init=False, repr=False, compare=False)
    key: bytes | None = field(default=None, repr=False)
    mentions: bool = True
    patterns: bool = True
    allow: Collection[str] = ()
    deny: Collection[str | tuple[str, str]] = ()

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise KitError(f"mode is {self.mode!r}; expected one of {', '.join(MODES)}")
        if self.mode == "hash" and self.key is None:
            raise KitError("mode hash needs a key: --key-file FILE, or the environment variable PII_KIT_KEY")
        if self.key is not None and not (isinstance(self.key, bytes) and len(self.key.strip()) >= LEAST_KEY):
            raise KitError(f"the key is too short; expected at least {LEAST_KEY} random bytes, better 32")
        allow = [self.allow] if isinstance(self.allow, str) else self.allow
        deny = [self.deny] if isinstance(self.deny, str) else self.deny
        pairs = [(entry, NAME_STUDENT) if isinstance(entry, str) else tuple(entry) for entry in deny]
        for text, pii_type in [*((text, NAME_STUDENT) for text in allow), *pairs]:
            if not (isinstance(text, str) and any(map(str.isalnum, text)) and pii_type in PII_TYPES):
                raise KitError("allow and deny: expected strings with a letter or digit; deny: also with a PII type")
        if {*map(search.fold_plainly, allow)} & {search.fold_plainly(text) for text, _ in pairs}:
            raise KitError("a string is both allowed and denied; remove it from one of the lists")
        object.__setattr__(self, "allow", tuple(sorted(allow)))
        object.__setattr__(self, "deny", tuple(pairs))
        object.__setattr__(self, "drawn_seed", secrets.randbits(63) if self.seed is None else self.seed)


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A replaced part of a text: its place in the original and in the new text, in characters.

    `source` says what found it: a "label", a "pattern", "denied", or a "mention" of what the others found.
    """

    start: int
    end: int
    new_start: int
    pii_type: str
    source: str
    original: str
    text: str

    @property
    def new_end(self) -> int:
        return self.new_start + len(self.text)


@dataclass(frozen=True, kw_only=True)
class Redacted:
    """A redacted text with its original document and what was changed, in order.

    `kept` lists what was found and stays: places in the original, with the reason.
    """

    original: Document
    text: str
    changes: tuple[Change, ...] = ()
    kept: tuple[Place, ...] = ()

    @cached_property
    def document(self) -> Document:
        """The new text as a document: tokenized anew, with the labels of the original at the same characters."""
        if not self.changes:
            return self.original
        new = document_of_text(self.text, self.original.number)
        if self.original.labels is None:
            return new
        labels, old_edges, edges = [OUTSIDE] * len(new.tokens), token_edges(self.original), token_edges(new)
        for first, end_token, pii_type in spans_of(self.original.labels):
            end = old_edges[end_token - 1] + len(self.original.tokens[end_token - 1])
            first, last = covered_tokens(edges, self._moved(old_edges[first]), self._moved(end, is_end=True))
            while first < last and labels[first] != OUTSIDE:
                first += 1
            if first < last:
                label_span(labels, first, last, pii_type)
        return replace(new, labels=tuple(labels))

    def _moved(self, place: int, *, is_end: bool = False) -> int:
        """Return where a place of the original is in the new text; a place inside a change moves to its edge."""
        index = bisect_right(self.changes, place - is_end, key=attrgetter("start"))
        if not index:
            return place
        change = self.changes[index - 1]
        if place < change.end + is_end:
            return change.new_end if is_end else change.new_start
        return place + change.new_end - change.end


def redact_text(text: str, tagger: "Tagger", settings: Redaction) -> str:
    """Return a text of any length without the PII that a tagger and patterns find.

    Without a key, surrogates depend on the whole text: so the authors of two texts do not get the same name.
    Raises KitError if `text` is no text, such as the None of an empty cell.

    >>> redact_text("My name is Ana Silva.", tagger, Redaction(mode="type"))  # doctest: +SKIP
    'My name is [NAME_STUDENT].'
    """
    document = document_to_label(text)
    number = int.from_bytes(sha256(text.encode("utf-8", "surrogatepass")).digest()[:7])
    ((document, probabilities),) = tagger.predict([replace(document, number=number)])
    return redact_document(document, tagger.decide(document, probabilities, keep_sure=True), settings).text


def redact_document(
    document: Document, labels: Sequence[str], settings: Redaction, *, in_spreadsheet: bool = False
) -> Redacted:
    """Replace the spans of `labels` (token), what patterns find, and further mentions; other text is unchanged.

    The text is that of the joined tokens. A span of a name is trimmed to its letters and takes initials and names
    beside it along; a part of a number or an address becomes the whole. `in_spreadsheet`: no text becomes a formula.
    """
    text = join_tokens(document.tokens, document.trailing_whitespace)
    folded = search.fold_with_places(text)
    stays = [(*match.span(), "", "placeholder") for match in PLACEHOLDER.finditer(text)]
    stays += [(start, end, "", "allowed") for start, end, _ in finder_of(tuple(settings.allow)).find(folded)]
    fixed = _joined(stays)
    found = find_places(document, text, labels, with_patterns=settings.patterns)
    places, kept = _without(fixed, text, found)
    if settings.deny:
        types = dict(settings.deny)  # type: ignore[arg-type]  # pairs, see Redaction
        denied = finder_of(tuple(types)).find(folded)
        places = _joined([*places, *((start, end, types[string], "denied") for start, end, (string, _) in denied)])
    if settings.mentions and places:
        mentions, more = _mentions(folded, places, fixed)
        places, kept = sorted([*places, *mentions]), kept + more
    replacement = replacer_of(settings, document.number, folded.text, [(text[a:b], kind) for a, b, kind, _ in places])
    changes: list[Change] = []
    parts: list[str] = []
    done = length = 0
    for start, end, pii_type, source in places:
        new = replacement(text[start:end], pii_type)
        if in_spreadsheet and not text[:start].strip():
            new = new.lstrip(FORMULA) or f"[{pii_type}]"
        parts += text[done:start], new
        place = {"start": start, "end": end, "new_start": length + start - done}
        changes.append(Change(**place, pii_type=pii_type, source=source, original=text[start:end], text=new))
        done, length = end, changes[-1].new_end
    original = document if document.full_text == text else replace(document, full_text=text)
    return Redacted(original=original, text="".join([*parts, text[done:]]), changes=tuple(changes), kept=tuple(kept))


def find_places(document: Document, text: str, labels: Sequence[str], *, with_patterns: bool = True) -> list[Place]:
    """Return the places of PII in the text of a document, as they are replaced: by its labels, and by patterns."""
    found: list[Place] = [(*span, "label") for span in _labelled(document, text, labels)]
    found += [(*place, "pattern") for place in patterns.find(text)] if with_patterns else []
    return _joined(found)


@lru_cache(maxsize=2)
def finder_of(strings: tuple[str, ...]) -> search.Finder:
    return search.Finder((string, "") for string in strings)


def _labelled(document: Document, text: str, labels: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Yield the labelled spans as they are replaced: trimmed, split and extended."""
    edges = token_edges(document)
    spans: list[tuple[int, int, str]] = []
    for first, end, pii_type in spans_of(labels):
        place = edges[first], edges[end - 1] + len(document.tokens[end - 1]), pii_type
        is_part = pii_type == STREET_ADDRESS and spans and spans[-1][2] == STREET_ADDRESS
        if is_part and len(text[spans[-1][1] : place[0]].split()) <= 1 and place[0] - spans[-1][1] < SENTENCE_START:
            spans[-1] = spans[-1][0], place[1], STREET_ADDRESS  # a gap of one token
        else:
            spans.append(place)
    for start, end, pii_type in spans:
        if not any(map(str.isalnum, text[start:end])):
            continue
        for begin, stop, kind in _split(text, start, end, pii_type):
            span = text[begin:stop]
            begin, stop = stop - len(span.lstrip()), begin + len(span.rstrip())
            if kind == NAME_STUDENT:
                yield from ((*_with_neighbours(text, *part), kind) for part in _name_parts(text, begin, stop))
            elif begin < stop:
                yield *_whole_number(text, begin, stop, kind), kind


def _split(text: str, start: int, end: int, pii_type: str) -> Iterator[tuple[int, int, str]]:
    """Split a span of several addresses, and an address that is a name and a number ("Ana Silva, ID 204188")."""
    if pii_type == EMAIL and (found := [span for *span, kind in patterns.find(text[start:end]) if kind == EMAIL]):
        done = start
        for first, last in [*((start + a, start + b) for a, b in found), (end, end)]:
            if {*re.findall(r"[^\W_]+", text[done:first].lower())} - _NO_ADDRESS:
                yield done, first, EMAIL
            yield first, last, EMAIL
            done = last
    elif pii_type == STREET_ADDRESS:
        kind, done = "", start
        for cue in [*_CUE.finditer(text, start, end), None]:
            stop = cue.start() if cue else end
            has_digit, has_letter = (any(map(test, text[done:stop])) for test in (str.isdigit, str.isalpha))
            if not kind:
                kind = (
                    NAME_STUDENT
                    if not has_digit and (cue or _NAME_CUE.search(text[max(0, done - SENTENCE_START) : done]))
                    else STREET_ADDRESS
                )
            if has_digit or has_letter:
                yield done, stop, kind if has_digit or kind == NAME_STUDENT else STREET_ADDRESS
            if cue:
                kind, done = (ID_NUM if cue[1].upper() in ("ID", "SSN") else PHONE_NUM), cue.end()
    else:
        yield start, end, pii_type


def _name_parts(text: str, start: int, end: int) -> list[Span]:
    """Return the names in a span, without what is glued to them: "•Ana", "Ana(group", "<b>Ana</b>", "Ana|Class"."""
    span = _TAG.sub(lambda tag: "|" * len(tag[0]), text[start:end])
    parts = []
    for run in _NAME_RUN.finditer(span):
        first, last = run.end() - len(run[0].lstrip(_EDGES)), run.start() + len(run[0].rstrip(_EDGES))
        if last - first > 2 and re.fullmatch("['’ʼ][sS]", span[last - 2 : last]):
            last -= 2
        if first < last:
            parts.append((start + first, start + last))
    names = [part for part in parts if any(map(_may_be_name, text[slice(*part)].split()))]
    return (names if len(parts) > 1 and names else parts) or [(start, end)]


def _may_be_name(word: str) -> bool:
    return len(word) > 1 and not search.is_ordinary(word) and is_name_word(word.title())


def _with_neighbours(text: str, start: int, end: int) -> Span:
    """Extend a name by initials and by words beside it that look like names: "I. Oyelaran", "~Bo Silva"."""
    is_lower = text[start:end].islower()
    for _ in range(2):
        before = _BEFORE_NAME.search(text, max(0, start - 2 * SENTENCE_START), start)
        is_initial = before and not before[1] and before[0][0].isupper()
        if not before or not (is_initial or _is_name(before[1], "first name", is_lower)):
            break
        start = before.start()
    after = _AFTER_NAME.match(text, end)
    if after and (not after[1] or _is_name(after[1], "surname", is_lower)):
        end = after.end()
    return start, end


def _is_name(word: str | None, part: str, is_lower: bool) -> bool:
    """Return whether a word beside a name belongs to it: it is cased like a name, and no common word or place."""
    if not word or len(word) > search.LONGEST_WORD or word.casefold() in search.SUFFIXES:
        return False
    known = dict(zip(LISTS, look_up(word), strict=True))
    is_cased = word[0].isupper() or (is_lower and word.islower())
    is_rare = known["commonness"] < COMMON + (known[part] > 0) and (known[part] > 0 or known["place"] < 2)
    return is_cased and is_rare and is_name_word(word.title())


def _whole_number(text: str, start: int, end: int, pii_type: str) -> Span:
    """Extend a span to all of a number that it touches, with its extension."""
    if pii_type in _NUMBERS:
        for match in _NUMBERS[pii_type].finditer(text, max(0, start - 2 * SENTENCE_START), end + 3 * SENTENCE_START):
            if match.start() < end and start < match.end():
                start, end = min(start, match.start()), max(end, match.end())
    return start, end


def _joined(places: Iterable[Place]) -> list[Place]:
    """Return places in order, overlapping ones joined; a joined place has the type and source of the longest."""
    joined: list[Place] = []
    for place in sorted(places):
        if joined and place[0] < joined[-1][1]:
            before = joined.pop()
            longer = before if before[1] - before[0] >= place[1] - place[0] else place
            place = before[0], max(before[1], place[1]), *longer[2:]
        joined.append(place)
    return joined


def _without(fixed: Sequence[Place], text: str, places: Iterable[Place]) -> tuple[list[Place], list[Place]]:
    """Cut `fixed` places out of others; return what is left of these, and what was cut out."""
    left: list[Place] = []
    kept: list[Place] = []
    for start, end, pii_type, source in places:
        index, done = bisect_right(fixed, start, key=itemgetter(1)), start
        while done < end:
            first, last = fixed[index][:2] if index < len(fixed) else (end, end)
            piece = text[done : min(first, end)].strip(_EDGES)
            if first < end and fixed[index][3] == "allowed":
                kept.append((max(start, first), min(end, last), pii_type, "allowed"))
            if done == start and first >= end:
                left.append((start, end, pii_type, source))
            elif any(map(str.isalnum, piece)):
                begin = text.index(piece, done)
                left.append((begin, begin + len(piece), pii_type, source))
            index, done = index + 1, max(done, last)
    return left, kept


def _mentions(
    folded: search.Folded, places: Sequence[Place], fixed: Sequence[Place]
) -> tuple[list[Place], list[Place]]:
    """Return the further mentions of places, and those that stay because they are allowed or ordinary words."""
    text = folded.original
    targets = {target for start, end, kind, _ in places for target in search.targets_of(text[start:end], kind)}
    more = targets
    while more:  # a name beside a mention is searched too
        targets |= more
        found, more = [], set()
        for start, end, (_, pii_type) in search.Finder(targets).find(folded):
            place = _with_neighbours(text, start, end) if pii_type == NAME_STUDENT else (start, end)
            found.append((*place, pii_type, "mention"))
            if place != (start, end):
                more |= {*search.targets_of(text[slice(*place)], pii_type)} - targets
    others, _ = _without(places, text, _joined(found))
    others, kept = _without(fixed, text, others)
    mentions = []
    for start, end, pii_type, source in others:
        if is_ordinary_at(text, start, end):
            kept.append((start, end, pii_type, "ordinary word"))
        else:
            mentions.append((start, end, pii_type, source))
    return mentions, kept


def is_ordinary_at(text: str, start: int, end: int) -> bool:
    """Return whether a word is an ordinary one in its casing at its place.

    >>> [is_ordinary_at("So. Will you? I saw Will.", *place) for place in ((4, 8), (20, 24))]
    [True, False]
    """
    word = text[start:end]
    before = text[max(0, start - SENTENCE_START) : start].rstrip(" \t\"'“‘(")
    starts_sentence = not before or before.endswith(SENTENCE_ENDS)
    return (word.islower() or (word.istitle() and starts_sentence)) and search.is_ordinary(word)
