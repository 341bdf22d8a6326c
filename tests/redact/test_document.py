"""The core: any labels on any document in every mode, and examples worked by hand."""

import hmac
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pii_kit
from pii_kit.decide import repair_bio
from pii_kit.documents import Document, document_of_spans, join_tokens
from pii_kit.files import KitError
from pii_kit.labels import LABELS, PII_TYPES, spans_of
from pii_kit.redact import MODES, Redaction
from pii_kit.redact.document import redact_document, starts_sentence
from pii_kit.redact.finder import fold

NAME, EMAIL, USERNAME, ID, PHONE, URL, ADDRESS = PII_TYPES
KEY = b"a key of a test, not a secret"


def settings_of(mode, **more) -> Redaction:
    return Redaction(mode=mode, **({"key": KEY} if mode == "hash" else {}) | more)


def essay(*spans, number=1):
    """A document of spans: text, or pairs of text and type."""
    return document_of_spans(number, [(span, None) if isinstance(span, str) else span for span in spans])


def redact(document, mode="type", **more):
    return redact_document(document, document.labels, settings_of(mode, **more))


def text_of(document, mode="type", **more) -> str:
    return redact(document, mode, **more).document.full_text


words = st.sampled_from([
    "Ana", "ana", "Silva", "de", "J.", "Will", "will", "12345", "a@b.de", "", " ", "\n\n", "李明", "é", "e\u0301",
    "=1+1", "\x00", "\ud83d", "\u200f", "🐱", "ß", "'s", "-", "<script>", "O'Hara", "+49", "@ana", "²", "ﬁ", "İ",
])  # fmt: skip
tokens = st.lists(st.tuples(words | st.text(max_size=4), st.booleans(), st.sampled_from(LABELS)), max_size=14)


@st.composite
def documents(draw):
    drawn = draw(tokens)
    return replace(
        essay("x", number=draw(st.integers(0, 9))),
        full_text=join_tokens([token for token, _, _ in drawn], [space for _, space, _ in drawn]),
        tokens=tuple(token for token, _, _ in drawn),
        trailing_whitespace=tuple(space for _, space, _ in drawn),
        labels=draw(st.sampled_from([None, tuple(label for _, _, label in drawn)])),
    ), draw(st.lists(st.sampled_from(LABELS), min_size=len(drawn), max_size=len(drawn)))


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        (["call 555", ("-204", ID), "-7781."], "call [ID_NUM]."),
        (["call 555 ", ("204", PHONE), " 7781 soon"], "call [PHONE_NUM] soon"),
        (["call (555) 204-", ("7781", PHONE), ", room 7"], "call ([PHONE_NUM], room 7"),
        (["in 2019 ", ("20418837", ID), " 2020"], "in 2019 [ID_NUM] 2020"),
        (["12", ("ab34", USERNAME), "-56"], "12[USERNAME]-56"),
    ],
)
def test_a_number_that_was_found_in_part_is_replaced_whole(spans, expected):
    parts = [one if isinstance(one, tuple) else (one, None) for one in spans]
    tokens, labels = [], []
    for text, pii_type in parts:
        for number, token in enumerate(re.findall(r"\s|[^\s]+", text)):
            tokens.append(token)
            labels.append(f"{'I' if number else 'B'}-{pii_type}" if pii_type else "O")
    text = "".join(tokens)
    document = Document(number=1, full_text=text, tokens=tuple(tokens), trailing_whitespace=(False,) * len(tokens))
    assert redact_document(document, labels, settings_of("type")).document.full_text == expected


@settings(max_examples=150, deadline=None)
@given(documents(), st.sampled_from(MODES), st.booleans())
def test_any_labels_on_any_document_give_a_valid_document(pair, mode, mentions):
    document, labels = pair
    done = redact_document(document, labels, settings_of(mode, mentions=mentions))
    new = done.document
    assert join_tokens(new.tokens, new.trailing_whitespace) == new.full_text
    assert (new.labels is None) == (document.labels is None)
    if new.labels is not None:
        assert len(new.labels) == len(new.tokens) and list(new.labels) == repair_bio(new.labels)
    # Text outside the changes is identical, and undoing the changes restores the original.
    old_end = new_end = 0
    restored = ""
    for change in done.changes:
        outside = document.full_text[old_end : change.start]
        assert outside == new.full_text[new_end : change.new_start]
        assert new.full_text[change.new_start : change.new_end] == change.text != ""
        restored += outside + change.original
        old_end, new_end = change.end, change.new_end
    assert document.full_text[old_end:] == new.full_text[new_end:]
    assert restored + new.full_text[new_end:] == document.full_text
    # Every labelled span that is not only whitespace was replaced.
    starts = [len(join_tokens(document.tokens[:i], document.trailing_whitespace[:i])) for i in range(len(labels) + 1)]
    covered = {place for change in done.changes for place in range(change.start, change.end)}
    for first, end, _ in spans_of(labels):
        for place in range(starts[first], starts[end]):
            if not document.full_text[place].isspace():
                assert place in covered
    assert done == redact_document(document, labels, settings_of(mode, mentions=mentions))
    for change in done.changes:
        if any(map(str.isalnum, change.original)):
            assert change.text != change.original


def test_a_mask_keeps_lengths_tokens_and_labels():
    document = essay("By ", ("Ana Maria Silva", NAME), ", ", ("12 High St\nLeeds", ADDRESS), ".")
    done = redact(document, "mask").document
    assert done.full_text == "By ███ █████ █████, ██ ████ ██\n█████."
    assert done.labels == document.labels and len(done.tokens) == len(document.tokens)


def test_a_type_takes_the_place_of_a_span_and_keeps_its_label():
    done = redact(essay("By ", ("Ana Silva", NAME), ", ", ("a@b.de", EMAIL), ".")).document
    assert done.full_text == "By [NAME_STUDENT], [EMAIL]."
    assert spans_of(done.labels) == [(1, 4, NAME), (5, 8, EMAIL)]


def test_a_hash_is_that_of_the_normalised_text_under_the_key():
    document = essay(("Ana Silva", NAME), " and ", ("ANA SILVA", NAME))
    found = re.findall(r"\[NAME_STUDENT:([0-9a-f]{12})\]", text_of(document, "hash"))
    assert len(found) == 2 and found[0] == found[1]
    assert found[0] == hmac.new(KEY, b"ana silva", "sha256").hexdigest()[:12]
    assert found[0] not in text_of(document, "hash", key=b"another key")


def test_hash_without_a_key_is_refused():
    with pytest.raises(KitError, match="key"):
        Redaction(mode="hash")
    with pytest.raises(KitError, match="empty"):
        Redaction(mode="surrogate", key=b" \n")


@pytest.mark.parametrize("seed", range(5))
def test_one_person_has_one_surrogate_in_every_form(seed):
    document = essay(
        ("Rodrigo Silveira", NAME), " met ", ("SILVEIRA", NAME), ", ", ("R. Silveira", NAME), "; ", ("rodrigo", NAME)
    )  # fmt: skip
    first, last = re.match(r"(\S+) (\S+) met ", text_of(document, "surrogate", seed=seed)).groups()
    expected = f"{first} {last} met {last.upper()}, {first[0]}. {last}; {first.lower()}"
    assert text_of(document, "surrogate", seed=seed) == expected
    assert "silveira" not in expected.lower() and "rodrigo" not in expected.lower()


@pytest.mark.parametrize("seed", range(5))
def test_an_initial_is_that_of_the_person_with_the_same_surname(seed):
    document = essay(("Rodrigo Silveira", NAME), ", ", ("Rafaela Kowalska", NAME), ", ", ("R. Kowalska", NAME))
    _, rafaela, short = text_of(document, "surrogate", seed=seed).split(", ")
    first, last = rafaela.split(" ")
    assert short == f"{first[0]}. {last}"


def test_a_name_of_two_letters_is_found_in_its_own_casing_only():
    assert text_of(essay(("Bo", NAME), " met Bo, bo, BO, Bob")) == "[NAME_STUDENT] met [NAME_STUDENT], bo, BO, Bob"
    assert text_of(essay(("X", NAME), " met X.")) == "[NAME_STUDENT] met X."


@pytest.mark.parametrize("seed", range(5))
def test_addresses_are_made_from_the_surrogate_of_the_name_they_hold(seed):
    document = essay(
        ("rodrigo.silveira77@gmail.com", EMAIL), " ", ("Rodrigo Silveira", NAME), " ", ("rsilveira", USERNAME)
    )  # fmt: skip
    email, first, last, user = text_of(document, "surrogate", seed=seed).split()
    handles = [re.sub("[^a-z]", "", fold(name)) for name in (first, last)]
    assert re.fullmatch(rf"{handles[0]}\.{handles[1]}\d\d@\w+\.\w+", email)
    assert user == handles[0][0] + handles[1]


def test_each_address_of_a_span_is_replaced():
    new = text_of(essay(("ana@x.de, bo@y.de", EMAIL)), "surrogate")
    assert re.fullmatch(r"\w+@[\w.]+, \w+@[\w.]+", new) and not re.search("ana|bo@|[xy].de", new)


@pytest.mark.parametrize("seed", range(5))
def test_numbers_keep_their_form_and_few_of_their_digits(seed):
    document = essay("Call ", ("+49 (170) 123-4567", PHONE), " id ", ("AB-12345", ID))
    new = text_of(document, "surrogate", seed=seed)
    assert re.sub(r"\d", "#", new[:24]) == "Call +## (###) ###-#### "
    assert re.fullmatch(r"[A-Z]{2}-\d{5}", new[27:])
    assert "1234" not in new and "2345" not in new


def test_no_surrogate_starts_a_formula():
    for text, pii_type in (("+49 170 123456", PHONE), ("@rodrigo", USERNAME), ("-1234567", ID), ("=12345678", ID)):
        document = replace(essay("x"), tokens=(text,), full_text=text, trailing_whitespace=(False,), labels=None)
        new = redact_document(document, [f"B-{pii_type}"], settings_of("surrogate")).document.full_text
        assert new and new[0] not in "=+-@\t\r"


def test_a_surrogate_never_occurs_in_the_document():
    free = [text_of(essay(("Rodrigo", NAME), " went"), "surrogate", seed=seed).split()[0] for seed in range(20)]
    for seed, name in enumerate(free):
        new = text_of(essay(("Rodrigo", NAME), f" went, {name.lower()}berg"), "surrogate", seed=seed)
        assert new.split()[0] != name


def test_further_mentions_are_replaced_in_any_casing():
    document = essay("By ", ("Ana Silva", NAME), ". SILVA and ana, A. Silva, Ana\nSilva, anasilva, Analysis.")
    done = redact(document)
    name = "[NAME_STUDENT]"
    assert done.document.full_text == f"By {name}. {name} and {name}, {name}, {name}, anasilva, Analysis."
    assert [change.is_mention for change in done.changes] == [False, True, True, True, True]
    assert text_of(document, mentions=False).startswith(f"By {name}. SILVA and ana")


def test_an_ordinary_word_is_no_mention():
    document = essay("By ", ("Will Rose", NAME), ". I will. Will you? They saw Will. A rose for Rose, WILL.")
    done = redact(document)
    name = "[NAME_STUDENT]"
    assert done.document.full_text == f"By {name}. I will. Will you? They saw {name}. A rose for {name}, {name}."
    assert [kept.reason for kept in done.kept] == ["ordinary word"] * 3


def test_adjacent_spans_stay_apart_and_overlapping_ones_become_one():
    document = essay("x")
    document = replace(
        document, tokens=("Ana", "Bo"), trailing_whitespace=(False, False), full_text="AnaBo", labels=None
    )
    labels = [f"B-{NAME}", f"B-{USERNAME}"]
    done = redact_document(document, labels, settings_of("type"))
    assert done.document.full_text == "[NAME_STUDENT][USERNAME]"
    document = essay("Write to ", ("Ana Silva", NAME), " Gomez today")
    assert text_of(document, deny=(("Silva Gomez", ID),)) == "Write to [ID_NUM] today"


def test_allowed_strings_stay_and_denied_strings_go():
    document = essay("By ", ("Ana Silva", NAME), " and ", ("Coursera", NAME), " at ACME. Silva")
    done = redact(document, allow=frozenset({"coursera", "silva"}), deny=(("acme", USERNAME),))
    assert done.document.full_text == "By [NAME_STUDENT] and Coursera at [USERNAME]. Silva"
    assert [kept.reason for kept in done.kept] == ["allowed", "allowed"]
    with pytest.raises(KitError, match="both"):
        settings_of("type", allow=frozenset({"Ana"}), deny=(("ana", NAME),))


def test_a_part_of_an_allowed_string_stays_too():
    document = essay("By ", ("Ana", NAME), " Silva, and ", ("Ana", NAME), " Gomez. Ana Silva")
    done = redact(document, allow=frozenset({"Ana Silva"}))
    assert done.document.full_text == "By Ana Silva, and [NAME_STUDENT] Gomez. Ana Silva"


def test_a_key_makes_identities_global_and_its_absence_does_not():
    pair = [essay(("Rodrigo Silveira", NAME), f" {number}", number=number) for number in (1, 2)]
    with_key = {text_of(document, "surrogate", key=KEY)[:-2] for document in pair}
    without = {text_of(document, "surrogate")[:-2] for document in pair}
    assert len(with_key) == 1 and len(without) == 2
    assert with_key != {text_of(pair[0], "surrogate", key=b"another")[:-2]}


def test_without_a_key_no_surrogate_depends_on_its_original():
    """Otherwise anybody could redact candidate names with the same seed, and compare."""
    spans = [
        (("Rodrigo", NAME), " wrote, id ", ("AB-12345", ID)),
        (("Charlotte", NAME), " wrote, id ", ("XY-98760", ID)),
    ]
    pair = [essay(*of_one) for of_one in spans]
    assert len({text_of(document, "surrogate", seed=3) for document in pair}) == 1
    assert len({text_of(document, "surrogate", seed=3, key=KEY) for document in pair}) == 2


def test_the_documents_own_labels_stay_where_other_labels_are_redacted():
    document = essay("Ana met ", ("Bo Li", NAME), ".")
    done = redact_document(document, [f"B-{NAME}", "O", "O", "O", "O"], settings_of("type")).document
    assert done.full_text == "[NAME_STUDENT] met Bo Li."
    assert [done.tokens[first:end] for first, end, _ in spans_of(done.labels)] == [("Bo", "Li")]


@pytest.mark.parametrize(
    ("before", "starts"), [("", True), ("So. ", True), ("\n", True), ("So ", False), ("a, ", False)]
)
def test_sentences_start_after_full_stops_and_line_breaks(before, starts):
    assert starts_sentence(before + "Will", len(before)) is starts


def test_a_text_is_redacted_in_python():
    tagger, text = pii_kit.Tagger.load(), "My name is Ana Silva. My phone number is 555-204-7781."
    assert [span.text for span in tagger.label(text)] == ["Ana Silva", "555-204-7781"]
    redacted = pii_kit.redact_text(text, tagger, pii_kit.Redaction(mode="type"))
    assert redacted == "My name is [NAME_STUDENT]. My phone number is [PHONE_NUM]."


def test_the_authors_of_two_texts_get_different_surrogates_and_equal_texts_equal_ones():
    tagger, settings = pii_kit.Tagger.load(), pii_kit.Redaction(mode="surrogate", seed=1)
    texts = ["My name is Ana Silva.", "My name is Marco Rossi.", "My name is Ana Silva."]
    first, other, again = (pii_kit.redact_text(text, tagger, settings) for text in texts)
    assert first == again and first != other
    assert not {"Ana", "Silva", "Marco", "Rossi"} & {*(first + other).replace(".", " ").split()}


def test_an_empty_cell_is_no_text():
    with pytest.raises(KitError, match="expected text, found null"):
        pii_kit.redact_text(None, pii_kit.Tagger.load(), pii_kit.Redaction(mode="type"))
