import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import make_document, tiny_mobilebert, tiny_sha_rnn

from pii_kit import training as presets
from pii_kit.__main__ import main
from pii_kit.augment import AugmentConfig
from pii_kit.documents import write_documents
from pii_kit.files import KitError
from pii_kit.labels import LABEL_TO_ID, LABELS, OUTSIDE_ID
from pii_kit.predict import Tagger, load_member, predict_documents
from pii_kit.split import split_documents
from pii_kit.training import Preset, TrainConfig
from pii_kit.training import folds as train_run
from pii_kit.training import loop as train
from pii_kit.training.distill import N_VARIANTS, Taught, soft_cross_entropy, teach_fold
from pii_kit.training.ensemble import teach
from pii_kit.training.epochs import EpochWindows, targets_of_epoch, tensors_of
from pii_kit.training.folds import train_fold
from pii_kit.training.loop import fit, kept_epoch
from pii_kit.training.runs import fingerprint_tagger, save_tagger
from pii_kit.windows import IGNORED, NO_TOKEN, PII_BELOW, cut_windows

CONFIG = TrainConfig(epochs=3, batch_size=4, window_size=64, overlap=8, learning_rate=1e-2, class_weights=0.2)


def epoch_windows(documents, tokenizer, taught, config=CONFIG) -> EpochWindows:
    """The windows of an epoch, as `fit` makes them."""
    cut = partial(cut_windows, tokenizer=tokenizer, size=config.window_size, overlap=config.overlap)
    targets = partial(targets_of_epoch, documents, (), (), config)
    return EpochWindows(targets, cut, taught.predictions, n_epochs=config.epochs)


def one_hot(document) -> np.ndarray:
    return np.eye(len(LABELS), dtype=np.float32)[[LABEL_TO_ID[label] for label in document.labels]]


def by_oracle(documents) -> Taught:
    """Unlabelled documents with the probabilities of a teacher that knows the labels."""
    pairs = tuple((replace(document, labels=None), one_hot(document)) for document in documents)
    return Taught(predictions=pairs, teacher=("oracle",))


def unsure(documents, seed=0) -> Taught:
    rng = np.random.default_rng(seed)
    alpha = [30.0] + [0.1] * (len(LABELS) - 1)
    pairs = tuple((doc, rng.dirichlet(alpha, size=len(doc.tokens)).astype(np.float32)) for doc in documents)
    return Taught(predictions=pairs, teacher=("dice",))


def test_with_one_hot_targets_the_loss_is_the_cross_entropy():
    torch.manual_seed(0)
    logits, weights = torch.randn(3, 7, len(LABELS)), torch.rand(len(LABELS))
    labels = torch.randint(len(LABELS), (3, 7))
    labels[:, ::3] = IGNORED
    targets = F.one_hot(labels.clamp(min=0), len(LABELS)).float() * (labels != IGNORED)[..., None]
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), weight=weights, ignore_index=IGNORED)
    torch.testing.assert_close(soft_cross_entropy(logits, targets, weights), expected)


def test_the_loss_is_least_at_the_targets_whatever_the_weights():
    torch.manual_seed(0)
    targets, weights = torch.rand(2, 3, len(LABELS)).softmax(-1), torch.rand(len(LABELS))
    logits = targets.log().requires_grad_()
    soft_cross_entropy(logits, targets, weights).backward()
    torch.testing.assert_close(logits.grad, torch.zeros_like(logits), atol=1e-7, rtol=0)


def test_the_loss_of_a_case_worked_by_hand():
    """Two pieces with two labels of weights 1 and 3; the third has no targets."""
    logits = torch.tensor([[[0.0, 0.0], [0.0, np.log(3)], [5.0, 1.0]]])
    targets = torch.tensor([[[0.5, 0.5], [0.0, 1.0], [0.0, 0.0]]])
    loss = soft_cross_entropy(logits, targets, torch.tensor([1.0, 3.0]))
    assert loss.item() == pytest.approx((2 * np.log(2) + 3 * np.log(4 / 3)) / (2 + 3))


def test_only_first_pieces_have_targets(documents, mobilebert_tagger):
    taught = unsure(documents[:1])
    windows = epoch_windows(documents[1:2], mobilebert_tagger.tokenizer, taught).windows
    (_, probabilities), last = taught.predictions[0], windows[-1]
    assert last.number == documents[0].number and last.labels is None
    batch = tensors_of([windows[0], last], pad_id=0)
    assert batch["labels"].shape == (*batch["input_ids"].shape, len(LABELS))
    for row, window in zip(batch["labels"].numpy(), (windows[0], last), strict=True):
        begins = np.append(window.token_index, [NO_TOKEN] * (len(row) - len(window))) != NO_TOKEN
        assert not row[~begins].any()
        np.testing.assert_allclose(row[begins].sum(-1), 1, rtol=1e-5)
    begins = last.token_index != NO_TOKEN
    got = batch["labels"][1, : len(last)].numpy()[begins]
    assert np.array_equal(got, probabilities[last.token_index[begins]])


def test_a_batch_without_taught_windows_has_label_ids(documents, sha_rnn_tagger):
    epochs = epoch_windows(documents[1:3], sha_rnn_tagger.tokenizer, unsure(documents[:1]))
    plain = cut_windows(documents[1], sha_rnn_tagger.tokenizer, size=64, overlap=8)
    batch, expected = (tensors_of(windows[:2], pad_id=0) for windows in (epochs.windows, plain))
    assert all(torch.equal(batch[name], expected[name]) for name in expected)


def test_a_taught_window_holds_pii_where_the_teacher_is_not_sure_of_o(sha_rnn_tagger):
    document = make_document("one two three")
    for p_outside, holds in ((PII_BELOW + 0.05, False), (PII_BELOW - 0.05, True)):
        scores = np.full((3, len(LABELS)), 0, dtype=np.float32)
        scores[:, OUTSIDE_ID] = 1
        scores[1, [OUTSIDE_ID, 1]] = p_outside, 1 - p_outside
        taught = Taught(predictions=((document, scores),), teacher=())
        (window,) = epoch_windows([], sha_rnn_tagger.tokenizer, taught).windows
        assert window.holds_pii() == holds


def test_taught_documents_are_never_augmented(documents, sha_rnn_tagger):
    config = replace(CONFIG, augment=AugmentConfig())
    epochs = epoch_windows(documents[:4], sha_rnn_tagger.tokenizer, by_oracle(documents[4:8]), config)
    numbers = {document.number for document in documents[4:8]}
    of_epochs = []
    for epoch in (0, 1):
        epochs.make(epoch)
        of_epochs.append([[w for w in epochs.windows if (w.document in numbers) == known] for known in (True, False)])
    (taught, others), (taught_again, others_again) = of_epochs
    assert all(one is other for one, other in zip(taught, taught_again, strict=True))
    assert [w.pieces.tolist() for w in others] != [w.pieces.tolist() for w in others_again]


@pytest.mark.parametrize("class_weights", [0.2, "log"])
def test_certain_probabilities_train_like_labels(class_weights, documents, sha_rnn_tagger, tmp_path):
    training, validation = split_documents(documents[:9], n_folds=3)
    config, histories, weights = replace(CONFIG, class_weights=class_weights, learning_rate=1e-3), [], []
    for name, labelled, taught in (("labels", training, None), ("oracle", [], by_oracle(training))):
        model = tiny_sha_rnn(vocab_size=sha_rnn_tagger.tokenizer.n_pieces, dropout=0.2)
        torch.manual_seed(3)
        folder = tmp_path / name
        histories.append(
            fit(model, sha_rnn_tagger.tokenizer, labelled, validation, config, folder, taught=taught),
        )
        weights.append(model.state_dict())
    assert [row["loss"] for row in histories[0]] == pytest.approx([row["loss"] for row in histories[1]], rel=1e-4)
    for name, weight in weights[0].items():
        torch.testing.assert_close(weight, weights[1][name], atol=1e-3, rtol=1e-3)


def test_a_student_learns_pii_that_only_its_teacher_knows(sha_rnn_tagger, tmp_path):
    names = ["Ann", "Bob", "Carla", "Dan", "Eva", "Finn", "Gina", "Hugo", "Ida", "Jack", "Karl", "Lea"]
    plain = [make_document(f"I like tea and {drink}.", 90 + n, labels={}) for n, drink in enumerate(("milk", "juice"))]
    essays = [
        make_document(f"My name is {name} and I like tea.", n, labels={name: "B-NAME_STUDENT"})
        for n, name in enumerate(names)
    ]
    config = replace(CONFIG, epochs=40, clip_norm=1.0)
    f5 = {}
    for name, taught in (("alone", None), ("taught", by_oracle(essays[:8]))):
        model = tiny_sha_rnn(vocab_size=sha_rnn_tagger.tokenizer.n_pieces)
        history = fit(model, sha_rnn_tagger.tokenizer, plain, essays[8:], config, tmp_path / name, taught=taught)
        f5[name] = kept_epoch(history, "best")["f5"]
    assert f5["alone"] == 0 and f5["taught"] > 0.9


@pytest.mark.parametrize(("kind", "make"), [("sha_rnn", tiny_sha_rnn), ("mobilebert", tiny_mobilebert)])
def test_a_killed_student_resumes_to_the_weights_of_an_unbroken_one(
    kind, make, documents, tmp_path, monkeypatch, request
):
    tokenizer = request.getfixturevalue(f"{kind}_tagger").tokenizer
    parts = split_documents(documents[:9], n_folds=3)
    taught = unsure(documents[9:13])
    config = replace(CONFIG, epochs=2, hidden_share=0.1, empty_share=0.5, checkpoint_steps=3, augment=AugmentConfig())
    steps = []

    def run(name, *, resume=False):
        model = make(vocab_size=tokenizer.n_pieces)
        torch.manual_seed(3)
        fit(model, tokenizer, *parts, config, tmp_path / name, taught=taught, resume=resume)
        return model.state_dict()

    def kill_after(*args, original=train.hide_pieces, **kwargs):
        steps.append(args)
        if len(steps) > 5:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    unbroken = run("unbroken")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(train, "hide_pieces", kill_after)
        run("broken")
    resumed = run("broken", resume=True)
    assert all(torch.equal(unbroken[name], resumed[name]) for name in unbroken)


def test_labelled_documents_are_not_taught_whatever_their_number(documents):
    copy = replace(documents[0], number=999)
    empty = make_document("", number=998)
    taught = by_oracle([copy, replace(empty, labels=()), *documents[1:4]])
    left = taught.without([documents[0], documents[2]])
    assert [document.number for document, _ in left.predictions] == [documents[n].number for n in (1, 3)]
    with pytest.raises(KitError, match="all 5 unlabelled documents are empty or also labelled"):
        taught.without(documents)


@pytest.fixture
def tiny_presets(monkeypatch):
    """A preset that trains in seconds, in place of the real ones."""
    sizes = {"hidden_size": 16, "boom_size": 32, "num_hidden_layers": 1, "attention_layers": [0]}
    config = TrainConfig(epochs=1, batch_size=8, window_size=64, overlap=8)
    monkeypatch.setattr(presets, "PRESETS", {"sha_rnn": {"cpu": Preset(n_pieces=300, model=sizes, train=config)}})


def test_no_validation_document_is_taught(tiny_presets, documents, tmp_path, monkeypatch):
    seen = []

    def spy(*args, original=train_run.fit, **kwargs):
        seen.extend(document.number for document, _ in kwargs["taught"].predictions)
        return original(*args, **kwargs)

    monkeypatch.setattr(train_run, "fit", spy)
    train_fold("sha_rnn", documents[:20], tmp_path, preset="cpu", taught=by_oracle(documents))
    manifest = json.loads((tmp_path / "run.json").read_text())
    assert manifest["validation"] and seen == [document.number for document in documents[20:]]
    assert manifest["taught"]["n_documents"] == 4 and manifest["taught"]["teacher"] == ["oracle"]


def test_resuming_with_another_teacher_or_other_essays_is_refused(tiny_presets, documents, tmp_path):
    labelled, taught = documents[:12], by_oracle(documents[12:16])

    def again(folder, taught):
        return train_fold("sha_rnn", labelled, tmp_path / folder, preset="cpu", taught=taught, resume=True)

    result = train_fold("sha_rnn", labelled, tmp_path / "taught", preset="cpu", taught=taught)
    assert again("taught", taught) == result
    for changed, needle in (
        (replace(taught, teacher=("another",)), r"taught\.teacher was \['oracle'\], now \['another'\]"),
        (by_oracle(documents[12:15]), r"taught\.n_documents was 4, now 3"),
        (by_oracle(documents[13:17]), r"taught\.data was"),
        (None, "taught was .*, now None"),
    ):
        with pytest.raises(KitError, match=needle):
            again("taught", changed)
    train_fold("sha_rnn", labelled, tmp_path / "alone", preset="cpu")
    with pytest.raises(KitError, match=r"taught\.teacher was None, now"):
        again("alone", taught)


def test_a_teacher_predicts_what_its_ensemble_predicts_and_is_named_by_its_files(
    documents, sha_rnn_tagger, mobilebert_tagger, tmp_path
):
    runs = [tmp_path / "one", tmp_path / "other"]
    for run, tagger in zip(runs, (sha_rnn_tagger, mobilebert_tagger), strict=True):
        save_tagger(run, tagger)
    taught = teach(runs, documents[:3])
    for (document, scores), (expected, theirs) in zip(
        taught.predictions, Tagger.load(*runs).predict(documents[:3]), strict=True
    ):
        assert document == expected and np.array_equal(scores, theirs)
    assert [name.split()[0] for name in taught.teacher] == ["sha_rnn", "mobilebert"]
    before = fingerprint_tagger(runs[0])
    assert taught.teacher[0].endswith(before)
    save_tagger(runs[0], replace(sha_rnn_tagger, o_threshold=0.5))
    assert fingerprint_tagger(runs[0]) != before


def test_the_command_line_teaches_a_student(tiny_presets, documents, mobilebert_tagger, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_documents("train.json", documents[:12])
    write_documents("more.json", [replace(document, labels=None) for document in documents[8:16]])
    save_tagger(tmp_path / "teacher", mobilebert_tagger)
    command = ["train", "--model", "sha_rnn", "--fold", "0", "--data", "train.json", "--run", "student"]
    command += ["--preset", "cpu"]
    assert main([*command, "--teacher", "teacher", "--unlabelled", "more.json"]) == 0, capsys.readouterr().err
    assert "too high if the teachers learned from these documents" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "student" / "fold_0" / "run.json").read_text())
    assert manifest["taught"]["n_documents"] == 4
    capsys.readouterr()
    assert main([*command, "--resume"]) == 2
    assert "error: student/fold_0: cannot be resumed: taught was" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "needle"),
    [
        ("--teacher nowhere", "error: nowhere/fold_0: not a run folder"),
        ("--unlabelled train.json", "error: --unlabelled needs --teacher"),
        ("--teacher nowhere --unlabelled train.json", "error: nowhere: not a run folder"),
        ("--teacher nowhere --unlabelled none.json", "error: none.json: no such file"),
    ],
)
def test_a_missing_teacher_and_documents_without_a_teacher_are_errors_that_leave_no_run(
    arguments, needle, documents, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    write_documents("train.json", documents[:12])
    assert main(["train", "--model", "sha_rnn", "--data", "train.json", "--run", "run", *arguments.split()]) == 2
    error = capsys.readouterr().err
    assert needle in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_the_targets_of_a_fold_are_the_mean_of_labels_and_predictions_of_a_tagger_that_knows_no_validation_document(
    tiny_presets, documents, tmp_path
):
    few = documents[:9]
    how = {"preset": "cpu", "n_folds": 3, "epochs": 1}
    train_run.train_folds("sha_rnn", few, tmp_path / "teacher", **how)
    training, validation = split_documents(few, n_folds=3, fold=1)
    config = replace(CONFIG, augment=AugmentConfig())
    variants = teach_fold([tmp_path / "teacher"], 1, training, config)
    assert len(variants) == N_VARIANTS and variants[0] != variants[1]
    tagger = load_member(tmp_path / "teacher" / "fold_1")
    for document, targets in variants[2]:
        ((_, predicted),) = predict_documents([tagger], [document])
        assert document.number not in {doc.number for doc in validation}
        assert np.allclose(targets, (predicted + one_hot(document)) / 2, atol=1e-6)
    result = train_run.train_folds("sha_rnn", few, tmp_path / "student", teachers=[tmp_path / "teacher"], **how)
    assert result["n_documents"] == len(few)
    named = json.loads((tmp_path / "student" / "fold_1" / "run.json").read_text())["teachers"]
    assert named == [f"sha_rnn {fingerprint_tagger(tmp_path / 'teacher' / 'fold_1')}"]


def test_a_teacher_with_other_folds_is_refused_before_anything_is_written(tiny_presets, documents, tmp_path):
    few = documents[:9]
    train_run.train_folds("sha_rnn", few, tmp_path / "teacher", preset="cpu", n_folds=3, epochs=1, seed=5)
    with pytest.raises(KitError, match=r"teacher/fold_\d: trained on documents that fold \d validates"):
        train_run.train_folds(
            "sha_rnn", few, tmp_path / "run", preset="cpu", n_folds=3, teachers=[tmp_path / "teacher"]
        )
    assert not (tmp_path / "run").exists()
