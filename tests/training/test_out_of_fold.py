from dataclasses import replace

import numpy as np
import pytest
from conftest import essay_of_labels, likely, make_document, random_essays
from safetensors.numpy import load_file, save_file

from pii_kit import metrics
from pii_kit.decide import O_THRESHOLDS, decide
from pii_kit.files import KitError
from pii_kit.labels import LABEL_TO_ID, LABELS, OUTSIDE_ID, PII_TYPES
from pii_kit.metrics import best_threshold, bootstrap_scores, decided_rows, threshold_curve
from pii_kit.rules import DEFAULT_RULES, RULES, label_document
from pii_kit.submission import true_rows
from pii_kit.training.out_of_fold import (
    FILE,
    KEPT_BELOW,
    average_out_of_fold,
    choose_threshold,
    join_out_of_fold,
    keep_out_of_fold,
    labels_by_other_folds,
    load_out_of_fold,
    save_out_of_fold,
    threshold_for_recall,
)


@pytest.fixture(params=range(4))
def predictions(request):
    rng = np.random.default_rng(request.param)
    return [(document, likely(rng, document.labels)) for document in random_essays(rng)]


def test_every_token_that_a_threshold_could_label_is_kept_and_no_other(predictions):
    kept = keep_out_of_fold(predictions)
    assert max(O_THRESHOLDS) < KEPT_BELOW
    for document, scores in predictions:
        again = kept.of(document)
        could_be = (scores[:, OUTSIDE_ID] < KEPT_BELOW) | (np.array(document.labels) != "O")
        assert np.array_equal(again[could_be], scores[could_be])
        assert (again[~could_be] == np.eye(len(LABELS))[OUTSIDE_ID]).all()
    assert any((scores[:, OUTSIDE_ID] >= KEPT_BELOW).any() for _, scores in predictions)


@pytest.mark.parametrize("o_threshold", O_THRESHOLDS)
def test_kept_probabilities_give_the_labels_of_the_full_ones(predictions, o_threshold):
    kept = keep_out_of_fold(predictions)
    for document, scores in predictions:
        assert decide(kept.of(document), o_threshold=o_threshold) == decide(scores, o_threshold=o_threshold)


def test_documents_without_a_kept_row_are_kept_as_scored():
    sure = np.eye(len(LABELS), dtype=np.float32)[[0, 0]]
    kept = keep_out_of_fold([(essay_of_labels(7, ["O", "O"]), sure)])
    assert (kept.documents.tolist(), kept.n_tokens.tolist(), len(kept.document)) == ([7], [2], 0)


@pytest.mark.parametrize("shift", [0, 1 << 40])
def test_the_average_is_that_of_the_full_probabilities(predictions, shift):
    """Up to the probabilities that are not kept. Document numbers may be large."""
    rng = np.random.default_rng(9)
    documents = [essay_of_labels(document.number + shift, document.labels) for document, _ in predictions]
    members = [[likely(rng, document.labels) for document in documents] for _ in range(3)]
    kept = [keep_out_of_fold(zip(documents, of_member, strict=True)) for of_member in members]
    average = average_out_of_fold(kept)
    means = [sum(scores) / 3 for scores in zip(*members, strict=True)]
    for document, mean in zip(documents, means, strict=True):
        np.testing.assert_allclose(average.of(document), mean, atol=2 * (1 - KEPT_BELOW))
        assert average.holds(document)
        for o_threshold in (0.1, 0.5, 0.9):
            assert decide(average.of(document), o_threshold=o_threshold) == decide(mean, o_threshold=o_threshold)


def test_runs_with_different_validation_documents_are_not_averaged(predictions):
    one, other = keep_out_of_fold(predictions), keep_out_of_fold(predictions[1:])
    with pytest.raises(KitError, match="different validation documents"):
        average_out_of_fold([one, other])


def same(one, other) -> bool:
    return all(np.array_equal(array, getattr(other, name)) for name, array in vars(one).items())


def test_folds_can_be_joined_in_any_order(predictions):
    parts = [keep_out_of_fold(predictions[start::3]) for start in (2, 0, 1)]
    assert same(join_out_of_fold(parts), keep_out_of_fold(predictions))


def test_saved_arrays_are_loaded_again_and_are_all_numbers(predictions, tmp_path):
    kept = keep_out_of_fold(predictions)
    save_out_of_fold(tmp_path, kept)
    assert same(load_out_of_fold(tmp_path), kept)
    assert all(array.dtype.kind in "if" for array in load_file(tmp_path / FILE).values())
    assert load_out_of_fold(tmp_path / "nowhere") is None


def test_no_token_of_a_document_is_in_the_file(tmp_path):
    document = make_document("Wilhelmina wrote this", labels={"Wilhelmina": "B-NAME_STUDENT"})
    save_out_of_fold(tmp_path, keep_out_of_fold([(document, np.full((3, len(LABELS)), 1 / 15, dtype=np.float32))]))
    content = (tmp_path / FILE).read_bytes()
    assert not any(word.encode() in content for word in document.tokens)


def test_a_damaged_file_is_named(predictions, tmp_path):
    kept = keep_out_of_fold(predictions)
    for damage in ("cut short", "a part missing", "other things"):
        save_out_of_fold(tmp_path, kept)
        content = (tmp_path / FILE).read_bytes()
        arrays = load_file(tmp_path / FILE)
        if damage == "cut short":
            (tmp_path / FILE).write_bytes(content[:-9])
        elif damage == "a part missing":
            save_file({name: array for name, array in arrays.items() if name != "documents"}, tmp_path / FILE)
        else:
            save_file({**arrays, "more": arrays["label"]}, tmp_path / FILE)
        with pytest.raises(KitError, match=f"{FILE}: cannot be loaded"):
            load_out_of_fold(tmp_path)


def test_a_document_is_recognized_by_number_length_and_labels(predictions):
    kept = keep_out_of_fold(predictions)
    assert all(kept.holds(document) for document, _ in predictions)
    document = max((document for document, _ in predictions), key=lambda document: len(document.tokens))
    assert not kept.holds(essay_of_labels(1000, document.labels))
    assert not kept.holds(essay_of_labels(-1, document.labels))
    assert not kept.holds(essay_of_labels(document.number, (*document.labels, "O")))
    assert not kept.holds(essay_of_labels(document.number, document.labels[:-1]))
    other = ["O" if label == "B-EMAIL" else "B-EMAIL" for label in document.labels]
    assert not kept.holds(essay_of_labels(document.number, other))


def test_an_unlabelled_document_is_not_recognized(predictions):
    kept = keep_out_of_fold(predictions)
    assert not any(kept.holds(replace(document, labels=None)) for document, _ in predictions)


KINDS = ((True, True), (False, True), (True, False))  # of (true, found): right, false, missed


def runs_of(seed: int, n_members: int) -> tuple[list, list]:
    """Random labelled documents, and out-of-fold probabilities of several runs, each better than the one before it."""
    rng = np.random.default_rng(seed)
    documents = [real_words(rng, one) for one in random_essays(rng)]
    documents += [real_words(rng, replace(one, number=one.number + 100)) for one in random_essays(rng)]
    members = []
    for place in range(n_members):
        predictions = []
        for one in documents:
            true = np.eye(15, dtype=np.float32)[[LABEL_TO_ID[label] for label in one.labels]].reshape(-1, 15)
            predictions.append((one, (likely(rng, one.labels) + 0.2 * place * true) / (1 + 0.2 * place)))
        members.append(keep_out_of_fold(predictions))
    return members, documents


def real_words(rng, document):
    """The document with tokens that every rule has something to say about."""
    words = ["Anna", "Lund", "anna", "the", "Dr", "By", "\n", "1234567", "7", "a@b.com", "www.coursera.org", "-", "Ben"]
    tokens = tuple(rng.choice(words, size=len(document.tokens)).tolist())
    return replace(document, tokens=tokens, full_text=" ".join(tokens))


def cautious(members, documents, rules) -> float:
    """The threshold from .5 to .7 that misses least, as good as the best within a standard error, from full rows."""
    average = average_out_of_fold(members)
    predictions = [(document, average.of(document)) for document in documents]
    curve = threshold_curve(predictions, rules=rules)
    best = best_threshold(curve)
    rows = decided_rows(predictions, o_threshold=best, rules=rules)
    error = bootstrap_scores(true_rows(documents), rows, [one.number for one in documents]).std()
    return max([best, 0.5] + [t for t in curve.index if t <= 0.7 and curve.loc[t, "f5"] >= curve["f5"].max() - error])


@pytest.mark.parametrize("rules", [(), *((name,) for name in RULES), DEFAULT_RULES, tuple(RULES)], ids=len)
@pytest.mark.parametrize("n_members", [1, 3])
def test_the_threshold_is_that_of_a_slow_search_with_the_rules_applied(n_members, rules):
    members, documents = runs_of(len(rules), n_members)
    assert choose_threshold(members, documents, rules) == cautious(members, documents, rules)


def test_rules_change_the_choice():
    """For some random documents the threshold with rules differs from that without."""
    choices = []
    for seed in range(6):
        members, documents = runs_of(seed, 2)
        choices.append([choose_threshold(members, documents, rules) for rules in ((), DEFAULT_RULES)])
    assert any(without != with_rules for without, with_rules in choices)


def test_rules_run_once_for_equal_labels(monkeypatch):
    members, documents = runs_of(0, 2)
    calls = []

    def count(document, scores, *, original=metrics.label_document, **settings):
        calls.append((document.number, tuple(original(document, scores, **{**settings, "rules": ()}))))
        return original(document, scores, **settings)

    monkeypatch.setattr(metrics, "label_document", count)
    choose_threshold(members, documents, DEFAULT_RULES)
    assert len(documents) <= len(calls) < len(documents) * len(O_THRESHOLDS)
    assert len(calls) == len(set(calls))


def test_the_threshold_is_chosen_on_the_documents_that_every_run_validated(caplog):
    """Another run validated half of the documents; documents that no run knows do not count either."""
    (one, other), documents = runs_of(2, 2)
    half = documents[:6]
    part = keep_out_of_fold((document, other.of(document)) for document in half)
    only_half = keep_out_of_fold((document, one.of(document)) for document in half)
    unknown = essay_of_labels(5000, ["B-EMAIL"])
    expected = choose_threshold([only_half, part], half, DEFAULT_RULES)
    assert not caplog.messages
    assert choose_threshold([one, part], [unknown, *documents], DEFAULT_RULES) == expected
    assert "chosen on 6 of 13 documents" in caplog.text


def test_labels_of_a_fold_are_decided_on_the_other_folds():
    members, documents = runs_of(4, 2)
    folds = [documents[:4], documents[4:7], documents[7:]]
    labels, of_all = labels_by_other_folds(members, folds, DEFAULT_RULES)
    assert of_all == choose_threshold(members, [document for fold in folds for document in fold], DEFAULT_RULES)
    assert sorted(labels) == sorted(document.number for document in documents)
    for fold in folds:
        others = [document for other in folds if other is not fold for document in other]
        o_threshold = choose_threshold(members, others, DEFAULT_RULES)
        average = average_out_of_fold(members)
        for document in fold:
            expected = label_document(document, average.of(document), o_threshold=o_threshold, rules=DEFAULT_RULES)
            assert labels[document.number] == expected
    o_threshold = choose_threshold(members[:1], documents, ())
    for document in documents:  # a single fold has no others
        expected = label_document(document, members[0].of(document), o_threshold=o_threshold, rules=())
        assert labels_by_other_folds(members[:1], [documents], ())[0][document.number] == expected


def test_a_fold_has_the_threshold_of_the_others_not_its_own():
    """Fold 0 alone would take a high threshold, which finds its name, and fold 1 a low one, which finds nobody."""
    document = make_document("Ann wrote to Bob", number=4, labels={"Ann": "B-NAME_STUDENT"})
    nobody = replace(document, number=5, labels=("O",) * 4)
    scores = np.zeros((4, len(LABELS)), dtype=np.float32)
    scores[:, LABEL_TO_ID["B-NAME_STUDENT"]] = [0.3, 0.001, 0.0005, 0.08]
    scores[:, OUTSIDE_ID] = 1 - scores[:, LABEL_TO_ID["B-NAME_STUDENT"]]
    kept = keep_out_of_fold([(document, scores), (nobody, scores)])
    alone = [choose_threshold([kept], [of_fold], ()) for of_fold in (document, nobody)]
    assert alone[1] <= 0.7 < alone[0]
    labels, _ = labels_by_other_folds([kept], [[document], [nobody]], ())
    assert labels == {4: decide(scores, o_threshold=alone[1]), 5: decide(scores, o_threshold=alone[0])}
    assert labels[4] == ["O"] * 4 and labels[5] != ["O"] * 4


def test_labelled_documents_that_no_run_validated_are_an_error():
    members, documents = runs_of(0, 2)
    others = [replace(document, number=document.number + 5000) for document in documents]
    with pytest.raises(KitError, match=r"none of 12 labelled documents was in a validation fold of every run; pass"):
        choose_threshold(members, others, ())


def test_the_lowest_threshold_that_finds_enough_rows_is_chosen():
    members, documents = runs_of(5, 2)
    average = average_out_of_fold(members)

    def find(o_threshold):
        labels = [label_document(doc, average.of(doc), o_threshold=o_threshold) for doc in documents]
        true, found = (np.concatenate(of) for of in ([doc.labels for doc in documents], labels))
        return tuple(
            int(np.sum(((true != "O") == of_true) & ((found != "O") == of_found))) for of_true, of_found in KINDS
        )

    for recall in (0.2, 0.45):
        threshold, score = threshold_for_recall(members, documents, DEFAULT_RULES, recall)
        assert (score.tp, score.fp, score.fn) == find(threshold) and score.recall >= recall
        below = [find(one) for one in O_THRESHOLDS if one < threshold]
        assert all(found < recall * (found + missed) for found, _, missed in below)
    with pytest.raises(KitError, match=r"1\.1 cannot be reached: at most \d+ of \d+ rows are found"):
        threshold_for_recall(members, documents, DEFAULT_RULES, 1.1)


def test_with_a_recall_each_fold_has_the_threshold_that_finds_enough_in_the_others():
    members, documents = runs_of(4, 2)
    folds = [documents[:4], documents[4:7], documents[7:]]
    labels, _ = labels_by_other_folds(members, folds, DEFAULT_RULES, recall=0.3)
    average, chosen = average_out_of_fold(members), set()
    for place, fold in enumerate(folds):
        others = [doc for other in (*folds[:place], *folds[place + 1 :]) for doc in other]
        threshold, _ = threshold_for_recall(members, others, DEFAULT_RULES, 0.3)
        chosen.add(threshold)
        for doc in fold:
            assert labels[doc.number] == label_document(doc, average.of(doc), o_threshold=threshold)
    assert len(chosen) > 1


def test_thresholds_of_types_are_fixed_for_all_folds():
    members, documents = runs_of(4, 2)
    folds, nothing = [documents[:5], documents[5:]], dict.fromkeys(PII_TYPES, 1e-9)
    labels, _ = labels_by_other_folds(members, folds, (), by_type=nothing)
    assert {label for of_document in labels.values() for label in of_document} == {"O"}
