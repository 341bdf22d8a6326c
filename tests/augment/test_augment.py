import copy
import hashlib
import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest
from conftest import make_document
from hypothesis import given, settings
from hypothesis import strategies as st

from pii_kit.augment import augment, augment_document
from pii_kit.documents import join_tokens
from pii_kit.labels import LABELS, OUTSIDE, PII_TYPES, type_of
from pii_kit.sample import make_documents
from pii_kit.settings import AugmentSettings

SHARES = [name for name in vars(AugmentSettings()) if name.endswith("_share")]
ALL = dict.fromkeys(SHARES, 1.0) | {"traps": 10, "lower_share": 0}
NOTHING = {"swap_share": 0, "plant_share": 0, "traps": 0}

WORD_OF = {"Ann": "B-NAME_STUDENT", "Lee": "B-NAME_STUDENT", "12345": "B-ID_NUM", "a@b.com": "B-EMAIL"}
TEXTS = (
    "", " ", "   ", "\n", "\n\n \n", "\xa0", "word", "Ann", "a@b.com", ".", "...", "No newline at all. Not one.",
    "Ann Lee 12345 a@b.com", "My\xa0name\xa0is\xa0Ann\xa0Lee.", "odd\xa0white\xa0space\xa0here", "\tTabs\tAnn\tLee\t",
    "Heading\n\nText by Ann Lee.\n", "Ends in a line break\n", "\n\nBegins with one", "12345\n12345\r\nAnn\u2003Lee",
)  # fmt: skip
ODD = [make_document(text, number, labels=labels) for number, text in enumerate(TEXTS) for labels in ({}, WORD_OF)]


def augmented(documents, seed=0, epoch=0, **changes):
    return augment(documents, AugmentSettings(**changes), seed=seed, epoch=epoch)


def check(document, new):
    """Check what must hold after any augmentation."""
    assert new.number == document.number
    assert len(new.tokens) == len(new.trailing_whitespace) == len(new.labels)
    assert join_tokens(new.tokens, new.trailing_whitespace) == new.full_text
    assert all(new.tokens) and set(new.labels) <= set(LABELS)
    for before, label in zip((OUTSIDE, *new.labels), new.labels, strict=False):
        assert not label.startswith("I-") or type_of(before) == type_of(label)


@pytest.mark.parametrize("seed", range(6))
def test_tokens_spell_the_text_and_labels_are_valid_with_any_settings(documents, seed):
    draw = random.Random(seed)
    changes = {share: draw.choice([0, 0.5, 1]) for share in SHARES} | {"traps": draw.choice([0, 1, 10])}
    few = [*draw.sample(documents, 4), *ODD]
    before = copy.deepcopy(few)
    for document, new in zip(few, augmented(few, seed, draw.randrange(100), **changes), strict=True):
        check(document, new)
    assert few == before


@settings(max_examples=30, deadline=None, derandomize=True)
@given(data=st.data(), words=st.lists(st.sampled_from(["Ann", "I", ".", "\n", " ", "12", "\xa0", "x@y.z"]), max_size=9))
def test_any_labels_on_any_tokens_stay_valid(data, words):
    document = make_document(" ".join(words), labels={})
    labels, last = [], OUTSIDE
    for _ in document.tokens:
        allowed = [OUTSIDE, *(f"B-{kind}" for kind in PII_TYPES), *([f"I-{last[2:]}"] if last != OUTSIDE else [])]
        labels.append(last := data.draw(st.sampled_from(allowed)))
    document = replace(document, labels=tuple(labels))
    check(document, augment_document(document, AugmentSettings(**ALL), random.Random(0)))


def test_a_document_depends_on_itself_seed_and_epoch_alone(documents):
    first = augmented(documents, **ALL)
    assert [augmented([doc], **ALL)[0] for doc in reversed(documents)] == first[::-1]
    for old, *others in zip(first, augmented(documents, 0, 1, **ALL), augmented(documents, 1, 0, **ALL), strict=True):
        assert len({old.full_text, *(other.full_text for other in others)}) == 3


def test_made_up_and_augmented_documents_do_not_depend_on_the_hash_seed():
    """Equal seeds give equal documents on any machine."""
    essays = augmented(make_documents(20, seed=0), **ALL)
    program = (
        "import hashlib; from pii_kit.augment import augment; from pii_kit.sample import make_documents\n"
        "from pii_kit.settings import AugmentSettings\n"
        f"essays = augment(make_documents(20, seed=0), AugmentSettings(**{ALL!r}), seed=0, epoch=0)\n"
        "print(hashlib.sha256(repr(essays).encode()).hexdigest())"
    )
    environment = os.environ | {"PYTHONHASHSEED": "12345", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    printed = subprocess.check_output([sys.executable, "-c", program], env=environment, text=True)
    assert printed.strip() == hashlib.sha256(repr(essays).encode()).hexdigest()


def test_a_share_of_the_documents_is_written_in_lower_case_and_nothing_else_changes(documents):
    half, none = (augmented(documents * 4, 1, **ALL | {"lower_share": share}) for share in (0.5, 0))
    lower = [new.full_text.islower() for new in half]
    assert 0.3 < sum(lower) / len(lower) < 0.7
    for new, as_written, is_lower in zip(half, none, lower, strict=True):
        assert new.labels == as_written.labels and new.full_text.lower() == as_written.full_text.lower()
        assert new.full_text == join_tokens(new.tokens, new.trailing_whitespace) and (is_lower or new == as_written)


def test_shares_of_zero_leave_documents_unchanged_and_swapping_those_without_pii(documents):
    assert augmented([*documents, *ODD], **NOTHING) == [*documents, *ODD]
    for old, new in zip(documents, augmented(documents, **NOTHING | {"swap_share": 1}), strict=True):
        assert (old == new) == (not old.types) and old.types == new.types


def test_shares_of_one_plant_every_type_in_documents_without_pii_and_traps_are_never_pii(documents):
    for old, new in zip(documents, augmented(documents, **ALL), strict=True):
        assert new.types == (old.types or set(PII_TYPES))
    for old, new in zip(documents, augmented(documents, **NOTHING | {"traps": 10}), strict=True):
        assert len(new.tokens) > len(old.tokens) and new.types == old.types


def test_types_are_planted_with_their_shares():
    clean = [doc for doc in make_documents(60, seed=4) if not doc.types]
    changes = {"plant_share": 0.5, "traps": 0, "id_share": 0.5, "email_share": 0.2, "username_share": 0}
    new = [doc for epoch in range(6) for doc in augmented(clean, 0, epoch, **changes)]
    counts = Counter(pii_type for doc in new for pii_type in doc.types)
    planted = sum(bool(doc.types) for doc in new)
    assert 0.4 < planted / len(new) < 0.6 and counts["NAME_STUDENT"] / planted > 0.8
    assert 0.4 < counts["ID_NUM"] / planted < 0.6 and 0.1 < counts["EMAIL"] / planted < 0.3
    assert counts["USERNAME"] == 0
