import pytest

from pii_kit.files import KitError
from pii_kit.training.config import TrainConfig


@pytest.mark.parametrize(
    ("change", "needle"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"empty_share": 1.5}, "empty_share is 1.5; expected 0 to 1"),
        ({"overlap": 63}, "overlap is 63; expected 0 to 61 in a window"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd'; expected one of adamw, adam"),
    ],
)
def test_settings_that_cannot_be_are_named(change, needle):
    with pytest.raises(KitError, match=needle):
        TrainConfig(**{"window_size": 64, "overlap": 8, **change})
