"""Search the released text for what was replaced: whatever survives is listed, with a reason if there is one."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pii_kit.labels import NAME_STUDENT, STREET_ADDRESS
from pii_kit.lexicon import LISTS, MISSPELT, look_up
from pii_kit.redact import LONGEST_WORD, Redacted, Redaction, is_ordinary, normalise, parts_of
from pii_kit.redact.document import starts_sentence
from pii_kit.redact.finder import Finder, fold
from pii_kit.redact.forms import Item

ORDINARY, INSIDE, ALLOWED = "ordinary word", "part of another word", "allowed"
OTHER_DOCUMENT = "one-word string of another document"
Found = dict[tuple[int, int], tuple[str, str]]  # place → type, reason


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
    holders: dict[str, dict[int, str]] = {}  # string → documents that hold it, with its type
    for one in redacted if settings.is_global else ():
        for change in one.changes:
            holders.setdefault(change.original, {})[one.document.number] = change.pii_type
    finder = Finder(holders, loose=True)
    leaks = []
    for item, one in zip(items, redacted, strict=True):
        for name, text in {"full_text": one.document.full_text, **item.others}.items():
            own = {change.original: change.pii_type for change in one.changes}
            found = {**_elsewhere(text, one, finder, holders), **_find(text, own, settings)}
            for (start, end), (pii_type, reason) in sorted(found.items()):
                if name != "full_text" or not _is_placeholder(one, start, end):
                    leak = Leak(
                        document=item.document.number, field=name, start=start, pii_type=pii_type, reason=reason
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


def survives_in(redacted: Redacted, string: str, pii_type: str, settings: Redaction) -> bool:
    """Return whether a string, or a part of it, is in the new text of a document without a reason."""
    found = _find(redacted.document.full_text, {string: pii_type}, settings)
    return any(not reason and not _is_placeholder(redacted, *place) for place, (_, reason) in found.items())


def _find(text: str, types: Mapping[str, str], settings: Redaction) -> Found:
    """Find strings and parts of strings, given with their types; parts also inside words."""
    if not types:
        return {}
    places = [(start, end, types[string]) for start, end, string in Finder(types, loose=True).find(text)]
    folded = fold(text)
    parts = {fold(part): pii_type for string, pii_type in types.items() for part in parts_of(string, pii_type)}
    for part, pii_type in parts.items():
        start = folded.find(part)
        while start >= 0:
            places.append((start, start + len(part), pii_type))
            start = folded.find(part, start + len(part))
    return {(start, end): (pii_type, _reason(text, start, end, pii_type, settings)) for start, end, pii_type in places}


def _elsewhere(text: str, redacted: Redacted, finder: Finder, holders: Mapping[str, Mapping[int, str]]) -> Found:
    """Find strings that were replaced in other documents."""
    found: Found = {}
    for start, end, string in finder.find(text):
        if redacted.document.number not in holders[string]:
            reason = OTHER_DOCUMENT if string.isalpha() else ""
            found[start, end] = next(iter(holders[string].values())), reason
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
