"""The core: any labels on any document in every mode, and examples worked by hand."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pii_kit.decide import repair_bio
from pii_kit.documents import Document, covered_tokens, document_of_spans, document_of_text, join_tokens, token_edges
from pii_kit.files import KitError
from pii_kit.labels import LABELS, PII_TYPES, label_span, spans_of
from pii_kit.predict import Tagger
from pii_kit.redact import MODES, Redacted, Redaction, redact_document, redact_text
from pii_kit.redact.search import fold

NAME, EMAIL, USERNAME, ID, PHONE, URL, ADDRESS = PII_TYPES
KEY = b"a key of a test, not a secret"
# Names of eight countries, three of two letters, one with an apostrophe, one with accents, one in other letters.
NAMES = (
    "Tomasz Żółkiewski", "Ngozi Okwuosa", "Linh Vo", "Siobhán O'Rourke", "Gül Özdemir", "Bao Xu", "Ravindra Pillai",
    "Ximena Iturralde", "Mei-Ling Oei", "Søren Bjørnstad",
)  # fmt: skip


def settings_of(mode, **more) -> Redaction:
    return Redaction(mode=mode, **({"key": KEY} if mode == "hash" else {}) | {"seed": 0} | more)


def essay(*spans, number=1) -> Document:
    """A document of spans: text, or pairs of text and type."""
    return document_of_spans(number, [(span, None) if isinstance(span, str) else span for span in spans])


def labelled(text, *found) -> tuple[Document, list[str]]:
    """A text and its labels: for each pair of string and type, all tokens that the string touches, in order."""
    document = document_of_text(text)
    labels, edges, done = ["O"] * len(document.tokens), token_edges(document), 0
    for string, pii_type in found:
        start = text.index(string, done)
        done = start + len(string)
        label_span(labels, *covered_tokens(edges, start, done), pii_type)
    return document, labels


def redact(document, mode="type", **more) -> Redacted:
    return redact_document(document, document.labels, settings_of(mode, **more))


def text_of(document, mode="type", **more) -> str:
    return redact(document, mode, **more).text


def redacted(text, *found, mode="type", **more) -> str:
    return redact_document(*labelled(text, *found), settings_of(mode, **more)).text


def shortened(text: str) -> str:
    return text.replace("[NAME_STUDENT]", "[N]")


words = st.sampled_from([
    "Ana", "ana", "Silva", "de", "J.", "Will", "will", "12345", "a@b.de", "", " ", "\n\n", "李明", "é", "e\u0301",
    "=1+1", "\x00", "\ud83d", "\u200f", "🐱", "ß", "'s", "-", "<script>", "O'Hara", "+49", "@ana", "²", "ﬁ", "İ",
    "&eacute;",
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


@settings(max_examples=200, deadline=None)
@given(documents(), st.sampled_from(MODES), st.booleans())
def test_any_labels_on_any_document_give_a_valid_document(pair, mode, mentions):
    document, labels = pair
    done = redact_document(document, labels, settings_of(mode, mentions=mentions))
    new = done.document
    assert join_tokens(new.tokens, new.trailing_whitespace) == new.full_text == done.text
    assert (new.labels is None) == (document.labels is None)
    if new.labels is not None and done.changes:
        assert len(new.labels) == len(new.tokens) and list(new.labels) == repair_bio(new.labels)
    # Text outside the changes is identical, and undoing the changes restores the original.
    old_end = new_end = 0
    restored = ""
    for change in done.changes:
        outside = document.full_text[old_end : change.start]
        assert outside == done.text[new_end : change.new_start]
        assert done.text[change.new_start : change.new_end] == change.text != ""
        restored += outside + change.original
        old_end, new_end = change.end, change.new_end
        if any(map(str.isalnum, change.original)):
            assert change.text != change.original
    assert restored + done.text[new_end:] == document.full_text
    # Every letter and digit of a labelled span was replaced, unless a name was glued to something else.
    edges = token_edges(document)
    covered = {place for change in done.changes for place in range(change.start, change.end)}
    for first, end, pii_type in spans_of(labels):
        for place in range(edges[first], edges[end]):
            if document.full_text[place].isalnum() and pii_type in (USERNAME, ID, PHONE):
                assert place in covered
    assert done == redact_document(document, labels, settings_of(mode, mentions=mentions))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "form",
    ["•{}", "-{}", "~{}", "{}(group 2)", "{}|Class 4", "<b>{}</b>", "<td>{}</td>", "\\author{{{}}}", "1.{}", "Name:{}",
     "“{}”", "#{}", "*{}*", "{}'s"],
)  # fmt: skip
def test_a_name_that_is_glued_to_something_is_replaced_whole_and_alone(name, form):
    text = f"Notes\n{form.format(name)}\nabout design"
    assert redacted(text, (name, NAME)) == text.replace(name, "[NAME_STUDENT]")


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("By I. Okwuosa.", "Okwuosa", "By [N]."),
        ("By C. I. Okwuosa.", "Okwuosa", "By [N]."),
        ("see Okwuosa, I. there", "Okwuosa", "see [N] there"),
        ("By Linh Vo now", "Vo", "By [N] now"),
        ("with Ravindra Pillai now", "Pillai", "with [N] now"),
        ("in London Pillai wrote", "Pillai", "in London [N] wrote"),
        ("i am ravindra pillai from Goa", "pillai", "i am [N] from Goa"),
        ("with Ana de Silva now", "Ana", "with [N] now"),
        ("Did Vo and Bo Vo go?", "Vo", "Did [N] and [N] go?"),
        ("Later I met Pillai", "Pillai", "Later I met [N]"),
        ("Thanks, Ana Thank you", "Ana", "Thanks, [N] Thank you"),
    ],
)
def test_initials_and_known_names_beside_a_name_belong_to_it(text, found, expected):
    assert shortened(redacted(text, (found, NAME))) == expected


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("call 555-204-7781.", ("204", ID), "call [ID_NUM]."),
        ("call 555 204 7781 soon", ("204", PHONE), "call [PHONE_NUM] soon"),
        ("call (555) 204-7781, room 7", ("7781", PHONE), "call [PHONE_NUM], room 7"),
        ("Ring 312-555-0187 ext 40 now", ("0187", PHONE), "Ring [PHONE_NUM] now"),
        ("in 2019 20418837 2020", ("20418837", ID), "in 2019 [ID_NUM] 2020"),
        ("my number is QX-204188.", ("204188", ID), "my number is [ID_NUM]."),
        ("at 9 Rue Haute, 7000 Mons", ("9", ADDRESS), "at [STREET_ADDRESS] Rue Haute, 7000 Mons"),
    ],
)
def test_a_part_of_a_number_is_replaced_with_all_of_it(text, found, expected):
    assert redacted(text, found, patterns=False) == expected


def test_gaps_of_one_token_in_an_address_are_filled():
    found = [("9", ADDRESS), ("Haute", ADDRESS), ("7000", ADDRESS)]
    assert redacted("at 9 Rue Haute, 7000 Mons", *found, patterns=False) == "at [STREET_ADDRESS] Mons"


def test_a_name_and_a_number_that_were_taken_for_an_address():
    assert redacted("My name is Ngozi Okwuosa, ID 204188.", ("Ngozi Okwuosa, ID 204188", ADDRESS)) == (
        "My name is [NAME_STUDENT], ID [ID_NUM]."
    )
    assert redacted("I am Ngozi Okwuosa.", ("Ngozi Okwuosa", ADDRESS)) == "I am [NAME_STUDENT]."
    spans = ("SSN", ADDRESS), ("45", ID)
    text = "SSN 219-45-6021, lives at 77 Birch Hollow Rd, Salem, OR 97301"
    assert redacted(text, *spans) == "SSN [ID_NUM], lives at [STREET_ADDRESS]"


def test_each_address_of_a_token_is_one():
    for sign in ";", ",", "/":
        document, labels = labelled(f"To a.ray@example.com{sign}b.roy@sample.org!", ("a.ray", EMAIL))
        for source in labels, ["O"] * len(labels):
            assert redact_document(document, source, settings_of("type")).text == f"To [EMAIL]{sign}[EMAIL]!"


def test_patterns_are_a_floor_and_say_so():
    document, labels = labelled("Write to ken dot ito at example dot com or @ken_ito, Ngozi", ("Ngozi", NAME))
    done = redact_document(document, labels, settings_of("type"))
    assert done.text == "Write to [EMAIL] or [USERNAME], [NAME_STUDENT]"
    assert [change.source for change in done.changes] == ["pattern", "pattern", "label"]
    allowed = redact_document(document, labels, settings_of("type", allow="@ken_ito"))
    assert allowed.text == "Write to [EMAIL] or @ken_ito, [NAME_STUDENT]"
    assert redact_document(document, labels, settings_of("type", patterns=False)).text.endswith("[NAME_STUDENT]")


def test_a_mask_keeps_lengths_and_the_label_of_each_place():
    document = essay("By ", ("Ana Maria Silva", NAME), ", ", ("12 High St\nLeeds", ADDRESS), ".")
    done = redact(document, "mask").document
    assert done.full_text == "By ███ █████ █████, ██ ████ ██\n█████."
    starts = [token_edges(one)[first] for one in (document, done) for first, _, _ in spans_of(one.labels)]
    assert starts[:2] == starts[2:]


def test_the_documents_own_labels_stay_where_other_labels_are_redacted():
    document = essay("Ana met ", ("Bo Li", NAME), ".")
    done = redact_document(document, [f"B-{NAME}", "O", "O", "O", "O"], settings_of("type")).document
    assert done.full_text == "[NAME_STUDENT] met Bo Li."
    assert [done.tokens[first:end] for first, end, _ in spans_of(done.labels)] == [("Bo", "Li")]


def test_a_hash_is_that_of_the_identity_under_the_key():
    document = essay(("Ana Silva", NAME), " and ", ("ANA SILVA", NAME))
    found = re.findall(r"\[NAME_STUDENT:([0-9a-f]{12})\]", text_of(document, "hash"))
    assert len(found) == 2 and found[0] == found[1]
    assert found[0] not in text_of(document, "hash", key=b"another key of a test")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mode": "hash"}, "needs a key"),
        ({"mode": "hash", "key": b"0123456789abcde"}, "at least 16"),
        ({"mode": "surrogate", "key": b" " * 40}, "at least 16"),
        ({"mode": "hash", "key": "a long key, but no bytes"}, "at least 16"),
        ({"mode": "x"}, "expected one of mask"),
        ({"mode": "type", "allow": [3]}, "expected strings"),
        ({"mode": "type", "deny": [("Ana", "NAME")]}, "deny: also with a PII type"),
        ({"mode": "type", "deny": "--"}, "with a letter or digit"),
        ({"mode": "type", "allow": "Ana", "deny": "ÁNA"}, "both allowed and denied"),
    ],
)
def test_settings_that_cannot_be_used_are_errors(given, message):
    with pytest.raises(KitError, match=message):
        Redaction(**given)


def test_without_a_seed_surrogates_cannot_be_drawn_again():
    document = essay(("Rodrigo Silveira", NAME), " wrote")
    seeds = {Redaction(mode="surrogate").drawn_seed for _ in range(5)}
    assert len(seeds) == 5 and "drawn" not in repr(Redaction(mode="surrogate"))
    assert text_of(document, "surrogate", seed=3) == text_of(document, "surrogate", seed=3)
    chosen = Redaction(mode="surrogate")
    assert redact_document(document, document.labels, chosen) == redact_document(document, document.labels, chosen)


@pytest.mark.parametrize("name", ["Linh Vo", "Bao Xu", "Mei-Ling Oei"])
def test_a_short_surname_stays_in_no_address(name):
    handle = name.lower().replace(" ", ".")
    text = f"I am {name}, {handle}@mail.com or {handle.replace('.', '_')}7@example.org."
    emails = text.split()[-3].strip(","), text.split()[-1].strip(".")
    new = redacted(text, (name, NAME), (emails[0], EMAIL), (emails[1], EMAIL), mode="surrogate", seed=3)
    parts = {part for word in new.split() if "@" in word for part in re.split(r"[\W_\d]+", word.partition("@")[0])}
    assert new.count("@") == 2 and not parts & set(re.split(r"\W", name.lower()))


@pytest.mark.parametrize("name", NAMES)
def test_further_mentions_of_a_name_are_replaced_in_any_form(name):
    last = name.split()[-1]
    text = f"My name is {name}. They asked Ms {last}, and {name.upper()}; not {last[:1]}. Again {name.lower()}."
    text = text if len(last) > 2 else f"My name is {name}. They asked Ms {last}, and {name.upper()}."
    new = redacted(text, (name, NAME))
    assert new == re.sub(f"{name}|{last}", "[NAME_STUDENT]", text, flags=re.IGNORECASE)


@pytest.mark.parametrize(
    ("found", "text", "expected"),
    [
        ("Bo", "Bo met Bo, bo, BO, Bob", "[N] met [N], bo, BO, Bob"),
        ("X", "X met X.", "[N] met X."),
        ("Will Rose", "By Will Rose. I will. Will you? They saw Will. A rose for Rose, WILL.",
         "By [N]. I will. Will you? They saw [N]. A rose for [N], [N]."),
        ("Leonard Whitfield III", "Leonard Whitfield III on World War III, iii. Whitfield",
         "[N] on World War III, iii. [N]"),
        ("Sushila Nair MD", "Sushila Nair MD, Dr Nair, MD", "[N], Dr [N], MD"),
        ("MARIA DE LA CRUZ", "MARIA DE LA CRUZ is Maria de la Cruz, de la Cruz, la", "[N] is [N], de la [N], la"),
        ("Ana Silva", "Ana Silva. SILVA, A. Silva, A.Silva, Ana\nSilva, anasilva, Analysis.",
         "[N]. [N], [N], [N], [N], anasilva, Analysis."),
        ("José Núñez",
         "José Núñez, Jose\u0301 Nu\u0301n\u0303ez, JOSE NUNEZ, Jos&eacute; N&#250;&ntilde;ez, Nú\u00adñez",
         "[N], [N], [N], [N], [N]"),
        ("Łukasz Groß", "Łukasz Groß; LUKASZ GROSS, lukasz", "[N]; [N], [N]"),
        ("Jürgen Øster", "Jürgen Øster: JUERGEN, Jurgen, OSTER, Oester", "[N]: [N], [N], [N], [N]"),
        ("Fionn O'Dowd", "Fionn O'Dowd, O’Dowd, OʼDowd, Fi\u200bonn, Fionn\u00a0O`Dowd", "[N], [N], [N], [N], [N]"),
        ("Mei-Ling Oei", "Mei-Ling Oei, Mei\u2011Ling, Ling", "[N], [N]\u2011[N], [N]"),
        ("李明", "李明 说:我是李明。", "[N] 说:我是[N]。"),
    ],
)  # fmt: skip
def test_mentions_by_hand(found, text, expected):
    assert shortened(redacted(text, (found, NAME))) == expected


def test_mentions_say_so_and_can_be_turned_off():
    document, labels = labelled("By Ana Silva. SILVA and ana", ("Ana Silva", NAME))
    done = redact_document(document, labels, settings_of("type"))
    assert [change.source for change in done.changes] == ["label", "mention", "mention"]
    assert redact_document(document, labels, settings_of("type", mentions=False)).text.endswith("SILVA and ana")


@pytest.mark.parametrize(
    ("kind", "strings"),
    [(PHONE, ["+14155550134", "(415) 555-0134", "415.555.0134"]), (USERNAME, ["@ingrid_o", "ingrid_o", "@Ingrid_O"])],
)
@pytest.mark.parametrize("mode", ["hash", "surrogate"])
def test_spellings_of_a_number_or_user_name_are_one(kind, strings, mode):
    text = "mine: " + " and ".join(strings)
    new = redacted(text, (strings[0], kind), mode=mode).removeprefix("mine: ").split(" and ")
    if mode == "hash":
        assert len(set(new)) == 1 and new[0].startswith(f"[{kind}:")
    else:
        plain = {re.sub(r"\W", "", one).lower().removeprefix("1") for one in new}
        assert len(plain) == 1 and not plain & {"4155550134", "ingrid_o"}
        assert [re.sub(r"\w", "x", one)[0] for one in new] == [re.sub(r"\w", "x", one)[0] for one in strings]


def test_allowed_strings_stay_and_denied_strings_go():
    text = "By Ana Silva and Coursera at ACME. Silva"
    found = ("Ana Silva", NAME), ("Coursera", NAME)
    document, labels = labelled(text, *found)
    done = redact_document(
        document, labels, settings_of("type", allow=["coursera", "Silva"], deny=[("acme", USERNAME)])
    )
    assert done.text == "By [NAME_STUDENT] Silva and Coursera at [USERNAME]. Silva"
    assert {reason for *_, reason in done.kept} == {"allowed"}
    assert redacted(
        "By Ana Silva, and Ana Gomez. Ana Silva", ("Ana", NAME), ("Ana Gomez", NAME), allow="Ana Silva"
    ) == ("By Ana Silva, and [NAME_STUDENT]. Ana Silva")
    assert redacted("Write to Silva Gomez today", deny="Silva Gomez") == "Write to [NAME_STUDENT] today"


@pytest.mark.parametrize("mode", MODES)
def test_redacting_twice_leaves_the_placeholders_alone(mode):
    text = f"{redacted('Ana Silva, a@b.de', ('Ana Silva', NAME), mode='hash')} [EMAIL], ███ ██ [NAME_STUDENT]."
    document = document_of_text(text)
    assert redact_document(document, [f"B-{NAME}"] * len(document.tokens), settings_of(mode)).text == text


def test_adjacent_spans_stay_apart():
    document = replace(essay("x"), tokens=("Ana", "Bo"), trailing_whitespace=(False, False), full_text="AnaBo")
    labels = [f"B-{NAME}", f"B-{USERNAME}"]
    assert redact_document(document, labels, settings_of("type")).text == "[NAME_STUDENT][USERNAME]"


def test_a_text_is_redacted_in_python():
    tagger, text = Tagger.load(), "My name is Ana Silva. My phone number is 555-204-7781."
    assert (
        redact_text(text, tagger, Redaction(mode="type"))
        == "My name is [NAME_STUDENT]. My phone number is [PHONE_NUM]."
    )
    with pytest.raises(KitError, match="expected text, found null"):
        redact_text(None, tagger, Redaction(mode="type"))


def test_the_authors_of_two_texts_get_different_surrogates_and_equal_texts_equal_ones():
    tagger, chosen = Tagger.load(), Redaction(mode="surrogate", seed=1)
    texts = ["My name is Ana Silva.", "My name is Marco Rossi.", "My name is Ana Silva."]
    first, other, again = (redact_text(text, tagger, chosen) for text in texts)
    assert first == again and first != other
    assert not {"Ana", "Silva", "Marco", "Rossi"} & {*(first + other).replace(".", " ").split()}


@pytest.mark.parametrize("name", NAMES)
def test_the_default_tagger_and_redaction_leave_no_part_of_a_name(name):
    """Lower-case names in cased text, and names glued to marks: rules for the score remove none that is sure."""
    for text in (f"Hello everyone, my name is {name.lower()} and I work in Chennai.", f"•{name}\nDesign Thinking"):
        new = redact_text(text, Tagger.load(), Redaction(mode="type"))
        assert not {*fold(name).split()} & {*re.findall(r"[\w']+", fold(new))}, new


@pytest.mark.parametrize(
    "glued", ["1.{}", "{}|Class 4", r"\title{{Launch}}\author{{{}}}\begin{{document}}", "{}(group 2)"]
)
def test_marks_that_glue_a_name_to_other_text_hide_it_from_no_tagger(glued):
    text = f"Reflection\n{glued.format('Tomasz Kowalski')}\nWe met in the library and made a map."
    new = redact_text(text, Tagger.load(), settings_of("type"))
    assert "Tomasz" not in new and "Kowalski" not in new and new.endswith("We met in the library and made a map.")
