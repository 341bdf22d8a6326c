"""Augment labelled documents, differently in each epoch: swap PII for surrogates, plant PII and traps.

Labels are right by construction: each new part is tokenized and labelled on its own, then inserted between tokens.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pii_kit.augment.plant import Insertion, insert, planted, traps
from pii_kit.augment.surrogates import Surrogates
from pii_kit.augment.swap import swap_pii, without_pii
from pii_kit.documents import Document, join_tokens
from pii_kit.files import KitError
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

__all__ = ["AugmentConfig", "augment", "augment_document", "without_pii"]


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How much to augment; with all zeros, documents stay as they are.

    Attributes:
        swap_share: share of the documents with PII in which all PII is swapped for surrogates.
        plant_share: share of the documents without PII in which PII is planted.
        traps: mean number of planted lines, sentences and stories that only look like PII, in every document; 0 to 10.
        name_share: share of the documents with planted PII that get a NAME_STUDENT.
        email_share: share of them that get an EMAIL.
        username_share: share of them that get a USERNAME.
        id_share: share of them that get an ID_NUM.
        phone_share: share of them that get a PHONE_NUM.
        url_share: share of them that get a URL_PERSONAL.
        address_share: share of them that get a STREET_ADDRESS.
        lower_share: share of all documents that are then written in lower case, as some authors write.
    """

    swap_share: float = 1.0
    plant_share: float = 0.6
    traps: float = 2.0
    name_share: float = 0.9
    email_share: float = 0.10
    username_share: float = 0.05
    id_share: float = 0.14
    phone_share: float = 0.08
    url_share: float = 0.14
    address_share: float = 0.06
    lower_share: float = 0.0

    def __post_init__(self):
        """Check the settings; raise KitError, naming the setting, for a value out of range."""
        for name, value in vars(self).items():
            most = 10 if name == "traps" else 1
            if not 0 <= value <= most:
                raise KitError(f"augment.{name} is {value}; expected 0 to {most}")


def type_shares(settings: AugmentConfig) -> dict[str, float]:
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


def augment(documents: Iterable[Document], settings: AugmentConfig, *, seed: int, epoch: int) -> list[Document]:
    """Return the documents of one epoch, same order and numbers; each depends only on itself, seed and epoch."""
    return [
        augment_document(document, settings, random.Random(f"{seed} {epoch} {document.number}"))
        for document in documents
    ]


def augment_document(document: Document, settings: AugmentConfig, rng: random.Random) -> Document:
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
