from functools import partial

import numpy as np
import pytest
import torch
from conftest import make_document, make_documents

from pii_kit.augment import AugmentConfig
from pii_kit.files import KitError
from pii_kit.labels import LABELS
from pii_kit.lexicon import OFFSETS
from pii_kit.training import TrainConfig
from pii_kit.training.epochs import (
    EpochWindows,
    SimilarLengthBatches,
    batch_loader,
    documents_of_epoch,
    hide_lists,
    hide_pieces,
    tensors_of,
)
from pii_kit.windows import IGNORED, NO_TOKEN, cut_windows


def n_tokens(documents) -> int:
    return sum(len(document.tokens) for document in documents)


def test_extra_documents_have_their_share_of_an_epoch_and_each_epoch_draws_its_own():
    training, extra = make_documents(6, seed=1), make_documents(30, seed=2)
    drawn = []
    for epoch in range(60):
        made = documents_of_epoch(training, extra, TrainConfig(extra_share=0.4), epoch)
        assert made[:6] == list(training)
        drawn.append(made[6:])
        longest = max(len(document.tokens) for document in extra)
        assert 0.4 - longest / n_tokens(made) < n_tokens(drawn[-1]) / n_tokens(made) <= 0.4
    assert drawn[0] != drawn[1] and all(any(doc in made for made in drawn) for doc in extra)
    assert documents_of_epoch(training, extra, TrainConfig(extra_share=0.4), 0)[6:] == drawn[0]


def test_few_extra_documents_are_all_taken_and_a_share_of_none_takes_none():
    training, extra = make_documents(6, seed=1), make_documents(2, seed=2)
    assert documents_of_epoch(training, extra, TrainConfig(extra_share=0.9), 0)[6:] in (extra, extra[::-1])
    assert documents_of_epoch(training, extra, TrainConfig(extra_share=0.0), 0) == list(training)
    with pytest.raises(KitError, match="extra_share is 1"):
        TrainConfig(extra_share=1.0)


def test_extra_documents_are_augmented_as_others_are():
    training, extra = make_documents(3, seed=1), make_documents(3, seed=2)
    made = documents_of_epoch(training, extra, TrainConfig(augment=AugmentConfig(traps=5), extra_share=0.8), 0)
    assert {doc.number for doc in made} == {doc.number for doc in (*training, *extra)}
    assert not {doc.tokens for doc in made} & {doc.tokens for doc in (*training, *extra)}


@pytest.fixture
def windows(documents, sha_rnn_tagger):
    return [w for doc in documents for w in cut_windows(doc, sha_rnn_tagger.tokenizer, size=64, overlap=16)]


def test_an_epoch_takes_each_window_once():
    lengths = [1 + index * 7 % 50 for index in range(203)]
    batches = list(SimilarLengthBatches(lengths, batch_size=8, seed=0))
    assert sorted(index for batch in batches for index in batch) == list(range(203))
    assert len(batches) == len(SimilarLengthBatches(lengths, batch_size=8, seed=0)) == 26


def test_the_order_depends_only_on_seed_and_epoch():
    lengths = list(range(1, 101))

    def order(seed, epoch):
        batches = SimilarLengthBatches(lengths, batch_size=4, seed=seed)
        batches.set_epoch(epoch)
        return list(batches)

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_batches_have_little_padding():
    lengths = [1 + index * 37 % 256 for index in range(1000)]

    def padded(batches) -> int:
        return sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)

    in_order = [list(range(start, min(start + 8, 1000))) for start in range(0, 1000, 8)]
    assert padded(SimilarLengthBatches(lengths, batch_size=8, seed=0)) < 1.1 * sum(lengths) < padded(in_order)


def test_hiding_replaces_about_the_given_share_of_pieces_and_nothing_else(windows):
    batch = tensors_of(windows[:8], pad_id=0)
    torch.manual_seed(0)
    hidden = hide_pieces(batch, share=0.25, mask_id=2)
    changed = hidden["input_ids"] != batch["input_ids"]
    assert 0.2 < changed.float().mean() < 0.3
    assert (hidden["input_ids"][changed] == 2).all()
    assert torch.equal(hidden["feature_ids"], batch["feature_ids"]) and torch.equal(hidden["labels"], batch["labels"])


def test_an_epoch_takes_every_required_window_and_its_share_of_the_others():
    batches = SimilarLengthBatches([5] * 100, batch_size=8, seed=0, optional=range(20, 100), share=0.25)
    taken = []
    for epoch in range(30):
        batches.set_epoch(epoch)
        taken.append([index for batch in batches for index in batch])
        assert len(taken[-1]) == len(set(taken[-1])) == 40 and len(list(batches)) == len(batches)
        assert set(range(20)) <= set(taken[-1])
    assert set().union(*taken) == set(range(100))
    assert taken[0] != taken[1]


def test_documents_without_pii_still_give_a_batch():
    assert len(list(SimilarLengthBatches([5] * 3, batch_size=8, seed=0, optional=range(3), share=0.0))) == 1


@pytest.mark.parametrize("n_windows", [1, 39, 40, 41, 200])
@pytest.mark.parametrize("n_required", [0, 5, 40, 60])
def test_an_epoch_has_the_same_size_whatever_its_windows(n_windows, n_required):
    """All required windows are taken if they fit, and no window twice if there are enough."""
    batches = SimilarLengthBatches([5] * 100, batch_size=8, seed=0, optional=range(20, 100), share=0.25)
    required = set(range(min(n_required, n_windows)))
    batches.take(range(1, n_windows + 1), sorted(set(range(n_windows)) - required))
    batches.set_epoch(3)
    taken = [index for batch in batches for index in batch]
    assert len(taken) == 40 and len(list(batches)) == len(batches) == 5
    assert set(taken) <= set(range(n_windows))
    assert required <= set(taken) if len(required) <= 40 else set(taken) < required
    assert len(set(taken)) == min(40, n_windows)


def test_a_whole_epoch_has_only_full_batches():
    batches = SimilarLengthBatches([5] * 19, batch_size=8, seed=0, whole=True)
    assert [len(batch) for batch in batches] == [8, 8, 8]
    assert {index for batch in batches for index in batch} == set(range(19))


def cut_small(tokenizer):
    return lambda document: cut_windows(document, tokenizer, size=64, overlap=8)


def from_labels(documents):
    """The targets of documents that only their labels teach."""
    return [(document, None) for document in documents]


def labelled_from(documents, epoch):
    return from_labels(documents[epoch : epoch + 3])


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("first", [0, 2])
def test_an_epoch_has_the_windows_of_its_documents(documents, sha_rnn_tagger, first, ahead):
    """Also from a resumed one on, and if another process makes them."""
    cut = partial(cut_windows, tokenizer=sha_rnn_tagger.tokenizer, size=64, overlap=8)
    epochs = EpochWindows(partial(labelled_from, documents), cut, n_epochs=4, ahead=ahead)
    for epoch in range(first, 4):
        state = torch.get_rng_state()
        epochs.make(epoch)
        assert torch.equal(torch.get_rng_state(), state)
        expected = [window for document in documents[epoch : epoch + 3] for window in cut(document)]
        assert [window.pieces.tolist() for window in epochs.windows] == [w.pieces.tolist() for w in expected]
        assert len(epochs) == len(expected) and epochs[1] is epochs.windows[1]
        lengths, empty = epochs.lengths_and_empty()
        assert lengths == [len(window.pieces) for window in expected]
        assert empty == [i for i, window in enumerate(expected) if not (window.labels > 0).any()]


def test_each_epoch_is_made_once(documents, sha_rnn_tagger):
    """Augmentation takes seconds."""
    made = []
    targets = lambda epoch: made.append(epoch) or labelled_from(documents, epoch)  # noqa: E731
    epochs = EpochWindows(targets, cut_small(sha_rnn_tagger.tokenizer), n_epochs=3)
    for epoch in range(3):
        epochs.make(epoch)
    assert made == [0, 1, 2]


def test_targets_of_an_epoch_are_the_probabilities_that_come_with_its_documents(documents, sha_rnn_tagger):
    scores = np.full((len(documents[0].tokens), len(LABELS)), 1 / len(LABELS), dtype=np.float32)
    epochs = EpochWindows(lambda epoch: [(documents[0], scores)], cut_small(sha_rnn_tagger.tokenizer))
    for window in epochs.windows:
        starts = window.token_index != NO_TOKEN
        assert np.allclose(window.soft_labels()[starts], 1 / len(LABELS)) and not window.soft_labels()[~starts].any()


def test_a_list_that_does_not_know_a_token_knows_none_of_its_pieces(documents, sha_rnn_tagger):
    """A token of which one piece is known would not be hidden."""
    windows = cut_small(sha_rnn_tagger.tokenizer)(documents[0])
    batch = tensors_of(windows, pad_id=0)
    labels = batch.pop("labels")
    torch.manual_seed(0)
    hidden = hide_lists(batch, labels, share=0.5)["feature_ids"]
    before = batch["feature_ids"]
    assert torch.equal(hidden[..., 0], before[..., 0]) and not torch.equal(hidden, before)
    changed = (hidden != before)[..., 1:]
    known = before[..., 1:] != torch.tensor(OFFSETS[1:])
    assert torch.equal(hidden[..., 1:][changed], torch.tensor(OFFSETS[1:]).expand_as(hidden[..., 1:])[changed])
    token = (labels != IGNORED).cumsum(1)
    for row in range(len(windows)):
        for number in token[row, : len(windows[row])].unique():
            pieces = token[row] == number
            for place in range(len(OFFSETS) - 1):
                states = changed[row, pieces, place][known[row, pieces, place]]
                assert states.all() or not states.any()
    assert torch.equal(hide_lists(batch, labels, share=0.0)["feature_ids"], before)


def test_windows_of_a_teacher_come_last_with_its_probabilities_in_each_epoch(documents, sha_rnn_tagger):
    cut = cut_small(sha_rnn_tagger.tokenizer)
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.ones(len(LABELS)), size=len(documents[5].tokens)).astype(np.float32)
    taught = [(documents[5], scores)]
    epochs = EpochWindows(lambda epoch: from_labels(documents[:2]), cut, taught, n_epochs=2)
    n_taught = len(cut(documents[5]))
    for epoch in (0, 1):
        epochs.make(epoch)
        assert [window.document for window in epochs.windows[-n_taught:]] == [documents[5].number] * n_taught
        for window in epochs.windows[-n_taught:]:
            starts = window.token_index != NO_TOKEN
            assert window.labels is None
            assert np.array_equal(window.soft_labels()[starts], scores[window.token_index[starts]])
            assert not window.soft_labels()[~starts].any()
        assert all(window.probabilities is None for window in epochs.windows[:-n_taught])


def test_a_batch_with_a_teachers_window_has_probabilities_as_labels(documents, sha_rnn_tagger):
    cut = cut_small(sha_rnn_tagger.tokenizer)
    scores = np.full((len(documents[5].tokens), len(LABELS)), 1 / len(LABELS), dtype=np.float32)
    epochs = EpochWindows(lambda epoch: from_labels(documents[:1]), cut, [(documents[5], scores)])
    batch = tensors_of([epochs[0], epochs[len(epochs) - 1]], pad_id=0)
    assert batch["labels"].shape == (*batch["input_ids"].shape, len(LABELS))
    labelled = epochs[0].token_index != NO_TOKEN
    assert batch["labels"][0, : len(labelled)][labelled].argmax(-1).tolist() == epochs[0].labels[labelled].tolist()


def test_the_loader_gives_the_batches_and_does_not_change_the_random_state(documents, sha_rnn_tagger):
    epochs = EpochWindows(lambda epoch: from_labels(documents[:4]), cut_small(sha_rnn_tagger.tokenizer))
    batches = SimilarLengthBatches(epochs.lengths_and_empty()[0], batch_size=4, seed=0)
    state = torch.get_rng_state()
    loaded = list(batch_loader(epochs, batches, pad_id=0, seed=0))
    assert torch.equal(torch.get_rng_state(), state)
    for batch, indices in zip(loaded, batches, strict=True):
        expected = tensors_of([epochs[index] for index in indices], pad_id=0)
        assert all(torch.equal(batch[name], expected[name]) for name in expected)


def test_documents_without_tokens_are_refused(sha_rnn_tagger):
    with pytest.raises(KitError, match="hold no tokens"):
        EpochWindows(lambda epoch: from_labels([make_document("", labels={})]), cut_small(sha_rnn_tagger.tokenizer))
