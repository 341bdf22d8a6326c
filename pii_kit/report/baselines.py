"""What models are compared with: regular expressions, and spaCy's NER trained from random weights."""

import math
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import spacy
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import minibatch
from thinc.api import use_ops
from threadpoolctl import threadpool_limits

from pii_kit import labels as pii
from pii_kit.documents import Document, cut, true_labels
from pii_kit.files import KitError
from pii_kit.rules import EMAIL as EMAIL_PATTERN
from pii_kit.rules import matched_tokens

PART_SIZE = 50  # tokens of a document that spaCy trains on at once
CUT_SIZE = 25  # tokens that spaCy's parser trains on in a row; its default, 100, takes a third longer
CLEAN_SHARE = 0.02  # share of the parts without PII, which are most of the text, in each epoch
BATCH_SIZE, DROPOUT = 4, 0.2

_NAME = r"[A-Z][\w'’-]+(?: [A-Z]\.)?(?: [A-Z][\w'’-]+){1,2}"
# The first pattern that matches a token labels it. If a pattern has groups, the group that took part is the match.
# Every search is linear in the length of the text.
PATTERNS: Mapping[str, re.Pattern] = {
    pii.EMAIL: EMAIL_PATTERN,
    pii.URL_PERSONAL: re.compile(r"(?:https?://|www\.)[^\s<>\"']+[^\s<>\"'.,;:!?)\]]"),
    pii.PHONE_NUM: re.compile(r"(?<![\w-])\+?\(?\d{1,4}\)?(?:[ .-]\(?\d{2,5}\)?){2,4}(?![\w-])"),
    pii.ID_NUM: re.compile(r"(?<![\w.,-])(?=[\w-]*\d{4})[A-Za-z]{0,4}-?\d[\d-]{5,14}(?![\w-])"),
    pii.STREET_ADDRESS: re.compile(
        r"\d{1,5} (?:[A-Z][\w'.]+ ){1,3}(?:Street|St|Road|Rd|Avenue|Ave|Lane|Drive)\b[^\n]*"
    ),
    pii.USERNAME: re.compile(r"(?i:user(?: ?name)?|handle)[ :]+@?(\w*[\d_.]\w+)"),
    pii.NAME_STUDENT: re.compile(
        rf"(?:^|\n)({_NAME})[ ]*(?=\n|$)|(?:\b(?:[Bb]y|[Nn]ame(?: is|:)?|I am|I'm)[ :]+)({_NAME})"
    ),
}


def label_with_patterns(document: Document) -> list[str]:
    """Return labels (token) by the patterns alone; a token is labelled if a match covers any part of it."""
    labels = [pii.OUTSIDE] * len(document.tokens)
    for pii_type, pattern in PATTERNS.items():
        for first, end in matched_tokens(document, pattern):
            if all(label == pii.OUTSIDE for label in labels[first:end]):
                pii.label_span(labels, first, end, pii_type)
    return labels


@use_ops("numpy", use_blis=False)  # numpy multiplies these matrices more than twice as fast as BLIS
def train_spacy_ner(
    documents: Sequence[Document],
    *,
    seed: int = 0,
    epochs: int = 40,
    deadline: float = math.inf,
    report: Callable[[float], object] = lambda step: None,
) -> tuple[Language, int]:
    """Train a spaCy pipeline with one `ner` component on the CPU from random weights; return it and its epochs.

    Each epoch trains on all parts with PII of the augmented documents, and on a random CLEAN_SHARE of the others. Equal
    documents and seeds give equal weights. No epoch but the first one begins after `deadline`, a time of
    `time.monotonic()`. `report` is called with 1 after each epoch.

    Raises:
        KitError: A document has no labels, or no document has PII.
    """
    from pii_kit.augment import augment
    from pii_kit.settings import AugmentSettings

    pipeline = spacy.blank("en")
    recognizer = pipeline.add_pipe("ner", config={"update_with_oracle_cut_size": CUT_SIZE})
    for pii_type in pii.PII_TYPES:
        recognizer.add_label(pii_type)  # type: ignore[attr-defined]
    random.seed(seed)
    np.random.seed(seed)  # spaCy uses both
    with_pii = _examples(pipeline, documents, clean_share=0)
    if not with_pii:
        raise KitError(f"none of {len(documents)} documents has PII; spaCy's NER needs some to train on")
    optimizer = pipeline.initialize(lambda: with_pii)
    for epoch in range(epochs):
        if epoch and time.monotonic() > deadline:
            return pipeline, epoch
        augmented = augment(documents, AugmentSettings(), seed=seed, epoch=epoch)
        examples = _examples(pipeline, augmented, clean_share=CLEAN_SHARE)
        random.shuffle(examples)
        for batch in minibatch(examples, BATCH_SIZE):
            pipeline.update(batch, sgd=optimizer, drop=DROPOUT)
        report(1)
    return pipeline, epochs


def label_fold_with_spacy(
    training: Sequence[Document],
    others: Sequence[Document],
    settings: Mapping[str, Any],
    *,
    device: str,
    report: Callable[[float], object],
) -> tuple[list[list[str]], int]:
    """Train spaCy as the task of a fold; return its labels (document, token) of `others`, and its epochs."""
    with threadpool_limits(1):  # the other folds need the other cores
        pipeline, n_epochs = train_spacy_ner(training, **settings, report=report)
        return [label_with_spacy(pipeline, document) for document in others], n_epochs


def label_with_spacy(pipeline: Language, document: Document) -> list[str]:
    """Return labels (token) predicted by a trained pipeline."""
    doc = pipeline(_doc(pipeline, document))
    return [f"{token.ent_iob_}-{token.ent_type_}" if token.ent_type_ else pii.OUTSIDE for token in doc]


def _examples(pipeline: Language, documents: Sequence[Document], *, clean_share: float) -> list[Example]:
    """Return training examples: all parts of documents with PII, and a random share of the others.

    A document is cut after the first line break that follows PART_SIZE tokens, or after twice as many tokens.
    """
    with_pii: list[Document] = []
    clean: list[Document] = []
    for document in documents:
        true_labels(document)  # raises KitError if there are none
        first = 0
        for end, token in enumerate(document.tokens, start=1):
            length = end - first
            if end == len(document.tokens) or (length >= PART_SIZE and "\n" in token) or length >= 2 * PART_SIZE:
                part = cut(document, first, end)
                (with_pii if part.types else clean).append(part)
                first = end
    return [_example(pipeline, part) for part in with_pii + random.sample(clean, round(clean_share * len(clean)))]


def _example(pipeline: Language, document: Document) -> Example:
    """Return a labelled document as a training example; spaCy refuses entities that start or end with whitespace."""
    truth = _doc(pipeline, document)
    visible = (
        ([index for index in range(first, end) if not truth[index].is_space], pii_type)
        for first, end, pii_type in pii.spans_of(true_labels(document))
    )
    truth.ents = [Span(truth, places[0], places[-1] + 1, label=pii_type) for places, pii_type in visible if places]
    return Example(_doc(pipeline, document), truth)


def _doc(pipeline: Language, document: Document) -> Doc:
    """Return a document as a spaCy Doc; an empty token, which spaCy cannot represent, becomes a space."""
    words = [token or " " for token in document.tokens]
    return Doc(pipeline.vocab, words=words, spaces=list(document.trailing_whitespace))
