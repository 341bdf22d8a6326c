import json
import warnings

import pandas as pd
import pytest
from conftest import make_document
from hypothesis import given, settings
from hypothesis import strategies as st

from pii_kit.documents import DataWarning, join_tokens, read_documents
from pii_kit.files import KitError
from pii_kit.labels import LABELS
from pii_kit.predict import predict_documents
from pii_kit.rules import RULES, label_document
from pii_kit.submission import (
    COLUMNS,
    check_submission,
    label_documents,
    read_submission,
    submission_rows,
    true_rows,
    write_submission,
)

DOCUMENTS = [make_document("I am Ann Lee", number=20), make_document("Nothing", number=3)]
GOOD = "row_id,document,token,label\n0,20,2,B-NAME_STUDENT\n1,20,3,I-NAME_STUDENT\n"


def problems(tmp_path, content: str | bytes) -> list[str]:
    path = tmp_path / "submission.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return check_submission(path, DOCUMENTS)


def test_rows_are_sorted_numbered_and_without_o():
    rows = submission_rows([(20, ["O", "B-EMAIL"]), (3, ["B-ID_NUM"])])
    assert rows.values.tolist() == [[0, 3, 0, "B-ID_NUM"], [1, 20, 1, "B-EMAIL"]]
    assert list(rows.columns) == COLUMNS


def test_documents_without_pii_give_a_file_with_only_the_header(tmp_path):
    write_submission(tmp_path / "submission.csv", submission_rows([(1, ["O", "O"]), (2, [])]))
    assert (tmp_path / "submission.csv").read_text() == "row_id,document,token,label\n"
    assert check_submission(tmp_path / "submission.csv", DOCUMENTS) == []
    assert len(read_submission(tmp_path / "submission.csv", DOCUMENTS)) == 0


def test_what_is_written_is_read_back_and_passes_the_check(tmp_path, documents):
    rows = true_rows(documents)
    assert len(rows) > 5
    write_submission(tmp_path / "submission.csv", rows)
    assert check_submission(tmp_path / "submission.csv", documents) == []
    pd.testing.assert_frame_equal(read_submission(tmp_path / "submission.csv", documents), rows)
    assert label_documents(documents, rows) == list(documents)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (GOOD, None),
        (GOOD.replace(",20,2,", ",99,2,"), "document: not in the data (row 0)"),
        (GOOD.replace(",20,3,", ",20,4,"), "token: outside its document (row 1)"),
        (GOOD.replace("I-NAME_STUDENT", "I-NAME"), "label: unknown (row 1)"),
        (GOOD.replace("I-NAME_STUDENT", "O"), "label: O, which is not submitted (row 1)"),
        (GOOD.replace("I-NAME_STUDENT", ""), "label: empty value (row 1)"),
        (GOOD.replace("1,20,3,", "1,,3,"), "document: empty value (row 1)"),
        (GOOD.replace("1,20,3,", "1,20,3.0,"), "token: not a whole number (row 1)"),
        (GOOD.replace("1,20,3,", "2,20,3,"), "row_id: does not count 0, 1, 2, … (row 1)"),
        (GOOD.replace("1,20,3,", "1,20,2,"), "document and token: same as in a row above (row 1)"),
        (GOOD.replace("1,20,3,", "1,20,02,"), "document and token: same as in a row above (row 1)"),
    ],
)
def test_each_fault_and_nothing_else_is_reported_with_its_row(tmp_path, content, problem):
    assert problems(tmp_path, content) == ([] if problem is None else [problem])


@pytest.mark.parametrize(
    "header", ["document,token,label", "row_id,token,document,label", "row_id,document,token,label,x", "a"]
)
def test_wrong_columns_or_a_wrong_order_are_named(tmp_path, header):
    (problem,) = problems(tmp_path, header + "\n")
    assert f"columns are {header}; expected row_id,document,token,label" in problem


def test_text_of_a_file_that_is_no_submission_is_never_printed(tmp_path):
    """A swapped path, such as that of the essays themselves."""
    essays = json.dumps([{"document": 1, "full_text": "My name is Ann Lee, and I live here."}])
    (problem,) = problems(tmp_path, essays)
    assert problem == "columns are 3, and no names; expected row_id,document,token,label, in this order"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("0,20,2,B-EMAIL\n0,20,2,B-EMAIL\n", ["document and token: same", "row_id"]),  # the cause before what follows
        ("0,20,2,B-EMAIL,9\n1,20,3,B-EMAIL,9\n", ["rows hold more values than the 4 columns"]),
        ("0,20\n", ["token: empty value (row 0)", "label: empty value (row 0)"]),
        ("5,20,77,NAME\n", ["token", "label", "row_id"]),
        (
            "".join(f"{n},{n},2,B-EMAIL\n" for n in range(4, 12)),
            ["document: not in the data (rows 0, 1, 2, 3, 4 and 3", "row_id"],
        ),
    ],
)
def test_all_faults_of_a_file_are_named(tmp_path, lines, expected):
    found = problems(tmp_path, f"row_id,document,token,label\n{lines}")
    assert len(found) == len(expected)
    assert all(problem.startswith(start) for problem, start in zip(found, expected, strict=True))


@pytest.mark.parametrize("content", ["", "a,b\n1,2,3,4\n5,6\n1,2,3\n", b"\xff\xfe\x00"])
def test_a_file_that_is_not_a_csv_table_is_an_error_without_traceback(tmp_path, content):
    try:
        found = problems(tmp_path, content)
    except KitError as error:
        assert "not a csv table" in str(error)
    else:
        assert found


def test_what_cannot_be_read_is_one_error(tmp_path):
    with pytest.raises(KitError, match=r"none\.csv: no such file"):
        check_submission(tmp_path / "none.csv", DOCUMENTS)
    (tmp_path / "bad.csv").write_text(GOOD.replace("I-NAME_STUDENT", "O"))
    with pytest.raises(KitError, match=r"1 problem: label: O, which is not submitted \(row 1\)"):
        read_submission(tmp_path / "bad.csv", DOCUMENTS)
    with pytest.raises(KitError, match="document 20: labels missing"):
        true_rows(DOCUMENTS)


EXTREME_NUMBERS = [0, -1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)]
TOKENS = st.one_of(
    st.sampled_from(
        ["Anna", "Berg", "\n", "  ", "", "By", ":", "a@b.org", "A1234567", "https://www.coursera.org", "-"]
    ),
    st.text(st.characters(exclude_categories=()), max_size=4),  # with half surrogate pairs
)
NUMBERS = st.one_of(st.integers(), st.sampled_from([*EXTREME_NUMBERS, 2**63, -(2**63) - 1]))


@st.composite
def entries(draw) -> dict:
    tokens = draw(st.lists(TOKENS, max_size=8))
    spaces = draw(st.lists(st.booleans(), min_size=len(tokens), max_size=len(tokens)))
    entry = {"document": draw(NUMBERS), "full_text": join_tokens(tokens, spaces)}
    entry |= {"tokens": tokens, "trailing_whitespace": spaces}
    if draw(st.booleans()):
        entry["labels"] = draw(st.lists(st.sampled_from(LABELS), min_size=len(tokens), max_size=len(tokens)))
    return entry


@given(data=st.lists(entries(), max_size=4, unique_by=lambda entry: entry["document"]))
@settings(deadline=None, max_examples=60)
def test_the_rows_predicted_for_any_documents_that_can_be_read_pass_the_check(data, tmp_path_factory, sha_rnn_tagger):
    folder = tmp_path_factory.mktemp("property")
    (folder / "test.json").write_text(json.dumps(data))
    too_large = [entry["document"] for entry in data if not -(2**63) <= entry["document"] < 2**63]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        if too_large:
            with pytest.raises(KitError, match=f"document {too_large[0]}: document: expected (less|greater)"):
                read_documents(folder / "test.json")
            return
        documents = read_documents(folder / "test.json")
    labelled = [
        (document.number, label_document(document, scores, o_threshold=0.9, rules=list(RULES)))
        for document, scores in predict_documents([sha_rnn_tagger], documents)
    ]
    rows = submission_rows(labelled)
    write_submission(folder / "submission.csv", rows)
    assert check_submission(folder / "submission.csv", documents) == []
    assert read_submission(folder / "submission.csv", documents).values.tolist() == rows.values.tolist()
    assert [doc.labels for doc in label_documents(documents, rows)] == [tuple(labels) for _, labels in labelled]


def test_a_document_number_that_a_float_rounds_is_not_taken_for_its_neighbour(tmp_path):
    path = tmp_path / "submission.csv"
    path.write_text(f"row_id,document,token,label\n0,{2**53 + 1},0,B-EMAIL\n")
    assert check_submission(path, [make_document("a", number=2**53 + 1)]) == []
    assert check_submission(path, [make_document("a", number=2**53)]) == ["document: not in the data (row 0)"]
