"""Token classifiers on transformers' encoders, with features of words: the only module that names encoder classes."""

import hashlib
import importlib.util
import json
import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    __version__,
)
from transformers.modeling_outputs import TokenClassifierOutput
from transformers.models.mobilebert.modeling_mobilebert import NoNorm
from transformers.utils.hub import cached_file
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from pii_kit.files import KitError, in_one_line, loading
from pii_kit.pieces import NEWLINE, PieceTokenizer, of_transformers

os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")  # else transformers has the hub convert old weights
MOBILEBERT = "google/mobilebert-uncased"
SMALL_GAIN = 0.01  # bias / gain of a norm is exact enough above it
DROPOUTS = ("classifier_dropout", "hidden_dropout_prob", "mlp_dropout", "dropout")  # names in encoders' configurations


class EncoderConfig(PreTrainedConfig):
    """Configuration of a tagger: of its encoder (a dict has its "model_type"), and rows of features (0 or N_ROWS)."""

    model_type = "pii_encoder"
    sub_configs = {"encoder": AutoConfig}

    def __init__(self, *, encoder: dict | PreTrainedConfig | None = None, n_features: int = 0, **kwargs):
        if not isinstance(encoder, PreTrainedConfig):
            encoder = AutoConfig.for_model(**{"model_type": "mobilebert", **(encoder or {})})
        self.encoder = encoder
        self.n_features = n_features
        super().__init__(**kwargs)


class EncoderForTokenClassification(PreTrainedModel):
    """An encoder with a linear classifier, and an embedding of features (`pii_kit.lexicon`) added to its pieces'.

    Uncased pieces lose the capital letters that mark names, and no small vocabulary knows which words are places or
    names. The embedding of features starts at zero, so that a pretrained encoder first works as it does without.
    """

    config_class = EncoderConfig
    config: EncoderConfig
    base_model_prefix = "encoder"

    def __init__(self, config: EncoderConfig):
        super().__init__(config)
        self.encoder = AutoModel.from_config(config.encoder)
        if hasattr(self.encoder, "pooler"):
            self.encoder.pooler = None
        width = self.encoder.get_input_embeddings().embedding_dim
        self.feature_embedding = nn.Embedding(config.n_features, width) if config.n_features else None
        dropouts = [getattr(config.encoder, name, None) for name in DROPOUTS]
        self.dropout = nn.Dropout(next((share for share in dropouts if share is not None), 0.1))
        self.classifier = nn.Linear(config.encoder.hidden_size, config.num_labels)  # type: ignore[arg-type]
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # Only functions of nn.init: transformers patches them so that they skip weights that were loaded.
        if module is getattr(self, "classifier", None):
            nn.init.normal_(module.weight, std=getattr(self.config.encoder, "initializer_range", 0.02))
            nn.init.zeros_(module.bias)
        elif module is getattr(self, "feature_embedding", None):
            nn.init.zeros_(module.weight)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        feature_ids: torch.Tensor | None = None,
    ) -> TokenClassifierOutput:
        """Return `logits` (batch, piece, label) of pieces (batch, piece) and their features (batch, piece, feature)."""
        embedded = self.encoder.get_input_embeddings()(input_ids)
        if self.feature_embedding is not None and feature_ids is not None:
            embedded = embedded + self.feature_embedding(feature_ids).sum(-2)
        if attention_mask is not None:
            # MobileBERT joins each piece's embedding with its neighbours'. After the last piece they must be zero, as
            # they are without padding.
            embedded = embedded * attention_mask[..., None]
        hidden = self.encoder(inputs_embeds=embedded, attention_mask=attention_mask).last_hidden_state
        return TokenClassifierOutput(logits=self.classifier(self.dropout(hidden)))

    @torch.no_grad()
    def for_export(self) -> "EncoderForTokenClassification":
        """Return a copy that computes the same in fewer steps in ONNX Runtime.

        Attention becomes plain products, because torch's own exports NaN checks that take a fifth of the time. The bias
        of MobileBERT's norm, which is a gain and a bias, becomes part of the linear layer before it.
        """
        model = deepcopy(self)
        model.encoder.set_attn_implementation("eager")
        layers: Any = [module for module in model.modules() if isinstance(getattr(module, "LayerNorm", None), NoNorm)]
        for layer in layers:
            norm = layer.LayerNorm
            if hasattr(layer, "dense") and norm.weight.abs().min() >= SMALL_GAIN:
                layer.dense.bias.add_(norm.bias / norm.weight)
                norm.forward = norm.weight.mul
        return model


def read_config(weights: str | Path, **where: Any) -> PreTrainedConfig:
    """Read the configuration of a folder or a name on the hub.

    Code of the folder's author is never run: a configuration with `auto_map` is an error, and its choice of kernels for
    attention and experts, which transformers would download, is replaced by PyTorch's own.
    """
    content, _ = PreTrainedConfig.get_config_dict(str(weights), **where)
    model_type = content.get("model_type") if isinstance(content, dict) else None
    if '"auto_map"' in json.dumps(content):
        raise KitError(f"{weights}: config.json names code of its own (auto_map), which is never run")
    if not model_type:
        raise KitError(f"{weights}: no config.json that names a model_type; expected a folder of transformers' format")
    if model_type not in CONFIG_MAPPING:
        advice = f"transformers {__version__} does not know it; a newer one may: pip install -U transformers"
        raise KitError(f"{weights}: config.json: model_type is {str(model_type)[:40]!r}; {advice}")
    config = AutoConfig.from_pretrained(str(weights), trust_remote_code=False, **where)
    config._attn_implementation = config._experts_implementation = None
    return config


def check_finite(model: nn.Module) -> None:
    """Raise ValueError if a weight is not a number or infinite: labels of such a model are arbitrary."""
    if broken := [name for name, weight in model.named_parameters() if not weight.isfinite().all()]:
        raise ValueError(f"weights are not finite, such as {broken[0]}")


def longest_window(model: EncoderForTokenClassification) -> int | None:
    """Return the most pieces that an encoder reads at once; None if its positions are relative, without a limit."""
    config = model.config.encoder
    for name, table in model.encoder.named_modules():
        if name.endswith("position_embeddings") and isinstance(table, nn.Embedding):
            # RoBERTa and alike count positions from the id of the padding piece on.
            return table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
    return None if getattr(config, "relative_attention", False) else getattr(config, "max_position_embeddings", None)


def load_pretrained(
    weights: str | Path, *, n_features: int, labels: dict[str, Any], **dropouts: float
) -> tuple[EncoderForTokenClassification, PieceTokenizer]:
    """Load a pretrained encoder with a new classifier, and its tokenizer with a piece for newlines.

    Args:
        weights: a folder of transformers' format with model.safetensors or pytorch_model.bin, or a name on the Hugging
            Face hub. The local cache is tried before the hub. No code of the author is run: of a .bin file only tensors
            are read.
        n_features: rows of the table of features; 0 for no features.
        labels: id2label and label2id.
        **dropouts: fields of the encoder's configuration that replace the stored ones.

    Raises:
        KitError: the weights cannot be found (the message says how to get them), are damaged, or are no encoder's.
    """
    disable_progress_bar()  # one for each fold
    set_verbosity_error()  # else a table of the weights that the encoder does not use
    is_folder = Path(weights).is_dir()
    with loading(weights):
        try:
            try:
                stored, tokenizer = _read(weights, dropouts, local_files_only=True)
            except OSError:  # not in the cache
                stored, tokenizer = _read(weights, dropouts, local_files_only=is_folder)
        except OSError as error:
            if is_folder:
                raise
            advice = (
                "Attach the weights (on Kaggle: Add input, Models; elsewhere: --weights FOLDER), turn the internet on"
            )
            advice += ", or train from random weights (--weights random)" * (weights == MOBILEBERT)
            raise KitError(f"{weights}: not on this machine. {advice}. Reason: {in_one_line(error)}") from None
        model = EncoderForTokenClassification(EncoderConfig(encoder=stored.config, n_features=n_features, **labels))
        used = {name: value for name, value in stored.state_dict().items() if "pooler" not in name}
        model.encoder.load_state_dict(used)
    _check_behaviour(model, weights)
    return model, tokenizer


def _read(
    weights: str | Path, dropouts: dict[str, float], *, local_files_only: bool
) -> tuple[PreTrainedModel, PieceTokenizer]:
    """Return the stored encoder and its tokenizer. Raises ValueError if a weight or piece is missing."""
    # One small file first: transformers tries each file for half a minute when the hub cannot be reached.
    config = read_config(weights, local_files_only=local_files_only)
    for name, value in dropouts.items():
        if not hasattr(config, name):
            raise ValueError(f"its configuration has no {name}")
        setattr(config, name, value)
    where: dict[str, Any] = {"local_files_only": local_files_only, "trust_remote_code": False}
    try:
        loaded = AutoTokenizer.from_pretrained(str(weights), **where)
    except (ImportError, ValueError) as error:  # a message that names the wrong package
        if importlib.util.find_spec("sentencepiece") is not None:
            raise
        raise ValueError(f"its tokenizer may need sentencepiece (pip install sentencepiece): {error}") from None
    if len(loaded) < config.vocab_size / 2:
        raise ValueError(f"the vocabulary has {len(loaded)} pieces, expected about {config.vocab_size}")
    knows_newline = NEWLINE in loaded.get_vocab()
    tokenizer = of_transformers(loaded)
    model, report = AutoModel.from_pretrained(
        str(weights), **where, config=config, dtype=torch.float32, weights_only=True, output_loading_info=True
    )
    if missing := [name for name in report["missing_keys"] if "pooler" not in name]:
        raise ValueError(f"the file of weights lacks {len(missing)} of them, such as {min(missing)}")
    check_finite(model)
    if tokenizer.n_pieces > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(tokenizer.n_pieces, mean_resizing=False)
    if not knows_newline and (newline := tokenizer.tokenizer.token_to_id(NEWLINE)) is not None:
        with torch.no_grad():  # its row is new, or one that was never trained
            rows = model.get_input_embeddings().weight
            rows[newline] = rows[:newline].mean(0)
    return model, tokenizer


@torch.no_grad()
def _check_behaviour(model: EncoderForTokenClassification, weights: str | Path) -> None:
    """Raise KitError if a model cannot be called as encoders are, sees padding, or does not see later pieces."""
    pieces, of_type = torch.arange(16)[None], f"{weights}: a model of type {model.config.encoder.model_type!r}"
    mask = (pieces < 8).long()
    model.eval()
    try:
        alone = model(input_ids=pieces[:, :8]).logits
        padded = model(input_ids=pieces, attention_mask=mask).logits[:, :8]
        longer = model(input_ids=pieces).logits[:, :8]
    except Exception as error:  # whatever a model does that expects other inputs
        raise KitError(f"{of_type}, which does not work here as an encoder: {in_one_line(error)}") from None
    model.train()
    scale = alone.abs().max()
    if not (padded - alone).abs().max() <= 1e-3 * scale:
        raise KitError(f"{of_type}, which does not work here: padding changes its predictions")
    if not (longer - alone)[:, 0].abs().max() > 1e-6 * scale:
        raise KitError(f"{of_type}, which reads from left to right only; expected an encoder, such as BERT")


def fingerprint_weights(weights: str | Path) -> str:
    """Return the SHA-256 of the weights that `load_pretrained` has loaded, of all files in the order of their names."""
    folder = Path(str(cached_file(str(weights), "config.json", local_files_only=True))).parent
    kinds = ("model.safetensors", "*.safetensors", "pytorch_model.bin", "*.bin")
    paths = next(found for kind in kinds if (found := sorted(folder.glob(kind))))
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as handle:
            hashlib.file_digest(handle, lambda: digest)  # goes on with the same digest
    return digest.hexdigest()


AutoConfig.register(EncoderConfig.model_type, EncoderConfig)
AutoModelForTokenClassification.register(EncoderConfig, EncoderForTokenClassification)
