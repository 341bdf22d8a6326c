import pytest
import torch
from conftest import make_document, tiny_mobilebert, tiny_sha_rnn
from torch import nn

from pii_kit import models as cost
from pii_kit.models.encoder import MobileBertForTokenClassification, MobileBertTaggerConfig
from pii_kit.windows import cut_windows


def test_mobilebert_in_the_seeds_configuration_costs_what_the_seeds_profiler_said():
    config = MobileBertTaggerConfig(vocab_size=128000, num_labels=13, max_position_embeddings=1024)
    with torch.device("meta"):
        model = MobileBertForTokenClassification(config)
    assert cost.parameters(model) == 37_327_885
    assert cost.linear_parameters(model) == 20_349_965
    assert cost.linear_macs(model, n_pieces=1024) == 20_743_454_720


def test_a_shared_parameter_is_counted_once():
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 10, bias=False), nn.Linear(10, 3))
    assert cost.parameters(model) == 40 + 40 + 33
    model[1].weight = model[0].weight
    assert cost.parameters(model) == 40 + 33


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("n_pieces", [10, 33])
def test_the_operations_of_a_small_sha_rnn_are_those_worked_by_hand(bidirectional, n_pieces):
    # Two blocks, hidden 8, Boom 16, 15 labels; the second block attends.
    model = tiny_sha_rnn(hidden_size=8, boom_size=16, attention_layers=[1], bidirectional=bidirectional)
    lstm = 2 * 4 * 4 * (8 + 4) if bidirectional else 4 * 8 * (8 + 8)
    boom, query, overparam, classifier = 8 * 16, 8 * 8, 8 * 16, 8 * 15
    # The overparam layer runs on the value gate, which is one row however many pieces there are.
    linear = n_pieces * (2 * boom + query + classifier) + overparam
    attention = 2 * n_pieces**2 * 8
    assert cost.linear_macs(model, n_pieces=n_pieces) == linear
    assert cost.flops(model, n_pieces=n_pieces) == 2 * (2 * n_pieces * lstm + linear + attention)


@pytest.mark.parametrize("build", [tiny_sha_rnn, tiny_mobilebert])
def test_counting_leaves_the_model_as_it_was(build):
    model, untouched = build().train(), build()
    cost.flops(model, n_pieces=8)
    cost.linear_macs(model, n_pieces=8)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    for weight, before in zip(model.parameters(), untouched.parameters(), strict=True):
        assert torch.equal(weight, before)


def test_speed_is_measured_on_every_document(sha_rnn_tagger, documents):
    essays = [*documents[:3], make_document("", 99), documents[3]]
    n_pieces_read = []
    handle = sha_rnn_tagger.model.register_forward_pre_hook(
        lambda model, args, kwargs: n_pieces_read.append(int(kwargs["attention_mask"].sum())), with_kwargs=True
    )
    try:
        assert cost.tokens_per_second(sha_rnn_tagger, essays, repeats=2) > 0
    finally:
        handle.remove()
    windows = [
        window
        for essay in essays
        for window in cut_windows(
            essay, sha_rnn_tagger.tokenizer, size=sha_rnn_tagger.window_size, overlap=sha_rnn_tagger.overlap
        )
    ]
    assert sum(n_pieces_read) == 2 * sum(map(len, windows))


def test_documents_without_tokens_have_no_speed(sha_rnn_tagger):
    assert cost.tokens_per_second(sha_rnn_tagger, [make_document("")], repeats=1) == 0


def test_peak_memory_counts_bytes_and_rises_with_what_is_held():
    before = cost.peak_memory()
    held = torch.ones(before // 4 + 2**20)
    assert cost.peak_memory() > held.nbytes > before
