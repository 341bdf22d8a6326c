import pytest
import torch
from conftest import tiny_language_model, tiny_sha_rnn

from pii_kit.models.sha_rnn_memory import Memory


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
        torch.testing.assert_close(attention(query, memory, None)[0][0, place], expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_multi_head_attention_is_torchs_own():
    attention = tiny_sha_rnn(attention="multi_head", num_attention_heads=2).model.block[1].attention.eval()
    hidden = torch.randn(3, 7, 16)
    visible = torch.arange(7) < torch.tensor([7, 4, 1])[:, None]
    expected = attention.attention(hidden, hidden, hidden, key_padding_mask=~visible, need_weights=False)[0]
    torch.testing.assert_close(attention(hidden, hidden, visible[:, None, None, :])[0], expected)


@pytest.mark.parametrize("heads", [1, 2])
@torch.no_grad()
def test_memory_is_read_as_if_it_stood_before_the_window(heads):
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
