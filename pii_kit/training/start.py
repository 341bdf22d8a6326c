"""What a training starts from: the weights, the network, and the vocabulary."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from pii_kit.documents import Document
from pii_kit.files import KitError, in_one_line, read_json
from pii_kit.labels import LABEL_TO_ID, LABELS
from pii_kit.models import encoder
from pii_kit.models.sha_rnn import ShaRnnConfig, ShaRnnForTokenClassification
from pii_kit.pieces import PieceTokenizer, common_words, train_byte_pairs, train_word_pieces
from pii_kit.settings import Preset

RANDOM = "random"  # start from random weights
NAMES: dict[str, Any] = {"id2label": dict(enumerate(LABELS)), "label2id": LABEL_TO_ID}


def starting_weights(model: str, preset: Preset, weights: str | Path | None) -> str:
    """Return where a model's first weights come from: "random", or the folder or hub name of a pretrained encoder."""
    if not preset.published:
        if weights not in (None, RANDOM):
            presets = "model 'encoder', or mobilebert's preset 'published'"
            raise KitError(f"weights {str(weights)!r} do not fit a preset of random weights; expected {presets}")
        return RANDOM
    if model == "encoder" and weights in (None, RANDOM):
        raise KitError("model 'encoder' starts from pretrained weights: pass a folder or a hub name with --weights")
    return str(weights or encoder.MOBILEBERT)


def model_of(weights: str | Path) -> str:
    """Return the model whose settings fit pretrained weights: "mobilebert" for MobileBERT's, else "encoder".

    Of weights on the hub only the name is looked at.
    """
    config = Path(weights) / "config.json"
    content = read_json(config) if config.is_file() else {"model_type": str(weights).lower()}
    return "mobilebert" if isinstance(content, dict) and "mobilebert" in content.get("model_type", "") else "encoder"


def build(
    model: str,
    preset: Preset,
    weights: str = RANDOM,
    *,
    texts: Sequence[Document] = (),
    tokenizer: PieceTokenizer | None = None,
) -> tuple[PreTrainedModel, PieceTokenizer]:
    """Return a network ready for training, and its tokenizer; unless given, it is pretrained or learned from `texts`.

    Raises:
        KitError: pretrained weights cannot be loaded.
    """
    if weights == RANDOM:
        learn = train_byte_pairs if model == "sha_rnn" else train_word_pieces
        tokenizer = tokenizer or learn(texts, n_pieces=preset.n_pieces)
        return _new_network(model, preset, n_pieces=tokenizer.n_pieces, pad_id=tokenizer.pad_id), tokenizer
    network, published = encoder.load_pretrained(weights, labels=NAMES, **preset.model.model_dump(exclude_none=True))
    return network, tokenizer or replace(published, words=common_words(texts))


def _new_network(model: str, preset: Preset, *, n_pieces: int, pad_id: int) -> PreTrainedModel:
    sizes = {"vocab_size": n_pieces, "pad_token_id": pad_id, **preset.model.model_dump(exclude_none=True)}
    if model == "sha_rnn":
        return ShaRnnForTokenClassification(ShaRnnConfig(**sizes, **NAMES))
    n_features, sizes = sizes.pop("n_features"), {"model_type": "mobilebert", **sizes}
    config = encoder.EncoderConfig(encoder=sizes, n_features=n_features, **NAMES)
    return encoder.EncoderForTokenClassification(config)


def check_sizes(model: str, preset: Preset, weights: str) -> None:
    """Build a network, so that an error, or a long download, comes before a run begins.

    Raises:
        KitError: pretrained weights cannot be loaded, or the network does not fit its windows or precision.
    """
    if weights == RANDOM:
        try:
            with torch.device("meta"):  # without memory for weights
                network = _new_network(model, preset, n_pieces=preset.n_pieces, pad_id=0)
                network(input_ids=torch.zeros(1, 8, dtype=torch.long))
        except Exception as error:  # whatever a library raises
            raise KitError(f"{model}: sizes do not fit together: {in_one_line(error)}") from None
    else:
        network, _ = build(model, preset, weights)
    if not isinstance(network, encoder.EncoderForTokenClassification):
        return
    longest, size = encoder.longest_window(network), preset.train.window_size
    if longest is not None and size > longest:
        raise KitError(f"window_size is {size}; this encoder reads at most {longest} pieces")
    if network.config.encoder.model_type == "mobilebert" and preset.train.mixed_precision == "fp16":
        raise KitError("MobileBERT overflows in fp16; train it with mixed_precision 'auto', 'bf16' or 'no'")
