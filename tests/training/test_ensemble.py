import shutil
from dataclasses import replace

import numpy as np
import pytest

from pii_kit.files import KitError, read_json, write_json
from pii_kit.predict import Tagger, fold_folders, load_member, predict_documents
from pii_kit.rules import DEFAULT_RULES, label_document
from pii_kit.sample import make_documents
from pii_kit.training.ensemble import export_run, predict_labelled, teach, with_chosen_threshold
from pii_kit.training.folds import load_folds_out_of_fold, train_folds
from pii_kit.training.out_of_fold import average_out_of_fold, choose_threshold
from pii_kit.training.runs import save_tagger


def weights(tagger):
    return [member.weight for member in tagger.members]


def test_one_run_is_the_mean_of_its_folds_with_its_own_threshold(cross_validated, documents):
    run, _ = cross_validated(0)
    ensemble = Tagger.load(run)
    decision = read_json(run / "decision.json")
    assert weights(ensemble) == [1 / 3] * 3
    assert (ensemble.o_threshold, list(ensemble.rules)) == (decision["o_threshold"], decision["rules"])
    of_folds = [[s for _, s in predict_documents([load_member(f)], documents)] for f in fold_folders(run)]
    for place, (document, scores) in enumerate(ensemble.predict(documents)):
        np.testing.assert_allclose(scores, np.mean([of_fold[place] for of_fold in of_folds], axis=0), atol=1e-6)
        assert ensemble.decide(document, scores) == label_document(
            document, scores, o_threshold=decision["o_threshold"], rules=decision["rules"]
        )


def test_the_rules_are_those_of_the_runs_decisions(cross_validated, tmp_path):
    one, other = (shutil.copytree(cross_validated(0)[0], tmp_path / name) for name in ("one", "other"))
    write_json(one / "decision.json", {"o_threshold": 0.5, "rules": ["add_emails", "add_urls"]})
    write_json(other / "decision.json", {"o_threshold": 0.9, "rules": ["add_phones", "add_urls"]})
    assert Tagger.load(one).o_threshold == 0.5 and Tagger.load(one).rules == ("add_emails", "add_urls")
    assert Tagger.load(one, other).rules == ("add_emails", "add_urls", "add_phones")


def test_several_runs_have_the_mean_of_their_thresholds_without_documents(cross_validated):
    runs = [cross_validated(seed) for seed in (0, 1)]
    ensemble = Tagger.load(*(run for run, _ in runs))
    assert weights(ensemble) == pytest.approx([1 / 6] * 6)
    assert [member.run for member in ensemble.members] == [0, 0, 0, 1, 1, 1]
    assert ensemble.o_threshold == pytest.approx(sum(result["o_threshold"] for _, result in runs) / 2)


def test_with_documents_the_threshold_is_chosen_with_the_rules(cross_validated, documents):
    runs = [cross_validated(seed)[0] for seed in (0, 1)]
    ensemble = with_chosen_threshold(Tagger.load(*runs), runs, documents)
    members = [load_folds_out_of_fold(run) for run in runs]
    assert ensemble.rules == DEFAULT_RULES
    assert ensemble.o_threshold == choose_threshold(members, documents, DEFAULT_RULES)
    assert weights(ensemble) == pytest.approx([1 / 6] * 6)


def test_a_threshold_cannot_be_chosen_for_a_run_without_out_of_fold_probabilities(cross_validated, documents, tmp_path):
    copy = shutil.copytree(cross_validated(1)[0], tmp_path / "copy")
    (copy / "fold_1" / "tagger" / "out_of_fold.safetensors").unlink()
    runs = [cross_validated(0)[0], copy]
    with pytest.raises(KitError, match=f"{copy}: holds no out-of-fold probabilities"):
        with_chosen_threshold(Tagger.load(*runs), runs, documents)


@pytest.fixture
def other_data(documents, tiny_presets, tmp_path):
    """A run of two folds that was trained on half of the documents."""
    train_folds("mobilebert", documents[:12], tmp_path / "half", preset="cpu", n_folds=3, folds=range(2), epochs=1)
    return tmp_path / "half"


def test_runs_trained_on_different_data_are_refused_unless_allowed(cross_validated, other_data):
    """As a model of made-up essays beside one of real essays."""
    run, result = cross_validated(0)
    with pytest.raises(KitError) as error:
        Tagger.load(run, other_data)
    assert f"different data: {run} (24 documents), {other_data} (12 documents)" in str(error.value)
    assert "--mixed-data" in str(error.value)
    ensemble = Tagger.load(run, other_data, mixed_data=True)
    assert weights(ensemble) == pytest.approx([1 / 6] * 3 + [1 / 4] * 2)
    threshold = read_json(other_data / "result.json")["o_threshold"]
    assert ensemble.o_threshold == pytest.approx((result["o_threshold"] + threshold) / 2)


def test_exported_runs_trained_on_different_data_are_refused_too(cross_validated, other_data, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    export_run(other_data, tmp_path / "exported")
    with pytest.raises(KitError, match="different data"):
        Tagger.load(cross_validated(0)[0], tmp_path / "exported")


def test_teachers_trained_on_different_data_are_refused_unless_allowed(cross_validated, other_data, documents):
    runs = [cross_validated(0)[0], other_data]
    with pytest.raises(KitError, match="different data"):
        teach(runs, documents[:1])
    assert len(teach(runs, documents[:1], mixed_data=True).teacher) == 5


def test_a_run_of_one_tagger_can_be_averaged_with_a_cross_validated_one(
    cross_validated, sha_rnn_tagger, tmp_path, caplog
):
    """A folder without run.json does not tell what it was trained on; this is logged."""
    save_tagger(tmp_path, sha_rnn_tagger)
    run, result = cross_validated(0)
    assert Tagger.load(tmp_path).o_threshold == sha_rnn_tagger.o_threshold and not caplog.records
    ensemble = Tagger.load(tmp_path, run)
    assert weights(ensemble) == pytest.approx([1 / 2] + [1 / 6] * 3)
    assert ensemble.o_threshold == pytest.approx((result["o_threshold"] + sha_rnn_tagger.o_threshold) / 2)
    assert [record.message for record in caplog.records] == [
        f"{tmp_path}: has no run.json, so its training data are unknown"
    ]


def test_exported_runs_predict_the_same_with_the_same_weights(cross_validated, documents, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    runs = [cross_validated(seed)[0] for seed in (0, 1)]
    exported = [tmp_path / str(seed) for seed in (0, 1)]
    assert max(export_run(*pair) for pair in zip(runs, exported, strict=True)) < 1e-3
    one, other = (with_chosen_threshold(Tagger.load(*each), each, documents) for each in (runs, exported))
    assert (weights(other), other.o_threshold, other.rules) == (weights(one), one.o_threshold, one.rules)
    assert Tagger.load(*exported[:1]).o_threshold == Tagger.load(*runs[:1]).o_threshold
    for (_, scores), (_, again) in zip(one.predict(documents[:4]), other.predict(documents[:4]), strict=True):
        np.testing.assert_allclose(scores, again, atol=1e-4)
    shutil.rmtree(exported[0] / "fold_1")
    with pytest.raises(KitError, match=f"{exported[0]}/fold_1: not a run folder"):
        Tagger.load(*exported[:1])


@pytest.mark.parametrize("missing", ["fold_1", "fold_1/tagger"])
def test_a_missing_fold_is_named_in_the_error(missing, cross_validated, tmp_path):
    copy = shutil.copytree(cross_validated(0)[0], tmp_path / "copy")
    shutil.rmtree(copy / missing)
    with pytest.raises(KitError, match=f"{copy}/fold_1: not a run folder with a trained model") as error:
        Tagger.load(copy)
    assert "\n" not in str(error.value)
    with pytest.raises(KitError, match=f"{copy}/fold_1: not a run folder"):
        export_run(copy, tmp_path / "exported")


def test_a_folder_without_a_run_is_named_in_the_error(tmp_path):
    with pytest.raises(KitError, match=f"{tmp_path}: not a run folder"):
        Tagger.load(tmp_path)


OTHERS = [replace(document, number=document.number + 9000) for document in make_documents(6, seed=5)]


def predict(runs, documents, *, mixed_data=False):
    ensemble = Tagger.load(*runs, mixed_data=mixed_data)
    return ensemble, predict_labelled(ensemble, runs, documents)


@pytest.fixture
def one_fold(documents, tiny_presets, tmp_path):
    """A run of the first of three folds only."""
    train_folds("sha_rnn", documents, tmp_path / "one", preset="cpu", n_folds=3, folds=[0], epochs=1, seed=0)
    return tmp_path / "one"


def test_training_documents_are_out_of_fold_and_others_predicted_in_the_order_of_the_file(cross_validated, documents):
    run, _ = cross_validated(0)
    mixed = [*OTHERS[:3], *reversed(documents), *OTHERS[3:]]
    ensemble, found = predict([run], mixed)
    assert [document for document, _ in found.predictions] == mixed
    assert (found.n_predicted, found.n_left_out) == (6, 0)
    assert found.counts() == "30 documents, 24 out of fold, 6 predicted"
    kept = load_folds_out_of_fold(run)
    predicted = dict((document.number, scores) for document, scores in ensemble.predict(OTHERS))
    for document, scores in found.predictions:
        expected = predicted[document.number] if document in OTHERS else kept.of(document)
        np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_several_runs_are_averaged_in_and_out_of_fold(cross_validated, documents):
    runs = [cross_validated(seed)[0] for seed in (0, 1)]
    ensemble, found = predict(runs, [*documents, *OTHERS])
    average = average_out_of_fold([load_folds_out_of_fold(run) for run in runs])
    predicted = dict((document.number, scores) for document, scores in ensemble.predict(OTHERS))
    for document, scores in found.predictions:
        expected = predicted[document.number] if document in OTHERS else average.of(document)
        np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert (len(found.predictions), found.n_predicted) == (30, 6)


def test_documents_that_a_run_of_one_fold_was_trained_on_are_left_out(one_fold, documents):
    _, found = predict([one_fold], documents)
    assert [document.number for document, _ in found.predictions] == [
        document.number for document in documents if document.number in load_folds_out_of_fold(one_fold).documents
    ]
    assert (
        found.counts() == "8 documents, 8 out of fold, 0 predicted; 16 left out (a run may have been trained on them)"
    )
    _, found = predict([one_fold], OTHERS)
    assert (found.n_predicted, found.n_left_out) == (6, 0)


def test_documents_that_one_of_several_runs_was_trained_on_are_left_out(one_fold, cross_validated, documents):
    _, found = predict([cross_validated(0)[0], one_fold], [*documents, *OTHERS])
    assert (len(found.predictions), found.n_predicted, found.n_left_out) == (8, 0, 22)


def test_documents_with_changed_labels_are_left_out(cross_validated, documents):
    changed = [replace(documents[0], labels=("B-EMAIL", *documents[0].labels[1:])), *documents[1:]]
    _, found = predict([cross_validated(0)[0]], changed)
    assert [document for document, _ in found.predictions] == changed[1:]
    assert found.n_left_out == 1


def test_runs_of_different_data_predict_what_each_did_not_train_on(cross_validated, documents, tiny_presets, tmp_path):
    run, _ = cross_validated(0)
    train_folds("mobilebert", OTHERS, tmp_path / "other", preset="every_fold", n_folds=2, epochs=1)
    ensemble, found = predict([run, tmp_path / "other"], [documents[0], OTHERS[0]], mixed_data=True)
    assert (found.n_predicted, found.n_left_out) == (2, 0)
    of_run, of_other = (load_folds_out_of_fold(folder) for folder in (run, tmp_path / "other"))
    ((_, one), (_, other)) = found.predictions
    networks = [load_member(tmp_path / "other" / f"fold_{k}") for k in range(2)]
    ((_, predicted),) = predict_documents(networks, [documents[0]])
    np.testing.assert_allclose(one, of_run.of(documents[0]) / 2 + predicted / 2, atol=1e-6)
    ((_, predicted),) = predict_documents(ensemble.members[:3], [OTHERS[0]])
    np.testing.assert_allclose(other, predicted / 2 + of_other.of(OTHERS[0]) / 2, atol=1e-6)


def test_a_run_without_out_of_fold_probabilities_predicts_all_documents(sha_rnn_tagger, documents, tmp_path):
    save_tagger(tmp_path, sha_rnn_tagger)
    _, found = predict([tmp_path], documents[:3])
    assert found.counts() == "3 documents, 0 out of fold, 3 predicted"


def test_no_tagger_runs_on_a_document_that_it_was_trained_on(cross_validated, documents, monkeypatch):
    run, _ = cross_validated(0)
    ensemble, predicted = Tagger.load(run), []
    monkeypatch.setattr(
        "pii_kit.training.ensemble.predict_documents", lambda taggers, documents, **_: predicted.extend(documents) or []
    )
    assert len(predict_labelled(ensemble, [run], documents).predictions) == len(documents)
    assert not predicted
