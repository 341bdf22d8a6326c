"""Training essays made anew each epoch: PII swapped for surrogates, PII planted in clean essays, traps beside it.

Labels stay right by construction: what is swapped or planted is tokenized by itself, with its labels, and put between
tokens. Everything depends on the seed, the epoch and the document alone.
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pii_kit import augment_text as texts
from pii_kit.data import Document, spell
from pii_kit.errors import KitError
from pii_kit.labels import OUTSIDE, spans_of
from pii_kit.sample_text import FILLERS, expand
from pii_kit.spans import Span, document_of_spans
from pii_kit.surrogates import Surrogates, handle_of

HEAD_TOKENS = 60  # an essay's head: where titles and author lines stand
LINE_TOKENS = 12  # a longer line is no heading
WORDS = FILLERS | texts.WORDS
LINE_START_SHARE = 0.3  # of sentences planted begin a line
PAGE_BREAK_SHARE = 0.3  # of lines planted in the body stand in the middle of a sentence, as page headers do in PDFs


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How much is done to the essays of an epoch; all zeros leave them as they are.

    `swap_share` of the essays with PII have it swapped. `plant_share` of the clean essays have PII planted. `traps` is
    the mean number of lines and sentences planted that only look like PII. An essay with PII planted holds each type
    with its share.
    """

    swap_share: float = 1.0
    plant_share: float = 0.6
    traps: float = 1.0
    name_share: float = 0.9
    email_share: float = 0.08
    username_share: float = 0.03
    id_share: float = 0.12
    phone_share: float = 0.05
    url_share: float = 0.12
    address_share: float = 0.03

    def __post_init__(self):
        """Raises KitError, naming the setting, for a value that cannot be."""
        for name, value in vars(self).items():
            if not 0 <= value <= (10 if name == "traps" else 1):
                raise KitError(f"augment.{name} is {value}; expected 0 to {10 if name == 'traps' else 1}")

    def type_shares(self) -> dict[str, float]:
        """PII type to the share of planted essays that hold it."""
        return {
            texts.NAME: self.name_share,
            texts.EMAIL: self.email_share,
            texts.USERNAME: self.username_share,
            texts.ID_NUM: self.id_share,
            texts.PHONE_NUM: self.phone_share,
            texts.URL: self.url_share,
            texts.ADDRESS: self.address_share,
        }


def augment(documents: Iterable[Document], config: AugmentConfig, *, seed: int, epoch: int) -> list[Document]:
    """Labelled documents to those of one epoch, in the same order and with the same numbers."""
    return [
        augment_document(document, config, random.Random(f"{seed} {epoch} {document.document}"))
        for document in documents
    ]


def augment_document(document: Document, config: AugmentConfig, rng: random.Random) -> Document:
    """A labelled document with its PII swapped, or with PII planted where it held none, and traps planted."""
    avoid = {token.casefold() for token in document.tokens}
    surrogates = Surrogates(rng, avoid)
    inserted: list[Insertion] = []
    if document.types:
        if rng.random() < config.swap_share:
            document = swap_pii(document, surrogates)
    elif document.tokens and rng.random() < config.plant_share:
        inserted += _planted(document, config, surrogates)
    if document.tokens:
        inserted += _traps(document, config, surrogates)
    return insert(document, inserted)


# ---- swapping


def swap_pii(document: Document, surrogates: Surrogates) -> Document:
    """The document with a surrogate for each PII: equal ones for equal ones, of the same form.

    Names go token by token (initials to initials, capitals to capitals), everywhere in the essay, so that an e-mail
    made of a name is made of its surrogate; numbers keep their digits' places; links and addresses are drawn anew.
    """
    names = _new_names(document, surrogates)
    handle = handle_of("".join(names.values()))
    drawn: dict[tuple[str, str], Sequence[Span]] = {}
    parts: list[Document] = []
    done = 0
    for first, end, pii_type in spans_of(document.labels):
        if pii_type == texts.NAME:
            continue
        text = spell(document.tokens[first:end], document.trailing_whitespace[first:end]).rstrip(" ")
        if (pii_type, text) not in drawn:
            drawn[pii_type, text] = _surrogate(text, pii_type, handle, end - first, surrogates)
        parts += [_renamed(_part(document, done, first), names), _tokens_of(drawn[pii_type, text], document, end)]
        done = end
    parts.append(_renamed(_part(document, done, len(document.tokens)), names))
    return _joined(document.document, parts)


def _new_names(document: Document, surrogates: Surrogates) -> dict[str, str]:
    """Tokens of the document's names, casefolded, to new ones; particles, punctuation and single letters go as well."""
    names: dict[str, str] = {}
    for first, end, pii_type in spans_of(document.labels):
        if pii_type != texts.NAME:
            continue
        for place, token in enumerate(document.tokens[first:end]):
            if token.casefold() in names or not token[:1].isupper():
                continue
            if sum(map(str.isalpha, token)) < 2:
                names[token.casefold()] = surrogates.like(token)
            elif token.isalpha():
                names[token.casefold()] = surrogates.word("last" if place else "first")
    return names


def _renamed(document: Document, names: Mapping[str, str]) -> Document:
    """A part of a document with its names swapped, wherever they stand in capitals or title case."""

    def swapped(token: str) -> str:
        new = names.get(token.casefold()) if token[:1].isupper() else None
        if new is None:
            return token
        return new.upper() if token.isupper() and len(token) > 1 else new

    return replace(document, tokens=tuple(map(swapped, document.tokens)))


def _surrogate(text: str, pii_type: str, handle: str, n_tokens: int, surrogates: Surrogates) -> list[Span]:
    draws = {
        texts.EMAIL: lambda: surrogates.email(handle),
        texts.USERNAME: lambda: surrogates.username(handle),
        texts.URL: lambda: surrogates.url(handle),
        texts.ADDRESS: surrogates.address,
    }
    if pii_type in draws and (n_tokens == 1 or pii_type == texts.ADDRESS):
        return [(draws[pii_type](), pii_type)]
    return [(surrogates.like(text), pii_type)]


def _tokens_of(spans: Sequence[Span], document: Document, end: int) -> Document:
    """Spans as tokens that take the place of those before `end`, with the space that followed them."""
    made = document_of_spans(document.document, spans)
    return replace(made, trailing_whitespace=(*made.trailing_whitespace[:-1], document.trailing_whitespace[end - 1]))


# ---- planting


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
        before = _part(document, done, insertion.index)
        if insertion.space and before.tokens:
            before = replace(before, trailing_whitespace=(*before.trailing_whitespace[:-1], True))
        parts += [before, insertion.part]
        done = insertion.index
    parts.append(_part(document, done, len(document.tokens)))
    return _joined(document.document, parts)


def _part(document: Document, first: int, end: int) -> Document:
    return Document(
        document=document.document,
        full_text="",
        tokens=document.tokens[first:end],
        trailing_whitespace=document.trailing_whitespace[first:end],
        labels=document.labels[first:end],
    )


def _joined(number: int, parts: Sequence[Document]) -> Document:
    tokens = tuple(token for part in parts for token in part.tokens)
    spaces = tuple(space for part in parts for space in part.trailing_whitespace)
    labels = tuple(label for part in parts for label in part.labels)
    return Document(
        document=number, full_text=spell(tokens, spaces), tokens=tokens, trailing_whitespace=spaces, labels=labels
    )


@dataclass
class Planter:
    """Lines and sentences put into one document, in that document's line breaks and spaces."""

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
        self.line_starts = [0, *starts]
        self.head_starts = [start for start in self.line_starts if start <= HEAD_TOKENS][:5]
        self.sentence_starts = [i + 1 for i, token in enumerate(self.document.tokens[:-1]) if token == "."]
        self.headings = list(filter(None, map(self._line, self.line_starts[:20])))
        self.slots["gap"] = self.gap

    def part(self, template: str) -> Document:
        """A template to tokens. What does not fit spaCy's tokens is drawn again."""
        for _ in range(50):
            spans = expand(template, self.rng, {**self.slots, "title": self.title()}, WORDS)
            spans = [(text if kind else text.replace(" ", self.space), kind) for text, kind in spans]
            try:
                return document_of_spans(self.document.document, spans)
            except ValueError:
                continue
        raise ValueError(f"{template!r} never fits spaCy's tokens")

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


def _planted(document: Document, config: AugmentConfig, surrogates: Surrogates) -> list[Insertion]:
    """PII for a clean document: the writer's name, mostly, and other types by their shares."""
    rng = surrogates.rng
    pii_types = [pii_type for pii_type, share in config.type_shares().items() if rng.random() < share]
    slots = _writer(surrogates, pii_types)
    planter = Planter(document, slots, rng)
    planted: list[Insertion] = []
    if texts.NAME in pii_types:
        planted.append(_draw(rng, NAME_PLACES)(planter, rng))
        if rng.random() < 0.35:
            planted.append(_draw(rng, NAME_PLACES)(planter, rng))
        again = _pick(rng, texts.NAME_AGAIN)
        for _ in range(rng.choices((0, 1, 2, 3), (7, 2, 1, 1))[0]):
            planted.append(planter.body_line(again))
    for pii_type in pii_types:
        if pii_type != texts.NAME:
            template = _pick(rng, texts.LINES[pii_type])
            place = rng.choices((planter.head_line, planter.body_line, planter.end_line), (4, 3, 2))[0]
            planted.append(planter.sentence(template) if rng.random() < 0.3 else place(template))
    return planted


def _traps(document: Document, config: AugmentConfig, surrogates: Surrogates) -> list[Insertion]:
    rng = surrogates.rng
    n_traps = sum(rng.random() < config.traps / 10 for _ in range(10))
    if not n_traps:
        return []
    planter = Planter(document, _others(surrogates), rng)
    traps = []
    for _ in range(n_traps):
        if rng.random() < 0.5:
            traps.append(planter.sentence(rng.choice(texts.TRAP_SENTENCES)))
        else:
            place = rng.choices((planter.head_line, planter.body_line, planter.end_line), (2, 4, 1))[0]
            traps.append(place(rng.choice(texts.TRAP_LINES)))
    return traps


# Where the writer's name stands, and how often.
NAME_PLACES = {
    lambda planter, rng: planter.head_line(_pick(rng, texts.NAME_LINES)): 9,
    lambda planter, rng: planter.behind_heading(_pick(rng, texts.NAME_BEHIND)): 2.5,
    lambda planter, rng: planter.end_line(_pick(rng, texts.NAME_ENDS)): 2,
    lambda planter, rng: planter.body_line(_pick(rng, texts.NAME_LINES)): 1.5,
    lambda planter, rng: planter.sentence(_pick(rng, texts.NAME_SENTENCES)): 3.5,
}


def _pick(rng: random.Random, weighted: Mapping[str, float]) -> str:
    return rng.choices(list(weighted), list(weighted.values()))[0]


_draw = _pick


def _writer(surrogates: Surrogates, pii_types: Sequence[str]) -> dict[str, str]:
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
    return first, last, _pick(rng, forms)


def _others(surrogates: Surrogates) -> dict[str, str]:
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
