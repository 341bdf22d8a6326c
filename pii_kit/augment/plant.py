"""Plant PII in documents without PII, and traps in any document: insert lines and sentences between tokens."""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from pii_kit.augment import templates as texts
from pii_kit.augment.surrogates import Surrogates
from pii_kit.data import Document, cut, document_of_spans, join
from pii_kit.labels import EMAIL, ID_NUM, NAME_STUDENT, PHONE_NUM, STREET_ADDRESS, URL_PERSONAL, USERNAME
from pii_kit.sample.text import FILLERS, expand, handle_of

WORDS: dict[str, Sequence[str]] = {**FILLERS, **texts.WORDS}
HEAD_TOKENS = 60  # the start of a document, where titles and author lines are
LINE_TOKENS = 12  # a longer line is not a heading
LINE_START_SHARE = 0.3  # share of planted sentences that begin a line
PAGE_BREAK_SHARE = 0.3  # share of lines planted in mid-sentence, like the page headers in text from a PDF
TRIES = 50  # draws of a template until the PII begins and ends at token boundaries


@dataclass(frozen=True)
class Insertion:
    """Tokens to insert before the token at `index`, after a space if `space`."""

    index: int
    part: Document
    space: bool = False


def insert(document: Document, insertions: Sequence[Insertion]) -> Document:
    """Return the document with all parts inserted; parts at the same index keep their order."""
    parts, done = [], 0
    for insertion in sorted(insertions, key=lambda insertion: insertion.index):
        before = cut(document, done, insertion.index)
        if insertion.space and before.tokens and not before.tokens[-1].isspace():
            before = replace(before, trailing_whitespace=(*before.trailing_whitespace[:-1], True))
        parts += [before, insertion.part]
        done = insertion.index
    parts.append(cut(document, done, len(document.tokens)))
    return join(document.document, parts)


@dataclass
class Planter:
    """Make insertions for one document, with its own line breaks and spaces, and never inside its PII."""

    document: Document
    slots: dict[str, str]
    rng: random.Random

    def __post_init__(self):
        breaks = Counter(token for token in self.document.tokens if token.isspace() and token != " ")
        n_spaces = sum(breaks[token] for token in breaks if "\n" not in token)
        line_breaks = [token for token in breaks if "\n" in token]
        others = [token for token in breaks if len(token) > 1] or ["\n\n"]
        common = max(line_breaks, key=breaks.__getitem__, default="\n\n")
        self.gap = self.rng.choices((common, self.rng.choice(others), "\n\n", "   "), (12, 2, 2, 1))[0]
        # Text from a PDF may have unusual white space between all words.
        odd = max((token for token in breaks if "\n" not in token), key=breaks.__getitem__, default=" ")
        self.space = odd if n_spaces > len(self.document.tokens) / 6 else " "
        starts = [i + 1 for i, token in enumerate(self.document.tokens) if "\n" in token]
        self.line_starts = [0, *filter(self._is_free, starts)]
        self.head_starts = [start for start in self.line_starts if start <= HEAD_TOKENS][:5]
        stops = [i + 1 for i, token in enumerate(self.document.tokens[:-1]) if token == "."]
        self.sentence_starts = list(filter(self._is_free, stops))
        self.headings = list(filter(None, map(self._line, self.line_starts[:20])))
        self.slots["gap"] = self.gap

    def _is_free(self, place: int) -> bool:
        """Return whether an insertion before the token at `place` leaves all PII whole."""
        labels = self.document.labels or ()
        return not any(label.startswith("I-") for label in labels[place : place + 1])

    def part(self, template: str) -> Document:
        """Return a template as tokens; draw again if PII does not fit the tokens, and return no tokens after TRIES."""
        for _ in range(TRIES):
            spans = expand(template, self.rng, {**self.slots, "title": self.title()}, WORDS)
            spans = [(text if kind else text.replace(" ", self.space), kind) for text, kind in spans]
            try:
                return document_of_spans(self.document.document, spans)
            except ValueError:
                continue
        return cut(self.document, 0, 0)

    def title(self) -> str:
        """Return a heading of the document, or a made-up one."""
        if self.headings and self.rng.random() < 0.6:
            return self.rng.choice(self.headings)
        title = " ".join(filter(None, map(self.rng.choice, texts.TITLE_WORDS)))
        return title.upper() if self.rng.random() < 0.2 else title

    def _line(self, start: int) -> str:
        """Return the line that begins at a token; empty if it is too long for a heading or holds PII."""
        tokens = takewhile(lambda token: "\n" not in token, self.document.tokens[start : start + LINE_TOKENS + 1])
        line = cut(self.document, start, start + len(list(tokens)))
        return "" if len(line.tokens) > LINE_TOKENS or line.types else " ".join(line.full_text.split())

    def line_at(self, start: int, template: str) -> Insertion:
        """Insert a line before the line that begins at token `start`, or at the end of the document."""
        after_text = start == len(self.document.tokens) and "\n" not in self.document.tokens[-1]
        return Insertion(start, self.part("{gap}" + template if after_text else template + "{gap}"))

    def head_line(self, template: str) -> Insertion:
        weights = (5, 4, 2, 1, 1)[: len(self.head_starts)]
        return self.line_at(self.rng.choices(self.head_starts, weights)[0], template)

    def end_line(self, template: str) -> Insertion:
        return self.line_at(len(self.document.tokens), template)

    def body_line(self, template: str) -> Insertion:
        """Insert between lines, or in mid-sentence like a page header."""
        if self.rng.random() < PAGE_BREAK_SHARE:
            place = self.rng.randrange(len(self.document.tokens) + 1)
            while place and not self._is_free(place):
                place -= 1
            return Insertion(place, self.part("{gap}" + template + "{gap}"))
        return self.line_at(self.rng.choice(self.line_starts), template)

    def after_heading(self, template: str) -> Insertion:
        """Insert at the end of the first line if that is a heading, else as a line at the start of the document."""
        end = next((i for i, token in enumerate(self.document.tokens) if "\n" in token), 0)
        if not 0 < end <= LINE_TOKENS:
            return self.head_line(template.strip(" :"))
        return Insertion(end, self.part(template.removeprefix(" ")), space=template.startswith(" "))

    def sentence(self, template: str) -> Insertion:
        """Insert between two sentences, or at the start of a line."""
        at_line = not self.sentence_starts or self.rng.random() < LINE_START_SHARE
        index = self.rng.choice(self.line_starts if at_line else self.sentence_starts)
        return Insertion(index, self.part(template + " "), space=True)


# Where the author's name is planted, in which words, and with which weight.
NAME_PLACES: tuple[tuple[Callable[[Planter, str], Insertion], Mapping[str, float], float], ...] = (
    (Planter.head_line, texts.NAME_LINES, 9),
    (Planter.after_heading, texts.NAME_BEHIND, 2.5),
    (Planter.end_line, texts.NAME_ENDS, 2),
    (Planter.body_line, texts.NAME_LINES, 1.5),
    (Planter.sentence, texts.NAME_SENTENCES, 3.5),
)


def _plant_name(planter: Planter) -> Insertion:
    place, templates, _ = planter.rng.choices(NAME_PLACES, [weight for _, _, weight in NAME_PLACES])[0]
    return place(planter, texts.pick(planter.rng, templates))


def planted(document: Document, type_shares: Mapping[str, float], surrogates: Surrogates) -> list[Insertion]:
    """Return insertions with PII for a document without PII: each type with its share, mostly the author's name."""
    rng = surrogates.rng
    pii_types = [pii_type for pii_type, share in type_shares.items() if rng.random() < share]
    slots = author(surrogates, pii_types)
    planter = Planter(document, slots, rng)
    insertions: list[Insertion] = []
    if NAME_STUDENT in pii_types:
        insertions.append(_plant_name(planter))
        if rng.random() < 0.35:
            insertions.append(_plant_name(planter))
        again = texts.pick(rng, texts.NAME_AGAIN)
        n_again = rng.choices((0, 1, 2, 3), (7, 2, 1, 1))[0]
        insertions += [planter.body_line(again) for _ in range(n_again)]
    for pii_type in pii_types:
        if pii_type != NAME_STUDENT:
            template = texts.pick(rng, texts.LINES[pii_type])
            place = rng.choices((planter.head_line, planter.body_line, planter.end_line), (4, 3, 2))[0]
            insertions.append(planter.sentence(template) if rng.random() < 0.3 else place(template))
    return insertions


def traps(document: Document, mean: float, surrogates: Surrogates) -> list[Insertion]:
    """Return `mean` insertions on average, at most 10, that look like PII and are not."""
    rng = surrogates.rng
    n_traps = sum(rng.random() < mean / 10 for _ in range(10))
    if not n_traps:
        return []
    planter = Planter(document, others(surrogates), rng)
    insertions = []
    for _ in range(n_traps):
        if rng.random() < 0.5:
            insertions.append(planter.sentence(rng.choice(texts.TRAP_SENTENCES)))
        else:
            place = rng.choices((planter.head_line, planter.body_line, planter.end_line), (2, 4, 1))[0]
            insertions.append(place(rng.choice(texts.TRAP_LINES)))
    return insertions


def author(surrogates: Surrogates, pii_types: Sequence[str]) -> dict[str, str]:
    """Return the slots of the author and two fellow students: their names, and the author's PII of `pii_types`."""
    rng = surrogates.rng
    slots: dict[str, str] = {}
    for role in ("", ".mate", ".mate2"):
        first, last, full = _person(surrogates)
        name, mark = NAME_STUDENT + role, "_" if role else "."
        slots |= {name: full, f"{name}{mark}first": first, f"{name}{mark}last": last}
    handle = handle_of(slots[f"{NAME_STUDENT}.first"] + slots[f"{NAME_STUDENT}.last"])
    handle += rng.choice(("", "", str(rng.randrange(100))))
    draws = {
        EMAIL: lambda: surrogates.email(handle),
        USERNAME: lambda: surrogates.username(handle),
        ID_NUM: surrogates.id_number,
        PHONE_NUM: surrogates.phone,
        URL_PERSONAL: lambda: surrogates.url(handle),
        STREET_ADDRESS: surrogates.address,
    }
    slots |= {pii_type: draw() for pii_type, draw in draws.items() if pii_type in pii_types}
    if ID_NUM in slots:
        slots |= {f"{ID_NUM}.mate{n}": surrogates.like(slots[ID_NUM]) for n in ("", "2")}
    return slots | {"company": surrogates.company(), "place": surrogates.town()}


def _person(surrogates: Surrogates) -> tuple[str, str, str]:
    """Draw a first name, a last name, and the full name in one of the forms that students use."""
    rng = surrogates.rng
    home = surrogates.place()
    first, last = surrogates.first_name(home), surrogates.last_name(home)
    forms = {
        f"{first} {last}": 80,
        f"{first} {surrogates.first_name(home)} {last}": 6,
        f"{first} {last} {surrogates.last_name(home)}": 6,
        f"{first} {rng.choice('ABCDEFGHJKLMNPRSTVW')}. {last}": 3,
        f"{last} {first}": 1,
        f"{first}": 4,
        f"{first} {last}".upper(): 1,
    }
    return first, last, texts.pick(rng, forms)


def others(surrogates: Surrogates) -> dict[str, str]:
    """Return the slots of people and things that are not PII."""
    first, last = surrogates.first_name(), surrogates.last_name()
    return {
        "other": f"{first} {last}",
        "other.first": first,
        "other.last": last,
        "other.initial": first[0],
        "another": f"{surrogates.first_name()} {surrogates.last_name()}",
        "company": surrogates.company(),
        "place": surrogates.town(),
        "link": surrogates.link(),
        "number": surrogates.id_number(),
        "hotline": surrogates.phone(),
    }
