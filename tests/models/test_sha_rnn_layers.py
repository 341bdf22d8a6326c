import pytest
import torch
from conftest import tiny_language_model, tiny_sha_rnn
from transformers import AutoConfig

from pii_kit.models.sha_rnn_layers import Dropout, ShaRnnConfig, byte_model_config, take
from pii_kit.models.sha_rnn_memory import Memory


@pytest.mark.parametrize(
    ("change", "needle"),
    [
        ({"boom_size": 100}, "boom_size 100 is not a multiple of hidden_size 256"),
        ({"num_attention_heads": 3}, "split into 3 heads"),
        ({"attention": "flash"}, "'flash' is not one of single_headed, multi_head"),
        ({"attention_layers": [4]}, "not all within 0 to 3"),
    ],
)
def test_sizes_that_do_not_fit_together_are_refused(change, needle):
    with pytest.raises(ValueError, match=needle):
        ShaRnnConfig(**change)


def test_a_configuration_survives_saving(tmp_path):
    config = byte_model_config(hidden_size=32, boom_size=64, attention_layers=[0, 3], memory_size=7, input_dropout=0.0)
    config.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(again, ShaRnnConfig)
    assert again.to_diff_dict() | {"_name_or_path": ""} == config.to_diff_dict() | {"_name_or_path": ""}
    assert (again.attention_layers, again.memory_size, again.input_dropout) == ([0, 3], 7, 0.0)


def test_a_byte_model_has_a_symbol_for_every_byte_and_is_causal():
    config = byte_model_config(hidden_size=32, boom_size=64)
    assert (config.vocab_size, config.bidirectional, config.causal) == (256, False, True)


@torch.no_grad()
def test_boom_equals_its_formula():
    boom = tiny_sha_rnn(boom_size=48).model.block[0].boom
    hidden = torch.randn(2, 3, 16)
    wide = hidden @ boom.linear.weight.T + boom.linear.bias
    wide = wide * torch.sigmoid(1.702 * wide)
    expected = wide[..., :16] + wide[..., 16:32] + wide[..., 32:]
    torch.testing.assert_close(boom(hidden), expected)


@torch.no_grad()
def test_there_is_no_skip_connection_around_the_lstm():
    """If the LSTM outputs zeros, the output of the Block does not depend on its input."""
    block = tiny_language_model().model.block[0]
    for weight in block.lstm.parameters():
        weight.zero_()
    one, other = (block(torch.randn(2, 5, 16), None, None)[0] for _ in range(2))
    assert torch.equal(one, other)


def test_take_reorders_pieces_by_the_index():
    hidden = torch.arange(6.0).view(1, 3, 2)
    assert take(hidden, torch.tensor([[2, 0, 1]])).tolist() == [[[4, 5], [0, 1], [2, 3]]]


@torch.no_grad()
def test_single_headed_attention_equals_its_formula():
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
        torch.testing.assert_close(attention(query, memory, None)[0][0, place], expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_multi_head_attention_equals_that_of_pytorch():
    attention = tiny_sha_rnn(attention="multi_head", num_attention_heads=2).model.block[1].attention.eval()
    hidden = torch.randn(3, 7, 16)
    visible = torch.arange(7) < torch.tensor([7, 4, 1])[:, None]
    expected = attention.attention(hidden, hidden, hidden, key_padding_mask=~visible, need_weights=False)[0]
    torch.testing.assert_close(attention(hidden, hidden, visible[:, None, None, :])[0], expected)


@pytest.mark.parametrize("heads", [1, 2])
@torch.no_grad()
def test_memory_is_attended_to_like_positions_before_the_window(heads):
    attention = tiny_language_model(num_attention_heads=heads).model.block[1].attention
    for weight in attention.parameters():
        weight.add_(torch.randn_like(weight))
    before, window = torch.randn(2, 5, 16), torch.randn(2, 4, 16)
    causal = torch.ones(4, 4, dtype=torch.bool).tril()
    memory = attention(before, before, torch.ones(5, 5, dtype=torch.bool).tril(), Memory(20))[1]
    found, memory = attention(window, window, causal, memory)
    joined = torch.cat([torch.ones(4, 5, dtype=torch.bool), causal], dim=1)
    expected = attention(window, torch.cat([before, window], dim=1), joined)[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(memory.rows().transpose(1, 2).flatten(2), torch.cat([before, window], dim=1))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_its_share_and_keeps_the_mean(p):
    torch.manual_seed(0)
    ones = torch.ones(1003, 997)
    dropped = Dropout(p)(ones)
    share = (dropped == 0).float().mean().item()
    assert share == pytest.approx(p, abs=4 * (p * (1 - p) / ones.numel()) ** 0.5)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / (1 - p)], rel=1e-4)


def test_elements_that_share_a_random_draw_are_dropped_independently():
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(100_000, 4)) != 0).float()
    correlation = torch.corrcoef(kept.T) - torch.eye(4)
    assert correlation.abs().max() < 0.02
    assert kept.mean(0).tolist() == pytest.approx([0.5] * 4, abs=0.01)


def test_dropout_masks_gradients_like_values():
    torch.manual_seed(0)
    hidden = torch.randn(50, 30, requires_grad=True)
    dropped = Dropout(0.3)(hidden)
    dropped.sum().backward()
    assert torch.allclose(hidden.grad * hidden.detach(), dropped.detach())


def test_dropout_is_equal_for_equal_seeds():
    results = []
    for _ in range(2):
        torch.manual_seed(5)
        results.append(Dropout(0.1)(torch.ones(7, 3)))
    assert torch.equal(*results)


def test_nothing_is_dropped_outside_training_or_with_a_share_of_0():
    hidden = torch.randn(5, 6)
    assert torch.equal(Dropout(0.5).eval()(hidden), hidden)
    assert torch.equal(Dropout(0.0)(hidden), hidden)
