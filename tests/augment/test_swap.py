import random
import re
from dataclasses import replace

import pytest
from conftest import make_document

from pii_kit.augment.surrogates import Surrogates
from pii_kit.augment.swap import swap_pii, without_pii
from pii_kit.documents import document_of_spans, join_tokens
from pii_kit.labels import OUTSIDE, PII_TYPES, label_span, spans_of
from pii_kit.sample import make_documents

NAME = "NAME_STUDENT"


def swapped(document, seed=0):
    avoid = {token.casefold() for token in document.tokens}
    return swap_pii(document, Surrogates(random.Random(seed), avoid))


def swapped_spans(spans, seed=0):
    return swapped(document_of_spans(1, spans), seed)


def texts_of(document, pii_type):
    """Return the texts of the entities of a type."""
    return [
        join_tokens(document.tokens[first:end], document.trailing_whitespace[first:end]).rstrip(" ")
        for first, end, of in spans_of(document.labels)
        if of == pii_type
    ]


def form(text):
    return re.sub("[a-z]", "a", re.sub("[A-Z]", "A", re.sub("[0-9]", "0", text)))


@pytest.fixture(scope="module")
def with_pii():
    return [doc for doc in make_documents(240, seed=2) if doc.types]


def without_addresses(document):
    labels = zip(document.tokens, document.labels, strict=True)
    return [(token, label) for token, label in labels if not label.endswith("STREET_ADDRESS")]


def test_every_token_outside_addresses_keeps_its_label_and_space(with_pii):
    for doc in with_pii:
        new = swapped(doc)
        assert join_tokens(new.tokens, new.trailing_whitespace) == new.full_text
        assert [label for _, label in without_addresses(new)] == [label for _, label in without_addresses(doc)]
        assert [span[2] for span in spans_of(new.labels)] == [span[2] for span in spans_of(doc.labels)]
        if "STREET_ADDRESS" not in doc.types:
            assert new.trailing_whitespace == doc.trailing_whitespace


def test_no_original_name_is_left_in_the_document(with_pii):
    for doc in with_pii:
        names = {token for text in texts_of(doc, NAME) for token in re.findall(r"\w{4,}", text) if token[0].isupper()}
        forms = names | {name.upper() for name in names}
        assert forms.isdisjoint(swapped(doc).tokens), doc.number


def test_outside_pii_only_names_change(with_pii):
    for doc in with_pii:
        names = {token.casefold() for text in texts_of(doc, NAME) for token in text.split()}
        for (old, label), (new, _) in zip(without_addresses(doc), without_addresses(swapped(doc)), strict=True):
            assert label != OUTSIDE or old == new or old.casefold() in names


def test_equal_names_stay_equal_and_different_ones_different(with_pii):
    n_repeated = 0
    for doc in with_pii:
        old, new = texts_of(doc, NAME), texts_of(swapped(doc), NAME)
        pairs = {(before.casefold(), after.casefold()) for before, after in zip(old, new, strict=True)}
        assert len({before for before, _ in pairs}) == len(pairs) == len({after for _, after in pairs})
        n_repeated += len(pairs) < len(old)
    assert n_repeated > 3


def test_repeated_entities_get_the_same_surrogate():
    for pii_type, text in {"EMAIL": "a@b.com", "ID_NUM": "12345", "STREET_ADDRESS": "1 Hill\nYork"}.items():
        new = swapped_spans([("See ", None), (text, pii_type), (" or ", None), (text, pii_type), (" here", None)])
        first, second = texts_of(new, pii_type)
        assert first == second != text


@pytest.mark.parametrize("seed", range(5))
def test_names_keep_their_casing_initials_and_particles(seed):
    spans = [("ANA J. de SILVA", NAME), (" or ", None), ("Ana Silva", NAME), (" or ", None), ("ana", NAME)]
    upper, title, lower = texts_of(swapped_spans(spans, seed), NAME)
    assert re.fullmatch(r"[^\W\d_]+ [A-Z]\. de [^\W\d_]+", upper)
    first, _, _, last = upper.split(" ")
    assert first.isupper() and last.isupper() and lower.islower()
    assert [first.casefold(), last.casefold()] == title.casefold().split(" ") and first.casefold() == lower.casefold()


@pytest.mark.parametrize("name", ["maria souza", "O’Brien", "D'Souza", "J.P.", "Lee2", "张伟", "JP", "ña"])
def test_unusual_names_are_swapped_too(name):
    (new,) = texts_of(swapped_spans([("By ", None), (name, NAME), (" today", None)]), NAME)
    assert set(new.casefold().split(" ")).isdisjoint(name.casefold().split(" "))


def test_names_are_swapped_outside_labels_and_ordinary_words_are_not():
    new = swapped_spans([("Will I Grant", NAME), (" says: I will grant it. GRANT agrees, Will too. A", None)])
    first, initial, last = texts_of(new, NAME)[0].split(" ")
    assert len(initial) == 1
    assert new.full_text.endswith(f"says: I will grant it. {last.upper()} agrees, {first} too. A")


def test_numbers_keep_the_positions_of_their_digits():
    for pii_type, text in (("ID_NUM", "AB-1234/5"), ("ID_NUM", "12345K"), ("PHONE_NUM", "+1 (555) 010-2233 x4")):
        doc = document_of_spans(1, [("No ", None), (text, pii_type), (" is it", None)])
        for seed in range(20):
            new = swapped(doc, seed)
            assert len(new.tokens) == len(doc.tokens) and new.labels == doc.labels
            assert form(texts_of(new, pii_type)[0]) == form(text)


@pytest.mark.parametrize("pii_type", PII_TYPES)
@pytest.mark.parametrize("text", ["x", "a@b.com", " ", "12\n34", "  A  1", ".", "www.x.com", "a b c"])
def test_any_text_with_any_type_gives_valid_labels(pii_type, text):
    doc = make_document(text)
    doc = replace(doc, labels=(f"B-{pii_type}", *[f"I-{pii_type}"] * (len(doc.tokens) - 1)))
    new = swapped(doc)
    assert join_tokens(new.tokens, new.trailing_whitespace) == new.full_text
    assert spans_of(new.labels) == [(0, len(new.tokens), pii_type)]
    assert pii_type == "STREET_ADDRESS" or new.labels == doc.labels


def test_emails_stay_one_token(with_pii):
    emails = [text for doc in with_pii for text in texts_of(swapped(doc), "EMAIL")]
    assert len(emails) > 3 and all(re.fullmatch(r"[^\s@]+@[^\s@]+\.\w+", email) for email in emails)


def test_an_inside_label_without_a_begin_label_is_swapped_too():
    doc = replace(make_document("Ana Silva 12345"), labels=("I-NAME_STUDENT", "I-NAME_STUDENT", "I-ID_NUM"))
    new = swapped(doc)
    assert new.labels == doc.labels and set(new.tokens).isdisjoint(doc.tokens)


UNUSUAL = ["Zorvath Quillenby", "张伟", "de Kruyswijk-Ábel", "Q7x", "rose of tralee", "vanderbrook"]


@pytest.mark.parametrize("pii_type", PII_TYPES)
@pytest.mark.parametrize("text", [*UNUSUAL, "zorvath@quillenby.org", "(555) 010-2233", "12 Zorvath Street\nQuillenby"])
def test_no_part_of_the_originals_is_left_for_a_vocabulary(pii_type, text):
    parts = {part.casefold() for part in re.findall(r"\w{2,}", text)} - {"de", "of", "org", "street"}
    around = f"\nSee {text.lower()}, www.{'-'.join(sorted(parts))}.com and {text.upper()}’s page"
    document = make_document(f"By {text}{around}")
    labels = ["O"] * len(document.tokens)
    label_span(labels, 1, 1 + len(make_document(text).tokens), pii_type)
    document = replace(document, labels=tuple(labels))
    for seed in range(5):
        (new,) = without_pii([document], seed=seed)
        assert join_tokens(new.tokens, new.trailing_whitespace) == new.full_text
        words = {word.casefold() for word in re.findall(r"\w+", new.full_text)}
        assert parts.isdisjoint(words), (parts & words, new.full_text)
        assert "page" in words


def test_documents_without_pii_are_learned_from_as_they_are(with_pii):
    clean = make_document("No Zorvath here", labels={})
    (same, *swapped) = without_pii([clean, *with_pii])
    assert same == clean and all(old.full_text != new.full_text for old, new in zip(with_pii, swapped, strict=True))
    assert without_pii(with_pii) == swapped != without_pii(with_pii, seed=1)
