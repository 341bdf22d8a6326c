"""MobileBERT with a token classifier and a sense of capital letters: the one place that names transformers' classes."""

import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

import torch
from huggingface_hub import constants
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForTokenClassification,
    BertTokenizerFast,
    MobileBertConfig,
    MobileBertModel,
)
from transformers import MobileBertForTokenClassification as PlainMobileBert
from transformers.modeling_outputs import TokenClassifierOutput

from pii_kit.files import KitError
from pii_kit.pieces import NEWLINE, PieceTokenizer

PUBLISHED = "google/mobilebert-uncased"
NOT_SIZES = ("model_type", "architectures", "id2label", "label2id")  # of a stored configuration: its own task's


class MobileBertTaggerConfig(MobileBertConfig):
    """transformers' MobileBertConfig; `n_casings` above 0 adds an embedding of how a token is written."""

    model_type = "mobilebert_tagger"
    n_casings: int = 0


class MobileBertForTokenClassification(PlainMobileBert):
    """transformers' model; the casing embedding (pieces.CASINGS) is added to the word embedding.

    Uncased pieces lose the capitals that names live on. The casing embedding starts at zero, so loaded weights give
    exactly what they gave before it.
    """

    config_class = MobileBertTaggerConfig
    config: MobileBertTaggerConfig

    def __init__(self, config: MobileBertTaggerConfig):
        super().__init__(config)
        self.casing_embedding = nn.Embedding(config.n_casings, config.embedding_size) if config.n_casings else None
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is getattr(self, "casing_embedding", None):
            nn.init.zeros_(module.weight)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        casing_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs,
    ) -> TokenClassifierOutput:
        """input_ids, attention_mask, casing_ids, labels: each (batch, piece) → logits (batch, piece, label)."""
        embedded = self.mobilebert.get_input_embeddings()(input_ids)
        if self.casing_embedding is not None and casing_ids is not None:
            embedded = embedded + self.casing_embedding(casing_ids)
        if attention_mask is not None:
            # MobileBERT joins each piece's embedding with its neighbours': what follows the last one must be zero, as
            # it is without padding.
            embedded = embedded * attention_mask[..., None]
        return super().forward(attention_mask=attention_mask, inputs_embeds=embedded, labels=labels, **kwargs)


def find_weights(folder: str | Path | None = None, *, attached: Path = Path("/kaggle/input")) -> str | None:
    """Where published MobileBERT weights can be had: `folder`, a folder attached on Kaggle, the model hub, or None.

    A `folder` that holds no MobileBERT is a KitError, not a reason to look further.
    """
    if folder is not None:
        if not _is_mobilebert(Path(folder) / "config.json"):
            raise KitError(f"{folder}: no MobileBERT there (expected a config.json with model_type mobilebert)")
        return str(folder)
    for config in sorted(attached.rglob("config.json")) if attached.is_dir() else []:
        if _is_mobilebert(config):
            return str(config.parent)
    try:
        MobileBertConfig.from_pretrained(PUBLISHED, local_files_only=not _hub_answers())
    except OSError:  # what transformers raises when the hub is out of reach and nothing is cached
        return None
    return PUBLISHED


def _hub_answers() -> bool:
    # Asked first, since transformers itself tries for half a minute before it gives up.
    try:
        socket.create_connection((urlsplit(constants.ENDPOINT).hostname, 443), timeout=3).close()
    except OSError:
        return False
    return True


def _is_mobilebert(config: Path) -> bool:
    return config.is_file() and json.loads(config.read_text()).get("model_type") == "mobilebert"


def load_published(weights: str, **settings) -> tuple[MobileBertForTokenClassification, PieceTokenizer]:
    """Published weights with a fresh classifier, and their WordPiece with a newline piece added.

    `settings` go to the configuration (n_casings, labels, dropouts).
    """
    tokenizer = BertTokenizerFast.from_pretrained(weights).backend_tokenizer
    tokenizer.add_special_tokens([NEWLINE])
    stored = MobileBertModel.from_pretrained(weights, add_pooling_layer=False)
    sizes = {name: value for name, value in stored.config.to_dict().items() if name not in NOT_SIZES}
    config = MobileBertTaggerConfig(**{**sizes, **settings})
    model = MobileBertForTokenClassification(config)
    model.mobilebert.load_state_dict(stored.state_dict())
    model.resize_token_embeddings(tokenizer.get_vocab_size(), mean_resizing=False)
    return model, PieceTokenizer(tokenizer)


AutoConfig.register(MobileBertTaggerConfig.model_type, MobileBertTaggerConfig)


AutoModelForTokenClassification.register(MobileBertTaggerConfig, MobileBertForTokenClassification)
