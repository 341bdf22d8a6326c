"""MobileBERT with a token classifier and casing features: the only module that names transformers' encoder classes."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoConfig, AutoModelForTokenClassification, BertTokenizer, MobileBertConfig, MobileBertModel
from transformers import MobileBertForTokenClassification as PlainMobileBert
from transformers.modeling_outputs import TokenClassifierOutput

from pii_kit.files import KitError, in_one_line
from pii_kit.pieces import NEWLINE, PieceTokenizer

PUBLISHED = "google/mobilebert-uncased"
# Fields of a stored configuration that belong to the task it was trained for, not to the encoder.
TASK_FIELDS = ("model_type", "architectures", "id2label", "label2id")


class MobileBertTaggerConfig(MobileBertConfig):
    """transformers' MobileBertConfig; `n_features` above 0 adds an embedding of each token's casing."""

    model_type = "mobilebert_tagger"
    n_features: int = 0


class MobileBertForTokenClassification(PlainMobileBert):
    """transformers' model with a casing embedding (`pieces.CASINGS`) that is added to the word embedding.

    Uncased pieces lose the capital letters that mark names. The casing embedding starts at zero, so that loaded weights
    first give the same output as without it.
    """

    config_class = MobileBertTaggerConfig
    config: MobileBertTaggerConfig

    def __init__(self, config: MobileBertTaggerConfig):
        super().__init__(config)
        self.feature_embedding = nn.Embedding(config.n_features, config.embedding_size) if config.n_features else None
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is getattr(self, "feature_embedding", None):
            nn.init.zeros_(module.weight)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        feature_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs,
    ) -> TokenClassifierOutput:
        """Return logits (batch, piece, label) of `input_ids` and `feature_ids`, both (batch, piece)."""
        embedded = self.mobilebert.get_input_embeddings()(input_ids)
        if self.feature_embedding is not None and feature_ids is not None:
            embedded = embedded + self.feature_embedding(feature_ids).sum(-2)
        if attention_mask is not None:
            # MobileBERT joins each piece's embedding with its neighbours'. After the last piece they must be zero, as
            # they are without padding.
            embedded = embedded * attention_mask[..., None]
        return super().forward(attention_mask=attention_mask, inputs_embeds=embedded, labels=labels, **kwargs)


def load_published(weights: str | Path, **settings) -> tuple[MobileBertForTokenClassification, PieceTokenizer]:
    """Load published weights with a new classifier, and their WordPiece tokenizer with a newline piece added.

    Args:
        weights: a folder with MobileBERT, or a name on the Hugging Face hub. The local cache is tried before the hub.
        **settings: fields of the configuration (n_features, labels, dropouts).

    Raises KitError if the weights cannot be found or loaded. The message says how to get them.
    """
    if is_folder := Path(weights).is_dir():
        _check_config(Path(weights) / "config.json")
    try:
        try:
            stored, tokenizer = _read(weights, local_files_only=True)
        except OSError:  # not in the cache
            stored, tokenizer = _read(weights, local_files_only=is_folder)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise KitError(
            f"{weights}: cannot load MobileBERT's published weights. Attach them (on Kaggle: Add input, Models, "
            "google/mobilebert-uncased; elsewhere: --weights FOLDER) or turn the internet on. To train a model of this "
            f"size from random weights, ask for it: --weights random. Reason: {in_one_line(error)}"
        ) from None
    sizes = {name: value for name, value in stored.config.to_dict().items() if name not in TASK_FIELDS}
    model = MobileBertForTokenClassification(MobileBertTaggerConfig(**{**sizes, **settings}))
    model.mobilebert.load_state_dict(stored.state_dict())
    tokenizer.add_special_tokens([NEWLINE])
    model.resize_token_embeddings(tokenizer.get_vocab_size(), mean_resizing=False)
    return model, PieceTokenizer(tokenizer)


def _check_config(path: Path) -> None:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise KitError(f"{path}: cannot be read as JSON ({in_one_line(error)}); expected a MobileBERT folder") from None
    found = config.get("model_type") if isinstance(config, dict) else f"a {type(config).__name__}"
    if found != "mobilebert":
        raise KitError(f"{path}: no MobileBERT there; expected an object with model_type 'mobilebert', found {found!r}")


def _read(weights: str | Path, *, local_files_only: bool) -> tuple[MobileBertModel, Tokenizer]:
    """Return the stored encoder and its tokenizer. Raises ValueError if a weight or the vocabulary is missing."""
    where: dict[str, Any] = {"pretrained_model_name_or_path": str(weights), "local_files_only": local_files_only}
    # One small file first: transformers tries each file for half a minute when the hub cannot be reached.
    config = MobileBertConfig.from_pretrained(**where)
    tokenizer = BertTokenizer.from_pretrained(**where).backend_tokenizer
    loaded: Any = MobileBertModel.from_pretrained(**where, add_pooling_layer=False, output_loading_info=True)
    if missing := loaded[1]["missing_keys"]:
        raise ValueError(f"the file of weights lacks {len(missing)} of them")
    if tokenizer.get_vocab_size() != config.vocab_size:
        raise ValueError(f"the vocabulary has {tokenizer.get_vocab_size()} pieces, expected {config.vocab_size}")
    return loaded[0], tokenizer


AutoConfig.register(MobileBertTaggerConfig.model_type, MobileBertTaggerConfig)
AutoModelForTokenClassification.register(MobileBertTaggerConfig, MobileBertForTokenClassification)
