import copy
import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, fields, replace

import pytest
from conftest import make_document
from hypothesis import given, settings
from hypothesis import strategies as st

from pii_kit.augment import AugmentConfig, augment, augment_document, type_shares
from pii_kit.documents import join_tokens
from pii_kit.files import KitError
from pii_kit.labels import LABELS, OUTSIDE, PII_TYPES, type_of
from pii_kit.sample import make_documents

SHARES = [field.name for field in fields(AugmentConfig) if field.name.endswith("_share")]
ALL = AugmentConfig(**dict.fromkeys(SHARES, 1.0), traps=10)
NOTHING = AugmentConfig(swap_share=0, plant_share=0, traps=0)
SWAP = AugmentConfig(plant_share=0, traps=0)

WORD_OF = {"Ann": "B-NAME_STUDENT", "Lee": "B-NAME_STUDENT", "12345": "B-ID_NUM", "a@b.com": "B-EMAIL"}
TEXTS = (
    "", " ", "   ", "\n", "\n\n \n", "\xa0", "word", "Ann", "a@b.com", ".", "...", "No newline at all. Not one.",
    "Ann Lee 12345 a@b.com", "My\xa0name\xa0is\xa0Ann\xa0Lee.", "odd\xa0white\xa0space\xa0here", "\tTabs\tAnn\tLee\t",
    "Heading\n\nText by Ann Lee.\n", "Ends in a line break\n", "\n\nBegins with one", "12345\n12345\r\nAnn\u2003Lee",
)  # fmt: skip
ODD = [make_document(text, number, labels=labels) for number, text in enumerate(TEXTS) for labels in ({}, WORD_OF)]


def check(document, new):
    """Check what must hold after any augmentation."""
    assert new.number == document.number
    assert len(new.tokens) == len(new.trailing_whitespace) == len(new.labels)
    assert join_tokens(new.tokens, new.trailing_whitespace) == new.full_text
    assert all(new.tokens) and set(new.labels) <= set(LABELS)
    for before, label in zip((OUTSIDE, *new.labels), new.labels, strict=False):
        assert not label.startswith("I-") or type_of(before) == type_of(label)


@pytest.mark.parametrize("seed", range(12))
def test_tokens_spell_the_text_and_labels_are_valid_with_any_settings(documents, seed):
    draw = random.Random(seed)
    shares = {share: draw.choice([0, 0.5, 1]) for share in SHARES}
    config = AugmentConfig(**shares, traps=draw.choice([0, 1, 10]))
    few = [*draw.sample(documents, 4), *ODD]
    before = copy.deepcopy(few)
    new = augment(few, config, seed=seed, epoch=draw.randrange(100))
    assert few == before
    for document, other in zip(few, new, strict=True):
        check(document, other)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(data=st.data(), words=st.lists(st.sampled_from(["Ann", "I", ".", "\n", " ", "12", "\xa0", "x@y.z"]), max_size=9))
def test_any_labels_on_any_tokens_stay_valid(data, words):
    document = make_document(" ".join(words), labels={})
    labels, last = [], OUTSIDE
    for _ in document.tokens:
        allowed = [OUTSIDE, *(f"B-{kind}" for kind in PII_TYPES), *([f"I-{last[2:]}"] if last != OUTSIDE else [])]
        last = data.draw(st.sampled_from(allowed))
        labels.append(last)
    document = replace(document, labels=tuple(labels))
    check(document, augment_document(document, ALL, random.Random(0)))


def test_documents_depend_on_seed_and_epoch(documents):
    texts = {
        (seed, epoch): [doc.full_text for doc in augment(documents, ALL, seed=seed, epoch=epoch)]
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    }
    assert [doc.full_text for doc in augment(documents, ALL, seed=0, epoch=0)] == texts[0, 0]
    for place in range(len(documents)):
        assert len({those[place] for those in texts.values()}) == 3


def test_a_share_of_the_documents_is_written_in_lower_case_and_nothing_else_changes(documents):
    half, none = (augment(documents * 4, replace(ALL, lower_share=share), seed=1, epoch=0) for share in (0.5, 0))
    lower = [new.full_text.islower() for new in half]
    assert 0.3 < sum(lower) / len(lower) < 0.7
    for new, as_written, is_lower in zip(half, none, lower, strict=True):
        assert new.labels == as_written.labels and new.full_text.lower() == as_written.full_text.lower()
        assert is_lower or new == as_written
        assert new.full_text == join_tokens(new.tokens, new.trailing_whitespace)


def test_a_document_is_augmented_independently_of_the_others(documents):
    together = augment(documents, ALL, seed=3, epoch=2)
    assert [doc.number for doc in together] == [doc.number for doc in documents]
    assert [augment([doc], ALL, seed=3, epoch=2)[0] for doc in reversed(documents)] == together[::-1]


ESSAYS_AND_TOWNS = """
import hashlib, random
from pii_kit.augment import AugmentConfig, augment
from pii_kit.augment.surrogates import Surrogates
from pii_kit.sample import make_documents
drawn = Surrogates(random.Random(0))
essays = augment(make_documents(10, seed=0), AugmentConfig(**SHARES), seed=0, epoch=0)
print(hashlib.sha256(repr((essays, [drawn.town() for _ in range(50)])).encode()).hexdigest())
"""


def test_augmented_documents_do_not_depend_on_the_hash_seed():
    program = ESSAYS_AND_TOWNS.replace("SHARES", repr(asdict(ALL)))
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "12345")
    }
    assert len(printed) == 1


def test_shares_of_zero_leave_documents_unchanged_and_swapping_those_without_pii(documents):
    assert augment([*documents, *ODD], NOTHING, seed=0, epoch=0) == [*documents, *ODD]
    for old, new in zip(documents, augment(documents, SWAP, seed=0, epoch=0), strict=True):
        assert (old == new) == (not old.types)
        assert old.types == new.types


def test_shares_of_one_plant_every_type_in_documents_without_pii(documents):
    for old, new in zip(documents, augment(documents, ALL, seed=0, epoch=0), strict=True):
        assert new.types == (old.types or set(PII_TYPES))


def test_types_are_planted_with_their_shares():
    clean = [doc for doc in make_documents(60, seed=4) if not doc.types]
    config = AugmentConfig(plant_share=1, traps=0, id_share=0.5, email_share=0.2, username_share=0)
    new = [doc for epoch in range(4) for doc in augment(clean, config, seed=0, epoch=epoch)]
    counts = Counter(pii_type for doc in new for pii_type in doc.types)
    assert counts["NAME_STUDENT"] / len(new) > 0.85
    assert 0.4 < counts["ID_NUM"] / len(new) < 0.6 and 0.1 < counts["EMAIL"] / len(new) < 0.3
    assert counts["USERNAME"] == 0


def test_a_plant_share_of_one_half_plants_pii_in_half_of_the_documents(documents):
    clean = [doc for doc in documents if not doc.types]
    half = AugmentConfig(plant_share=0.5, traps=0, name_share=1)
    new = [doc for epoch in range(8) for doc in augment(clean, half, seed=0, epoch=epoch)]
    assert 0.35 < sum(bool(doc.types) for doc in new) / len(new) < 0.65


def test_traps_are_never_pii(documents):
    clean = [doc for doc in documents if not doc.types]
    for old, new in zip(clean, augment(clean, AugmentConfig(plant_share=0, traps=10), seed=0, epoch=0), strict=True):
        assert len(new.tokens) > len(old.tokens) and not new.types


@pytest.mark.parametrize("value", [-0.1, 1.1, 11, float("nan")])
@pytest.mark.parametrize("setting", [*SHARES, "traps"])
def test_a_setting_out_of_range_is_named(setting, value):
    if setting == "traps" and value == 1.1:
        return
    with pytest.raises(KitError, match=rf"augment\.{setting} is {value}; expected 0 to"):
        AugmentConfig(**{setting: value})


def test_every_type_has_a_share():
    assert tuple(type_shares(AugmentConfig())) == PII_TYPES
