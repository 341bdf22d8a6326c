"""Plant PII in documents without PII, and traps in any document: insert lines and sentences between tokens."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any, NamedTuple

from pii_kit.augment.slots import author, drawn, others
from pii_kit.augment.surrogates import PLANTED, Surrogates
from pii_kit.documents import Document, Span, cut, document_of_spans, join
from pii_kit.labels import NAME_STUDENT, STREET_ADDRESS
from pii_kit.templates import Slots, expand, pick

HEAD_TOKENS = 60  # the start of a document, where titles and author lines are
HEAD_WEIGHTS = (5, 4, 2, 1, 1)  # of the first lines
LINE_TOKENS = 12  # a longer line is not a heading
LINE_START_SHARE = 0.3  # share of planted sentences that begin a line
PAGE_BREAK_SHARE = 0.3  # share of lines planted in mid-sentence, like the page headers in text from a PDF
STORY_SHARE = 0.12  # share of planted names and traps that are told in several sentences
SENTENCE_SHARE = {"PII": 0.3, "trap": 0.45}  # share of what is planted that is a sentence, not a line
SECOND_NAME_SHARE = 0.35
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


class Planter:
    """Make insertions for one document, with its own line breaks and spaces, and never inside its PII.

    `people` are the slots of the people, and of the author's PII.
    """

    def __init__(self, document: Document, people: Mapping[str, str], surrogates: Surrogates) -> None:
        self.document, self.rng = document, surrogates.rng
        tokens = document.tokens
        breaks = Counter(token for token in tokens if token.isspace() and token != " ")
        line_breaks = [token for token in breaks if "\n" in token]
        spaces = [token for token in breaks if "\n" not in token]
        usual = max(line_breaks, key=breaks.__getitem__, default="\n\n")
        unusual = self.rng.choice([token for token in breaks if len(token) > 1] or ["\n\n"])
        gaps = (usual, unusual, "\n\n", "\n", " \n", "   ", "\t")
        self.gap = self.rng.choices(gaps, (24, 4, 4, 4, 1, 1.5, 0.5))[0]
        self.odd_share, self.odd_space = self.rng.choices(NOISES, NOISE_WEIGHTS)[0]
        if sum(map(breaks.__getitem__, spaces)) > len(tokens) / 6:  # text from a PDF, with odd space between all words
            self.odd_share, self.odd_space = 1.0, max(spaces, key=breaks.__getitem__)
        self.line_starts = [0, *(i + 1 for i, token in enumerate(tokens) if "\n" in token and self._is_free(i + 1))]
        self.head_starts = [start for start in self.line_starts if start <= HEAD_TOKENS][:5]
        self.sentence_starts = [i + 1 for i, token in enumerate(tokens[:-1]) if token == "." and self._is_free(i + 1)]
        self.headings = list(filter(None, map(self._heading_at, self.line_starts[:20])))
        draws = drawn(surrogates)
        self._new_heading = draws["heading"]
        titles: Slots = {"title": self._title, "TITLE": lambda: self._title().upper()}
        self.slots: Slots = {**people, **draws, **titles, "gap": self.gap}

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

    def line_at(self, start: int, template: str) -> Insertion:
        """Insert a line before the line that begins at token `start`, or at the end of the document."""
        after_text = start == len(self.document.tokens) and "\n" not in self.document.tokens[-1]
        return Insertion(start, self.part("{gap}" + template if after_text else template + "{gap}"))

    def head_line(self, template: str) -> Insertion:
        return self.line_at(self.rng.choices(self.head_starts, HEAD_WEIGHTS[: len(self.head_starts)])[0], template)

    def end_line(self, template: str) -> Insertion:
        return self.line_at(len(self.document.tokens), template)

    def body_line(self, template: str) -> Insertion:
        """Insert between lines, or in mid-sentence like a page header."""
        if self.rng.random() >= PAGE_BREAK_SHARE:
            return self.line_at(self.rng.choice(self.line_starts), template)
        place = self.rng.randrange(len(self.document.tokens) + 1)
        while place and not self._is_free(place):
            place -= 1
        return Insertion(place, self.part("{gap}" + template + "{gap}"))

    def after_heading(self, template: str) -> Insertion:
        """Insert at the end of the first line if that is a heading, else as a line at the start of the document."""
        end = next((i for i, token in enumerate(self.document.tokens) if "\n" in token), 0)
        if not 0 < end <= LINE_TOKENS:
            return self.head_line(template.strip(" :"))
        return Insertion(end, self.part(template.removeprefix(" ")), space=template.startswith(" "))

    def sentence(self, template: str) -> Insertion:
        """Insert between two sentences, or at the start of a line."""
        at_line = not self.sentence_starts or self.rng.random() < LINE_START_SHARE
        place = self.rng.choice(self.line_starts if at_line else self.sentence_starts)
        return Insertion(place, self.part(template + " "), space=True)

    def any_line(self, template: str, weights: tuple[float, float, float]) -> Insertion:
        """Insert at the head, in the body or at the end, with these weights."""
        return self.rng.choices((self.head_line, self.body_line, self.end_line), weights)[0](template)

    def story(self, stories: Sequence[Mapping[str, Any]]) -> list[Insertion]:
        """Insert one to five sentences about the same people, in order, mostly a few sentences apart."""
        story = self.rng.choices(stories, [story.get("weight", 1) for story in stories])[0]
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
        if self.rng.random() < STORY_SHARE:
            return self.story(PLANTED["name_stories"])
        place, templates, _ = self.rng.choices(NAME_PLACES, [weight for *_, weight in NAME_PLACES])[0]
        return [place(self, pick(self.rng, PLANTED[templates]))]


# Where the author's name is planted, in which words, and with which weight.
NAME_PLACES: tuple[tuple[Callable[[Planter, str], Insertion], str, float], ...] = (
    (Planter.head_line, "name_lines", 9),
    (Planter.after_heading, "name_behind", 2.5),
    (Planter.end_line, "name_ends", 2),
    (Planter.body_line, "name_lines", 1.5),
    (Planter.sentence, "name_sentences", 3.5),
)


def planted(document: Document, type_shares: Mapping[str, float], surrogates: Surrogates) -> list[Insertion]:
    """Return insertions with PII for a document without PII: each type with its share, mostly the author's name."""
    rng = surrogates.rng
    pii_types = [pii_type for pii_type, share in type_shares.items() if rng.random() < share]
    planter = Planter(document, author(surrogates, pii_types) | others(surrogates), surrogates)
    insertions: list[Insertion] = []
    if NAME_STUDENT in pii_types:
        pii_types.remove(NAME_STUDENT)
        insertions += planter.name()
        if rng.random() < SECOND_NAME_SHARE:
            insertions += planter.name()
        again = pick(rng, PLANTED["name_again"])
        insertions += [planter.body_line(again) for _ in range(rng.choices((0, 1, 2, 3), (7, 2, 1, 1))[0])]
    for pii_type in pii_types:
        template, is_sentence = pick(rng, PLANTED["lines"][pii_type]), rng.random() < SENTENCE_SHARE["PII"]
        insertions.append(planter.sentence(template) if is_sentence else planter.any_line(template, (4, 3, 2)))
    return insertions


def traps(document: Document, mean: float, surrogates: Surrogates) -> list[Insertion]:
    """Return `mean` lines, sentences and stories on average, at most 10, that look like PII and are not."""
    rng = surrogates.rng
    n_traps = sum(rng.random() < mean / 10 for _ in range(10))
    if not n_traps:
        return []
    planter = Planter(document, others(surrogates), surrogates)
    insertions: list[Insertion] = []
    for _ in range(n_traps):
        if rng.random() < STORY_SHARE:
            insertions += planter.story(PLANTED["trap_stories"])
        elif rng.random() < SENTENCE_SHARE["trap"]:
            insertions.append(planter.sentence(pick(rng, PLANTED["trap_sentences"])))
        else:
            insertions.append(planter.any_line(pick(rng, PLANTED["trap_lines"]), (2, 4, 1)))
    return insertions
