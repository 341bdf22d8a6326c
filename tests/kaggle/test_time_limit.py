import pytest
from conftest import make_document

from pii_kit.kaggle.time_limit import label_without_model, write_early_submission
from pii_kit.metrics import micro_fbeta
from pii_kit.report.baselines import label_with_patterns
from pii_kit.sample import make_documents
from pii_kit.submission import read_submission, rows_table, submission_rows, true_rows


def test_rules_drop_what_regular_expressions_take_for_pii_and_add_author_lines():
    document = make_document("Submitted by: Ann Lee\n\nSee https://www.coursera.org/learn/design for ann@lee.org")
    labels = dict(zip(document.tokens, label_without_model(document), strict=True))
    assert (labels["Ann"], labels["Lee"]) == ("B-NAME_STUDENT", "I-NAME_STUDENT")
    assert labels["ann@lee.org"] == "B-EMAIL"
    assert labels["https://www.coursera.org/learn/design"] == "O"
    assert "B-URL_PERSONAL" in label_with_patterns(document)


def test_it_is_better_than_the_regular_expressions_alone():
    documents = make_documents(80, seed=3)
    truth = true_rows(documents)
    early, patterns = (
        micro_fbeta(truth, submission_rows((doc.document, label(doc)) for doc in documents)).f
        for label in (label_without_model, label_with_patterns)
    )
    assert early > patterns > 0


def test_the_file_is_valid_and_holds_the_rows_given_back(documents, tmp_path):
    found = write_early_submission(tmp_path / "submission.csv", documents)
    assert list(found) == [document.document for document in documents]
    rows = read_submission(tmp_path / "submission.csv", documents)
    assert rows.equals(rows_table(row for of_document in found.values() for row in of_document)) and len(rows) > 0


@pytest.mark.parametrize("texts", [[], [""], ["nothing here"]])
def test_essays_without_anything_give_a_header(texts, tmp_path):
    documents = [make_document(text) for text in texts]
    write_early_submission(tmp_path / "submission.csv", documents)
    assert (tmp_path / "submission.csv").read_text() == "row_id,document,token,label\n"
