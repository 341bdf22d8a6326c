"""A run is exported fold by fold, whole or not at all."""

import json

import numpy as np
import pytest

from pii_kit.__main__ import main
from pii_kit.documents import write_documents
from pii_kit.files import KitError
from pii_kit.predict import fold_folders
from pii_kit.sample import make_documents
from pii_kit.training.ensemble import export_run
from pii_kit.training.runs import save_tagger

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


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


def test_what_cannot_be_exported_is_one_clear_line(sha_rnn_tagger, tmp_path):
    save_tagger(tmp_path / "run", sha_rnn_tagger)
    with pytest.raises(KitError, match="exists already; choose a new folder"):
        export_run(tmp_path / "run", tmp_path / "run")
    with pytest.raises(KitError, match="not a run folder"):
        export_run(tmp_path / "nowhere", tmp_path / "exported")
    export_run(tmp_path / "run", tmp_path / "exported")
    with pytest.raises(KitError, match="is exported already"):
        export_run(tmp_path / "exported", tmp_path / "again")


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
