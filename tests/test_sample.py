import csv
import random
import re
from collections import Counter
from itertools import pairwise

import pytest

from pii_kit.documents import join_tokens, read_documents
from pii_kit.labels import LABELS, NAME_STUDENT, OUTSIDE, PII_TYPES, spans_of, type_of
from pii_kit.sample import PEOPLE, document_slots, make_documents, write_sample


@pytest.fixture(scope="session")
def essays():
    return make_documents(400, seed=0)


@pytest.fixture(scope="session")
def entities(essays):
    """All PII of the documents as (document, first token, end token, type)."""
    return [(doc, *span) for doc in essays for span in spans_of(doc.labels)]


def title_case_pairs(doc):
    """Yield (token, whether it is labelled) of each pair of consecutive title-case tokens."""
    for index, (left, right) in enumerate(pairwise(doc.tokens)):
        if re.fullmatch("[A-Z][a-z]+", left) and re.fullmatch("[A-Z][a-z]+", right):
            yield left, doc.labels[index] != OUTSIDE


def test_tokens_spell_the_text_and_labels_are_valid(essays):
    whitespace = set()
    for doc in essays:
        assert join_tokens(doc.tokens, doc.trailing_whitespace) == doc.full_text
        assert set(doc.labels) <= set(LABELS)
        for before, label in zip((OUTSIDE, *doc.labels), doc.labels, strict=False):
            assert not label.startswith("I-") or type_of(before) == type_of(label), doc.number
        whitespace |= {(token, label) for token, label in zip(doc.tokens, doc.labels, strict=True) if token.isspace()}
    assert {label for _, label in whitespace} == {OUTSIDE, "I-STREET_ADDRESS"}
    assert {"\n\n", " ", "\n", "\N{NO-BREAK SPACE}"} <= {token for token, _ in whitespace}


def test_every_type_occurs_names_most_of_all_in_10_to_20_percent_of_the_documents(essays):
    types = Counter(pii_type for doc in essays for pii_type in doc.types)
    assert min(types[pii_type] for pii_type in PII_TYPES) >= 5, types
    assert types.most_common(1)[0][0] == "NAME_STUDENT"
    assert 0.1 <= sum(bool(doc.types) for doc in essays) / len(essays) <= 0.2
    assert any(doc.types for doc in essays[:20])


def test_documents_have_realistic_lengths_and_differ(essays):
    """A length of 2.8 gives about the 692 tokens per document of the hidden test; few share a fifth of their text."""
    lengths = [len(doc.tokens) for doc in essays]
    assert 200 < sum(lengths) / len(lengths) < 400 and max(lengths) > 800
    long = make_documents(150, seed=0, length=2.8)
    assert 620 < sum(len(doc.tokens) for doc in long) / len(long) < 760
    runs = []
    for doc in long:
        words = [token.casefold() for token in doc.tokens if not token.isspace()]
        runs.append({tuple(words[i : i + 8]) for i in range(len(words) - 7)})
    pairs = [(one, two) for i, one in enumerate(runs) for two in runs[:i]]
    assert sum(len(one & two) >= 0.2 * min(len(one), len(two)) for one, two in pairs) < 4


def test_a_labelled_name_is_labelled_wherever_it_occurs(entities):
    places = Counter()
    for doc, begin, end, pii_type in entities:
        if pii_type == "NAME_STUDENT":
            name = doc.tokens[begin:end]
            found = [at for at in range(len(doc.tokens)) if doc.tokens[at : at + len(name)] == name]
            assert all(doc.labels[at].endswith("-NAME_STUDENT") for at in found), (doc.number, name)
            places[doc.number, name] = len(found)
    assert sum(n_places > 1 for n_places in places.values()) > 8
    full = {(number, name[0]) for number, name in places if len(name) > 1}
    assert sum(len(name) == 1 and (number, name[0]) in full for number, name in places) >= 5  # first names alone


def test_title_case_pairs_are_mostly_traps_in_essays_with_and_without_pii(essays):
    pairs = Counter(labelled for doc in essays if doc.types for _, labelled in title_case_pairs(doc))
    assert pairs[True] >= 20 and pairs[False] > 5 * pairs[True]
    without_pii = [sum(1 for _ in title_case_pairs(doc)) for doc in essays if not doc.types]
    assert sum(n_pairs >= 3 for n_pairs in without_pii) > 0.8 * len(without_pii)
    first = [{name for doc in essays for name, kind in title_case_pairs(doc) if kind == is_pii} for is_pii in (0, 1)]
    assert len(first[0] & first[1]) >= 5  # the same names occur labelled and unlabelled


@pytest.mark.parametrize(
    ("pattern", "least"),
    [(r"https?://\S+", 100), (r"[Bb]y [A-Z]\w+ [A-Z]\w+", 60), (r"name is [A-Z]\w+", 5), (r"\b\d{8,12}\b", 60)],
)
def test_documents_without_pii_hold_text_that_looks_like_pii(essays, pattern, least):
    assert sum(len(re.findall(pattern, doc.full_text)) for doc in essays if not doc.types) >= least


def test_documents_depend_on_seed_and_number_alone(essays):
    steps = {later.number - earlier.number for earlier, later in pairwise(essays)}
    assert min(steps) >= 1 and max(steps) > 1
    assert make_documents(30, seed=0) == essays[:30]
    others = make_documents(30, seed=1) + make_documents(30, seed=0, first_number=5000)
    assert len({doc.full_text for doc in (*others, *essays)}) == 460


@pytest.mark.parametrize("seed", range(5))
def test_no_two_people_in_a_document_share_a_part_of_a_name(seed):
    slots = document_slots(random.Random(seed), [NAME_STUDENT])
    names = [slots[f"{who}.{part}"] for who in (NAME_STUDENT, *PEOPLE) for part in ("first", "last")]
    parts = [part for name in names for part in name.casefold().replace("-", " ").split()]
    assert len(parts) == len(set(parts))


def test_the_three_files_of_a_sample_agree(tmp_path):
    folder = write_sample(tmp_path / "new" / "sample", n_documents=44, seed=3)
    assert sorted(path.name for path in folder.iterdir()) == ["test.json", "test_labels.csv", "train.json"]
    assert read_documents(folder / "train.json", labels_required=True) == make_documents(44, seed=3)
    test, again = read_documents(folder / "test.json"), make_documents(50, seed=3, first_number=3 * 44)
    assert all(doc.labels is None for doc in test)
    assert [(doc.number, doc.full_text) for doc in again] == [(doc.number, doc.full_text) for doc in test]
    rows = [(doc.number, token, label) for doc in again for token, label in enumerate(doc.labels) if label != OUTSIDE]
    with open(folder / "test_labels.csv", newline="", encoding="utf-8") as handle:
        header, *lines = csv.reader(handle)
    assert header == ["row_id", "document", "token", "label"]
    assert rows and lines == [list(map(str, (row_id, *row))) for row_id, row in enumerate(rows)]
    folder = write_sample(tmp_path / "small", n_documents=2, n_test=7, seed=3)
    assert [len(read_documents(folder / name)) for name in ("train.json", "test.json")] == [2, 7]
