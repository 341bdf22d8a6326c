"""Folders of small pretrained encoders with random weights, one for each family, as they lie on the hub."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForMaskedLM,
    AutoModelForTokenClassification,
    BertTokenizer,
    DebertaV2Tokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
    XLMRobertaTokenizer,
)

from pii_kit.documents import Document
from pii_kit.pieces import NEWLINE, train_word_pieces

BERT_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
BERT_IDS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
ROBERTA_IDS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
POSITIONS = 80
FAMILIES: dict[str, dict] = {
    "bert": {"max_position_embeddings": POSITIONS},
    "mobilebert": {
        "max_position_embeddings": POSITIONS,
        "embedding_size": 8,
        "intra_bottleneck_size": 8,
        "num_feedforward_networks": 1,
    },
    "roberta": {**ROBERTA_IDS, "max_position_embeddings": POSITIONS + 2},
    "xlm-roberta": {**ROBERTA_IDS, "max_position_embeddings": POSITIONS + 2},
    "deberta-v2": {
        "relative_attention": True,
        "position_biased_input": False,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 16,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "max_position_embeddings": POSITIONS,
    },
    "modernbert": {**BERT_IDS, "local_attention": 8, "max_position_embeddings": POSITIONS},
    "openai_privacy_filter": {
        "num_key_value_heads": 1,
        "head_dim": 8,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": 8,
        "pad_token_id": 0,
        "eos_token_id": 0,
        "max_position_embeddings": POSITIONS,
    },
}
if "openai_privacy_filter" not in CONFIG_MAPPING:  # transformers of Kaggle's image
    del FAMILIES["openai_privacy_filter"]
LONGEST = {name: None if name == "deberta-v2" else POSITIONS for name in FAMILIES}  # window, in pieces


def _trained(tokenizer: Tokenizer, trainer: trainers.Trainer, documents: Sequence[Document]) -> dict:
    tokenizer.train_from_iterator((document.full_text for document in documents), trainer)
    return json.loads(tokenizer.to_str())["model"]


def _word_pieces(documents: Sequence[Document], folder: Path) -> PreTrainedTokenizerBase:
    vocabulary = train_word_pieces(documents, n_pieces=300).tokenizer.get_vocab()
    kept = [piece for piece in sorted(vocabulary, key=vocabulary.get) if piece not in (NEWLINE, "[TOP]", "[BOTTOM]")]
    (folder / "vocab.txt").write_text("\n".join(kept) + "\n")
    return BertTokenizer(vocab=str(folder / "vocab.txt"))


def _byte_pairs(documents: Sequence[Document], specials: list[str]) -> tuple[dict, list]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=350, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    model = _trained(tokenizer, trainer, documents)
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def _unigrams(documents: Sequence[Document], specials: list[str], unknown: str) -> list[tuple[str, float]]:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Replace(NEWLINE, " ")
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=specials, unk_token=unknown, show_progress=False)
    return [(piece, score) for piece, score in _trained(tokenizer, trainer, documents)["vocab"]]


def tokenizer_of(family: str, documents: Sequence[Document], folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a family, of its own class, with a small vocabulary learned from documents."""
    if family in ("bert", "mobilebert"):
        return _word_pieces(documents, folder)
    if family == "roberta":
        vocabulary, merges = _byte_pairs(documents, ROBERTA_SPECIALS)
        return RobertaTokenizer(vocab=vocabulary, merges=merges)
    if family == "xlm-roberta":
        return XLMRobertaTokenizer(vocab=_unigrams(documents, ROBERTA_SPECIALS, "<unk>"))
    if family == "deberta-v2":
        specials = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]  # [MASK] is beyond the vocabulary, and rows beyond [MASK]
        return DebertaV2Tokenizer(vocab=_unigrams(documents, specials, "[UNK]"), unk_id=3, add_prefix_space=True)
    vocabulary, merges = _byte_pairs(documents, BERT_SPECIALS)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), BERT_SPECIALS, strict=True))
    if family == "openai_privacy_filter":
        names = {"pad_token": "[PAD]", "eos_token": "[PAD]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def write_encoder(family: str, documents: Sequence[Document], folder: Path) -> Path:
    """Write an encoder that was pretrained on masked pieces, with its vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_of(family, documents, folder)
    tokenizer.save_pretrained(folder)
    rows = len(tokenizer) + (30 if family == "deberta-v2" else 0)
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **{**SMALL, "vocab_size": rows, **FAMILIES[family]})
    kind = AutoModelForTokenClassification if family == "openai_privacy_filter" else AutoModelForMaskedLM
    kind.from_config(config).save_pretrained(folder)
    return folder
