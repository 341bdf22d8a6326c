"""Folds: stratified by PII types, and near-duplicates together."""

import random
from collections import Counter

import pytest

from pii_kit.documents import Document
from pii_kit.files import KitError
from pii_kit.training.split import RUN, fold_of_documents, near_duplicates, split_documents, without_near_duplicates


def written(number: int, words: list[str], types: tuple[str, ...] = ()) -> Document:
    labels = tuple(f"B-{pii_type}" for pii_type in types) + ("O",) * (len(words) - len(types))
    return Document(
        number=number,
        full_text="".join(f"{word} " for word in words),
        tokens=tuple(words),
        trailing_whitespace=(True,) * len(words),
        labels=labels,
    )


def holding(*types: str, number: int) -> Document:
    return written(number, [f"w{number}-{place}" for place in range(max(len(types), 1))], types)


def random_words(rng, n: int) -> list[str]:
    return [f"w{rng.randrange(10**6)}" for _ in range(n)]


def test_folds_spread_types_evenly_and_have_equal_sizes():
    kinds = [("NAME_STUDENT",)] * 23 + [("NAME_STUDENT", "EMAIL")] * 7 + [("STREET_ADDRESS",)] * 2 + [()] * 61
    documents = [holding(*types, number=number) for number, types in enumerate(kinds)]
    folds = fold_of_documents(documents, n_folds=5, seed=3)
    for types in set(kinds):
        per_fold = Counter(fold for fold, kind in zip(folds, kinds, strict=True) if kind == types)
        assert max(per_fold.values()) - min(per_fold[fold] for fold in range(5)) <= 1
    sizes = Counter(folds).values()
    assert len(sizes) == 5 and max(sizes) - min(sizes) <= 1


def test_a_split_keeps_each_document_once_and_depends_on_the_seed(documents):
    folds = fold_of_documents(documents, n_folds=4, seed=5)
    training, validation = split_documents(documents, folds, 1)
    assert sorted(doc.number for doc in training + validation) == [doc.number for doc in documents]
    assert [doc for doc, fold in zip(documents, folds, strict=True) if fold == 1] == validation
    assert fold_of_documents(documents, n_folds=4, seed=5) == folds != fold_of_documents(documents, n_folds=4, seed=6)


def test_random_documents_always_fill_all_folds_and_keep_groups_together():
    rng = random.Random(0)
    for _ in range(15):
        texts = [random_words(rng, rng.choice([3, 12, 40])) for _ in range(rng.randrange(6, 30))]
        texts += [list(rng.choice(texts)) for _ in range(rng.randrange(4))]
        some = ((), (), ("NAME_STUDENT",), ("EMAIL",), ("ID_NUM", "EMAIL"))
        documents = [written(number, words, rng.choice(some)) for number, words in enumerate(texts)]
        n_folds = rng.randrange(2, 6)
        folds = fold_of_documents(documents, n_folds=n_folds, seed=rng.randrange(99))
        assert set(folds) == set(range(n_folds))
        groups = near_duplicates(documents).tolist()
        assert len(set(zip(groups, folds, strict=True))) == len(set(groups))


@pytest.mark.parametrize(("n_documents", "n_folds"), [(0, 2), (1, 5), (4, 5), (4, 1)])
def test_folds_that_cannot_be_made_are_an_error(n_documents, n_folds):
    documents = [holding(number=number) for number in range(n_documents)]
    with pytest.raises(KitError, match=f"{n_documents} labelled documents in {n_documents} groups .*, {n_folds} folds"):
        fold_of_documents(documents, n_folds=n_folds, seed=0)


def test_documents_that_share_text_are_in_one_group_and_one_fold():
    rng = random.Random(0)
    texts = [random_words(rng, 100) for _ in range(30)]
    form = texts[3]
    texts[8] = form[:60] + texts[8]  # a form filled in: more than half of the form, with capitals and an answer
    texts[8][:30] = [word.upper() for word in texts[8][:30]]
    texts[20] = texts[20] + ["\n"] + form[40:]
    texts[21][:RUN] = texts[22][:RUN]  # a quoted sentence is no near-duplicate
    texts[15] = texts[14][:50] + random_words(rng, 50)  # shares text with 14 and with 16, which have none in common
    texts[16] = texts[15][50:] + random_words(rng, 50)
    documents = [written(number, words) for number, words in enumerate(texts)]
    groups = near_duplicates(documents).tolist()
    assert groups[3] == groups[8] == groups[20] and groups[14] == groups[15] == groups[16]
    assert len(set(groups)) == 26
    folds = fold_of_documents(documents, n_folds=5, seed=1)
    assert folds[3] == folds[8] == folds[20] and folds[14] == folds[15] == folds[16]


def test_documents_too_short_for_a_run_are_their_own_groups():
    assert sorted(near_duplicates([written(1, ["a"]), written(2, ["a"]), written(3, [])]).tolist()) == [0, 1, 2]


def test_extra_documents_with_the_text_of_others_are_left_out():
    rng = random.Random(0)
    texts = [random_words(rng, 100) for _ in range(5)]
    documents = [written(number, words) for number, words in enumerate(texts[:3])]
    extra = [written(7, texts[3]), written(8, texts[1][20:60]), written(9, texts[3]), written(10, texts[4])]
    assert [doc.number for doc in without_near_duplicates(extra, documents)] == [7, 9, 10]
    assert without_near_duplicates([], documents) == []
