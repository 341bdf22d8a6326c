"""What models are compared with: regular expressions, spaCy's NER, the original project, published figures."""

import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files

import numpy as np
import pandas as pd
import spacy
from spacy.language import Language
from spacy.pipeline import EntityRecognizer
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import minibatch
from transformers import PreTrainedModel

from pii_kit import models as cost
from pii_kit.augment import AugmentConfig, augment
from pii_kit.documents import Document, true_labels
from pii_kit.files import KitError
from pii_kit.labels import (
    EMAIL,
    ID_NUM,
    NAME_STUDENT,
    OUTSIDE,
    PHONE_NUM,
    PII_TYPES,
    STREET_ADDRESS,
    URL_PERSONAL,
    USERNAME,
    label_span,
    spans_of,
)
from pii_kit.metrics import Score
from pii_kit.rules import EMAIL as EMAIL_PATTERN
from pii_kit.rules import matched_tokens

PART_SIZE = 50  # tokens of a document that spaCy trains on at once
CUT_SIZE = 25  # tokens that spaCy's parser trains on in a row; its default, 100, takes a third longer
CLEAN_SHARE = 0.02  # share of the parts without PII, which are most of the text, in each epoch

_NAME = r"[A-Z][\w'’-]+(?: [A-Z]\.)?(?: [A-Z][\w'’-]+){1,2}"
# The order matters: the first pattern that matches a token labels it. If a pattern has groups, the group that took part
# is the match. Every search is linear in the length of the text: a long token can neither start a search at each of its
# characters nor be split in several ways.
PATTERNS: Mapping[str, re.Pattern] = {
    EMAIL: EMAIL_PATTERN,
    URL_PERSONAL: re.compile(r"(?:https?://|www\.)[^\s<>\"']+[^\s<>\"'.,;:!?)\]]"),
    PHONE_NUM: re.compile(r"(?<![\w-])\+?\(?\d{1,4}\)?(?:[ .-]\(?\d{2,5}\)?){2,4}(?![\w-])"),
    ID_NUM: re.compile(r"(?<![\w.,-])(?=[\w-]*\d{4})[A-Za-z]{0,4}-?\d[\d-]{5,14}(?![\w-])"),
    STREET_ADDRESS: re.compile(r"\d{1,5} (?:[A-Z][\w'.]+ ){1,3}(?:Street|St|Road|Rd|Avenue|Ave|Lane|Drive)\b[^\n]*"),
    USERNAME: re.compile(r"(?i:user(?: ?name)?|handle)[ :]+@?(\w*[\d_.]\w+)"),
    NAME_STUDENT: re.compile(
        rf"(?:^|\n)({_NAME})[ ]*(?=\n|$)|(?:\b(?:[Bb]y|[Nn]ame(?: is|:)?|I am|I'm)[ :]+)({_NAME})"
    ),
}


def label_with_patterns(document: Document) -> list[str]:
    """Return labels (token) by the patterns alone; a token is labelled if a match covers any part of it."""
    labels = [OUTSIDE] * len(document.tokens)
    for pii_type, pattern in PATTERNS.items():
        for first, end in matched_tokens(document, pattern):
            if all(label == OUTSIDE for label in labels[first:end]):
                label_span(labels, first, end, pii_type)
    return labels


def train_spacy_ner(
    documents: Sequence[Document], *, seed: int = 0, epochs: int = 40, batch_size: int = 4, dropout: float = 0.2
) -> Language:
    """Train a spaCy pipeline with one `ner` component on the CPU, from random weights.

    Each epoch augments the documents as our models do, cuts them into parts of about PART_SIZE tokens, and trains on
    all parts with PII and on a random CLEAN_SHARE of the others. Equal documents and seeds give equal weights. The
    state of the global random number generators is restored afterwards.

    Raises:
        KitError: A document has no labels, or no document has PII.
    """
    pipeline = spacy.blank("en")
    recognizer = pipeline.add_pipe("ner", config={"update_with_oracle_cut_size": CUT_SIZE})
    assert isinstance(recognizer, EntityRecognizer)
    for pii_type in PII_TYPES:
        recognizer.add_label(pii_type)
    with _seeded(seed):
        with_pii = _examples(pipeline, documents, clean_share=0)
        if not with_pii:
            raise KitError(f"none of {len(documents)} documents has PII; spaCy's NER needs some to train on")
        optimizer = pipeline.initialize(lambda: with_pii)
        for epoch in range(epochs):
            augmented = augment(documents, AugmentConfig(), seed=seed, epoch=epoch)
            chosen = _examples(pipeline, augmented, clean_share=CLEAN_SHARE)
            random.shuffle(chosen)
            for batch in minibatch(chosen, batch_size):
                pipeline.update(batch, sgd=optimizer, drop=dropout)
    return pipeline


def _examples(pipeline: Language, documents: Sequence[Document], *, clean_share: float) -> list[Example]:
    """Return training examples: all parts of labelled documents with PII, and a random share of the others."""
    with_pii: list[tuple[Document, range]] = []
    clean: list[tuple[Document, range]] = []
    for document in documents:
        labels = true_labels(document)
        for part in _parts(document.tokens, PART_SIZE):
            holds = any(labels[index] != OUTSIDE and document.tokens[index].strip() for index in part)
            (with_pii if holds else clean).append((document, part))
    chosen = with_pii + random.sample(clean, round(clean_share * len(clean)))
    return [_example(pipeline, document, part) for document, part in chosen]


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


def published_table(name: str) -> pd.DataFrame:
    """Return a table of published.json, such as "language_model_paper"; its `attrs["source"]` cites the source."""
    table = json.loads((files("pii_kit.report") / "published.json").read_text(encoding="utf-8"))[name]
    frame = pd.DataFrame(table["rows"], columns=table["columns"])
    frame.attrs["source"] = table["source"]
    return frame


def beside_original(name: str, model: str, ours: Mapping[str, object]) -> pd.DataFrame:
    """Return a table of the original project for one model, with our values (by line) as the column "ours"."""
    table = published_table(name)
    table = table[table["model"] == model].drop(columns="model").set_index(table.columns[0])
    return table.assign(ours=[_short(ours[line]) for line in table.index])


def _short(value: object) -> str:
    if isinstance(value, int | np.integer) and value >= 10**5:
        return f"{value / 1e9:.3f}G" if value >= 10**9 else f"{value / 1e6:.3f}M"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def settings(model: str, network: PreTrainedModel, train: Mapping) -> dict[str, object]:
    """Return our settings under the names of "original_settings"; `train` is the TrainConfig in run.json."""
    config = getattr(network.config, "encoder", network.config)
    sha_rnn = model == "sha_rnn"
    restarts = f"cycles of {train['cycle_epochs']} epochs, peaks × {train['restart_decay']:g}"
    weights = train["class_weights"]
    return {
        "learning rate": f"{train['learning_rate']:g}",
        "class weights": weights if isinstance(weights, str) else f"{weights:g} for O, 1 for PII",
        "optimizer": f"{train['optimizer']}, decay {train['weight_decay']:g}",
        "dropout": config.dropout if sha_rnn else config.hidden_dropout_prob,
        "warm-up, epochs": f"{train['warmup_epochs']:g}",
        "schedule": f"cosine, {restarts if train['cycle_epochs'] else 'one cycle'}",
        "attention layers": len(config.attention_layers) if sha_rnn else config.num_hidden_layers,
        "attention heads": config.num_attention_heads,
        "embedding size": config.hidden_size if sha_rnn else config.embedding_size,
    }


def results(network: PreTrainedModel, f5: float, result: Mapping, original: Mapping[str, float]) -> dict[str, object]:
    """Return our results under the names of "original_results".

    `f5` is the competition's score, `result` the run's result.json, and `original` are the `original_metrics`.
    """
    return {
        **original,
        "F5, competition's definition": f5,
        "parameters": network.num_parameters(),
        "nn.Linear parameters": cost.linear_parameters(network),
        "operations for 1,024 pieces": f"{cost.flops(network, n_pieces=1024) / 1e9:.3f}G floating-point",
        "seconds per epoch": f"{result['epoch_seconds']:.1f} for one fold ({result['device']})",
    }


def original_metrics(truth: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]) -> dict[str, float]:
    """Return the four figures that the original project reported, by its definitions; not the competition's metric.

    Precision, recall and F5 of PII against O are computed for each document, whatever the type, and averaged over
    documents; precision and recall are 1 where they are 0/0. So a model that predicts O everywhere scores the share of
    documents without PII. Tag accuracy is the share of exact labels among units whose true label is not O (1.0 if there
    are none). The original project counted word pieces; here a unit is a token.
    """
    scores, right, n_pii = [], 0, 0
    for of_document in zip(truth, predicted, strict=True):
        pairs = list(zip(*of_document, strict=True))
        kinds = [(true != OUTSIDE, found != OUTSIDE) for true, found in pairs]
        scores.append(Score(tp=kinds.count((True, True)), fp=kinds.count((False, True)), fn=kinds.count((True, False))))
        right += sum(true == found != OUTSIDE for true, found in pairs)
        n_pii += sum(true for true, _ in kinds)
    return {
        "F5, original definition": float(np.mean([score.f for score in scores])),
        "precision, original definition": float(np.mean([score.precision for score in scores])),
        "recall, original definition": float(np.mean([score.recall for score in scores])),
        "tag accuracy": right / n_pii if n_pii else 1.0,
    }
