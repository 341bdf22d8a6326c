"""SHA-RNN in ONNX Runtime: fewer steps, the same logits."""

import pytest
import torch
from conftest import tiny_sha_rnn

from pii_kit.models.export import write_onnx
from pii_kit.models.onnx import FILE, OnnxNetwork

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
VARIANTS = (
    {"attention_layers": [0, 1], "num_attention_heads": 2},
    {"attention": "multi_head", "num_attention_heads": 2},
    {"attention_layers": []},
    {"bidirectional": False},
    {"causal": True},
    {"collapsed": True},
)


@torch.no_grad()
def trained(**changes):
    """A SHA-RNN with no parameter at its first value: new gates and biases are all alike."""
    model = tiny_sha_rnn(**changes)
    for weight in model.parameters():
        weight.add_(torch.randn_like(weight) * 0.3)
    return model


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_an_exported_model_computes_the_same_logits(changes, tmp_path):
    model = trained(**changes)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    assert write_onnx(model, tmp_path, n_pieces=400, window_size=40) < 1e-4
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    pieces, lengths = torch.arange(60).view(4, 15), torch.tensor([15, 1, 7, 14])
    mask = (torch.arange(15) < lengths[:, None]).long()
    batch = {"input_ids": pieces, "attention_mask": mask, "feature_ids": torch.arange(5).expand(4, 15, 5)}
    with torch.no_grad():
        expected = model(**batch).logits
    found = torch.from_numpy(OnnxNetwork(tmp_path / FILE)({name: tensor.numpy() for name, tensor in batch.items()}))
    torch.testing.assert_close(found[mask.bool()], expected[mask.bool()], atol=1e-4, rtol=1e-4)


def test_both_directions_of_a_block_are_one_step_and_rows_are_not_reversed_by_copies(tmp_path):
    write_onnx(trained(attention_layers=[0, 1]), tmp_path, n_pieces=400, window_size=40)
    kinds = [node.op_type for node in onnx.load(tmp_path / FILE).graph.node]
    assert kinds.count("LSTM") == 2, "one for each Block"
    assert not {"GatherElements", "IsNaN"} & {*kinds}
