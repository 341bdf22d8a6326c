from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_language_model, tiny_sha_rnn
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForTokenClassification

from pii_kit.lexicon import N_FEATURES, N_ROWS
from pii_kit.models.sha_rnn import (
    Dropout,
    ShaRnnConfig,
    ShaRnnForTokenClassification,
)

REFERENCES = Path(__file__).parents[3] / "shared" / "data"

VARIANTS = [
    {},
    {"attention": "multi_head", "num_attention_heads": 2},
    {"attention_layers": [0, 1], "num_attention_heads": 2},
    {"attention_layers": []},
    {"bidirectional": False, "causal": True, "n_features": 0},
]
EACH_VARIANT = pytest.mark.parametrize("variant", VARIANTS, ids=str)
LANGUAGE_MODELS = pytest.mark.parametrize(
    "variant",
    [
        {},
        {"attention_layers": []},
        {"attention_layers": [0, 1, 2], "num_attention_heads": 2},
        {"memory_size": 0},
        {"memory_size": 7},
    ],
    ids=str,
)


def batch(n_rows=3, n_pieces=20):
    generator = torch.Generator().manual_seed(0)
    return {
        "input_ids": torch.randint(1, 400, (n_rows, n_pieces), generator=generator),
        "feature_ids": torch.randint(0, N_ROWS, (n_rows, n_pieces, N_FEATURES), generator=generator),
    }


def text(n_streams=2, n_pieces=40):
    return torch.randint(0, 61, (n_streams, n_pieces), generator=torch.Generator().manual_seed(3))


@EACH_VARIANT
@torch.no_grad()
def test_padding_never_changes_the_logits_of_a_real_piece(variant):
    model, inputs = tiny_sha_rnn(**variant), batch()
    lengths = [20, 13, 1]
    mask = (torch.arange(20) < torch.tensor(lengths)[:, None]).long()
    together = model(**inputs, attention_mask=mask).logits
    for row, length in enumerate(lengths):
        alone = model(**{name: tensor[row : row + 1, :length] for name, tensor in inputs.items()}).logits[0]
        torch.testing.assert_close(together[row, :length], alone, atol=1e-6, rtol=1e-5)


@EACH_VARIANT
@torch.no_grad()
def test_saving_and_loading_keeps_every_weight_and_the_logits(variant, tmp_path):
    model = tiny_sha_rnn(**variant)
    model.save_pretrained(tmp_path)
    again = AutoModelForTokenClassification.from_pretrained(tmp_path)
    assert type(again) is ShaRnnForTokenClassification
    assert again.config.id2label[1] == "B-NAME_STUDENT"
    weights, loaded = model.state_dict(), again.state_dict()
    assert weights.keys() == loaded.keys() and all(torch.equal(weights[name], loaded[name]) for name in weights)
    torch.testing.assert_close(again(**batch()).logits, model(**batch()).logits)


@torch.no_grad()
def test_a_causal_model_does_not_see_later_pieces_and_a_bidirectional_one_does():
    changed = batch()
    changed["input_ids"][:, -1] = 3
    causal, bidirectional = tiny_sha_rnn(bidirectional=False, causal=True), tiny_sha_rnn()
    assert torch.equal(causal(**batch()).logits[:, :-1], causal(**changed).logits[:, :-1])
    assert not torch.allclose(bidirectional(**batch()).logits[:, 0], bidirectional(**changed).logits[:, 0], atol=1e-9)


@EACH_VARIANT
def test_every_weight_gets_a_gradient(variant):
    model = tiny_sha_rnn(**variant).train()
    labels = torch.randint(0, 15, (3, 20), generator=torch.Generator().manual_seed(1))
    F.cross_entropy(model(**batch()).logits.flatten(0, 1), labels.flatten()).backward()
    idle = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert idle == []


def test_weights_are_initialised_as_in_the_paper():
    model = tiny_sha_rnn(vocab_size=20_000, hidden_size=64, boom_size=256, attention_layers=[0, 1])
    norms = [module for module in model.modules() if isinstance(module, nn.LayerNorm)]
    assert len(norms) == 2 * 6
    assert all((norm.weight == 1).all() and (norm.bias == 0).all() for norm in norms)
    for name, weight in model.named_parameters():
        assert not name.endswith(("_gate", "linear.bias", "overparam.bias", "projection.bias")) or not weight.any()
    assert model.model.embedding.weight.std().item() == pytest.approx(0.1 / 64**0.5, rel=0.02)
    assert model.model.block[0].boom.linear.weight.std().item() == pytest.approx(0.1 / 64**0.5, rel=0.05)
    bound = 1 / 32**0.5
    recurrent = model.model.block[0].lstm.weight_hh_l0
    assert 0.95 * bound < recurrent.abs().max() <= bound


@pytest.fixture(
    params=[
        ("sha_rnn_one_attention_layer.safetensors", [2], 1),
        ("sha_rnn_attention_in_every_layer_two_heads.safetensors", [0, 1, 2, 3], 2),
    ],
    ids=["one layer", "every layer, two heads"],
)
def published(request):
    """Our model with the weights of the published code, and that code's outputs (position, batch, hidden)."""
    file, layers, heads = request.param
    if not (REFERENCES / file).is_file():
        pytest.skip("the outputs of the published code are not available")
    tensors = load_file(REFERENCES / file)
    sizes = {"hidden_size": 32, "boom_size": 96, "num_hidden_layers": 4, "dropout": 0.0}
    model = tiny_language_model(attention_layers=layers, num_attention_heads=heads, **sizes).train()
    weights = {name.replace("weight.", "model.", 1): tensors[name] for name in tensors if name.startswith("weight.")}
    model.load_state_dict(weights | {"output_bias": weights.pop("model.decoder.bias")})
    return model, tensors


def assert_close_in_scale(found, expected, share):
    assert (found - expected).abs().max() <= share * expected.abs().max()


def test_three_windows_reproduce_outputs_state_and_memory_of_the_published_code(published):
    model, tensors = published
    state = {}
    for window in range(3):
        ids = tensors["ids"][9 * window : 9 * window + 9].T
        hidden, _ = model.model(ids, state=state)
        _, logits, state = model(ids, state=state)
        computed = {"hidden": hidden, "logits": logits, **state}
        expected = {
            name.removeprefix(f"window_{window}."): tensor
            for name, tensor in tensors.items()
            if name.startswith(f"window_{window}.")
        }
        assert computed.keys() == expected.keys()
        for name, tensor in computed.items():
            tensor = tensor if name.startswith("lstm") else tensor.transpose(0, 1)
            assert_close_in_scale(tensor, expected[name], 1e-5)


def test_gradients_of_a_window_reproduce_those_of_the_published_code(published):
    model, tensors = published
    state = model(tensors["ids"][:9].T).state
    model(tensors["ids"][9:18].T, state=state, labels=tensors["ids"][10:19].T).loss.backward()
    for name, weight in model.named_parameters():
        name = {"output_bias": "decoder.bias"}.get(name, name.removeprefix("model."))
        assert_close_in_scale(weight.grad, tensors[f"gradient_window_1.{name}"], 1e-4)


@pytest.mark.parametrize(
    ("layers", "published", "unused_norms"), [([], 50_631_885, 8), ([2], 53_785_805, 6), ([0, 1, 2, 3], 63_247_565, 0)]
)
def test_parameter_counts_equal_the_papers_without_unused_layer_norms(layers, published, unused_norms):
    """The published code builds the two layer norms of attention in every block, with attention or without."""
    sizes = {"vocab_size": 205, "hidden_size": 1024, "boom_size": 4096, "num_hidden_layers": 4}
    with torch.device("meta"):
        model = tiny_language_model(attention_layers=layers, **sizes)
    assert sum(weight.numel() for weight in model.parameters()) == published - unused_norms * 2 * 1024


@LANGUAGE_MODELS
@torch.no_grad()
def test_windows_with_carried_state_equal_one_long_window(variant):
    if variant.get("memory_size", 20) < 40 and variant.get("attention_layers") != []:
        variant = {**variant, "memory_size": 40}  # a shorter memory forgets; see the next test
    model, ids = tiny_language_model(**variant), text()
    state, parts = None, []
    for begin, end in ((0, 1), (1, 9), (9, 30), (30, 40)):
        _, logits, state = model(ids[:, begin:end], state=state)
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, 1), model(ids).logits, atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(("n_between", "seen"), [(7, True), (8, False)])
def test_attention_reaches_back_exactly_as_far_as_the_memory_size(n_between, seen):
    """A window of 4 reads the last 12 - 4 rows before it. LSTM states are made equal, so only attention differs."""
    model = tiny_language_model(memory_size=12)
    lstm = {name: part for name, part in model(text(1, 8)).state.items() if name.startswith("lstm")}
    results = []
    for first in (text(1, 8), text(1, 8).flip(1)):
        state = model(first).state | lstm
        state = model(text(1, n_between), state=state).state | lstm
        results.append(model(text(1, 4), state=state).logits)
    assert torch.equal(*results) is not seen


@pytest.mark.parametrize(("size", "lengths"), [(0, [3]), (1, [1] * 9), (8, [3, 3, 3, 30, 1, 4]), (100, [8, 8])])
@torch.no_grad()
def test_a_memory_holds_the_last_positions_in_order(size, lengths):
    model = tiny_language_model(memory_size=size)
    block, state, seen = model.model.block[1], {}, []
    block.norm_memory.register_forward_hook(lambda module, inputs, rows: seen.append(rows))
    for length in lengths:
        state = model(text(2, length), state=state).state
        assert torch.equal(state["memory.1"], torch.cat(seen, 1)[:, -size:] if size else seen[0][:, :0])


@LANGUAGE_MODELS
def test_every_weight_of_a_language_model_gets_a_gradient(variant):
    model = tiny_language_model(**variant).train()
    state = model(text()).state
    assert not any(tensor.requires_grad for tensor in state.values())
    model(text(), state=state, labels=text().roll(-1, 1)).loss.backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()] == []


@pytest.mark.parametrize(
    ("change", "needle"),
    [
        ({"boom_size": 100}, "boom_size 100 is not a multiple of hidden_size 256"),
        ({"num_attention_heads": 3}, "split into 3 heads"),
        ({"attention_layers": [4]}, "not all within 0 to 3"),
    ],
)
def test_sizes_that_do_not_fit_together_are_refused(change, needle):
    with pytest.raises(ValueError, match=needle):
        ShaRnnConfig(**change)


@torch.no_grad()
def test_boom_equals_its_formula():
    boom = tiny_sha_rnn(boom_size=48).model.block[0].boom
    hidden = torch.randn(2, 3, 16)
    wide = hidden @ boom.linear.weight.T + boom.linear.bias
    wide = wide * torch.sigmoid(1.702 * wide)
    expected = wide[..., :16] + wide[..., 16:32] + wide[..., 32:]
    torch.testing.assert_close(boom(hidden), expected)


@torch.no_grad()
def test_single_headed_attention_equals_its_formula():
    attention = tiny_sha_rnn().model.block[1].attention
    torch.manual_seed(1)
    for weight in attention.parameters():
        weight.copy_(torch.randn_like(weight))
    query, memory, visible = torch.randn(1, 4, 16), torch.randn(1, 6, 16), torch.ones(1, 1, 4, 6, dtype=torch.bool)
    u = attention.overparam(torch.sigmoid(attention.value_gate[0, 0]))
    gate = torch.sigmoid(u[16:]) * torch.tanh(u[:16])
    for place in range(4):
        q = attention.norm_query_projection(attention.query_projection(query[0, place]))
        q = q * torch.sigmoid(attention.query_gate[0, 0])
        scores = torch.stack([q @ (row * torch.sigmoid(attention.key_gate[0, 0])) for row in memory[0]]) / 4
        expected = sum(share * row * gate for share, row in zip(scores.softmax(0), memory[0], strict=True))
        for rows in (
            attention(query, memory, visible),
            attention(query, memory[:, 2:], visible[..., 2:], memory[:, :2]),
        ):
            torch.testing.assert_close(rows[0, place], expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_multi_head_attention_equals_that_of_pytorch():
    attention = tiny_sha_rnn(attention="multi_head", num_attention_heads=2).model.block[1].attention
    hidden = torch.randn(3, 7, 16)
    visible = torch.arange(7) < torch.tensor([7, 4, 1])[:, None]
    plain = nn.MultiheadAttention.forward
    expected = plain(attention, hidden, hidden, hidden, key_padding_mask=~visible, need_weights=False)[0]
    torch.testing.assert_close(attention(hidden, hidden, visible[:, None, None, :]), expected)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_its_share_independently_keeps_the_mean_and_is_equal_for_equal_seeds(p):
    ones, masks = torch.ones(250_000, 4), []
    for _ in range(2):
        torch.manual_seed(0)
        masks.append(Dropout(p)(ones))
    assert torch.equal(*masks)
    dropped = masks[0] == 0
    assert dropped.float().mean(0).tolist() == pytest.approx([p] * 4, abs=4 * (p * (1 - p) / len(ones)) ** 0.5)
    assert masks[0].unique().tolist() == pytest.approx([0, 1 / (1 - p)], rel=1e-4)
    correlation = torch.corrcoef(dropped.float().T) - torch.eye(4)  # four elements share a random draw
    assert correlation.abs().max() < 0.02
