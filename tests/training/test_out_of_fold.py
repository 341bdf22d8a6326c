from dataclasses import replace

import numpy as np
import pytest
from conftest import essay_of_labels, likely, make_document, random_essays
from safetensors.numpy import load_file, save_file

from pii_kit.decide import O_THRESHOLDS, decide
from pii_kit.files import KitError
from pii_kit.labels import LABEL_TO_ID, LABELS, OUTSIDE_ID
from pii_kit.metrics import best_threshold, bootstrap_scores, decided_rows, threshold_curve
from pii_kit.rules import DEFAULT_RULES, RULES, SURE, label_document
from pii_kit.submission import true_rows
from pii_kit.training import out_of_fold
from pii_kit.training.out_of_fold import (
    FILE,
    KEPT_BELOW,
    VOTES,
    average_out_of_fold,
    choose_weights,
    join_out_of_fold,
    keep_out_of_fold,
    labels_by_other_folds,
    load_out_of_fold,
    save_out_of_fold,
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
    documents = [essay_of_labels(document.document + shift, document.labels) for document, _ in predictions]
    members = [[likely(rng, document.labels) for document in documents] for _ in range(3)]
    weights = (0.5, 0.3, 0.2)
    kept = [keep_out_of_fold(zip(documents, of_member, strict=True)) for of_member in members]
    average = average_out_of_fold(kept, weights)
    means = [sum(w * s for w, s in zip(weights, scores, strict=True)) for scores in zip(*members, strict=True)]
    for document, mean in zip(documents, means, strict=True):
        np.testing.assert_allclose(average.of(document), mean, atol=2 * (1 - KEPT_BELOW))
        assert average.holds(document)
        for o_threshold in (0.1, 0.5, 0.9):
            assert decide(average.of(document), o_threshold=o_threshold) == decide(mean, o_threshold=o_threshold)


def test_runs_with_different_validation_documents_are_not_averaged(predictions):
    one, other = keep_out_of_fold(predictions), keep_out_of_fold(predictions[1:])
    with pytest.raises(KitError, match="different validation documents"):
        average_out_of_fold([one, other], [0.5, 0.5])


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
    assert not kept.holds(essay_of_labels(document.document, (*document.labels, "O")))
    assert not kept.holds(essay_of_labels(document.document, document.labels[:-1]))
    other = ["O" if label == "B-EMAIL" else "B-EMAIL" for label in document.labels]
    assert not kept.holds(essay_of_labels(document.document, other))


def test_an_unlabelled_document_is_not_recognized(predictions):
    kept = keep_out_of_fold(predictions)
    assert not any(kept.holds(replace(document, labels=None)) for document, _ in predictions)


def runs_of(seed: int, n_members: int) -> tuple[list, list]:
    """Random labelled documents, and out-of-fold probabilities of several runs, each better than the one before it."""
    rng = np.random.default_rng(seed)
    documents = [real_words(rng, one) for one in random_essays(rng)]
    documents += [real_words(rng, replace(one, document=one.document + 100)) for one in random_essays(rng)]
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


def curve_of(members, weights, documents, rules):
    """Score every threshold on the full rows, without any cache."""
    average = average_out_of_fold(members, weights)
    return threshold_curve([(document, average.of(document)) for document in documents], rules=rules)


def best_of(members, weights, documents, rules) -> float:
    return curve_of(members, weights, documents, rules)["f5"].max()


def choose_slowly(members, documents, rules):
    """Ensemble selection written out, with the score of `curve_of`."""
    best, votes = None, [1] * len(members)
    candidates = [votes]
    for _ in range(VOTES - len(members) + 1):
        curves = []
        for tried in candidates:
            curve = curve_of(members, [n / sum(tried) for n in tried], documents, rules)
            curves.append((curve["f5"].max(), curve, tried))
        winner = max(curves, key=lambda found: found[0])
        if best is None or winner[0] > best[0]:
            best = winner
        candidates = [[n + (i == place) for i, n in enumerate(winner[2])] for place in range(len(members))]
    weights = [n / sum(best[2]) for n in best[2]]
    return weights, cautious(members, weights, documents, rules)


def cautious(members, weights, documents, rules) -> float:
    """The threshold up to .7 that misses least and is as good as the best within a standard error, from full rows."""
    curve, average = curve_of(members, weights, documents, rules), average_out_of_fold(members, weights)
    best = best_threshold(curve)
    rows = decided_rows([(one, average.of(one)) for one in documents], o_threshold=best, rules=rules)
    error = bootstrap_scores(true_rows(documents), rows, [one.document for one in documents]).std()
    return max([best] + [t for t in curve.index if t <= 0.7 and curve.loc[t, "f5"] >= curve["f5"].max() - error])


@pytest.mark.parametrize("rules", [(), *((name,) for name in RULES), DEFAULT_RULES, tuple(RULES)], ids=len)
def test_weights_and_threshold_are_those_of_a_slow_search_with_the_rules_applied(rules):
    members, documents = runs_of(len(rules), 2)
    assert choose_weights(members, documents, rules) == choose_slowly(members, documents, rules)


def test_rules_change_the_choice():
    """Each choice is the best for the rules that it was made with; for some random documents the two differ."""
    choices = []
    for seed in range(6):
        members, documents = runs_of(seed, 2)
        choices.append([choose_weights(members, documents, rules) for rules in ((), DEFAULT_RULES)])
        for rules, (weights, o_threshold) in zip(((), DEFAULT_RULES), choices[-1], strict=True):
            assert o_threshold == cautious(members, weights, documents, rules)
            assert best_of(members, weights, documents, rules) >= best_of(members, [0.5, 0.5], documents, rules)
    assert any(without != with_rules for without, with_rules in choices)


def test_weights_that_make_a_name_sure_are_worth_more_with_the_rule_that_copies_it():
    """Worked by hand: the labels are the same for all weights, but only 2:1 brings P(O) of "Anna" below SURE."""
    document = make_document("Anna knows that we met Anna", labels={"Anna": "B-NAME_STUDENT"})
    members = []
    for p_outside in (0.001, 0.05):
        scores = np.eye(len(LABELS), dtype=np.float32)[[OUTSIDE_ID] * 6]
        scores[0, [OUTSIDE_ID, LABEL_TO_ID["B-NAME_STUDENT"]]] = p_outside, 1 - p_outside
        members.append(keep_out_of_fold([(document, scores)]))
    assert 2 / 3 * 0.001 + 1 / 3 * 0.05 < SURE < 1 / 2 * 0.001 + 1 / 2 * 0.05
    assert choose_weights(members, [document], ["add_emails"])[0] == [1 / 2, 1 / 2]
    assert choose_weights(members, [document], ["propagate_lone_names"])[0] == [2 / 3, 1 / 3]


def test_rules_run_once_for_equal_labels(monkeypatch):
    members, documents = runs_of(0, 2)
    calls = []

    def count(document, scores, *, original=out_of_fold.label_document, **settings):
        labels = original(document, scores, **{**settings, "rules": ()})
        sure = tuple((scores[:, OUTSIDE_ID] < SURE).tolist())
        calls.append((document.document, tuple(labels), sure))
        return original(document, scores, **settings)

    monkeypatch.setattr(out_of_fold, "label_document", count)
    choose_weights(members, documents, DEFAULT_RULES)
    assert len(calls) < len(documents) * len(O_THRESHOLDS) * 5
    outside = [call for call in calls if set(call[1]) <= {"O"}]
    assert len(outside) == len({number for number, _, _ in outside})


@pytest.mark.parametrize("seed", range(5))
def test_chosen_weights_are_no_worse_than_equal_ones_and_the_first_steps(seed):
    """Two runs: of all shares of up to ten votes the search tries some, equal ones and both 2:1 among them."""
    members, documents = runs_of(seed, 2)
    weights, _ = choose_weights(members, documents, ())
    chosen = best_of(members, weights, documents, ())
    assert sum(weights) == pytest.approx(1) and min(weights) > 0
    tried = ([1 / 2, 1 / 2], [1 / 3, 2 / 3], [2 / 3, 1 / 3])
    assert max(best_of(members, of_tried, documents, ()) for of_tried in tried) <= chosen


def test_the_better_of_two_runs_gets_more_weight():
    (bad, *_, good), documents = runs_of(3, 6)
    weights, _ = choose_weights([bad, good], documents, ())
    assert weights[1] > 0.5
    assert choose_weights([good, bad], documents, ())[0] == pytest.approx(weights[::-1])


@pytest.mark.parametrize("n_members", [3, 12])
def test_any_number_of_runs_has_weights(n_members):
    members, documents = runs_of(0, n_members)
    weights, _ = choose_weights(members, documents, ())
    assert len(weights) == n_members and sum(weights) == pytest.approx(1)
    equal = best_of(members, [1 / n_members] * n_members, documents, ())
    assert best_of(members, weights, documents, ()) >= equal


def test_equal_runs_have_equal_weights_and_the_threshold_of_one():
    (member,), documents = runs_of(1, 1)
    weights, o_threshold = choose_weights([member] * 2, documents, ())
    assert weights == [0.5, 0.5]
    assert o_threshold == cautious([member], [1], documents, ())


def test_weights_are_chosen_on_the_documents_that_every_run_validated():
    """Another run validated half of the documents; documents that no run knows do not count either."""
    (one, other), documents = runs_of(2, 2)
    half = documents[:6]
    part = keep_out_of_fold((document, other.of(document)) for document in half)
    only_half = keep_out_of_fold((document, one.of(document)) for document in half)
    unknown = essay_of_labels(5000, ["B-EMAIL"])
    expected = choose_weights([only_half, part], half, DEFAULT_RULES)
    assert choose_weights([one, part], [unknown, *documents], DEFAULT_RULES) == expected


def test_labels_of_a_fold_are_decided_on_the_other_folds():
    members, documents = runs_of(4, 2)
    folds = [documents[:4], documents[4:7], documents[7:]]
    labels = labels_by_other_folds(members, folds, DEFAULT_RULES)
    assert sorted(labels) == sorted(document.document for document in documents)
    for fold in folds:
        others = [document for other in folds if other is not fold for document in other]
        weights, o_threshold = choose_weights(members, others, DEFAULT_RULES)
        average = average_out_of_fold(members, weights)
        for document in fold:
            expected = label_document(document, average.of(document), o_threshold=o_threshold, rules=DEFAULT_RULES)
            assert labels[document.document] == expected
    _, o_threshold = choose_weights(members[:1], documents, ())
    for document in documents:  # a single fold has no others
        expected = label_document(document, members[0].of(document), o_threshold=o_threshold, rules=())
        assert labels_by_other_folds(members[:1], [documents], ())[document.document] == expected


def test_a_fold_has_the_threshold_of_the_others_not_its_own():
    """Fold 0 alone would take a high threshold, which finds its name, and fold 1 a low one, which finds nobody."""
    document = make_document("Ann wrote to Bob", number=4, labels={"Ann": "B-NAME_STUDENT"})
    nobody = replace(document, document=5, labels=("O",) * 4)
    scores = np.zeros((4, len(LABELS)), dtype=np.float32)
    scores[:, LABEL_TO_ID["B-NAME_STUDENT"]] = [0.3, 0.001, 0.0005, 0.08]
    scores[:, OUTSIDE_ID] = 1 - scores[:, LABEL_TO_ID["B-NAME_STUDENT"]]
    kept = keep_out_of_fold([(document, scores), (nobody, scores)])
    alone = [choose_weights([kept], [of_fold], ())[1] for of_fold in (document, nobody)]
    assert alone[1] <= 0.7 < alone[0]
    labels = labels_by_other_folds([kept], [[document], [nobody]], ())
    assert labels == {4: decide(scores, o_threshold=alone[1]), 5: decide(scores, o_threshold=alone[0])}
    assert labels[4] == ["O"] * 4 and labels[5] != ["O"] * 4


def test_labelled_documents_that_no_run_validated_are_an_error():
    members, documents = runs_of(0, 2)
    others = [replace(document, document=document.document + 5000) for document in documents]
    with pytest.raises(KitError, match=r"none of 12 labelled documents was in a validation fold of every run; pass"):
        choose_weights(members, others, ())
