"""Presets, and changes of them by name: the values they read, and what they refuse."""

import pytest

from pii_kit.files import KitError
from pii_kit.settings import PRESETS, AugmentSettings, Preset, TrainSettings, default_preset, find_preset, listing

EVERY = [(model, name) for model, presets in PRESETS.items() for name in presets]


def test_changes_reach_training_augmentation_and_model_as_text_or_as_values():
    texts = {"epochs": "3", "learning_rate": "1e-4", "class_weights": "log", "cycle_epochs": "2", "augment.traps": "0"}
    texts |= {"model.attention_layers": "0,1", "model.hidden_size": "64", "model.n_features": "0"}
    values = {"epochs": 3, "learning_rate": 1e-4, "class_weights": "log", "cycle_epochs": 2.0, "augment.traps": 0}
    values |= {"model.attention_layers": [0, 1], "model.hidden_size": 64, "model.n_features": 0}
    changed, before = find_preset("sha_rnn", "cpu", texts), PRESETS["sha_rnn"]["cpu"]
    assert changed == find_preset("sha_rnn", None, values)
    train = changed.train
    assert (train.epochs, train.learning_rate, train.class_weights, train.cycle_epochs) == (3, 1e-4, "log", 2.0)
    assert train.augment == AugmentSettings(traps=0) and train.batch_size == before.train.batch_size
    assert (changed.model.attention_layers, changed.model.hidden_size, changed.model.boom_size) == ([0, 1], 64, 512)
    assert find_preset("sha_rnn", changes={"class_weights": ".3"}).train.class_weights == 0.3


def test_none_turns_a_setting_off_and_augmentation_can_be_turned_on():
    assert find_preset("sha_rnn", changes={"augment": "none"}).train.augment is None
    assert find_preset("sha_rnn", changes={"augment": None}).train.augment is None
    assert find_preset("sha_rnn", "original", {"cycle_epochs": "none"}).train.cycle_epochs is None
    assert find_preset("sha_rnn", "original", {"augment": "default"}).train.augment == AugmentSettings()
    assert find_preset("sha_rnn", "original", {"augment.traps": 1}).train.augment == AugmentSettings(traps=1)


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        ("sha_rnn", {"plant_share": ".3"}, "no setting of sha_rnn; did you mean 'augment.plant_share'"),
        ("sha_rnn", {"xyzzy": "3"}, "'xyzzy' is no setting of sha_rnn; train --list-settings lists all"),
        ("sha_rnn", {"epochs": 1.5}, "epochs is 1.5; expected a valid integer"),
        ("sha_rnn", {"epochs": 0}, "epochs is 0; expected greater than 0"),
        ("sha_rnn", {"learning_rate": "inf"}, "learning_rate is 'inf'; expected a finite number"),
        ("sha_rnn", {"optimizer": "sgd"}, "optimizer is 'sgd'; expected 'adamw', 'adam' or 'lamb'"),
        ("sha_rnn", {"overlap": 126}, "overlap is 126; expected 0 to 125 in a window"),
        ("sha_rnn", {"model.n_features": 3}, "model.n_features is 3; expected a multiple of"),
        ("sha_rnn", {"model.dropout": 2}, "model.dropout is 2; expected less than or equal to 1"),
        ("encoder", {"model.hidden_size": 64}, "'model.hidden_size' is no setting of encoder"),
        ("gpt", {}, "unknown model 'gpt'; expected one of sha_rnn, mobilebert"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(model, changes, message):
    with pytest.raises(KitError) as error:
        find_preset(model, None, changes)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(KitError, match="unknown preset 'huge' of sha_rnn; expected one of cpu, original"):
        find_preset("sha_rnn", "huge")


@pytest.mark.parametrize(("model", "name"), EVERY)
def test_every_setting_is_listed_with_a_description_and_its_value_can_be_set_again(model, name):
    preset = PRESETS[model][name]
    listed = listing(preset)
    assert {*TrainSettings.model_fields, "augment.traps", "model.n_features"} <= {setting for setting, _, _ in listed}
    assert all(about for _, _, about in listed)
    texts = {setting: value for setting, value, _ in listed if not setting.startswith("augment.")}
    assert find_preset(model, name, texts) == preset
    assert Preset.model_validate_json(preset.model_dump_json()) == preset


def test_the_first_preset_is_the_default_and_only_the_original_projects_train_one_fold():
    assert {model: default_preset(model) for model in PRESETS} == {
        "sha_rnn": "cpu", "mobilebert": "cpu", "encoder": "default",
    }  # fmt: skip
    assert {name for model, name in EVERY if not PRESETS[model][name].every_fold} == {"original"}
