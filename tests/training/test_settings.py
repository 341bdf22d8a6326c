"""Changes of a preset by name: the values they read, and what they refuse."""

import pytest

from pii_kit.augment import AugmentConfig
from pii_kit.files import KitError
from pii_kit.training import PRESETS, look_up
from pii_kit.training.folds import train_fold
from pii_kit.training.settings import TrainConfig, list_settings


def test_changes_reach_training_augmentation_and_model_as_text_or_as_values():
    texts = {"epochs": "3", "learning_rate": "1e-4", "class_weights": "log", "cycle_epochs": "2", "keep": "best"}
    texts |= {"augment.traps": "0", "model.attention_layers": "0,1", "model.hidden_size": "64"}
    values = {"epochs": 3, "learning_rate": 1e-4, "class_weights": "log", "cycle_epochs": 2.0, "keep": "best"}
    values |= {"augment.traps": 0, "model.attention_layers": [0, 1], "model.hidden_size": 64}
    changed, before = look_up("sha_rnn", "cpu", changes=texts), PRESETS["sha_rnn"]["cpu"]
    assert changed == look_up("sha_rnn", "cpu", changes=values)
    train = changed.train
    assert (train.epochs, train.learning_rate, train.class_weights, train.cycle_epochs) == (3, 1e-4, "log", 2.0)
    assert train.augment == AugmentConfig(traps=0.0) and train.batch_size == before.train.batch_size
    assert changed.model == {**before.model, "attention_layers": [0, 1], "hidden_size": 64}
    assert look_up("sha_rnn", "cpu", changes={"class_weights": ".3"}).train.class_weights == 0.3


def test_none_turns_a_setting_off_and_augmentation_can_be_turned_on():
    assert look_up("sha_rnn", "cpu", changes={"augment": None}).train.augment is None
    assert look_up("sha_rnn", "original", changes={"cycle_epochs": "none"}).train.cycle_epochs is None
    assert look_up("sha_rnn", "original", changes={"augment": "default"}).train.augment == AugmentConfig()
    assert look_up("sha_rnn", "original", changes={"augment.traps": 1}).train.augment == AugmentConfig(traps=1.0)


@pytest.mark.parametrize(
    ("model", "changes", "needle"),
    [
        (
            "sha_rnn",
            {"plant_share": ".3"},
            "'plant_share' is no setting of sha_rnn; did you mean 'augment.plant_share'",
        ),
        ("sha_rnn", {"xyzzy": "3"}, "'xyzzy' is no setting of sha_rnn; train --list-settings lists all"),
        ("sha_rnn", {"epochs": "ten"}, "epochs is 'ten'; expected a whole number"),
        ("sha_rnn", {"epochs": 1.5}, "epochs is '1.5'; expected a whole number"),
        ("sha_rnn", {"patience": "soon"}, "patience is 'soon'; expected none or a whole number"),
        ("sha_rnn", {"learning_rate": "inf"}, "learning_rate is 'inf'; expected a number"),
        ("sha_rnn", {"augment": "off"}, "augment is 'off'; expected none or default"),
        ("sha_rnn", {"augment": None, "augment.traps": 1}, "augment=none turns off what"),
        ("sha_rnn", {"augment.traps": 11}, "augment.traps is 11.0; expected 0 to 10"),
        ("sha_rnn", {"model.n_features": 3}, "model.n_features is 3; expected 0 or"),
        ("sha_rnn", {"model.boom_size": 200}, "boom_size 200 is not a multiple of hidden_size 128"),
        ("mobilebert", {"model.num_attention_heads": 3}, "mobilebert: sizes do not fit together"),
        ("mobilebert", {"window_size": 600}, "window_size is 600; this encoder reads at most 512 pieces"),
        ("mobilebert", {"mixed_precision": "fp16"}, "overflows in fp16"),
        ("encoder", {"model.hidden_size": 64}, "'model.hidden_size' cannot be set with pretrained weights"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(model, changes, needle):
    with pytest.raises(KitError) as error:
        look_up(model, next(iter(PRESETS[model])), changes=changes)
    assert needle in str(error.value)


@pytest.mark.parametrize("model", PRESETS)
def test_every_setting_is_listed_with_a_description_and_its_value_can_be_set_again(model):
    for name, preset in PRESETS[model].items():
        listed = list_settings(preset, model)
        values = {name: value for name, value, _ in listed if value != "as stored" and not name.startswith("augment.")}
        assert {*vars(TrainConfig()), "model.n_features"} <= {*values}
        assert [setting for setting, _, about in listed if not about and not setting.startswith("model.")] == []
        again = look_up(model, name, changes=values)
        assert again.train == preset.train and preset.model.items() <= again.model.items()


def test_a_run_has_the_changed_sizes_and_is_resumed_with_these_alone(documents, tmp_path, tiny_presets):
    how = {"preset": "cpu", "epochs": 1, "changes": {"model.hidden_size": 32, "model.input_dropout": 0.1}}
    result = train_fold("sha_rnn", documents, tmp_path, **how)
    assert train_fold("sha_rnn", documents, tmp_path, **how, resume=True) == result
    for changes in ({}, {"model.hidden_size": 32}):
        with pytest.raises(KitError, match="cannot be resumed: sizes"):
            train_fold("sha_rnn", documents, tmp_path, **how | {"changes": changes}, resume=True)
