"""Training essays made anew each epoch: PII swapped for surrogates, PII planted in clean essays, traps beside it.

Labels stay right by construction: what is swapped or planted is tokenized by itself, with its labels, and put between
tokens. Everything depends on the seed, the epoch and the document alone.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass

from pii_kit.augment import templates as texts
from pii_kit.augment.plant import Insertion, insert, planted, traps
from pii_kit.augment.surrogates import Surrogates
from pii_kit.augment.swap import swap_pii
from pii_kit.data import Document
from pii_kit.files import KitError


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
    address_share: float = 0.01

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
        inserted += planted(document, config.type_shares(), surrogates)
    if document.tokens:
        inserted += traps(document, config.traps, surrogates)
    return insert(document, inserted)
