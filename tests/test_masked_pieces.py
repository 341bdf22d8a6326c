import math

import pytest
import torch
from conftest import make_document
from torch import nn

from pii_kit.batches import collate
from pii_kit.masked_pieces import Guesser, mask_pieces, special_ids, without_classifier
from pii_kit.windows import cut_windows


@pytest.fixture(params=["sha_rnn", "mobilebert"])
def tagger(request):
    return request.getfixturevalue(f"{request.param}_tagger")


def tiny_batch(tokenizer) -> dict[str, torch.Tensor]:
    texts = ("My name is Ann and I like tea.", "Bob, too!")
    windows = [window for text in texts for window in cut_windows(make_document(text), tokenizer, size=64, overlap=8)]
    return collate(windows, pad_id=tokenizer.pad_id)


def test_padding_and_special_pieces_are_never_chosen_and_pieces_not_chosen_stay(tagger):
    tokenizer = tagger.tokenizer
    batch = tiny_batch(tokenizer)
    _, all_chosen = mask_pieces(batch, tokenizer, share=1.0)
    text = batch["attention_mask"].bool()
    for piece in special_ids(tokenizer):
        text &= batch["input_ids"] != piece
    assert torch.equal(all_chosen, text) and not all_chosen.all()

    torch.manual_seed(0)
    shown, chosen = mask_pieces(batch, tokenizer, share=0.4)
    assert chosen.any() and torch.equal(shown["input_ids"][~chosen], batch["input_ids"][~chosen])
    assert all(torch.equal(shown[name], batch[name]) for name in ("attention_mask", "casing_ids"))


def test_of_the_chosen_pieces_eight_in_ten_are_masked_and_one_replaced(sha_rnn_tagger):
    tokenizer = sha_rnn_tagger.tokenizer
    pieces = torch.full((200, 500), 300)
    torch.manual_seed(0)
    batch = {"input_ids": pieces, "attention_mask": torch.ones_like(pieces)}
    shown, chosen = mask_pieces(batch, tokenizer, share=0.15)
    became = shown["input_ids"][chosen]
    assert chosen.float().mean().item() == pytest.approx(0.15, abs=0.005)
    assert (became == tokenizer.mask_id).float().mean().item() == pytest.approx(0.8, abs=0.01)
    assert (became == 300).float().mean().item() == pytest.approx(0.1, abs=0.01)


@torch.no_grad()
def test_the_logits_are_those_of_each_chosen_piece_worked_out_alone_and_without_padding(tagger):
    """By hand: each row without its padding through the base model, the head spelled out piece by piece."""
    model, tokenizer = tagger.model, tagger.tokenizer
    guesser = Guesser(model, tokenizer).eval()
    nn.init.normal_(guesser.output_bias)
    batch = tiny_batch(tokenizer)
    lengths = batch["attention_mask"].sum(1).tolist()
    assert lengths[0] > lengths[1]
    chosen = torch.zeros_like(batch["input_ids"]).bool()
    places = [(0, 2), (0, 5), (1, 1)]
    for place in places:
        chosen[place] = True
    with without_classifier(model):
        logits = guesser(batch, chosen)
    assert logits.shape == (3, tokenizer.n_pieces)

    embedding = model.get_input_embeddings().weight
    for (row, piece), got in zip(places, logits, strict=True):
        alone = {name: tensor[row : row + 1, : lengths[row]] for name, tensor in batch.items()}
        if model.base_model_prefix == "mobilebert":
            del alone["casing_ids"]  # its sense of capitals, outside the base model, is zero before training
        hidden = model.base_model(**alone).last_hidden_state[0, piece]
        projected = guesser.projection.weight @ hidden + guesser.projection.bias
        projected = projected * 0.5 * (1 + torch.erf(projected / math.sqrt(2)))
        centred = projected - projected.mean()
        normed = centred / torch.sqrt((centred**2).mean() + 1e-5)
        expected = embedding @ normed + guesser.output_bias
        expected[special_ids(tokenizer)] = -math.inf
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_classifier_is_put_back_and_the_logits_with_it(tagger):
    batch = tiny_batch(tagger.tokenizer)
    before = tagger.model(**batch).logits
    with without_classifier(tagger.model):
        assert tagger.model(**batch).logits.shape[-1] == tagger.model.config.hidden_size
        tagger.model.train()
    assert torch.equal(tagger.model(**batch).logits, before)
