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
    return swap_pii(document, Surrogates(random.Random(seed), {token.casefold() for token in document.tokens}))


def swapped_spans(*spans, seed=0):
    return swapped(document_of_spans(1, spans), seed)


def texts_of(document, pii_type):
    """Return the texts of the entities of a type."""
    spans = [(first, end) for first, end, of in spans_of(document.labels) if of == pii_type]
    return [join_tokens(document.tokens[a:b], document.trailing_whitespace[a:b]).rstrip(" ") for a, b in spans]


@pytest.fixture(scope="module")
def with_pii():
    return [doc for doc in make_documents(240, seed=2) if doc.types]


def without_addresses(document):
    labels = zip(document.tokens, document.labels, strict=True)
    return [(token, label) for token, label in labels if not label.endswith("STREET_ADDRESS")]


def test_only_pii_and_names_change_and_every_token_outside_addresses_keeps_its_label(with_pii):
    for doc in with_pii:
        new = swapped(doc)
        assert join_tokens(new.tokens, new.trailing_whitespace) == new.full_text
        assert [span[2] for span in spans_of(new.labels)] == [span[2] for span in spans_of(doc.labels)]
        assert "STREET_ADDRESS" in doc.types or new.trailing_whitespace == doc.trailing_whitespace
        names = {token.casefold() for text in texts_of(doc, NAME) for token in re.split(r"([ '’-])", text)}
        for (token, label), (other, same) in zip(without_addresses(doc), without_addresses(new), strict=True):
            assert label == same
            assert label != OUTSIDE or token == other or token.casefold() in names


def test_no_original_name_is_left_and_equal_names_stay_equal_and_different_ones_different(with_pii):
    n_repeated = 0
    for doc in with_pii:
        new = swapped(doc)
        names = {token for text in texts_of(doc, NAME) for token in re.findall(r"\w{4,}", text) if token[0].isupper()}
        assert (names | {name.upper() for name in names}).isdisjoint(new.tokens), doc.number
        old, drawn = texts_of(doc, NAME), texts_of(new, NAME)
        pairs = {(before.casefold(), after.casefold()) for before, after in zip(old, drawn, strict=True)}
        assert len({before for before, _ in pairs}) == len(pairs) == len({after for _, after in pairs})
        n_repeated += len(pairs) < len(old)
    assert n_repeated > 3


@pytest.mark.parametrize(("pii_type", "text"), [("EMAIL", "a@b.com"), ("STREET_ADDRESS", "1 A\nB")])
def test_repeated_entities_get_the_same_surrogate(pii_type, text):
    new = swapped_spans((text, pii_type), (" or ", None), (text, pii_type), (" here", None))
    first, second = texts_of(new, pii_type)
    assert first == second != text
    assert pii_type != "EMAIL" or re.fullmatch(r"\S+@[^\s@]+\.\w+", first)


@pytest.mark.parametrize("seed", range(3))
def test_names_keep_their_casing_initials_and_particles(seed):
    spans = [("ANA J. de SILVA", NAME), (" or ", None), ("Ana Silva", NAME), (" or ", None), ("ana", NAME)]
    upper, title, lower = texts_of(swapped_spans(*spans, seed=seed), NAME)
    assert re.fullmatch(r"[^\W\d_]+ [A-Z]\. de [^\W\d_]+", upper)
    first, _, _, last = upper.split(" ")
    assert first.isupper() and last.isupper() and lower.islower()
    assert [first.casefold(), last.casefold()] == title.casefold().split(" ") and first.casefold() == lower.casefold()


@pytest.mark.parametrize("name", ["maria souza", "O’Brien", "D'Souza", "J.P.", "Lee2", "张伟", "JP", "ña"])
def test_unusual_names_are_swapped_too(name):
    (new,) = texts_of(swapped_spans(("By ", None), (name, NAME), (" today", None)), NAME)
    assert set(new.casefold().split(" ")).isdisjoint(name.casefold().split(" "))


def test_names_are_swapped_outside_labels_and_ordinary_words_are_not():
    new = swapped_spans(("Will I Grant", NAME), (" says: I will grant it. GRANT agrees, Will too. A", None))
    first, initial, last = texts_of(new, NAME)[0].split(" ")
    assert len(initial) == 1
    assert new.full_text.endswith(f"says: I will grant it. {last.upper()} agrees, {first} too. A")


@pytest.mark.parametrize("pii_type", PII_TYPES)
@pytest.mark.parametrize("text", ["x", "a@b.com", " ", "12\n34", "  A  1", ".", "www.x.com", "a b c"])
def test_any_text_with_any_type_gives_valid_labels(pii_type, text):
    doc = make_document(text)
    for begin in "BI":  # a label that begins nothing is swapped too
        doc = replace(doc, labels=(f"{begin}-{pii_type}", *[f"I-{pii_type}"] * (len(doc.tokens) - 1)))
        new = swapped(doc)
        assert join_tokens(new.tokens, new.trailing_whitespace) == new.full_text
        assert spans_of(new.labels) == [(0, len(new.tokens), pii_type)]
        assert pii_type == "STREET_ADDRESS" or new.labels == doc.labels
        if pii_type in ("ID_NUM", "PHONE_NUM"):
            assert [len(token) for token in new.tokens] == [len(token) for token in doc.tokens]


UNUSUAL = ("Zorvath Quillenby", "张伟", "de Kruyswijk-Ábel", "Q7x", "rose of tralee", "zorvath@quillenby.org",
           "(555) 010-2233", "12 Zorvath Street\nQuillenby")  # fmt: skip


@pytest.mark.parametrize("pii_type", PII_TYPES)
@pytest.mark.parametrize("text", UNUSUAL)
def test_no_part_of_the_originals_is_left_for_a_vocabulary(pii_type, text):
    parts = {part.casefold() for part in re.findall(r"\w{2,}", text)} - {"de", "of", "org", "street"}
    around = f"\nSee {text.lower()}, www.{'-'.join(sorted(parts))}.com and {text.upper()}’s page"
    document = make_document(f"By {text}{around}")
    labels = ["O"] * len(document.tokens)
    label_span(labels, 1, 1 + len(make_document(text).tokens), pii_type)
    document = replace(document, labels=tuple(labels))
    (new,) = without_pii([document])
    assert join_tokens(new.tokens, new.trailing_whitespace) == new.full_text
    words = {word.casefold() for word in re.findall(r"\w+", new.full_text)}
    assert parts.isdisjoint(words) and "page" in words, new.full_text


def test_documents_without_labelled_strings_are_learned_from_as_they_are(with_pii):
    clean = make_document("No Zorvath here", labels={})
    (same, *new) = without_pii([clean, *with_pii])
    assert same == clean and all(old.full_text != one.full_text for old, one in zip(with_pii, new, strict=True))
    assert without_pii(with_pii) == new != without_pii(with_pii, seed=1)
