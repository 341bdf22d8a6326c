"""Models in ONNX Runtime: fewer steps, the same logits."""

import builtins
import logging

import numpy as np
import onnx as onnx_format
import pytest
import torch
from conftest import tiny_language_model, tiny_mobilebert, tiny_sha_rnn

from pii_kit.files import KitError
from pii_kit.lexicon import N_FEATURES, N_ROWS
from pii_kit.models import onnx
from pii_kit.models.network import TorchNetwork
from pii_kit.models.onnx import FILE, OnnxNetwork, to_onnx, write_language_model, write_onnx
from pii_kit.predict import Tagger, load_member, save_member

MODELS = {
    "SHA-RNN": (tiny_sha_rnn, {}),
    "no attention": (tiny_sha_rnn, {"attention_layers": []}),
    "two heads": (tiny_sha_rnn, {"attention_layers": [0, 1], "num_attention_heads": 2}),
    "multi-head": (tiny_sha_rnn, {"attention": "multi_head", "num_attention_heads": 2}),
    "one direction": (tiny_sha_rnn, {"bidirectional": False}),
    "no features": (tiny_sha_rnn, {"n_features": 0}),
    "MobileBERT": (tiny_mobilebert, {}),
    "MobileBERT with layer norm": (tiny_mobilebert, {"normalization_type": "layer_norm"}),
}
SIZES = {"window_size": 64, "overlap": 16, "o_threshold": 0.9}


@torch.no_grad()
def trained(build, share=0.1, **changes):
    """A model with no parameter at its first value: new gates and biases are all alike."""
    model = build(**changes)
    for weight in model.parameters():
        weight.add_(torch.randn_like(weight) * share)
    return model


@pytest.mark.parametrize("name", MODELS)
def test_an_exported_model_computes_the_same_logits_for_any_batch_and_length(name, tmp_path):
    build, changes = MODELS[name]
    model = trained(build, **changes)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    assert 0 < write_onnx(model, tmp_path, n_pieces=400, window_size=40) < 1e-4
    kinds = [node.op_type for node in onnx_format.load(tmp_path / FILE).graph.node]
    if name == "SHA-RNN":  # both directions of a Block are one step, without copies that reverse rows
        assert kinds.count("LSTM") == 2 and not {"GatherElements", "IsNaN"} & {*kinds}
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    network = OnnxNetwork(tmp_path / FILE)
    for lengths in ([1], [15, 1, 7, 14], [3, 2] * 6, [65]):
        n_pieces = max(lengths)
        mask = (torch.arange(n_pieces) < torch.tensor(lengths)[:, None]).long()
        batch = {
            "input_ids": torch.randint(400, mask.shape),
            "attention_mask": mask,
            "feature_ids": torch.randint(N_ROWS, (*mask.shape, N_FEATURES)),
        }
        with torch.no_grad():
            expected = model(**batch).logits[mask.bool()].numpy()
        logits = network({name: tensor.numpy() for name, tensor in batch.items()})[mask.bool().numpy()]
        np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["SHA-RNN", "two heads", "MobileBERT"])
def test_weights_in_8_bits_give_nearly_the_same_probabilities(name, tmp_path):
    """With weights that are far from each other: a few large ones leave others few levels."""
    build, changes = MODELS[name]
    model = trained(build, **changes)
    assert write_onnx(model, tmp_path, n_pieces=400, window_size=40, int8=True) < 1
    kinds = {tensor.data_type for tensor in onnx_format.load(tmp_path / FILE).graph.initializer if len(tensor.dims) > 1}
    assert onnx_format.TensorProto.INT8 in kinds
    rounded = to_onnx(model, n_pieces=400, window_size=40, int8=True)
    batch = onnx._random_windows(400, shape=(1, 30))
    one, other = (torch.from_numpy(network(batch)).softmax(-1) for network in (TorchNetwork(model), rounded))
    assert 0 < (one - other).abs().mean() < 0.005 and (one - other).abs().max() < 0.25
    assert logging.getLogger("onnxruntime").isEnabledFor(logging.WARNING)


@pytest.mark.parametrize(
    "changes",
    [
        {"memory_size": 12},
        {"attention_layers": []},
        {"attention_layers": [0, 1, 2], "num_attention_heads": 2},
        {"memory_size": 0},
    ],
    ids=str,
)
@torch.no_grad()
def test_an_exported_language_model_carries_its_state_through_windows_of_any_length(changes, tmp_path):
    model = trained(tiny_language_model, 0.3, **changes)
    assert write_language_model(model, tmp_path / FILE) < 1e-4
    session = OnnxNetwork(tmp_path / FILE).session
    names = [entry.name for entry in session.get_inputs()]
    assert [entry.name for entry in session.get_outputs()] == ["logits", *(f"next.{name}" for name in names[1:])]
    text, state = torch.randint(61, (3, 60)), {}
    carried = {name: np.zeros((3, 0, 16) if "memory" in name else (1, 3, 16), np.float32) for name in names[1:]}
    for window in text.split([1, 9, 30, 2, 13, 5], dim=1):
        _, logits, state = model(window, state=state)
        outputs = session.run(None, {"input_ids": window.numpy(), **carried})
        carried = dict(zip(names[1:], outputs[1:], strict=True))
        np.testing.assert_allclose(outputs[0], logits.numpy(), atol=1e-4, rtol=1e-4)
        for name, tensor in state.items():
            np.testing.assert_allclose(carried[name], tensor.numpy(), atol=1e-4, rtol=1e-4)


def test_an_export_with_different_logits_is_refused(tmp_path, monkeypatch):
    def write_another(model, *args, original=onnx._export):
        other = tiny_sha_rnn()
        with torch.no_grad():
            other.classifier.bias.add_(0.01)
        original(other, *args)

    monkeypatch.setattr(onnx, "_export", write_another)
    with pytest.raises(KitError, match=r"not exported: a logit in ONNX Runtime is 0\.01"):
        write_onnx(tiny_sha_rnn(), tmp_path, n_pieces=400, window_size=40)


def test_export_without_its_libraries_is_an_error_that_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(KitError, match="export needs onnx and onnxruntime"):
        write_onnx(tiny_sha_rnn(), tmp_path / "new", n_pieces=400, window_size=40)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("damage", ["cut short", "no onnxruntime"])
def test_a_file_that_cannot_be_run_is_an_error_that_names_it(damage, tmp_path, monkeypatch):
    write_onnx(tiny_sha_rnn(), tmp_path, n_pieces=400, window_size=40)
    path = tmp_path / FILE

    def refuse(name, *args, original=builtins.__import__, **kwargs):
        if name == "onnxruntime":
            raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")
        return original(name, *args, **kwargs)

    if damage == "no onnxruntime":
        monkeypatch.setattr(builtins, "__import__", refuse)
    else:
        path.write_bytes(path.read_bytes()[:-200])
    needle = "pip install onnxruntime" if damage == "no onnxruntime" else "cannot be loaded"
    with pytest.raises(KitError, match=rf"model\.onnx: .*{needle}") as error:
        OnnxNetwork(path)
    assert "\n" not in str(error.value)


def test_the_engine_is_chosen_by_name_or_by_the_number_of_tokens(sha_rnn_tagger, documents, tmp_path, monkeypatch):
    save_member(tmp_path / "fold_0", trained(lambda: sha_rnn_tagger.network.model), sha_rnn_tagger.tokenizer, **SIZES)

    def kind(**settings):
        return type(load_member(tmp_path / "fold_0", **settings).network)

    assert kind(engine="torch", n_tokens=10**9) is kind(n_tokens=99_999) is TorchNetwork
    assert kind(n_tokens=100_000) is kind(engine="onnx-int8") is OnnxNetwork
    taggers = [Tagger((load_member(tmp_path / "fold_0", engine=engine),), 0.9, (), {}) for engine in ("torch", "onnx")]
    for (_, one), (_, other) in zip(*(tagger.predict(documents) for tagger in taggers), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    monkeypatch.setattr(onnx.importlib.util, "find_spec", lambda name: None)
    assert kind(n_tokens=10**9) is TorchNetwork
