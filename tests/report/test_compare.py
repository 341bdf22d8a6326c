from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import make_document

from pii_kit.documents import write_documents
from pii_kit.files import KitError, read_json, write_json
from pii_kit.labels import LABEL_TO_ID, LABELS
from pii_kit.metrics import bootstrap_interval, micro_fbeta
from pii_kit.models.onnx import FILE as ONNX_FILE
from pii_kit.predict import Tagger
from pii_kit.report import baselines, compare
from pii_kit.report.baselines import label_with_spacy, train_spacy_ner
from pii_kit.rules import DEFAULT_RULES, RULES, label_document
from pii_kit.split import split_documents
from pii_kit.submission import submission_rows, true_rows, write_submission
from pii_kit.training.out_of_fold import keep_out_of_fold, labels_by_other_folds, save_out_of_fold
from pii_kit.training.runs import fingerprint
from pii_kit.windows import cut_windows

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
    for fold in folds:
        _, validation = split_documents(documents, n_folds=n_folds, fold=fold, seed=seed)
        tagger = folder / f"fold_{fold}" / "tagger"
        tagger.mkdir(parents=True)
        kept = keep_out_of_fold((document, certain(document.labels, probability)) for document in validation)
        save_out_of_fold(tagger, kept)
        manifest = {
            "data": fingerprint(documents),
            "n_folds": n_folds,
            "fold": fold,
            "train": {"seed": seed, "epochs": 2},
        }
        manifest["validation"] = [document.number for document in validation]
        write_json(folder / f"fold_{fold}" / "run.json", manifest)
    write_json(folder / "folds.json", {"model": model, "n_folds": n_folds, "folds": list(folds)})
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


def test_the_average_is_the_mean_and_has_a_decision_with_the_rules_of_all(tmp_path, documents, monkeypatch):
    runs = {
        "one": write_run(tmp_path / "one", documents, probability=0.5),
        "two": write_run(tmp_path / "two", documents, probability=0.9),
    }
    write_json(runs["two"] / "decision.json", {"o_threshold": 0.8, "rules": [*DEFAULT_RULES, "add_author_lines"]})
    nested = []

    def nest(members, folds, rules, *, original=compare.labels_by_other_folds):
        nested.append((members, [[document.number for document in fold] for fold in folds], rules))
        return original(members, folds, rules)[0], 0.7

    monkeypatch.setattr(compare, "labels_by_other_folds", nest)
    result = compare.compare_out_of_fold(runs, documents, average="both")
    rules = [*DEFAULT_RULES, "add_author_lines"]
    members = nested[-1][0]
    assert result.documents == documents
    assert list(result.out_of_fold) == list(result.decisions) == ["one", "two", "both"]
    assert result.decisions["both"] == {"o_threshold": 0.7, "rules": rules}
    for document, (same, scores) in zip(documents, result.predictions("both"), strict=True):
        assert document is same
        np.testing.assert_allclose(scores, (members[0].of(document) + members[1].of(document)) / 2, atol=1e-6)
        np.testing.assert_allclose(scores, certain(document.labels, 0.7), atol=1e-6)
    folds = [read_json(runs["one"] / f"fold_{k}" / "run.json")["validation"] for k in range(3)]
    assert [(len(of), list(map(sorted, of_folds))) for of, of_folds, _ in nested] == [
        (n, list(map(sorted, folds))) for n in (1, 1, 2)
    ]
    assert [rules for _, _, rules in nested] == [list(DEFAULT_RULES), rules, rules]
    by_fold = [[document for document in documents if document.number in fold] for fold in folds]
    by_number, _ = labels_by_other_folds(members, by_fold, rules)
    assert result.labels["both"] == [by_number[document.number] for document in documents]


def test_runs_with_other_folds_are_compared_on_the_documents_that_both_scored(tmp_path, documents):
    runs = {
        "five": write_run(tmp_path / "five", documents, n_folds=5, folds=range(5), seed=3),
        "one": write_run(tmp_path / "one", documents, n_folds=3, folds=[1], seed=1),
    }
    result = compare.compare_out_of_fold(runs, documents, average="both")
    _, expected = split_documents(documents, n_folds=3, fold=1, seed=1)
    assert result.documents == expected
    numbers = [document.number for document in expected]
    for name in ("five", "one", "both"):
        assert result.out_of_fold[name].documents.tolist() == sorted(numbers)
        for document, labels in zip(expected, result.labels[name], strict=True):
            assert label_document(document, certain(document.labels), o_threshold=0.9, rules=DEFAULT_RULES) == labels


def test_runs_without_a_common_document_are_refused(tmp_path, documents):
    runs = {name: write_run(tmp_path / name, documents, folds=[fold]) for name, fold in (("first", 0), ("second", 1))}
    with pytest.raises(KitError, match=r"first, .*second: no document was scored by all"):
        compare.compare_out_of_fold(runs, documents, average="both")


def test_a_run_without_out_of_fold_predictions_is_refused(tmp_path, documents):
    run = write_run(tmp_path / "old", documents)
    next(run.glob("fold_1/tagger/*")).unlink()
    with pytest.raises(KitError, match="old: no out-of-fold"):
        compare.compare_out_of_fold({"old": run}, documents, average="both")


@pytest.mark.parametrize(("n_folds", "folds"), [(3, [0, 2]), (5, [3]), (2, [0, 1])])
def test_spacy_trains_on_the_folds_of_the_run_with_its_seed_and_epochs(
    tmp_path, documents, monkeypatch, n_folds, folds
):
    trained = []

    def train(training, seed, epochs):
        trained.append(({document.number for document in training}, seed, epochs))
        return train_spacy_ner(training, seed=seed, epochs=1)

    monkeypatch.setattr(compare, "train_spacy_ner", train)
    monkeypatch.setattr(compare, "run_in_parallel", lambda tasks, **_: [task() for task in tasks])
    run = write_run(tmp_path / "run", documents, n_folds=n_folds, folds=folds, seed=4)
    labels, of_test = compare.spacy_out_of_fold(documents, run, TEST)
    splits = [split_documents(documents, n_folds=n_folds, fold=fold, seed=4) for fold in folds]
    assert trained == [({document.number for document in training}, 4, 2) for training, _ in splits]
    assert list(labels) == [document.number for _, validation in splits for document in validation]
    training, validation = splits[0]
    pipeline = train_spacy_ner(training, seed=4, epochs=1)
    assert labels[validation[0].document] == label_with_spacy(pipeline, validation[0])
    assert of_test == [label_with_spacy(pipeline, document) for document in TEST]
    compare.spacy_out_of_fold(documents, run, epochs=7)
    assert [epochs for *_, epochs in trained] == [2] * len(folds) + [7] * len(folds)


def test_test_documents_are_scored_by_each_run_and_by_the_average(cross_validated, documents):
    runs = {name: cross_validated(seed)[0] for name, seed in (("one", 0), ("two", 1))}
    result = compare.compare_out_of_fold(runs, documents, average="both")
    test = [replace(document, number=document.number + 10**6) for document in documents[:5]]
    ensembles = [Tagger.load(run) for run in runs.values()]
    means = [[scores for _, scores in ensemble.predict(test)] for ensemble in ensembles]
    both = [(one + two) / 2 for one, two in zip(*means, strict=True)]
    expected = {}
    for name, scores in zip(("one", "two", "both"), (*means, both), strict=True):
        labels = [label_document(*pair, **result.decisions[name]) for pair in zip(test, scores, strict=True)]
        rows = submission_rows(zip([document.number for document in test], labels, strict=True))
        expected[name] = micro_fbeta(true_rows(test), rows).f
    nothing = [["O"] * len(document.tokens) for document in test]
    baselines = {"all": [document.labels for document in test], "nothing": nothing}
    found = compare.f5_of_test(runs, result, test, average="both", baselines=baselines)
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
    seconds = {"elapsed_seconds": 20.5, "cpu_seconds": 35.0, "epoch_seconds": 1.5}
    table = compare.cost_table({"one": _with_result(run, tmp_path / "one", seconds)}, documents[:3])
    assert table.loc["one", list(seconds)].to_dict() == seconds
    assert (table.loc["one", ["parameters", "GFLOPs for 512 pieces", "tokens_per_second"]] > 0).all()


def test_speed_is_measured_on_every_document(sha_rnn_tagger, documents):
    essays = [*documents[:3], make_document("", 99), documents[3]]
    n_pieces_read = []
    handle = sha_rnn_tagger.network.model.register_forward_pre_hook(
        lambda model, args, kwargs: n_pieces_read.append(int(kwargs["attention_mask"].sum())), with_kwargs=True
    )
    try:
        assert compare.tokens_per_second(sha_rnn_tagger, essays, repeats=2) > 0
    finally:
        handle.remove()
    sizes = {"size": sha_rnn_tagger.window_size, "overlap": sha_rnn_tagger.overlap}
    windows = [window for essay in essays for window in cut_windows(essay, sha_rnn_tagger.tokenizer, **sizes)]
    assert sum(n_pieces_read) == 2 * sum(map(len, windows))


def test_documents_without_tokens_have_no_speed(sha_rnn_tagger):
    assert compare.tokens_per_second(sha_rnn_tagger, [make_document("")], repeats=1) == 0


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
    table = compare.agreement(TRUTH, FIRST, SECOND, names=("one", "two"))
    assert table.T.to_dict("list") == {"both": [1, 1], "only one": [1, 0], "only two": [1, 2], "neither": [1, 0]}
    assert table["true rows"].sum() == len(TRUTH)


def test_the_score_table_has_a_line_per_submission():
    table = compare.score_table(TRUTH, {"one": FIRST, "nothing": rows()}, [1, 2, 3, 4])
    assert list(table.index) == ["one", "nothing"]
    low, high = bootstrap_interval(TRUTH, FIRST, [1, 2, 3, 4])
    assert table.loc["one"].to_dict() == {
        "f5": pytest.approx(26 * 2 / (26 * 2 + 25 * 2 + 1)),
        "precision": pytest.approx(2 / 3),
        "recall": 0.5,
        "tp": 2,
        "fp": 1,
        "fn": 2,
        "f5_low": low,
        "f5_high": high,
    }
    assert table.loc["nothing", "f5"] == 0


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


def test_a_difference_in_every_document_is_certain_although_the_intervals_overlap():
    numbers = range(40)
    truth = found(numbers, [10] * 40)
    better, worse = found(numbers, [10] * 20 + [1] * 20), found(numbers, [9] * 20 + [0] * 20)
    assert bootstrap_interval(truth, worse, numbers)[1] > bootstrap_interval(truth, better, numbers)[0]
    low, high = compare.paired_bootstrap(truth, better, worse, numbers)
    assert 0 < low <= high
    words = compare.verdict(truth, {"a": worse, "b": worse, "ab": better}, numbers, baselines=["b"], average="ab")
    assert "ab is above a" in words and "chance" not in words.split("\n")[1]


def test_a_difference_may_be_chance_although_the_score_is_outside_the_others_interval():
    numbers = range(20)
    truth = found(numbers, [2] * 20)
    steady, varied = found(numbers, [1] * 20), found(numbers, [2] * 11 + [0] * 9)
    low, high = bootstrap_interval(truth, steady, numbers)
    assert high < micro_fbeta(truth, varied).f
    low, high = compare.paired_bootstrap(truth, varied, steady, numbers)
    assert low < 0 < high
    words = compare.verdict(truth, {"a": varied, "b": rows(), "ab": steady}, numbers, baselines=["b"], average="ab")
    assert "ab is below a" in words and "may be chance" in words.split("\n")[1]


def test_the_interval_of_a_difference_changes_sign_with_the_order_and_is_zero_for_equal_submissions():
    numbers = [1, 2, 3, 4]
    low, high = compare.paired_bootstrap(TRUTH, FIRST, SECOND, numbers)
    assert compare.paired_bootstrap(TRUTH, SECOND, FIRST, numbers) == pytest.approx((-high, -low))
    assert compare.paired_bootstrap(TRUTH, FIRST, FIRST, numbers) == (0, 0)
    assert compare.paired_bootstrap(rows(), rows(), rows(), []) == (0, 0)


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
    lines = compare.verdict(truth, submissions, numbers, baselines=["patterns", "worst"], average="average").split("\n")
    beginnings = [
        "- strong is above weak: F5 0.609 and 0.206, a difference of +0.403",
        "- average is equal to strong: F5 0.609 and 0.609, a difference of +0.000",
        "- strong is above patterns: ",
        "- weak is below patterns: ",
    ]
    assert [line[: len(start)] for line, start in zip(lines, beginnings, strict=True)] == beginnings
    assert ["chance" in line for line in lines] == [False, True, False, False]


def test_published_tables_have_their_columns_and_a_source():
    paper, here = baselines.published_table("language_model_paper"), baselines.published_table("language_model_here")
    assert paper.columns[1:].tolist() == ["test bpc", "parameters"]
    assert here.columns[1:].tolist() == ["test bpc", "validation bpc"]
    assert paper.set_index(paper.columns[0]).loc["one attention layer"].tolist() == [1.076, 53_785_805]
    assert "1911.11423" in paper.attrs["source"] and "submissions/README.md" in here.attrs["source"]
    for name in ("original_settings", "original_results"):
        table = baselines.published_table(name)
        assert "original" in table.attrs["source"]
        assert not table.isna().any(axis=None)
        assert table.map(len).max(axis=None) <= 50, "pandas truncates longer texts in notebooks"
