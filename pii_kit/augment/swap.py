"""Swap the names and other PII of documents for surrogates."""

import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from pii_kit.augment.surrogates import Surrogates, handle_of
from pii_kit.documents import Document, cut, document_of_spans, join, join_tokens, true_labels
from pii_kit.labels import EMAIL, NAME_STUDENT, STREET_ADDRESS, URL_PERSONAL, USERNAME, pii_places, spans_of
from pii_kit.lexicon import look_up

RUN = re.compile(r"[^\W_]+")  # letters and digits
LEAST_PART = 4  # letters of an original that is also looked for inside other words


def without_pii(documents: Iterable[Document], *, seed: int = 0) -> list[Document]:
    """Return labelled documents with surrogates for their PII, to learn a vocabulary that holds none of it.

    Beside what `swap_pii` does, all other tokens that hold a word or number of the originals get other letters and
    digits. Only ordinary words that are no names stay, such as "street".

    >>> spans = [("By ", None), ("Ana Souza", "NAME_STUDENT"), (", see anasouza.html", None)]
    >>> "souza" in without_pii([document_of_spans(1, spans)])[0].full_text.lower()
    False
    """
    return [_without_originals(document, seed) if document.types else document for document in documents]


def _without_originals(document: Document, seed: int) -> Document:
    labelled = "\n".join(document.tokens[place] for place in pii_places(true_labels(document)))
    words = {run for run in RUN.findall(labelled.casefold()) if len(run) > 1}
    originals = {word for word in words if not _is_ordinary(word)}
    long = [word for word in originals if len(word) >= LEAST_PART]
    rng = random.Random(f"{seed} {document.number}")
    surrogates = Surrogates(rng, {token.casefold() for token in document.tokens})

    def other(token: str) -> str:
        while any(run in originals or any(word in run for word in long) for run in RUN.findall(token.casefold())):
            token = surrogates.like(token)
        return token

    swapped = swap_pii(document, surrogates)
    tokens = tuple(map(other, swapped.tokens))
    return replace(swapped, tokens=tokens, full_text=join_tokens(tokens, swapped.trailing_whitespace))


def _is_ordinary(word: str) -> bool:
    commonness, _, first, last = look_up(word)
    return commonness >= 4 or (commonness >= 2 and not first and not last)


def swap_pii(document: Document, surrogates: Surrogates) -> Document:
    """Return the document with a surrogate in place of each entity; equal entities get equal surrogates.

    Names are replaced token by token (an initial by an initial, capitals by capitals), also where they stand outside a
    label. E-mail addresses, user names and links may contain the document's first new name. Numbers keep the
    positions of their digits. Addresses are replaced as a whole.
    """
    spans = [(cut(document, first, end), first, end, kind) for first, end, kind in spans_of(true_labels(document))]
    names = _new_names([entity for entity, *_, pii_type in spans if pii_type == NAME_STUDENT], surrogates)
    handle = handle_of("".join(list(names.values())[:2]))
    drawn: dict[tuple[str, str], Document] = {}
    parts, done = [], 0
    for entity, first, end, pii_type in spans:
        parts.append(_swap_names(cut(document, done, first), names))
        if pii_type == NAME_STUDENT:
            tokens = [token if _is_particle(token, entity) else _swap(token, names) for token in entity.tokens]
            parts.append(replace(entity, tokens=tuple(tokens)))
        else:
            key = pii_type, entity.full_text.rstrip(" ")
            new = drawn[key] = drawn.get(key) or _surrogate(entity, pii_type, handle, surrogates)
            spaces = (*new.trailing_whitespace[:-1], entity.trailing_whitespace[-1])
            parts.append(replace(new, trailing_whitespace=spaces))
        done = end
    return join(document.number, [*parts, _swap_names(cut(document, done, len(document.tokens)), names)])


def _n_letters(token: str) -> int:
    return sum(map(str.isalpha, token))


def _is_particle(token: str, entity: Document) -> bool:
    """Return whether a token is a particle such as "de" or "van"; a name all in lower case has no particles."""
    return token.islower() and any(other[:1].isupper() for other in entity.tokens)


def _new_names(entities: Iterable[Document], surrogates: Surrogates) -> dict[str, str]:
    """Map each token of the document's names, casefolded, to its surrogate; particles and punctuation are left out."""
    names: dict[str, str] = {}
    for entity in entities:
        for place, token in enumerate(entity.tokens):
            if token.casefold() in names or not _n_letters(token) or _is_particle(token, entity):
                continue
            is_initial = _n_letters(token) == 1 or ("." in token and token.isupper())  # "J", "J.", "J.P."
            new = surrogates.like(token) if is_initial else surrogates.word("last" if place else "first")
            names[token.casefold()] = new
    return names


def _swap(token: str, names: Mapping[str, str]) -> str:
    """Return the surrogate of a token, in capitals or lower case if the token is; the token if it has none."""
    new = names.get(token.casefold(), token)
    return new.upper() if token.isupper() else new.lower() if token.islower() else new


def _swap_names(part: Document, names: Mapping[str, str]) -> Document:
    """Swap names in a part without PII, only in capitals or title case; no initials, since "I" and "A" are words."""
    tokens = (_swap(token, names) if token[:1].isupper() and _n_letters(token) > 1 else token for token in part.tokens)
    return replace(part, tokens=tuple(tokens))


def _surrogate(entity: Document, pii_type: str, handle: str, surrogates: Surrogates) -> Document:
    if pii_type == STREET_ADDRESS:
        return document_of_spans(entity.number, [(surrogates.pii(pii_type), pii_type)])
    if pii_type in (EMAIL, USERNAME, URL_PERSONAL) and len(entity.tokens) == 1:
        return replace(entity, tokens=(surrogates.pii(pii_type, handle),))
    return replace(entity, tokens=tuple(map(surrogates.like, entity.tokens)))
