"""Baselines to compare models with: regular expressions, and spaCy's NER trained on the same documents."""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

import numpy as np
import spacy
from spacy.language import Language
from spacy.pipeline import EntityRecognizer
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import minibatch

from pii_kit.data import Document
from pii_kit.files import KitError
from pii_kit.labels import OUTSIDE, PII_TYPES, spans_of
from pii_kit.report import true_labels
from pii_kit.rules import EMAIL, label_span, matched_tokens

_NAME = r"[A-Z][\w'’-]+(?: [A-Z]\.)?(?: [A-Z][\w'’-]+){1,2}"
# The order matters: the first pattern that matches a token labels it. If a pattern has groups, the group that took part
# is the match. Every search is linear in the length of the text: a long token can neither start a search at each of its
# characters nor be split in several ways.
PATTERNS: Mapping[str, re.Pattern] = MappingProxyType(
    {
        "EMAIL": EMAIL,
        "URL_PERSONAL": re.compile(r"(?:https?://|www\.)[^\s<>\"']+[^\s<>\"'.,;:!?)\]]"),
        "PHONE_NUM": re.compile(r"(?<![\w-])\+?\(?\d{1,4}\)?(?:[ .-]\(?\d{2,5}\)?){2,4}(?![\w-])"),
        "ID_NUM": re.compile(r"(?<![\w.,-])(?=[\w-]*\d{4})[A-Za-z]{0,4}-?\d[\d-]{5,14}(?![\w-])"),
        "STREET_ADDRESS": re.compile(
            r"\d{1,5} (?:[A-Z][\w'.]+ ){1,3}(?:Street|St|Road|Rd|Avenue|Ave|Lane|Drive)\b[^\n]*"
        ),
        "USERNAME": re.compile(r"(?i:user(?: ?name)?|handle)[ :]+@?(\w*[\d_.]\w+)"),
        "NAME_STUDENT": re.compile(
            rf"(?:^|\n)({_NAME})[ ]*(?=\n|$)|(?:\b(?:[Bb]y|[Nn]ame(?: is|:)?|I am|I'm)[ :]+)({_NAME})"
        ),
    }
)


def label_with_patterns(document: Document) -> list[str]:
    """Return labels (token) by the patterns alone; a token is labelled if a match covers any part of it."""
    labels = [OUTSIDE] * len(document.tokens)
    for pii_type, pattern in PATTERNS.items():
        for first, end in matched_tokens(document, pattern):
            if all(label == OUTSIDE for label in labels[first:end]):
                label_span(labels, first, end, pii_type)
    return labels


def train_spacy_ner(
    documents: Sequence[Document],
    *,
    seed: int = 0,
    epochs: int = 20,
    clean_share: float = 0.02,
    part_size: int = 50,
    batch_size: int = 4,
    dropout: float = 0.2,
) -> Language:
    """Train a spaCy pipeline with one `ner` component on the CPU, from random weights.

    Documents are cut into parts of about `part_size` tokens. An epoch trains on all parts with PII and on a random
    `clean_share` of the others, which are most of the text. Equal documents and seeds give equal weights. The state of
    the global random number generators is restored afterwards.

    Raises:
        KitError: A document has no labels, or no document has PII.
    """
    pipeline = spacy.blank("en")
    recognizer = pipeline.add_pipe("ner")
    assert isinstance(recognizer, EntityRecognizer)
    for pii_type in PII_TYPES:
        recognizer.add_label(pii_type)
    examples = [
        _example(pipeline, document, part) for document in documents for part in _parts(document.tokens, part_size)
    ]
    with_pii = [example for example in examples if example.reference.ents]
    clean = [example for example in examples if not example.reference.ents]
    if not with_pii:
        raise KitError(f"none of {len(documents)} documents has PII; spaCy's NER needs some to train on")

    with _seeded(seed):
        optimizer = pipeline.initialize(lambda: with_pii)
        for _ in range(epochs):
            chosen = with_pii + random.sample(clean, round(clean_share * len(clean)))
            random.shuffle(chosen)
            for batch in minibatch(chosen, batch_size):
                pipeline.update(batch, sgd=optimizer, drop=dropout)
    return pipeline


def label_with_spacy(pipeline: Language, document: Document) -> list[str]:
    """Return labels (token) predicted by a trained pipeline."""
    doc = pipeline(_doc(pipeline, document, range(len(document.tokens))))
    return [f"{token.ent_iob_}-{token.ent_type_}" if token.ent_type_ else OUTSIDE for token in doc]


def _parts(tokens: Sequence[str], size: int) -> list[range]:
    """Split tokens into ranges that end at the first line break after `size` tokens, at most after twice `size`.

    >>> _parts(["Hi", ",", "\\n", "tea", "is", "good", "for", "you"], 2)
    [range(0, 3), range(3, 7), range(7, 8)]
    """
    parts, first = [], 0
    for end, token in enumerate(tokens, start=1):
        length = end - first
        if end == len(tokens) or (length >= size and "\n" in token) or length >= 2 * size:
            parts.append(range(first, end))
            first = end
    return parts


def _doc(pipeline: Language, document: Document, part: range) -> Doc:
    """Return a part of a document as a spaCy Doc; an empty token, which spaCy cannot represent, becomes a space."""
    words = [document.tokens[index] or " " for index in part]
    return Doc(pipeline.vocab, words=words, spaces=[document.trailing_whitespace[index] for index in part])


def _example(pipeline: Language, document: Document, part: range) -> Example:
    """Return a part of a labelled document as a spaCy training example, with entities trimmed of outer whitespace."""
    truth = _doc(pipeline, document, part)
    entities = []
    for first, end, pii_type in spans_of(true_labels(document)[part.start : part.stop]):
        visible = [index for index in range(first, end) if not truth[index].is_space]
        if visible:  # spaCy refuses an entity that starts or ends with whitespace
            entities.append(Span(truth, visible[0], visible[-1] + 1, label=pii_type))
    truth.ents = entities
    return Example(_doc(pipeline, document, part), truth)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed Python's and numpy's global generators, which spaCy uses, and restore their states afterwards."""
    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
