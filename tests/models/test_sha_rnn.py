from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import tiny_language_model, tiny_sha_rnn
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification

from pii_kit.lexicon import N_FEATURES, N_ROWS
from pii_kit.models.sha_rnn import ShaRnnForTokenClassification
from pii_kit.models.sha_rnn_memory import ShaRnnState

REFERENCES = Path(__file__).parents[3] / "shared" / "data"

VARIANTS = [
    {},
    {"attention": "multi_head", "num_attention_heads": 2},
    {"attention_layers": [0, 1], "num_attention_heads": 2},
    {"attention_layers": []},
    {"bidirectional": False, "causal": True},
    {"n_features": 0},
]
EACH_VARIANT = pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: str(variant))


def batch(n_rows=3, n_pieces=20):
    generator = torch.Generator().manual_seed(0)
    return {
        "input_ids": torch.randint(1, 400, (n_rows, n_pieces), generator=generator),
        "feature_ids": torch.randint(0, N_ROWS, (n_rows, n_pieces, N_FEATURES), generator=generator),
    }


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
def test_rows_of_a_batch_do_not_see_each_other(variant):
    model, inputs = tiny_sha_rnn(**variant), batch()
    other = {name: tensor.clone() for name, tensor in inputs.items()}
    other["input_ids"][1:] = 7
    torch.testing.assert_close(model(**inputs).logits[0], model(**other).logits[0])


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
    changed["input_ids"] = changed["input_ids"].clone()
    changed["input_ids"][:, -1] = 3
    causal, bidirectional = tiny_sha_rnn(bidirectional=False, causal=True), tiny_sha_rnn()
    assert torch.equal(causal(**batch()).logits[:, :-1], causal(**changed).logits[:, :-1])
    assert not torch.allclose(bidirectional(**batch()).logits[:, 0], bidirectional(**changed).logits[:, 0], atol=1e-9)


@EACH_VARIANT
def test_every_weight_gets_a_gradient(variant):
    model = tiny_sha_rnn(**variant).train()
    labels = torch.randint(0, 15, (3, 20), generator=torch.Generator().manual_seed(1))
    model(**batch(), labels=labels).loss.backward()
    idle = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert idle == []


def test_layer_norms_are_initialised_with_gains_of_one():
    norms = [module for module in tiny_sha_rnn(attention_layers=[0, 1]).modules() if isinstance(module, nn.LayerNorm)]
    assert len(norms) == 2 * 6
    assert all((norm.weight == 1).all() and (norm.bias == 0).all() for norm in norms)


def test_weights_are_initialised_as_in_the_paper():
    model = tiny_sha_rnn(vocab_size=20_000, hidden_size=64, boom_size=256)
    assert model.model.embedding.weight.std().item() == pytest.approx(0.1 / 64**0.5, rel=0.02)
    assert model.model.block[0].boom.linear.weight.std().item() == pytest.approx(0.1 / 64**0.5, rel=0.05)
    bound = 1 / 32**0.5
    recurrent = model.model.block[0].lstm.weight_hh_l0
    assert 0.95 * bound < recurrent.abs().max() <= bound


def text(n_streams=2, n_pieces=40):
    return torch.randint(0, 61, (n_streams, n_pieces), generator=torch.Generator().manual_seed(3))


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
    names = {"weight.decoder.bias": "output_bias"}
    model.load_state_dict(
        {
            names.get(name, name.replace("weight.", "model.", 1)): tensor
            for name, tensor in tensors.items()
            if name.startswith("weight.")
        }
    )
    return model, tensors


def assert_close_in_scale(found, expected, share):
    assert (found - expected).abs().max() <= share * expected.abs().max()


def test_three_windows_reproduce_outputs_state_and_memory_of_the_published_code(published):
    model, tensors = published
    state = None
    for window in range(3):
        ids = tensors["ids"][9 * window : 9 * window + 9].T
        hidden = model.model(ids, state=state or model.empty_state()).last_hidden_state
        done = model(ids, state=state)
        state = done.state
        assert_close_in_scale(hidden.transpose(0, 1), tensors[f"window_{window}.hidden"], 1e-5)
        assert_close_in_scale(done.logits.transpose(0, 1), tensors[f"window_{window}.logits"], 1e-5)
        carried = {name: tensor for name, tensor in state.tensors().items() if not name.startswith("place")}
        expected = {
            name.removeprefix(f"window_{window}.")
            for name in tensors
            if name.startswith((f"window_{window}.lstm", f"window_{window}.memory"))
        }
        assert set(carried) == expected
        for name, tensor in carried.items():
            if name.startswith("memory"):
                tensor = tensor.transpose(1, 2).flatten(2).transpose(0, 1)
            assert_close_in_scale(tensor, tensors[f"window_{window}.{name}"], 1e-5)


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
    with torch.device("meta"):
        model = tiny_language_model(
            vocab_size=205, hidden_size=1024, boom_size=4096, num_hidden_layers=4, attention_layers=layers
        )
    assert sum(weight.numel() for weight in model.parameters()) == published - unused_norms * 2 * 1024


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


@LANGUAGE_MODELS
@torch.no_grad()
def test_windows_with_carried_state_equal_one_long_window(variant):
    if variant.get("memory_size", 20) < 40 and variant.get("attention_layers") != []:
        variant = {**variant, "memory_size": 40}  # a shorter memory forgets; see the next test
    model, ids = tiny_language_model(**variant), text()
    whole = model(ids).logits
    state, parts = None, []
    for begin, end in ((0, 1), (1, 9), (9, 30), (30, 40)):
        done = model(ids[:, begin:end], state=state)
        state = done.state
        parts.append(done.logits)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(("n_between", "seen"), [(7, True), (8, False)])
def test_attention_reaches_back_exactly_as_far_as_the_memory_size(n_between, seen):
    """A window of 4 reads the last 12 - 4 rows before it. LSTM states are made equal, so only attention differs."""
    model = tiny_language_model(memory_size=12)
    lstm = [block.lstm for block in model(text(1, 8)).state.blocks]

    def with_that_lstm(state):
        return ShaRnnState(tuple(replace(block, lstm=here) for block, here in zip(state.blocks, lstm, strict=True)))

    results = []
    for first in (text(1, 8), text(1, 8).flip(1)):
        state = with_that_lstm(model(first).state)
        state = with_that_lstm(model(text(1, n_between), state=state).state)
        results.append(model(text(1, 4), state=state).logits)
    assert torch.equal(*results) is not seen


@LANGUAGE_MODELS
def test_every_weight_of_a_language_model_gets_a_gradient(variant):
    model = tiny_language_model(**variant).train()
    state = model(text()).state
    model(text(), state=state, labels=text().roll(-1, 1)).loss.backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()] == []


@LANGUAGE_MODELS
@torch.no_grad()
def test_a_collapsed_model_has_the_same_outputs_and_can_be_saved_and_loaded(variant, tmp_path):
    model = tiny_language_model(**variant)
    for weight in model.parameters():
        weight.add_(torch.randn_like(weight) * 0.1)
    before = model(text()).logits
    model.collapse()
    assert torch.equal(model(text()).logits, before)
    assert not any("overparam" in name for name, _ in model.named_parameters())
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(again(text()).logits, before)


@torch.no_grad()
def test_without_memory_the_lstm_state_is_still_carried():
    model = tiny_language_model()
    state = model(text()).state
    with_all, backed_off, from_nothing = (
        model(text(2, 5), state=carried).logits for carried in (state, state.without_memory(), None)
    )
    assert not torch.allclose(with_all, backed_off) and not torch.allclose(backed_off, from_nothing)


@torch.no_grad()
def test_two_texts_can_continue_from_the_same_state():
    """Memory is extended in place, but neither text sees the positions of the other."""
    model = tiny_language_model()
    state = model(text()).state
    one, other = text()[:, :5], text()[:, 20:25]
    first = model(other, state=model(one, state=state).state).logits
    model(other, state=model(other, state=state).state)
    assert torch.equal(model(other, state=model(one, state=state).state).logits, first)


def test_gradients_do_not_change_if_the_memory_grows_before_backward():
    model = tiny_language_model(dropout=0.0).train()
    gradients = []
    for grow in (False, True):
        model.zero_grad()
        first = model(text(2, 8), labels=text(2, 8))
        second = model(text(2, 8), state=first.state, labels=text(2, 8))
        if grow:
            model(text(2, 8), state=second.state)
        second.loss.backward()
        gradients.append(model.output_bias.grad.clone())
    assert torch.equal(*gradients)


@torch.no_grad()
def test_mixed_precision_stores_the_memory_in_bf16():
    model = tiny_language_model()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        done = model(text(), state=model(text()).state)
    assert done.state.blocks[1].memory.rows().dtype == torch.bfloat16
    torch.testing.assert_close(
        done.logits.float(), model(text(), state=model(text()).state).logits, atol=2e-3, rtol=0.05
    )


@pytest.mark.parametrize("change", [{"bidirectional": True}, {"causal": False}, {"attention": "multi_head"}])
def test_configurations_that_cannot_carry_a_state_are_refused(change):
    with pytest.raises(ValueError, match="a language model needs"):
        tiny_language_model(**change)
