"""Split documents into folds. Documents that share much text fall into the same fold."""

import random
from collections import Counter
from collections.abc import Sequence

import numpy as np

from pii_kit.documents import Document
from pii_kit.files import KitError

RUN = 8  # tokens; two documents that share a run of so many share text
SHARED = 0.2  # share of the shorter document's runs that make two documents near-duplicates


def near_duplicates(documents: Sequence[Document]) -> list[int]:
    """Return the group of each document: the index of its first near-duplicate, or its own.

    Near-duplicates share at least SHARED of their runs of RUN tokens, whitespace and capitals aside: the same
    assignment form filled in by several students, for example. Each run is compared only with the first document that
    has it, so the time grows with the length of the documents, and not with the number of pairs.
    """
    ids: dict[str, int] = {}
    place_parts, run_parts = [], []
    for number, document in enumerate(documents):
        words = [ids.setdefault(token.lower(), len(ids)) for token in document.tokens if not token.isspace()]
        of_document = np.unique(_hashes(np.array(words, dtype=np.uint64)))
        place_parts.append(np.full(len(of_document), number))
        run_parts.append(of_document)
    n_runs = np.array([len(of_document) for of_document in run_parts])
    if not n_runs.sum():
        return list(range(len(documents)))
    place, run = np.concatenate(place_parts), np.concatenate(run_parts)
    order = np.lexsort((place, run))
    place, run = place[order], run[order]
    begins = np.concatenate([[True], run[1:] != run[:-1]])
    first = place[np.flatnonzero(begins)[np.cumsum(begins) - 1]]  # the first document that has the run
    pairs, n_shared = np.unique(first * len(documents) + place, return_counts=True)
    groups = list(range(len(documents)))

    def root(index: int) -> int:
        while groups[index] != index:
            index = groups[index]
        return index

    for pair, count in zip(pairs.tolist(), n_shared.tolist(), strict=True):
        one, two = divmod(pair, len(documents))
        if count >= SHARED * min(n_runs[one], n_runs[two]):
            first_root, other = sorted((root(one), root(two)))
            groups[other] = first_root
    return [root(index) for index in range(len(documents))]


def without_near_duplicates(extra: Sequence[Document], documents: Sequence[Document]) -> list[Document]:
    """Return the documents of `extra` that are not a near-duplicate of one of `documents`."""
    groups = near_duplicates([*documents, *extra])[len(documents) :]
    return [document for document, group in zip(extra, groups, strict=True) if group >= len(documents)]


def _hashes(words: np.ndarray) -> np.ndarray:
    """Return a hash of each run of RUN words: a polynomial, modulo 2^64."""
    n_runs = max(len(words) - RUN + 1, 0)
    hashes = np.zeros(n_runs, dtype=np.uint64)
    for place in range(RUN):
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + words[place : place + n_runs] + np.uint64(1)
    return hashes


def fold_of_documents(documents: Sequence[Document], *, n_folds: int, seed: int) -> list[int]:
    """Return the fold, 0 to n_folds - 1, of each document, stratified by the set of PII types a document holds.

    Groups of `near_duplicates` are sorted by their set of types, sets with the rarest type first, shuffled within a
    set, and assigned to the folds in turn. So documents with the same set are spread evenly, and rare types too:
    scikit-learn's stratified folds treat each set as a class of its own and do not promise that.

    Raises:
        KitError: there are fewer documents than folds, or fewer than two folds.
    """
    if not 2 <= n_folds <= len(documents):
        expected = "expected at least 2 folds, and at least as many documents as folds"
        raise KitError(f"{len(documents)} documents cannot be split into {n_folds} folds; {expected}")
    counts = Counter(pii_type for doc in documents for pii_type in doc.types)
    groups = near_duplicates(documents)
    types: dict[int, set[str]] = {}
    for group, document in zip(groups, documents, strict=True):
        types.setdefault(group, set()).update(document.types)
    shuffle = random.Random(seed)

    def key(group: int) -> tuple:
        ranks = sorted((counts[pii_type], pii_type) for pii_type in types[group])
        return not ranks, ranks, shuffle.random()

    folds = {group: place % n_folds for place, group in enumerate(sorted(types, key=key))}
    return [folds[group] for group in groups]


def split_documents(
    documents: Sequence[Document], *, n_folds: int = 5, fold: int = 0, seed: int = 0
) -> tuple[list[Document], list[Document]]:
    """Split documents into (training, validation); validation is one of the folds of `fold_of_documents`."""
    folds = fold_of_documents(documents, n_folds=n_folds, seed=seed)
    training = [doc for doc, of in zip(documents, folds, strict=True) if of != fold]
    validation = [doc for doc, of in zip(documents, folds, strict=True) if of == fold]
    return training, validation


def check_folds(documents: Sequence[Document], *, n_folds: int, folds: Sequence[int], seed: int) -> None:
    """Raise KitError if the documents are too few for the folds, or a fold that is asked for does not exist."""
    if not folds or len(set(folds)) < len(folds) or any(not 0 <= fold < n_folds for fold in folds):
        raise KitError(
            f"folds {', '.join(map(str, folds)) or 'none'}: expected numbers from 0 to {n_folds - 1}, each once"
        )
    found = f"{len(documents)} labelled documents"
    if not 2 <= n_folds <= len(documents):
        few = "add documents, or use fewer folds" if n_folds > 1 else "ask for more folds"
        raise KitError(f"{found}, {n_folds} folds: expected 2 folds or more, and a document for each; {few} (n_folds)")
    for fold in folds:
        if not any(doc.tokens for doc in split_documents(documents, n_folds=n_folds, fold=fold, seed=seed)[0]):
            raise KitError(f"{found}, but those that train fold {fold} have no tokens; add documents with text")
