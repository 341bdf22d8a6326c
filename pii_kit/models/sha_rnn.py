"""SHA-RNN (Merity, arXiv 1911.11423) as transformers classes: backbone, token classifier, causal language model.

Axes: (batch, piece, hidden). Padding must come last in a row; it never changes the logits of a real piece.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForTokenClassification, PreTrainedModel
from transformers.modeling_outputs import ModelOutput, TokenClassifierOutput

from pii_kit.models.sha_rnn_layers import Block, Dropout, ShaRnnConfig, SingleHeadedAttention
from pii_kit.models.sha_rnn_memory import ShaRnnState


@dataclass
class ShaRnnOutput(ModelOutput):
    """last_hidden_state (batch, piece, hidden), and the state after the window if one was handed in."""

    last_hidden_state: torch.Tensor | None = None
    state: ShaRnnState | None = None


@dataclass
class ShaRnnCausalOutput(ModelOutput):
    """loss in nats per piece (with labels), logits (batch, piece, vocabulary), and the state after the window."""

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    state: ShaRnnState | None = None


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
            for gate in module.parameters(recurse=False):
                nn.init.zeros_(gate)
        elif isinstance(module, ShaRnnForCausalLM):
            nn.init.zeros_(module.output_bias)
        elif isinstance(module, nn.MultiheadAttention):
            nn.init.xavier_uniform_(module.in_proj_weight)
            nn.init.zeros_(module.in_proj_bias)


class ShaRnnModel(ShaRnnPreTrainedModel):
    """Pieces to hidden states: embedding, blocks, dropouts."""

    def __init__(self, config: ShaRnnConfig):
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.casing_embedding = nn.Embedding(config.n_casings, config.hidden_size) if config.n_casings else None
        self.block = nn.ModuleList(
            Block(config, attends=layer in config.attention_layers) for layer in range(config.num_hidden_layers)
        )
        self.input_dropout = Dropout(config.dropout if config.input_dropout is None else config.input_dropout)
        self.output_dropout = Dropout(config.dropout if config.output_dropout is None else config.output_dropout)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embedding

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        casing_ids: torch.Tensor | None = None,
        state: ShaRnnState | None = None,
        **kwargs,
    ) -> ShaRnnOutput:
        """input_ids, attention_mask (1 for pieces, 0 for the padding after them), casing_ids: each (batch, piece).

        With `state`, that after the window before, the window follows on it and all of its pieces are real.
        """
        h = self.embedding(input_ids)
        if self.casing_embedding is not None and casing_ids is not None:
            h = h + self.casing_embedding(casing_ids)
        h = self.input_dropout(h)
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        visible = attention_mask.bool()[:, None, None, :]
        position = torch.arange(input_ids.shape[1], device=input_ids.device)
        if self.config.causal:
            visible = visible & (position[None, :] <= position[:, None])
        length = attention_mask.sum(1, keepdim=True)
        reversal = torch.where(position < length, length - 1 - position, position)
        states = state.blocks if state else [None] * len(self.block)
        after = []
        for block, before in zip(self.block, states, strict=True):
            h, block_state = block(h, visible, reversal, before)
            after.append(block_state)
        state = state and ShaRnnState(tuple(after))
        return ShaRnnOutput(last_hidden_state=self.output_dropout(h), state=state)


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


class ShaRnnForCausalLM(ShaRnnPreTrainedModel):
    """The paper's language model: logits for the piece after each, by the embedding's own weights and a bias."""

    def __init__(self, config: ShaRnnConfig):
        if config.bidirectional or not config.causal:
            raise ValueError("a language model needs a configuration with bidirectional=False and causal=True")
        if config.attention_layers and config.attention != "single_headed":
            raise ValueError(f"attention {config.attention!r} carries no memory; a language model needs single_headed")
        super().__init__(config)
        self.model = ShaRnnModel(config)
        self.output_bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.post_init()

    def empty_state(self) -> ShaRnnState:
        """The state before any text."""
        return ShaRnnState.empty(self.config.num_hidden_layers, self.config.memory_size)

    def forward(
        self,
        input_ids: torch.Tensor,
        state: ShaRnnState | None = None,
        labels: torch.Tensor | None = None,
        **kwargs,
    ) -> ShaRnnCausalOutput:
        """input_ids (batch, piece), the next of each stream of text, and the state after the pieces before them.

        labels (batch, piece) are the pieces that follow, -100 where there is none; the loss is their mean.
        """
        done = self.model(input_ids, state=state or self.empty_state())
        logits = F.linear(done.last_hidden_state, self.model.embedding.weight, self.output_bias)
        loss = None if labels is None else F.cross_entropy(logits.float().flatten(0, 1), labels.flatten())
        return ShaRnnCausalOutput(loss=loss, logits=logits, state=done.state)

    def collapse(self) -> None:
        """Fold every overparameterised gate into a constant, for inference; no output changes by it."""
        for module in self.modules():
            if isinstance(module, SingleHeadedAttention):
                module.collapse()
        self.config.collapsed = True


AutoConfig.register(ShaRnnConfig.model_type, ShaRnnConfig)


AutoModel.register(ShaRnnConfig, ShaRnnModel)


AutoModelForTokenClassification.register(ShaRnnConfig, ShaRnnForTokenClassification)


AutoModelForCausalLM.register(ShaRnnConfig, ShaRnnForCausalLM)
