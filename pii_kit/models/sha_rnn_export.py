"""SHA-RNN in the form that ONNX Runtime computes fastest. Its results are PyTorch's up to rounding."""

from copy import deepcopy
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from pii_kit.models.sha_rnn import ShaRnnForTokenClassification
from pii_kit.models.sha_rnn_layers import GELU, Block, Boom, SingleHeadedAttention

HIDDEN_SCORE = -1e9  # added to the score of padding before the softmax, where its share becomes 0


@torch.no_grad()
def for_export(model: ShaRnnForTokenClassification) -> ShaRnnForTokenClassification:
    """Return a copy of a model that computes the same in fewer steps in ONNX Runtime, where each one is a pass.

    Both directions are one LSTM that knows the lengths, instead of two and the copies that reverse each row. Attention
    is plain products: torch's own becomes nodes that search for NaN. Its gates and scale become part of the norm before
    them, and Overparam becomes a constant. The factor of Boom's activation is in its weights.
    """
    model = deepcopy(model)
    for module in list(model.modules()):
        parts: Any = module  # nn.Module declares attributes as tensors or modules
        if isinstance(module, Block) and module.lstm_backward is not None:
            parts.both_directions = OnnxLstm([module.lstm, module.lstm_backward])
            parts.recur = partial(_recur, module)
        elif isinstance(module, SingleHeadedAttention):
            module.collapse()
            width = module.query_projection.out_features // module.n_heads
            gate = (torch.sigmoid(module.query_gate) * torch.sigmoid(module.key_gate) / width**0.5).flatten()
            module.norm_query_projection.weight.mul_(gate)
            module.norm_query_projection.bias.mul_(gate)
            parts.forward = partial(_attention, module)
        elif isinstance(module, Boom):
            module.linear.weight.mul_(GELU)
            module.linear.bias.mul_(GELU)
            parts.forward = partial(_boom, module)
    return model


class OnnxLstm(nn.Module):
    """LSTMs that read to the right and to the left as ONNX's one node. It cannot be run in PyTorch, only exported."""

    def __init__(self, lstms: list[nn.LSTM]):
        super().__init__()
        of_layers = [dict(lstm.named_parameters()) for lstm in lstms]

        def stacked(name: str) -> torch.Tensor:
            """Return a parameter of both directions, its gates in ONNX's order: input, output, forget, cell."""
            parts = [parameters[f"{name}_l0"].detach().chunk(4) for parameters in of_layers]
            return torch.stack([torch.cat([parts[k] for k in (0, 3, 1, 2)]) for parts in parts])

        self.hidden_size = lstms[0].hidden_size
        self.register_buffer("weight", stacked("weight_ih"))
        self.register_buffer("recurrence", stacked("weight_hh"))
        self.register_buffer("bias", torch.cat([stacked("bias_ih"), stacked("bias_hh")], dim=1))

    def forward(self, h: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the states (piece, direction, batch, hidden / 2) of h (piece, batch, hidden)."""
        return _LstmNode.apply(h, self.weight, self.recurrence, self.bias, lengths, self.hidden_size)


class _LstmNode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, h, weight, recurrence, bias, lengths, hidden_size):
        return h.new_zeros(h.shape[0], 2, h.shape[1], hidden_size)  # an export looks only at the shape

    @staticmethod
    def symbolic(g, h, weight, recurrence, bias, lengths, hidden_size):
        inputs = h, weight, recurrence, bias, lengths
        return g.op("LSTM", *inputs, direction_s="bidirectional", hidden_size_i=hidden_size)


def _recur(block: Any, start: torch.Tensor, reversal: torch.Tensor, state: None) -> tuple[torch.Tensor, None]:
    lengths = (reversal[:, 0] + 1).int()  # the first piece changes places with the last one
    states = block.both_directions(start.transpose(0, 1), lengths)
    return states.permute(2, 0, 1, 3).flatten(2), None


def _attention(
    attention: SingleHeadedAttention, query: torch.Tensor, rows: torch.Tensor, visible: torch.Tensor, memory: None
) -> tuple[torch.Tensor, None]:
    query = attention.split_heads(attention.norm_query_projection(attention.query_projection(query)))
    rows = attention.split_heads(rows)
    scores = query @ rows.transpose(-1, -2) + torch.where(visible, 0.0, HIDDEN_SCORE)
    return (scores.softmax(-1) @ rows).transpose(1, 2).flatten(-2) * attention.value_scale, None


def _boom(boom: Boom, hidden: torch.Tensor) -> torch.Tensor:
    return F.silu(boom.linear(hidden)).unflatten(-1, (-1, hidden.shape[-1])).sum(-2) / GELU
