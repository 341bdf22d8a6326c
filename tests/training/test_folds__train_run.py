import json

import pytest
from conftest import make_document

from pii_kit.augment import AugmentConfig
from pii_kit.data import split_documents
from pii_kit.files import KitError
from pii_kit.training import config as presets
from pii_kit.training import folds as train_run
from pii_kit.training.config import PRESETS, Preset, TrainConfig
from pii_kit.training.folds import build, train_preset
from pii_kit.training.runs import load_tagger

TINY = TrainConfig(epochs=1, batch_size=8, window_size=64, overlap=8)


@pytest.fixture
def tiny_presets(monkeypatch):
    """Presets that train in seconds, in place of the real ones."""
    sizes = {"hidden_size": 16, "boom_size": 32, "num_hidden_layers": 1, "attention_layers": [0]}
    monkeypatch.setattr(presets, "PRESETS", {"sha_rnn": {"cpu": Preset(n_pieces=300, model=sizes, train=TINY)}})


def test_a_finished_run_says_how_it_went_and_rebuilds_its_tagger(tiny_presets, documents, tmp_path):
    result = train_preset("sha_rnn", documents, tmp_path / "run", preset="cpu", seed=4)
    assert result == json.loads((tmp_path / "run" / "result.json").read_text())
    tagger = load_tagger(tmp_path / "run")
    assert result["parameters"] == tagger.model.num_parameters()
    assert result["o_threshold"] == tagger.o_threshold
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    assert manifest["validation"] == [doc.document for doc in split_documents(documents, seed=4)[1]]


def test_resuming_a_finished_run_leaves_it_as_it_is(tiny_presets, documents, tmp_path):
    result = train_preset("sha_rnn", documents, tmp_path, preset="cpu")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert train_preset("sha_rnn", documents, tmp_path, preset="cpu", resume=True) == result
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_run_killed_before_its_first_checkpoint_starts_over(tiny_presets, documents, tmp_path):
    whole = train_preset("sha_rnn", documents, tmp_path / "whole", preset="cpu")
    (tmp_path / "killed").mkdir()
    for name in ("run.json", "tokenizer.json"):
        (tmp_path / "killed" / name).write_bytes((tmp_path / "whole" / name).read_bytes())
    again = train_preset("sha_rnn", documents, tmp_path / "killed", preset="cpu", resume=True)
    assert (again["loss"], again["f5"]) == (whole["loss"], whole["f5"])


@pytest.mark.parametrize(
    ("change", "needle"),
    [
        ({"epochs": 2}, r"train\.epochs was 1, now 2"),
        ({"seed": 9}, r"train\.seed was 0, now 9"),
        ({"augment": AugmentConfig()}, r"train\.augment\.swap_share was None, now 1\.0"),
    ],
)
def test_resuming_with_other_settings_is_refused_by_name(tiny_presets, documents, tmp_path, change, needle):
    train_preset("sha_rnn", documents, tmp_path, preset="cpu")
    with pytest.raises(KitError, match=needle):
        train_preset("sha_rnn", documents, tmp_path, preset="cpu", resume=True, **change)


def test_resuming_with_other_essays_is_refused(tiny_presets, documents, tmp_path):
    train_preset("sha_rnn", documents, tmp_path, preset="cpu")
    with pytest.raises(KitError, match="data was"):
        train_preset("sha_rnn", documents[:-1], tmp_path, preset="cpu", resume=True)


def test_a_second_run_in_the_same_folder_is_refused(tiny_presets, documents, tmp_path):
    train_preset("sha_rnn", documents, tmp_path, preset="cpu")
    with pytest.raises(KitError, match="holds a run already"):
        train_preset("sha_rnn", documents, tmp_path, preset="cpu")


def test_names_that_are_not_offered_are_refused_with_those_that_are(documents, tmp_path):
    with pytest.raises(KitError, match="model 'gpt' is none of sha_rnn, mobilebert"):
        train_preset("gpt", documents, tmp_path)
    with pytest.raises(KitError, match="preset 'huge' of sha_rnn is none of cpu, seed"):
        train_preset("sha_rnn", documents, tmp_path, preset="huge")


def test_essays_without_any_pii_still_train(tiny_presets, tmp_path):
    plain = [make_document(f"Essay number {number} says nothing.", number, labels={}) for number in range(10)]
    result = train_preset("sha_rnn", plain, tmp_path, preset="cpu")
    assert result["tp"] == result["fn"] == 0


def test_published_weights_that_are_out_of_reach_are_said_in_plain_words(documents, monkeypatch, caplog):
    monkeypatch.setattr(train_run, "find_weights", lambda folder: None)
    preset = PRESETS["mobilebert"]["published"]
    small = {**preset.model, "num_hidden_layers": 1, "hidden_size": 32, "intra_bottleneck_size": 32}
    build("mobilebert", Preset(n_pieces=300, model=small, train=TINY, published=True), documents, None, None)
    assert "starts from random weights" in caplog.text


def test_mobilebert_is_not_trained_in_fp16(documents, tmp_path):
    with pytest.raises(KitError, match="overflows in fp16"):
        train_preset("mobilebert", documents, tmp_path, preset="cpu", mixed_precision="fp16")
