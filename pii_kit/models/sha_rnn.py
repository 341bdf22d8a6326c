"""SHA-RNN (Merity, arXiv 1911.11423) as transformers models: backbone, token classifier, causal language model.

Padding must come last in each row; it never changes the logits of a real piece.
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForTokenClassification, PreTrainedModel
from transformers.modeling_outputs import TokenClassifierOutput
from transformers.utils.generic import ModelOutput

from pii_kit.models.sha_rnn_layers import Block, Dropout, ShaRnnConfig, SingleHeadedAttention
from pii_kit.models.sha_rnn_memory import ShaRnnState


@dataclass
class ShaRnnOutput(ModelOutput):
    """Output of the backbone: hidden states (batch, piece, hidden), and the new state if one was passed in."""

    last_hidden_state: torch.Tensor | None = None
    state: ShaRnnState | None = None


@dataclass
class ShaRnnCausalOutput(ModelOutput):
    """Output of the language model: loss in nats per piece, logits (batch, piece, vocabulary), and the new state."""

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    state: ShaRnnState | None = None


class ShaRnnPreTrainedModel(PreTrainedModel):
    config_class = ShaRnnConfig
    base_model_prefix = "model"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # Only functions of nn.init: transformers patches them so that they skip weights that were loaded.
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.1 / math.sqrt(self.config.hidden_size))
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LSTM):
            bound = 1 / math.sqrt(module.hidden_size)
            for weight in module.parameters():
                nn.init.uniform_(weight, -bound, bound)
        elif isinstance(module, SingleHeadedAttention | ShaRnnForCausalLM):
            for parameter in module.parameters(recurse=False):  # gates, output bias
                nn.init.zeros_(parameter)
        elif isinstance(module, nn.MultiheadAttention):
            nn.init.xavier_uniform_(module.in_proj_weight)
            nn.init.zeros_(module.in_proj_bias)


class ShaRnnModel(ShaRnnPreTrainedModel):
    """The backbone: embedding and Blocks, from pieces to hidden states."""

    _input_embed_layer = "embedding"

    def __init__(self, config: ShaRnnConfig):
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.feature_embedding = nn.Embedding(config.n_features, config.hidden_size) if config.n_features else None
        self.block = nn.ModuleList(
            Block(config, attends=layer in config.attention_layers) for layer in range(config.num_hidden_layers)
        )
        self.input_dropout = Dropout(config.dropout if config.input_dropout is None else config.input_dropout)
        self.output_dropout = Dropout(config.dropout if config.output_dropout is None else config.output_dropout)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        feature_ids: torch.Tensor | None = None,
        state: ShaRnnState | None = None,
        **kwargs,
    ) -> ShaRnnOutput:
        """Return the hidden states of a batch of windows.

        Args:
            input_ids: pieces (batch, piece).
            attention_mask: 1 for pieces and 0 for the padding after them (batch, piece); default: no padding.
            feature_ids: rows of the table of features (batch, piece, feature).
            state: the state after the previous window; then no window has padding.
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
        states = state.blocks if state else [None] * len(self.block)
        after = []
        for block, before in zip(self.block, states, strict=True):
            h, block_state = block(h, visible, reversal, before)
            after.append(block_state)
        state = ShaRnnState(tuple(after)) if state else None
        return ShaRnnOutput(last_hidden_state=self.output_dropout(h), state=state)


class ShaRnnForTokenClassification(ShaRnnPreTrainedModel):
    """Token classifier: the backbone and a linear layer. No state is carried between windows or documents."""

    def __init__(self, config: ShaRnnConfig):
        super().__init__(config)
        self.model = ShaRnnModel(config)
        self.classifier = nn.Linear(config.hidden_size, cast(int, config.num_labels))  # transformers sets a default
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        feature_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs,
    ) -> TokenClassifierOutput:
        """Return logits (batch, piece, label), and the mean loss if labels (batch, piece) are given."""
        logits = self.classifier(self.model(input_ids, attention_mask, feature_ids).last_hidden_state)
        loss = None if labels is None else F.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return TokenClassifierOutput(loss=loss, logits=logits)


class ShaRnnForCausalLM(ShaRnnPreTrainedModel):
    """The paper's language model: predicts the next piece with the embedding's weights and a separate bias."""

    def __init__(self, config: ShaRnnConfig):
        if config.bidirectional or not config.causal:
            raise ValueError("a language model needs a configuration with bidirectional=False and causal=True")
        if config.attention_layers and config.attention != "single_headed":
            raise ValueError(f"attention {config.attention!r} has no memory; a language model needs single_headed")
        super().__init__(config)
        self.model = ShaRnnModel(config)
        self.output_bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.post_init()

    def empty_state(self) -> ShaRnnState:
        return ShaRnnState.empty(self.config.num_hidden_layers, self.config.memory_size)

    def forward(
        self,
        input_ids: torch.Tensor,
        state: ShaRnnState | None = None,
        labels: torch.Tensor | None = None,
        **kwargs,
    ) -> ShaRnnCausalOutput:
        """Return logits for the next pieces, and the state after a window of each stream, `input_ids` (batch, piece).

        `state` is the state after the previous window. `labels` (batch, piece) are the next pieces, -100 for none.
        """
        output = self.model(input_ids, state=state or self.empty_state())
        logits = F.linear(output.last_hidden_state, self.model.embedding.weight, self.output_bias)
        loss = None if labels is None else F.cross_entropy(logits.float().flatten(0, 1), labels.flatten())
        return ShaRnnCausalOutput(loss=loss, logits=logits, state=output.state)

    def collapse(self) -> None:
        """Replace each Overparam by the constant it computes, for inference; outputs do not change."""
        for module in self.modules():
            if isinstance(module, SingleHeadedAttention):
                module.collapse()
        self.config.collapsed = True


AutoConfig.register(ShaRnnConfig.model_type, ShaRnnConfig)
AutoModel.register(ShaRnnConfig, ShaRnnModel)
AutoModelForTokenClassification.register(ShaRnnConfig, ShaRnnForTokenClassification)
AutoModelForCausalLM.register(ShaRnnConfig, ShaRnnForCausalLM)
