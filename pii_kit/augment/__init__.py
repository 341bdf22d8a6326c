"""Augment labelled documents, differently in each epoch: swap PII for surrogates, plant PII and traps.

Labels are right by construction: each new part is tokenized and labelled on its own, then inserted between tokens.
"""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pii_kit.augment.plant import Insertion, insert, planted, traps
from pii_kit.augment.surrogates import Surrogates
from pii_kit.data import Document, cut, document_of_spans, join, true_labels
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
    spans_of,
)
from pii_kit.sample.text import handle_of


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How much to augment; with all zeros, documents stay as they are.

    Attributes:
        swap_share: share of the documents with PII in which all PII is swapped for surrogates.
        plant_share: share of the documents without PII in which PII is planted.
        traps: mean number of planted lines, sentences and stories that only look like PII, in every document; 0 to 10.
        name_share: share of the documents with planted PII that get a NAME_STUDENT; the others likewise.
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

    def __post_init__(self):
        """Check the settings; raise KitError, naming the setting, for a value out of range."""
        for name, value in vars(self).items():
            most = 10 if name == "traps" else 1
            if not 0 <= value <= most:
                raise KitError(f"augment.{name} is {value}; expected 0 to {most}")

    def type_shares(self) -> dict[str, float]:
        """Return, for each PII type, the share of the documents with planted PII that get this type."""
        return {
            NAME_STUDENT: self.name_share,
            EMAIL: self.email_share,
            USERNAME: self.username_share,
            ID_NUM: self.id_share,
            PHONE_NUM: self.phone_share,
            URL_PERSONAL: self.url_share,
            STREET_ADDRESS: self.address_share,
        }


def augment(documents: Iterable[Document], config: AugmentConfig, *, seed: int, epoch: int) -> list[Document]:
    """Return the documents of one epoch, same order and numbers; each depends only on itself, seed and epoch."""
    return [
        augment_document(document, config, random.Random(f"{seed} {epoch} {document.document}"))
        for document in documents
    ]


def augment_document(document: Document, config: AugmentConfig, rng: random.Random) -> Document:
    """Return a labelled document with its PII swapped, or with PII planted if it has none, and with traps planted."""
    # Words in lower case may be names too, such as Will or Hope; words with a capital could name another person.
    labels = document.labels or (OUTSIDE,) * len(document.tokens)
    tokens = zip(document.tokens, labels, strict=True)
    avoid = {token.casefold() for token, label in tokens if label != OUTSIDE or not token.islower()}
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


def swap_pii(document: Document, surrogates: Surrogates) -> Document:
    """Return the document with a surrogate in place of each entity; equal entities get equal surrogates.

    Names are replaced token by token (an initial by an initial, capitals by capitals), also where they stand outside a
    label. E-mail addresses, user names and links may contain the document's first new name. Numbers keep the
    positions of their digits. Addresses are replaced as a whole.
    """
    names = _new_names(document, surrogates)
    handle = handle_of("".join(list(names.values())[:2]))
    drawn: dict[tuple[str, str], Document] = {}
    parts: list[Document] = []
    done = 0
    for first, end, pii_type in spans_of(true_labels(document)):
        parts.append(_swap_unlabelled(cut(document, done, first), names))
        entity = cut(document, first, end)
        if pii_type == NAME_STUDENT:
            swapped = (token if _is_particle(token, entity) else _swap(token, names) for token in entity.tokens)
            parts.append(replace(entity, tokens=tuple(swapped)))
        else:
            key = pii_type, entity.full_text.rstrip(" ")
            if key not in drawn:
                drawn[key] = _surrogate(entity, pii_type, handle, surrogates)
            spaces = (*drawn[key].trailing_whitespace[:-1], entity.trailing_whitespace[-1])
            parts.append(replace(drawn[key], trailing_whitespace=spaces))
        done = end
    parts.append(_swap_unlabelled(cut(document, done, len(document.tokens)), names))
    return join(document.document, parts)


def _n_letters(token: str) -> int:
    return sum(map(str.isalpha, token))


def _is_particle(token: str, entity: Document) -> bool:
    """Return whether a token is a particle such as "de" or "van"; a name all in lower case has no particles."""
    return token.islower() and any(other[:1].isupper() for other in entity.tokens)


def _new_names(document: Document, surrogates: Surrogates) -> dict[str, str]:
    """Map each token of the document's names, casefolded, to its surrogate; particles and punctuation are left out."""
    names: dict[str, str] = {}
    for first, end, pii_type in spans_of(true_labels(document)):
        if pii_type != NAME_STUDENT:
            continue
        entity = cut(document, first, end)
        for place, token in enumerate(entity.tokens):
            if token.casefold() in names or not _n_letters(token) or _is_particle(token, entity):
                continue
            if _n_letters(token) == 1 or ("." in token and token.isupper()):  # "J", "J.", "J.P."
                names[token.casefold()] = surrogates.like(token)
            else:
                names[token.casefold()] = surrogates.word("last" if place else "first")
    return names


def _swap(token: str, names: Mapping[str, str]) -> str:
    """Return the surrogate of a token, in capitals or lower case if the token is; the token if it has none."""
    new = names.get(token.casefold())
    if new is None:
        return token
    return new.upper() if token.isupper() else new.lower() if token.islower() else new


def _swap_unlabelled(part: Document, names: Mapping[str, str]) -> Document:
    """Swap names in a part without PII, only in capitals or title case; no initials, since "I" and "A" are words."""
    swapped = (_swap(token, names) if token[:1].isupper() and _n_letters(token) > 1 else token for token in part.tokens)
    return replace(part, tokens=tuple(swapped))


def _surrogate(entity: Document, pii_type: str, handle: str, surrogates: Surrogates) -> Document:
    if pii_type == STREET_ADDRESS:
        return document_of_spans(entity.document, [(surrogates.address(), pii_type)])
    draws = {EMAIL: surrogates.email, USERNAME: surrogates.username, URL_PERSONAL: surrogates.url}
    if pii_type in draws and len(entity.tokens) == 1:
        return replace(entity, tokens=(draws[pii_type](handle),))
    return replace(entity, tokens=tuple(map(surrogates.like, entity.tokens)))
