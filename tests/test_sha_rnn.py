from pathlib import Path

import pytest
import torch
from conftest import tiny_sha_rnn
from safetensors.torch import safe_open
from torch import nn
from transformers import AutoModelForTokenClassification

from pii_kit.sha_rnn import ShaRnnForTokenClassification, ShaRnnModel
from pii_kit.sha_rnn_config import ShaRnnConfig

REFERENCES = Path(__file__).parents[2] / "shared" / "data"

VARIANTS = [
    {},
    {"attention": "multi_head", "num_attention_heads": 2},
    {"attention_layers": [0, 1], "num_attention_heads": 2},
    {"attention_layers": []},
    {"bidirectional": False, "causal": True},
    {"n_casings": 0},
]
EACH_VARIANT = pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: str(variant))


def batch(n_rows=3, n_pieces=20):
    generator = torch.Generator().manual_seed(0)
    return {
        "input_ids": torch.randint(1, 400, (n_rows, n_pieces), generator=generator),
        "casing_ids": torch.randint(0, 6, (n_rows, n_pieces), generator=generator),
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
def test_every_weight_learns(variant):
    model = tiny_sha_rnn(**variant).train()
    labels = torch.randint(0, 15, (3, 20), generator=torch.Generator().manual_seed(1))
    model(**batch(), labels=labels).loss.backward()
    idle = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert idle == []


def test_norms_start_with_gains_of_one():
    norms = [module for module in tiny_sha_rnn(attention_layers=[0, 1]).modules() if isinstance(module, nn.LayerNorm)]
    assert len(norms) == 2 * 6
    assert all((norm.weight == 1).all() and (norm.bias == 0).all() for norm in norms)


def test_weights_start_as_the_paper_has_them():
    model = tiny_sha_rnn(vocab_size=20_000, hidden_size=64, boom_size=256)
    assert model.model.embedding.weight.std().item() == pytest.approx(0.1 / 64**0.5, rel=0.02)
    assert model.model.block[0].boom.linear.weight.std().item() == pytest.approx(0.1 / 64**0.5, rel=0.05)
    bound = 1 / 32**0.5
    recurrent = model.model.block[0].lstm.weight_hh_l0
    assert 0.95 * bound < recurrent.abs().max() <= bound


@pytest.mark.parametrize(
    ("change", "needle"),
    [
        ({"boom_size": 100}, "boom_size 100 is not a multiple of hidden_size 256"),
        ({"num_attention_heads": 3}, "cut into 3 heads"),
        ({"attention": "flash"}, "'flash' is none of single_headed, multi_head"),
        ({"attention_layers": [4]}, "not all among the 4 blocks"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change, needle):
    with pytest.raises(ValueError, match=needle):
        ShaRnnConfig(**change)


@torch.no_grad()
def test_single_headed_attention_is_the_formula_worked_slowly():
    attention = tiny_sha_rnn().model.block[1].attention
    torch.manual_seed(1)
    for weight in attention.parameters():
        weight.copy_(torch.randn_like(weight))
    query, memory = torch.randn(1, 4, 16), torch.randn(1, 6, 16)
    u = attention.overparam(torch.sigmoid(attention.value_gate[0, 0]))
    gate = torch.sigmoid(u[16:]) * torch.tanh(u[:16])
    for place in range(4):
        q = attention.norm_query_projection(attention.query_projection(query[0, place]))
        q = q * torch.sigmoid(attention.query_gate[0, 0])
        scores = torch.stack([q @ (row * torch.sigmoid(attention.key_gate[0, 0])) for row in memory[0]]) / 4
        expected = sum(share * row * gate for share, row in zip(scores.softmax(0), memory[0], strict=True))
        torch.testing.assert_close(attention(query, memory, None)[0, place], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("file", "attention_layers", "heads"),
    [
        ("sha_rnn_one_attention_layer.safetensors", [2], 1),
        ("sha_rnn_attention_in_every_layer_two_heads.safetensors", [0, 1, 2, 3], 2),
    ],
)
@torch.no_grad()
def test_blocks_give_what_the_published_code_gave_on_a_first_window(file, attention_layers, heads):
    if not (REFERENCES / file).is_file():
        pytest.skip("the published code's outputs are not at hand")
    with safe_open(REFERENCES / file, "pt") as stored:
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    config = ShaRnnConfig(
        vocab_size=61,
        hidden_size=32,
        boom_size=96,
        num_hidden_layers=4,
        attention_layers=attention_layers,
        num_attention_heads=heads,
        bidirectional=False,
        causal=True,
    )
    model = ShaRnnModel(config).eval()
    weights = {name.removeprefix("weight."): tensor for name, tensor in tensors.items() if name.startswith("weight.")}
    del weights["decoder.bias"]
    model.load_state_dict(weights)
    hidden = model(tensors["ids"][:9].T.contiguous()).last_hidden_state.transpose(0, 1)
    torch.testing.assert_close(hidden, tensors["window_0.hidden"], atol=1e-4, rtol=1e-5)
