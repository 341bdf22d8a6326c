"""Plant PII in documents without PII, and traps in any document: insert lines and sentences between tokens."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from pii_kit.augment import templates as texts
from pii_kit.augment.slots import Slots, author, drawn, others
from pii_kit.augment.surrogates import Surrogates
from pii_kit.documents import Document, Span, cut, document_of_spans, join
from pii_kit.labels import NAME_STUDENT, STREET_ADDRESS
from pii_kit.sample.text import expand

HEAD_TOKENS = 60  # the start of a document, where titles and author lines are
LINE_TOKENS = 12  # a longer line is not a heading
LINE_START_SHARE = 0.3  # share of planted sentences that begin a line
PAGE_BREAK_SHARE = 0.3  # share of lines planted in mid-sentence, like the page headers in text from a PDF
STORY_SHARE = 0.12  # share of planted names and traps that are told in several sentences
# White space that replaces a share of planted spaces, as in text from a PDF: ((share, white space), weight).
NOISES: tuple[tuple[tuple[float, str], float], ...] = (
    ((0.0, " "), 88), ((0.12, "\n"), 4), ((0.1, " \n"), 2), ((0.3, "  "), 4), ((0.1, "\t"), 1), ((0.2, "\xa0"), 1),
)  # fmt: skip
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
    return join(document.number, parts)


@dataclass
class Planter:
    """Make insertions for one document, with its own line breaks and spaces, and never inside its PII.

    `fixed` are the slots of the people, and of the author's PII.
    """

    document: Document
    fixed: Mapping[str, str]
    surrogates: Surrogates

    def __post_init__(self):
        self.rng = self.surrogates.rng
        breaks = Counter(token for token in self.document.tokens if token.isspace() and token != " ")
        n_spaces = sum(breaks[token] for token in breaks if "\n" not in token)
        line_breaks = [token for token in breaks if "\n" in token]
        others = [token for token in breaks if len(token) > 1] or ["\n\n"]
        common = max(line_breaks, key=breaks.__getitem__, default="\n\n")
        gaps = (common, self.rng.choice(others), "\n\n", "\n", " \n", "   ", "\t")
        self.gap = self.rng.choices(gaps, (24, 4, 4, 4, 1, 1.5, 0.5))[0]
        # Text from a PDF may have unusual white space between all words.
        odd = max((token for token in breaks if "\n" not in token), key=breaks.__getitem__, default=" ")
        always = n_spaces > len(self.document.tokens) / 6
        noise, weights = zip(*NOISES, strict=True)
        self.odd_share: float
        self.space: str
        self.odd_share, self.space = (1.0, odd) if always else self.rng.choices(noise, weights)[0]
        starts = [i + 1 for i, token in enumerate(self.document.tokens) if "\n" in token]
        self.line_starts = [0, *filter(self._is_free, starts)]
        self.head_starts = [start for start in self.line_starts if start <= HEAD_TOKENS][:5]
        stops = [i + 1 for i, token in enumerate(self.document.tokens[:-1]) if token == "."]
        self.sentence_starts = list(filter(self._is_free, stops))
        self.headings = list(filter(None, map(self._line, self.line_starts[:20])))
        draws = drawn(self.surrogates)
        self.heading = draws["heading"]
        titles = {"title": self.title, "TITLE": lambda: self.title().upper()}
        self.slots = Slots({**self.fixed, "gap": self.gap}, draws | titles)

    def _is_free(self, place: int) -> bool:
        """Return whether an insertion before the token at `place` leaves all PII whole."""
        labels = self.document.labels or ()
        return not any(label.startswith("I-") for label in labels[place : place + 1])

    def part(self, template: str) -> Document:
        """Return a template as tokens; draw again if PII does not fit the tokens, and return no tokens after TRIES."""
        for _ in range(TRIES):
            spans = self._spread(expand(template, self.rng, self.slots, texts.FILLERS))
            try:
                return document_of_spans(self.document.number, spans)
            except ValueError:
                continue
        return cut(self.document, 0, 0)

    def _spread(self, spans: Sequence[Span]) -> list[Span]:
        """Replace some of the spaces by odd white space, which splits a PII span: white space is labelled O.

        Only in a STREET_ADDRESS white space is labelled as PII.
        """
        if not self.odd_share:
            return list(spans)
        new: list[Span] = []
        for text, kind in spans:
            first, *words = text.split(" ")
            spread = [first]
            for word in words:
                is_odd = self.rng.random() < self.odd_share
                if is_odd and kind not in (None, STREET_ADDRESS):
                    new += [(spread[0], kind), (self.space, None)]
                    spread = [word]
                else:
                    spread = ["".join((*spread, self.space if is_odd else " ", word))]
            new.append((spread[0], kind))
        return [span for span in new if span[0]]

    def title(self) -> str:
        """Return a heading of the document, or a made-up one."""
        return self.rng.choice(self.headings) if self.headings and self.rng.random() < 0.5 else self.heading()

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

    def story(self, story: texts.Story) -> list[Insertion]:
        """Insert one to five sentences about the same people, in order, mostly a few sentences apart."""
        places = self.sentence_starts or self.line_starts
        place = self.rng.randrange(len(places))
        insertions: list[Insertion] = []
        for number in range(self.rng.randint(1, 5)):
            sentence = self.rng.choice(story.more if number else story.first)
            insertions.append(Insertion(places[place], self.part(sentence + " "), space=True))
            place = min(place + self.rng.choice((0, 1, 1, 2, 3)), len(places) - 1)
        return insertions


# Where the author's name is planted, in which words, and with which weight.
NAME_PLACES: tuple[tuple[Callable[[Planter, str], Insertion], Mapping[str, float], float], ...] = (
    (Planter.head_line, texts.NAME_LINES, 9),
    (Planter.after_heading, texts.NAME_BEHIND, 2.5),
    (Planter.end_line, texts.NAME_ENDS, 2),
    (Planter.body_line, texts.NAME_LINES, 1.5),
    (Planter.sentence, texts.NAME_SENTENCES, 3.5),
)


def _plant_name(planter: Planter) -> list[Insertion]:
    rng = planter.rng
    if rng.random() < STORY_SHARE:
        return planter.story(texts.pick_story(rng, texts.NAME_STORIES))
    place, templates, _ = rng.choices(NAME_PLACES, [weight for _, _, weight in NAME_PLACES])[0]
    return [place(planter, texts.pick(rng, templates))]


def planted(document: Document, type_shares: Mapping[str, float], surrogates: Surrogates) -> list[Insertion]:
    """Return insertions with PII for a document without PII: each type with its share, mostly the author's name."""
    rng = surrogates.rng
    pii_types = [pii_type for pii_type, share in type_shares.items() if rng.random() < share]
    planter = Planter(document, author(surrogates, pii_types) | others(surrogates), surrogates)
    insertions: list[Insertion] = []
    if NAME_STUDENT in pii_types:
        insertions += _plant_name(planter)
        if rng.random() < 0.35:
            insertions += _plant_name(planter)
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
    """Return `mean` lines, sentences and stories on average, at most 10, that look like PII and are not."""
    rng = surrogates.rng
    n_traps = sum(rng.random() < mean / 10 for _ in range(10))
    if not n_traps:
        return []
    planter = Planter(document, others(surrogates), surrogates)
    insertions: list[Insertion] = []
    for _ in range(n_traps):
        if rng.random() < STORY_SHARE:
            insertions += planter.story(texts.pick_story(rng, texts.TRAP_STORIES))
        elif rng.random() < 0.45:
            insertions.append(planter.sentence(texts.pick(rng, texts.TRAP_SENTENCES)))
        else:
            place = rng.choices((planter.head_line, planter.body_line, planter.end_line), (2, 4, 1))[0]
            insertions.append(place(texts.pick(rng, texts.TRAP_LINES)))
    return insertions
