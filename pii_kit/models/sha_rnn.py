"""SHA-RNN (Merity, arXiv 1911.11423) as a token classifier and as a language model. Parts are named as in the paper.

Padding comes last in each row, and never changes the logits of a real piece.
"""

import math
from copy import deepcopy
from typing import Any, NamedTuple, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import TokenClassifierOutput

GELU = 1.702  # of the sigmoid approximation (Hendrycks & Gimpel, arXiv 1606.08415, section 2)
# What a language model carries from window to window, by name: "lstm_h.0" and "lstm_c.0" (1, batch, hidden) of Block 0,
# and "memory.2" (batch, position, hidden) of Block 2. A state without memory has only the LSTMs' tensors.
State = dict[str, Tensor]


class ShaRnnConfig(PreTrainedConfig):
    """Configuration of a SHA-RNN; its fields are the keyword arguments. Raises ValueError if sizes do not fit."""

    model_type = "sha_rnn"

    vocab_size: int = 8192
    hidden_size: int = 256  # width of embedding, LSTM and Block
    boom_size: int = 1024  # width of Boom, a multiple of `hidden_size`
    num_hidden_layers: int = 4  # Blocks
    attention_layers: list[int] | tuple[int, ...] = (2,)  # indices of the Blocks with attention
    attention: str = "single_headed"  # the paper's (more heads split it), or "multi_head" (PyTorch's, all projections)
    num_attention_heads: int = 1
    memory_size: int = 5000  # positions that a language model carries between windows, in each Block with attention
    dropout: float = 0.1  # inside Blocks, and the default of the next two
    input_dropout: float | None = None  # after the embedding
    output_dropout: float | None = None
    bidirectional: bool = True  # read in both directions, with two LSTMs of half the width
    causal: bool = False  # hide later pieces from attention
    n_features: int = 0  # rows of the table of lexicon features (`lexicon.N_ROWS`); 0 for no features
    pad_token_id: int | None = 0

    def __init__(self, **fields):
        sizes = {name: fields.pop(name, getattr(ShaRnnConfig, name)) for name in ShaRnnConfig.__annotations__}
        super().__init__(**fields)
        for name, size in sizes.items():
            setattr(self, name, list(size) if name == "attention_layers" else size)
        if self.boom_size % self.hidden_size:
            raise ValueError(f"boom_size {self.boom_size} is not a multiple of hidden_size {self.hidden_size}")
        if self.hidden_size % (2 * self.num_attention_heads):
            parts = f"halved and split into {self.num_attention_heads} heads"
            raise ValueError(f"hidden_size {self.hidden_size} cannot be {parts}")
        if not set(self.attention_layers) <= set(range(self.num_hidden_layers)):
            raise ValueError(f"attention_layers are not all within 0 to {self.num_hidden_layers - 1}")


def byte_model_config(**sizes) -> ShaRnnConfig:
    """Return the configuration of a language model of bytes, with the given sizes and variants."""
    return ShaRnnConfig(vocab_size=256, bidirectional=False, causal=True, pad_token_id=None, **sizes)


class Block(nn.Module):
    """LSTM, attention if `attends`, and Boom; there is no skip connection around the LSTM."""

    def __init__(self, config: ShaRnnConfig, attends: bool):
        super().__init__()
        self.config = config
        width = config.hidden_size
        per_direction = width // 2 if config.bidirectional else width
        self.norm_start = layer_norm(config)
        self.lstm = nn.LSTM(width, per_direction, batch_first=True)
        self.lstm_backward = nn.LSTM(width, per_direction, batch_first=True) if config.bidirectional else None
        self.attention: nn.Module | None = None
        if attends:
            self.norm_memory = layer_norm(config)
            self.norm_query = layer_norm(config)
            kinds = {"single_headed": SingleHeadedAttention, "multi_head": MultiHeadAttention}
            self.attention = kinds[config.attention](config)
        self.norm_boom_input = layer_norm(config)
        self.norm_boom_skip = layer_norm(config)
        self.boom = Boom(config)
        self.dropout = Dropout(config.dropout)

    def forward(
        self, h: Tensor, visible: Tensor, reversal: Tensor, before: State | None = None
    ) -> tuple[Tensor, State]:
        """Return h (batch, piece, hidden) after the Block, and the Block's state after the window.

        `visible` is the mask of the attention. `reversal` (batch, piece) are the indices that reverse each row within
        its length. `before` is the Block's state after the previous window; None: nothing is carried.
        """
        lstm = (before["lstm_h"], before["lstm_c"]) if before and "lstm_h" in before else None
        h, (lstm_h, lstm_c) = self.recur(self.norm_start(h), reversal, lstm)
        after = {"lstm_h": lstm_h.detach(), "lstm_c": lstm_c.detach()}
        h = self.dropout(h)
        if self.attention is not None:
            rows, h = self.norm_memory(h), self.norm_query(h)
            earlier = None
            if before is not None:
                memory = torch.cat([before.get("memory", rows[:, :0]), rows], dim=1).detach()
                after["memory"] = memory[:, -self.config.memory_size :] if self.config.memory_size else memory[:, :0]
                earlier = after["memory"][:, : -rows.shape[1]]  # the window itself is not part of its memory
            h = h + self.dropout(self.attention(h, rows, visible, earlier))
        return self.norm_boom_skip(h) + self.dropout(self.boom(self.norm_boom_input(h))), after

    def recur(
        self, h: Tensor, reversal: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the outputs (batch, piece, hidden) of the LSTM, or of both, and the state of the forward one."""
        if self.lstm.bidirectional:  # for export
            lengths = reversal[:, 0] + 1  # the first piece changes places with the last one
            packed, state = self.lstm(pack_padded_sequence(h, lengths, batch_first=True))
            return pad_packed_sequence(packed, batch_first=True)[0], state
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
        self.value_gate = nn.Parameter(torch.zeros(1, 1, width))
        self.overparam = nn.Linear(width, 2 * width)
        self.dropout = Dropout(config.dropout)

    def forward(self, query: Tensor, rows: Tensor, visible: Tensor, memory: Tensor | None = None) -> Tensor:
        """Return attended values (batch, piece, hidden).

        `query` and `rows`, the keys and values of the window, are (batch, piece, hidden). `visible` (batch, head,
        piece, piece) is true where a query sees a row; axes of batch and head may have length 1. All positions of the
        memory (batch, position, hidden) are visible.
        """
        query = self.norm_query_projection(self.query_projection(query)) * torch.sigmoid(self.query_gate)
        query = split_heads(self.dropout(query) * torch.sigmoid(self.key_gate), self.n_heads)
        rows = split_heads(rows, self.n_heads)
        if memory is None and not torch.onnx.is_in_onnx_export():
            dropout = self.dropout.p if self.training else 0.0
            values = self.dropout(rows)
            attended = F.scaled_dot_product_attention(query, rows, values, attn_mask=visible, dropout_p=dropout)
            return join_heads(attended) * self.value_scale()
        query = query / query.shape[-1] ** 0.5
        scores = (query @ rows.transpose(-1, -2)).masked_fill(~visible, -torch.inf)
        if memory is None:  # in an export, because that of PyTorch's own attention searches for NaN
            attended = scores.softmax(-1) @ rows
        else:  # not joined with the rows: the memory, which is longer, needs no gradient
            n_memory, memory = memory.shape[1], split_heads(memory, self.n_heads)
            shares = self.dropout(torch.cat([query @ memory.transpose(-1, -2), scores], dim=-1).softmax(-1))
            attended = shares[..., :n_memory] @ self.dropout(memory) + shares[..., n_memory:] @ self.dropout(rows)
        return join_heads(attended) * self.value_scale()

    def value_scale(self) -> Tensor:
        """Return the value gate (1, 1, hidden), a constant that Overparam computes from a vector (section 3.4)."""
        candidate, forget = self.overparam(torch.sigmoid(self.value_gate)).chunk(2, dim=-1)
        return torch.sigmoid(forget) * torch.tanh(candidate)


class MultiHeadAttention(nn.MultiheadAttention):
    """PyTorch's multi-head attention, the variant of the original project; a language model cannot use it.

    `forward` computes the products itself: the ONNX export of PyTorch's own is fixed to one length.
    """

    def __init__(self, config: ShaRnnConfig):
        super().__init__(config.hidden_size, config.num_attention_heads, dropout=config.dropout, batch_first=True)

    def forward(  # type: ignore[override]
        self, query: Tensor, rows: Tensor, visible: Tensor, memory: None = None
    ) -> Tensor:
        parts = zip((query, rows, rows), self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3), strict=True)
        query, keys, values = (split_heads(F.linear(x, weight, bias), self.num_heads) for x, weight, bias in parts)
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, keys, values, attn_mask=visible, dropout_p=dropout)
        return self.out_proj(join_heads(attended))


class Boom(nn.Module):
    """Feed-forward layer without a second matrix: widen, apply GELU, sum the chunks (section 3.2)."""

    def __init__(self, config: ShaRnnConfig):
        super().__init__()
        self.linear = nn.Linear(config.hidden_size, config.boom_size)
        self.factor = GELU
        self.dropout = Dropout(config.dropout)

    def forward(self, h: Tensor) -> Tensor:
        # gelu(x) = x · sigmoid(a x) = silu(a x) / a with a = GELU: one pass over the widest tensor instead of three.
        wide = self.dropout(F.silu(self.factor * self.linear(h)))
        return wide.unflatten(-1, (-1, h.shape[-1])).sum(-2) / GELU


class Dropout(nn.Dropout):
    """nn.Dropout, faster on the CPU: four elements share a draw of 64 random bits, so `p` is a multiple of 2⁻¹⁶."""

    LEVELS = 2**16

    def forward(self, h: Tensor) -> Tensor:
        if not self.training or self.p == 0 or h.device.type != "cpu":
            return super().forward(h)
        draws = torch.empty(-(-h.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = draws.view(torch.int16)[: h.numel()].view(h.shape)
        n_dropped = round(self.p * self.LEVELS)
        kept = (bits >= n_dropped - self.LEVELS // 2).to(h.dtype)
        return h * kept.mul_(self.LEVELS / (self.LEVELS - n_dropped))


def layer_norm(config: ShaRnnConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.hidden_size, eps=1e-12)


def take(h: Tensor, index: Tensor) -> Tensor:
    """Return h (batch, piece, hidden) with the pieces of each row in the order of index (batch, piece)."""
    return h.gather(1, index.unsqueeze(-1).expand(-1, -1, h.shape[-1]))


def split_heads(rows: Tensor, n_heads: int) -> Tensor:
    # Not -1, which an exported reshape cannot find out where there are no rows.
    return rows.unflatten(-1, (n_heads, rows.shape[-1] // n_heads)).transpose(1, 2)


def join_heads(rows: Tensor) -> Tensor:
    return rows.transpose(1, 2).flatten(-2)


class ShaRnnModel(nn.Module):
    """Embedding and Blocks, from pieces to hidden states."""

    def __init__(self, config: ShaRnnConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.feature_embedding = nn.Embedding(config.n_features, config.hidden_size) if config.n_features else None
        self.block = nn.ModuleList(
            Block(config, attends=layer in config.attention_layers) for layer in range(config.num_hidden_layers)
        )
        self.input_dropout = Dropout(config.dropout if config.input_dropout is None else config.input_dropout)
        self.output_dropout = Dropout(config.dropout if config.output_dropout is None else config.output_dropout)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        feature_ids: Tensor | None = None,
        state: State | None = None,
    ) -> tuple[Tensor, State]:
        """Return the hidden states (batch, piece, hidden) of a batch of windows, and the state after them.

        Args:
            input_ids: pieces (batch, piece).
            attention_mask: 1 for pieces and 0 for the padding after them (batch, piece); default: no padding.
            feature_ids: rows of the table of features (batch, piece, feature).
            state: the state after the previous windows, which were not padded; empty for none; default: no memory.
        """
        h = self.embedding(input_ids)
        if self.feature_embedding is not None and feature_ids is not None:
            h = h + self.feature_embedding(feature_ids).sum(-2)
        h = self.input_dropout(h)
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        visible = attention_mask.bool()[:, None, None, :]
        position = torch.arange(input_ids.shape[1], device=input_ids.device)
        if self.config.causal:
            visible = visible & (position[None, :] <= position[:, None])
        length = attention_mask.sum(1, keepdim=True)
        reversal = torch.where(position < length, length - 1 - position, position)
        after: State = {}
        for index, block in enumerate(self.block):
            of_block, end = state, f".{index}"
            if state is not None:
                of_block = {name.removesuffix(end): part for name, part in state.items() if name.endswith(end)}
            h, of_block = block(h, visible, reversal, of_block)
            after |= {name + end: part for name, part in of_block.items()}
        return self.output_dropout(h), after


class ShaRnnPreTrainedModel(PreTrainedModel):
    config_class = ShaRnnConfig
    config: ShaRnnConfig
    base_model_prefix = "model"

    def __init__(self, config: ShaRnnConfig):
        super().__init__(config)
        self.model = ShaRnnModel(config)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialise a module as the paper's code does; others stay as PyTorch makes them."""
        # Only functions of nn.init: transformers patches them so that they skip weights that were loaded.
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.1 / math.sqrt(self.config.hidden_size))
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

    @torch.no_grad()
    def for_export(self) -> Self:
        """Return a copy that computes the same, up to rounding, in fewer steps in ONNX Runtime.

        Both directions become one LSTM that knows the lengths, without copies that reverse each row. Overparam becomes
        a constant, and the factor of Boom's activation part of its weights.
        """
        model = deepcopy(self)
        block: Any
        for block in model.model.block:
            if block.lstm_backward is not None:
                forward, backward = block.lstm, block.lstm_backward.state_dict()
                block.lstm = nn.LSTM(forward.input_size, forward.hidden_size, batch_first=True, bidirectional=True)
                reverse = {f"{name}_reverse": weight for name, weight in backward.items()}
                block.lstm.load_state_dict({**forward.state_dict(), **reverse})
            if hasattr(block.attention, "value_scale"):
                block.attention.value_scale = block.attention.value_scale().clone
            block.boom.linear.weight.mul_(GELU)
            block.boom.linear.bias.mul_(GELU)
            block.boom.factor = 1.0
        return model


class ShaRnnForTokenClassification(ShaRnnPreTrainedModel):
    """Token classifier: embedding, Blocks and a linear layer. Nothing is carried between windows or documents."""

    def __init__(self, config: ShaRnnConfig):
        super().__init__(config)
        self.classifier = nn.Linear(config.hidden_size, cast(int, config.num_labels))  # transformers sets a default
        self.post_init()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, feature_ids: Tensor | None = None
    ) -> TokenClassifierOutput:
        """Return `logits` (batch, piece, label); the arguments are those of `ShaRnnModel`."""
        hidden, _ = self.model(input_ids, attention_mask, feature_ids)
        return TokenClassifierOutput(logits=self.classifier(hidden))


class LanguageModelOutput(NamedTuple):
    """Mean loss in nats per piece, logits (batch, piece, vocabulary), and the state after the windows."""

    loss: Tensor | None
    logits: Tensor
    state: State


class ShaRnnForCausalLM(ShaRnnPreTrainedModel):
    """The paper's language model: predicts the next piece with the embedding's weights and a separate bias."""

    def __init__(self, config: ShaRnnConfig):
        assert config.causal and not config.bidirectional and config.attention == "single_headed"
        super().__init__(config)
        self.output_bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.post_init()

    def forward(
        self, input_ids: Tensor, state: State | None = None, labels: Tensor | None = None
    ) -> LanguageModelOutput:
        """Return logits for the next pieces, and the state after a window of each stream, `input_ids` (batch, piece).

        `state` is the state after the previous window; default: no text before. `labels` (batch, piece) are the next
        pieces, -100 for none.
        """
        hidden, after = self.model(input_ids, state=state or {})
        logits = F.linear(hidden, self.model.embedding.weight, self.output_bias)
        loss = None if labels is None else F.cross_entropy(logits.float().flatten(0, 1), labels.flatten())
        return LanguageModelOutput(loss, logits, after)


AutoConfig.register(ShaRnnConfig.model_type, ShaRnnConfig)
AutoModelForTokenClassification.register(ShaRnnConfig, ShaRnnForTokenClassification)
AutoModelForCausalLM.register(ShaRnnConfig, ShaRnnForCausalLM)
