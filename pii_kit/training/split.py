"""Split documents into folds. Documents that share much text fall into the same fold."""

import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.sparse.csgraph import connected_components
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.model_selection import StratifiedGroupKFold

from pii_kit.documents import Document
from pii_kit.files import KitError

RUN = 8  # tokens; two documents that share a run of so many share text
SHARED = 0.2  # share of the shorter document's runs that make two documents near-duplicates


def near_duplicates(documents: Sequence[Document]) -> np.ndarray:
    """Return the group (document,) of each document. Documents that share SHARED of their runs of RUN tokens have one.

    They are the same form filled in by several students, for example. Whitespace and capitals do not count.
    """
    vectorizer = HashingVectorizer(
        analyzer=_runs, n_features=2**24, binary=True, norm=None, alternate_sign=False, dtype=np.float32
    )
    runs = vectorizer.transform(documents)  # (document, run)
    n_runs = np.asarray(runs.sum(axis=1)).ravel()
    shared = (runs @ runs.T).tocoo()  # (document, document): the number of runs that both have
    shared.data = shared.data >= SHARED * np.minimum(n_runs[shared.row], n_runs[shared.col])
    shared.eliminate_zeros()
    return connected_components(shared, directed=False)[1]


def _runs(document: Document) -> list[str]:
    words = [token.lower() for token in document.tokens if not token.isspace()]
    return [" ".join(words[start : start + RUN]) for start in range(len(words) - RUN + 1)]


def without_near_duplicates(extra: Sequence[Document], documents: Sequence[Document]) -> list[Document]:
    """Return the documents of `extra` that are not a near-duplicate of one of `documents`."""
    if not extra:
        return []
    groups = near_duplicates([*documents, *extra]).tolist()
    known = set(groups[: len(documents)])
    return [document for document, group in zip(extra, groups[len(documents) :], strict=True) if group not in known]


def fold_of_documents(documents: Sequence[Document], *, n_folds: int, seed: int) -> list[int]:
    """Return the fold, 0 to n_folds - 1, of each document: groups of near-duplicates, stratified by their rarest type.

    Raises:
        KitError: there are fewer than two folds, or fewer groups of near-duplicates than folds.
    """
    groups = near_duplicates(documents) if documents else np.zeros(0)
    n_groups = len(set(groups.tolist()))
    if not 2 <= n_folds <= n_groups:
        found = f"{len(documents)} labelled documents in {n_groups} groups that share no text, {n_folds} folds"
        raise KitError(f"{found}: expected 2 folds or more, and at least one group for each")
    counts = Counter(pii_type for document in documents for pii_type in document.types)
    rarest = [min(document.types, key=lambda name: (counts[name], name), default="") for document in documents]
    if max(Counter(rarest).values()) < n_folds:  # scikit-learn expects a class with a document for each fold
        rarest = [""] * len(documents)
    folds = np.zeros(len(documents), dtype=int)
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a type with fewer documents than folds is in some folds only
        for fold, (_, validation) in enumerate(splitter.split(rarest, rarest, groups)):
            folds[validation] = fold
    return folds.tolist()


def split_documents(
    documents: Sequence[Document], folds: Sequence[int], fold: int
) -> tuple[list[Document], list[Document]]:
    """Split documents into (training, validation) by the fold of each; validation is the fold `fold`."""
    training = [document for document, of in zip(documents, folds, strict=True) if of != fold]
    validation = [document for document, of in zip(documents, folds, strict=True) if of == fold]
    return training, validation
