import builtins
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import tiny_mobilebert, tiny_sha_rnn

from pii_kit.__main__ import main
from pii_kit.documents import write_documents
from pii_kit.files import KitError
from pii_kit.lexicon import N_FEATURES, N_ROWS
from pii_kit.models import export
from pii_kit.models.network import TorchNetwork
from pii_kit.models.onnx import OnnxNetwork, n_cores
from pii_kit.predict import Tagger, fold_folders, load_member, predict_documents
from pii_kit.sample import make_documents
from pii_kit.training.ensemble import export_run
from pii_kit.training.runs import save_tagger

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

MODELS = {
    "SHA-RNN": ("sha_rnn_tagger", tiny_sha_rnn, {}),
    "no attention": ("sha_rnn_tagger", tiny_sha_rnn, {"attention_layers": []}),
    "two heads": ("sha_rnn_tagger", tiny_sha_rnn, {"attention_layers": [0, 1], "num_attention_heads": 2}),
    "multi-head": ("sha_rnn_tagger", tiny_sha_rnn, {"attention": "multi_head", "num_attention_heads": 2}),
    "causal": ("sha_rnn_tagger", tiny_sha_rnn, {"bidirectional": False, "causal": True}),
    "no features": ("sha_rnn_tagger", tiny_sha_rnn, {"n_features": 0}),
    "MobileBERT": ("mobilebert_tagger", tiny_mobilebert, {}),
    "MobileBERT with layer norm": ("mobilebert_tagger", tiny_mobilebert, {"normalization_type": "layer_norm"}),
}


@pytest.fixture(params=MODELS)
def run(request, tmp_path):
    """The run folder of a tagger with weights far from their initial values."""
    fixture, build, changes = MODELS[request.param]
    tagger = request.getfixturevalue(fixture)
    model = build(vocab_size=tagger.tokenizer.n_pieces, **changes)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    save_tagger(tmp_path / "run", replace(tagger, network=TorchNetwork(model)))
    return tmp_path / "run"


def test_an_exported_tagger_predicts_the_probabilities_of_the_run(run, documents, tmp_path):
    difference = export_run(run, tmp_path / "exported")
    assert 0 <= difference < 1e-4
    first, second = load_member(run), load_member(tmp_path / "exported")
    assert isinstance(second.network, OnnxNetwork)
    assert (second.window_size, second.overlap, second.o_threshold) == (64, 16, 0.9)
    pairs = list(zip(predict_documents([first], documents), predict_documents([second], documents), strict=True))
    assert max(np.abs(one - other).max() for (_, one), (_, other) in pairs) < 1e-4
    assert min(one.std() for (_, one), _ in pairs) > 0.01


def test_predict_takes_an_exported_folder_beside_a_run(sha_rnn_tagger, documents, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_documents("test.json", documents)
    save_tagger(tmp_path / "run", sha_rnn_tagger)
    assert main(["export", "--run", "run", "--out", "exported"]) == 0
    assert "exported: exported; logits differ by" in capsys.readouterr().out
    for runs, out in (("--run run", "a.csv"), ("--run exported", "b.csv"), ("--run run --run exported", "c.csv")):
        assert main(f"predict {runs} --data test.json --out {out}".split()) == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes() == (tmp_path / "c.csv").read_bytes()
    assert len((tmp_path / "a.csv").read_text().splitlines()) > 1
    assert json.loads((tmp_path / "exported" / "tagger" / "config.json").read_text())["model_type"] == "sha_rnn"


def test_an_export_with_different_logits_is_not_kept(sha_rnn_tagger, tmp_path, monkeypatch):
    save_tagger(tmp_path / "run", sha_rnn_tagger)

    def write_another(model, path, n_pieces, *, original=export._export):
        other = tiny_sha_rnn(vocab_size=n_pieces)
        with torch.no_grad():
            other.classifier.bias.add_(0.01)
        original(other, path, n_pieces)

    monkeypatch.setattr(export, "_export", write_another)
    with pytest.raises(KitError, match=r"not exported: a logit in ONNX Runtime is 0\.01"):
        export_run(tmp_path / "run", tmp_path / "exported")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_a_model_that_onnx_cannot_represent_is_an_error_with_the_reason(mobilebert_tagger, tmp_path, monkeypatch):
    def refuse(*_):
        raise RuntimeError("no such operation")

    save_tagger(tmp_path / "run", mobilebert_tagger)
    monkeypatch.setattr(export, "_export", refuse)
    with pytest.raises(KitError, match="not exported: ONNX cannot represent a model of type 'mobilebert': no such op"):
        export_run(tmp_path / "run", tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def test_what_cannot_be_exported_is_one_clear_line(sha_rnn_tagger, tmp_path):
    save_tagger(tmp_path / "run", sha_rnn_tagger)
    with pytest.raises(KitError, match="exists already; choose a new folder"):
        export_run(tmp_path / "run", tmp_path / "run")
    with pytest.raises(KitError, match="not a run folder"):
        export_run(tmp_path / "nowhere", tmp_path / "exported")
    export_run(tmp_path / "run", tmp_path / "exported")
    with pytest.raises(KitError, match="is exported already"):
        export_run(tmp_path / "exported", tmp_path / "again")


def test_export_without_its_libraries_is_an_error_that_says_what_to_install(sha_rnn_tagger, tmp_path, monkeypatch):
    save_tagger(tmp_path / "run", sha_rnn_tagger)
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(KitError, match="export needs onnx and onnxruntime"):
        export_run(tmp_path / "run", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_an_exported_model_takes_any_batch_and_length(sha_rnn_tagger, tmp_path):
    save_tagger(tmp_path / "run", sha_rnn_tagger)
    export_run(tmp_path / "run", tmp_path / "exported")
    exported, model = load_member(tmp_path / "exported").network, sha_rnn_tagger.network.model
    for shape in ((1, 1), (2, 65), (9, 3)):
        windows = {
            "input_ids": torch.randint(300, shape),
            "attention_mask": torch.ones(shape, dtype=torch.long),
            "feature_ids": torch.randint(N_ROWS, (*shape, N_FEATURES)),
        }
        with torch.inference_mode():
            expected = model(**windows).logits.numpy()
        found = exported({name: tensor.numpy() for name, tensor in windows.items()})
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-4)


def test_as_many_batches_run_at_a_time_as_there_are_cores(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert n_cores() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert 1 <= n_cores() <= 1024


@pytest.mark.parametrize("damage", ["cut short", "not ONNX"])
def test_a_damaged_model_is_an_error_that_names_the_file(damage, sha_rnn_tagger, tmp_path):
    save_tagger(tmp_path / "run", sha_rnn_tagger)
    export_run(tmp_path / "run", tmp_path / "exported")
    path = tmp_path / "exported" / "tagger" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-200] if damage == "cut short" else b"hello")
    with pytest.raises(KitError, match=r"model\.onnx: cannot be loaded") as error:
        load_member(tmp_path / "exported")
    assert "\n" not in str(error.value)


def test_a_model_without_onnxruntime_is_an_error_that_says_what_to_install(sha_rnn_tagger, tmp_path, monkeypatch):
    save_tagger(tmp_path / "run", sha_rnn_tagger)
    export_run(tmp_path / "run", tmp_path / "exported")

    def refuse(name, *args, original=builtins.__import__, **kwargs):
        if name == "onnxruntime":
            raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(KitError, match="pip install onnxruntime"):
        load_member(tmp_path / "exported")


@pytest.mark.parametrize(("engine", "most"), [("onnx", 1e-4), ("onnx-int8", 0.05)])
def test_engines_give_the_probabilities_of_pytorch(engine, most, run, documents):
    """Those of int8 nearly, with weights that are far from each other: a few large ones leave others few levels."""
    torch_tagger, converted = Tagger.load(run), Tagger.load(run, engine=engine)
    assert isinstance(converted.members[0].network, OnnxNetwork)
    pairs = list(zip(torch_tagger.predict(documents), converted.predict(documents), strict=True))
    differences = np.concatenate([np.abs(one - other) for (_, one), (_, other) in pairs])
    assert 0 < differences.mean() < most / 10 and differences.max() < 5 * most


def test_the_engine_is_chosen_by_the_number_of_tokens(sha_rnn_tagger, tmp_path, monkeypatch):
    save_tagger(tmp_path, sha_rnn_tagger)

    def kind(**settings):
        return type(load_member(tmp_path, **settings).network)

    assert kind(engine="torch", n_tokens=10**9) is kind(n_tokens=99_999) is TorchNetwork
    assert kind(n_tokens=100_000) is OnnxNetwork
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    assert kind(n_tokens=10**9) is TorchNetwork


def test_an_export_to_int8_rounds_the_weights_of_each_fold(cross_validated, documents, tmp_path):
    import onnx as onnx_format

    run, _ = cross_validated(0)
    export_run(run, tmp_path / "exported", int8=documents)
    files = sorted((tmp_path / "exported").glob("fold_*/tagger/model.onnx"))
    assert len(files) == len(fold_folders(run))
    for file in files:
        kinds = {tensor.data_type for tensor in onnx_format.load(file).graph.initializer if len(tensor.dims) > 1}
        assert onnx_format.TensorProto.INT8 in kinds


def test_an_export_to_int8_that_misses_more_rows_is_not_kept(cross_validated, documents, tmp_path, monkeypatch):
    run, result = cross_validated(0)

    def nothing(taggers, documents):
        outside = np.eye(15, dtype=np.float32)[0]
        return [(document, np.tile(outside, (len(document.tokens), 1))) for document in documents]

    monkeypatch.setattr("pii_kit.training.ensemble.predict_documents", nothing)
    n_rows = result["tp"] + result["fn"]
    with pytest.raises(
        KitError, match=rf"not exported: of {n_rows} rows out of fold .* misses \d+ in 8 bits, \d+ before"
    ):
        export_run(run, tmp_path / "exported", int8=documents)
    assert not (tmp_path / "exported").exists()
    for others in (make_documents(3, seed=99), []):
        with pytest.raises(KitError, match="expected the run's training essays"):
            export_run(run, tmp_path / "exported", int8=others)
