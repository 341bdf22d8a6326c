"""What an epoch reads: documents, windows, batches, and what is hidden."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_document, make_documents

from pii_kit.files import KitError
from pii_kit.labels import LABELS
from pii_kit.lexicon import OFFSETS
from pii_kit.predict import Tagger
from pii_kit.settings import AugmentSettings, TrainSettings
from pii_kit.training.epochs import (
    EpochMaker,
    documents_of_epoch,
    hide,
    label_counts,
    read_targets,
    teachable,
    write_targets,
)
from pii_kit.windows import IGNORED, NO_TOKEN, collate, cut_windows

UNLABELLED = [replace(document, labels=None) for document in make_documents(4, seed=50)]


def settings(**changes) -> TrainSettings:
    return TrainSettings(**{"window_size": 64, "overlap": 8, "batch_size": 8, "epochs": 4, **changes})


def n_tokens(documents) -> int:
    return sum(len(document.tokens) for document in documents)


def test_extra_documents_have_their_share_of_an_epoch_and_each_epoch_draws_its_own():
    training, extra = make_documents(6, seed=1), make_documents(30, seed=2)
    drawn = []
    for epoch in range(60):
        made = documents_of_epoch(training, extra, settings(extra_share=0.4), epoch)
        assert made[:6] == list(training)
        drawn.append(made[6:])
        longest = max(len(document.tokens) for document in extra)
        assert 0.4 - longest / n_tokens(made) < n_tokens(drawn[-1]) / n_tokens(made) <= 0.4
    assert drawn[0] != drawn[1] and all(any(doc in made for made in drawn) for doc in extra)
    assert documents_of_epoch(training, extra, settings(extra_share=0.4), 0)[6:] == drawn[0]


@pytest.fixture
def maker(documents, sha_rnn_tagger):
    """A function that makes an EpochMaker of the first documents."""

    def make(n_documents=24, taught=(), ahead=False, **changes) -> EpochMaker:
        chosen = settings(**changes)
        return EpochMaker(documents[:n_documents], [], taught, chosen, sha_rnn_tagger.tokenizer, ahead=ahead)

    return make


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("first", [0, 2])
def test_an_epoch_has_the_windows_of_its_documents_also_if_a_thread_makes_them(maker, first, ahead):
    epochs = maker(4, ahead=ahead, augment=AugmentSettings())
    for epoch in range(first, 4):
        state = torch.get_rng_state()
        windows = epochs.take(epoch)
        assert torch.equal(torch.get_rng_state(), state)
        made = documents_of_epoch(epochs.training, [], epochs.settings, epoch)
        expected = [w for doc in made for w in cut_windows(doc, epochs.tokenizer, size=64, overlap=8)]
        assert [window.pieces.tolist() for window in windows] == [window.pieces.tolist() for window in expected]


def test_an_epoch_takes_each_window_once_in_batches_with_little_padding(maker):
    epochs = maker()
    windows = epochs.take(0)
    batches = epochs.batches(windows, 0, epochs.size(windows))
    assert sorted(index for batch in batches for index in batch) == list(range(len(windows)))
    assert len(batches) == -(-len(windows) // 8)
    padded = sum(len(batch) * max(len(windows[index]) for index in batch) for batch in batches)
    assert padded < 1.15 * sum(map(len, windows))


def test_the_order_depends_only_on_seed_and_epoch(maker):
    def order(seed, epoch):
        epochs = maker(seed=seed)
        windows = epochs.windows(0)
        return epochs.batches(windows, epoch, len(windows))

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3) and order(1, 2) != order(2, 2)


def test_an_epoch_takes_every_window_with_pii_and_its_share_of_the_others(maker):
    epochs = maker(empty_share=0.25)
    windows = epochs.windows(0)
    required = {index for index, window in enumerate(windows) if window.holds_pii()}
    size = epochs.size(windows)
    assert size == len(required) + round(0.25 * (len(windows) - len(required)))
    taken = [[i for batch in epochs.batches(windows, epoch, size) for i in batch] for epoch in range(30)]
    assert all(len(of) == len(set(of)) == size and required <= set(of) for of in taken)
    assert set().union(*taken) == set(range(len(windows)))


@pytest.mark.parametrize("size", [1, 30, 200])
def test_an_epoch_has_the_size_that_is_asked_for(maker, size):
    """Windows with PII come first; none is taken twice if there are enough."""
    epochs = maker()
    windows = epochs.windows(0)
    required = {index for index, window in enumerate(windows) if window.holds_pii()}
    taken = [index for batch in epochs.batches(windows, 3, size) for index in batch]
    assert len(taken) == size and len(set(taken)) == min(size, len(windows))
    assert required <= set(taken) if len(required) <= size else set(taken) <= required


def test_windows_of_a_teacher_have_its_probabilities_in_each_epoch(maker, documents):
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.ones(len(LABELS)), size=len(documents[5].tokens)).astype(np.float32)
    epochs = maker(2, taught=[(documents[5], scores)])
    n_taught = len(cut_windows(documents[5], epochs.tokenizer, size=64, overlap=8))
    for epoch in (0, 1):
        windows = epochs.take(epoch)
        for window in windows[-n_taught:]:
            starts = window.token_index != NO_TOKEN
            assert window.document == documents[5].number and window.labels is None
            assert np.array_equal(window.soft_labels()[starts], scores[window.token_index[starts]])
            assert not window.soft_labels()[~starts].any()
        assert all(window.probabilities is None for window in windows[:-n_taught])


def test_labels_of_documents_and_probabilities_of_a_teacher_are_counted():
    document = make_document("Ann Lee met Bob", labels={"Ann": "B-NAME_STUDENT", "Lee": "I-NAME_STUDENT"})
    scores = np.full((4, len(LABELS)), 0.25, dtype=np.float32)
    counts = dict(zip(LABELS, label_counts([document, document], [(document, scores)]), strict=True))
    assert (counts["O"], counts["B-NAME_STUDENT"], counts["B-EMAIL"]) == (5.0, 3.0, 1.0)


def test_documents_without_tokens_are_refused(sha_rnn_tagger):
    empty = EpochMaker([make_document("", labels={})], [], [], settings(), sha_rnn_tagger.tokenizer)
    with pytest.raises(KitError, match="hold no tokens"):
        empty.take(0)


@pytest.fixture
def batch(documents, sha_rnn_tagger):
    """A batch of windows of one document, and its labels."""
    windows = cut_windows(documents[0], sha_rnn_tagger.tokenizer, size=64, overlap=8)
    arrays = {name: torch.as_tensor(array) for name, array in collate(windows, pad_id=0).items()}
    return arrays, arrays.pop("labels")


def test_about_the_given_share_of_pieces_is_masked_and_nothing_else(batch):
    torch.manual_seed(0)
    hidden = hide(*batch, settings(hidden_share=0.25), mask_id=2)
    changed = hidden["input_ids"] != batch[0]["input_ids"]
    assert 0.2 < changed.float().mean() < 0.3
    assert (hidden["input_ids"][changed] == 2).all()
    assert torch.equal(hidden["feature_ids"], batch[0]["feature_ids"])


def test_a_list_that_does_not_know_a_token_knows_none_of_its_pieces(batch):
    """A token of which one piece is known would not be hidden."""
    torch.manual_seed(0)
    hidden = hide(*batch, settings(hidden_lists=0.5), mask_id=2)["feature_ids"]
    before, unknown = batch[0]["feature_ids"], torch.tensor(OFFSETS[1:])
    assert torch.equal(hidden[..., 0], before[..., 0]) and not torch.equal(hidden, before)
    changed, known = (hidden != before)[..., 1:], before[..., 1:] != unknown
    assert torch.equal(hidden[..., 1:][changed], unknown.expand_as(hidden[..., 1:])[changed])
    token = (batch[1] != IGNORED).cumsum(1)
    for row, number in {(place, number) for place in range(len(token)) for number in token[place].tolist()}:
        pieces = token[row] == number
        for place in range(len(unknown)):
            states = changed[row, pieces, place][known[row, pieces, place]]
            assert states.all() or not states.any()


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
    assert sum(steps) == len(UNLABELLED) and len(list(tmp_path.iterdir())) == 1
    assert read_targets(tmp_path, []) == []
