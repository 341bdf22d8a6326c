"""Redact documents: replace their PII, find what a label missed, check the released text, and restore the original."""

import re
import unicodedata
from dataclasses import dataclass, field

from pii_kit.augment.surrogates import NAME_WORDS
from pii_kit.documents import Document
from pii_kit.files import KitError, check_choice
from pii_kit.labels import NAME_STUDENT, PII_TYPES
from pii_kit.lexicon import COMMON, LISTS, MISSPELT, look_up
from pii_kit.rules import CONNECTORS

MODES = ("mask", "type", "surrogate", "hash")
COMMON_NAME = 2  # category of the lexicon
LONGEST_WORD = 40  # looking up a longer string as a word takes too long, and it is none
RUNS = re.compile(r"[^\W\d_]{3,}|\d{4,}")
_MARKS = r"\s\d\x00-\x1f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff'’‘`.,;:!?()\[\]{}<>/\\|&+@_\"“”«»‐-―-"
# A name word. An apostrophe may stand before two letters or more: O'Hara, but not Ana's.
NAME_WORD = re.compile(rf"[^{_MARKS}]+(?:['’][^{_MARKS}]{{2,}})*")
_NAMES_THAT_ARE_WORDS = frozenset(word.casefold() for word in NAME_WORDS["first"])


@dataclass(frozen=True, kw_only=True)
class Redaction:
    """How to redact. `allow` holds strings that are never replaced, `deny` pairs of a string and its PII type.

    With a `key`, equal strings get equal surrogates in all documents; without, in one document. Mode hash needs a key.

    Raises:
        KitError: an unknown mode or type, no key for mode hash, or strings that are both in `allow` and `deny`.
    """

    mode: str
    seed: int = 0
    key: bytes | None = field(default=None, repr=False)
    mentions: bool = True
    allow: frozenset[str] = frozenset()
    deny: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        check_choice(self, "mode", MODES)
        if self.key is not None and not self.key.strip():
            raise KitError("the key is empty; expected a file with a long random text")
        if self.mode == "hash" and self.key is None:
            raise KitError("mode hash needs a key: --key-file FILE, or the environment variable PII_KIT_KEY")
        if not all(any(map(str.isalnum, text)) for text, _ in self.deny):
            raise KitError("deny: a string has no letter or digit; expected one in each")
        unknown = sorted({pii_type for _, pii_type in self.deny} - {*PII_TYPES})
        if unknown:
            raise KitError(f"deny: {len(unknown)} unknown types; expected {', '.join(PII_TYPES)}")
        object.__setattr__(self, "allow", frozenset(map(normalise, self.allow)))
        both = self.allow & {normalise(text) for text, _ in self.deny}
        if both:
            raise KitError(f"{len(both)} strings are both allowed and denied; remove them from one of the lists")

    @property
    def is_global(self) -> bool:
        """Whether an identity has the same replacement in all documents."""
        return self.key is not None and self.mode in ("surrogate", "hash")


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A replaced part of a text: its place in the original and in the new text, both in characters."""

    start: int
    end: int
    new_start: int
    pii_type: str
    original: str
    text: str
    is_mention: bool

    @property
    def new_end(self) -> int:
        return self.new_start + len(self.text)


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A string that was found but not replaced, with the reason; `start` and `end` are places in the original text."""

    start: int
    end: int
    pii_type: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Redacted:
    """A redacted document. `regions` are the re-tokenized tokens: (first, end) before, and (first, end) after."""

    document: Document
    changes: tuple[Change, ...] = ()
    kept: tuple[Kept, ...] = ()
    regions: tuple[tuple[int, int, int, int], ...] = ()


def normalise(text: str) -> str:
    """Return a text as it is compared and hashed: NFKC, without casing, single spaces.

    >>> normalise(" ANA\\n Silva")
    'ana silva'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def is_ordinary(word: str) -> bool:
    """Return whether a word, in lower case or at the start of a sentence, is more likely a word than a name.

    >>> [is_ordinary(word) for word in ("mark", "Rose", "anna", "silva", "design")]
    [True, True, False, False, True]
    """
    if len(word) > LONGEST_WORD or not word.isalpha():
        return False
    entry = dict(zip(LISTS, look_up(word), strict=True))
    is_name = entry["first name"] == COMMON_NAME and word.casefold() not in _NAMES_THAT_ARE_WORDS
    return COMMON <= entry["commonness"] < MISSPELT and not is_name


def name_words(name: str) -> list[str]:
    """Return the words of a name that have a letter, without connectors such as "de".

    >>> name_words("J. O'Hara-de Souza's")
    ['J', "O'Hara", 'Souza']
    """
    words = [match[0] for match in NAME_WORD.finditer(name) if not is_possessive(match)]
    words = [word for word in words if any(map(str.isalpha, word))]
    return [word for word in words if len(words) == 1 or word not in CONNECTORS]


def is_possessive(match: re.Match) -> bool:
    """Return whether a match of NAME_WORD is the "s" of "Ana's"."""
    return match[0] in ("s", "S") and match.string[: match.start()].endswith(("'", "’"))


def parts_of(text: str, pii_type: str) -> set[str]:
    """Return the parts of PII that must not survive: runs of three letters or more and of four digits or more.

    >>> sorted(parts_of("Ana de Souza 12345", "NAME_STUDENT"))
    ['12345', 'Ana', 'Souza']
    """
    return {run for run in RUNS.findall(text) if pii_type != NAME_STUDENT or run not in CONNECTORS}
