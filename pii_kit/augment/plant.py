"""Plant PII in clean documents, and traps in all: lines and sentences put between a document's tokens."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pii_kit.augment import templates as texts
from pii_kit.augment.surrogates import Surrogates, handle_of
from pii_kit.data import Document, cut, document_of_spans, join, spell
from pii_kit.labels import OUTSIDE
from pii_kit.sample.text import FILLERS, expand


def writer(surrogates: Surrogates, pii_types: Sequence[str]) -> dict[str, str]:
    """The slots of the writer and two team mates, with what they hold of `pii_types`."""
    rng = surrogates.rng
    slots: dict[str, str] = {}
    for role in ("", ".mate", ".mate2"):
        first, last, full = _person(surrogates)
        slots |= {
            f"{texts.NAME}{role}": full,
            f"{texts.NAME}{role}{'_' if role else '.'}first": first,
            f"{texts.NAME}{role}{'_' if role else '.'}last": last,
        }
    handle = handle_of(slots[f"{texts.NAME}.first"] + slots[f"{texts.NAME}.last"])
    handle += rng.choice(("", "", str(rng.randrange(100))))
    draws = {
        texts.EMAIL: lambda: surrogates.email(handle),
        texts.USERNAME: lambda: surrogates.username(handle),
        texts.ID_NUM: surrogates.id_number,
        texts.PHONE_NUM: surrogates.phone,
        texts.URL: lambda: surrogates.url(handle),
        texts.ADDRESS: surrogates.address,
    }
    slots |= {pii_type: draw() for pii_type, draw in draws.items() if pii_type in pii_types}
    if texts.ID_NUM in slots:
        slots |= {f"{texts.ID_NUM}.mate{n}": surrogates.like(slots[texts.ID_NUM]) for n in ("", "2")}
    return slots | {"company": surrogates.company(), "place": surrogates.town()}


def _person(surrogates: Surrogates) -> tuple[str, str, str]:
    """First name, last name, and the name as its bearer writes it."""
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
    """The slots of people and things that are not PII."""
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


HEAD_TOKENS = 60  # an essay's head: where titles and author lines stand
LINE_TOKENS = 12  # a longer line is no heading
WORDS = FILLERS | texts.WORDS
LINE_START_SHARE = 0.3  # of sentences planted begin a line
PAGE_BREAK_SHARE = 0.3  # of lines planted in the body stand in the middle of a sentence, as page headers do in PDFs
TRIES = 50  # of a template, as what stands beside PII may join one of its tokens


@dataclass(frozen=True)
class Insertion:
    """Tokens to be put before the token at `index`; `space` says whether a space parts them from the token before."""

    index: int
    part: Document
    space: bool = False


def insert(document: Document, insertions: Sequence[Insertion]) -> Document:
    """The document with parts inserted; those at one place in the order given."""
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
    """Lines and sentences put into one document, in its line breaks and spaces, and never in the midst of its PII."""

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
        # Essays out of a PDF may have odd white space between all words.
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
        """Whether what is put before the token at `place` leaves all PII whole."""
        return not any(label.startswith("I-") for label in self.document.labels[place : place + 1])

    def part(self, template: str) -> Document:
        """A template to tokens. What does not fit spaCy's tokens is drawn again; what never fits is left out."""
        for _ in range(TRIES):
            spans = expand(template, self.rng, {**self.slots, "title": self.title()}, WORDS)
            spans = [(text if kind else text.replace(" ", self.space), kind) for text, kind in spans]
            try:
                return document_of_spans(self.document.document, spans)
            except ValueError:
                continue
        return cut(self.document, 0, 0)

    def title(self) -> str:
        """A heading: one of the document's own, or made up."""
        if self.headings and self.rng.random() < 0.6:
            return self.rng.choice(self.headings)
        title = " ".join(filter(None, map(self.rng.choice, texts.TITLE_WORDS)))
        return title.upper() if self.rng.random() < 0.2 else title

    def _line(self, start: int) -> str:
        """The heading that begins at a token, without its white space; empty if the line is long or holds PII."""
        end = start
        while end < len(self.document.tokens) and "\n" not in self.document.tokens[end] and end - start <= LINE_TOKENS:
            end += 1
        if end - start > LINE_TOKENS or any(label != OUTSIDE for label in self.document.labels[start:end]):
            return ""
        text = spell(self.document.tokens[start:end], self.document.trailing_whitespace[start:end])
        return " ".join(text.split())

    def line_at(self, start: int, template: str) -> Insertion:
        """A line of its own before a line that begins at `start`, or at the document's end."""
        at_end = start == len(self.document.tokens)
        if not at_end:
            return Insertion(start, self.part(template + "{gap}"))
        broken = "\n" in self.document.tokens[-1]
        return Insertion(start, self.part(template + "{gap}" if broken else "{gap}" + template))

    def head_line(self, template: str) -> Insertion:
        weights = (5, 4, 2, 1, 1)[: len(self.head_starts)]
        return self.line_at(self.rng.choices(self.head_starts, weights)[0], template)

    def end_line(self, template: str) -> Insertion:
        return self.line_at(len(self.document.tokens), template)

    def body_line(self, template: str) -> Insertion:
        """Between lines, or in the middle of a sentence as a page's header is."""
        if self.rng.random() < PAGE_BREAK_SHARE:
            place = self.rng.randrange(len(self.document.tokens) + 1)
            while place and not self._is_free(place):
                place -= 1
            return Insertion(place, self.part("{gap}" + template + "{gap}"))
        return self.line_at(self.rng.choice(self.line_starts), template)

    def behind_heading(self, template: str) -> Insertion:
        """On the first line's end, if that is a heading; else a line at the head."""
        end = next((i for i, token in enumerate(self.document.tokens) if "\n" in token), 0)
        if not 0 < end <= LINE_TOKENS:
            return self.head_line(template.strip(" :"))
        return Insertion(end, self.part(template.removeprefix(" ")), space=template.startswith(" "))

    def sentence(self, template: str) -> Insertion:
        """Between two sentences, or at a line's start."""
        at_line = not self.sentence_starts or self.rng.random() < LINE_START_SHARE
        index = self.rng.choice(self.line_starts if at_line else self.sentence_starts)
        return Insertion(index, self.part(template + " "), space=True)


# Where the writer's name stands, in which words, and how often.
NAME_PLACES = (
    (Planter.head_line, texts.NAME_LINES, 9),
    (Planter.behind_heading, texts.NAME_BEHIND, 2.5),
    (Planter.end_line, texts.NAME_ENDS, 2),
    (Planter.body_line, texts.NAME_LINES, 1.5),
    (Planter.sentence, texts.NAME_SENTENCES, 3.5),
)


def _name_placed(planter: Planter) -> Insertion:
    place, templates, _ = planter.rng.choices(NAME_PLACES, [weight for _, _, weight in NAME_PLACES])[0]
    return place(planter, texts.pick(planter.rng, templates))


def planted(document: Document, type_shares: Mapping[str, float], surrogates: Surrogates) -> list[Insertion]:
    """PII for a clean document: the writer's name, mostly, and other types by their shares."""
    rng = surrogates.rng
    pii_types = [pii_type for pii_type, share in type_shares.items() if rng.random() < share]
    slots = writer(surrogates, pii_types)
    planter = Planter(document, slots, rng)
    insertions: list[Insertion] = []
    if texts.NAME in pii_types:
        insertions.append(_name_placed(planter))
        if rng.random() < 0.35:
            insertions.append(_name_placed(planter))
        again = texts.pick(rng, texts.NAME_AGAIN)
        for _ in range(rng.choices((0, 1, 2, 3), (7, 2, 1, 1))[0]):
            insertions.append(planter.body_line(again))
    for pii_type in pii_types:
        if pii_type != texts.NAME:
            template = texts.pick(rng, texts.LINES[pii_type])
            place = rng.choices((planter.head_line, planter.body_line, planter.end_line), (4, 3, 2))[0]
            insertions.append(planter.sentence(template) if rng.random() < 0.3 else place(template))
    return insertions


def traps(document: Document, mean: float, surrogates: Surrogates) -> list[Insertion]:
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
