"""Search the released text for what was replaced: whatever survives is listed, with a reason if there is one."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pii_kit.labels import NAME_STUDENT, STREET_ADDRESS
from pii_kit.lexicon import LISTS, MISSPELT, look_up, without_accents
from pii_kit.redact import LONGEST_WORD, Redacted, Redaction, fold, is_ordinary, normalise, parts_of
from pii_kit.redact.document import LEAST_MENTION, pattern_of, starts_sentence
from pii_kit.redact.forms import Item

WORD = re.compile(r"[^\W_]+")
ORDINARY, INSIDE, ALLOWED = "ordinary word", "part of another word", "allowed"
OTHER_DOCUMENT = "single word of another document"
Wholes = dict[tuple[str, ...], dict[int, str]]  # folded words of a replaced string → documents that hold it, with type


@dataclass(frozen=True, kw_only=True, slots=True)
class Leak:
    """A replaced string or part of it in the released text of `field`; `reason` is empty if nothing explains it."""

    document: int
    field: str
    start: int
    pii_type: str
    reason: str


def find_leaks(items: Sequence[Item], redacted: Sequence[Redacted], settings: Redaction) -> list[Leak]:
    """Return what survives of the replaced strings in the new text and in the other fields of each document.

    Whole strings and their parts are searched in their own document. Where identities are global, whole strings are
    also searched in all other documents.
    """
    wholes: Wholes = {}
    if settings.is_global:
        for one in redacted:
            for change in one.changes:
                words = tuple(map(fold, WORD.findall(change.original)))
                if sum(map(len, words)) >= LEAST_MENTION:
                    wholes.setdefault(words, {}).setdefault(one.document.document, change.pii_type)
    lengths: dict[str, set[int]] = {}
    for words in wholes:
        lengths.setdefault(words[0], set()).add(len(words))
    leaks = []
    for item, one in zip(items, redacted, strict=True):
        for name, text in {"full_text": one.document.full_text, **item.others}.items():
            found = {**_elsewhere(text, one, wholes, lengths), **_own(text, one, settings)}
            for (start, end), (pii_type, reason) in sorted(found.items()):
                if name != "full_text" or not _is_placeholder(one, start, end):
                    leak = Leak(
                        document=item.document.document, field=name, start=start, pii_type=pii_type, reason=reason
                    )
                    leaks.append(leak)
    return leaks


def _is_placeholder(redacted: Redacted, start: int, end: int) -> bool:
    """Return whether a place is inside a mask, a type or a hash: these hold nothing of the original."""
    place = bisect_right(redacted.changes, start, key=lambda change: change.new_start) - 1
    if place < 0 or end > redacted.changes[place].new_end:
        return False
    change = redacted.changes[place]
    return "█" in change.text or change.text.startswith((f"[{change.pii_type}]", f"[{change.pii_type}:"))


Found = dict[tuple[int, int], tuple[str, str]]  # place → type, reason


def _own(text: str, redacted: Redacted, settings: Redaction) -> Found:
    types: dict[str, str] = {}
    parts: dict[str, str] = {}
    for change in redacted.changes:
        types.setdefault(" ".join(change.original.split()), change.pii_type)
        for part in parts_of(change.original, change.pii_type):
            for form in (part, without_accents(part)):
                parts.setdefault(form.casefold(), change.pii_type)
    found: Found = {}
    for strings, pattern in (
        (list(types.items()), pattern_of(tuple(types))),
        (list(parts.items()), _anywhere(list(parts))),
    ):
        for match in pattern.finditer(text) if pattern else ():
            pii_type = strings[(match.lastindex or 1) - 1][1]
            found.setdefault(match.span(), (pii_type, _reason(text, *match.span(), pii_type, settings)))
    return found


def _anywhere(parts: Sequence[str]) -> re.Pattern | None:
    """Return a pattern of strings in any casing, also inside words, with one group for each."""
    return re.compile("|".join(f"({re.escape(part)})" for part in parts), re.IGNORECASE) if parts else None


def _elsewhere(text: str, redacted: Redacted, wholes: Wholes, lengths: Mapping[str, set[int]]) -> Found:
    """Find strings that were replaced in other documents, as sequences of words."""
    if not wholes:
        return {}
    matches = list(WORD.finditer(text))
    words = [fold(match[0]) for match in matches]
    found: Found = {}
    for first, word in enumerate(words):
        for n_words in lengths.get(word, ()):
            holders = wholes.get(tuple(words[first : first + n_words]), {})
            if holders and redacted.document.document not in holders:
                reason = OTHER_DOCUMENT if n_words == 1 and word.isalpha() else ""
                place = matches[first].start(), matches[first + n_words - 1].end()
                found[place] = next(iter(holders.values())), reason
    return found


def _reason(text: str, start: int, end: int, pii_type: str, settings: Redaction) -> str:
    """Return why a string may stay, empty if nothing explains it."""
    word_start, word_end = _word_around(text, start, end)
    word = text[word_start:word_end]
    if {normalise(text[start:end]), normalise(word)} & settings.allow:
        return ALLOWED
    if len(word) > LONGEST_WORD or not word.isalpha():
        return ""
    entry = dict(zip(LISTS, look_up(word), strict=True))
    if (word_start, word_end) != (start, end):
        return INSIDE if any(entry.values()) else ""
    if pii_type == NAME_STUDENT:
        as_word = word.islower() or (word.istitle() and starts_sentence(text, start))
        return ORDINARY if as_word and is_ordinary(word) else ""
    is_word = 0 < entry["commonness"] < MISSPELT and not entry["first name"] and not entry["surname"]
    is_place = pii_type == STREET_ADDRESS and bool(entry["place"])
    return ORDINARY if is_word or is_place or is_ordinary(word) else ""


def _word_around(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the place of the letters and digits around a place; a longer run than any word is cut."""
    first = start
    while first > max(0, start - LONGEST_WORD) and text[first - 1].isalnum():
        first -= 1
    while end < min(len(text), start + 2 * LONGEST_WORD) and text[end].isalnum():
        end += 1
    return first, end


def unexplained(leaks: Sequence[Leak]) -> Iterator[Leak]:
    """Yield the leaks without a reason."""
    return (leak for leak in leaks if not leak.reason)
