from dataclasses import replace

import numpy as np
import pytest
from conftest import make_document

from pii_kit.data import split_documents, write_documents
from pii_kit.metrics import micro_fbeta
from pii_kit.report import compare as compare_folds
from pii_kit.report.baselines import label_with_spacy, train_spacy_ner
from pii_kit.submission import submission_rows, true_rows, write_submission
from pii_kit.training.folds import train_folds

LABELLED = {"Ann": "B-NAME_STUDENT", "Lee": "I-NAME_STUDENT"}
TEST = [make_document("Ann Lee met Kim", 7, LABELLED), make_document("Tea is good", 8, LABELLED)]


def without_labels(documents):
    return [replace(document, labels=None) for document in documents]


def test_test_essays_are_scored_where_a_file_tells_their_labels(tmp_path):
    write_documents(tmp_path / "test.json", without_labels(TEST))
    write_submission(tmp_path / "test_labels.csv", true_rows(TEST))
    assert compare_folds.labelled_test_documents(tmp_path) == TEST


def test_test_essays_are_scored_where_they_are_labelled(tmp_path):
    write_documents(tmp_path / "test.json", TEST)
    assert compare_folds.labelled_test_documents(tmp_path) == TEST


def test_test_essays_of_which_some_are_unlabelled_are_not_scored(tmp_path):
    write_documents(tmp_path / "test.json", [TEST[0], *without_labels(TEST[1:])])
    assert compare_folds.labelled_test_documents(tmp_path) == []


def test_spacy_labels_each_essay_by_a_pipeline_that_has_not_seen_it(documents, monkeypatch):
    seen = []

    def train(training, seed):
        seen.append({document.document for document in training})
        return train_spacy_ner(training, seed=seed, epochs=1)

    monkeypatch.setattr(compare_folds, "train_spacy_ner", train)
    labels = compare_folds.spacy_out_of_fold(documents, n_folds=3, folds=[0, 2], seed=4)
    validation = [split_documents(documents, n_folds=3, fold=fold, seed=4)[1] for fold in (0, 2)]
    assert list(labels) == [document.document for part in validation for document in part]
    for training, part in zip(seen, validation, strict=True):
        assert not training & {document.document for document in part}
    assert labels[validation[0][0].document] == label_with_spacy(
        train_spacy_ner(split_documents(documents, n_folds=3, fold=0, seed=4)[0], seed=4, epochs=1), validation[0][0]
    )


def test_the_average_of_runs_stands_beside_them_with_a_decision_of_its_own(tiny_presets, documents, tmp_path):
    runs = {}
    for name, seed in (("one", 0), ("two", 0)):
        runs[name] = tmp_path / name
        epochs = 1 if name == "one" else 2
        train_folds(
            "sha_rnn", documents, runs[name], preset="cpu", n_folds=3, folds=[0, 1, 2], seed=seed, epochs=epochs
        )
    kept, decisions, weights = compare_folds.say_out_of_fold(runs, both="both")
    assert list(kept) == list(decisions) == ["one", "two", "both"]
    assert sum(weights) == pytest.approx(1)
    document = documents[0]
    expected = weights[0] * kept["one"].of(document) + weights[1] * kept["two"].of(document)
    np.testing.assert_allclose(kept["both"].of(document), expected, atol=1e-6)

    unseen = [replace(document, document=document.document + 10**6) for document in documents[:5]]
    ensemble = compare_folds.load_ensemble(list(runs.values()))
    rows = submission_rows((doc.document, ensemble.label(doc, scores)) for doc, scores in ensemble.predict(unseen))
    assert compare_folds.f5_of_test(list(runs.values()), unseen) == micro_fbeta(true_rows(unseen), rows).f
