import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import make_document, tiny_mobilebert, tiny_sha_rnn

from pii_kit.documents import write_documents
from pii_kit.files import KitError, write_json
from pii_kit.labels import LABEL_TO_ID, LABELS
from pii_kit.metrics import micro_fbeta
from pii_kit.models.onnx import FILE as ONNX_FILE
from pii_kit.predict import Tagger
from pii_kit.report import compare
from pii_kit.report.baselines import label_with_spacy, train_spacy_ner
from pii_kit.report.compare import AVERAGE, published_table
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
    settings = find_preset(model, changes={"seed": seed, "epochs": 2})
    sizes = {"n_folds": n_folds, "folds": list(folds), "n_documents": len(documents), "weights_sha256": None}
    data = {"data": digest_documents(documents), "documents": known(documents, fold_of)}
    nothing = {"extra": [], "teachers": [], "taught": []}
    record = RunRecord(model=model, preset="cpu", settings=settings, weights="random", **sizes, **data, **nothing)
    write_json(folder / "run.json", record.model_dump(mode="json"))
    write_json(folder / "decision.json", {"o_threshold": 0.9, "rules": list(DEFAULT_RULES)})
    write_json(folder / "result.json", {})
    return folder


def test_the_finished_run_of_each_model_is_found_and_nothing_else(tmp_path, documents):
    one = write_run(tmp_path / "b", documents, model="mobilebert")
    two, unfinished, exported = (write_run(tmp_path / name, documents) for name in "acd")
    (unfinished / "result.json").unlink()
    (exported / "fold_0" / "tagger" / ONNX_FILE).touch()
    (tmp_path / "language_model").mkdir()
    for name in ("run.json", "result.json"):
        write_json(tmp_path / "language_model" / name, {})
    folders = sorted(tmp_path.iterdir())
    assert compare.find_runs(folders, documents) == {"SHA-RNN": two, "MobileBERT": one}
    with pytest.raises(KitError, match="a: trained on other documents than the 23 given"):
        compare.find_runs(folders, documents[:-1])
    with pytest.raises(KitError, match=r"SHA-RNN: expected one finished run, found .*a, .*e; move"):
        compare.find_runs([*folders, write_run(tmp_path / "e", documents)], documents)
    with pytest.raises(KitError, match="MobileBERT: expected one finished run, found none; train"):
        compare.find_runs([two], documents)


def test_the_average_is_the_mean_on_the_documents_that_all_scored_with_the_rules_of_all(tmp_path, documents):
    runs = {
        "five": write_run(tmp_path / "five", documents, n_folds=5, folds=range(5), seed=3, probability=0.5),
        "one": write_run(tmp_path / "one", documents, folds=[1], seed=1),
    }
    rules = [*DEFAULT_RULES, "add_author_lines"]
    write_json(runs["one"] / "decision.json", {"o_threshold": 0.8, "rules": rules, "folds": [1]})
    result = compare.compare_out_of_fold(runs, documents)
    _, expected = split_documents(documents, fold_of_documents(documents, n_folds=3, seed=1), 1)
    assert result.documents == expected
    assert result.decisions["one"] == {"o_threshold": 0.8, "rules": rules}
    assert result.decisions[AVERAGE]["rules"] == rules and 0 < result.decisions[AVERAGE]["o_threshold"] < 1
    for place, (document, scores) in enumerate(result.average):
        np.testing.assert_allclose(scores, certain(document.labels, 0.7), atol=1e-6)
        for name, of_name in (("five", DEFAULT_RULES), ("one", rules), (AVERAGE, rules)):
            labels = label_document(document, certain(document.labels), o_threshold=0.9, rules=of_name)
            assert result.labels[name][place] == labels


def test_runs_without_out_of_fold_predictions_or_a_common_document_are_refused(tmp_path, documents):
    runs = {name: write_run(tmp_path / name, documents, folds=[fold]) for name, fold in (("first", 0), ("second", 1))}
    with pytest.raises(KitError, match=r"first, .*second: no document was scored by all"):
        compare.compare_out_of_fold(runs, documents)
    next(runs["first"].glob("fold_0/out_of_fold*")).unlink()
    with pytest.raises(KitError, match="first: holds no out-of-fold"):
        compare.compare_out_of_fold(runs, documents)


def test_spacy_trains_on_the_folds_of_the_run_with_its_seed_and_epochs(tmp_path, documents, monkeypatch):
    def run_here(tasks, bar, devices):
        with bar:
            return [task.function(*task.arguments, device="cpu", report=bar.update) for task in tasks]

    monkeypatch.setattr(compare, "run_side_by_side", run_here)
    run = write_run(tmp_path / "run", documents, folds=[0, 2], seed=4)
    labels, of_test, n_epochs = compare.spacy_out_of_fold(documents, run, TEST)
    fold_of = fold_of_documents(documents, n_folds=3, seed=4)
    splits = [split_documents(documents, fold_of, fold) for fold in (0, 2)]
    assert set(labels) == {document.number for _, validation in splits for document in validation} and n_epochs == 2
    pipelines = [train_spacy_ner(training, seed=4, epochs=2)[0] for training, _ in splits]
    for pipeline, (_, validation) in zip(pipelines, splits, strict=True):
        assert all(labels[document.number] == label_with_spacy(pipeline, document) for document in validation)
    assert of_test == [label_with_spacy(pipelines[0], document) for document in TEST]
    assert compare.spacy_out_of_fold(documents, run, epochs=9, deadline=time.monotonic())[1:] == ([], 1)


def test_costs_are_measured_and_test_documents_are_scored_by_each_run_and_by_their_average(cross_validated, documents):
    runs = {name: cross_validated(seed)[0] for name, seed in (("one", 0), ("two", 1))}
    costs = compare.cost_table(runs, documents[:3])
    assert costs.loc["one", "epoch_seconds"] == cross_validated(0)[1]["epoch_seconds"]
    assert (costs.drop(columns="device") > 0).all(axis=None)
    result = compare.compare_out_of_fold(runs, documents)
    test = [replace(document, number=document.number + 10**6) for document in documents[:5]]
    scores = {name: [found for _, found in Tagger.load(run).predict(test)] for name, run in runs.items()}
    scores[AVERAGE] = [(one + two) / 2 for one, two in zip(*scores.values(), strict=True)]
    expected = {}
    for name, of_run in scores.items():
        labels = [label_document(*pair, **result.decisions[name]) for pair in zip(test, of_run, strict=True)]
        rows = submission_rows(zip([document.number for document in test], labels, strict=True))
        expected[name] = micro_fbeta(true_rows(test), rows).f
    nothing = [["O"] * len(document.tokens) for document in test]
    baselines = {"all": [document.labels for document in test], "nothing": nothing}
    found = compare.f5_of_test(runs, result, test, baselines)
    assert found.to_dict() == {"all": 1.0, "nothing": 0.0, **expected}


def test_labels_of_test_documents_come_from_their_file(tmp_path):
    write_documents(tmp_path / "test.json", [replace(document, labels=None) for document in TEST])
    assert compare.labelled_test_documents(tmp_path) == []
    write_submission(tmp_path / "test_labels.csv", true_rows(TEST))
    assert compare.labelled_test_documents(tmp_path) == TEST


def rows(*triples) -> pd.DataFrame:
    return pd.DataFrame(triples, columns=["document", "token", "label"])


def test_each_rule_is_compared_alone_with_the_labels_without_rules():
    """Of three true rows two are found, with one false alarm; add_emails finds the third."""
    document = make_document("Ana Berg wrote Ana Berg from ana@berg.com to tea", labels={"ana@berg.com": "B-EMAIL"})
    document = replace(document, labels=("B-NAME_STUDENT", "I-NAME_STUDENT", *document.labels[2:]))
    predicted = ["B-NAME_STUDENT", "I-NAME_STUDENT", "O", "O", "O", "O", "O", "B-USERNAME", "O"]
    table = compare.rule_table([(document, certain(predicted, 1))], o_threshold=0.5)
    assert list(table.index) == list(RULES) and set(table.index[table["default"]]) == set(DEFAULT_RULES)
    before = 26 * 2 / (26 * 2 + 25 + 1)
    changes = ["f5_change", "tp_change", "fp_change"]
    assert table.loc["add_emails", changes].tolist() == [pytest.approx(26 * 3 / (26 * 3 + 1) - before), 1, 0]
    assert table.loc["emails_have_at", changes].tolist() == [0, 0, 0]


def test_the_verdict_compares_models_average_and_best_baseline_in_that_order():
    def found(n_found) -> pd.DataFrame:
        return rows(*((document, token, "B-EMAIL") for document in range(30) for token in range(n_found)))

    counts = {"patterns": 3, "worst": 1, "weak": 2, "strong": 6, AVERAGE: 6}
    submissions = {name: found(n_found) for name, n_found in counts.items()}
    lines = compare.verdict(found(10), submissions, range(30), models=["weak", "strong"]).split("\n")
    beginnings = [
        "- strong is above weak: F5 0.609 and 0.206, a difference of +0.403",
        "- average is equal to strong: F5 0.609 and 0.609, a difference of +0.000",
        "- strong is above patterns: ",
        "- weak is below patterns: ",
    ]
    assert [line[: len(start)] for line, start in zip(lines, beginnings, strict=True)] == beginnings
    assert ["chance" in line for line in lines] == [False, True, False, False]


TRAIN = {"learning_rate": 3e-3, "optimizer": "adamw", "weight_decay": 0.01, "warmup_epochs": 1}


@pytest.mark.parametrize("name", ["original_settings", "original_results"])
@pytest.mark.parametrize("model", ["sha_rnn", "mobilebert"])
def test_every_line_of_the_original_tables_stands_beside_ours(model, name):
    published = published_table(name)
    lines = published[published.columns[0]].unique()
    table = compare.beside_original(name, model, {line: f"our {line}" for line in lines})
    assert list(table.index) == list(lines)
    assert list(table.columns) == ["original claim", "what its code did", "ours"]
    for line in published[published["model"] == model].to_numpy().tolist():
        assert table.loc[line[0]].tolist() == [*line[2:], f"our {line[0]}"]
    assert "original" in published.attrs["source"] and not published.isna().any(axis=None)
    large = compare.beside_original(name, model, dict.fromkeys(lines, 20_743_454_720))
    assert set(large["ours"]) == {"20.743G"}


@pytest.mark.parametrize(
    ("network", "expected"), [(tiny_sha_rnn, (1, 1, 16)), (tiny_mobilebert, (2, 2, 16))], ids=["sha_rnn", "mobilebert"]
)
def test_our_settings_have_every_line_of_the_original_table(network, expected):
    ours = compare.our_settings(network().config, {**TRAIN, "class_weights": 0.1, "cycle_epochs": 3})
    assert set(ours) == set(published_table("original_settings")["setting"])
    assert (ours["learning rate"], ours["class weights"]) == ("0.003", "0.1 for O, 1 for PII")
    assert ours["schedule"] == "cosine, cycles of 3 epochs"
    assert (ours["attention layers"], ours["attention heads"], ours["embedding size"]) == expected
    config = SimpleNamespace(dropout=0, attention_layers=[], num_attention_heads=1, hidden_size=1)
    ours = compare.our_settings(config, {**TRAIN, "class_weights": "log", "cycle_epochs": None})
    assert (ours["class weights"], ours["schedule"]) == ("log", "cosine, one cycle")


def test_the_original_metrics_ignore_the_type_and_flatter_a_model_that_finds_nothing():
    figures = compare.original_metrics([["B-EMAIL", "O"]], [["I-ID_NUM", "B-EMAIL"]])
    assert list(figures.values()) == pytest.approx([26 * 0.5 * 1 / (25 * 0.5 + 1), 0.5, 1.0, 0.0])
    truth = [["O"]] * 69 + [["B-EMAIL"]] * 31
    figures = compare.original_metrics(truth, [["O"]] * 100)
    names = [f"{name}, original definition" for name in ("F5", "precision", "recall")]
    assert figures == dict(zip([*names, "tag accuracy"], [0.69, 1.0, 0.69, 0.0], strict=True))


def test_published_figures_of_language_models_have_all_rows_of_the_paper_and_a_source():
    paper = published_table("language_model_paper")
    assert len(paper) == 8 and "1911.11423" in paper.attrs["source"]
    assert paper.set_index("model").loc["SHA-LSTM, one attention layer"].tolist() == [1.076, 53_785_805]
