"""What stands in place of PII: a mask, its type, a keyed hash, or a surrogate that is consistent."""

import hmac
import random
import re
from collections.abc import Callable, Sequence

from spacy.matcher.levenshtein import levenshtein  # type: ignore[import-not-found]

from pii_kit.augment.surrogates import Surrogates, faker_of, handle_of
from pii_kit.documents import Document
from pii_kit.labels import EMAIL, NAME_STUDENT, STREET_ADDRESS, URL_PERSONAL, USERNAME
from pii_kit.lexicon import LISTS, look_up
from pii_kit.redact import (
    LONGEST_WORD,
    NAME_WORD,
    RUNS,
    Redaction,
    is_ordinary,
    is_possessive,
    name_words,
    normalise,
)
from pii_kit.redact.finder import fold
from pii_kit.rules import CONNECTORS

TRIES = 60  # draws until a surrogate is unlike the original and new to the document; then the type replaces it
HASH_DIGITS = 12
LONGEST_COMPARED = 60  # characters
LEAST_HANDLE = 3  # letters of a name that is looked for in addresses and user names
ADDRESS = re.compile(r"[^\s@:<>]+@[^\s@<>]*[^\W_]")
SYMBOLS = re.compile(r"[^\W\d_]+|\d")
Replacement = Callable[[str, str], str]  # original, PII type → new text


def replacer_of(settings: Redaction, document: Document, originals: Sequence[tuple[str, str]]) -> Replacement:
    """Return the function that replaces the PII of a document; `originals` are all its strings with their types."""
    if settings.mode == "mask":
        return lambda original, _: re.sub(r"\S", "█", original)
    if settings.mode == "type":
        return lambda _, pii_type: f"[{pii_type}]"
    if settings.mode == "hash":
        return lambda original, pii_type: f"[{pii_type}:{_digest(settings.key or b'', normalise(original))}]"
    return DocumentSurrogates(settings, document, originals)


def _digest(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode("utf-8", "surrogatepass"), "sha256").hexdigest()[:HASH_DIGITS]


class DocumentSurrogates:
    """The surrogates of one document: a callable that maps an original and its PII type to its surrogate.

    Each surrogate has a random state of its own. With a key it is the HMAC of the original, so that all documents share
    it. Without, it comes from the seed, the document number and the position of the original among the document's,
    never from the original itself: otherwise anybody could try names until one gives the surrogate. A surrogate that
    is similar to its original or occurs in the document is drawn again; so even with a key a person can have another
    surrogate in a document that holds the usual one.
    """

    def __init__(self, settings: Redaction, document: Document, originals: Sequence[tuple[str, str]]) -> None:
        self._key = settings.key
        self._seed = f"{settings.seed}/{document.number}"
        self._positions: dict[str, int] = {}
        self._document = fold(document.full_text)
        self._drawn: dict[tuple[str, str], str] = {}
        self._words: dict[str, str] = {}  # folded name word → surrogate
        self._taken: set[str] = set()
        self._people = [list(map(fold, name_words(text))) for text, pii_type in originals if pii_type == NAME_STUDENT]
        for person in self._people:
            for word in person:
                if sum(map(str.isalpha, word)) > 1:
                    self._new_word(word)

    def __call__(self, original: str, pii_type: str) -> str:
        if pii_type == NAME_STUDENT:
            new = self._name(original)
            return new if fold(new) != fold(original) else f"[{pii_type}]"
        key = pii_type, normalise(original)
        if key not in self._drawn:
            self._drawn[key] = self._draw(" ".join(key), lambda draw: self._make(draw, original, pii_type), original)
        new = self._drawn[key] or f"[{pii_type}]"
        return new.upper() if original.isupper() and pii_type in (EMAIL, USERNAME) and self._drawn[key] else new

    def _random(self, string: str) -> random.Random:
        if self._key is None:
            return random.Random(f"{self._seed}/{self._positions.setdefault(string, len(self._positions))}")
        return random.Random(hmac.digest(self._key, string.encode("utf-8", "surrogatepass"), "sha256"))

    def _draw(self, string: str, make: Callable[[Surrogates], str], original: str) -> str:
        """Return the first new text that may replace the original, empty if there is none."""
        draw = Surrogates(self._random(string))
        for _ in range(TRIES):
            new = make(draw)
            if not is_similar(original, new) and not self._occurs(new.split("@")[0] or new):
                return new
        return ""

    def _occurs(self, new: str) -> bool:
        """Return whether the text or a part of it, other than an ordinary word, occurs in the document."""
        if len(new) >= LEAST_HANDLE and fold(new) in self._document:
            return True
        return any(fold(run) in self._document for run in RUNS.findall(new) if not is_ordinary(run))

    def _new_word(self, word: str) -> None:
        """Draw the surrogate of a name word; with a key it depends on the word alone, and is equal in all documents."""
        if word in self._words:
            return
        entry = dict(zip(LISTS, look_up(word[:LONGEST_WORD]), strict=True))
        part = "first" if entry["first name"] >= max(1, entry["surname"]) else "last"

        def draw_word(draw: Surrogates) -> str:
            draw.avoid |= self._taken
            return draw.word(part)

        new = self._draw(f"name {word}", draw_word, word)
        # A document that holds all names that were drawn gets one of random letters.
        self._words[word] = new or Surrogates(self._random(f"name {word}")).like("Xxxxxxx")
        self._taken |= {self._words[word].casefold()}

    def _name(self, text: str) -> str:
        """Replace each name word, initials by initials; connectors and what is between the words stay."""
        words = list(map(fold, name_words(text)))

        def new(match: re.Match) -> str:
            word = match[0]
            n_letters = sum(map(str.isalpha, word))
            if not n_letters or is_possessive(match) or (word in CONNECTORS and fold(word) not in words):
                return word
            if n_letters == 1:
                return _cased(self._initial(fold(word), words), word)
            self._new_word(fold(word))
            return _cased(self._words[fold(word)], word)

        draw = Surrogates(self._random(f"digits {normalise(text)}"))
        return re.sub(r"\d", lambda match: _other(match[0], draw), NAME_WORD.sub(new, text))

    def _initial(self, letter: str, words: Sequence[str]) -> str:
        """Return the initial of the surrogate of the name that a letter stands for; names with `words` come first."""
        others = {word for word in words if len(word) > 1}
        people = sorted(self._people, key=lambda person: not others <= {*person})
        for word in (word for person in people for word in person):
            if word in self._words and word[0] == letter[0]:
                return self._words[word][0]
        return self._random(f"initial {letter}").choice([c for c in "ABCDEGHJKLMNPRST" if c.lower() != letter])

    def _make(self, draw: Surrogates, original: str, pii_type: str) -> str:
        if pii_type == EMAIL and ADDRESS.search(original):
            return ADDRESS.sub(lambda match: self._address(match[0], draw), original)
        if pii_type == USERNAME:
            return self._handle(original, draw)
        if pii_type == URL_PERSONAL:
            return draw.url(self._names_in(original) or handle_of(draw.word("first") + draw.word("last")))
        if pii_type == STREET_ADDRESS:
            address = draw.address()
            return address if "\n" in original else re.sub(r"\s*\n\s*", ", ", address)
        return SYMBOLS.sub(lambda match: _other(match[0], draw), original)

    def _address(self, text: str, draw: Surrogates) -> str:
        return f"{self._handle(text.split('@')[0], draw)}@{faker_of(draw.rng, 'en_US').free_email_domain()}"

    def _handles(self) -> dict[str, str]:
        """Return name words as they are written in addresses → their surrogates, longest first."""
        handles = {handle_of(word): handle_of(new) for word, new in self._words.items()}
        return {word: handles[word] for word in sorted(handles, key=len, reverse=True) if len(word) >= LEAST_HANDLE}

    def _names_in(self, text: str) -> str:
        """Return the surrogates of the names in a text, joined; empty if it has none."""
        handles = self._handles()
        pattern = "|".join(map(re.escape, handles)) or "(?!)"
        return "".join(handles[match] for match in re.findall(pattern, fold(text)))

    def _handle(self, text: str, draw: Surrogates) -> str:
        """Return a user name like `text`: with the surrogates of the names in it, or a new name, and other digits."""
        handles = self._handles()
        pieces = re.split(f"({'|'.join(map(re.escape, handles))})", fold(text)) if handles else [text]
        if len(pieces) == 1:
            digits = "".join(_other(c, draw) for c in text if c.isdigit())
            return "@" * text.startswith("@") + handle_of(draw.word("first") + draw.word("last")) + digits
        casing = str.title if any(map(str.isupper, text)) else str
        for place, piece in enumerate(pieces):
            pieces[place] = casing(handles[piece]) if place % 2 else SYMBOLS.sub(self._beside_name(draw), piece)
        return "".join(pieces)

    def _beside_name(self, draw: Surrogates) -> Callable[[re.Match], str]:
        """Return what replaces letters and digits beside a name: initials by initials, ordinary words by themselves."""

        def new(match: re.Match) -> str:
            if len(match[0]) == 1 and match[0].isalpha():
                return handle_of(self._initial(match[0], ()))
            return match[0] if is_ordinary(match[0]) else _other(match[0], draw)

        return new


def _other(text: str, draw: Surrogates) -> str:
    """Replace letters by letters of the same casing and digits by digits; `text` has nothing else."""
    return draw.shaped("".join("#" if c.isdigit() else "?" if c.isupper() else "*" for c in text))


def _cased(new: str, old: str) -> str:
    return new.upper() if old.isupper() else new.lower() if old.islower() else new


def is_similar(original: str, new: str) -> bool:
    """Return whether a surrogate reveals too much of its original; domains of e-mail addresses do not count.

    Too much is: four digits in a row in common, the same symbols at more than half of the positions, or, for words, an
    edit distance of at most 2, or at most a third of the letters.

    >>> is_similar("Anna", "Hanna"), is_similar("0171 5550", "9171 0050"), is_similar("Anna", "Boris")
    (True, True, False)
    """
    old, new = (fold(text).split("@")[0][:LONGEST_COMPARED] or fold(text) for text in (original, new))
    places = [a == b for a, b in zip(old, new, strict=False) if a.isalnum()]
    if old == new or (len(old) == len(new) and 2 * sum(places) > len(places)):
        return True
    n_letters, n_digits = sum(map(str.isalpha, old)), sum(map(str.isdigit, old))
    if n_digits and any(old[i : i + 4].isdigit() and old[i : i + 4] in new for i in range(len(old) - 3)):
        return True
    return n_letters > max(2, n_digits) and levenshtein(old, new) <= max(2, len(old) // 3)
