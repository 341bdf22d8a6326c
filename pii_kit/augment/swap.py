"""Swap the names and other PII of documents for surrogates."""

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, lru_cache

from pii_kit.augment.surrogates import ONE_TOKEN, Surrogates, handle_of
from pii_kit.documents import Document, cut, document_of_spans, join, join_tokens, true_labels
from pii_kit.labels import NAME_STUDENT, STREET_ADDRESS, pii_places, spans_of
from pii_kit.lexicon import COMMON, MISSPELT, look_up, without_accents

RUN = re.compile(r"[^\W_]+")  # letters and digits
LEAST_PART = 4  # letters of an original that is also looked for inside other words, and digits of one at all
COMMONEST = 5  # commonness of a word that stays even as a name, such as "Will"
TRIES = 100  # draws until a token holds no original


def without_pii(documents: Iterable[Document], *, seed: int = 0) -> list[Document]:
    """Return labelled documents without the strings that are labelled in any of them, to learn a vocabulary from.

    Labelled PII is swapped for surrogates. Where its words, numbers and strings stand elsewhere in the documents, they
    get other letters and digits. Single ordinary words in lower case stay, such as "street".

    >>> ana = document_of_spans(1, [("By ", None), ("Ana Souza", "NAME_STUDENT"), (", see anasouza.html", None)])
    >>> other = document_of_spans(2, [("I met Souza", None)])
    >>> ["souza" in document.full_text.lower() for document in without_pii([ana, other])]
    [False, False]
    """
    documents = list(documents)
    strings: set[tuple[str, ...]] = set()  # tokens, casefolded
    words: set[str] = set()
    for document in documents:
        for first, end, pii_type in spans_of(true_labels(document)):
            entity = tuple(map(str.casefold, document.tokens[first:end]))
            strings |= {entity, *((token,) for token in entity if pii_type == NAME_STUDENT)}
            words |= _words(" ".join(entity))
    by_first: dict[str, list[tuple[str, ...]]] = {}
    for string in filter(_is_telling, strings):
        by_first.setdefault(string[0], []).append(string)
    originals = {word for word in words if not word.isdigit() or len(word) >= LEAST_PART}
    lengths = {len(word) for word in originals if len(word) >= LEAST_PART}

    @cache
    def holds_original(token: str) -> bool:
        runs = _words(token)
        parts = (run[start : start + n] for run in runs for n in lengths for start in range(len(run) - n + 1))
        return not originals.isdisjoint(runs) or any(part in originals for part in parts)

    cleaned = []
    for document in documents:
        avoid = {*map(str.casefold, document.tokens), *words}
        surrogates = Surrogates(random.Random(f"{seed} {document.number}"), avoid)
        swapped = swap_pii(document, surrogates) if document.types else document
        own = _words(" ".join(document.tokens[place] for place in pii_places(true_labels(document))))  # short numbers
        places, tokens = _places_of(by_first, swapped.tokens), list(swapped.tokens)
        for place, token in enumerate(tokens):
            new = surrogates.like(token) if place in places else token
            for _ in range(TRIES):
                if not holds_original(new) and own.isdisjoint(_words(new)):
                    break
                new = surrogates.like(new)
            else:
                new = "x"
            tokens[place] = new
        full_text = join_tokens(tokens, swapped.trailing_whitespace)
        cleaned.append(replace(swapped, tokens=tuple(tokens), full_text=full_text))
    return cleaned


def _is_telling(string: tuple[str, ...]) -> bool:
    """Return whether a labelled string is more than a sign, and more than one of the commonest words."""
    runs = RUN.findall(" ".join(string))
    return len("".join(runs)) > 1 and (len(runs) > 1 or look_up(runs[0])[0] != COMMONEST)


def _places_of(by_first: Mapping[str, Iterable[tuple[str, ...]]], tokens: Sequence[str]) -> set[int]:
    """Return the places of tokens where labelled strings stand; a single word in lower case does not count."""
    folded = tuple(map(str.casefold, tokens))
    places: set[int] = set()
    for start, first in enumerate(folded):
        for string in by_first.get(first, ()):
            end = start + len(string)
            if folded[start:end] == string and (len(RUN.findall(" ".join(string))) > 1 or tokens[start] != first):
                places |= set(range(start, end))
    return places


@lru_cache(2**16)
def _words(text: str) -> frozenset[str]:
    """Return the words and numbers of a text, without accents and capitals, that are not ordinary words."""
    runs = RUN.findall(without_accents(text).casefold())
    return frozenset(run for run in runs if len(run) > 1 and not _is_ordinary(run))


def _is_ordinary(word: str) -> bool:
    commonness, _, first, last = look_up(word)
    return COMMON < commonness < MISSPELT or (1 < commonness < MISSPELT and not first and not last)


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
    if pii_type in ONE_TOKEN and len(entity.tokens) == 1:
        return replace(entity, tokens=(surrogates.pii(pii_type, handle),))
    return replace(entity, tokens=tuple(map(surrogates.like, entity.tokens)))
