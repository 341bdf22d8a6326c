"""Out-of-fold probabilities, and the thresholds that are chosen on them, compared with a slow search."""

import shutil
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from conftest import essay_of_labels, likely, make_documents, random_essays

from pii_kit.decide import O_THRESHOLDS
from pii_kit.files import KitError, read_json
from pii_kit.labels import LABEL_TO_ID, LABELS, OUTSIDE_ID
from pii_kit.metrics import CAUTIOUS_O_THRESHOLD, MIN_O_THRESHOLD, N_SAMPLES, micro_fbeta
from pii_kit.predict import Tagger, fold_folders, load_member, predict_documents
from pii_kit.rules import DEFAULT_RULES, RULES, label_document
from pii_kit.submission import submission_rows, true_rows
from pii_kit.training.out_of_fold import (
    KEPT_BELOW,
    choose_threshold,
    export_run,
    keep_out_of_fold,
    labels_by_other_folds,
    labels_out_of_fold,
    load_out_of_fold,
    mean_of,
    predict_unseen,
    save_out_of_fold,
    threshold_for_recall,
)
from pii_kit.training.train import train

needs_onnx = pytest.mark.skipif(find_spec("onnxruntime") is None or find_spec("onnx") is None, reason="needs onnx")
KINDS = ((True, True), (False, True), (True, False))  # (true PII, found PII): right, false and missed rows


def runs_of(seed: int, n_runs: int, root, n_folds: int = 3):
    """Random documents in two lots with different numbers, and runs whose folds scored them."""
    rng = np.random.default_rng(seed)
    documents = random_essays(rng)
    documents += [replace(document, number=document.number + 1000) for document in random_essays(rng)]
    runs = [root / f"run_{place}" for place in range(n_runs)]
    for run in runs:
        for fold in range(n_folds):
            (run / f"fold_{fold}" / "tagger").mkdir(parents=True)
            scores = [(doc, likely(rng, doc.labels)) for doc in documents[fold::n_folds]]
            save_out_of_fold(run / f"fold_{fold}", keep_out_of_fold(scores))
    return runs, list(map(load_out_of_fold, runs)), documents


def test_what_is_kept_survives_saving_and_holds_the_probabilities_that_count(tmp_path):
    rng = np.random.default_rng(3)
    documents = random_essays(rng)
    scores = [likely(rng, document.labels) for document in documents]
    (tmp_path / "fold_0" / "tagger").mkdir(parents=True)
    save_out_of_fold(tmp_path / "fold_0", keep_out_of_fold(zip(documents, scores, strict=True)))
    kept = load_out_of_fold(tmp_path)
    for document, of_document in zip(documents, scores, strict=True):
        again, is_kept = kept.of(document), of_document[:, OUTSIDE_ID] < KEPT_BELOW
        is_kept |= np.array([label != "O" for label in document.labels], dtype=bool)
        np.testing.assert_array_equal(again[is_kept], of_document[is_kept])
        assert (again[~is_kept] == np.eye(len(LABELS))[OUTSIDE_ID]).all()
        assert kept.holds(document)


def test_another_document_with_the_same_number_is_not_held():
    document = essay_of_labels(7, ["O", "B-EMAIL", "O"])
    kept = keep_out_of_fold([(document, likely(np.random.default_rng(0), document.labels))])
    assert kept.holds(document)
    others = [replace(document, number=8), essay_of_labels(7, ["O", "B-EMAIL"]), replace(document, labels=None)]
    others += [replace(document, labels=("O", "O", "O")), replace(document, labels=("B-EMAIL", "B-EMAIL", "O"))]
    assert not any(map(kept.holds, others))


@pytest.mark.parametrize("damage", [b"", b"\xff" * 100, None])
def test_a_missing_or_damaged_file_is_an_error_in_one_line(damage, tmp_path):
    runs_of(0, 1, tmp_path)
    path = tmp_path / "run_0" / "fold_1" / "out_of_fold.safetensors"
    path.unlink() if damage is None else path.write_bytes(damage)
    with pytest.raises(KitError, match=r"holds no out-of-fold|fold_1.*cannot be loaded") as error:
        load_out_of_fold(tmp_path / "run_0")
    assert "\n" not in str(error.value)


def slow_scores(members, documents, o_threshold, rules):
    """The rows right, false and missed of each document (document, 3), by the submission's rows."""
    counts = []
    for document in documents:
        mean = np.mean([member.of(document) for member in members], axis=0)
        labels = label_document(document, mean, o_threshold=o_threshold, rules=rules)
        score = micro_fbeta(true_rows([document]), submission_rows([(document.number, labels)]))
        counts.append((score.tp, score.fp, score.fn))
    return np.array(counts)


def f5(counts) -> float:
    right, false, missed = counts.sum(0)
    return 26 * right / (26 * right + 25 * missed + false) if right + missed + false else 1.0


def slow_threshold(members, documents, rules) -> float:
    """The highest threshold up to .7 within a standard error of the best; the best if it is higher; at least .5."""
    counts = {one: slow_scores(members, documents, one, rules) for one in O_THRESHOLDS}
    scores = {one: f5(of) for one, of in counts.items()}
    best = [one for one in O_THRESHOLDS if scores[one] == max(scores.values())]
    best = best[(len(best) - 1) // 2]
    n = len(documents)
    draws = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), N_SAMPLES)
    error = np.std([f5((counts[best].T * draw).T) for draw in draws])
    as_good = [one for one in O_THRESHOLDS if one <= CAUTIOUS_O_THRESHOLD and scores[one] >= scores[best] - error]
    return max(best, MIN_O_THRESHOLD, *as_good)


@pytest.mark.parametrize("rules", [(), DEFAULT_RULES, tuple(RULES)], ids=len)
@pytest.mark.parametrize("n_runs", [1, 3])
def test_the_threshold_is_that_of_a_slow_search_with_the_rules_applied(n_runs, rules, tmp_path):
    runs, members, documents = runs_of(len(rules), n_runs, tmp_path)
    assert choose_threshold(runs, documents, rules) == slow_threshold(members, documents, rules)


def test_the_threshold_is_chosen_on_the_documents_that_every_run_validated(tmp_path, caplog):
    runs, members, documents = runs_of(2, 2, tmp_path)
    for fold in (1, 2):
        (runs[1] / f"fold_{fold}" / "tagger").rmdir()
    assert choose_threshold(runs, documents, ()) == slow_threshold(members, documents[::3], ())
    assert "chosen on 4 of 12 documents" in caplog.text
    others = [replace(document, number=document.number + 5000) for document in documents]
    with pytest.raises(KitError, match=r"none of 12 labelled documents was in a validation fold of every run; pass"):
        choose_threshold(runs, others, ())


@pytest.mark.parametrize("recall", [None, 0.2])
def test_labels_of_a_fold_are_decided_on_the_other_folds(recall, tmp_path):
    runs, members, documents = runs_of(4, 2, tmp_path)
    labels, of_all = labels_by_other_folds(members, documents, DEFAULT_RULES, recall=recall, by_type={"EMAIL": 1e-9})

    def choose(some) -> float:
        if recall:
            return threshold_for_recall(runs, some, DEFAULT_RULES, recall)[0]
        return slow_threshold(members, some, DEFAULT_RULES)

    assert of_all == choose([doc for fold in range(3) for doc in documents[fold::3]])
    assert sorted(labels) == sorted(document.number for document in documents)
    for fold in range(3):
        o_threshold = choose([document for other in range(3) if other != fold for document in documents[other::3]])
        for document in documents[fold::3]:
            limits = {"o_threshold": o_threshold, "by_type": {"EMAIL": 1e-9}, "rules": DEFAULT_RULES}
            assert labels[document.number] == label_document(document, mean_of(members, document), **limits)


def find(members, documents, o_threshold) -> tuple[int, ...]:
    """The tokens of KINDS, whatever the types."""
    labels = [label_document(doc, mean_of(members, doc), o_threshold=o_threshold) for doc in documents]
    true, found = (np.concatenate(of) != "O" for of in ([doc.labels for doc in documents], labels))
    return tuple(int(np.sum((true == of_true) & (found == of_found))) for of_true, of_found in KINDS)


def test_the_lowest_threshold_that_finds_enough_rows_is_chosen(tmp_path):
    runs, members, documents = runs_of(5, 2, tmp_path)
    for recall in (0.1, 0.3):
        threshold, score = threshold_for_recall(runs, documents, DEFAULT_RULES, recall)
        assert (score.tp, score.fp, score.fn) == find(members, documents, threshold) and score.recall >= recall
        below = [find(members, documents, one) for one in O_THRESHOLDS if one < threshold]
        assert all(found < recall * (found + missed) for found, _, missed in below)
    with pytest.raises(KitError, match=r"1\.1 cannot be reached: at most \d+ of \d+ rows are found"):
        threshold_for_recall(runs, documents, DEFAULT_RULES, 1.1)


OTHERS = [replace(document, number=document.number + 9000) for document in make_documents(6, seed=5)]


def unseen(runs, documents):
    return predict_unseen(Tagger.load(*runs), runs, documents)


def test_training_documents_are_out_of_fold_and_others_predicted_in_the_order_of_the_file(cross_validated, documents):
    runs = [cross_validated(seed)[0] for seed in (0, 1)]
    mixed = [*OTHERS[:3], *reversed(documents), *OTHERS[3:]]
    for some in (runs[:1], runs):
        found = unseen(some, mixed)
        assert [document for document, _ in found.predictions] == mixed
        assert found.counts() == "30 documents, 24 out of fold, 6 predicted"
        members = list(map(load_out_of_fold, some))
        predicted = {document.number: scores for document, scores in Tagger.load(*some).predict(OTHERS)}
        for document, scores in found.predictions:
            expected = predicted[document.number] if document in OTHERS else mean_of(members, document)
            np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.fixture(scope="module")
def one_fold(documents, tmp_path_factory):
    """A run of the first of three folds only, with extra documents."""
    folder = tmp_path_factory.mktemp("one_fold") / "run"
    changes = {"epochs": 1, "model.hidden_size": 16, "model.boom_size": 32, "augment": None}
    train("sha_rnn", documents, folder, n_folds=3, folds=[0], changes=changes, extra=OTHERS[:3])
    return folder


def test_documents_that_a_run_of_one_fold_was_trained_on_are_left_out(one_fold, documents):
    found = unseen([one_fold], [*documents, *OTHERS])
    validated = [entry[0] for entry in read_json(one_fold / "run.json")["documents"] if entry[3] == 0]
    expected = [document.number for document in documents if document.number in validated]
    assert [doc.number for doc, _ in found.predictions] == [*expected, *(doc.number for doc in OTHERS[3:])]
    assert (found.n_predicted, found.n_left_out) == (3, 24 - len(expected) + 3)
    assert "left out (a run may have been trained on them)" in found.counts()


def test_no_tagger_runs_on_a_document_that_it_was_trained_on(cross_validated, documents, monkeypatch):
    run, predicted = cross_validated(0)[0], []
    monkeypatch.setattr(Tagger, "predict", lambda self, documents: predicted.extend(documents) or [])
    assert len(unseen([run], documents).predictions) == len(documents)
    assert not predicted


def test_out_of_fold_probabilities_are_those_of_the_tagger_that_never_saw_the_document(cross_validated, documents):
    run = cross_validated(0)[0]
    kept, entries = load_out_of_fold(run), read_json(run / "run.json")["documents"]
    largest = 0.0
    for fold in range(3):
        held = [doc for doc, entry in zip(documents, entries, strict=True) if entry[3] == fold]
        assert kept.folds(documents)[fold] == held
        again = keep_out_of_fold(predict_documents([load_member(run / f"fold_{fold}")], held))
        for document in held:
            np.testing.assert_allclose(again.of(document), kept.of(document), atol=1e-6)
        ((_, scores),) = predict_documents([load_member(run / f"fold_{fold - 1 if fold else 2}")], held[:1])
        largest = max(largest, np.abs(scores - kept.of(held[0])).max())
    assert largest > 1e-4  # another fold's tagger predicts something else


def test_labels_out_of_fold_are_of_documents_that_all_runs_validated(cross_validated, one_fold, documents):
    runs = [cross_validated(seed)[0] for seed in (0, 1)]
    tagger = Tagger.load(*runs)
    labels = labels_out_of_fold(tagger, runs, [*documents, *OTHERS])
    assert labels == labels_by_other_folds(list(map(load_out_of_fold, runs)), documents, tagger.rules)[0]
    assert labels_out_of_fold(tagger, [one_fold], documents) == {}  # a single fold has no others


# Export


@needs_onnx
def test_an_exported_run_predicts_the_same_and_has_the_same_records(cross_validated, documents, tmp_path):
    run, out = cross_validated(0)[0], tmp_path / "exported"
    assert export_run(run, out) < 1e-3
    one, other = Tagger.load(run), Tagger.load(out)
    assert (one.o_threshold, one.rules) == (other.o_threshold, other.rules)
    for (_, scores), (_, again) in zip(one.predict(documents[:4]), other.predict(documents[:4]), strict=True):
        np.testing.assert_allclose(scores, again, atol=1e-4)
    assert choose_threshold([run], documents, one.rules) == choose_threshold([out], documents, one.rules)
    assert load_out_of_fold(out).scored.keys() == load_out_of_fold(run).scored.keys()
    assert not list(out.rglob("*.pt")) and not list(out.rglob("model.safetensors"))
    with pytest.raises(KitError, match="exists already; choose a new folder"):
        export_run(run, out)
    with pytest.raises(KitError, match="is exported already"):
        export_run(out, tmp_path / "again")
    shutil.rmtree(out / "fold_1")
    with pytest.raises(KitError, match=f"{out}/fold_1: not a run folder with a trained model"):
        Tagger.load(out)


@needs_onnx
def test_an_export_to_int8_rounds_the_weights_of_each_fold(cross_validated, documents, tmp_path):
    import onnx

    run, _ = cross_validated(0)
    export_run(run, tmp_path / "exported", int8=documents)
    files = sorted((tmp_path / "exported").glob("fold_*/tagger/model.onnx"))
    assert len(files) == len(fold_folders(run))
    for file in files:
        kinds = {tensor.data_type for tensor in onnx.load(file).graph.initializer if len(tensor.dims) > 1}
        assert onnx.TensorProto.INT8 in kinds
        load_member(file.parents[1])


@needs_onnx
def test_an_export_to_int8_that_misses_more_rows_is_not_kept(cross_validated, documents, tmp_path, monkeypatch):
    run = shutil.copytree(cross_validated(0)[0], tmp_path / "run")
    for fold, held in zip(fold_folders(run), load_out_of_fold(run).folds(documents), strict=True):
        right = [(document, np.eye(15)[[LABEL_TO_ID[label] for label in document.labels]]) for document in held]
        save_out_of_fold(fold, keep_out_of_fold(right))

    def nothing(taggers, documents):
        outside = np.eye(15, dtype=np.float32)[0]
        return [(document, np.tile(outside, (len(document.tokens), 1))) for document in documents]

    monkeypatch.setattr("pii_kit.training.out_of_fold.predict_documents", nothing)
    with pytest.raises(KitError, match=r"not exported: of \d+ rows out of fold .* misses \d+ in 8 bits, \d+ before"):
        export_run(run, tmp_path / "exported", int8=documents)
    for others in (make_documents(3, seed=99), []):
        with pytest.raises(KitError, match="expected the run's training essays"):
            export_run(run, tmp_path / "exported", int8=others)
    assert not (tmp_path / "exported").exists()
