"""Swap the PII of a document for surrogates of the same form, token by token where possible."""

from collections.abc import Mapping
from dataclasses import replace

from pii_kit.augment import templates as texts
from pii_kit.augment.surrogates import Surrogates, handle_of
from pii_kit.data import Document, cut, document_of_spans, join
from pii_kit.labels import spans_of


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
    for first, end, pii_type in spans_of(document.labels):
        parts.append(_swap_unlabelled(cut(document, done, first), names))
        entity = cut(document, first, end)
        if pii_type == texts.NAME:
            parts.append(_swap_name(entity, names))
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
    for first, end, pii_type in spans_of(document.labels):
        if pii_type != texts.NAME:
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


def _cased(new: str, token: str) -> str:
    """Return `new` in capitals or lower case if `token` is."""
    return new.upper() if token.isupper() else new.lower() if token.islower() else new


def _swap_name(entity: Document, names: Mapping[str, str]) -> Document:
    def swapped(token: str) -> str:
        new = None if _is_particle(token, entity) else names.get(token.casefold())
        return _cased(new, token) if new else token

    return replace(entity, tokens=tuple(map(swapped, entity.tokens)))


def _swap_unlabelled(part: Document, names: Mapping[str, str]) -> Document:
    """Swap names in a part without PII, only in capitals or title case; no initials, since "I" and "A" are words."""

    def swapped(token: str) -> str:
        new = names.get(token.casefold()) if token[:1].isupper() and _n_letters(token) > 1 else None
        return _cased(new, token) if new else token

    return replace(part, tokens=tuple(map(swapped, part.tokens)))


def _surrogate(entity: Document, pii_type: str, handle: str, surrogates: Surrogates) -> Document:
    if pii_type == texts.ADDRESS:
        return document_of_spans(entity.document, [(surrogates.address(), pii_type)])
    draws = {texts.EMAIL: surrogates.email, texts.USERNAME: surrogates.username, texts.URL: surrogates.url}
    if pii_type in draws and len(entity.tokens) == 1:
        return replace(entity, tokens=(draws[pii_type](handle),))
    return replace(entity, tokens=tuple(map(surrogates.like, entity.tokens)))
