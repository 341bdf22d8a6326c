"""Make up documents in the competition's format, labelled by construction.

The competition's essays may not be passed on, so the kit makes its own for demos and tests. About 15% of them hold PII,
with the rare types more frequent than in the competition, so that 400 documents hold each type.
"""

import random
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

from pii_kit.augment.plant import author, others
from pii_kit.augment.surrogates import Surrogates, handle_of
from pii_kit.documents import Document, Span, document_of_spans, write_documents
from pii_kit.labels import NAME_STUDENT, PII_TYPES, STREET_ADDRESS, URL_PERSONAL, USERNAME
from pii_kit.lexicon import without_accents
from pii_kit.submission import true_rows, write_submission
from pii_kit.templates import Slots, expand, expand_text, pick, read_phrases

# Exactly 3 of every 20 documents hold PII, so that small samples are as mixed as large ones.
BLOCK, BLOCK_WITH_PII = 20, 3
# Share of the documents with PII that hold a type, in addition to the one type that each of them holds.
# A type that is added to PII_TYPES has no share: made-up documents do not hold it.
TYPE_SHARE = dict(zip(PII_TYPES, (0.75, 0.08, 0.05, 0.08, 0.05, 0.08, 0.02), strict=False))
NUMBER_STEP = 3  # numbers of documents rise by 1 to 5: Kaggle's have gaps too
LONG_SHARE = 1 / 60
PEOPLE = ("coach", "colleague", "guest", "customer", "friend", "author", "editor")  # none of them is a student
STORY_SENTENCES = 14  # of a topic, in their order, before its next ones are drawn
NAME_STYLES = (str, without_accents, str.lower, str.upper)  # of all names in a document: else the student stands out
STYLE_WEIGHTS = (12, 6, 1, 1)

Phrases = Mapping[str, Any]
# Lines, and shares of the places for them. `drawn_once` has the slots whose text is the same in a whole document.
PHRASES = read_phrases("essays")
KINDS = read_phrases("topics")  # kinds of documents, whose lines and shares replace those of PHRASES
TOPICS = [(kind, topic) for kind in KINDS for topic in KINDS[kind]["topics"]]
VARIANT = re.compile(rf"(?<![\w{{.’'-])({'|'.join(PHRASES['variants'])})(?![\w}}.’'-])")  # words with synonyms
WORDS = frozenset(re.findall(r"\w+", repr((PHRASES, KINDS)).casefold()))  # no name is one of them


def make_documents(n_documents: int, *, seed: int, first_number: int = 0, length: float = 1) -> list[Document]:
    """Return `n_documents` labelled documents; equal arguments give equal documents on any machine.

    A larger `n_documents` appends documents and changes none of the others. Numbers rise from `first_number` with gaps;
    another `first_number` also gives other texts. `length` multiplies the number of sentences.

    >>> [document.number for document in make_documents(2, seed=0, first_number=100)]
    [100, 105]
    """
    documents = []
    for index in range(n_documents):
        block, place = divmod(index, BLOCK)
        with_pii = random.Random(f"{seed}/{first_number}/block {block}").sample(range(BLOCK), BLOCK_WITH_PII)
        rng = random.Random(f"{seed}/{first_number}/{index}")
        pii_types: set[str] = set()
        if place in with_pii:
            turn = block * BLOCK_WITH_PII + with_pii.index(place)
            pii_types = {pii_type for pii_type, share in TYPE_SHARE.items() if rng.random() < share}
            pii_types.add(list(TYPE_SHARE)[turn % len(TYPE_SHARE)])
        number = first_number + NUMBER_STEP * index + rng.randrange(NUMBER_STEP)
        documents.append(_document(number, rng, sorted(pii_types), length))
    return documents


def write_sample(
    folder: str | Path, *, n_documents: int = 400, n_test: int | None = None, length: float = 1, seed: int = 0
) -> Path:
    """Write train.json, test.json and test_labels.csv, and return the folder.

    train.json holds `n_documents` documents, test.json `n_test` (default: a quarter as many, at least 50). The CSV file
    holds the true rows of test.json that are not O: row_id, document, token, label.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_documents(folder / "train.json", make_documents(n_documents, seed=seed, length=length))
    n_test = n_test or max(50, n_documents // 4)
    test = make_documents(n_test, seed=seed, first_number=NUMBER_STEP * n_documents, length=length)
    write_documents(folder / "test.json", [replace(document, labels=None) for document in test])
    write_submission(folder / "test_labels.csv", true_rows(test))
    return folder


def _document(number: int, rng: random.Random, pii_types: Sequence[str], length: float) -> Document:
    while True:
        try:
            return document_of_spans(number, _spans(rng, pii_types, length))
        except ValueError:  # a name in lower case, such as "jan", may be one token with the full stop after it
            continue


def _spans(rng: random.Random, pii_types: Sequence[str], length: float) -> list[Span]:
    """Return the spans of one document that holds exactly these PII types."""
    kind, topic = rng.choice(TOPICS)
    phrases = PHRASES | KINDS[kind]
    shares = phrases["shares"]
    head = [pick(rng, phrases["titles"]), *rng.sample(phrases["trap_lines"], rng.choice(phrases["n_trap_lines"]))]
    rng.shuffle(head)
    prose = _prose(rng, phrases, topic, length)
    foot, again = [], []
    for pii_type in pii_types:
        places = [place for place in ("head", "body", "foot") if rng.random() < shares[place]] or ["head"]
        if pii_type == STREET_ADDRESS:
            places = places[:1]  # one address already has as many tokens as the other PII of a document
        if "head" in places:
            head.insert(rng.randint(0, len(head)), pick(rng, phrases["pii_head"][pii_type]))
        if "body" in places:
            paragraph = prose[0] if pii_type == NAME_STUDENT else rng.choice(prose)
            paragraph.insert(0 if pii_type == NAME_STUDENT else 1, pick(rng, phrases["pii_body"][pii_type]))
        if "foot" in places:
            foot.append(pick(rng, phrases["pii_foot"][pii_type]))
    if NAME_STUDENT in pii_types:
        if rng.random() < shares["name_again"]:
            rng.choice(prose).append(pick(rng, phrases["name_again"]))
        if rng.random() < shares["name_again_line"]:
            again = [pick(rng, phrases["name_again_lines"])]

    blocks = _blocks(rng, phrases, head, prose)
    blocks[2:2] = again
    template = rng.choice(phrases["gaps"]["blocks"]).join(blocks + foot)
    return expand(_retype(rng, template), rng, {**document_slots(rng, pii_types), "topic": topic})


def _prose(rng: random.Random, phrases: Phrases, topic: str, length: float) -> list[list[str]]:
    """Return paragraphs of sentence templates: the topic's story in order, with traps in between."""
    story = [*phrases["start"], *phrases["topics"][topic], *phrases["end"]]
    n_sentences = round(length * rng.randint(*phrases["sentences"]["long" if rng.random() < LONG_SHARE else "usual"]))
    traps = cycle(rng.sample(phrases["traps"], len(phrases["traps"])))
    sentences: list[str] = []
    while n_sentences > 0:
        for index in sorted(rng.sample(range(len(story)), min(n_sentences, STORY_SENTENCES))):
            is_general = rng.random() < phrases["shares"]["general"]
            sentences.append(pick(rng, phrases["general"]) if is_general else story[index])
            if rng.random() < phrases["shares"]["trap"]:
                sentences.append(next(traps))
        n_sentences -= STORY_SENTENCES
    paragraphs = []
    while sentences:
        size = rng.randint(2, 5)
        paragraphs.append(sentences[:size])
        sentences = sentences[size:]
    return paragraphs


def _blocks(rng: random.Random, phrases: Phrases, head: Sequence[str], prose: Sequence[Sequence[str]]) -> list[str]:
    """Return the blocks of a document: its head, paragraphs with or without headings, lists, references, traps."""
    shares, gaps = phrases["shares"], phrases["gaps"]
    blocks = [rng.choice(gaps["head"]).join(head)]
    headings = cycle(phrases["headings"])
    with_headings = rng.random() < shares["headings"]
    for paragraph in prose:
        if with_headings:
            blocks.append(next(headings))
        blocks.append(rng.choice(gaps["sentences"]).join(paragraph))
        if rng.random() < shares["block"]:
            blocks.append(_block(rng, rng.choice(list(phrases["blocks"].values()))))
    if rng.random() < shares["references"]:
        blocks += [pick(rng, phrases["reference_headings"]), _block(rng, phrases["references"])]
    if rng.random() < shares["last_trap"]:
        blocks.append(pick(rng, phrases["trap_lines"]))
    return blocks


def _block(rng: random.Random, block: Phrases) -> str:
    least, *most = block["n_lines"]
    return "\n".join(rng.sample(block["lines"], rng.randint(least, *most) if most else least))


def document_slots(rng: random.Random, pii_types: Collection[str]) -> Slots:
    """Return the slots of a document: its author with PII of `pii_types`, other people, companies and places."""
    surrogates = Surrogates(rng, set(WORDS))
    people = (author(surrogates, pii_types) if pii_types else {}) | others(surrogates, PEOPLE)
    style = rng.choices(NAME_STYLES, STYLE_WEIGHTS)[0]
    names = {slot: style(name) for slot, name in people.items() if slot.partition(".")[0] in (NAME_STUDENT, *PEOPLE)}
    slots: dict[str, Any] = {
        **surrogates.slots,
        **people,
        **names,
        **{f"{who}.handle": handle_of(people[who]) for who in PEOPLE},
        "other_company": surrogates.slots["company"],
        "office": lambda: surrogates.pii(STREET_ADDRESS),
        "website": lambda: surrogates.pii(URL_PERSONAL, handle_of(people["author"])),
        "reviewer": lambda: surrogates.pii(USERNAME, handle_of(surrogates.name("first"))),
    }
    return slots | {slot: expand_text(template, rng, slots) for slot, template in PHRASES["drawn_once"].items()}


def _retype(rng: random.Random, template: str) -> str:
    """Add one author's typing habits to a template. The content of slots is unchanged, so it gives no hint."""
    habits: dict[str, str] = {}
    if rng.random() < 0.5:
        habits |= {"“": '"', "”": '"', "’": "'"}
    if rng.random() < 0.3:
        habits |= dict(rng.sample(sorted(PHRASES["typing_errors"].items()), 3))
    if rng.random() < 0.1:
        habits[", "] = ",\N{NO-BREAK SPACE}"
    template = VARIANT.sub(lambda match: rng.choice(PHRASES["variants"][match[0]]), template)
    for usual, typed in habits.items():
        template = template.replace(usual, typed)
    return template
