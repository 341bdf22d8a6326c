import pytest
from conftest import make_document

from pii_kit.rules_format import (
    course_links_are_not_personal,
    emails_have_at,
    id_length,
    is_institutional,
    long_digits_are_ids,
    urls_look_like_urls,
)
from pii_kit.rules_spans import label_span


def types_after(rule, text: str, pii_type: str) -> str:
    """What a rule makes of a text that is one entity of a type: the type, or O."""
    document = make_document(text)
    labels = ["O"] * len(document.tokens)
    label_span(labels, 0, len(labels), pii_type)
    result = rule(document, labels, None)
    kinds = {label[2:] or label for label in result}
    assert len(kinds) == 1
    return kinds.pop()


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("987654321", "PHONE_NUM", "ID_NUM"),
        ("98765432", "PHONE_NUM", "PHONE_NUM"),
        ("+91 98765 43210", "PHONE_NUM", "PHONE_NUM"),
        ("123-45-6789", "PHONE_NUM", "ID_NUM"),
        ("123-45-6789", "ID_NUM", "ID_NUM"),
        ("555-123-4567", "ID_NUM", "PHONE_NUM"),
        ("555-123-4567", "USERNAME", "USERNAME"),
        ("987654321012", "ID_NUM", "ID_NUM"),
    ],
)
def test_a_number_gets_the_type_of_its_form(text, before, after):
    assert types_after(long_digits_are_ids, text, before) == after


def test_a_number_of_several_tokens_stays_one_entity():
    document = make_document("123-45-6789")
    labels = ["B-PHONE_NUM", *["I-PHONE_NUM"] * 4]
    assert long_digits_are_ids(document, labels, None) == ["B-ID_NUM", *["I-ID_NUM"] * 4]


@pytest.mark.parametrize(
    ("rule", "pii_type", "kept", "dropped"),
    [
        (emails_have_at, "EMAIL", "anna@lund.org", "anna.lund.org"),
        (emails_have_at, "EMAIL", "anna @ lund.org", "anna"),
        (id_length, "ID_NUM", "1234", "123"),
        (id_length, "ID_NUM", "A" + "1" * 24, "A" + "1" * 25),
        (id_length, "ID_NUM", "ABC-1", "ABCDEF"),
        (urls_look_like_urls, "URL_PERSONAL", "lund.org/a", "lund.org/"),
        (urls_look_like_urls, "URL_PERSONAL", "http://www.lund.org/blog", "anna_berg_lund"),
        (course_links_are_not_personal, "URL_PERSONAL", "http://www.lund.org/", "https://www.coursera.org/learn/x"),
        (course_links_are_not_personal, "URL_PERSONAL", "http://lund.com/edu/", "http://design.lund.edu/plan"),
        (course_links_are_not_personal, "URL_PERSONAL", "http://edu-lund.com/", "https://en.wikipedia.org/wiki/Plan"),
        (course_links_are_not_personal, "URL_PERSONAL", "https://youtu.be/abc", "www.lund.gov"),
        (course_links_are_not_personal, "URL_PERSONAL", "http://lac.uk.com/", "http://lund.ac.uk/x"),
    ],
)
def test_what_cannot_be_of_its_type_is_dropped(rule, pii_type, kept, dropped):
    assert types_after(rule, kept, pii_type) == pii_type
    assert types_after(rule, dropped, pii_type) == "O"
    assert types_after(rule, dropped, "USERNAME") == "USERNAME"


def test_a_dropped_neighbour_leaves_the_others():
    document = make_document("Anna 12 anna@lund.org")
    labels = ["B-NAME_STUDENT", "B-ID_NUM", "B-EMAIL"]
    assert id_length(document, labels, None) == ["B-NAME_STUDENT", "O", "B-EMAIL"]


@pytest.mark.parametrize("address", ["(https://www.coursera.org/x)", "coursera.org", "HTTPS://EN.WIKIPEDIA.ORG/wiki"])
def test_an_institution_is_known_however_its_link_is_written(address):
    assert is_institutional(address)
    assert not is_institutional(f"http://lund.com/?to={address}")
