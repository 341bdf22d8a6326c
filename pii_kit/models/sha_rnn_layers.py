"""The parts of SHA-RNN, named as in the paper (Merity, arXiv 1911.11423): configuration, Block, attention, Boom."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedConfig

from pii_kit.models.sha_rnn_memory import BlockState, Memory

ATTENTIONS = ("single_headed", "multi_head")
GELU = 1.702  # of the sigmoid approximation (Hendrycks & Gimpel, arXiv 1606.08415, section 2)


class ShaRnnConfig(PreTrainedConfig):
    """Configuration of a SHA-RNN.

    Args:
        hidden_size: width of embedding, LSTM and Block.
        boom_size: width of Boom; a multiple of `hidden_size`.
        num_hidden_layers: number of Blocks.
        attention_layers: indices of the Blocks with attention.
        attention: "single_headed" (the paper's; more `num_attention_heads` split it into heads) or "multi_head"
            (PyTorch's, with all projections).
        num_attention_heads: number of heads of each attention.
        memory_size: positions that a causal model carries between windows, in each Block with attention.
        dropout: dropout inside Blocks; also at input and output if `input_dropout` and `output_dropout` are None.
        input_dropout: dropout after the embedding.
        output_dropout: dropout before the output.
        bidirectional: use a second LSTM from right to left; each direction has half of `hidden_size`.
        causal: hide later pieces from attention.
        collapsed: the value gates are stored as constant vectors, without Overparam.
        n_features: rows of the table of lexicon features (`lexicon.N_ROWS`); 0 for none.

    Raises:
        ValueError: sizes do not fit together.
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
        n_features: int = 0,
        pad_token_id: int | None = 0,
        **kwargs,
    ):
        if boom_size % hidden_size:
            raise ValueError(f"boom_size {boom_size} is not a multiple of hidden_size {hidden_size}")
        if hidden_size % (2 * num_attention_heads):
            raise ValueError(f"hidden_size {hidden_size} cannot be halved and split into {num_attention_heads} heads")
        if attention not in ATTENTIONS:
            raise ValueError(f"attention {attention!r} is not one of {', '.join(ATTENTIONS)}")
        if not set(attention_layers) <= set(range(num_hidden_layers)):
            raise ValueError(f"attention_layers {attention_layers} are not all within 0 to {num_hidden_layers - 1}")
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
        self.n_features = n_features
        super().__init__(**kwargs)
        self.pad_token_id = pad_token_id


def byte_model_config(**sizes) -> ShaRnnConfig:
    """Return the configuration of a byte-level language model, with the given sizes and variants."""
    return ShaRnnConfig(vocab_size=256, bidirectional=False, causal=True, pad_token_id=None, **sizes)


class Block(nn.Module):
    """LSTM, attention if `attends`, and Boom; there is no skip connection around the LSTM."""

    def __init__(self, config: ShaRnnConfig, *, attends: bool):
        super().__init__()
        width = config.hidden_size
        self.norm_start = layer_norm(config)
        per_direction = width // 2 if config.bidirectional else width
        self.lstm = nn.LSTM(width, per_direction, batch_first=True)
        self.lstm_backward = nn.LSTM(width, per_direction, batch_first=True) if config.bidirectional else None
        self.attention = None
        if attends:
            self.norm_memory = layer_norm(config)
            self.norm_query = layer_norm(config)
            kind = SingleHeadedAttention if config.attention == "single_headed" else MultiHeadAttention
            self.attention = kind(config)
        self.norm_boom_input = layer_norm(config)
        self.norm_boom_skip = layer_norm(config)
        self.boom = Boom(config)
        self.dropout = Dropout(config.dropout)

    def forward(
        self, h: torch.Tensor, visible: torch.Tensor, reversal: torch.Tensor, state: BlockState | None = None
    ) -> tuple[torch.Tensor, BlockState | None]:
        """Return h (batch, piece, hidden) after the Block, and the state after the window if `state` is given.

        `visible` is the mask of the attention; `reversal` (batch, piece) holds the indices that reverse each row within
        its own length, for bidirectional Blocks; `state` is the state after the previous window.
        """
        lstm, memory = (state.lstm, state.memory) if state else (None, None)
        h, lstm = self.recur(self.norm_start(h), reversal, lstm)
        h = self.dropout(h)
        if self.attention is not None:
            rows = self.norm_memory(h)
            h = self.norm_query(h)
            attended, memory = self.attention(h, rows, visible, memory)
            h = h + self.dropout(attended)
        h = self.norm_boom_skip(h) + self.dropout(self.boom(self.norm_boom_input(h)))
        return h, BlockState((lstm[0].detach(), lstm[1].detach()), memory) if lstm and memory is not None else None

    def recur(
        self, h: torch.Tensor, reversal: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor] | None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor] | None]:
        """Return the states (batch, piece, hidden) of the LSTM, or of both, and the last one from left to right."""
        forward, state = self.lstm(h, state)
        if self.lstm_backward is None:
            return forward, state
        # Each row is reversed within its own length: padding stays last and never enters a state.
        backward, _ = self.lstm_backward(take(h, reversal))
        return torch.cat([forward, take(backward, reversal)], dim=-1), state


class SingleHeadedAttention(nn.Module):
    """Attention whose keys and values are the memory itself, with gates and no projection (section 3.1).

    Only the query has a projection. A gate over all keys equals the same gate over the query, and a gate over all
    values equals the same gate over the result, so neither gate needs a product as long as the memory.
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
        self, query: torch.Tensor, rows: torch.Tensor, visible: torch.Tensor, memory: Memory | None = None
    ) -> tuple[torch.Tensor, Memory | None]:
        """Return the attended values (batch, piece, hidden), and the memory extended by `rows`.

        `query` and `rows`, the keys and values of the window, are (batch, piece, hidden). `visible` (batch, head,
        piece, piece) is true where a query sees a row. All positions of the memory are visible.
        """
        query = self.norm_query_projection(self.query_projection(query)) * torch.sigmoid(self.query_gate)
        query = self.split_heads(self.dropout(query) * torch.sigmoid(self.key_gate))
        rows = self.split_heads(rows)
        earlier = None if memory is None else memory.keep(memory.size - rows.shape[2]).rows()
        attended = self.attend(query, rows, visible, earlier)
        if memory is not None:
            kind = rows.device.type  # else autocast would convert the whole memory for each window
            dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else rows.dtype
            memory = memory.append(rows.to(dtype))
        return attended.transpose(1, 2).flatten(-2) * self.scale_of_values(), memory

    def split_heads(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)

    def attend(
        self, query: torch.Tensor, rows: torch.Tensor, visible: torch.Tensor, memory: torch.Tensor | None
    ) -> torch.Tensor:
        """Attend to the memory (batch, head, position, hidden / head) and to rows, without joining the two."""
        if memory is None:
            dropout = self.dropout.p if self.training else 0.0
            return F.scaled_dot_product_attention(query, rows, self.dropout(rows), attn_mask=visible, dropout_p=dropout)
        query = query / query.shape[-1] ** 0.5
        inside = (query @ rows.transpose(-1, -2)).masked_fill(~visible, -torch.inf)
        scores = torch.cat([query @ memory.transpose(-1, -2), inside], dim=-1)
        to_memory, to_rows = self.dropout(scores.softmax(-1)).split([memory.shape[2], rows.shape[2]], dim=-1)
        return to_memory @ self.dropout(memory) + to_rows @ self.dropout(rows)

    def scale_of_values(self) -> torch.Tensor:
        """Return the value gate (1, 1, hidden), a constant that Overparam computes from a vector (section 3.4)."""
        if self.collapsed:
            return self.value_scale
        candidate, forget = self.overparam(torch.sigmoid(self.value_gate)).chunk(2, dim=-1)
        return torch.sigmoid(forget) * torch.tanh(candidate)

    @torch.no_grad()
    def collapse(self) -> None:
        """Replace Overparam by the constant it computes, permanently; outputs do not change."""
        if not self.collapsed:
            self.value_scale = nn.Parameter(self.scale_of_values().clone())
            del self.value_gate, self.overparam
            self.collapsed = True


class MultiHeadAttention(nn.Module):
    """PyTorch's multi-head attention, the variant of the original project; it has no memory.

    `forward` computes the products itself: the ONNX export of PyTorch's `forward` is fixed to one length.
    """

    def __init__(self, config: ShaRnnConfig):
        super().__init__()
        self.attention = nn.MultiheadAttention(
            config.hidden_size, config.num_attention_heads, dropout=config.dropout, batch_first=True
        )

    def forward(
        self, query: torch.Tensor, rows: torch.Tensor, visible: torch.Tensor, memory: None = None
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
    """Feed-forward layer without a second matrix: widen, apply GELU, sum the chunks (section 3.2)."""

    def __init__(self, config: ShaRnnConfig):
        super().__init__()
        self.linear = nn.Linear(config.hidden_size, config.boom_size)
        self.dropout = Dropout(config.dropout)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        # gelu(x) = x · sigmoid(a x) = silu(a x) / a with a = GELU: one pass over the widest tensor instead of three.
        wide = self.dropout(F.silu(GELU * self.linear(hidden)))
        return wide.unflatten(-1, (-1, hidden.shape[-1])).sum(-2) / GELU


class Dropout(nn.Dropout):
    """nn.Dropout with a faster CPU version: 16 random bits per element, so `p` is rounded to a multiple of 2⁻¹⁶.

    PyTorch draws 53 random bits for each element in turn; here four elements share one draw.
    """

    LEVELS = 2**16

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0 or hidden.device.type != "cpu":
            return super().forward(hidden)
        draws = torch.empty(-(-hidden.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = draws.view(torch.int16)[: hidden.numel()].view(hidden.shape)
        n_dropped = round(self.p * self.LEVELS)
        kept = (bits >= n_dropped - self.LEVELS // 2).to(hidden.dtype)
        return hidden * kept.mul_(self.LEVELS / (self.LEVELS - n_dropped))


def layer_norm(config: ShaRnnConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.hidden_size, eps=1e-12)


def take(h: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Return h (batch, piece, hidden) with the pieces of each row in the order of index (batch, piece)."""
    return h.gather(1, index.unsqueeze(-1).expand(-1, -1, h.shape[-1]))
