import pytest
from conftest import make_document

from pii_kit.data import spell
from pii_kit.labels import spans_of
from pii_kit.rules_additions import HEAD_TOKENS, add_author_lines, add_emails, add_phones, add_urls


def found(rule, text: str) -> list[str]:
    """What a rule finds in a text without labels; all of it must be of one type."""
    document = make_document(text)
    spans = spans_of(rule(document, ["O"] * len(document.tokens), None))
    assert len({pii_type for *_, pii_type in spans}) <= 1
    spaces = document.trailing_whitespace
    return [spell(document.tokens[first:end], spaces[first:end]).strip() for first, end, _ in spans]


def test_every_email_is_added():
    assert found(add_emails, "Write to anna@lund.org, or anna.b+x@mail.co.uk.") == [
        "anna@lund.org",
        "anna.b+x@mail.co.uk",
    ]
    assert found(add_emails, "Be there @ 5 with @anna and http://lund.org/@anna") == []


@pytest.mark.parametrize("number", ["555-123-4567", "(555) 123-4567", "555.123.4567x99", "+1-555-123-4567"])
def test_a_number_in_the_form_of_a_phone_is_added_anywhere(number):
    assert found(add_phones, f"Our desk has {number} on it.") == [number]


@pytest.mark.parametrize("number", ["98765 43210", "+91 98765 43210", "020 7946 0123", "+919876543210"])
def test_other_phones_are_added_only_after_a_word_for_them(number):
    assert found(add_phones, f"Mobile no.: {number}") == [number]
    assert found(add_phones, f"Our desk has {number} on it.") == []


@pytest.mark.parametrize(
    "text", ["Call 9876543210", "call on 12-03-2019", "phone 2019", "doi 10.1234/555-123-4567", "phone 5.5 to 7.25"]
)
def test_other_numbers_are_no_phones(text):
    assert found(add_phones, text) == []


@pytest.mark.parametrize(
    "link",
    [
        "linkedin.com/in/anna-berg-12",
        "https://www.linkedin.com/in/anna-berg/",
        "https://github.com/annaberg",
        "http://www.berg-lund.com/app/tagsabout.php",
        "http://lund.net/blogfaq.html",
        "https://berg.info/main/tag/about.htm",
        "https://www.berg.biz/wp-content/",
        "http://lund.org/login.jsp",
        "http://lund.org/blog/tags/homepage/",
    ],
)
def test_personal_links_are_added(link):
    assert found(add_urls, f"See ({link}), please.") == [link]


@pytest.mark.parametrize(
    "link",
    [
        "https://www.linkedin.com/company/lund",
        "https://github.com/annaberg/plan/issues",
        "https://github.com/features",
        "https://www.lund.com/",
        "https://www.lund.com/blog/ten-ways-to-plan",
        "https://www.lund.co.uk/app/index.php",
        "https://www.lund.com/app/index.php?id=4",
        "https://www.coursera.org/search/",
        "https://www.youtube.com/watch?v=abc",
    ],
)
def test_other_links_are_not_added(link):
    assert found(add_urls, f"See {link} please.") == []


@pytest.mark.parametrize(
    ("rule", "text", "label"),
    [
        (add_emails, "anna@lund.org", "B-USERNAME"),
        (add_urls, "http://lund.org/login.jsp", "B-EMAIL"),
        (add_phones, "555.123.4567", "B-ID_NUM"),
    ],
)
def test_what_has_a_label_keeps_it(rule, text, label):
    assert rule(make_document(text), [label], None) == [label]


@pytest.mark.parametrize(
    "line",
    [
        "By Anna Berg",
        "by: Anna Berg",
        "BY: ANNA BERG",
        "Name :  Anna Berg",
        "Student Name: Anna Berg",
        "Submitted by - Anna Berg",
        "Prepared by:\n\nAnna Berg",
        "Author: Anna Berg   Course: plans",
    ],
)
def test_a_line_that_names_the_author_is_added_at_the_head_and_at_the_end(line):
    body = "We made a plan. " * HEAD_TOKENS
    assert [name.casefold() for name in found(add_author_lines, f"A plan\n\n{line}\n\n{body}")] == ["anna berg"]
    assert [name.casefold() for name in found(add_author_lines, f"{body}\n\n{line}")] == (
        [] if "Course" in line else ["anna berg"]
    )
    assert found(add_author_lines, f"{body}\n\n{line}\n\n{body}") == []


def test_an_author_has_up_to_four_words():
    assert found(add_author_lines, "By: Anna J. Berg-Lund\n\nA plan.") == ["Anna J. Berg-Lund"]
    assert found(add_author_lines, "By: Anna Maria Berg Lund\n\nA plan.") == ["Anna Maria Berg Lund"]
    assert found(add_author_lines, "By: Anna Maria Berg Lund Silva\n\nA plan.") == []
    assert found(add_author_lines, "By: Anna\n\nA plan.") == []


@pytest.mark.parametrize(
    "text",
    [
        "Instructor: Anna Berg\n\nA plan.",
        "Instructor name: Anna Berg\n\nA plan.",
        "By Professor Anna Berg\n\nA plan.",
        "A plan by Anna Berg\n\nIt is good.",
        "By Anna Berg we had a plan.\n\nIt is good.",
        "By Mind Mapping\n\nIn mind mapping we draw.",
        "Name\n\nAnna Berg\n\nA plan.",
    ],
)
def test_other_lines_name_no_author(text):
    assert found(add_author_lines, text) == []


def test_half_an_author_is_made_whole_and_other_types_stay():
    document = make_document("By: Anna Berg")
    whole = ["O", "O", "B-NAME_STUDENT", "I-NAME_STUDENT"]
    assert add_author_lines(document, ["O", "O", "O", "B-NAME_STUDENT"], None) == whole
    other = ["O", "O", "O", "B-USERNAME"]
    assert add_author_lines(document, other, None) == other
