"""The parts of SHA-RNN (Merity, arXiv 1911.11423): configuration, dropout, attention, Boom, Block."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedConfig

from pii_kit.models.sha_rnn_memory import BlockState, Memory

ATTENTIONS = ("single_headed", "multi_head")


class ShaRnnConfig(PreTrainedConfig):
    """Sizes and variants of a SHA-RNN.

    `attention_layers` lists the blocks that attend. `attention` is "single_headed", the paper's (with
    `num_attention_heads` above 1 it is cut into heads), or "multi_head", PyTorch's own with all its projections.
    `boom_size` is a multiple of `hidden_size`. `bidirectional` gives each direction half of `hidden_size`; `causal`
    hides later pieces from attention. `n_casings` above 0 adds an embedding of how a token is written (pieces.CASINGS).
    `memory_size` is how many positions a causal model carries from window to window in each block that attends.
    `dropout` holds inside the blocks, and at input and output where `input_dropout` and `output_dropout` are None.
    `collapsed` models have the value gate as the constant vector that the overparameterised one comes to.
    """

    model_type = "sha_rnn"

    def __init__(
        self,
        *,
        vocab_size: int = 8192,
        hidden_size: int = 256,
        boom_size: int = 1024,
        num_hidden_layers: int = 4,
        attention_layers: list[int] | tuple[int, ...] = (2,),
        attention: str = "single_headed",
        num_attention_heads: int = 1,
        memory_size: int = 5000,
        dropout: float = 0.1,
        input_dropout: float | None = None,
        output_dropout: float | None = None,
        bidirectional: bool = True,
        causal: bool = False,
        collapsed: bool = False,
        n_casings: int = 0,
        pad_token_id: int | None = 0,
        **kwargs,
    ):
        if boom_size % hidden_size:
            raise ValueError(f"boom_size {boom_size} is not a multiple of hidden_size {hidden_size}")
        if hidden_size % (2 * num_attention_heads):
            raise ValueError(f"hidden_size {hidden_size} cannot be halved and cut into {num_attention_heads} heads")
        if attention not in ATTENTIONS:
            raise ValueError(f"attention {attention!r} is none of {', '.join(ATTENTIONS)}")
        if not set(attention_layers) <= set(range(num_hidden_layers)):
            raise ValueError(f"attention_layers {attention_layers} are not all among the {num_hidden_layers} blocks")
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.boom_size = boom_size
        self.num_hidden_layers = num_hidden_layers
        self.attention_layers = list(attention_layers)
        self.attention = attention
        self.num_attention_heads = num_attention_heads
        self.memory_size = memory_size
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.output_dropout = output_dropout
        self.bidirectional = bidirectional
        self.causal = causal
        self.collapsed = collapsed
        self.n_casings = n_casings
        super().__init__(pad_token_id=pad_token_id, **kwargs)


def byte_model_config(**sizes) -> ShaRnnConfig:
    """The configuration of a language model over bytes, with the given sizes and variants."""
    return ShaRnnConfig(vocab_size=256, bidirectional=False, causal=True, pad_token_id=None, **sizes)


def layer_norm(config: ShaRnnConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.hidden_size, eps=1e-12)


LEVELS = 2**16


class Dropout(nn.Dropout):
    """nn.Dropout; on a CPU with 16 random bits an element, so `p` is rounded to a multiple of 2 to the -16.

    torch draws a number of 53 random bits for each element, one after the other; four elements share a draw here.
    """

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0 or hidden.device.type != "cpu":
            return super().forward(hidden)
        draws = torch.empty(-(-hidden.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = draws.view(torch.int16)[: hidden.numel()].view(hidden.shape)
        n_dropped = round(self.p * LEVELS)
        kept = (bits >= n_dropped - LEVELS // 2).to(hidden.dtype)
        return hidden * kept.mul_(LEVELS / (LEVELS - n_dropped))


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
