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
from pii_kit.labels import OUTSIDE, PII_TYPES
from pii_kit.settings import AugmentSettings

__all__ = ["augment", "augment_document", "without_pii"]

# The settings of the PII types, in the order of PII_TYPES.
SHARES = ("name_share", "email_share", "username_share", "id_share", "phone_share", "url_share", "address_share")


def augment(documents: Iterable[Document], settings: AugmentSettings, *, seed: int, epoch: int) -> list[Document]:
    """Return the documents of one epoch, same order and numbers; each depends only on itself, seed and epoch."""
    return [augment_document(doc, settings, random.Random(f"{seed} {epoch} {doc.number}")) for doc in documents]


def augment_document(document: Document, settings: AugmentSettings, rng: random.Random) -> Document:
    """Return a labelled document with its PII swapped, or with PII planted if it has none, and with traps planted."""
    # Surrogates avoid PII and capitalised tokens, which could name somebody; not the word "will" for the name Will.
    labels = document.labels or (OUTSIDE,) * len(document.tokens)
    pairs = zip(document.tokens, labels, strict=True)
    avoid = {token.casefold() for token, label in pairs if label != OUTSIDE or not token.islower()}
    surrogates = Surrogates(rng, avoid)
    inserted: list[Insertion] = []
    if document.types:
        if rng.random() < settings.swap_share:
            document = swap_pii(document, surrogates)
    elif document.tokens and rng.random() < settings.plant_share:
        shares = dict(zip(PII_TYPES, (getattr(settings, name) for name in SHARES), strict=False))  # a new type has none
        inserted += planted(document, shares, surrogates)
    if document.tokens:
        inserted += traps(document, settings.traps, surrogates)
    document = insert(document, inserted)
    if rng.random() >= settings.lower_share:
        return document
    tokens = tuple(token.lower() for token in document.tokens)
    return replace(document, tokens=tokens, full_text=join_tokens(tokens, document.trailing_whitespace))
