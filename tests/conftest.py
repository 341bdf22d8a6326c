"""Essays and models small enough for a test."""

import os
from functools import cache

os.environ["OMP_NUM_THREADS"] = "1"  # the suite runs in two processes, which must not fight for two cores

import matplotlib
import pytest
import spacy
import torch

from pii_kit.data import Document
from pii_kit.labels import LABEL_TO_ID, LABELS
from pii_kit.mobilebert import MobileBertForTokenClassification, MobileBertTaggerConfig
from pii_kit.pieces import CASINGS, train_byte_pairs, train_word_pieces
from pii_kit.predict import Tagger
from pii_kit.sample import make_documents
from pii_kit.sha_rnn import ShaRnnForCausalLM, ShaRnnForTokenClassification
from pii_kit.sha_rnn_config import ShaRnnConfig

matplotlib.use("Agg")
torch.set_num_threads(1)

NAMES = {"id2label": dict(enumerate(LABELS)), "label2id": LABEL_TO_ID, "n_casings": len(CASINGS)}


@cache
def _english() -> spacy.Language:
    return spacy.blank("en")


def make_document(text: str, number: int = 1, labels=None) -> Document:
    """A document of spaCy's tokens of `text`; `labels` maps a token's text to its label, None leaves it unlabelled."""
    tokens = _english().tokenizer(text)
    return Document(
        document=number,
        full_text=text,
        tokens=tuple(token.text for token in tokens),
        trailing_whitespace=tuple(bool(token.whitespace_) for token in tokens),
        labels=None if labels is None else tuple(labels.get(token.text, "O") for token in tokens),
    )


@pytest.fixture(scope="session")
def documents():
    """Twenty-four made-up essays, labelled."""
    return make_documents(24, seed=1)


def tiny_sha_rnn(**changes) -> ShaRnnForTokenClassification:
    sizes = {"vocab_size": 400, "hidden_size": 16, "boom_size": 32, "num_hidden_layers": 2, "attention_layers": [1]}
    torch.manual_seed(0)
    return ShaRnnForTokenClassification(ShaRnnConfig(**{**sizes, **NAMES, **changes})).eval()


def tiny_language_model(**changes) -> ShaRnnForCausalLM:
    sizes = {"vocab_size": 61, "hidden_size": 16, "boom_size": 32, "num_hidden_layers": 3, "attention_layers": [1]}
    causal = {"bidirectional": False, "causal": True, "memory_size": 20, "pad_token_id": None}
    torch.manual_seed(0)
    return ShaRnnForCausalLM(ShaRnnConfig(**{**sizes, **causal, **changes})).eval()


def tiny_mobilebert(**changes) -> MobileBertForTokenClassification:
    sizes = {
        "vocab_size": 400,
        "hidden_size": 32,
        "embedding_size": 16,
        "intra_bottleneck_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_feedforward_networks": 1,
    }
    torch.manual_seed(0)
    return MobileBertForTokenClassification(MobileBertTaggerConfig(**{**sizes, **NAMES, **changes})).eval()


@pytest.fixture(scope="session")
def sha_rnn_tagger(documents) -> Tagger:
    """An untrained SHA-RNN with small windows."""
    tokenizer = train_byte_pairs(documents, n_pieces=400)
    return Tagger(
        model=tiny_sha_rnn(vocab_size=tokenizer.n_pieces),
        tokenizer=tokenizer,
        window_size=64,
        overlap=16,
        o_threshold=0.9,
    )


@pytest.fixture(scope="session")
def mobilebert_tagger(documents) -> Tagger:
    """An untrained MobileBERT with small windows."""
    tokenizer = train_word_pieces(documents, n_pieces=400)
    return Tagger(
        model=tiny_mobilebert(vocab_size=tokenizer.n_pieces),
        tokenizer=tokenizer,
        window_size=64,
        overlap=16,
        o_threshold=0.9,
    )
