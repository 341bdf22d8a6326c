"""Any pretrained encoder is trained, resumed, used and exported as the kit's own models are."""

import time

import numpy as np
import pytest
import torch
from conftest import TINY
from encoder_folders import FAMILIES, LONGEST, write_encoder
from safetensors.torch import load_file

from pii_kit import settings
from pii_kit.files import KitError, read_json
from pii_kit.labels import OUTSIDE_ID
from pii_kit.lexicon import N_ROWS
from pii_kit.models.encoder import MOBILEBERT, fingerprint_weights
from pii_kit.predict import Tagger, load_member, predict_documents
from pii_kit.settings import PRESETS, Preset, PretrainedSizes
from pii_kit.training.out_of_fold import KEPT_BELOW, export_run, load_out_of_fold
from pii_kit.training.runs import CHECKPOINT, load_checkpoint
from pii_kit.training.start import model_of, starting_weights
from pii_kit.training.train import train

CHANGES = {"epochs": 1, "batch_size": 4, "window_size": 48, "head_rate": 5.0, "hidden_share": 0.1, "hidden_lists": 0.1}
SETTINGS = TINY.model_copy(update=CHANGES)
ENCODER = Preset(model=PretrainedSizes(n_features=N_ROWS), train=SETTINGS, published=True, n_pieces=300)


@pytest.fixture(autouse=True)
def tiny_encoders(monkeypatch):
    published = {"published": ENCODER}
    monkeypatch.setattr(settings, "PRESETS", {"encoder": {"default": ENCODER}, "mobilebert": published})


@pytest.fixture(scope="module")
def folder_of(documents, tmp_path_factory):
    """A function from a family to the folder of a small pretrained encoder, not to be changed."""
    root = tmp_path_factory.mktemp("encoders")
    return lambda family: root / family if (root / family).exists() else write_encoder(family, documents, root / family)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_from_training_to_prediction_and_export(family, folder_of, documents, tmp_path):
    some = documents[:8]
    result = train("encoder", some, tmp_path / "run", weights=folder_of(family), n_folds=2, folds=[0])
    assert result["weights"] == str(folder_of(family))
    assert result["weights_sha256"] == fingerprint_weights(folder_of(family))
    manifest = read_json(tmp_path / "run" / "run.json")
    assert (manifest["weights"], manifest["weights_sha256"]) == (result["weights"], result["weights_sha256"])
    assert manifest["preset"] == "default"

    tagger = load_member(tmp_path / "run" / "fold_0")
    stored = load_file(folder_of(family) / "model.safetensors")
    trained = tagger.network.model.state_dict()
    name = next(
        name for name in stored if name.endswith(("query.weight", "q_proj.weight", "y_proj.weight", "Wqkv.weight"))
    )
    of_ours = next(ours for ours in trained if name.endswith(ours.removeprefix("encoder.")))
    assert not torch.equal(trained[of_ours], stored[name]) and trained["feature_embedding.weight"].any()

    if family == "openai_privacy_filter":  # the exporter fixes how many pieces each expert reads
        return
    export_run(tmp_path / "run", tmp_path / "exported")
    one, other = (list(Tagger.load(tmp_path / name).predict(documents[:3])) for name in ("run", "exported"))
    for (_, ours), (_, exported) in zip(one, other, strict=True):
        assert np.isfinite(ours).all() and ours.std() > 1e-3
        np.testing.assert_allclose(ours, exported, atol=1e-4)


def test_a_training_out_of_time_has_a_tagger_and_resumes_from_weights_in_another_folder(folder_of, documents, tmp_path):
    """Bit for bit: its checkpoint holds all of the encoder."""
    how = {"n_folds": 2, "folds": [0], "changes": {"epochs": 2, "batch_size": 2}}
    weights, moved, run = folder_of("deberta-v2"), tmp_path / "moved", tmp_path / "run"
    whole = train("encoder", documents[:8], tmp_path / "whole", weights=weights, **how)
    result = train("encoder", documents[:8], run, weights=weights, deadline=time.monotonic() + 1, **how)
    assert result["n_finished"] == 0 and list(Tagger.load(run).predict(documents[:2]))
    moved.symlink_to(weights)
    result = train("encoder", documents[:8], run, weights=moved, resume=True, **how)
    assert (result["epochs"], result["weights"], result["f5"]) == (2, str(weights), whole["f5"])
    one, other = (load_file(tmp_path / name / "fold_0" / "tagger" / "model.safetensors") for name in ("whole", "run"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    (run / "result.json").unlink()
    with pytest.raises(KitError, match=r"cannot be resumed: weights_sha256 was '[0-9a-f]+\S*, now "):
        train("encoder", documents[:8], run, weights=folder_of("mobilebert"), resume=True, **how)


@pytest.mark.parametrize("mixed_precision", ["bf16", "fp16"])
def test_out_of_fold_probabilities_are_those_of_the_loaded_tagger_after_training_in_mixed_precision(
    mixed_precision, folder_of, documents, tmp_path
):
    """In fp16 the checkpoint holds the scale of the loss."""
    changes = {"mixed_precision": mixed_precision}
    train("encoder", documents[:8], tmp_path, weights=folder_of("bert"), n_folds=2, folds=[0], changes=changes)
    kept, member = load_out_of_fold(tmp_path), load_member(tmp_path / "fold_0", devices=["cpu"])
    scored = [document for document in documents[:8] if kept.holds(document)]
    for document, scores in predict_documents([member], scored):
        below = scores[:, OUTSIDE_ID] < KEPT_BELOW
        np.testing.assert_allclose(kept.of(document)[below], scores[below], atol=1e-6)
    scaler = load_checkpoint((tmp_path / "fold_0" / CHECKPOINT).parent, "cpu")["scaler"]
    assert ("scale" in scaler) == (mixed_precision == "fp16")


@pytest.mark.parametrize("family", [family for family in FAMILIES if LONGEST[family]])
def test_windows_longer_than_the_encoder_reads_are_refused_with_the_limit(family, folder_of, documents, tmp_path):
    how = {"weights": folder_of(family), "n_folds": 2, "changes": {"window_size": 81}}
    with pytest.raises(KitError, match="window_size is 81; this encoder reads at most 80 pieces"):
        train("encoder", documents[:8], tmp_path / "run", **how)
    assert not (tmp_path / "run").exists()


def test_an_encoder_needs_weights_and_published_mobilebert_has_its_own():
    for weights, expected in ((None, MOBILEBERT), ("random", "random")):
        assert starting_weights("mobilebert", PRESETS["mobilebert"]["published"], weights) == expected
    with pytest.raises(KitError, match="pass a folder or a hub name with --weights"):
        starting_weights("encoder", PRESETS["encoder"]["default"], None)


def test_published_mobilebert_is_the_same_code(folder_of, documents, tmp_path):
    how = {"weights": folder_of("mobilebert"), "n_folds": 2, "folds": [0]}
    one, other = (train(model, documents[:8], tmp_path / model, **how) for model in ("mobilebert", "encoder"))
    assert (one["f5"], one["weights_sha256"]) == (other["f5"], other["weights_sha256"])
    with pytest.raises(KitError, match="overflows in fp16"):
        train("encoder", documents[:8], tmp_path / "half", changes={"mixed_precision": "fp16"}, **how)


def test_weights_of_mobilebert_are_known_by_their_config_or_the_name_on_the_hub(tmp_path):
    for model_type in ("mobilebert", "bert"):
        (tmp_path / model_type).mkdir()
        (tmp_path / model_type / "config.json").write_text(f'{{"model_type": "{model_type}"}}')
    assert model_of(tmp_path / "mobilebert") == model_of("google/mobilebert-uncased") == "mobilebert"
    assert model_of(str(tmp_path / "bert")) == model_of("FacebookAI/roberta-base") == "encoder"
