"""Augment labelled documents, differently in each epoch: swap PII for surrogates, plant PII and traps.

Labels are right by construction: each new part is tokenized and labelled on its own, then inserted between tokens.
"""

import random
from collections.abc import Iterable
from dataclasses import replace

from pii_kit.augment.plant import Insertion, insert, planted, traps
from pii_kit.augment.surrogates import Surrogates
from pii_kit.augment.swap import swap_pii, without_pii
from pii_kit.documents import Document, join_tokens
from pii_kit.labels import (
    EMAIL,
    ID_NUM,
    NAME_STUDENT,
    OUTSIDE,
    PHONE_NUM,
    STREET_ADDRESS,
    URL_PERSONAL,
    USERNAME,
)
from pii_kit.settings import AugmentSettings

__all__ = ["augment", "augment_document", "without_pii"]


def type_shares(settings: AugmentSettings) -> dict[str, float]:
    """Return, for each PII type, the share of the documents with planted PII that get this type."""
    return {
        NAME_STUDENT: settings.name_share,
        EMAIL: settings.email_share,
        USERNAME: settings.username_share,
        ID_NUM: settings.id_share,
        PHONE_NUM: settings.phone_share,
        URL_PERSONAL: settings.url_share,
        STREET_ADDRESS: settings.address_share,
    }


def augment(documents: Iterable[Document], settings: AugmentSettings, *, seed: int, epoch: int) -> list[Document]:
    """Return the documents of one epoch, same order and numbers; each depends only on itself, seed and epoch."""
    return [
        augment_document(document, settings, random.Random(f"{seed} {epoch} {document.number}"))
        for document in documents
    ]


def augment_document(document: Document, settings: AugmentSettings, rng: random.Random) -> Document:
    """Return a labelled document with its PII swapped, or with PII planted if it has none, and with traps planted."""
    # Surrogates avoid PII and capitalised tokens, which could name somebody; not the word "will" for the name Will.
    labels = document.labels or (OUTSIDE,) * len(document.tokens)
    tokens = zip(document.tokens, labels, strict=True)
    avoid = {token.casefold() for token, label in tokens if label != OUTSIDE or not token.islower()}
    surrogates = Surrogates(rng, avoid)
    inserted: list[Insertion] = []
    if document.types:
        if rng.random() < settings.swap_share:
            document = swap_pii(document, surrogates)
    elif document.tokens and rng.random() < settings.plant_share:
        inserted += planted(document, type_shares(settings), surrogates)
    if document.tokens:
        inserted += traps(document, settings.traps, surrogates)
    document = insert(document, inserted)
    return to_lower_case(document) if rng.random() < settings.lower_share else document


def to_lower_case(document: Document) -> Document:
    """Return a document with all its tokens in lower case."""
    tokens = tuple(token.lower() for token in document.tokens)
    return replace(document, tokens=tokens, full_text=join_tokens(tokens, document.trailing_whitespace))
