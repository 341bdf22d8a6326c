import numpy as np
import pytest
from conftest import make_document

from pii_kit.decide import decide, repair_bio
from pii_kit.documents import Document, join_tokens
from pii_kit.files import KitError
from pii_kit.labels import LABEL_TO_ID, LABELS, OUTSIDE_ID, PII_TYPES, spans_of
from pii_kit.report.baselines import label_with_patterns
from pii_kit.rules import (
    DEFAULT_RULES,
    HEAD_TOKENS,
    RULES,
    SURE,
    add_author_lines,
    add_emails,
    add_phone_numbers,
    apply_rules,
    course_links_are_not_personal,
    emails_have_at,
    id_length,
    is_institutional,
    label_document,
    label_span,
    names_are_title_case,
    propagate_lone_names,
    whitespace_is_outside,
)

TEXT = """By: Anna Berg-Lund

A plan of Dr. Anna Berg   and Maria da Silva.\tWrite to anna@lund.org or call +91 98765 43210, 555-123-4567.
12 Elm Street,
Lundville
ID 123-45-6789, see http://www.berg-lund.com/app/tagsabout.php or https://www.coursera.org/learn/x
Then Anna and J. Berg met Maria da Silva and Anna\x20\x20
Lund. So Ulla told Ulla that Ulla , Ulla and Ulla know Ulla , and Ulla knows Ulla .

Submitted by Maria Silva"""
BLANK = np.zeros((0, len(LABELS)), dtype=np.float32)
NAME = ["B-NAME_STUDENT", "I-NAME_STUDENT"]
ADDRESS = ["B-STREET_ADDRESS", "I-STREET_ADDRESS"]


def random_labels(seed: int, document: Document) -> tuple[list[str], np.ndarray]:
    """Return random probabilities, and labels: decided from them, or random for each token or each likely span."""
    n_tokens = len(document.tokens)
    rng = np.random.default_rng(seed)
    alpha = np.full(len(LABELS), 0.15)
    alpha[0], alpha[1:3] = 1.0, 0.4
    scores = rng.dirichlet(alpha, size=n_tokens).astype(np.float32)
    if seed % 3 == 0:
        return decide(scores, o_threshold=0.7), scores
    if seed % 3 == 1:
        labels = ["O"] * n_tokens
        for first, end, pii_type in spans_of(label_with_patterns(document)):
            if rng.random() < 0.6:
                label_span(labels, first, end, pii_type if rng.random() < 0.6 else rng.choice(PII_TYPES))
        return labels, scores
    weights = np.array([8, 6, 6] + [1] * (len(LABELS) - 3))
    return repair_bio([LABELS[i] for i in rng.choice(len(LABELS), size=n_tokens, p=weights / weights.sum())]), scores


@pytest.mark.parametrize("name", RULES)
def test_a_rule_returns_valid_labels_changes_no_argument_and_nothing_when_applied_again(name):
    document, n_changed = make_document(TEXT), 0
    for seed in range(45):
        labels, scores = random_labels(seed, document)
        labels_before, scores_before = list(labels), scores.copy()
        result = RULES[name](document, labels, scores)
        assert labels == labels_before
        assert np.array_equal(scores, scores_before)
        assert result is not labels
        assert len(result) == len(labels) and set(result) <= set(LABELS)
        assert repair_bio(result) == result
        assert RULES[name](document, result, scores) == result
        n_changed += result != labels
    assert n_changed


@pytest.mark.parametrize(
    "text", ["Hope is a plan. We met in May 2019 and drew 12-3 lines; see figure 4.", " \n\n ", "By", ""]
)
def test_a_document_without_pii_gets_no_labels(text):
    document = make_document(text)
    labels = ["O"] * len(document.tokens)
    scores = np.eye(len(LABELS), dtype=np.float32)[[0] * len(labels)]
    assert apply_rules(document, labels, scores, list(RULES)) == labels


def test_a_document_is_labelled_by_threshold_and_then_by_rules():
    document = make_document("Anna wrote to anna@lund.org .")
    scores = np.zeros((5, len(LABELS)), dtype=np.float32)
    scores[:, OUTSIDE_ID] = 1
    scores[0, [OUTSIDE_ID, LABEL_TO_ID[NAME[0]]]] = 0.5, 0.5
    scores[1, [OUTSIDE_ID, LABEL_TO_ID[NAME[1]]]] = 0.5, 0.5
    assert label_document(document, scores, o_threshold=0.9, rules=()) == [*NAME, "O", "O", "O"]
    assert label_document(document, scores, o_threshold=0.9) == [NAME[0], "O", "O", "B-EMAIL", "O"]
    assert label_document(document, scores, o_threshold=0.1) == ["O", "O", "O", "B-EMAIL", "O"]


def test_an_unknown_rule_is_an_error_that_lists_the_rules():
    with pytest.raises(KitError, match=r"unknown rule 'emails_have_ad'; expected some of .*emails_have_at"):
        apply_rules(make_document(""), [], BLANK, ["emails_have_at", "emails_have_ad"])


@pytest.mark.parametrize(
    ("tokens", "before", "outside", "expected"),
    [
        (["•Anna", "Berg"], NAME, [0.01, 0.5], NAME),
        (["•Anna", "Berg"], NAME, [0.03, 0.5], ["O", NAME[0]]),
        (["Anna", "2", "Berg"], [*NAME, NAME[1]], [0.5, 0.001, 0.5], [*NAME, NAME[1]]),
        (["Anna", "\n", "Berg"], [*NAME, NAME[1]], [0.01] * 3, [NAME[0], "O", NAME[0]]),
        (["anna＠lund.org"], ["B-EMAIL"], [0.01], ["B-EMAIL"]),
        (["123"], ["B-ID_NUM"], [0.01], ["B-ID_NUM"]),
    ],
)
def test_no_rule_removes_what_is_sure_if_that_is_to_be_kept(tokens, before, outside, expected):
    scores = np.zeros((len(tokens), len(LABELS)), dtype=np.float32)
    scores[:, OUTSIDE_ID] = outside
    document = document_of(*tokens)
    assert apply_rules(document, before, scores, DEFAULT_RULES, keep_sure=True) == expected
    assert "O" in apply_rules(document, before, scores, DEFAULT_RULES)


def document_of(*tokens: str) -> Document:
    spaces = (False,) * len(tokens)
    return Document(number=1, full_text="".join(tokens), tokens=tokens, trailing_whitespace=spaces)


@pytest.mark.parametrize("gap", ["\n", "\n\n", "  ", "\xa0"])
def test_whitespace_in_a_name_is_outside_and_a_new_name_starts_after_it(gap):
    document = document_of("Anna", gap, "Berg")
    assert whitespace_is_outside(document, [*NAME, NAME[1]], None) == ["B-NAME_STUDENT", "O", "B-NAME_STUDENT"]


def test_whitespace_inside_an_address_keeps_its_label_and_around_it_loses_it():
    document = document_of("\n", "Elm", "\n", "Lundville", "\n", "Anna")
    labels = [ADDRESS[0], *[ADDRESS[1]] * 4, "B-NAME_STUDENT"]
    expected = ["O", ADDRESS[0], ADDRESS[1], ADDRESS[1], "O", "B-NAME_STUDENT"]
    assert whitespace_is_outside(document, labels, None) == expected
    assert whitespace_is_outside(document_of("\n", " "), ADDRESS, None) == ["O", "O"]


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("Anna Berg", "BI"),
        ("ANNA O'HARA", "BI"),
        ("Anna Berg-Lund", "BIII"),
        ("Maria de la Cruz", "BIII"),
        ("Ayşe Öztürk", "BI"),
        ("Dr. Anna Berg", "OBI"),
        ("Mrs Professor", "OO"),
        ("Anna berg", "BO"),
        ("anna berg", "BI"),  # a document without capital letters
        ("dr anna de berg2", "OBOO"),
        ("Anna_B Berg2", "OO"),
        ("Anna met Berg", "BOB"),
        ("da Silva", "OB"),
        ("Anna, Berg", "BOB"),
    ],
)
def test_only_name_words_and_what_joins_them_are_names(text, result):
    document = make_document(text)
    labels = ["O"] * len(result)
    label_span(labels, 0, len(result), "NAME_STUDENT")
    found = names_are_title_case(document, labels, BLANK)
    assert "".join({"O": "O", "B-NAME_STUDENT": "B", "I-NAME_STUDENT": "I"}[label] for label in found) == result


def types_after(rule, text: str, pii_type: str) -> str:
    """Return what a rule makes of a text that is one entity of a type: the type, or O."""
    document = make_document(text)
    labels = ["O"] * len(document.tokens)
    label_span(labels, 0, len(labels), pii_type)
    result = rule(document, labels, None)
    kinds = {label[2:] or label for label in result}
    assert len(kinds) == 1
    return kinds.pop()


@pytest.mark.parametrize(
    ("rule", "pii_type", "kept", "dropped"),
    [
        (emails_have_at, "EMAIL", "anna@lund.org", "anna.lund.org"),
        (emails_have_at, "EMAIL", "anna @ lund.org", "anna"),
        (id_length, "ID_NUM", "1234", "123"),
        (id_length, "ID_NUM", "A" + "1" * 24, "A" + "1" * 25),
        (id_length, "ID_NUM", "ABC-1", "ABCDEF"),
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


@pytest.mark.parametrize("address", ["(https://www.coursera.org/x)", "coursera.org", "HTTPS://EN.WIKIPEDIA.ORG/wiki"])
def test_an_institution_is_recognized_in_any_spelling_of_its_link(address):
    assert is_institutional(address)
    assert not is_institutional(f"http://lund.com/?to={address}")


def spread(text: str, found: dict[int, float]) -> list[int]:
    """Return the name tokens after the rule, given those before it with their P(O)."""
    document = make_document(text)
    labels = ["B-NAME_STUDENT" if i in found else "O" for i in range(len(document.tokens))]
    scores = np.zeros((len(labels), 15), dtype=np.float32)
    scores[:, 0] = 1
    for token, outside in found.items():
        scores[token, [0, LABEL_TO_ID["B-NAME_STUDENT"]]] = outside, 1 - outside
    return [i for i, label in enumerate(propagate_lone_names(document, labels, scores)) if label != "O"]


def test_a_sure_name_of_one_token_is_copied_to_its_other_mentions():
    assert spread("I am Anna and they asked Anna twice", {2: SURE - 0.001}) == [2, 6]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("I am Anna and they asked Anna twice", {2: SURE + 0.001}),
        ("I am Hope and I hope that Hope wins", {2: 0.001}),
        ("I am Jo and they asked Jo twice", {2: 0.001}),
        ("I am ANNA and they asked ANNA twice", {2: 0.001}),
        ("I am Anna and they asked anna twice", {2: 0.001}),
    ],
)
def test_other_names_are_not_copied(text, found):
    assert spread(text, found) == list(found)


def found(rule, text: str) -> list[str]:
    """Return the texts that a rule labels in an unlabelled document; all must be of one type."""
    document = make_document(text)
    spans = spans_of(rule(document, ["O"] * len(document.tokens), None))
    assert len({pii_type for *_, pii_type in spans}) <= 1
    spaces = document.trailing_whitespace
    return [join_tokens(document.tokens[first:end], spaces[first:end]).strip() for first, end, _ in spans]


def test_every_email_is_added():
    assert found(add_emails, "Write to anna@lund.org, or anna.b+x@mail.co.uk.") == [
        "anna@lund.org",
        "anna.b+x@mail.co.uk",
    ]
    assert found(add_emails, "Be there @ 5 with @anna and http://lund.org/@anna") == []
    assert add_emails(make_document("anna@lund.org"), ["B-USERNAME"], BLANK) == ["B-USERNAME"]


def test_every_phone_number_of_north_american_form_is_added():
    text = "Call 555-204-7781, (555) 204-7781 or +1 555.204.7781; room 555-204, order 1555-204-77812, 12.555-204-7781."
    assert found(add_phone_numbers, text) == ["555-204-7781", "(555) 204-7781", "+1 555.204.7781"]
    assert found(add_phone_numbers, "From 2019-2020 to 2021, 555 204 778 and x555-204-7781") == []


@pytest.mark.parametrize(
    "line",
    [
        "By Anna Berg",
        "BY: ANNA BERG",
        "Student Name :  Anna Berg",
        "Submitted by - Anna Berg",
        "Prepared by:\n\nAnna Berg",
        "Author: Anna Berg   Course: plans",
    ],
)
def test_an_author_line_is_added_at_the_head_and_at_the_end(line):
    body = "We made a plan. " * HEAD_TOKENS
    assert [name.casefold() for name in found(add_author_lines, f"A plan\n\n{line}\n\n{body}")] == ["anna berg"]
    assert [name.casefold() for name in found(add_author_lines, f"{body}\n\n{line}")] == (
        [] if "Course" in line else ["anna berg"]
    )
    assert found(add_author_lines, f"{body}\n\n{line}\n\n{body}") == []


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
        "By: Anna\n\nA plan.",
        "By: Anna Maria Berg Lund Silva\n\nA plan.",
    ],
)
def test_other_lines_name_no_author(text):
    assert found(add_author_lines, text) == []


def test_a_half_labelled_author_is_completed_and_other_types_stay():
    document = make_document("By: Anna Berg")
    whole = ["O", "O", "B-NAME_STUDENT", "I-NAME_STUDENT"]
    assert add_author_lines(document, ["O", "O", "O", "B-NAME_STUDENT"], None) == whole
    other = ["O", "O", "O", "B-USERNAME"]
    assert add_author_lines(document, other, None) == other
