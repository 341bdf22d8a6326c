import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import tiny_mobilebert, tiny_sha_rnn

from pii_kit.__main__ import main
from pii_kit.data import write_documents
from pii_kit.files import KitError
from pii_kit.models.onnx import OnnxModel
from pii_kit.predict import predict_documents
from pii_kit.training import ensemble as export
from pii_kit.training.ensemble import export_tagger
from pii_kit.training.runs import load_tagger, save_tagger

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

MODELS = {
    "SHA-RNN": ("sha_rnn_tagger", tiny_sha_rnn, {}),
    "no attention": ("sha_rnn_tagger", tiny_sha_rnn, {"attention_layers": []}),
    "two heads": ("sha_rnn_tagger", tiny_sha_rnn, {"attention_layers": [0, 1], "num_attention_heads": 2}),
    "multi-head": ("sha_rnn_tagger", tiny_sha_rnn, {"attention": "multi_head", "num_attention_heads": 2}),
    "causal": ("sha_rnn_tagger", tiny_sha_rnn, {"bidirectional": False, "causal": True}),
    "no casing": ("sha_rnn_tagger", tiny_sha_rnn, {"n_casings": 0}),
    "MobileBERT": ("mobilebert_tagger", tiny_mobilebert, {}),
}


@pytest.fixture(params=MODELS)
def run(request, tmp_path):
    """The run folder of a tagger whose weights are far from those at the start."""
    fixture, build, changes = MODELS[request.param]
    tagger = request.getfixturevalue(fixture)
    model = build(vocab_size=tagger.tokenizer.n_pieces, **changes)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    save_tagger(tmp_path / "run", replace(tagger, model=model))
    return tmp_path / "run"


def test_an_exported_tagger_gives_the_probabilities_of_the_run(run, documents, tmp_path):
    difference = export_tagger(run, tmp_path / "exported")
    assert 0 <= difference < 1e-4
    first, second = load_tagger(run), load_tagger(tmp_path / "exported")
    assert isinstance(second.model, OnnxModel)
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


def test_an_export_that_computes_something_else_is_not_kept(sha_rnn_tagger, tmp_path, monkeypatch):
    save_tagger(tmp_path / "run", sha_rnn_tagger)

    def write_another(tagger, path, original=export._write_model):
        other = tiny_sha_rnn(vocab_size=tagger.tokenizer.n_pieces)
        with torch.no_grad():
            other.classifier.bias.add_(0.01)
        original(replace(tagger, model=other), path)

    monkeypatch.setattr(export, "_write_model", write_another)
    with pytest.raises(KitError, match=r"not exported: a logit in ONNX Runtime is 0\.01"):
        export_tagger(tmp_path / "run", tmp_path / "exported")
    assert not list((tmp_path / "exported").iterdir())


def test_what_cannot_be_exported_is_one_clear_line(sha_rnn_tagger, tmp_path):
    save_tagger(tmp_path / "run", sha_rnn_tagger)
    with pytest.raises(KitError, match="holds a tagger already"):
        export_tagger(tmp_path / "run", tmp_path / "run")
    with pytest.raises(KitError, match="not a run folder"):
        export_tagger(tmp_path / "nowhere", tmp_path / "exported")
    export_tagger(tmp_path / "run", tmp_path / "exported")
    with pytest.raises(KitError, match="is exported already"):
        export_tagger(tmp_path / "exported", tmp_path / "again")


def test_without_the_libraries_the_error_says_what_to_install(sha_rnn_tagger, tmp_path, monkeypatch):
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(KitError, match="export needs onnx and onnxruntime"):
        export_tagger(tmp_path / "run", tmp_path / "again")
    assert not (tmp_path / "again").exists()
