from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import make_document

from pii_kit.documents import write_documents
from pii_kit.files import KitError, write_json
from pii_kit.labels import LABEL_TO_ID, LABELS
from pii_kit.metrics import micro_fbeta
from pii_kit.models.onnx import FILE as ONNX_FILE
from pii_kit.predict import Tagger
from pii_kit.report import compare
from pii_kit.report.baselines import label_with_spacy, train_spacy_ner
from pii_kit.rules import DEFAULT_RULES, RULES, label_document
from pii_kit.settings import find_preset
from pii_kit.submission import submission_rows, true_rows, write_submission
from pii_kit.training.out_of_fold import keep_out_of_fold, save_out_of_fold
from pii_kit.training.runs import RunRecord, digest_documents, known
from pii_kit.training.split import fold_of_documents, split_documents

LABELLED = {"Ann": "B-NAME_STUDENT", "Lee": "I-NAME_STUDENT"}
TEST = [make_document("Ann Lee met Kim", 7, LABELLED), make_document("Tea is good", 8, LABELLED)]


def certain(labels, probability=0.9) -> np.ndarray:
    """Return probabilities (token, label) with `probability` for the given labels and the rest for O."""
    scores = np.zeros((len(labels), len(LABELS)), dtype=np.float32)
    scores[:, 0] = 1 - probability
    scores[np.arange(len(labels)), [LABEL_TO_ID[label] for label in labels]] += probability
    return scores


def write_run(folder, documents, *, model="sha_rnn", n_folds=3, folds=(0, 1, 2), seed=0, probability=0.9):
    """Write what a finished run leaves behind, except taggers: its predictions are the true labels."""
    fold_of = fold_of_documents(documents, n_folds=n_folds, seed=seed)
    for fold in folds:
        _, validation = split_documents(documents, fold_of, fold)
        (folder / f"fold_{fold}" / "tagger").mkdir(parents=True)
        kept = keep_out_of_fold((document, certain(document.labels, probability)) for document in validation)
        save_out_of_fold(folder / f"fold_{fold}", kept)
    record = RunRecord(
        model=model,
        preset="cpu",
        settings=find_preset(model, changes={"seed": seed, "epochs": 2}),
        weights="random",
        weights_sha256=None,
        n_folds=n_folds,
        folds=list(folds),
        n_documents=len(documents),
        data=digest_documents(documents),
        documents=known(documents, fold_of),
        extra=[],
        teachers=[],
        taught=[],
    )
    write_json(folder / "run.json", record.model_dump(mode="json"))
    write_json(folder / "decision.json", {"o_threshold": 0.9, "rules": list(DEFAULT_RULES)})
    write_json(folder / "result.json", {})
    return folder


def test_the_finished_run_of_each_model_is_found(tmp_path, documents):
    one = write_run(tmp_path / "b", documents, model="mobilebert")
    two = write_run(tmp_path / "a", documents, model="sha_rnn")
    unfinished = write_run(tmp_path / "c", documents, model="sha_rnn")
    (unfinished / "result.json").unlink()
    exported = write_run(tmp_path / "d", documents, model="sha_rnn")
    (exported / "fold_0" / "tagger" / ONNX_FILE).touch()
    (tmp_path / "language_model").mkdir()
    write_json(tmp_path / "language_model" / "result.json", {})
    runs = compare.find_runs(sorted(tmp_path.iterdir()), documents)
    assert runs == {"SHA-RNN": two, "MobileBERT": one}


def test_a_model_without_a_run_or_with_two_is_refused_by_name(tmp_path, documents):
    one, two = (write_run(tmp_path / name, documents) for name in ("one", "two"))
    with pytest.raises(KitError, match=r"one finished run of SHA-RNN, found 2: .*one, .*two; move"):
        compare.find_runs([one, two], documents)
    with pytest.raises(KitError, match="one finished run of MobileBERT, found 0; train"):
        compare.find_runs([one], documents)


def test_runs_of_different_data_are_not_compared(tmp_path, documents):
    runs = [
        write_run(tmp_path / "one", documents),
        write_run(tmp_path / "two", documents[:-1], model="mobilebert"),
    ]
    with pytest.raises(KitError, match="two: trained on other documents than the 24 given"):
        compare.find_runs(runs, documents)


def test_runs_with_other_folds_are_compared_on_the_documents_that_both_scored(tmp_path, documents):
    runs = {
        "five": write_run(tmp_path / "five", documents, n_folds=5, folds=range(5), seed=3),
        "one": write_run(tmp_path / "one", documents, n_folds=3, folds=[1], seed=1),
    }
    result = compare.compare_out_of_fold(runs, documents)
    _, expected = split_documents(documents, fold_of_documents(documents, n_folds=3, seed=1), 1)
    assert result.documents == expected
    for name in ("five", "one", "average"):
        assert all(map(result.out_of_fold[name].holds, expected))
        for document, labels in zip(expected, result.labels[name], strict=True):
            assert label_document(document, certain(document.labels), o_threshold=0.9, rules=DEFAULT_RULES) == labels


def test_runs_without_a_common_document_are_refused(tmp_path, documents):
    runs = {name: write_run(tmp_path / name, documents, folds=[fold]) for name, fold in (("first", 0), ("second", 1))}
    with pytest.raises(KitError, match=r"first, .*second: no document was scored by all"):
        compare.compare_out_of_fold(runs, documents)


def test_a_run_without_out_of_fold_predictions_is_refused(tmp_path, documents):
    run = write_run(tmp_path / "old", documents)
    next(run.glob("fold_1/out_of_fold*")).unlink()
    with pytest.raises(KitError, match="old: holds no out-of-fold"):
        compare.compare_out_of_fold({"old": run}, documents)


def test_test_documents_are_scored_by_each_run_and_by_the_average(cross_validated, documents):
    runs = {name: cross_validated(seed)[0] for name, seed in (("one", 0), ("two", 1))}
    result = compare.compare_out_of_fold(runs, documents)
    test = [replace(document, number=document.number + 10**6) for document in documents[:5]]
    ensembles = [Tagger.load(run) for run in runs.values()]
    means = [[scores for _, scores in ensemble.predict(test)] for ensemble in ensembles]
    both = [(one + two) / 2 for one, two in zip(*means, strict=True)]
    expected = {}
    for name, scores in zip(("one", "two", "average"), (*means, both), strict=True):
        labels = [label_document(*pair, **result.decisions[name]) for pair in zip(test, scores, strict=True)]
        rows = submission_rows(zip([document.number for document in test], labels, strict=True))
        expected[name] = micro_fbeta(true_rows(test), rows).f
    nothing = [["O"] * len(document.tokens) for document in test]
    baselines = {"all": [document.labels for document in test], "nothing": nothing}
    found = compare.f5_of_test(runs, result, test, baselines)
    assert found.to_dict() == {"all": 1.0, "nothing": 0.0, **expected}


def without_labels(documents):
    return [replace(document, labels=None) for document in documents]


def test_labels_of_test_documents_come_from_test_labels_csv(tmp_path):
    write_documents(tmp_path / "test.json", without_labels(TEST))
    write_submission(tmp_path / "test_labels.csv", true_rows(TEST))
    assert compare.labelled_test_documents(tmp_path) == TEST


def test_labels_of_test_documents_come_from_test_json(tmp_path):
    write_documents(tmp_path / "test.json", TEST)
    assert compare.labelled_test_documents(tmp_path) == TEST


def test_partly_labelled_test_documents_are_not_scored(tmp_path):
    write_documents(tmp_path / "test.json", [TEST[0], *without_labels(TEST[1:])])
    assert compare.labelled_test_documents(tmp_path) == []


def test_the_cost_table_labels_elapsed_and_cpu_seconds(cross_validated, documents, tmp_path):
    run, _ = cross_validated(0)
    seconds = {"elapsed_seconds": 20.5, "cpu_seconds": 35.0, "epoch_seconds": 1.5, "device": "a CPU"}
    table = compare.cost_table({"one": _with_result(run, tmp_path / "one", seconds)}, documents[:3])
    assert table.loc["one", list(seconds)].to_dict() == seconds
    assert (table.loc["one", ["parameters", "GFLOPs for 512 pieces", "tokens_per_second"]] > 0).all()


def _with_result(run, folder, result):
    """Return a folder with the folds of a run and another result."""
    folder.mkdir()
    for path in run.iterdir():
        if path.name != "result.json":
            (folder / path.name).symlink_to(path)
    write_json(folder / "result.json", result)
    return folder


def rows(*triples) -> pd.DataFrame:
    return pd.DataFrame(triples, columns=["document", "token", "label"])


TRUTH = rows((1, 0, "B-EMAIL"), (1, 1, "B-ID_NUM"), (2, 0, "B-EMAIL"), (2, 5, "B-ID_NUM"))
FIRST = rows((1, 0, "B-EMAIL"), (1, 1, "B-ID_NUM"), (3, 0, "B-EMAIL"))
SECOND = rows((1, 0, "B-EMAIL"), (2, 0, "B-ID_NUM"), (2, 5, "B-ID_NUM"), (3, 0, "B-EMAIL"), (4, 4, "B-EMAIL"))


def test_agreement_counts_rows_by_who_has_them():
    table = compare.agreement(TRUTH, {"one": FIRST, "two": SECOND})
    assert table.T.to_dict("list") == {"both": [1, 1], "only one": [1, 0], "only two": [1, 2], "neither": [1, 0]}
    assert table["true rows"].sum() == len(TRUTH)


def test_each_rule_is_compared_alone_with_the_labels_without_rules():
    """Of three true rows two are found, with one false alarm; add_emails finds the third."""
    document = make_document("Ana Berg wrote Ana Berg from ana@berg.com to tea", labels={"ana@berg.com": "B-EMAIL"})
    document = replace(document, labels=("B-NAME_STUDENT", "I-NAME_STUDENT", *document.labels[2:]))
    predicted = ["B-NAME_STUDENT", "I-NAME_STUDENT", "O", "O", "O", "O", "O", "B-USERNAME", "O"]
    table = compare.rule_table([(document, certain(predicted, 1))], o_threshold=0.5)
    assert list(table.index) == list(RULES)
    before = 26 * 2 / (26 * 2 + 25 + 1)
    changes = ["f5_change", "tp_change", "fp_change"]
    assert table.loc["add_emails", changes].tolist() == [pytest.approx(26 * 3 / (26 * 3 + 1) - before), 1, 0]
    assert table.loc["emails_have_at", changes].tolist() == [0, 0, 0]
    assert set(table.index[table["default"]]) == set(DEFAULT_RULES)


def found(documents, n_found) -> pd.DataFrame:
    """Return rows for the first n tokens of each document."""
    numbered = zip(documents, n_found, strict=True)
    return rows(*((document, token, "B-EMAIL") for document, n in numbered for token in range(n)))


def test_the_verdict_compares_models_average_and_best_baseline_in_that_order():
    numbers = range(30)
    truth = found(numbers, [10] * 30)
    submissions = {
        "patterns": found(numbers, [3] * 30),
        "worst": found(numbers, [1] * 30),
        "weak": found(numbers, [2] * 30),
        "strong": found(numbers, [6] * 30),
        "average": found(numbers, [6] * 30),
    }
    lines = compare.verdict(truth, submissions, numbers, models=["weak", "strong"]).split("\n")
    beginnings = [
        "- strong is above weak: F5 0.609 and 0.206, a difference of +0.403",
        "- average is equal to strong: F5 0.609 and 0.609, a difference of +0.000",
        "- strong is above patterns: ",
        "- weak is below patterns: ",
    ]
    assert [line[: len(start)] for line, start in zip(lines, beginnings, strict=True)] == beginnings
    assert ["chance" in line for line in lines] == [False, True, False, False]


def test_spacy_trains_on_the_folds_of_the_run_with_its_seed_and_epochs(tmp_path, documents, monkeypatch):
    trained = []

    def train(training, *, seed, epochs, deadline):
        trained.append(({document.number for document in training}, seed, epochs))
        return train_spacy_ner(training, seed=seed, epochs=1)

    monkeypatch.setattr(compare, "train_spacy_ner", train)
    run = write_run(tmp_path / "run", documents, n_folds=3, folds=[0, 2], seed=4)
    labels, of_test, n_epochs = compare.spacy_out_of_fold(documents, run, TEST)
    fold_of = fold_of_documents(documents, n_folds=3, seed=4)
    splits = [split_documents(documents, fold_of, fold) for fold in (0, 2)]
    assert trained == [({document.number for document in training}, 4, 2) for training, _ in splits] and n_epochs == 1
    assert list(labels) == [document.number for _, validation in splits for document in validation]
    pipeline, _ = train_spacy_ner(splits[0][0], seed=4, epochs=1)
    assert labels[splits[0][1][0].number] == label_with_spacy(pipeline, splits[0][1][0])
    assert of_test == [label_with_spacy(pipeline, document) for document in TEST]
