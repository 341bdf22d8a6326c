import json
import time

import pytest
import spacy
from conftest import make_document

from pii_kit.documents import (
    DataWarning,
    cut,
    document_of_spans,
    document_of_text,
    join,
    join_tokens,
    read_documents,
    tokenize,
    write_documents,
)
from pii_kit.files import KitError
from pii_kit.sample import make_documents

ENTRY = {
    "document": 7,
    "full_text": "Hi Ann\n",
    "tokens": ["Hi", "Ann", "\n"],
    "trailing_whitespace": [True, False, False],
    "labels": ["O", "B-NAME_STUDENT", "O"],
}


def written(tmp_path, entries) -> str:
    path = tmp_path / "essays.json"
    content = entries if isinstance(entries, str | bytes) else json.dumps(entries)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_what_is_written_is_read_back(tmp_path, documents):
    unlabelled = make_document("No labels here \N{GRINNING FACE}\u200b \n\n é", number=10**6)
    write_documents(tmp_path / "essays.json", [*documents, unlabelled])
    assert read_documents(tmp_path / "essays.json") == [*documents, unlabelled]


@pytest.mark.parametrize(
    "text", ["\ud83d alone", "caf\u00e9 \U0001f600", "\ufeff"], ids=["half of a pair", "characters", "byte order mark"]
)
@pytest.mark.parametrize("is_ascii", [True, False])
def test_texts_of_any_characters_are_read(tmp_path, text, is_ascii):
    tokens, spaces = tokenize(text)
    entry = {"document": 1, "full_text": text, "tokens": tokens, "trailing_whitespace": spaces}
    path = tmp_path / "essays.json"
    path.write_text("\ufeff" + json.dumps([entry], ensure_ascii=is_ascii or "\ud83d" in text))
    (document,) = read_documents(path)
    assert (document.full_text, document.tokens) == (text, tokens)


@pytest.mark.parametrize(
    ("change", "needle"),
    [
        ({"document": "7"}, "document 7: document: expected a valid integer, found a string"),
        ({"document": True}, "document True: document: expected a valid integer, found true or false"),
        ({"document": 7.0}, "document: expected a valid integer, found 7.0"),
        ({"document": 2**63}, "document: expected less than 9223372036854775808, found 9"),
        ({"document": "\x1b[31m" * 30}, "document ?[31m?[31m"),
        ({"full_text": None}, "document 7: full_text: expected a valid string, found null"),
        ({"tokens": "Hi Ann"}, "document 7: tokens: expected a valid tuple, found a string"),
        ({"tokens": ["Hi", 3, "\n"]}, "document 7: tokens.1: expected a valid string, found 3"),
        ({"tokens": ["Hi", "Ann"]}, "document 7: trailing_whitespace: 3 values for 2 tokens"),
        ({"trailing_whitespace": [True, False]}, "document 7: trailing_whitespace: 2 values for 3 tokens"),
        ({"trailing_whitespace": [True, 0, False]}, "trailing_whitespace.1: expected a valid boolean, found 0"),
        ({"labels": ["O", "B-NAME_STUDENT"]}, "document 7: labels: 2 values for 3 tokens"),
        ({"labels": ["O", "B-NAME" * 90, "O"]}, "document 7: labels: unknown label 'B-NAMEB"),
    ],
)
def test_a_wrong_field_is_named_with_file_and_document(tmp_path, change, needle):
    path = written(tmp_path, [ENTRY | change])
    with pytest.raises(KitError) as error:
        read_documents(path)
    assert str(path) in str(error.value)
    assert needle in str(error.value)
    assert str(error.value).isprintable() and len(str(error.value)) < 400 + len(str(path))


def test_labels_may_be_missing_unless_training_needs_them(tmp_path):
    path = written(tmp_path, [{key: value for key, value in ENTRY.items() if key != "labels"}])
    assert read_documents(path)[0].labels is None
    with pytest.raises(KitError, match=r"document 7: labels missing \(training and scoring need them\)"):
        read_documents(path, labels_required=True)


@pytest.mark.parametrize(
    ("content", "needle"),
    [
        ("[{", "not JSON"),
        ("", "not JSON"),
        ('{"document": 1}', "expected a list of documents, found an object"),
        ("[3]", "entry 0: expected an object, found 3"),
        ("[" * 10**5, "not JSON"),
        ('[{"document": ' + "1" * 5000 + "}]", "not JSON in UTF-8: Exceeds the limit"),
        ('["\xff"]'.encode("latin-1"), "not JSON in UTF-8"),
        ('[{"document": 1, "tokens": []}]', "document 1: full_text: Field required"),
    ],
)
def test_a_file_that_holds_no_list_of_documents_is_refused(tmp_path, content, needle):
    with pytest.raises(KitError, match=needle):
        read_documents(written(tmp_path, content))


def test_a_document_number_used_twice_is_refused(tmp_path):
    path = written(tmp_path, [ENTRY, ENTRY | {"document": 8}, ENTRY])
    with pytest.raises(KitError, match="document 7: the number is used twice"):
        read_documents(path)


def test_the_error_for_a_missing_file_names_the_folder(tmp_path):
    with pytest.raises(KitError, match=f"no such file; looked in {tmp_path}"):
        read_documents(tmp_path / "train.json")
    with pytest.raises(KitError, match="a folder, not a JSON file"):
        read_documents(tmp_path)


def test_a_text_that_differs_from_its_tokens_is_a_warning_with_the_count(tmp_path):
    path = written(tmp_path, [ENTRY, ENTRY | {"document": 8, "full_text": "Hi  Ann"}])
    with pytest.warns(DataWarning, match="1 of 2 documents"):
        assert len(read_documents(path)) == 2
    with pytest.warns(DataWarning, match="holds no documents"):
        assert read_documents(written(tmp_path, [])) == []


def test_texts_are_tokenized_as_by_spacys_blank_english():
    spacys = spacy.blank("en")
    made_up = "".join(document.full_text for document in make_documents(20, seed=3))
    for text in (made_up, "", " ", "Don't e-mail a.b@c.com!  \n\nhttps://x.org/a?b=c, (555) 123-4567; it's 5km…😀 :)"):
        tokens = spacys(text)
        assert tokenize(text) == (tuple(map(str, tokens)), tuple(bool(token.whitespace_) for token in tokens))


@pytest.mark.parametrize("sign", ["_", "(", "$", "#", "'", ".", "😀", "a", "-", "''", ":("])
def test_long_texts_without_whitespace_are_tokenized_in_a_time_that_grows_with_their_length(sign):
    seconds = []
    for length in (4_000, 40_000):
        text = "By " + sign * (length // len(sign)) + " Ana"
        began = time.process_time()
        tokens, spaces = tokenize(text)
        seconds.append(time.process_time() - began)
        assert join_tokens(tokens, spaces) == text and (tokens[0], tokens[-1]) == ("By", "Ana")
    assert seconds[1] < 2 + 15 * seconds[0]


@pytest.mark.parametrize("n", [3, 39, 40, 41, 300])
@pytest.mark.parametrize("sign", ["_", "(", ".", "…", "'", "$", "😀", "5km", "A.", "-"])
def test_runs_of_a_sign_have_spacys_tokens(sign, n):
    text = f"a{sign * n} {sign * n}b c{sign * n}d ({sign * n})"
    assert tokenize(text)[0] == tuple(map(str, spacy.blank("en")(text)))


def test_equal_tokens_share_one_string(tmp_path):
    path = written(tmp_path, [ENTRY | {"document": number} for number in range(3)])
    first, second, third = read_documents(path)
    assert first.tokens[1] is second.tokens[1] is third.tokens[1]


def test_pii_that_ends_inside_a_token_is_an_error():
    with pytest.raises(ValueError, match="Ann Lee"):
        document_of_spans(0, [("Ann Lee", "NAME_STUDENT"), ("_essay.docx", None)])
    with pytest.raises(ValueError, match="document 12: NAME_STUDENT 'Ann  Lee'"):
        document_of_spans(12, [("Ann  Lee", "NAME_STUDENT")])


def test_a_document_cut_at_any_token_is_joined_again(documents):
    empty = document_of_text("")
    for doc in (*documents[:6], make_document("I am Ann Lee", number=3), empty):
        for middle in (0, 1, len(doc.tokens) // 2, len(doc.tokens)):
            parts = [cut(doc, 0, middle), cut(doc, middle, len(doc.tokens))]
            assert join(doc.number, parts) == doc
            assert all(join_tokens(part.tokens, part.trailing_whitespace) == part.full_text for part in parts)


@pytest.mark.parametrize(
    ("spans", "tokens", "labels"),
    [
        (
            [("At ", None), ("1 Hill\nYork", "STREET_ADDRESS"), ("\n", None)],
            ("At", "1", "Hill", "\n", "York", "\n"),
            ("O", "B-STREET_ADDRESS", *["I-STREET_ADDRESS"] * 3, "O"),
        ),
        (
            [("Ann Lee", "NAME_STUDENT"), (" ", None), ("Bo", "NAME_STUDENT")],
            ("Ann", "Lee", "Bo"),
            ("B-NAME_STUDENT", "I-NAME_STUDENT", "B-NAME_STUDENT"),
        ),
        ([], (), ()),
        ([("", None)], (), ()),
    ],
)
def test_spans_give_a_document_its_text_tokens_and_labels(spans, tokens, labels):
    document = document_of_spans(7, spans)
    assert (document.number, document.tokens, document.labels) == (7, tokens, labels)
    assert document.full_text == "".join(text for text, _ in spans)
