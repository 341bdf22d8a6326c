import pytest
import torch

from pii_kit.labels import LABELS
from pii_kit.models import linear_macs, linear_parameters
from pii_kit.models.encoder import MobileBertForTokenClassification, MobileBertTaggerConfig
from pii_kit.training import folds as train_run
from pii_kit.training.config import PRESETS, default_preset
from pii_kit.training.folds import build


@pytest.mark.parametrize(("model", "name"), [(model, name) for model in PRESETS for name in PRESETS[model]])
def test_every_preset_fits_its_model_and_its_windows(model, name, documents, monkeypatch):
    monkeypatch.setattr(train_run, "find_weights", lambda folder: None)
    preset = PRESETS[model][name]
    sizes = {key: size for key, size in preset.model.items() if key.endswith("size") or key.startswith("num_hidden")}
    network, tokenizer = build(model, preset, documents, None, None)
    assert all(getattr(network.config, key) == size for key, size in sizes.items())
    assert list(network.config.id2label.values()) == list(LABELS)
    embeddings = [module for module in network.modules() if isinstance(module, torch.nn.Embedding)]
    assert network.config.vocab_size == tokenizer.n_pieces in {table.num_embeddings for table in embeddings}
    assert preset.train.window_size <= getattr(network.config, "max_position_embeddings", preset.train.window_size)
    assert preset.train.overlap < preset.train.window_size


def test_the_seeds_sha_rnn_has_the_size_that_the_seed_claims(documents):
    network, _ = build("sha_rnn", PRESETS["sha_rnn"]["seed"], documents, None, None)
    config = network.config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (1024, 4, 1)
    assert config.attention_layers == [0, 1, 2, 3] and config.dropout == 0.3


def test_the_seeds_mobilebert_counts_as_the_seed_counted():
    settings = PRESETS["mobilebert"]["seed"]
    config = MobileBertTaggerConfig(vocab_size=settings.n_pieces, num_labels=13, **settings.model)
    with torch.device("meta"):
        network = MobileBertForTokenClassification(config)
    counted = network.num_parameters(), linear_parameters(network), linear_macs(network, n_pieces=1024)
    assert counted == (37_327_885, 20_349_965, 20_743_454_720)


def test_a_machine_without_gpu_takes_the_cpu_preset(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert {default_preset(model) for model in PRESETS} == {"cpu"}
