"""Find strings in a text, in time that does not grow with their number."""

import re
import unicodedata
from collections.abc import Iterable, Iterator

LEAST_SYMBOLS = 3  # letters and digits of a string that is searched for
WORD = re.compile(r"[^\W_]+")


def fold(text: str) -> str:
    """Return a text of the same length without casing and accents.

    >>> fold("José ÅBC")
    'jose abc'
    """
    if text.isascii():
        return text.lower()
    return text.translate({ord(character): _plain(character) for character in {*text}})


def _plain(character: str) -> str:
    decomposed = unicodedata.normalize("NFKD", character)
    plain = decomposed[0] if all(map(unicodedata.combining, decomposed[1:])) else character
    return plain.lower() if len(plain.lower()) == 1 else plain


class Finder:
    """Finds strings as sequences of words: in any casing, with or without accents, never inside a longer word.

    Between the words there must be the same characters, spaces of any kind and number; if `loose`, any that are no
    letters and digits. Strings of fewer letters and digits than `least` are not found, except two-letter names such as
    "Li" in their own casing.
    """

    def __init__(self, strings: Iterable[str], *, loose: bool = False, least: int = LEAST_SYMBOLS) -> None:
        self._by_word: dict[str, list[tuple[re.Pattern, str, str, str, bool]]] = {}
        for string in sorted(set(strings), key=lambda string: (-len(string), string)):
            n_symbols = sum(map(str.isalnum, string))
            exact = n_symbols < least
            folded = fold(string)
            matches = list(WORD.finditer(folded))
            if not matches or (exact and not re.fullmatch("[A-Z][a-z]", string)):
                continue
            first, last = matches[0].start(), matches[-1].end()
            words = [re.escape(match[0]) for match in matches]
            between = [
                r"\s+".join(map(re.escape, re.split(r"\s+", gap))) for gap in WORD.split(folded[first:last])[1:-1]
            ]
            gaps = [r"[\W_]+"] * len(between) if loose else between
            body = words[0] + "".join(gap + word for gap, word in zip(gaps, words[1:], strict=True))
            entry = re.compile(body + r"(?![^\W_])"), folded[:first], folded[last:], string, exact
            self._by_word.setdefault(matches[0][0], []).append(entry)

    def find(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Yield (start, end, string) of each match by place; at one place longer strings first."""
        if not self._by_word:
            return
        folded = fold(text)
        for match in WORD.finditer(folded):
            for pattern, before, after, string, exact in self._by_word.get(match[0], ()):
                found = pattern.match(folded, match.start())
                if found and not (exact and text[found.start() : found.end()] != string):
                    start, end = found.span()
                    start -= len(before) * folded.endswith(before, 0, start)
                    end += len(after) * folded.startswith(after, end)
                    yield start, end, string
