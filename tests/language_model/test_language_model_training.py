import pytest

from pii_kit.files import KitError
from pii_kit.language_model.training import LanguageModelConfig


@pytest.mark.parametrize(
    ("change", "needle"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"memory_drop": 1.5}, "memory_drop is 1.5; expected 0 to 1"),
        ({"epochs": 0}, "epochs and half_rate_epochs are both 0"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd'; expected one of adamw, adam, lamb"),
    ],
)
def test_settings_that_cannot_be_are_refused(change, needle):
    with pytest.raises(KitError, match=needle):
        LanguageModelConfig(**change)
