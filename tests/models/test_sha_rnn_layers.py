import pytest
from transformers import AutoConfig

from pii_kit.models.sha_rnn_layers import ShaRnnConfig, byte_model_config


@pytest.mark.parametrize(
    ("change", "needle"),
    [
        ({"boom_size": 100}, "boom_size 100 is not a multiple of hidden_size 256"),
        ({"num_attention_heads": 3}, "cut into 3 heads"),
        ({"attention": "flash"}, "'flash' is none of single_headed, multi_head"),
        ({"attention_layers": [4]}, "not all among the 4 blocks"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change, needle):
    with pytest.raises(ValueError, match=needle):
        ShaRnnConfig(**change)


def test_a_configuration_survives_saving(tmp_path):
    config = byte_model_config(hidden_size=32, boom_size=64, attention_layers=[0, 3], memory_size=7, input_dropout=0.0)
    config.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(again, ShaRnnConfig)
    assert again.to_diff_dict() | {"_name_or_path": ""} == config.to_diff_dict() | {"_name_or_path": ""}
    assert (again.attention_layers, again.memory_size, again.input_dropout) == ([0, 3], 7, 0.0)


def test_a_byte_model_has_a_symbol_for_every_byte_and_looks_back_alone():
    config = byte_model_config(hidden_size=32, boom_size=64)
    assert (config.vocab_size, config.bidirectional, config.causal) == (256, False, True)
