import pandas as pd
import pytest
from conftest import make_document

from pii_kit.files import KitError
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


def test_rows_are_sorted_and_counted_and_without_o():
    rows = submission_rows([(20, ["O", "B-EMAIL"]), (3, ["B-ID_NUM"])])
    assert rows.values.tolist() == [[0, 3, 0, "B-ID_NUM"], [1, 20, 1, "B-EMAIL"]]
    assert list(rows.columns) == COLUMNS


def test_a_set_without_pii_gives_the_header_alone(tmp_path):
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


def test_rows_give_documents_their_labels_back(documents):
    assert label_documents(documents, true_rows(documents)) == list(documents)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (GOOD, None),
        (GOOD.replace(",20,2,", ",99,2,"), "document: not in the data (row 0)"),
        (GOOD.replace(",20,3,", ",20,4,"), "token: outside its document (row 1)"),
        (GOOD.replace(",20,3,", ",20,-1,"), "token: outside its document (row 1)"),
        (GOOD.replace("I-NAME_STUDENT", "I-NAME"), "label: unknown (row 1)"),
        (GOOD.replace("I-NAME_STUDENT", "O"), "label: O, which is not submitted (row 1)"),
        (GOOD.replace("I-NAME_STUDENT", ""), "label: empty value (row 1)"),
        (GOOD.replace("1,20,3,", "1,,3,"), "document: empty value (row 1)"),
        (GOOD.replace("1,20,3,", "1,20,,"), "token: empty value (row 1)"),
        (GOOD.replace("1,20,3,", ",20,3,"), "row_id: empty value (row 1)"),
        (GOOD.replace("1,20,3,", "1,20,3.0,"), "token: not a whole number (row 1)"),
        (GOOD.replace("1,20,3,", "1,20,three,"), "token: not a whole number (row 1)"),
        (GOOD.replace("1,20,3,", "2,20,3,"), "row_id: does not count 0, 1, 2, … (row 1)"),
        (GOOD.replace("1,20,3,", "1,20,2,"), "document and token: same as in a row above (row 1)"),
        (GOOD.replace("1,20,3,", "1,20,02,"), "document and token: same as in a row above (row 1)"),
    ],
)
def test_each_fault_is_named_with_its_row_and_nothing_else_is(tmp_path, content, problem):
    assert problems(tmp_path, content) == ([] if problem is None else [problem])


@pytest.mark.parametrize(
    "header", ["document,token,label", "row_id,token,document,label", "row_id,document,token,label,x", "a"]
)
def test_wrong_columns_or_their_order_are_named(tmp_path, header):
    (problem,) = problems(tmp_path, header + "\n")
    assert f"columns are {header}; expected row_id,document,token,label" in problem


def test_rows_with_more_values_than_columns_are_named(tmp_path):
    assert problems(tmp_path, "row_id,document,token,label\n0,20,2,B-EMAIL,9\n1,20,3,B-EMAIL,9\n") == [
        "rows hold more values than the 4 columns"
    ]


def test_many_rows_are_counted_not_listed(tmp_path):
    lines = "".join(f"{n},20,2,B-EMAIL\n" for n in range(20))
    (problem,) = problems(tmp_path, "row_id,document,token,label\n" + lines)
    assert problem.endswith("(rows 1, 2, 3, 4, 5 and 14 more)")


def test_several_faults_are_all_named(tmp_path):
    found = problems(tmp_path, "row_id,document,token,label\n5,20,77,NAME\n")
    assert [text.split(":")[0] for text in found] == ["row_id", "token", "label"]


@pytest.mark.parametrize("content", ["", "a,b\n1,2,3,4\n5,6\n1,2,3\n", b"\xff\xfe\x00"])
def test_what_is_no_csv_table_is_an_error_not_a_traceback(tmp_path, content):
    try:
        found = problems(tmp_path, content)
    except KitError as error:
        assert "not a csv table" in str(error)
    else:
        assert found


def test_a_missing_submission_is_named(tmp_path):
    with pytest.raises(KitError, match=r"none\.csv: no such file"):
        check_submission(tmp_path / "none.csv", DOCUMENTS)


def test_reading_refuses_what_the_check_finds(tmp_path):
    path = tmp_path / "submission.csv"
    path.write_text(GOOD.replace("I-NAME_STUDENT", "O"))
    with pytest.raises(KitError, match=r"1 problem: label: O, which is not submitted \(row 1\)"):
        read_submission(path, DOCUMENTS)


def test_true_rows_need_labels():
    with pytest.raises(KitError, match="document 20: labels missing"):
        true_rows(DOCUMENTS)
