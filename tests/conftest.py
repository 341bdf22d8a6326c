"""Essays and models small enough for a test."""

import os
from dataclasses import replace
from functools import cache

os.environ["OMP_NUM_THREADS"] = "1"  # the suite runs in two processes, which must not fight for two cores
os.environ["HF_HUB_OFFLINE"] = "1"  # no test may ask the model hub

import matplotlib
import numpy as np
import pytest
import torch
from kaggle_stub import built_kit, no_wheels, stub  # noqa: F401 (fixtures)

from pii_kit import settings
from pii_kit.documents import Document, document_of_text
from pii_kit.labels import LABEL_TO_ID, LABELS
from pii_kit.lexicon import N_ROWS
from pii_kit.models.encoder import EncoderConfig, EncoderForTokenClassification
from pii_kit.models.network import TorchNetwork
from pii_kit.models.sha_rnn import ShaRnnConfig, ShaRnnForCausalLM, ShaRnnForTokenClassification
from pii_kit.pieces import train_byte_pairs, train_word_pieces
from pii_kit.predict import Member, save_member
from pii_kit.sample import make_documents
from pii_kit.settings import MobileBertSizes, Preset, ShaRnnSizes, TrainSettings
from pii_kit.training.train import train

matplotlib.use("Agg")
torch.set_num_threads(1)


def pytest_collection_modifyitems(items) -> None:
    """Begin with the longest tests, so that no process waits for them at the end."""
    items.sort(key=lambda item: "long" not in item.keywords)


NAMES = {"id2label": dict(enumerate(LABELS)), "label2id": LABEL_TO_ID, "n_features": N_ROWS}


def make_document(text: str, number: int = 1, labels=None) -> Document:
    """A document of a text; `labels` maps a token's text to its label, None leaves it unlabelled."""
    document = document_of_text(text, number)
    return document if labels is None else replace(document, labels=tuple(labels.get(x, "O") for x in document.tokens))


def essay_of_labels(number: int, labels) -> Document:
    """A document of made-up tokens with these labels."""
    tokens = tuple(f"w{index}" for index in range(len(labels)))
    return Document(
        number=number,
        full_text=" ".join(tokens),
        tokens=tokens,
        trailing_whitespace=(True,) * len(labels),
        labels=tuple(labels),
    )


ESSAY_LENGTHS = (30, 1, 0, 40, 7, 25)  # in tokens


def likely(rng, labels) -> np.ndarray:
    """Random probabilities (token, label), P(O) anywhere from 1e-5 to 1 − 1e-7, PII likelier where there is some."""
    n_tokens = len(labels)
    outside = rng.choice([0.3, 0.97, 0.99995, 0.999999], size=n_tokens) ** rng.exponential(1, n_tokens)
    pii = rng.dirichlet(np.full(len(LABELS) - 1, 0.2), size=n_tokens)
    for token, label in enumerate(labels):
        if label != "O":
            outside[token] *= rng.random()
            pii[token, LABELS.index(label) - 1] += 1
    pii /= pii.sum(1, keepdims=True)
    return np.concatenate([outside[:, None], (1 - outside[:, None]) * pii], axis=1).astype(np.float32)


def random_essays(rng) -> list[Document]:
    """Documents whose spans are of any type and length, also at both ends and side by side."""
    documents = []
    for number, n_tokens in zip(rng.permutation(100)[: len(ESSAY_LENGTHS)].tolist(), ESSAY_LENGTHS, strict=True):
        labels: list[str] = []
        while len(labels) < n_tokens:
            pii_type = LABELS[2 * rng.integers(1, 4)][2:]
            labels += [f"B-{pii_type}", *[f"I-{pii_type}"] * rng.integers(0, 3)] if rng.random() < 0.4 else ["O"]
        documents.append(essay_of_labels(number, labels[:n_tokens]))
    return documents


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


def tiny_mobilebert(**changes) -> EncoderForTokenClassification:
    """A small MobileBERT; `changes` are fields of the encoder, or of the tagger's own configuration."""
    sizes = {
        "model_type": "mobilebert",
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
    own = {name: changes.pop(name, value) for name, value in NAMES.items()}
    return EncoderForTokenClassification(EncoderConfig(encoder={**sizes, **changes}, **own)).eval()


@pytest.fixture(scope="session")
def sha_rnn_tagger(documents) -> Member:
    """An untrained SHA-RNN with small windows."""
    tokenizer = train_byte_pairs(documents, n_pieces=400)
    return Member(
        network=TorchNetwork(tiny_sha_rnn(vocab_size=tokenizer.n_pieces)),
        tokenizer=tokenizer,
        window_size=64,
        overlap=16,
        o_threshold=0.9,
    )


@pytest.fixture(scope="session")
def mobilebert_tagger(documents) -> Member:
    """An untrained MobileBERT with small windows."""
    tokenizer = train_word_pieces(documents, n_pieces=400)
    return Member(
        network=TorchNetwork(tiny_mobilebert(vocab_size=tokenizer.n_pieces)),
        tokenizer=tokenizer,
        window_size=64,
        overlap=16,
        o_threshold=0.9,
    )


def save_tagger(folder, member: Member) -> None:
    """Write a tagger as the process of a fold does."""
    sizes = {"window_size": member.window_size, "overlap": member.overlap, "o_threshold": member.o_threshold}
    save_member(folder, member.network.model, member.tokenizer, **sizes)


TINY = TrainSettings(epochs=2, batch_size=8, window_size=64, overlap=16, learning_rate=1e-2, class_weights=0.1)
TINY_SIZES = {
    "sha_rnn": ShaRnnSizes(hidden_size=16, boom_size=32, num_hidden_layers=1, attention_layers=[0], n_features=N_ROWS),
    "mobilebert": MobileBertSizes(
        hidden_size=32,
        embedding_size=16,
        intra_bottleneck_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_feedforward_networks=1,
        n_features=N_ROWS,
    ),
}
TINY_PRESETS = {
    model: {
        name: Preset(n_pieces=300, model=sizes, train=TINY, every_fold=name == "every_fold")
        for name in ("cpu", "other", "every_fold")
    }
    for model, sizes in TINY_SIZES.items()
}


@pytest.fixture
def tiny_presets(monkeypatch):
    """Presets that train in a second, in place of the real ones."""
    monkeypatch.setattr(settings, "PRESETS", TINY_PRESETS)


@pytest.fixture(scope="session")
def cross_validated(documents, tmp_path_factory):
    """A function from a seed to a finished SHA-RNN's run of three folds, not to be changed, and its result."""
    folder = tmp_path_factory.mktemp("runs")

    @cache
    def run(seed: int):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(settings, "PRESETS", TINY_PRESETS)
            of_seed = folder / f"seed_{seed}"
            return of_seed, train("sha_rnn", documents, of_seed, n_folds=3, folds=range(3), changes={"seed": seed})

    return run
