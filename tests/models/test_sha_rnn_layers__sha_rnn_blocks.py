import torch
from conftest import tiny_language_model, tiny_sha_rnn

from pii_kit.models.sha_rnn_layers import take


@torch.no_grad()
def test_boom_is_the_formula_worked_slowly():
    boom = tiny_sha_rnn(boom_size=48).model.block[0].boom
    hidden = torch.randn(2, 3, 16)
    wide = hidden @ boom.linear.weight.T + boom.linear.bias
    wide = wide * torch.sigmoid(1.702 * wide)
    expected = wide[..., :16] + wide[..., 16:32] + wide[..., 32:]
    torch.testing.assert_close(boom(hidden), expected)


@torch.no_grad()
def test_no_skip_leads_round_the_lstm():
    """With an LSTM that gives nothing, the block's output does not depend on its input."""
    block = tiny_language_model().model.block[0]
    for weight in block.lstm.parameters():
        weight.zero_()
    one, other = (block(torch.randn(2, 5, 16), None, None)[0] for _ in range(2))
    assert torch.equal(one, other)


def test_pieces_are_taken_in_the_order_of_the_index():
    hidden = torch.arange(6.0).view(1, 3, 2)
    assert take(hidden, torch.tensor([[2, 0, 1]])).tolist() == [[[4, 5], [0, 1], [2, 3]]]
