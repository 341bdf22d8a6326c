from dataclasses import replace

import pytest

from pii_kit.augment import AugmentConfig
from pii_kit.files import KitError
from pii_kit.training.config import TrainConfig
from pii_kit.windows import EpochWindows, cut_windows

CONFIG = TrainConfig(window_size=64, overlap=8)
AUGMENTED = replace(CONFIG, augment=AugmentConfig(plant_share=0.5))


def test_essays_as_they_are_give_the_windows_that_predictions_are_made_from(documents, sha_rnn_tagger):
    tokenizer = sha_rnn_tagger.tokenizer
    epochs = EpochWindows(documents, tokenizer, CONFIG)
    cut = [window for doc in documents for window in cut_windows(doc, tokenizer, size=64, overlap=8)]
    assert len(epochs) == len(cut)
    assert [epochs[i].pieces.tolist() for i in range(len(epochs))] == [window.pieces.tolist() for window in cut]
    lengths, empty = epochs.lengths_and_empty()
    assert lengths == [len(window.pieces) for window in cut]
    assert empty == [i for i, window in enumerate(cut) if not (window.labels > 0).any()]


def test_each_epochs_essays_are_made_anew_and_the_same_whenever_they_are_made(documents, sha_rnn_tagger):
    epochs = EpochWindows(documents, sha_rnn_tagger.tokenizer, AUGMENTED)
    made = []
    for epoch in (0, 1, 2, 0):
        epochs.make(epoch)
        made.append([window.pieces.tolist() for window in epochs.windows])
    assert made[0] == made[3]
    assert made[0] != made[1] != made[2] != made[0]
    plain = EpochWindows(documents, sha_rnn_tagger.tokenizer, CONFIG)
    before = list(plain.windows)
    plain.make(1)
    assert plain.windows == before


def test_documents_without_tokens_are_refused(sha_rnn_tagger):
    with pytest.raises(KitError, match="no tokens"):
        EpochWindows([], sha_rnn_tagger.tokenizer, CONFIG)
