"""SHA-RNN (Merity, arXiv 1911.11423): LSTM blocks, a single head of attention, and Boom, as transformers classes.

Axes: (batch, piece, hidden). Padding must come last in a row; it never changes the logits of a real piece.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForTokenClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, TokenClassifierOutput

ATTENTIONS = ("single_headed", "multi_head")


class ShaRnnConfig(PreTrainedConfig):
    """Sizes and variants of a SHA-RNN.

    `attention_layers` lists the blocks that attend. `attention` is "single_headed", the paper's (with
    `num_attention_heads` above 1 it is cut into heads), or "multi_head", PyTorch's own with all its projections.
    `boom_size` is a multiple of `hidden_size`. `bidirectional` gives each direction half of `hidden_size`; `causal`
    hides later pieces from attention. `n_casings` above 0 adds an embedding of how a token is written (pieces.CASINGS).
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
        dropout: float = 0.1,
        bidirectional: bool = True,
        causal: bool = False,
        n_casings: int = 0,
        pad_token_id: int = 0,
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
        self.dropout = dropout
        self.bidirectional = bidirectional
        self.causal = causal
        self.n_casings = n_casings
        super().__init__(pad_token_id=pad_token_id, **kwargs)


def layer_norm(config: ShaRnnConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.hidden_size, eps=1e-12)


class Boom(nn.Module):
    """Feed-forward without a second matrix: widen, gelu, and add up the chunks (paper, section 3.2)."""

    def __init__(self, config: ShaRnnConfig):
        super().__init__()
        self.linear = nn.Linear(config.hidden_size, config.boom_size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        wide = self.linear(hidden)
        wide = self.dropout(wide * torch.sigmoid(1.702 * wide))
        return wide.unflatten(-1, (-1, hidden.shape[-1])).sum(-2)


class SingleHeadedAttention(nn.Module):
    """Attention with a projection for the query alone; keys and values are the memory itself, gated (section 3.1)."""

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
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, query: torch.Tensor, memory: torch.Tensor, visible: torch.Tensor | None) -> torch.Tensor:
        """query (batch, piece, hidden), memory (batch, position, hidden), visible as (batch, head, piece, position)."""
        candidate, forget = self.overparam(torch.sigmoid(self.value_gate)).chunk(2, dim=-1)
        q = self.norm_query_projection(self.query_projection(query)) * torch.sigmoid(self.query_gate)
        k = memory * torch.sigmoid(self.key_gate)
        v = memory * (torch.sigmoid(forget) * torch.tanh(candidate))
        q, k, v = (
            x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)  # (batch, head, piece, hidden / head)
            for x in (self.dropout(q), k, self.dropout(v))
        )
        dropout = self.dropout.p if self.training else 0.0
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=visible, dropout_p=dropout)
        return attended.transpose(1, 2).flatten(-2)


class MultiHeadAttention(nn.Module):
    """PyTorch's attention behind the same call, the seed's variant."""

    def __init__(self, config: ShaRnnConfig):
        super().__init__()
        self.attention = nn.MultiheadAttention(
            config.hidden_size, config.num_attention_heads, dropout=config.dropout, batch_first=True
        )

    def forward(self, query: torch.Tensor, memory: torch.Tensor, visible: torch.Tensor | None) -> torch.Tensor:
        hidden = None
        if visible is not None:  # torch wants (batch · head, piece, position), True where hidden
            shape = (len(query), self.attention.num_heads, query.shape[1], memory.shape[1])
            hidden = ~visible.expand(shape).flatten(0, 1)
        return self.attention(query, memory, memory, attn_mask=hidden, need_weights=False)[0]


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
        self.dropout = nn.Dropout(config.dropout)
        self.bidirectional = config.bidirectional

    def forward(self, h: torch.Tensor, visible: torch.Tensor | None, reversal: torch.Tensor | None) -> torch.Tensor:
        """h (batch, piece, hidden); visible as in attention; reversal (batch, piece): each row from last to first."""
        h = self.norm_start(h)
        h = self.dropout(self.run_lstm(h, reversal))
        if self.attention is not None:
            memory = self.norm_memory(h)
            h = self.norm_query(h)
            h = h + self.dropout(self.attention(h, memory, visible))
        return self.norm_boom_skip(h) + self.dropout(self.boom(self.norm_boom_input(h)))

    def run_lstm(self, h: torch.Tensor, reversal: torch.Tensor | None) -> torch.Tensor:
        forward = self.lstm(h)[0]
        if not self.bidirectional:
            return forward
        # A row reversed within its own length keeps its padding last, so no state ever passes through padding.
        backward = self.lstm_backward(take(h, reversal))[0]
        return torch.cat([forward, take(backward, reversal)], dim=-1)


def take(h: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """h (batch, piece, hidden) with the pieces of each row in the order of index (batch, piece)."""
    return h.gather(1, index.unsqueeze(-1).expand(-1, -1, h.shape[-1]))


class ShaRnnPreTrainedModel(PreTrainedModel):
    config_class = ShaRnnConfig
    base_model_prefix = "model"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # Functions of nn.init, never `.data`: transformers patches them so that loaded weights are left alone.
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.1 / math.sqrt(self.config.hidden_size))
            if getattr(module, "bias", None) is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LSTM):
            bound = 1 / math.sqrt(module.hidden_size)
            for weight in module.parameters():
                nn.init.uniform_(weight, -bound, bound)
        elif isinstance(module, SingleHeadedAttention):
            for gate in (module.query_gate, module.key_gate, module.value_gate):
                nn.init.zeros_(gate)
        elif isinstance(module, nn.MultiheadAttention):
            nn.init.xavier_uniform_(module.in_proj_weight)
            nn.init.zeros_(module.in_proj_bias)


class ShaRnnModel(ShaRnnPreTrainedModel):
    """Pieces to hidden states: embedding, blocks, dropout."""

    def __init__(self, config: ShaRnnConfig):
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.casing_embedding = nn.Embedding(config.n_casings, config.hidden_size) if config.n_casings else None
        self.block = nn.ModuleList(
            Block(config, attends=layer in config.attention_layers) for layer in range(config.num_hidden_layers)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        casing_ids: torch.Tensor | None = None,
        **kwargs,
    ) -> BaseModelOutput:
        """input_ids, attention_mask (1 for pieces, 0 for the padding after them), casing_ids: each (batch, piece)."""
        h = self.embedding(input_ids)
        if self.casing_embedding is not None and casing_ids is not None:
            h = h + self.casing_embedding(casing_ids)
        h = self.dropout(h)
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        visible = attention_mask.bool()[:, None, None, :]
        position = torch.arange(input_ids.shape[1], device=input_ids.device)
        if self.config.causal:
            visible = visible & (position[None, :] <= position[:, None])
        length = attention_mask.sum(1, keepdim=True)
        reversal = torch.where(position < length, length - 1 - position, position)
        for block in self.block:
            h = block(h, visible, reversal)
        return BaseModelOutput(last_hidden_state=self.dropout(h))


class ShaRnnForTokenClassification(ShaRnnPreTrainedModel):
    """A label for each piece: the backbone and one linear layer. No state passes between windows or documents."""

    def __init__(self, config: ShaRnnConfig):
        super().__init__(config)
        self.model = ShaRnnModel(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        casing_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs,
    ) -> TokenClassifierOutput:
        """Arguments (batch, piece), as in ShaRnnModel → logits (batch, piece, label); with labels, their mean loss."""
        logits = self.classifier(self.model(input_ids, attention_mask, casing_ids).last_hidden_state)
        loss = None if labels is None else F.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return TokenClassifierOutput(loss=loss, logits=logits)


AutoConfig.register(ShaRnnConfig.model_type, ShaRnnConfig)
AutoModel.register(ShaRnnConfig, ShaRnnModel)
AutoModelForTokenClassification.register(ShaRnnConfig, ShaRnnForTokenClassification)
