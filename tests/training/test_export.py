"""A run exported to ONNX works like the run."""

import json
import shutil

import numpy as np
import pytest
from conftest import make_documents, save_tagger

from pii_kit.__main__ import main
from pii_kit.documents import write_documents
from pii_kit.files import KitError
from pii_kit.labels import LABEL_TO_ID
from pii_kit.predict import Tagger, fold_folders, load_member
from pii_kit.training.out_of_fold import (
    choose_threshold,
    export_run,
    keep_out_of_fold,
    load_out_of_fold,
    save_out_of_fold,
)

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")


def test_an_exported_run_predicts_the_same_and_has_the_same_records(cross_validated, documents, tmp_path):
    run, out = cross_validated(0)[0], tmp_path / "exported"
    assert export_run(run, out) < 1e-3
    one, other = Tagger.load(run), Tagger.load(out)
    assert (one.o_threshold, one.rules) == (other.o_threshold, other.rules)
    for (_, scores), (_, again) in zip(one.predict(documents[:4]), other.predict(documents[:4]), strict=True):
        np.testing.assert_allclose(scores, again, atol=1e-4)
    assert choose_threshold([run], documents, one.rules) == choose_threshold([out], documents, one.rules)
    assert load_out_of_fold(out).scored.keys() == load_out_of_fold(run).scored.keys()
    assert not list(out.rglob("*.pt")) and not list(out.rglob("model.safetensors"))
    shutil.rmtree(out / "fold_1")
    with pytest.raises(KitError, match=f"{out}/fold_1: not a run folder with a trained model"):
        Tagger.load(out)


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
    run, _ = cross_validated(0)
    export_run(run, tmp_path / "exported", int8=documents)
    files = sorted((tmp_path / "exported").glob("fold_*/tagger/model.onnx"))
    assert len(files) == len(fold_folders(run))
    for file in files:
        kinds = {tensor.data_type for tensor in onnx.load(file).graph.initializer if len(tensor.dims) > 1}
        assert onnx.TensorProto.INT8 in kinds
        load_member(file.parents[1])


def test_an_export_to_int8_that_misses_more_rows_is_not_kept(cross_validated, documents, tmp_path, monkeypatch):
    run = shutil.copytree(cross_validated(0)[0], tmp_path / "run")
    for fold, held in zip(fold_folders(run), load_out_of_fold(run).folds(documents), strict=True):
        right = [(document, np.eye(15)[[LABEL_TO_ID[label] for label in document.labels]]) for document in held]
        save_out_of_fold(fold, keep_out_of_fold(right))

    def nothing(taggers, documents):
        outside = np.eye(15, dtype=np.float32)[0]
        return [(document, np.tile(outside, (len(document.tokens), 1))) for document in documents]

    monkeypatch.setattr("pii_kit.training.out_of_fold.predict_documents", nothing)
    with pytest.raises(KitError, match=r"not exported: of \d+ rows out of fold .* misses \d+ in 8 bits, \d+ before"):
        export_run(run, tmp_path / "exported", int8=documents)
    for others in (make_documents(3, seed=99), []):
        with pytest.raises(KitError, match="expected the run's training essays"):
            export_run(run, tmp_path / "exported", int8=others)
    assert not (tmp_path / "exported").exists()
