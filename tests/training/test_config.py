import pytest
import torch

from pii_kit.files import KitError
from pii_kit.labels import LABELS
from pii_kit.models import linear_parameters
from pii_kit.models.encoder import MOBILEBERT, EncoderConfig, EncoderForTokenClassification
from pii_kit.training import PRESETS, TrainConfig, build, default_preset, look_up, model_of, starting_weights


@pytest.mark.parametrize(
    ("change", "needle"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"empty_share": 1.5}, "empty_share is 1.5; expected 0 to 1"),
        ({"hidden_lists": -0.1}, "hidden_lists is -0.1; expected 0 to 1"),
        ({"layer_decay": 0}, "layer_decay is 0"),
        ({"layer_decay": 1.1}, "layer_decay is 1.1; expected 0 to 1"),
        ({"head_rate": 0}, "head_rate is 0"),
        ({"ema_decay": 1.5}, "ema_decay is 1.5; expected 0 to 1"),
        ({"overlap": 63}, "overlap is 63; expected 0 to 61 in a window"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd'; expected one of adamw, adam"),
    ],
)
def test_a_setting_out_of_range_is_named(change, needle):
    with pytest.raises(KitError, match=needle):
        TrainConfig(**{"window_size": 64, "overlap": 8, **change})


RANDOM_STARTS = [(model, name) for model in PRESETS for name in PRESETS[model] if model != "encoder"]


@pytest.mark.parametrize(("model", "name"), RANDOM_STARTS)
def test_every_preset_fits_its_model_and_its_windows(model, name, documents):
    """With random weights, which MobileBERT's preset "published" allows too."""
    preset = PRESETS[model][name]
    sizes = {key: size for key, size in preset.model.items() if key.endswith("size") or key.startswith("num_hidden")}
    network, tokenizer = build(model, preset, documents, None)
    config = getattr(network.config, "encoder", network.config)
    assert all(getattr(config, key) == size for key, size in sizes.items())
    assert network.config.n_features == preset.model.get("n_features", 0)
    assert list(network.config.id2label.values()) == list(LABELS)
    embeddings = [module for module in network.modules() if isinstance(module, torch.nn.Embedding)]
    assert config.vocab_size == tokenizer.n_pieces in {table.num_embeddings for table in embeddings}
    assert preset.train.window_size <= getattr(config, "max_position_embeddings", preset.train.window_size)
    assert preset.train.overlap < preset.train.window_size


def test_the_original_projects_sha_rnn_has_the_size_that_it_reports(documents):
    network, _ = build("sha_rnn", PRESETS["sha_rnn"]["original"], documents, None)
    config = network.config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (1024, 4, 1)
    assert config.attention_layers == [0, 1, 2, 3] and config.dropout == 0.3


def test_the_original_projects_mobilebert_has_the_counts_that_it_reports():
    settings = PRESETS["mobilebert"]["original"]
    sizes = {"model_type": "mobilebert", "vocab_size": settings.n_pieces, **settings.model}
    with torch.device("meta"):
        network = EncoderForTokenClassification(EncoderConfig(encoder=sizes, num_labels=13))
    assert (network.num_parameters(), linear_parameters(network)) == (37_327_885, 20_349_965)


def test_all_presets_but_the_original_projects_train_every_fold():
    for of_model in PRESETS.values():
        assert {name for name, preset in of_model.items() if not preset.every_fold} == {"original"} & set(of_model)


def test_settings_replace_those_of_the_preset_unless_they_are_none():
    assert look_up("sha_rnn", "cpu", epochs=7, batch_size=None).train.epochs == 7
    assert look_up("sha_rnn", "cpu", batch_size=None) == PRESETS["sha_rnn"]["cpu"]


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(KitError, match="unknown model 'gpt'; expected one of sha_rnn, mobilebert"):
        look_up("gpt", "cpu")
    with pytest.raises(KitError, match="unknown preset 'huge' of sha_rnn; expected one of cpu, original"):
        look_up("sha_rnn", "huge")


def test_mobilebert_is_not_trained_in_fp16():
    with pytest.raises(KitError, match="overflows in fp16"):
        look_up("mobilebert", "cpu", mixed_precision="fp16")


def test_only_published_presets_take_weights_and_random_ones_are_asked_for_by_name(tmp_path):
    published, small = PRESETS["mobilebert"]["published"], PRESETS["mobilebert"]["cpu"]
    assert starting_weights("mobilebert", published, None) == MOBILEBERT
    assert starting_weights("mobilebert", published, tmp_path) == str(tmp_path)
    assert starting_weights("mobilebert", published, "random") == "random"
    assert starting_weights("mobilebert", small, None) == starting_weights("mobilebert", small, "random") == "random"
    with pytest.raises(KitError, match="do not fit a preset of random weights"):
        starting_weights("mobilebert", small, tmp_path)


@pytest.mark.parametrize("weights", [None, "random"])
def test_an_encoder_needs_weights(weights):
    with pytest.raises(KitError, match="pass a folder or a hub name with --weights"):
        starting_weights("encoder", PRESETS["encoder"]["default"], weights)


def test_weights_of_mobilebert_are_known_by_their_config_or_the_name_on_the_hub(tmp_path):
    for model_type in ("mobilebert", "bert"):
        (tmp_path / model_type).mkdir()
        (tmp_path / model_type / "config.json").write_text(f'{{"model_type": "{model_type}"}}')
    assert model_of(tmp_path / "mobilebert") == model_of("google/mobilebert-uncased") == "mobilebert"
    assert model_of(str(tmp_path / "bert")) == model_of("FacebookAI/roberta-base") == "encoder"


def test_the_first_preset_is_the_default():
    assert {model: default_preset(model) for model in PRESETS} == {
        "sha_rnn": "cpu",
        "mobilebert": "cpu",
        "encoder": "default",
    }
    with pytest.raises(KitError, match="unknown model 'gpt'"):
        look_up("gpt", default_preset("gpt"))
