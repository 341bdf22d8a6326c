"""Boom and the Block, which SHA-RNN's tagger and language model share. Axes: (batch, piece, hidden)."""

import torch
import torch.nn.functional as F
from torch import nn

from pii_kit.dropout import Dropout
from pii_kit.sha_rnn_attention import MultiHeadAttention, SingleHeadedAttention
from pii_kit.sha_rnn_config import ShaRnnConfig, layer_norm
from pii_kit.sha_rnn_memory import BlockState


class Boom(nn.Module):
    """Feed-forward without a second matrix: widen, gelu, and add up the chunks (paper, section 3.2)."""

    def __init__(self, config: ShaRnnConfig):
        super().__init__()
        self.linear = nn.Linear(config.hidden_size, config.boom_size)
        self.dropout = Dropout(config.dropout)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        # gelu(x) = x · sigmoid(1.702 x) = silu(1.702 x) / 1.702: one pass over the widest tensor in place of three.
        wide = self.dropout(F.silu(1.702 * self.linear(hidden)))
        return wide.unflatten(-1, (-1, hidden.shape[-1])).sum(-2) / 1.702


class Block(nn.Module):
    """LSTM, then attention where the block has it, then Boom. No skip leads round the LSTM."""

    def __init__(self, config: ShaRnnConfig, *, attends: bool):
        super().__init__()
        width = config.hidden_size
        self.norm_start = layer_norm(config)
        if config.bidirectional:
            self.lstm = nn.LSTM(width, width // 2, batch_first=True)
            self.lstm_backward = nn.LSTM(width, width // 2, batch_first=True)
        else:
            self.lstm = nn.LSTM(width, width, batch_first=True)
        self.attention = None
        if attends:
            self.norm_memory = layer_norm(config)
            self.norm_query = layer_norm(config)
            self.attention = {"single_headed": SingleHeadedAttention, "multi_head": MultiHeadAttention}[
                config.attention
            ](config)
        self.norm_boom_input = layer_norm(config)
        self.norm_boom_skip = layer_norm(config)
        self.boom = Boom(config)
        self.dropout = Dropout(config.dropout)
        self.bidirectional = config.bidirectional

    def forward(
        self,
        h: torch.Tensor,
        visible: torch.Tensor | None,
        reversal: torch.Tensor | None,
        state: BlockState | None = None,
    ) -> tuple[torch.Tensor, BlockState | None]:
        """h (batch, piece, hidden) → the same, and the state after it if one was handed in.

        visible as in attention; reversal (batch, piece): each row from last to first, for a bidirectional block.
        """
        h = self.norm_start(h)
        h, lstm = self.run_lstm(h, reversal, state and state.lstm)
        memory = state and state.memory
        h = self.dropout(h)
        if self.attention is not None:
            rows = self.norm_memory(h)
            h = self.norm_query(h)
            attended, memory = self.attention(h, rows, visible, memory)
            h = h + self.dropout(attended)
        h = self.norm_boom_skip(h) + self.dropout(self.boom(self.norm_boom_input(h)))
        return h, state and BlockState(lstm, memory)

    def run_lstm(
        self, h: torch.Tensor, reversal: torch.Tensor | None, state: tuple[torch.Tensor, torch.Tensor] | None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        forward, (hidden, cell) = self.lstm(h, state)
        if self.bidirectional:
            # A row reversed within its own length keeps its padding last, so no state ever passes through padding.
            backward = self.lstm_backward(take(h, reversal))[0]
            forward = torch.cat([forward, take(backward, reversal)], dim=-1)
        return forward, (hidden.detach(), cell.detach())


def take(h: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """h (batch, piece, hidden) with the pieces of each row in the order of index (batch, piece)."""
    return h.gather(1, index.unsqueeze(-1).expand(-1, -1, h.shape[-1]))
