import json
import math
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import likely, make_document, tiny_mobilebert, tiny_sha_rnn

from pii_kit.augment import AugmentConfig
from pii_kit.decide import O_THRESHOLDS
from pii_kit.files import KitError
from pii_kit.labels import LABELS
from pii_kit.metrics import best_threshold, threshold_curve
from pii_kit.predict import load_member, predict_documents
from pii_kit.split import split_documents
from pii_kit.training import TrainConfig
from pii_kit.training import loop as train
from pii_kit.training.loop import SECONDS_TO_SAVE, Clock, fit, is_finished, kept_epoch, out_of_patience, validate
from pii_kit.training.out_of_fold import load_out_of_fold
from pii_kit.training.runs import training_seconds

CONFIG = TrainConfig(epochs=3, batch_size=4, window_size=64, overlap=8, learning_rate=1e-2, class_weights=0.2)


class Killed(BaseException):
    """Simulates a kill: no handler of the package catches it."""


@pytest.fixture
def parts(documents):
    return split_documents(documents[:12], n_folds=3, seed=0)


def fresh(kind: str, tagger):
    model = {"sha_rnn": tiny_sha_rnn, "mobilebert": tiny_mobilebert}[kind](
        vocab_size=tagger.tokenizer.n_pieces, **({"dropout": 0.2} if kind == "sha_rnn" else {})
    )
    torch.manual_seed(3)
    return model


def without_clocks(history: list[dict]) -> list[dict]:
    clocks = ("epoch_seconds", "peak_memory_bytes")
    return [{name: value for name, value in row.items() if name not in clocks} for row in history]


@pytest.mark.parametrize("kind", ["sha_rnn", "mobilebert"])
@pytest.mark.parametrize("steps_before_kill", [4, 9, 20])
def test_a_killed_training_resumes_to_the_weights_of_an_unbroken_one(
    kind, steps_before_kill, parts, tmp_path, monkeypatch, request
):
    tagger = request.getfixturevalue(f"{kind}_tagger")
    config = replace(CONFIG, hidden_share=0.1, checkpoint_steps=3)

    unbroken = fresh(kind, tagger)
    history = fit(unbroken, tagger.tokenizer, *parts, config, tmp_path / "unbroken")

    steps = 0

    def kill_after(*args, original=train.hide_pieces, **kwargs):
        nonlocal steps
        steps += 1
        if steps > steps_before_kill:
            raise Killed
        return original(*args, **kwargs)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(train, "hide_pieces", kill_after)
        fit(fresh(kind, tagger), tagger.tokenizer, *parts, config, tmp_path / "broken")
    torch.manual_seed(99)
    resumed = fresh(kind, tagger)
    torch.manual_seed(98)
    resumed_history = fit(resumed, tagger.tokenizer, *parts, config, tmp_path / "broken", resume=True)

    for (name, one), other in zip(unbroken.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    assert without_clocks(resumed_history) == without_clocks(history)


def test_weights_in_one_block_of_memory_resume(parts, sha_rnn_tagger, tmp_path):
    def in_one_block():  # as cuDNN keeps the weights of an LSTM
        model = fresh("sha_rnn", sha_rnn_tagger)
        parameters = [parameter for name, parameter in model.named_parameters() if "lstm" in name]
        block = torch.cat([parameter.detach().flatten() for parameter in parameters])
        views = block.split([parameter.numel() for parameter in parameters])
        for parameter, view in zip(parameters, views, strict=True):
            parameter.data = view.view_as(parameter)
        return model

    model, resumed = in_one_block(), in_one_block()
    fit(model, sha_rnn_tagger.tokenizer, *parts, replace(CONFIG, epochs=1), tmp_path)
    torch.nn.init.zeros_(next(resumed.parameters()))
    fit(resumed, sha_rnn_tagger.tokenizer, *parts, replace(CONFIG, epochs=1), tmp_path, resume=True)
    for (name, one), other in zip(model.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_the_time_in_which_a_teacher_predicts_counts_as_training(parts, sha_rnn_tagger, tmp_path):
    def teach():
        time.sleep(3)
        return [[(document, likely(np.random.default_rng(0), document.labels)) for document in parts[0]]]

    model = fresh("sha_rnn", sha_rnn_tagger)
    fit(model, sha_rnn_tagger.tokenizer, *parts, replace(CONFIG, epochs=1), tmp_path, make_variants=teach)
    assert training_seconds([tmp_path])["elapsed_seconds"] >= 3


def test_equal_seeds_give_equal_weights(parts, sha_rnn_tagger, tmp_path):
    models = []
    for name in ("one", "other"):
        models.append(fresh("sha_rnn", sha_rnn_tagger))
        fit(models[-1], sha_rnn_tagger.tokenizer, *parts, CONFIG, tmp_path / name)
    assert all(torch.equal(a, b) for a, b in zip(*(model.state_dict().values() for model in models), strict=True))


def test_training_learns_by_heart_what_it_is_shown(documents, sha_rnn_tagger, tmp_path):
    some = [document for document in documents if document.types][:3]
    config = replace(CONFIG, epochs=60, clip_norm=1.0)
    history = fit(fresh("sha_rnn", sha_rnn_tagger), sha_rnn_tagger.tokenizer, some, some, config, tmp_path)
    assert kept_epoch(history, "best")["f5"] > 0.9
    assert history[-1]["loss"] < history[0]["loss"] / 5


def test_the_epoch_with_the_best_score_is_kept(parts, sha_rnn_tagger, tmp_path):
    history = fit(fresh("sha_rnn", sha_rnn_tagger), sha_rnn_tagger.tokenizer, *parts, CONFIG, tmp_path)
    kept = load_member(tmp_path)
    predictions = list(predict_documents([kept], parts[1]))
    curve = threshold_curve(predictions, [kept.o_threshold])
    assert curve["f5"].tolist() == pytest.approx([kept_epoch(history, "best")["f5"]])


def probabilities(tagger, documents) -> list:
    return [scores for _, scores in predict_documents([tagger], documents)]


def test_the_last_epoch_is_kept_when_that_is_asked_for(parts, sha_rnn_tagger, tmp_path, monkeypatch):
    """Though the first has the highest F5."""
    falling = iter([0.9, 0.5, 0.2])

    def validate(*args, original=train.validate):
        tagger, kept, scores = original(*args)
        return tagger, kept, {**scores, "f5": next(falling)}

    monkeypatch.setattr(train, "validate", validate)
    model = fresh("sha_rnn", sha_rnn_tagger)
    history = fit(model, sha_rnn_tagger.tokenizer, *parts, replace(CONFIG, keep="last"), tmp_path)
    assert [row["f5"] for row in history] == [0.9, 0.5, 0.2]
    assert kept_epoch(history, "last")["epoch"] == 3 and kept_epoch(history, "best")["epoch"] == 1
    kept = load_member(tmp_path)
    assert all(torch.equal(one, model.state_dict()[name]) for name, one in kept.network.model.state_dict().items())
    out_of_fold = load_out_of_fold(tmp_path / "tagger")
    for document, scores in zip(parts[1], probabilities(kept, parts[1]), strict=True):
        np.testing.assert_allclose(out_of_fold.of(document), scores, atol=1e-4)


@pytest.mark.parametrize(("epochs", "scored"), [(5, [2, 4, 5]), (4, [2, 4]), (1, [1])])
def test_every_second_epoch_and_the_last_are_scored(epochs, scored, parts, sha_rnn_tagger, tmp_path):
    config = replace(CONFIG, epochs=epochs, validate_epochs=2)
    history = fit(fresh("sha_rnn", sha_rnn_tagger), sha_rnn_tagger.tokenizer, *parts, config, tmp_path)
    assert [row["epoch"] for row in history] == list(range(1, epochs + 1))
    assert [row["epoch"] for row in history if "f5" in row] == scored
    assert history == json.loads((tmp_path / "history.json").read_text())


AUGMENTED = replace(CONFIG, augment=AugmentConfig(plant_share=0.5), hidden_share=0.1, checkpoint_steps=3)


@pytest.mark.parametrize("steps_before_kill", [5, 14])
def test_a_killed_augmented_training_resumes_to_the_weights_of_an_unbroken_one(
    steps_before_kill, parts, sha_rnn_tagger, tmp_path, monkeypatch
):
    unbroken = fresh("sha_rnn", sha_rnn_tagger)
    history = fit(unbroken, sha_rnn_tagger.tokenizer, *parts, AUGMENTED, tmp_path / "unbroken")
    left = iter(range(steps_before_kill))

    def kill_after(*args, original=train.hide_pieces, **kwargs):
        if next(left, None) is None:
            raise Killed
        return original(*args, **kwargs)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(train, "hide_pieces", kill_after)
        fit(fresh("sha_rnn", sha_rnn_tagger), sha_rnn_tagger.tokenizer, *parts, AUGMENTED, tmp_path / "broken")
    resumed = fresh("sha_rnn", sha_rnn_tagger)
    torch.manual_seed(98)
    again = fit(resumed, sha_rnn_tagger.tokenizer, *parts, AUGMENTED, tmp_path / "broken", resume=True)
    assert all(torch.equal(one, resumed.state_dict()[name]) for name, one in unbroken.state_dict().items())
    assert without_clocks(again) == without_clocks(history)


def test_accumulated_batches_move_the_weights_as_one_whole_batch_does(parts, sha_rnn_tagger, tmp_path):
    """Windows of equal length, so that the mean over a batch is the mean over its halves; up to rounding."""
    short = make_document("My name is Ann and I like tea", labels={"Ann": "B-NAME_STUDENT"})
    training = [replace(short, number=number) for number in range(8)]
    moved = []
    for batch_size, accumulation_steps in ((4, 1), (2, 2)):
        model = tiny_sha_rnn(vocab_size=sha_rnn_tagger.tokenizer.n_pieces, dropout=0.0)
        config = replace(CONFIG, batch_size=batch_size, accumulation_steps=accumulation_steps)
        fit(model, sha_rnn_tagger.tokenizer, training, parts[1], config, tmp_path / str(batch_size))
        moved.append(model.state_dict())
    for name, one in moved[0].items():
        torch.testing.assert_close(one, moved[1][name], atol=1e-4, rtol=1e-3)


def test_a_loss_that_is_not_finite_stops_with_its_place(parts, sha_rnn_tagger, tmp_path):
    model = fresh("sha_rnn", sha_rnn_tagger)
    with torch.no_grad():
        model.classifier.weight[0, 0] = float("nan")
    with pytest.raises(KitError, match=r"the loss is nan at epoch 1, batch 1 \(learning rate"):
        fit(model, sha_rnn_tagger.tokenizer, *parts, CONFIG, tmp_path)


@pytest.mark.parametrize("n_batches", [1, 7, 11, 22])
@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_training_out_of_time_keeps_a_tagger_and_resumes_to_the_weights_of_an_unbroken_one(
    n_batches, keep, parts, sha_rnn_tagger, tmp_path, monkeypatch
):
    config = replace(CONFIG, hidden_share=0.1, validate_epochs=2, keep=keep)
    unbroken = fresh("sha_rnn", sha_rnn_tagger)
    history = fit(unbroken, sha_rnn_tagger.tokenizer, *parts, config, tmp_path / "unbroken")
    left = iter(range(n_batches - 1))
    with monkeypatch.context() as patched:
        patched.setattr(Clock, "is_over", lambda clock, batches_per_epoch: next(left, None) is None)
        model = fresh("sha_rnn", sha_rnn_tagger)
        stopped = fit(model, sha_rnn_tagger.tokenizer, *parts, config, tmp_path / "run", deadline=0.0)
    assert not is_finished(stopped, config) and is_finished(history, config)
    assert "f5" in stopped[-1] and stopped == json.loads((tmp_path / "run" / "history.json").read_text())
    kept = load_member(tmp_path / "run").network.model.state_dict()
    assert all(torch.equal(one, kept[name]) for name, one in model.state_dict().items())
    resumed = fresh("sha_rnn", sha_rnn_tagger)
    torch.manual_seed(98)
    again = fit(resumed, sha_rnn_tagger.tokenizer, *parts, config, tmp_path / "run", resume=True)
    assert all(torch.equal(one, resumed.state_dict()[name]) for name, one in unbroken.state_dict().items())
    assert without_clocks(again) == without_clocks(history)


def test_after_running_out_of_time_and_resuming_the_tagger_is_that_of_the_epoch_in_the_history(
    parts, sha_rnn_tagger, tmp_path, monkeypatch
):
    """The half epoch at the end of the time has the highest F5, but the history of whole epochs does not hold it."""
    scores_of = []

    def validate_as(f5s):
        def validate(*args, original=train.validate):
            tagger, kept, scores = original(*args)
            scores_of.append(scores["f5"])
            return tagger, kept, {**scores, "f5": next(f5s)}

        return validate

    tokenizer = sha_rnn_tagger.tokenizer
    with monkeypatch.context() as patched:
        patched.setattr(train, "validate", validate_as(iter([0.5, 0.4, 0.3])))
        fit(fresh("sha_rnn", sha_rnn_tagger), tokenizer, *parts, CONFIG, tmp_path / "unbroken")
    left = iter(range(40))
    with monkeypatch.context() as patched:
        patched.setattr(train, "validate", validate_as(iter([0.5, 0.9])))
        patched.setattr(Clock, "is_over", lambda clock, batches_per_epoch: next(left, None) is None)
        model = fresh("sha_rnn", sha_rnn_tagger)
        stopped = fit(model, tokenizer, *parts, CONFIG, tmp_path / "run")
    assert 1 < stopped[-1]["epoch"] < 2
    weights = load_member(tmp_path / "run").network.model.state_dict()
    assert all(torch.equal(one, weights[name]) for name, one in model.state_dict().items())

    with monkeypatch.context() as patched:
        patched.setattr(train, "validate", validate_as(iter([0.4, 0.3])))
        history = fit(fresh("sha_rnn", sha_rnn_tagger), tokenizer, *parts, CONFIG, tmp_path / "run", resume=True)
    assert kept_epoch(history, "best")["epoch"] == 1 and len(history) == 3
    kept, unbroken = (load_member(tmp_path / name) for name in ("run", "unbroken"))
    assert all(
        torch.equal(one, kept.network.model.state_dict()[name])
        for name, one in unbroken.network.model.state_dict().items()
    )
    assert validate(kept.network.model, tokenizer, parts[1], CONFIG)[2]["f5"] == pytest.approx(scores_of[0])
    assert not (tmp_path / "run" / "kept_tagger").exists()


def test_patience_stops_early(parts, sha_rnn_tagger, tmp_path):
    config = replace(CONFIG, epochs=30, patience=2, learning_rate=1e-9)
    history = fit(fresh("sha_rnn", sha_rnn_tagger), sha_rnn_tagger.tokenizer, *parts, config, tmp_path)
    assert len(history) == kept_epoch(history, "best")["epoch"] + 2 < 30


def test_a_threshold_that_is_set_is_kept(parts, sha_rnn_tagger, tmp_path):
    config = replace(CONFIG, epochs=1, o_threshold=0.77)
    fit(fresh("sha_rnn", sha_rnn_tagger), sha_rnn_tagger.tokenizer, *parts, config, tmp_path)
    assert load_member(tmp_path).o_threshold == 0.77


@pytest.mark.parametrize("changes", [{"optimizer": "adam"}, {"class_weights": "log"}, {"cycle_epochs": 1}])
def test_every_option_of_the_original_project_trains(changes, parts, sha_rnn_tagger, tmp_path):
    model = fresh("sha_rnn", sha_rnn_tagger)
    history = fit(model, sha_rnn_tagger.tokenizer, *parts, replace(CONFIG, **changes), tmp_path)
    assert len(history) == 3 and history[-1]["loss"] < history[0]["loss"]


@pytest.fixture
def at(monkeypatch):
    """A function that sets the time."""
    return lambda seconds: monkeypatch.setattr(time, "monotonic", lambda: seconds)


def test_training_stops_when_the_time_left_is_just_enough_to_validate_and_save(at):
    """Batches of 2 s, 40 an epoch, a quarter as many documents to validate on: up to 20 s, and a few to save."""
    assert SECONDS_TO_SAVE == 5
    at(1000.0)
    clock = Clock(1100.0, validation_share=0.25)
    answers = {}
    for batch in range(1, 45):
        at(1000.0 + 2 * batch)
        answers[batch] = clock.is_over(40)
    assert [batch for batch, over in answers.items() if over] == list(range(38, 45))  # 1076 + 20 + 5 > 1100


def test_the_time_before_the_first_batch_does_not_count_as_the_time_of_a_batch(at):
    """Otherwise a training that prepares its documents for half a minute would stop at once."""
    at(1000.0)
    clock = Clock(1100.0, validation_share=0.25)
    at(1030.0)
    assert not clock.is_over(40)
    at(1030.5)
    assert not clock.is_over(40)
    at(1096.0)
    assert clock.is_over(40)


def test_without_a_deadline_the_time_is_never_over(at):
    at(0.0)
    clock = Clock(math.inf, validation_share=1.0)
    at(1e12)
    assert not clock.is_over(1e9)


FOUR_EPOCHS = TrainConfig(epochs=4, window_size=64, overlap=8)
HISTORY = [{"epoch": 1, "f5": 0.2}, {"epoch": 2, "f5": 0.6}, {"epoch": 3}, {"epoch": 4, "f5": 0.6}]


def test_the_first_of_the_best_epochs_is_kept_or_the_last_that_was_scored():
    assert kept_epoch(HISTORY, "best") is HISTORY[1]
    assert kept_epoch(HISTORY[:3], "last") is HISTORY[1]
    assert kept_epoch(HISTORY, "last") is HISTORY[3]


def test_patience_counts_epochs_since_the_best():
    assert out_of_patience(HISTORY, 2) and not out_of_patience(HISTORY, 3)
    assert not out_of_patience(HISTORY, None) and not out_of_patience(HISTORY[:1], 1)


def test_a_training_is_finished_by_its_epochs_or_its_patience_and_not_by_its_time():
    assert is_finished(HISTORY, FOUR_EPOCHS)
    assert is_finished(HISTORY[:3], replace(FOUR_EPOCHS, patience=1))
    assert not is_finished(HISTORY[:3], FOUR_EPOCHS)
    assert not is_finished([{"epoch": 3.4, "f5": 1.0}], FOUR_EPOCHS) and not is_finished([], FOUR_EPOCHS)


def test_the_threshold_is_the_best_of_the_curve_and_the_score_is_at_it(documents, sha_rnn_tagger):
    tagger, kept, scores = validate(sha_rnn_tagger.network.model, sha_rnn_tagger.tokenizer, documents, FOUR_EPOCHS)
    curve = threshold_curve(list(predict_documents([tagger], documents)), [t for t in O_THRESHOLDS if t >= 0.5])
    assert scores["f5"] == pytest.approx(curve["f5"].max())
    assert curve.loc[tagger.o_threshold, "f5"] == curve["f5"].max() and scores["o_threshold"] == tagger.o_threshold
    assert kept.documents.tolist() == sorted(doc.number for doc in documents)


def test_no_threshold_below_a_half_is_chosen_although_it_would_score_higher(sha_rnn_tagger, monkeypatch):
    essay = make_document("Ana wrote this", labels={"Ana": "B-NAME_STUDENT"})
    scores = np.zeros((3, len(LABELS)), dtype=np.float32)
    scores[:, LABELS.index("O")] = 0.01, 0.3, 0.3
    scores[:, LABELS.index("B-NAME_STUDENT")] = 0.99, 0.7, 0.7
    monkeypatch.setattr(train, "predict_documents", lambda *_: [(essay, scores)])
    tagger, _, found = validate(sha_rnn_tagger.network.model, sha_rnn_tagger.tokenizer, [essay], FOUR_EPOCHS)
    assert tagger.o_threshold == found["o_threshold"] >= 0.5
    assert (found["tp"], found["fp"], found["fn"]) == (1, 2, 0)
    assert best_threshold(threshold_curve([(essay, scores)])) < 0.5


def test_a_threshold_that_is_given_is_not_chosen(documents, sha_rnn_tagger):
    tagger, _, scores = validate(
        sha_rnn_tagger.network.model, sha_rnn_tagger.tokenizer, documents, replace(FOUR_EPOCHS, o_threshold=0.123)
    )
    assert tagger.o_threshold == scores["o_threshold"] == 0.123
