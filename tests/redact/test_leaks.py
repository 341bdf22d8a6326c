"""The leak check, against a slow oracle and by hand, and the measures of a redaction."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_document import ADDRESS, EMAIL, ID, NAME, PHONE, URL, USERNAME, essay, labelled, settings_of

from pii_kit.documents import document_of_spans
from pii_kit.metrics import recall_bound
from pii_kit.redact import MODES, Redaction, redact_document
from pii_kit.redact.leaks import evaluate_redaction, find_leaks


def leaks_of(text, *found, others=None, **more):
    """Return the strings at the places of leaks, with their fields and reasons, and the new text."""
    chosen = settings_of(**{"mode": "type"} | more)
    done = redact_document(*labelled(text, *found), chosen)
    texts = {"full_text": done.text, **(others or {})}
    leaks = find_leaks([done], [others or {}], chosen)
    return [(leak.field, texts[leak.field][leak.start :][:5].lower(), leak.reason) for leak in leaks], done.text


@pytest.mark.parametrize(
    ("text", "found", "leaks"),
    [
        ("By Ana Silva. xanasilvax; a banana; silvas", ("Ana Silva", NAME),
         [("anasi", ""), ("silva", "part of another word")]),
        ("By Ngozi Okwuosa: ngokwuosa1, okwuosaN", ("Ngozi Okwuosa", NAME), [("okwuo", ""), ("okwuo", "")]),
        ("I am Will Vo. I will.", ("Will Vo", NAME), [("will.", "ordinary word")]),
        ("Write to okwuosa.n@mit.edu; see www.stanford.edu, okwuosa", ("okwuosa.n@mit.edu", EMAIL), [("okwuo", "")]),
        ("My ID 2019-04-11872 of 2019, 11872", ("2019-04-11872", ID), [("11872", "")]),
        ("see https://github.com/vo-linh and github.com/x or linh",
         ("https://github.com/vo-linh", URL), [("linh", "")]),
        ("I live at 9 Rue Haute, Mons 70007. Mons, 70007", ("9 Rue Haute, Mons 70007", ADDRESS),
         [("mons,", "ordinary word"), ("70007", "")]),
        ("call 415-555-0134, 20134, 0134", ("415-555-0134", PHONE), [("0134", "")]),
        ("user ngoz_90210 wrote; 90210 and xngozx", ("ngoz_90210", USERNAME), [("90210", ""), ("ngozx", "")]),
    ],
)  # fmt: skip
def test_leaks_by_hand(text, found, leaks):
    """What identifies nobody is no leak: top-level domains, hosts of institutions and of many people, years."""
    assert [leak[1:] for leak in leaks_of(text, found, patterns=False)[0]] == leaks


def test_allowed_strings_are_explained():
    found, text = leaks_of("Ana, not Ana Silva", ("Ana", NAME), allow="Ana Silva")
    assert text == "[NAME_STUDENT], not Ana Silva" and found == [("full_text", "ana s", "allowed")]
    assert leaks_of("By Ana Silva: xsilvax", ("Ana Silva", NAME), allow="xsilvax")[0][0][2] == "allowed"


def test_other_fields_are_searched_too():
    others = {"author": "ana", "more": '{"deep": ["SILVA"]}', "year": "2019"}
    found, _ = leaks_of("By Ana Silva.", ("Ana Silva", NAME), others=others)
    assert found == [("author", "ana", ""), ("more", "silva", "")]


names = st.lists(st.sampled_from(["Okwuosa", "Ngozi", "Żółkiewski", "O'Rourke", "Vo"]), min_size=1, max_size=3).map(
    " ".join
)
gaps = st.sampled_from([" ", ", ", "x", "-", "\n", " met ", "'s ", "1"])


@settings(max_examples=60, deadline=None)
@given(names, st.lists(st.tuples(gaps, names), max_size=5), st.sampled_from(MODES), st.booleans())
def test_every_name_that_is_left_is_a_leak(name, more, mode, mentions):
    """A slow oracle: a part of three letters or more that stands in the new text, in any casing, is a leak."""
    text = f"By {name}. " + "".join(
        gap + (other if place % 2 else other.upper()) for place, (gap, other) in enumerate(more)
    )
    found, new = leaks_of(text, (name, NAME), mode=mode, mentions=mentions, patterns=False)
    parts = [part for part in name.split() if len(part) > 2]
    assert bool(found) >= any(part.lower() in new.lower() for part in parts)
    if mentions and not re.search(r"[x1]", text):
        assert not found


FOUR_WORDS = essay("By ", ("Ana Silva", NAME), " of class; ", ("b@x.de", EMAIL), ". Ana came.")


def measure(document, *, hide=(), mentions=True, also=()):
    """Evaluate with the true labels, without those of tokens in `hide`, and with names for tokens in `also`."""
    labels = [
        "O" if token in hide else f"B-{NAME}" if token in also else label
        for token, label in zip(document.tokens, document.labels, strict=True)
    ]
    return evaluate_redaction([document], [labels], Redaction(mode="type", mentions=mentions, patterns=False))


def test_true_labels_and_their_mentions_leave_nothing():
    table = measure(FOUR_WORDS)
    assert table["good"].to_dict() == {
        "identifiers": 2, NAME: 1, EMAIL: 1, "documents with PII": 1, "rows": 3, "other words": 4,
    }  # fmt: skip
    assert table.loc["other words", "n"] == 5  # "Ana" in "Ana came" is replaced although it is not labelled


def test_what_is_not_replaced_survives():
    table = measure(FOUR_WORDS, hide=["b@x.de"])
    assert table.loc[EMAIL, "good"] == 0 and table.loc[NAME, "good"] == 1
    assert table.loc["rows", ["n", "good"]].tolist() == [3, 2] and table.loc["documents with PII", "good"] == 0
    table = measure(FOUR_WORDS, mentions=False)
    assert table.loc["rows", "good"] == 3 and table.loc[NAME, "good"] == 0
    assert measure(FOUR_WORDS, also=["class"]).loc["other words", ["n", "good"]].tolist() == [5, 3]
    assert measure(essay("No names.")).index.tolist() == ["other words"]


def test_intervals_are_exact_binomial_ones():
    documents = [document_of_spans(n, [("Ana", NAME), (" came.", None)]) for n in range(10)]
    table = evaluate_redaction(documents, [doc.labels for doc in documents], Redaction(mode="mask"))
    low, high = table.loc["identifiers", ["low", "high"]]
    assert low == pytest.approx(0.025 ** (1 / 10)) and high == 1  # Clopper & Pearson without a miss
    assert table.loc["identifiers", "bound"] == pytest.approx(recall_bound(10, 0))
