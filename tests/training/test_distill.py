"""A student learns from a teacher's predictions on unlabelled documents."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import make_document, make_documents

from pii_kit.files import KitError
from pii_kit.predict import Tagger
from pii_kit.training import runs
from pii_kit.training.epochs import TARGETS, read_targets, teachable, write_targets
from pii_kit.training.out_of_fold import load_out_of_fold, predict_unseen
from pii_kit.training.train import train

pytestmark = pytest.mark.usefixtures("tiny_presets")
UNLABELLED = [replace(document, labels=None) for document in make_documents(4, seed=50)]


def test_documents_that_are_empty_or_labelled_too_are_left_out(documents):
    known = replace(documents[0], number=99, labels=None)
    left = teachable([known, make_document("", 98), *UNLABELLED], documents)
    assert left == UNLABELLED
    with pytest.raises(KitError, match="all 1 unlabelled documents are empty or also labelled; add others"):
        teachable([known], documents)


def test_targets_are_the_mean_of_all_teachers_and_are_kept_without_text(cross_validated, tmp_path):
    teachers = [cross_validated(seed)[0] for seed in (0, 1)]
    steps = []
    write_targets(tmp_path, teachers, UNLABELLED, device="cpu", report=steps.append)
    kept = read_targets(tmp_path, UNLABELLED)
    for (document, targets), (same, expected) in zip(kept, Tagger.load(*teachers).predict(UNLABELLED), strict=True):
        assert document is same
        np.testing.assert_allclose(targets, expected, atol=1e-6)
    assert sum(steps) == len(UNLABELLED) and [path.name for path in tmp_path.iterdir()] == [TARGETS]
    assert read_targets(tmp_path, []) == []


def test_a_student_is_trained_on_the_targets_and_is_resumed_with_the_same_ones(cross_validated, documents, tmp_path):
    teacher, run = cross_validated(0)[0], tmp_path / "student"
    how = {"n_folds": 3, "teachers": [teacher], "unlabelled": UNLABELLED, "changes": {"epochs": 1}}
    result = train("sha_rnn", documents, run, **how)
    record = runs.read_run(run)
    assert record.teachers == runs.digest_runs([teacher])
    assert record.taught == [(document.number, len(document.tokens)) for document in UNLABELLED]
    assert not (run / TARGETS).exists()
    plain = train("sha_rnn", documents, tmp_path / "plain", n_folds=3, changes={"epochs": 1})
    assert result["epochs"] == plain["epochs"]
    members = [load_out_of_fold(of) for of in (run, tmp_path / "plain")]
    (held,) = members[0].folds(documents)
    assert any(not np.array_equal(*(member.of(document) for member in members)) for document in held)
    labelled = [replace(document, labels=("O",) * len(document.tokens)) for document in UNLABELLED]
    assert predict_unseen(Tagger.load(run), [run], labelled).n_left_out == len(UNLABELLED)
    (run / "result.json").unlink()
    with pytest.raises(KitError, match="cannot be resumed: taught was"):
        train("sha_rnn", documents, run, **how | {"unlabelled": UNLABELLED[:2]}, resume=True)
    assert train("sha_rnn", documents, run, **how, resume=True)["f5"] == result["f5"]


def test_a_missing_teacher_leaves_no_run(documents, tmp_path):
    with pytest.raises(KitError, match="nowhere: not a run folder with a trained model"):
        train("sha_rnn", documents, tmp_path / "run", n_folds=3, teachers=["nowhere"], unlabelled=UNLABELLED)
    assert not (tmp_path / "run").exists()
