import csv
import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import pytest

from pii_kit.documents import join_tokens, read_documents
from pii_kit.files import KitError
from pii_kit.labels import LABELS, OUTSIDE, PII_TYPES, spans_of, type_of
from pii_kit.sample import make_documents, write_sample


@pytest.fixture(scope="session")
def essays():
    return make_documents(400, seed=0)


@pytest.fixture(scope="session")
def entities(essays):
    """All PII of the documents as (document, first token, end token, type)."""
    return [(doc, *span) for doc in essays for span in spans_of(doc.labels)]


def _fingerprint(documents) -> str:
    return hashlib.sha256(repr(documents).encode()).hexdigest()


def _title_case_pairs(doc):
    """Yield (index, whether it is labelled) of each pair of consecutive title-case tokens."""
    for index, (left, right) in enumerate(pairwise(doc.tokens)):
        if re.fullmatch("[A-Z][a-z]+", left) and re.fullmatch("[A-Z][a-z]+", right):
            yield index, doc.labels[index] != OUTSIDE


def _occurrences(needle, tokens):
    return [at for at in range(len(tokens) - len(needle) + 1) if tokens[at : at + len(needle)] == needle]


def test_tokens_spell_the_text(essays):
    assert all(join_tokens(doc.tokens, doc.trailing_whitespace) == doc.full_text for doc in essays)


def test_runs_of_whitespace_are_tokens(essays):
    assert {"\n\n", " ", "\n", "\N{NO-BREAK SPACE}"} <= {token for doc in essays for token in doc.tokens}


def test_labels_are_valid_bio_sequences(essays):
    for doc in essays:
        assert set(doc.labels) <= set(LABELS)
        for before, label in zip((OUTSIDE, *doc.labels), doc.labels, strict=False):
            assert not label.startswith("I-") or type_of(before) == type_of(label), doc.number


def test_whitespace_is_labelled_inside_addresses_only(essays):
    labels = Counter(
        label for doc in essays for token, label in zip(doc.tokens, doc.labels, strict=True) if token.isspace()
    )
    assert set(labels) == {OUTSIDE, "I-STREET_ADDRESS"}


def test_entities_look_like_their_type(entities):
    shapes = {
        "NAME_STUDENT": r"\D+", "EMAIL": r"\S+@\S+\.\w+", "USERNAME": r"@?[\w.-]+", "ID_NUM": r"\S*\d.*",
        "PHONE_NUM": r".*\d.*", "URL_PERSONAL": r"\S+\.\S+", "STREET_ADDRESS": r".*\d.*",
    }  # fmt: skip
    for doc, begin, end, pii_type in entities:
        text = join_tokens(doc.tokens[begin:end], doc.trailing_whitespace[begin:end]).strip()
        assert re.fullmatch(shapes[pii_type], text, re.DOTALL), (pii_type, text)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_type_occurs_and_names_most_of_all(seed, essays):
    documents = essays if seed == 0 else make_documents(400, seed=seed)
    types = Counter(pii_type for doc in documents for pii_type in doc.types)
    assert min(types[pii_type] for pii_type in PII_TYPES) >= 5, types
    assert types.most_common(1)[0][0] == "NAME_STUDENT"


def test_between_10_and_20_percent_of_the_documents_hold_pii(essays):
    assert 0.1 <= sum(bool(doc.types) for doc in essays) / len(essays) <= 0.2


def test_a_small_sample_holds_pii_too():
    assert any(doc.types for doc in make_documents(20, seed=5))


def test_documents_have_realistic_lengths_and_differ(essays):
    lengths = [len(doc.tokens) for doc in essays]
    assert 200 < sum(lengths) / len(lengths) < 400
    assert max(lengths) > 1000
    assert len({doc.full_text for doc in essays}) == len(essays)


def test_a_labelled_name_is_labelled_wherever_it_occurs(essays):
    n_repeated = 0
    for doc in essays:
        for begin, end, pii_type in spans_of(doc.labels):
            if pii_type != "NAME_STUDENT":
                continue
            places = _occurrences(doc.tokens[begin:end], doc.tokens)
            n_repeated += len(places) > 1
            for at in places:
                assert doc.labels[at].endswith("-NAME_STUDENT"), (doc.number, doc.tokens[begin:end])
    assert n_repeated > 10


def test_first_names_alone_are_labelled(entities):
    names = [(doc.number, doc.tokens[a:b]) for doc, a, b, pii_type in entities if pii_type == "NAME_STUDENT"]
    full_first = {(number, name[0]) for number, name in names if len(name) > 1}
    assert sum(len(name) == 1 and (number, name[0]) in full_first for number, name in names) >= 5


def test_title_case_pairs_are_mostly_traps_in_essays_with_and_without_pii(essays):
    with_pii = Counter(labelled for doc in essays if doc.types for _, labelled in _title_case_pairs(doc))
    assert with_pii[True] >= 20 and with_pii[False] > 5 * with_pii[True]
    without_pii = [sum(1 for _ in _title_case_pairs(doc)) for doc in essays if not doc.types]
    assert sum(n_pairs >= 3 for n_pairs in without_pii) > 0.8 * len(without_pii)


@pytest.mark.parametrize(
    ("pattern", "least"),
    [(r"https?://\S+", 100), (r"[Bb]y [A-Z]\w+ [A-Z]\w+", 60), (r"name is [A-Z]\w+", 5), (r"\b\d{8,12}\b", 60)],
)
def test_documents_without_pii_hold_text_that_looks_like_pii(essays, pattern, least):
    assert sum(len(re.findall(pattern, doc.full_text)) for doc in essays if not doc.types) >= least


def test_the_same_names_occur_labelled_and_unlabelled(essays):
    first = {True: set(), False: set()}
    for doc in essays:
        for index, labelled in _title_case_pairs(doc):
            first[labelled].add(doc.tokens[index])
    assert len(first[True] & first[False]) >= 5


def test_numbers_rise_with_gaps(essays):
    numbers = [doc.number for doc in essays]
    steps = {later - earlier for earlier, later in pairwise(numbers)}
    assert min(steps) >= 1 and max(steps) > 1


def test_more_documents_leave_the_first_ones_unchanged(essays):
    assert make_documents(30, seed=0) == essays[:30]


def test_another_seed_gives_other_documents(essays):
    assert not {doc.full_text for doc in make_documents(30, seed=1)} & {doc.full_text for doc in essays}


def test_made_up_documents_do_not_depend_on_the_hash_seed(essays):
    program = (
        "import hashlib; from pii_kit.sample import make_documents;"
        "print(hashlib.sha256(repr(make_documents(40, seed=0)).encode()).hexdigest())"
    )
    environment = os.environ | {"PYTHONHASHSEED": "12345", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    printed = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == _fingerprint(essays[:40])


def test_the_three_files_of_a_sample_agree(tmp_path):
    folder = write_sample(tmp_path / "new" / "sample", n_documents=44, seed=3)
    assert sorted(path.name for path in folder.iterdir()) == ["test.json", "test_labels.csv", "train.json"]
    train = read_documents(folder / "train.json", labels_required=True)
    test = read_documents(folder / "test.json")
    assert train == make_documents(44, seed=3)
    assert len(test) == 50 and all(doc.labels is None for doc in test)
    assert not {doc.number for doc in train} & {doc.number for doc in test}
    assert not {doc.full_text for doc in train} & {doc.full_text for doc in test}

    again = make_documents(50, seed=3, first_number=3 * 44)
    assert [doc.full_text for doc in again] == [doc.full_text for doc in test]
    expected = [
        (str(doc.number), str(token), label)
        for doc in again
        for token, label in enumerate(doc.labels)
        if label != OUTSIDE
    ]
    with open(folder / "test_labels.csv", newline="", encoding="utf-8") as handle:
        header, *rows = csv.reader(handle)
    assert header == ["row_id", "document", "token", "label"]
    assert [row[0] for row in rows] == [str(row_id) for row_id in range(len(rows))]
    assert expected and [tuple(row[1:]) for row in rows] == expected


def test_the_test_set_can_have_any_size(tmp_path):
    folder = write_sample(tmp_path, n_documents=2, n_test=7, seed=3)
    assert [len(read_documents(folder / name)) for name in ("train.json", "test.json")] == [2, 7]


def test_length_multiplies_the_length_of_documents(essays, tmp_path):
    """A length of 2.8 gives about the 692 tokens per document of the hidden test."""
    long = make_documents(200, seed=0, length=2.8)
    assert 620 < sum(len(doc.tokens) for doc in long) / 200 < 760
    assert make_documents(40, seed=0, length=1) == essays[:40]
    (one,) = read_documents(write_sample(tmp_path, n_documents=1, n_test=1, length=2.8) / "train.json")
    assert one == long[0]


def test_a_sample_without_documents_is_refused(tmp_path):
    with pytest.raises(KitError, match="n_documents is 0"):
        write_sample(tmp_path / "sample", n_documents=0)
    assert not (tmp_path / "sample").exists()
