"""SHA-RNN's attention: one projection in all, and a memory that is read as it lies.

Axes: (batch, piece, hidden), for each head (batch, head, piece, hidden / head).
"""

import torch
import torch.nn.functional as F
from torch import nn

from pii_kit.dropout import Dropout
from pii_kit.sha_rnn_config import ShaRnnConfig, layer_norm
from pii_kit.sha_rnn_memory import Memory


class SingleHeadedAttention(nn.Module):
    """Attention with a projection for the query alone; keys and values are the memory itself, gated (section 3.1).

    A gate over the channels of all keys is the same gate over the query, and one over all values the same gate over
    their mean, so a long memory is read as it lies, without a product of its own size.
    """

    def __init__(self, config: ShaRnnConfig):
        super().__init__()
        width = config.hidden_size
        self.n_heads = config.num_attention_heads
        self.query_projection = nn.Linear(width, width)
        self.norm_query_projection = layer_norm(config)
        self.query_gate = nn.Parameter(torch.zeros(1, 1, width))
        self.key_gate = nn.Parameter(torch.zeros(1, 1, width))
        if config.collapsed:
            self.value_scale = nn.Parameter(torch.zeros(1, 1, width))
        else:
            self.value_gate = nn.Parameter(torch.zeros(1, 1, width))
            self.overparam = nn.Linear(width, 2 * width)
        self.collapsed = config.collapsed
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        query: torch.Tensor,
        rows: torch.Tensor,
        visible: torch.Tensor | None,
        memory: Memory | None = None,
    ) -> tuple[torch.Tensor, Memory | None]:
        """query, rows (batch, piece, hidden) → what is attended to, and the memory with `rows` appended.

        visible (batch, head, piece, piece) tells which rows a query sees, None: all. All of the memory is seen.
        """
        query = self.norm_query_projection(self.query_projection(query)) * torch.sigmoid(self.query_gate)
        query = self.split_heads(self.dropout(query) * torch.sigmoid(self.key_gate))
        rows = self.split_heads(rows)
        if memory is None:
            attended = self.attend(query, rows, visible)
        else:
            earlier = memory.keep(memory.size - rows.shape[2])
            attended = self.attend_with_memory(query, rows, visible, earlier.rows())
            kind = rows.device.type  # under autocast, products would otherwise convert the whole memory each time
            dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else rows.dtype
            memory = memory.append(rows.to(dtype))
        return attended.transpose(1, 2).flatten(-2) * self.scale_of_values(), memory

    def split_heads(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)

    def attend(self, query: torch.Tensor, rows: torch.Tensor, visible: torch.Tensor | None) -> torch.Tensor:
        dropout = self.dropout.p if self.training else 0.0
        return F.scaled_dot_product_attention(query, rows, self.dropout(rows), attn_mask=visible, dropout_p=dropout)

    def attend_with_memory(
        self, query: torch.Tensor, rows: torch.Tensor, visible: torch.Tensor, memory: torch.Tensor | None
    ) -> torch.Tensor:
        """As `attend`, with memory (batch, head, position, hidden / head) before the rows, not joined to them."""
        if memory is None:
            return self.attend(query, rows, visible)
        query = query / query.shape[-1] ** 0.5
        inside = (query @ rows.transpose(-1, -2)).masked_fill(~visible, -torch.inf)
        scores = torch.cat([query @ memory.transpose(-1, -2), inside], dim=-1)
        of_memory, of_rows = self.dropout(scores.softmax(-1)).split([memory.shape[2], rows.shape[2]], dim=-1)
        return of_memory @ self.dropout(memory) + of_rows @ self.dropout(rows)

    def scale_of_values(self) -> torch.Tensor:
        """The gate over the values (1, 1, hidden): a constant, however it is parameterised (section 3.4)."""
        if self.collapsed:
            return self.value_scale
        candidate, forget = self.overparam(torch.sigmoid(self.value_gate)).chunk(2, dim=-1)
        return torch.sigmoid(forget) * torch.tanh(candidate)

    @torch.no_grad()
    def collapse(self) -> None:
        """Put the value gate's constant in place of the matrix that makes it; for good, outputs stay as they are."""
        if not self.collapsed:
            self.value_scale = nn.Parameter(self.scale_of_values().clone())
            del self.value_gate, self.overparam
            self.collapsed = True


class MultiHeadAttention(nn.Module):
    """torch's multi-head attention behind the same call, the seed's variant. It carries no memory.

    The products are spelled out, since torch's own forward is exported to ONNX for one length only.
    """

    def __init__(self, config: ShaRnnConfig):
        super().__init__()
        self.attention = nn.MultiheadAttention(
            config.hidden_size, config.num_attention_heads, dropout=config.dropout, batch_first=True
        )

    def forward(
        self, query: torch.Tensor, rows: torch.Tensor, visible: torch.Tensor | None, memory: None = None
    ) -> tuple[torch.Tensor, None]:
        inside = self.attention
        query, key, value = (
            F.linear(x, weight, bias).unflatten(2, (inside.num_heads, -1)).transpose(1, 2)
            for x, weight, bias in zip(
                (query, rows, rows), inside.in_proj_weight.chunk(3), inside.in_proj_bias.chunk(3), strict=True
            )
        )  # (batch, head, piece, hidden / head)
        dropout = inside.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=visible, dropout_p=dropout)
        return inside.out_proj(attended.transpose(1, 2).flatten(2)), None
