"""Make up documents in the competition's format, labelled by construction.

The competition's essays may not be passed on, so the kit generates its own for demos and tests. About 15% of them hold
PII, with the rare types more frequent than in the competition, so that 400 documents hold each type.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path

from pii_kit.documents import Document, Span, document_of_spans, write_documents
from pii_kit.files import KitError
from pii_kit.labels import (
    EMAIL,
    ID_NUM,
    NAME_STUDENT,
    PHONE_NUM,
    STREET_ADDRESS,
    URL_PERSONAL,
    USERNAME,
)
from pii_kit.sample import text as words
from pii_kit.sample.text import slots
from pii_kit.submission import true_rows, write_submission

# Exactly 3 of every 20 documents hold PII, so that small samples are as mixed as large ones.
BLOCK, BLOCK_WITH_PII = 20, 3
# Share of the documents with PII that hold a type, in addition to the one type that each of them holds.
TYPE_SHARE = {
    NAME_STUDENT: 0.75,
    EMAIL: 0.08,
    USERNAME: 0.05,
    ID_NUM: 0.08,
    PHONE_NUM: 0.05,
    URL_PERSONAL: 0.08,
    STREET_ADDRESS: 0.02,
}
# Document numbers rise by 1 to 5: Kaggle's have gaps too.
NUMBER_STEP = 3


def make_documents(n_documents: int, *, seed: int, first_document: int = 0, length: float = 1) -> list[Document]:
    """Return `n_documents` labelled documents; equal arguments give equal documents on any machine.

    A larger `n_documents` appends documents and changes none of the others. Numbers rise from `first_document` with
    gaps; another `first_document` also gives other texts. `length` multiplies the number of sentences.
    """
    documents = []
    for index in range(n_documents):
        block, place = divmod(index, BLOCK)
        with_pii = random.Random(f"{seed}/{first_document}/block {block}").sample(range(BLOCK), BLOCK_WITH_PII)
        rng = random.Random(f"{seed}/{first_document}/{index}")
        pii_types: set[str] = set()
        if place in with_pii:
            turn = block * BLOCK_WITH_PII + with_pii.index(place)
            pii_types = {pii_type for pii_type, share in TYPE_SHARE.items() if rng.random() < share}
            pii_types.add(list(TYPE_SHARE)[turn % len(TYPE_SHARE)])
        number = first_document + NUMBER_STEP * index + rng.randrange(NUMBER_STEP)
        documents.append(document_of_spans(number, _spans(rng, sorted(pii_types), length)))
    return documents


def write_sample(
    folder: str | Path, *, n_documents: int = 400, n_test: int | None = None, length: float = 1, seed: int = 0
) -> Path:
    """Write train.json, test.json and test_labels.csv, and return the folder.

    train.json holds `n_documents` documents, test.json `n_test` (default: a quarter as many, at least 50). The CSV file
    holds the true rows of test.json that are not O: row_id, document, token, label.

    Raises:
        KitError: `n_documents` is less than 1.
    """
    if n_documents < 1:
        raise KitError(f"n_documents is {n_documents}; a sample needs at least 1")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_documents(folder / "train.json", make_documents(n_documents, seed=seed, length=length))
    n_test = n_test or max(50, n_documents // 4)
    test = make_documents(n_test, seed=seed, first_document=NUMBER_STEP * n_documents, length=length)
    write_documents(folder / "test.json", [replace(doc, labels=None) for doc in test])
    write_submission(folder / "test_labels.csv", true_rows(test))
    return folder


def _spans(rng: random.Random, pii_types: Sequence[str], length: float) -> list[Span]:
    """Return the spans of one document that holds exactly these PII types."""
    topic_name, topic = rng.choice(list(words.TOPICS.items()))
    head = [rng.choice(topic.titles), *rng.sample(words.TRAP_LINES, rng.choice((0, 0, 1, 1, 2, 3)))]
    rng.shuffle(head)
    prose = _prose(rng, topic, length)
    foot, again = [], []
    for pii_type in pii_types:
        places = {"head": 0.6, "body": 0.4, "foot": 0.35}
        taken = [place for place, share in places.items() if rng.random() < share] or ["head"]
        if pii_type == STREET_ADDRESS:
            taken = taken[:1]  # one address already has as many tokens as the other PII of a document
        if "head" in taken:
            head.insert(rng.randint(0, len(head)), _common_first(rng, words.PII_HEAD[pii_type]))
        if "body" in taken:
            paragraph = prose[0] if pii_type == NAME_STUDENT else rng.choice(prose)
            paragraph.insert(0 if pii_type == NAME_STUDENT else 1, _common_first(rng, words.PII_BODY[pii_type]))
        if "foot" in taken:
            foot.append(_common_first(rng, words.PII_FOOT[pii_type]))
    if NAME_STUDENT in pii_types:
        if rng.random() < 0.5:
            rng.choice(prose).append(rng.choice(words.NAME_AGAIN))
        if rng.random() < 0.1:
            again = [words.NAME_AGAIN_LINE]

    line_break = rng.choice(("\n", "\n", "\n\n", " \n", "   "))
    blocks = [line_break.join(head)]
    headings = cycle(topic.headings)
    with_headings = rng.random() < 0.5
    for paragraph in prose:
        if with_headings:
            blocks.append(next(headings))
        blocks.append(rng.choice((" ", " ", " ", "  ")).join(paragraph))
        if rng.random() < 0.25:
            blocks.append(_block(rng, rng.choice(("bullets", "table", "quote"))))
    blocks[2:2] = again
    if rng.random() < 0.25:
        blocks += [rng.choice(words.REFERENCE_HEADINGS), _block(rng, "references")]
    if rng.random() < 0.2:
        blocks.append(rng.choice(words.TRAP_LINES))
    blocks += foot
    template = rng.choice(("\n\n", "\n\n", "\n", " \n\n")).join(blocks)
    return words.expand(_retype(rng, template), rng, slots(rng) | {"topic": topic_name})


def _prose(rng: random.Random, topic: words.Topic, length: float) -> list[list[str]]:
    """Return paragraphs of sentence templates: the topic's story in order, with traps in between."""
    n_sentences = round(length * (rng.randint(50, 60) if rng.random() < 1 / 60 else rng.randint(4, 15)))
    story = topic.sentences
    traps = cycle(rng.sample(words.TRAPS, len(words.TRAPS)))
    sentences: list[str] = []
    while n_sentences > 0:
        for index in sorted(rng.sample(range(len(story)), min(n_sentences, len(story)))):
            sentences += [story[index], next(traps)] if rng.random() < 0.35 else [story[index]]
        n_sentences -= len(story)
    paragraphs = []
    while sentences:
        size = rng.randint(2, 5)
        paragraphs.append(sentences[:size])
        sentences = sentences[size:]
    return paragraphs


def _block(rng: random.Random, kind: str) -> str:
    lines = rng.sample(words.BLOCKS[kind], 1 if kind == "quote" else rng.randint(2, 4))
    return "\n".join(lines).replace("{mark}", rng.choice(words.MARKS))


def _common_first(rng: random.Random, options: Sequence[str]) -> str:
    return rng.choices(options, [1 / rank for rank in range(1, len(options) + 1)])[0]


def _retype(rng: random.Random, template: str) -> str:
    """Add one author's typing habits to a template. The content of slots is unchanged, so it gives no hint."""
    habits: dict[str, str] = {}
    if rng.random() < 0.5:
        habits |= {"“": '"', "”": '"', "’": "'"}
    if rng.random() < 0.3:
        habits |= dict(rng.sample(sorted(words.TYPING_ERRORS.items()), 3))
    if rng.random() < 0.1:
        habits[", "] = ",\N{NO-BREAK SPACE}"
    for usual, typed in habits.items():
        template = template.replace(usual, typed)
    return template
