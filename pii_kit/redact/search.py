"""Search strings in a text whatever their spelling: with one regular expression, in a normalised copy of the text."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from html import unescape

from pii_kit.augment.surrogates import NAME_WORDS
from pii_kit.labels import ID_NUM, NAME_STUDENT, PHONE_NUM, URL_PERSONAL, USERNAME
from pii_kit.lexicon import COMMON, LISTS, MISSPELT, look_up
from pii_kit.rules import CONNECTORS

# Letters that Unicode does not decompose, and signs that look alike.
ALIKE = str.maketrans(
    {"ł": "l", "đ": "d", "ð": "d", "ı": "i", "þ": "th", "æ": "ae", "œ": "oe", "ø": "o"}
    | dict.fromkeys("’‘ʼʻ`´ʹ′", "'")
    | dict.fromkeys("‐‑‒–—―−", "-")
)
# Vowels that are also written with two letters (Jürgen, Juergen). A text is searched with both letters, and the second
# is optional in the pattern of a name.
UMLAUTS = {"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"}
_PLAIN = str.maketrans({c: new[0] for c, new in UMLAUTS.items()} | {c.upper(): new[0] for c, new in UMLAUTS.items()})
OPTIONAL = {"a": "a[ae]?", "o": "oe?", "u": "ue?", "'": "'?", ".": r"\.?", ",": ",?"}
ENTITY = r"&(?:#\d{1,7}|#[xX][\da-fA-F]{1,6}|[A-Za-z]{2,31}\d{0,2});"
_UNIT = re.compile(rf"{ENTITY}|[\x00-\x7f]?[\u0300-\u036f]+|[^\x00-\x7f][\u0300-\u036f]*")
UNSPACED = re.compile(r"[\u0e00-\u0eff\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff]")  # scripts without spaces between words
GAP = r"[-./\s()]{0,3}"  # between the digits of a number
LEAST_DIGITS = 6  # of a number that is found whatever its grouping
COMMON_NAME = 2  # category of the lexicon
LONGEST_WORD = 40  # looking up a longer string as a word takes too long, and it is none
SUFFIXES = frozenset(("jr", "sr", "ii", "iii", "iv", "phd", "md", "mba", "bsc", "msc", "ba", "ma", "bs", "ms", "esq"))
_MARKS = r"\s\d\x00-\x1f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff'’ʼ‘`.,;:!?()\[\]{}<>/\\|&+@_\"“”«»•~#*=‐-―-"
# A name word. An apostrophe may stand before two letters or more: O'Hara, but not Ana's.
NAME_WORD = re.compile(rf"[^{_MARKS}]+(?:['’ʼ][^{_MARKS}]{{2,}})*")
_NAMES_THAT_ARE_WORDS = frozenset(word.casefold() for word in NAME_WORDS["first"])
YEAR = re.compile(r"(?:19|20)\d\d")
Target = tuple[str, str]  # string, PII type


@dataclass(frozen=True, slots=True)
class Folded:
    """A text as it is searched: without casing, accents, format characters and entities.

    Character i of `text` comes from `original[starts[i]:ends[i]]`.
    """

    original: str
    text: str
    starts: list[int] | range
    ends: list[int] | range


@lru_cache(maxsize=4096)
def _fold_unit(unit: str) -> str:
    """Return a letter with its accents, or an entity, as it is searched."""
    composed = unicodedata.normalize("NFC", unescape(unit)).lower()
    if composed in UMLAUTS:
        return UMLAUTS[composed]
    letters = unicodedata.normalize("NFKD", composed.translate(ALIKE)).casefold()
    return "".join(c for c in letters if unicodedata.category(c) not in ("Mn", "Me", "Cf")).translate(ALIKE)


def fold_with_places(text: str) -> Folded:
    """Return the normalised copy of a text with the places of its characters."""
    if text.isascii() and "&" not in text:
        return Folded(text, text.lower().replace("`", "'"), range(len(text)), range(1, len(text) + 1))
    parts: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    done = 0
    for match in (*_UNIT.finditer(text), None):
        start, end = match.span() if match else (len(text), len(text))
        new = _fold_unit(text[start:end])
        parts += text[done:start].lower().replace("`", "'"), new
        starts += [*range(done, start), *[start] * len(new)]
        ends += [*range(done + 1, start + 1), *[end] * len(new)]
        if not new and ends:  # a format character belongs to the letter before it
            ends[-1] = end
        done = end
    return Folded(text, "".join(parts), starts, ends)


def fold(text: str) -> str:
    """Return a text without casing, accents, format characters and entities.

    >>> fold("José ÅBC, Gro&szlig; O’Hara")
    "jose aabc, gross o'hara"
    """
    return fold_with_places(text).text


def plain(text: str) -> str:
    """Return a text with letters for entities, and without format characters such as soft hyphens."""
    if text.isascii() and "&" not in text:
        return text
    composed = unicodedata.normalize("NFC", unescape(text))
    return "".join(c for c in composed if unicodedata.category(c) != "Cf")


def fold_plainly(text: str) -> str:
    """Return a folded text in which an umlaut is one letter, as in keys and patterns: "jurgen" for "Jürgen"."""
    return fold(unicodedata.normalize("NFC", text).translate(_PLAIN))


class Finder:
    """Finds strings, given with their PII types, in any spelling and grouping, never inside a longer word.

    A name of two letters is found in title case or in its own casing only. If `inside`, strings are also found inside
    longer words.
    """

    def __init__(self, targets: Iterable[Target], *, inside: bool = False) -> None:
        bodies: dict[str, Target] = {}
        for target in sorted(set(targets), key=lambda target: (-len(target[0]), target)):
            bodies.setdefault(_pattern_of(*target), target)
        bodies.pop("", None)
        # Patterns that begin with an optional sign come last: "@?ana" must not win over "ana silva".
        ordered = sorted(bodies, key=lambda body: (inside or bool(UNSPACED.match(body)), body[1:2] == "?"))
        self.targets = [bodies[body] for body in ordered]
        words = [f"({body})" for body in ordered if not (inside or UNSPACED.match(body))]
        branches = [f"({body})" for body in ordered[len(words) :]]
        if words:
            branches.insert(0, rf"(?<![^\W_])(?:{'|'.join(words)})(?![^\W_])")
        self._pattern = re.compile("|".join(branches) or "(?!)")

    def find(self, text: Folded) -> Iterator[tuple[int, int, Target]]:
        """Yield (start, end, target) of each match, in order; of two that overlap the first, or the longer one."""
        for match in self._pattern.finditer(text.text):
            target = self.targets[match.lastindex - 1]  # type: ignore[operator]  # each branch has a group
            start, end = text.starts[match.start()], text.ends[match.end() - 1]
            casings = {target[0].title(), *[target[0]] * (not target[0].islower())}
            if sum(map(str.isalnum, target[0])) > 2 or text.original[start:end] in casings:
                yield start, end, target


def _pattern_of(string: str, pii_type: str) -> str:
    """Return the pattern of a string in folded text; empty if it is too short to be searched as PII of its type."""
    folded = fold_plainly(string)
    symbols = [place for place, c in enumerate(folded) if c.isalnum()]
    if len(symbols) < (1 if not pii_type else 2 if pii_type == NAME_STUDENT else 3):
        return ""
    folded = folded[symbols[0] : symbols[-1] + 1]
    if pii_type in (PHONE_NUM, ID_NUM) and len(symbols) >= LEAST_DIGITS and not any(map(str.isalpha, folded)):
        digits = GAP.join(national(string) if pii_type == PHONE_NUM else filter(str.isdigit, folded))
        return (rf"[+(]?(?:\d{{1,3}}{GAP})?" if pii_type == PHONE_NUM else "") + digits
    words = folded.replace("-", " ").split() if pii_type == NAME_STUDENT else folded.split()
    if pii_type != NAME_STUDENT or len(symbols) == 2:
        return "@?" * (pii_type == USERNAME) + r"\s+".join(map(re.escape, words))
    bodies = ["".join(OPTIONAL.get(c) or re.escape(c) for c in word) for word in words]
    gaps = [r"[\s_-]*" if len(word.strip(".")) == 1 else r"[\s_-]+" for word in words]
    return "".join(body + gap for body, gap in zip(bodies, gaps, strict=True))[: -len(gaps[-1])]


# One and two digits; all other country codes have three (ITU-T E.164).
COUNTRY_CODE = re.compile(
    r"(?:\+|00)[ (]*(1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|\d{3})(?=\D*\d(?:\D*\d){5})"
)
EXTENSION = r"[\s,;]*(?:ext(?:ension)?|x)[.:\s]*#?\d{1,6}(?!\d)"


def national(phone: str) -> str:
    """Return the digits of a phone number without country code, trunk prefix and extension.

    >>> national("+1 (415) 555-0134 ext. 2"), national("415.555.0134"), national("0171 5550123")
    ('4155550134', '4155550134', '1715550123')
    """
    phone = re.split(EXTENSION, phone, maxsplit=1, flags=re.IGNORECASE)[0]
    code = COUNTRY_CODE.match(phone.strip(" ("))
    digits = "".join(filter(str.isdigit, phone.strip(" (")[code.end() if code else 0 :]))
    if not code and len(digits) == 11 and digits[0] == "1":
        digits = digits[1:]
    return digits[1:] if digits[:1] == "0" and len(digits) > LEAST_DIGITS else digits


def identity_of(text: str, pii_type: str) -> str:
    """Return what spellings of the same PII have in common: they get one surrogate, and one hash.

    >>> identity_of("@Ingrid_O", "USERNAME"), identity_of(" ANA\\n Silva", "NAME_STUDENT")
    ('ingrid_o', 'ana silva')
    """
    if pii_type == PHONE_NUM and sum(map(str.isdigit, text)) >= LEAST_DIGITS:
        return national(fold(text))
    folded = " ".join(fold_plainly(text).split())
    return folded.removeprefix("@") if pii_type == USERNAME else folded


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


def name_places(name: str) -> list[tuple[int, int]]:
    """Return where the words of a name are, without particles such as "de" and suffixes such as "Jr".

    A particle in capitals ("Ana DE LA Cruz") counts as one only between two words of the name.
    """
    words = [word for word in NAME_WORD.finditer(name) if any(map(str.isalpha, word[0]))]
    words = [
        word for word in words if word[0] not in "sS" or name[word.start() - 1 : word.start()] not in ("'", "’", "ʼ")
    ]
    are_particles = [word[0].casefold() in CONNECTORS for word in words]
    places = []
    for index, word in enumerate(words):
        is_inner = 0 < index < len(words) - 1 or (word[0].isupper() and True in are_particles[1:2])
        is_particle = len(words) > 1 and are_particles[index] and (word[0].islower() or is_inner)
        is_suffix = index and word[0].casefold() in SUFFIXES and not word[0].islower()
        if not (is_particle or is_suffix):
            places.append(word.span())
    return places


def name_words(name: str) -> list[str]:
    """Return the words of a name.

    >>> name_words("J. O'Hara-de Souza's"), name_words("Leonard DE LA Whitfield III")
    (['J', "O'Hara", 'Souza'], ['Leonard', 'Whitfield'])
    """
    return [name[start:end] for start, end in name_places(name)]


def targets_of(string: str, pii_type: str) -> list[Target]:
    """Return the strings to search for if PII is in a text: itself, and of a name each word and "A. Silva"."""
    targets = [string]
    if pii_type == URL_PERSONAL:
        targets = [re.sub(r"^https?://(?:www\.)?", "", string, flags=re.IGNORECASE)]
    elif pii_type == NAME_STUDENT and (words := name_words(name := plain(string))):
        last = name_places(name)[-1]
        targets = [name[: last[1]], *words, *[f"{words[0][0]}. {words[-1]}"] * (len(words) > 1)]
    return [(target, pii_type) for target in targets]
