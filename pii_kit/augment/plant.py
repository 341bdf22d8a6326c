"""Plant PII in documents without PII, and traps in any document: insert lines and sentences between tokens.

`phrases/planted.json` says what is planted, and where. A new kind of trap is an entry of its `traps`: sentences about
the same people (`stories`), or `lines` for a `place` or for several with their weights. The kinds are tried in their
order, each with its `share`; the last one needs none.
"""

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any, NamedTuple

from pii_kit.augment.surrogates import INITIALS, LOCALES, Surrogates, handle_of
from pii_kit.documents import Document, Span, cut, document_of_spans, join
from pii_kit.labels import EMAIL, ID_NUM, NAME_STUDENT, PII_TYPES, STREET_ADDRESS, URL_PERSONAL, USERNAME
from pii_kit.templates import Slots, expand, expand_text, pick, read_phrases

PLANTED = read_phrases("planted")
SHARES = PLANTED["shares"]
MATES = ("mate", "mate2", "mate3")
STUDENTS = (NAME_STUDENT, *(f"{NAME_STUDENT}.{mate}" for mate in MATES))
# What joins first and last name in PII that holds them.
JOINTS = {EMAIL: ("", "", ".", ".", "_"), USERNAME: ("", "", ".", ".", "_"), URL_PERSONAL: ("-", "")}
HEAD_TOKENS = 60  # the start of a document, where titles and author lines are
HEAD_WEIGHTS = (5, 4, 2, 1, 1)  # of the first lines
LINE_TOKENS = 12  # a longer line is not a heading
# White space that replaces a share of planted spaces, as in text from a PDF: (share, white space), and its weight.
NOISES = ((0.0, " "), (0.12, "\n"), (0.1, " \n"), (0.3, "  "), (0.1, "\t"), (0.2, "\xa0"))
NOISE_WEIGHTS = (88, 4, 2, 4, 1, 1)
TRIES = 50  # draws of a template until the PII begins and ends at token boundaries


class Insertion(NamedTuple):
    """Tokens to insert before the token at `place`, after a space if `space`."""

    place: int
    part: Document
    space: bool = False


def insert(document: Document, insertions: Sequence[Insertion]) -> Document:
    """Return the document with all parts inserted; parts at the same place keep their order."""
    parts, done = [], 0
    for place, part, space in sorted(insertions, key=lambda insertion: insertion.place):
        before = cut(document, done, place)
        if space and before.tokens and not before.tokens[-1].isspace():
            before = replace(before, trailing_whitespace=(*before.trailing_whitespace[:-1], True))
        parts += [before, part]
        done = place
    return join(document.number, [*parts, cut(document, done, len(document.tokens))])


def author(surrogates: Surrogates, pii_types: Collection[str]) -> dict[str, str]:
    """Return the slots of the author and three fellow students: their names, and the author's PII of `pii_types`."""
    rng = surrogates.rng
    slots: dict[str, str] = {}
    for role in STUDENTS:
        first, last, full = _student(surrogates)
        slots |= {
            role: full,
            f"{role}.first": first,
            f"{role}.last": last,
            f"{role}.reversed": rng.choice((f"{last}, {first}", f"{last}, {first}", f"{last} {first}")),
            f"{role}.short": f"{first} {last[0]}.",
            f"{role}.initials": f"{first[0]}. {last}",
        }
    names = slots[f"{NAME_STUDENT}.first"], slots[f"{NAME_STUDENT}.last"]
    for pii_type in sorted({*pii_types} - {NAME_STUDENT}, key=PII_TYPES.index):
        joints = JOINTS.get(pii_type)
        slots[pii_type] = surrogates.pii(pii_type, _handle(rng, *names, joints) if joints else "")
    if ID_NUM in slots:
        slots |= {f"{ID_NUM}.{mate}": surrogates.like(slots[ID_NUM]) for mate in MATES}
    if EMAIL in slots:
        slots[f"{EMAIL}.mate"] = surrogates.pii(EMAIL, handle_of(slots[f"{NAME_STUDENT}.mate.first"]))
    return slots


def _student(surrogates: Surrogates) -> tuple[str, str, str]:
    """Draw a first name, a last name, and the full name in one of the forms that students use."""
    home = pick(surrogates.rng, LOCALES)
    first, last = surrogates.name("first", home), surrogates.name("last", home)
    slots: Slots = {
        "first": first, "first.initial": first[0], "FIRST": first.upper(), "first.lower": first.lower(),
        "last": last, "last.initial": last[0], "LAST": last.upper(), "last.lower": last.lower(),
        "first2": lambda: surrogates.name("first", home), "last2": lambda: surrogates.name("last", home),
        "initial": lambda: surrogates.rng.choice(INITIALS),
    }  # fmt: skip
    return first, last, expand_text("{name_form}", surrogates.rng, slots)


def _handle(rng: random.Random, first: str, last: str, joints: Sequence[str]) -> str:
    """Return a name as in an e-mail address: "anasilva", "ana.silva7", "asilva", "silva_ana", "ana"."""
    first, last = handle_of(first), handle_of(last)
    joint = rng.choice(joints)
    handle = rng.choice((first + joint + last, first + joint + last, first[0] + last, last + joint + first, first))
    return handle + rng.choice(("", "", "", str(rng.randrange(100)), str(rng.randrange(1960, 2010))))


def others(surrogates: Surrogates, roles: Sequence[str] = ("other", "another")) -> dict[str, str]:
    """Return the slots of people who are not students."""
    slots: dict[str, str] = {}
    for role in roles:
        slots[f"{role}.first"], slots[f"{role}.last"], slots[role] = surrogates.person()
    return slots


class Planter:
    """Make insertions for one document, with its own line breaks and spaces, and never inside its PII."""

    def __init__(self, document: Document, people: Mapping[str, str], surrogates: Surrogates) -> None:
        self.document, self.rng = document, surrogates.rng
        tokens = document.tokens
        breaks = Counter(token for token in tokens if token.isspace() and token != " ")
        line_breaks = [token for token in breaks if "\n" in token]
        spaces = [token for token in breaks if "\n" not in token]
        usual = max(line_breaks, key=breaks.__getitem__, default="\n\n")
        unusual = self.rng.choice([token for token in breaks if len(token) > 1] or ["\n\n"])
        gaps = (usual, unusual, "\n\n", "\n", " \n", "   ", "\t")
        gap = self.rng.choices(gaps, (24, 4, 4, 4, 1, 1.5, 0.5))[0]
        self.odd_share, self.odd_space = self.rng.choices(NOISES, NOISE_WEIGHTS)[0]
        if sum(map(breaks.__getitem__, spaces)) > len(tokens) / 6:  # text from a PDF, with odd space between all words
            self.odd_share, self.odd_space = 1.0, max(spaces, key=breaks.__getitem__)
        self.line_starts = [0, *(i + 1 for i, token in enumerate(tokens) if "\n" in token and self._is_free(i + 1))]
        self.head_starts = [start for start in self.line_starts if start <= HEAD_TOKENS][:5]
        self.sentence_starts = [i + 1 for i, token in enumerate(tokens[:-1]) if token == "." and self._is_free(i + 1)]
        self.headings = list(filter(None, map(self._heading_at, self.line_starts[:20])))
        titles: Slots = {"title": self._title, "TITLE": lambda: self._title().upper()}
        self.slots: Slots = {**people, **surrogates.slots, **titles, "gap": gap}
        self._new_heading = surrogates.slots["heading"]

    def _is_free(self, place: int) -> bool:
        """Return whether an insertion before the token at `place` leaves all PII whole."""
        return not any(label.startswith("I-") for label in (self.document.labels or ())[place : place + 1])

    def _title(self) -> str:
        """Return a heading of the document, or a made-up one."""
        return self.rng.choice(self.headings) if self.headings and self.rng.random() < 0.5 else self._new_heading()

    def _heading_at(self, start: int) -> str:
        """Return the line that begins at a token; empty if it is too long for a heading or holds PII."""
        tokens = takewhile(lambda token: "\n" not in token, self.document.tokens[start : start + LINE_TOKENS + 1])
        line = cut(self.document, start, start + len(list(tokens)))
        return "" if len(line.tokens) > LINE_TOKENS or line.types else " ".join(line.full_text.split())

    def part(self, template: str) -> Document:
        """Return a template as tokens; draw again if PII does not fit the tokens, and return no tokens after TRIES."""
        for _ in range(TRIES):
            try:
                return document_of_spans(self.document.number, self._spread(expand(template, self.rng, self.slots)))
            except ValueError:
                continue
        return cut(self.document, 0, 0)

    def _spread(self, spans: Sequence[Span]) -> list[Span]:
        """Replace some of the spaces by odd white space, which splits a PII span: only in addresses it is PII."""
        if not self.odd_share:
            return list(spans)
        new: list[Span] = []
        for text, pii_type in spans:
            first, *words = text.split(" ")
            new.append((first, pii_type))
            for word in words:
                space = self.odd_space if self.rng.random() < self.odd_share else " "
                if space == " " or pii_type in (None, STREET_ADDRESS):
                    new[-1] = new[-1][0] + space + word, pii_type
                else:
                    new += [(space, None), (word, pii_type)]
        return [span for span in new if span[0]]

    def insertion(self, place: str | Mapping[str, float], template: str) -> Insertion:
        """Insert a line at the "head", in the "body" or at the "end", a "sentence", or text after the "heading".

        A mapping gives places with their weights.
        """
        tokens, rng = self.document.tokens, self.rng
        place = place if isinstance(place, str) else pick(rng, place)
        if place == "sentence":
            at_line = not self.sentence_starts or rng.random() < SHARES["line_start"]
            start = rng.choice(self.line_starts if at_line else self.sentence_starts)
            return Insertion(start, self.part(template + " "), space=True)
        if place == "heading":
            end = next((i for i, token in enumerate(tokens) if "\n" in token), 0)
            if 0 < end <= LINE_TOKENS:
                return Insertion(end, self.part(template.removeprefix(" ")), space=template.startswith(" "))
            place, template = "head", template.strip(" :")  # the first line is no heading
        if place == "body" and rng.random() < SHARES["page_break"]:  # in mid-sentence, as in text from a PDF
            start = rng.randrange(len(tokens) + 1)
            while start and not self._is_free(start):
                start -= 1
            return Insertion(start, self.part("{gap}" + template + "{gap}"))
        if place == "head":
            start = rng.choices(self.head_starts, HEAD_WEIGHTS[: len(self.head_starts)])[0]
        else:
            start = rng.choice(self.line_starts) if place == "body" else len(tokens)
        is_after_text = start == len(tokens) and "\n" not in tokens[-1]
        return Insertion(start, self.part("{gap}" + template if is_after_text else template + "{gap}"))

    def story(self, stories: Sequence[Mapping[str, Any]]) -> list[Insertion]:
        """Insert one to five sentences about the same people, in order, mostly a few sentences apart."""
        story = self.rng.choices(stories, [story["weight"] for story in stories])[0]
        places = self.sentence_starts or self.line_starts
        place = self.rng.randrange(len(places))
        insertions: list[Insertion] = []
        for number in range(self.rng.randint(1, 5)):
            template = self.rng.choice(story["more" if number else "first"])
            insertions.append(Insertion(places[place], self.part(template + " "), space=True))
            place = min(place + self.rng.choice((0, 1, 1, 2, 3)), len(places) - 1)
        return insertions

    def name(self) -> list[Insertion]:
        """Insert the author's name, or a story about students."""
        if self.rng.random() < SHARES["story"]:
            return self.story(PLANTED["name_stories"])
        place, templates = pick(self.rng, PLANTED["name_places"]).split()
        return [self.insertion(place, pick(self.rng, PLANTED[templates]))]


def planted(document: Document, type_shares: Mapping[str, float], surrogates: Surrogates) -> list[Insertion]:
    """Return insertions with PII for a document without PII: each type with its share, mostly the author's name."""
    rng = surrogates.rng
    pii_types = [pii_type for pii_type, share in type_shares.items() if rng.random() < share]
    planter = Planter(document, author(surrogates, pii_types) | others(surrogates), surrogates)
    insertions: list[Insertion] = []
    if NAME_STUDENT in pii_types:
        pii_types.remove(NAME_STUDENT)
        insertions += planter.name()
        if rng.random() < SHARES["second_name"]:
            insertions += planter.name()
        again = pick(rng, PLANTED["name_again"])
        insertions += [planter.insertion("body", again) for _ in range(rng.choices((0, 1, 2, 3), (7, 2, 1, 1))[0])]
    for pii_type in pii_types:
        template = pick(rng, PLANTED["lines"][pii_type])
        place = "sentence" if rng.random() < SHARES["sentence"] else PLANTED["line_places"]
        insertions.append(planter.insertion(place, template))
    return insertions


def traps(document: Document, mean: float, surrogates: Surrogates) -> list[Insertion]:
    """Return `mean` lines, sentences and stories on average, at most 10, that look like PII and are not."""
    rng = surrogates.rng
    n_traps = sum(rng.random() < mean / 10 for _ in range(10))
    if not n_traps:
        return []
    planter = Planter(document, others(surrogates), surrogates)
    *kinds, last = PLANTED["traps"]
    insertions: list[Insertion] = []
    for _ in range(n_traps):
        kind = next((kind for kind in kinds if rng.random() < kind["share"]), last)
        if "stories" in kind:
            insertions += planter.story(kind["stories"])
        else:
            insertions.append(planter.insertion(kind["place"], pick(rng, kind["lines"])))
    return insertions
