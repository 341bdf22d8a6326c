"""What stands in place of PII: a mask, its type, a keyed hash, or a surrogate that is consistent."""

import hmac
import random
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from pii_kit.augment.surrogates import Surrogates, faker_of, handle_of
from pii_kit.labels import EMAIL, NAME_STUDENT, PHONE_NUM, PII_TYPES, STREET_ADDRESS, URL_PERSONAL, USERNAME
from pii_kit.lexicon import LISTS, look_up
from pii_kit.patterns import EMAILS
from pii_kit.redact import search

if TYPE_CHECKING:
    from pii_kit.redact.document import Redaction

PLACEHOLDER = re.compile(rf"\[(?:{'|'.join(PII_TYPES)})(?::[0-9a-f]{{12}})?\]|█+")
TRIES = 60  # draws until a surrogate is unlike the original and new to the document; then the type replaces it
HASH_DIGITS = 12
LONGEST_COMPARED = 60  # characters
LEAST_HANDLE = 3  # letters of a name that is looked for in addresses and user names
RUNS = re.compile(r"[^\W\d_]{3,}|\d{4,}")
SYMBOLS = re.compile(r"[^\W\d_]+|\d")
AT = re.compile(r"\s*[\[({<]\s*(?:at|@)\s*[\])}>]\s*|\s+at\s+|\s*[@＠]\s*", re.IGNORECASE)
DOT = re.compile(r"\s*[\[({<]\s*(?:dot|\.)\s*[\])}>]\s*|\s+dot\s+|\.", re.IGNORECASE)
# Sites of many people: their names identify nobody, and stay.
SITES = re.compile(
    r"(?:https?://)?(?:www\.|m\.|[a-z]{2}\.)?(?:github|gitlab|linkedin|facebook|instagram|twitter|x|youtube|tiktok|medium|reddit"
    r"|pinterest|behance|kaggle|researchgate|(?:docs|drive|sites)\.google|dropbox|youtu|orcid)\.(?:com|org|net|be)(?=/)",
    re.IGNORECASE,
)
US_ADDRESS = re.compile(r"\b[A-Z]{2},? \d{5}\b|\b(?:St|Street|Rd|Road|Ave|Avenue|Blvd|Ln|Lane|Dr|Drive|Apt)\b")
OTHER_COUNTRIES = ("en_GB", "fr_FR", "es_ES", "de_DE", "it_IT", "nl_NL", "pt_BR", "en_IN")
Replacement = Callable[[str, str], str]  # original, PII type → new text


def replacer_of(
    settings: "Redaction", number: int, folded_text: str, originals: Sequence[tuple[str, str]]
) -> Replacement:
    """Return the function that replaces the PII of a document; `originals` are all its strings with their types."""
    if settings.mode == "mask":
        return lambda original, _: re.sub(r"\S", "█", original)
    if settings.mode == "type":
        return lambda _, pii_type: f"[{pii_type}]"
    if settings.mode == "hash":
        return lambda original, kind: (
            f"[{kind}:{_digest(settings.key, search.identity_of(original, kind)).hex()[:HASH_DIGITS]}]"
        )
    return DocumentSurrogates(settings.drawn_seed, settings.key, number, folded_text, originals)


class DocumentSurrogates:
    """The surrogates of one document: a callable that maps an original and its PII type to its surrogate.

    Each surrogate has a random state of its own. With a key that is the HMAC of the original, so that all documents
    share it. Without, it depends on the seed, the document and the position of the original, never on the original
    itself: otherwise anybody could try names until one gives the surrogate. A surrogate that is similar to its original
    or occurs in the document is drawn again.
    """

    def __init__(
        self, seed: int, key: bytes | None, number: int, text: str, originals: Iterable[tuple[str, str]]
    ) -> None:
        self._key = key
        self._seed = f"{seed}/{number}"
        self._text = text
        self._positions: dict[str, int] = {}
        self._drawn: dict[tuple[str, str], str] = {}
        self._words: dict[str, str] = {}  # folded name word → surrogate
        self._initials: dict[tuple[str, frozenset[str]], str] = {}
        self._taken: set[str] = set()
        names = [search.name_words(search.plain(text)) for text, pii_type in originals if pii_type == NAME_STUDENT]
        self._people = list(dict.fromkeys(tuple(map(search.fold_plainly, words)) for words in names))
        for word in (word for person in self._people for word in person if sum(map(str.isalpha, word)) > 1):
            self._new_word(word)

    def __call__(self, original: str, pii_type: str) -> str:
        if pii_type == NAME_STUDENT:
            new = self._name(search.plain(original))
            return new if search.fold(new) != search.fold(original) else f"[{pii_type}]"
        key = pii_type, search.identity_of(original, pii_type)
        make: Callable[[Surrogates], str] = {
            EMAIL: lambda draw: (
                EMAILS.sub(lambda match: self._address(match[0], draw), original)
                if EMAILS.search(original)
                else self._address(original, draw)
            ),
            USERNAME: lambda draw: self._handle(original.removeprefix("@"), draw),
            URL_PERSONAL: lambda draw: self._link(original, draw),
            STREET_ADDRESS: lambda draw: _street_address(original, draw),
        }.get(pii_type, lambda draw: SYMBOLS.sub(lambda match: _other(match[0], draw), original))
        if pii_type == PHONE_NUM and key[1].isdigit():
            digits = self._draw(key, lambda draw: draw.shaped("#" * len(key[1])), key[1])
            return self._phone(original, digits) if digits else f"[{pii_type}]"
        new = self._draw(key, make, original)
        if not new:
            return f"[{pii_type}]"
        if pii_type == USERNAME and original.startswith("@"):
            new = f"@{new}"
        return new.upper() if original.isupper() and pii_type in (EMAIL, USERNAME) else new

    def _random(self, string: str) -> random.Random:
        if self._key is None:
            return random.Random(f"{self._seed}/{self._positions.setdefault(string, len(self._positions))}")
        return random.Random(_digest(self._key, string))

    def _draw(self, key: tuple[str, str], make: Callable[[Surrogates], str], original: str) -> str:
        """Return the first new text that may replace the original, empty if there is none."""
        if key not in self._drawn:
            draw = Surrogates(self._random(" ".join(key)))
            site = (SITES.match(original) or [""])[0]
            unlike = (
                new
                for new in (make(draw) for _ in range(TRIES))
                if not is_similar(original[len(site) :], new.removeprefix(site))
                and not self._occurs(new.removeprefix(site))
            )
            self._drawn[key] = next(unlike, "")
        return self._drawn[key]

    def _occurs(self, new: str) -> bool:
        """Return whether the text or a part of it, other than an ordinary word, occurs in the document."""
        new = AT.split(new)[0] or new
        if len(new) >= LEAST_HANDLE and search.fold(new) in self._text:
            return True
        return any(search.fold(run) in self._text for run in RUNS.findall(new) if not search.is_ordinary(run))

    def _new_word(self, word: str) -> None:
        """Draw the surrogate of a name word; with a key it depends on the word alone, and is equal in all documents."""
        if word in self._words:
            return
        entry = dict(zip(LISTS, look_up(word[: search.LONGEST_WORD]), strict=True))
        part = "first" if entry["first name"] >= max(1, entry["surname"]) else "last"

        def draw_word(draw: Surrogates) -> str:
            draw.avoid |= self._taken
            return draw.word(part)

        new = self._draw(("name", word), draw_word, word)
        # A document that holds all names that were drawn gets one of random letters.
        self._words[word] = new or Surrogates(self._random(f"name {word}")).like("Xxxxxxx")
        self._taken.add(self._words[word].casefold())

    def _name(self, text: str) -> str:
        """Replace each name word, initials by initials; particles, suffixes and what is between the words stay."""
        places = search.name_places(text)
        words = [search.fold_plainly(text[start:end]) for start, end in places]
        long = frozenset(word for word in words if len(word) > 1)
        parts: list[str] = []
        done = 0
        for (start, end), word in zip(places, words, strict=True):
            if sum(map(str.isalpha, word)) == 1:
                new = self._initial(word, long)
            else:
                self._new_word(word)
                new = self._words[word]
            parts += text[done:start], _cased(new, text[start:end])
            done = end
        draw = Surrogates(self._random(f"digits {search.identity_of(text, NAME_STUDENT)}"))
        return re.sub(r"\d", lambda match: _other(match[0], draw), "".join([*parts, text[done:]]))

    def _initial(self, letter: str, words: frozenset[str] = frozenset()) -> str:
        """Return the initial of the surrogate of the name that a letter stands for; names with `words` come first."""
        if (letter, words) not in self._initials:
            people = sorted(self._people, key=lambda person: not words <= {*person})
            known = (word for person in people for word in person if word in self._words and word[0] == letter[0])
            found = next((self._words[word][0] for word in known), "")
            letters = [c for c in "ABCDEGHJKLMNPRST" if c.lower() != letter]
            self._initials[letter, words] = found or self._random(f"initial {letter}").choice(letters)
        return self._initials[letter, words]

    def _phone(self, original: str, digits: str) -> str:
        """Write other digits in the form of a phone number: country code and trunk prefix stay."""
        number = re.split(search.EXTENSION, original, maxsplit=1, flags=re.IGNORECASE)[0]
        draw = Surrogates(self._random(f"extension {digits}"))
        places = [place for place, c in enumerate(number) if c.isdigit()][-len(digits) :]
        new = dict(zip(places, digits, strict=True)) if len(places) == len(digits) else {}
        extension = re.sub(r"\d", lambda match: _other(match[0], draw), original[len(number) :])
        return "".join(new.get(place, c) for place, c in enumerate(number)) + extension

    def _address(self, text: str, draw: Surrogates) -> str:
        """Return an e-mail address like `text`, also if that is spoken or bracketed."""
        local, *host = AT.split(text, maxsplit=1)
        if not host:
            return self._handle(text, draw)
        dot = DOT.search(host[0])
        new = faker_of(draw.rng, "en_US").free_email_domain().replace(".", dot[0] if dot else ".")
        return self._handle(local, draw) + (AT.search(text) or ["@"])[0] + new

    def _link(self, text: str, draw: Surrogates) -> str:
        """Return a link like `text`: on a site of many people to somebody else, otherwise to another host."""
        if site := SITES.match(text):
            return site[0] + self._shaped(text[site.end() :], draw)
        handles = self._handles()
        names = "".join(handles[match] for match in re.findall(_any_of(handles), search.fold(text)))
        return draw.pii(URL_PERSONAL, names or handle_of(draw.word("first") + draw.word("last")))

    def _handles(self) -> dict[str, str]:
        """Return name words as they are written in addresses → their surrogates, longest first."""
        handles = {handle_of(word): handle_of(new) for word, new in self._words.items()}
        return {word: handles[word] for word in sorted(handles, key=len, reverse=True) if len(word) >= LEAST_HANDLE}

    def _handle(self, text: str, draw: Surrogates) -> str:
        """Return a user name like `text`: with the surrogates of the names in it, or a new name, and other digits."""
        if re.search(_any_of(self._handles()), search.fold(text)):
            return self._shaped(text, draw)
        return handle_of(draw.word("first") + draw.word("last")) + re.sub(
            r"\d", lambda c: _other(c[0], draw), "".join(filter(str.isdigit, text))
        )

    def _shaped(self, text: str, draw: Surrogates) -> str:
        """Replace names by their surrogates, initials by initials; ordinary words stay, other symbols are drawn."""
        handles = self._handles()
        short = {handle_of(word): handle_of(new) for word, new in self._words.items() if len(word) < LEAST_HANDLE}

        def beside_name(match: re.Match) -> str:
            if len(match[0]) == 1 and match[0].isalpha():
                return handle_of(self._initial(match[0]))
            if match[0] in short:
                return short[match[0]]
            return match[0] if search.is_ordinary(match[0]) else _other(match[0], draw)

        casing = str.title if any(map(str.isupper, text)) else str
        pieces = re.split(f"({_any_of(handles)})", search.fold(text))
        return "".join(
            casing(handles[piece]) if place % 2 else SYMBOLS.sub(beside_name, piece)
            for place, piece in enumerate(pieces)
        )


def _digest(key: bytes | None, text: str) -> bytes:
    return hmac.digest(key or b"", text.encode("utf-8", "surrogatepass"), "sha256")


def _any_of(handles: Iterable[str]) -> str:
    return "|".join(map(re.escape, handles)) or "(?!)"


def _street_address(original: str, draw: Surrogates) -> str:
    """Return an American address in place of one, or one of another country; in as many lines."""
    fake = faker_of(draw.rng, "en_US" if US_ADDRESS.search(original) else draw.rng.choice(OTHER_COUNTRIES))
    is_short = "," not in original and "\n" not in original
    address = fake.street_address() if is_short else fake.address()
    return address if "\n" in original else re.sub(r"\s*\n\s*", ", ", address)


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
    from spacy.matcher.levenshtein import levenshtein  # type: ignore[import-not-found]

    old, new = (AT.split(search.fold(text))[0][:LONGEST_COMPARED] or search.fold(text) for text in (original, new))
    places = [a == b for a, b in zip(old, new, strict=False) if a.isalnum()]
    if old == new or (len(old) == len(new) and 2 * sum(places) > len(places)):
        return True
    n_letters, n_digits = sum(map(str.isalpha, old)), sum(map(str.isdigit, old))
    if n_digits and any(old[i : i + 4].isdigit() and old[i : i + 4] in new for i in range(len(old) - 3)):
        return True
    return n_letters > max(2, n_digits) and levenshtein(old, new) <= max(2, len(old) // 3)
