from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_document, tiny_mobilebert, tiny_sha_rnn

from pii_kit.batches import collate
from pii_kit.errors import KitError
from pii_kit.masked_pieces import Guesser, special_ids
from pii_kit.pieces import PieceTokenizer
from pii_kit.pretrain import PretrainConfig, pretrain
from pii_kit.windows import cut_windows

CONFIG = PretrainConfig(epochs=2, batch_size=4, window_size=64, overlap=8, learning_rate=1e-2)


@pytest.fixture(params=["sha_rnn", "mobilebert"])
def fresh(request):
    """A function that gives an untrained tagger, and the tokenizer for it."""
    tokenizer = request.getfixturevalue(f"{request.param}_tagger").tokenizer
    make = {"sha_rnn": tiny_sha_rnn, "mobilebert": tiny_mobilebert}[request.param]
    return lambda: make(vocab_size=tokenizer.n_pieces), tokenizer


@pytest.fixture
def few(documents):
    return documents[:3]


def nats_of_guessing_by_frequency(documents, tokenizer) -> float:
    counts = np.bincount(np.concatenate([tokenizer.cut(document).ids for document in documents]), minlength=10)
    counts[special_ids(tokenizer)] = 0
    shares = counts[counts > 0] / counts.sum()
    return -(shares * np.log(shares)).sum()


def test_the_loss_falls_below_that_of_guessing_by_frequency(fresh, documents):
    make, tokenizer = fresh
    essays = documents[:12]
    history = pretrain(make(), tokenizer, essays, replace(CONFIG, epochs=4))
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    losses = [row["loss"] for row in history]
    assert losses[-1] < losses[0]
    assert losses[-1] < nats_of_guessing_by_frequency(essays, tokenizer)
    assert all(row["seconds"] > 0 for row in history)


def test_the_body_learns_and_the_classifier_stays_bit_for_bit(fresh, few):
    make, tokenizer = fresh
    model, before = make(), make().state_dict()
    classifier = model.classifier
    pretrain(model, tokenizer, few, CONFIG)
    assert model.classifier is classifier and not model.training
    assert list(model.state_dict()) == list(before)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name]) == name.startswith("classifier."), name


def test_equal_seeds_give_equal_weights_and_other_seeds_others(fresh, few):
    make, tokenizer = fresh
    weights = []
    for seed, state_before in ((1, 5), (1, 6), (2, 5)):
        model = make()
        torch.manual_seed(state_before)
        pretrain(model, tokenizer, few, replace(CONFIG, seed=seed))
        weights.append(model.state_dict())
    one, same, other = weights
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one if not name.startswith("classifier."))


def test_the_random_state_goes_on_as_if_nothing_had_been_pretrained(fresh, few):
    make, tokenizer = fresh
    model = make()
    before = torch.get_rng_state()
    pretrain(model, tokenizer, few, CONFIG)
    assert torch.equal(torch.get_rng_state(), before)


def test_labels_are_not_looked_at(fresh, few):
    make, tokenizer = fresh
    labelled, unlabelled = make(), make()
    pretrain(labelled, tokenizer, few, CONFIG)
    pretrain(unlabelled, tokenizer, [replace(document, labels=None) for document in few], CONFIG)
    assert torch.equal(labelled.get_input_embeddings().weight, unlabelled.get_input_embeddings().weight)


def test_the_reported_loss_is_the_mean_over_masked_pieces_alone(fresh, monkeypatch):
    """The first step's loss against the pieces' own, gathered by hand."""
    make, tokenizer = fresh
    model = make()
    document = make_document("My name is Ann and I like tea, and Bob likes tea too.")
    kept = []

    def keep(self, batch, chosen, original=Guesser.forward):
        kept.append((chosen, original(self, batch, chosen)))
        return kept[-1][1]

    monkeypatch.setattr(Guesser, "forward", keep)
    history = pretrain(model, tokenizer, [document], replace(CONFIG, epochs=1, masked_share=0.4))
    (chosen, logits), *rest = kept
    assert not rest
    batch = collate(cut_windows(document, tokenizer, size=64, overlap=8), pad_id=tokenizer.pad_id)
    targets = [piece for piece, is_chosen in zip(batch["input_ids"][0], chosen[0], strict=True) if is_chosen]
    nats = [torch.logsumexp(row, 0) - row[piece] for row, piece in zip(logits, targets, strict=True)]
    assert history[0]["loss"] == pytest.approx(sum(nats).item() / len(nats), rel=1e-5)


def test_the_pad_piece_of_mobilebert_stays_zero(mobilebert_tagger, few):
    tokenizer = mobilebert_tagger.tokenizer
    model = tiny_mobilebert(vocab_size=tokenizer.n_pieces)
    pretrain(model, tokenizer, few, CONFIG)
    assert not model.get_input_embeddings().weight[tokenizer.pad_id].any()


def test_a_batch_without_a_masked_piece_moves_on(fresh):
    make, tokenizer = fresh
    history = pretrain(make(), tokenizer, [make_document("Tea")], replace(CONFIG, masked_share=1e-9))
    assert [row["loss"] for row in history] == [0.0, 0.0]


def test_a_loss_that_is_not_finite_stops_and_the_classifier_is_put_back(fresh, few):
    make, tokenizer = fresh
    model = make()
    classifier = model.classifier
    with torch.no_grad():
        model.get_input_embeddings().weight[:, 0] = float("nan")
    with pytest.raises(KitError, match=r"the loss is nan in pretraining epoch 1 \(learning rate"):
        pretrain(model, tokenizer, few, CONFIG)
    assert model.classifier is classifier


@pytest.mark.parametrize("nothing", [[], [make_document("")]])
def test_documents_without_tokens_are_refused(nothing, fresh):
    make, tokenizer = fresh
    with pytest.raises(KitError, match="hold no tokens"):
        pretrain(make(), tokenizer, nothing, CONFIG)


def test_a_tokenizer_without_a_mask_is_refused(fresh, few):
    make, tokenizer = fresh
    without = PieceTokenizer(tokenizer.tokenizer)
    without.mask_id = None
    with pytest.raises(KitError, match=r"no piece \[MASK\]"):
        pretrain(make(), without, few, CONFIG)


@pytest.mark.parametrize(
    ("change", "needle"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"masked_share": 0.0}, "masked_share is 0.0; expected more than 0"),
        ({"masked_share": 1.5}, "masked_share is 1.5"),
        ({"overlap": 63}, "overlap is 63; expected 0 to 61 in a window"),
    ],
)
def test_settings_that_cannot_be_are_named(change, needle):
    with pytest.raises(KitError, match=needle):
        replace(CONFIG, **change)
