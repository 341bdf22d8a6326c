import numpy as np
import pytest
from conftest import essay_of_labels, likely, make_document, random_essays
from safetensors.numpy import load_file, save_file

from pii_kit.decide import O_THRESHOLDS, decide
from pii_kit.files import KitError
from pii_kit.labels import LABELS, OUTSIDE_ID
from pii_kit.metrics import decided_rows, micro_fbeta
from pii_kit.submission import true_rows
from pii_kit.training.out_of_fold import (
    FILE,
    KEPT_BELOW,
    UNKNOWN,
    average_out_of_fold,
    join_out_of_fold,
    keep_out_of_fold,
    load_out_of_fold,
    save_out_of_fold,
    score_out_of_fold,
)


@pytest.fixture(params=range(4))
def predictions(request):
    rng = np.random.default_rng(request.param)
    return [(document, likely(rng, document.labels)) for document in random_essays(rng)]


def test_what_is_kept_has_every_token_that_a_cut_off_could_label_and_no_other(predictions):
    kept = keep_out_of_fold(predictions)
    assert max(O_THRESHOLDS) < KEPT_BELOW
    for document, scores in predictions:
        again = kept.of(document)
        could_be = (scores[:, OUTSIDE_ID] < KEPT_BELOW) | (np.array(document.labels) != "O")
        assert np.array_equal(again[could_be], scores[could_be])
        assert (again[~could_be] == np.eye(len(LABELS))[OUTSIDE_ID]).all()
    assert any((scores[:, OUTSIDE_ID] >= KEPT_BELOW).any() for _, scores in predictions)


@pytest.mark.parametrize("o_threshold", O_THRESHOLDS)
def test_what_is_kept_is_decided_as_the_full_probabilities_are(predictions, o_threshold):
    kept = keep_out_of_fold(predictions)
    for document, scores in predictions:
        assert decide(kept.of(document), o_threshold=o_threshold) == decide(scores, o_threshold=o_threshold)


def test_the_fast_score_is_that_of_decided_rows_at_every_cut_off(predictions):
    kept = keep_out_of_fold(predictions)
    truth = true_rows(document for document, _ in predictions)
    scores = []
    for o_threshold in O_THRESHOLDS:
        scores.append(score_out_of_fold(kept, o_threshold=o_threshold))
        assert scores[-1] == micro_fbeta(truth, decided_rows(predictions, o_threshold=o_threshold))
    assert len({score.f for score in scores}) > len(O_THRESHOLDS) / 2


def test_a_span_never_goes_on_from_one_document_to_the_next():
    """Worked by hand: an I- at a document's start becomes B-, whatever stands at the end of the one before."""
    scores = np.full((1, len(LABELS)), 0.01, dtype=np.float32)
    scores[0, LABELS.index("I-EMAIL")] = 0.86
    documents = [essay_of_labels(1, ["B-EMAIL"]), essay_of_labels(2, ["B-EMAIL"])]
    kept = keep_out_of_fold([(document, scores) for document in documents])
    assert score_out_of_fold(kept, o_threshold=0.5).tp == 2


def test_essays_without_pii_that_nothing_is_found_in_score_one():
    sure = np.eye(len(LABELS), dtype=np.float32)[[0, 0]]
    kept = keep_out_of_fold([(essay_of_labels(7, ["O", "O"]), sure)])
    assert (kept.documents.tolist(), len(kept.document)) == ([7], 0)
    assert score_out_of_fold(kept, o_threshold=0.9).f == 1


@pytest.mark.parametrize("shift", [0, 1 << 40])
def test_an_average_is_that_of_the_full_probabilities(predictions, shift):
    """Up to what is not kept. Numbers of documents may be large."""
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
        slow = micro_fbeta(
            true_rows(documents), decided_rows(list(zip(documents, means, strict=True)), o_threshold=o_threshold)
        )
        assert score_out_of_fold(average, o_threshold=o_threshold) == slow


def test_different_documents_are_not_averaged(predictions):
    one, other = keep_out_of_fold(predictions), keep_out_of_fold(predictions[1:])
    with pytest.raises(ValueError, match="different documents"):
        average_out_of_fold([one, other], [0.5, 0.5])


def same(one, other) -> bool:
    return all(np.array_equal(array, getattr(other, name)) for name, array in vars(one).items())


def test_folds_joined_in_any_order_are_what_is_kept_of_all_at_once(predictions):
    parts = [keep_out_of_fold(predictions[start::3]) for start in (2, 0, 1)]
    assert same(join_out_of_fold(parts), keep_out_of_fold(predictions))


def test_what_is_saved_is_loaded_again_and_holds_no_text(predictions, tmp_path):
    kept = keep_out_of_fold(predictions)
    save_out_of_fold(tmp_path, kept)
    assert same(load_out_of_fold(tmp_path), kept)
    assert all(array.dtype.kind in "if" for array in load_file(tmp_path / FILE).values())
    assert load_out_of_fold(tmp_path / "nowhere") is None


def test_no_word_of_an_essay_is_in_the_file(tmp_path):
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


def test_a_document_is_known_by_number_length_and_labels(predictions):
    kept = keep_out_of_fold(predictions)
    assert all(kept.holds(document) for document, _ in predictions)
    document = max((document for document, _ in predictions), key=lambda document: len(document.tokens))
    assert not kept.holds(essay_of_labels(1000, document.labels))
    assert not kept.holds(essay_of_labels(-1, document.labels))
    assert not kept.holds(essay_of_labels(document.document, (*document.labels, "O")))
    assert not kept.holds(essay_of_labels(document.document, document.labels[:-1]))
    other = ["O" if label == "B-EMAIL" else "B-EMAIL" for label in document.labels]
    assert not kept.holds(essay_of_labels(document.document, other))


def test_files_that_do_not_say_how_long_essays_are_can_be_loaded(predictions, tmp_path):
    save_out_of_fold(tmp_path, keep_out_of_fold(predictions))
    save_file(
        {name: array for name, array in load_file(tmp_path / FILE).items() if name != "n_tokens"}, tmp_path / FILE
    )
    kept = load_out_of_fold(tmp_path)
    assert (kept.n_tokens == UNKNOWN).all()
    assert all(kept.holds(document) for document, _ in predictions)
    assert not any(kept.holds(essay_of_labels(document.document, ["B-ID_NUM"] * 50)) for document, _ in predictions)
