import pytest
import torch
from conftest import tiny_language_model, tiny_mobilebert, tiny_sha_rnn
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification

from pii_kit.files import KitError
from pii_kit.models import flops, linear_parameters, load_model, save_model
from pii_kit.models.encoder import EncoderConfig, EncoderForTokenClassification


def test_mobilebert_has_the_counts_that_the_original_projects_profiler_printed():
    sizes = {"model_type": "mobilebert", "vocab_size": 128000, "max_position_embeddings": 1024}
    with torch.device("meta"):
        model = EncoderForTokenClassification(EncoderConfig(encoder=sizes, num_labels=13))
    assert model.num_parameters() == 37_327_885
    assert linear_parameters(model) == 20_349_965


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("n_pieces", [10, 33])
def test_the_operations_of_a_small_sha_rnn_are_those_worked_by_hand(bidirectional, n_pieces):
    # Two blocks, hidden 8, Boom 16, 15 labels; the second block attends.
    model = tiny_sha_rnn(hidden_size=8, boom_size=16, attention_layers=[1], bidirectional=bidirectional)
    lstm = 2 * 4 * 4 * (8 + 4) if bidirectional else 4 * 8 * (8 + 8)
    boom, query, overparam, classifier = 8 * 16, 8 * 8, 8 * 16, 8 * 15
    # The overparam layer runs on the value gate, which is one row however many pieces there are.
    linear = n_pieces * (2 * boom + query + classifier) + overparam
    attention = 2 * n_pieces**2 * 8
    assert flops(model, n_pieces=n_pieces) == 2 * (2 * n_pieces * lstm + linear + attention)


@pytest.mark.parametrize("build", [tiny_sha_rnn, tiny_mobilebert])
def test_counting_leaves_the_model_as_it_was(build):
    model, untouched = build().train(), build()
    flops(model, n_pieces=8)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    for weight, before in zip(model.parameters(), untouched.parameters(), strict=True):
        assert torch.equal(weight, before)


@pytest.mark.parametrize("build", [tiny_sha_rnn, tiny_mobilebert, tiny_language_model])
def test_a_saved_model_is_loaded_with_equal_weights_in_memory_of_its_own(build, tmp_path):
    model = build()
    save_model(tmp_path, model)
    kind = AutoModelForCausalLM if build is tiny_language_model else AutoModelForTokenClassification
    loaded = load_model(tmp_path, kind)
    assert type(loaded) is type(model)
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight)
    with torch.no_grad():
        for weight in loaded.parameters():
            weight.zero_()  # a tensor mapped from the file would be read-only, or change it
    assert any(weight.any() for weight in load_model(tmp_path, kind).parameters())


@pytest.mark.parametrize("damage", ["cut short", "missing", "other sizes"])
def test_damaged_weights_are_an_error_that_names_the_folder(damage, tmp_path):
    save_model(tmp_path, tiny_sha_rnn())
    weights = tmp_path / "model.safetensors"
    if damage == "missing":
        weights.unlink()
    elif damage == "cut short":
        weights.write_bytes(weights.read_bytes()[:-9])
    else:
        tiny_sha_rnn(hidden_size=8).config.save_pretrained(tmp_path)
    with pytest.raises(KitError, match=f"{tmp_path}: cannot be loaded") as error:
        load_model(tmp_path, AutoModelForTokenClassification)
    assert "\n" not in str(error.value)
