import json

import pytest
import torch
from conftest import tiny_language_model, tiny_mobilebert, tiny_sha_rnn
from safetensors.torch import load_file, save_file

from pii_kit.files import KitError
from pii_kit.models.encoder import EncoderConfig, EncoderForTokenClassification
from pii_kit.models.network import flops, linear_parameters, load_model, save_model


def test_mobilebert_has_the_counts_that_the_original_projects_profiler_printed():
    sizes = {"model_type": "mobilebert", "vocab_size": 128000, "max_position_embeddings": 1024}
    with torch.device("meta"):
        model = EncoderForTokenClassification(EncoderConfig(encoder=sizes, num_labels=13))
    assert model.num_parameters() == 37_327_885
    assert linear_parameters(model) == 20_349_965


@pytest.mark.parametrize(("bidirectional", "n_pieces"), [(True, 10), (False, 33)])
def test_the_operations_of_a_small_sha_rnn_are_those_worked_by_hand(bidirectional, n_pieces):
    # Two blocks, hidden 8, Boom 16, 15 labels; the second block attends.
    model = tiny_sha_rnn(hidden_size=8, boom_size=16, attention_layers=[1], bidirectional=bidirectional)
    lstm = 2 * 4 * 4 * (8 + 4) if bidirectional else 4 * 8 * (8 + 8)
    boom, query, overparam, classifier = 8 * 16, 8 * 8, 8 * 16, 8 * 15
    # The overparam layer runs on the value gate, which is one row however many pieces there are.
    linear = n_pieces * (2 * boom + query + classifier) + overparam
    attention = 2 * n_pieces**2 * 8
    assert flops(model, n_pieces=n_pieces) == 2 * (2 * n_pieces * lstm + linear + attention)


@pytest.mark.parametrize("build", [tiny_sha_rnn, tiny_mobilebert, tiny_language_model])
def test_a_saved_model_is_loaded_with_equal_weights_in_memory_of_its_own(build, tmp_path):
    model, options = build(), {"language_model": build is tiny_language_model}
    save_model(tmp_path, model)
    loaded = load_model(tmp_path, **options)
    assert type(loaded) is type(model)
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight)
    with torch.no_grad():
        for weight in loaded.parameters():
            weight.zero_()  # a tensor mapped from the file would be read-only, or change it
    assert any(weight.any() for weight in load_model(tmp_path, **options).parameters())


def change_config(folder, **fields):
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | fields))


def change_weight(folder, value):
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"][3] = value
    save_file(weights, folder / "model.safetensors")


DAMAGES = {
    "cut short": (lambda folder: (folder / "model.safetensors").write_bytes(b"cut"), "cannot be loaded: .*header"),
    "other sizes": (lambda folder: tiny_sha_rnn(hidden_size=8).config.save_pretrained(folder), "size mismatch"),
    "not JSON": (lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe"), "cannot be loaded"),
    "no type": (lambda folder: (folder / "config.json").write_text("{}"), "names a model_type; expected a folder"),
    "unknown type": (lambda folder: change_config(folder, model_type="new"), "model_type is 'new'; .*pip install -U"),
    "nonsense": (lambda folder: change_config(folder, hidden_size="\x1b[31mwide"), "cannot be loaded"),
    "code": (lambda folder: change_config(folder, auto_map={"AutoConfig": "code.New"}), "auto_map.*never run"),
    "NaN": (lambda folder: change_weight(folder, float("nan")), "weights are not finite, such as classifier.bias"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_an_error_of_one_line_that_names_it(damage, tmp_path):
    save_model(tmp_path, tiny_sha_rnn())
    change, needle = DAMAGES[damage]
    change(tmp_path)
    with pytest.raises(KitError, match=f"{tmp_path}.*{needle}") as error:
        load_model(tmp_path)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("build", [tiny_sha_rnn, tiny_mobilebert])
def test_kernels_that_a_folder_asks_for_are_not_loaded(build, tmp_path):
    """transformers would download and run the code of "owner/kernel"."""
    save_model(tmp_path, build())
    content = json.loads((tmp_path / "config.json").read_text())
    for part in (content, content.get("encoder", {})):
        part |= {"attn_implementation": "owner/kernel", "experts_implementation": "owner/kernel"}
    (tmp_path / "config.json").write_text(json.dumps(content))
    model = load_model(tmp_path)
    for module in model.modules():
        assert getattr(getattr(module, "config", None), "_attn_implementation", None) in (None, "eager", "sdpa")
