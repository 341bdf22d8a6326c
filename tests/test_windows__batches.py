import pytest
import torch

from pii_kit.windows import IGNORED, SimilarLengthBatches, collate, cut_windows, hide_pieces


@pytest.fixture
def windows(documents, sha_rnn_tagger):
    return [w for doc in documents for w in cut_windows(doc, sha_rnn_tagger.tokenizer, size=64, overlap=16)]


def test_padding_comes_last_and_is_masked_and_ignored(windows):
    short, long = min(windows, key=len), max(windows, key=len)
    batch = collate([short, long], pad_id=0)
    n = len(short)
    assert batch["input_ids"].shape == (2, len(long))
    assert batch["input_ids"][0, :n].tolist() == short.pieces.tolist()
    assert batch["attention_mask"].sum(1).tolist() == [n, len(long)]
    assert (batch["attention_mask"][0, :n] == 1).all()
    assert (batch["labels"][0, n:] == IGNORED).all()


def test_an_epoch_takes_each_window_once():
    lengths = [1 + index * 7 % 50 for index in range(203)]
    batches = list(SimilarLengthBatches(lengths, batch_size=8, seed=0))
    assert sorted(index for batch in batches for index in batch) == list(range(203))
    assert len(batches) == len(SimilarLengthBatches(lengths, batch_size=8, seed=0)) == 26


def test_the_order_follows_seed_and_epoch_alone():
    lengths = list(range(1, 101))

    def order(seed, epoch):
        batches = SimilarLengthBatches(lengths, batch_size=4, seed=seed)
        batches.set_epoch(epoch)
        return list(batches)

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_little_is_spent_on_padding():
    lengths = [1 + index * 37 % 256 for index in range(1000)]

    def padded(batches) -> int:
        return sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)

    in_order = [list(range(start, min(start + 8, 1000))) for start in range(0, 1000, 8)]
    assert padded(SimilarLengthBatches(lengths, batch_size=8, seed=0)) < 1.1 * sum(lengths) < padded(in_order)


def test_hiding_replaces_about_the_share_asked_for_and_nothing_else(windows):
    batch = collate(windows[:8], pad_id=0)
    torch.manual_seed(0)
    hidden = hide_pieces(batch, share=0.25, mask_id=2)
    changed = hidden["input_ids"] != batch["input_ids"]
    assert 0.2 < changed.float().mean() < 0.3
    assert (hidden["input_ids"][changed] == 2).all()
    assert torch.equal(hidden["casing_ids"], batch["casing_ids"]) and torch.equal(hidden["labels"], batch["labels"])


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


def test_essays_without_any_pii_still_give_a_batch():
    assert len(list(SimilarLengthBatches([5] * 3, batch_size=8, seed=0, optional=range(3), share=0.0))) == 1


@pytest.mark.parametrize("n_windows", [1, 39, 40, 41, 200])
@pytest.mark.parametrize("n_required", [0, 5, 40, 60])
def test_an_epochs_size_stays_when_it_brings_other_windows(n_windows, n_required):
    """Required windows all come when they fit, and each window once as long as there are enough of them."""
    batches = SimilarLengthBatches([5] * 100, batch_size=8, seed=0, optional=range(20, 100), share=0.25)
    required = set(range(min(n_required, n_windows)))
    batches.take(range(1, n_windows + 1), sorted(set(range(n_windows)) - required))
    batches.set_epoch(3)
    taken = [index for batch in batches for index in batch]
    assert len(taken) == 40 and len(list(batches)) == len(batches) == 5
    assert set(taken) <= set(range(n_windows))
    assert required <= set(taken) if len(required) <= 40 else set(taken) < required
    assert len(set(taken)) == min(40, n_windows)
