"""Folds: stratified by PII types, and near-duplicates together."""

import random
from collections import Counter

import pytest

from pii_kit.documents import Document
from pii_kit.files import KitError
from pii_kit.split import RUN, fold_of_documents, near_duplicates, split_documents, without_near_duplicates


def holding(*types: str, number: int) -> Document:
    labels = tuple(f"B-{pii_type}" for pii_type in types) or ("O",)
    return Document(
        number=number,
        full_text="x" * len(labels),
        tokens=("x",) * len(labels),
        trailing_whitespace=(False,) * len(labels),
        labels=labels,
    )


def test_folds_spread_every_set_of_types_evenly():
    kinds = [("NAME_STUDENT",)] * 23 + [("NAME_STUDENT", "EMAIL")] * 7 + [("STREET_ADDRESS",)] * 2 + [()] * 61
    documents = [holding(*types, number=number) for number, types in enumerate(kinds)]
    folds = fold_of_documents(documents, n_folds=5, seed=3)
    for types in set(kinds):
        per_fold = Counter(fold for fold, kind in zip(folds, kinds, strict=True) if kind == types)
        assert max(per_fold.values()) - min(per_fold[fold] for fold in range(5)) <= 1
    assert max(Counter(folds).values()) - min(Counter(folds).values()) <= 1


def test_a_rare_type_is_spread_although_each_document_holds_another_set():
    sets = [("USERNAME",), ("USERNAME", "EMAIL"), ("USERNAME", "NAME_STUDENT"), ("USERNAME", "ID_NUM")]
    documents = [holding(*types, number=number) for number, types in enumerate(sets + [("NAME_STUDENT",)] * 20)]
    folds = fold_of_documents(documents, n_folds=4, seed=0)
    assert sorted(folds[:4]) == [0, 1, 2, 3]


def test_a_split_keeps_each_document_once_and_depends_on_the_seed(documents):
    training, validation = split_documents(documents, n_folds=4, fold=1, seed=5)
    assert sorted(doc.number for doc in training + validation) == [doc.number for doc in documents]
    assert split_documents(documents, n_folds=4, fold=1, seed=5) == (training, validation)
    assert split_documents(documents, n_folds=4, fold=1, seed=6)[1] != validation


def test_more_folds_than_documents_is_an_error():
    with pytest.raises(KitError, match="1 documents cannot be split into 5 folds"):
        split_documents([holding(number=1)])


def written(number: int, words: list[str]) -> Document:
    spaces = (True,) * len(words)
    text = "".join(f"{word} " for word in words)
    return Document(
        number=number, full_text=text, tokens=tuple(words), trailing_whitespace=spaces, labels=("O",) * len(words)
    )


def test_documents_that_share_text_are_in_one_group_and_one_fold():
    rng = random.Random(0)
    texts = [[f"w{rng.randrange(10**6)}" for _ in range(100)] for _ in range(30)]
    form = texts[3]
    texts[8] = form[:60] + texts[8]  # a form filled in: more than half of the form, with capitals and an answer
    texts[8][:30] = [word.upper() for word in texts[8][:30]]
    texts[20] = texts[20] + ["\n"] + form[40:]
    texts[21][:RUN] = texts[22][:RUN]  # a quoted sentence is no near-duplicate
    documents = [written(number, words) for number, words in enumerate(texts)]
    groups = near_duplicates(documents)
    assert groups == [3 if place in (8, 20) else place for place in range(30)]
    for seed in range(5):
        folds = fold_of_documents(documents, n_folds=5, seed=seed)
        assert folds[3] == folds[8] == folds[20]


def test_documents_too_short_for_a_run_are_their_own_groups():
    assert near_duplicates([written(1, ["a"]), written(2, ["a"]), written(3, [])]) == [0, 1, 2]


def test_extra_documents_with_the_text_of_others_are_left_out():
    rng = random.Random(0)
    texts = [[f"w{rng.randrange(10**6)}" for _ in range(100)] for _ in range(5)]
    documents = [written(number, words) for number, words in enumerate(texts[:3])]
    extra = [written(7, texts[3]), written(8, texts[1][20:60]), written(9, texts[3]), written(10, texts[4])]
    assert [doc.number for doc in without_near_duplicates(extra, documents)] == [7, 9, 10]
    assert without_near_duplicates([], documents) == []
