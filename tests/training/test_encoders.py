"""Any pretrained encoder is trained, resumed, used and exported as the kit's own models are."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TINY
from encoder_folders import FAMILIES, LONGEST, write_encoder
from safetensors.torch import load_file

from pii_kit import training as presets
from pii_kit.__main__ import main
from pii_kit.documents import write_documents
from pii_kit.files import KitError, read_json
from pii_kit.labels import OUTSIDE_ID
from pii_kit.lexicon import N_ROWS
from pii_kit.models.encoder import fingerprint_weights
from pii_kit.predict import Tagger, load_member, predict_documents
from pii_kit.training import Preset, default_preset, loop
from pii_kit.training.ensemble import export_run
from pii_kit.training.folds import train_fold, train_folds
from pii_kit.training.optim import mixed_precision
from pii_kit.training.out_of_fold import KEPT_BELOW, load_out_of_fold

SETTINGS = replace(
    TINY, epochs=1, batch_size=4, window_size=48, head_rate=5.0, hidden_share=0.1, hidden_lists=0.1, keep="last"
)
ENCODER = {"encoder": {"default": Preset(model={"n_features": N_ROWS}, train=SETTINGS, published=True)}}


@pytest.fixture(autouse=True)
def tiny_encoders(monkeypatch):
    monkeypatch.setattr(presets, "PRESETS", {**presets.PRESETS, **ENCODER})


@pytest.fixture(scope="module")
def folder_of(documents, tmp_path_factory):
    """A function from a family to the folder of a small pretrained encoder, not to be changed."""
    root = tmp_path_factory.mktemp("encoders")
    return lambda family: root / family if (root / family).exists() else write_encoder(family, documents, root / family)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_from_training_to_prediction_and_export(family, folder_of, documents, tmp_path):
    some = documents[:8]
    result = train_folds("encoder", some, tmp_path / "run", weights=folder_of(family), n_folds=2, folds=[0])
    assert result["weights"] == str(folder_of(family))
    assert result["weights_sha256"] == fingerprint_weights(folder_of(family))
    manifest = read_json(tmp_path / "run" / "fold_0" / "run.json")
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

    export_run(tmp_path / "run", tmp_path / "exported")
    one, other = (list(Tagger.load(tmp_path / name).predict(documents[:3])) for name in ("run", "exported"))
    for (_, ours), (_, exported) in zip(one, other, strict=True):
        assert np.isfinite(ours).all() and ours.std() > 1e-3
        np.testing.assert_allclose(ours, exported, atol=1e-4)


class Killed(BaseException):
    """Simulates a kill: no handler of the package catches it."""


@pytest.mark.parametrize(("family", "ema_decay"), [("bert", 0.0), ("deberta-v2", 0.5), ("modernbert", 0.0)])
def test_a_killed_training_resumes_to_the_weights_of_an_unbroken_one(
    family, ema_decay, folder_of, documents, tmp_path, monkeypatch
):
    settings = {"n_folds": 2, "weights": folder_of(family), "checkpoint_steps": 4, "epochs": 2}
    settings |= {"ema_decay": ema_decay, "layer_decay": 0.8}
    whole = train_fold("encoder", documents[:8], tmp_path / "whole", **settings)
    steps = 0

    def kill_after(*args, original=loop.hide_pieces, **kwargs):
        nonlocal steps
        steps += 1
        if steps > 5:
            raise Killed
        return original(*args, **kwargs)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(loop, "hide_pieces", kill_after)
        train_fold("encoder", documents[:8], tmp_path / "broken", **settings)
    again = train_fold("encoder", documents[:8], tmp_path / "broken", **settings, resume=True)
    assert (again["loss"], again["f5"]) == (whole["loss"], whole["f5"])
    one, other = (load_file(tmp_path / name / "tagger" / "model.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    last = torch.load(tmp_path / "whole" / "checkpoint" / "pytorch_model.bin")
    is_kept = all(torch.equal(one[name], last[name]) for name in one)
    assert is_kept == (ema_decay == 0)  # else the moving average is kept, not the last weights


def test_out_of_fold_probabilities_are_those_of_the_loaded_tagger_after_training_in_bf16(
    folder_of, documents, tmp_path
):
    settings = {"n_folds": 2, "weights": folder_of("bert"), "epochs": 1, "mixed_precision": "bf16"}
    train_fold("encoder", documents[:8], tmp_path, **settings)
    kept, tagger = load_out_of_fold(tmp_path / "tagger"), load_member(tmp_path)
    scored = [document for document in documents[:8] if kept.holds(document)]
    for document, scores in predict_documents([tagger], scored):
        below = scores[:, OUTSIDE_ID] < KEPT_BELOW
        np.testing.assert_allclose(kept.of(document)[below], scores[below], atol=1e-6)


def test_bf16_is_chosen_where_the_hardware_is_faster_with_it(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    assert [mixed_precision("auto", is_encoder=one) for one in (True, False)] == ["bf16", "no"]
    assert mixed_precision("no", is_encoder=True) == "no" and mixed_precision("fp16") == "fp16"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False, "amx_bf16": False}, raising=False)
    assert mixed_precision("auto", is_encoder=True) == "no"


def test_a_training_out_of_time_has_a_tagger_and_resumes_from_weights_in_another_folder(
    folder_of, documents, tmp_path, monkeypatch
):
    settings = {"n_folds": 2, "epochs": 2, "batch_size": 2}
    monkeypatch.setattr(loop.Clock, "is_over", lambda self, _: self.deadline < float("inf"))
    run, deadline = tmp_path / "run", time.monotonic() + 1000
    weights = folder_of("bert")
    assert train_fold("encoder", documents[:8], run, weights=weights, deadline=deadline, **settings) is None
    assert list(predict_documents([load_member(run)], documents[:2]))
    moved = tmp_path / "moved"
    moved.symlink_to(weights)
    result = train_fold("encoder", documents[:8], run, weights=moved, resume=True, **settings)
    assert result["epochs"] == 2 and result["weights"] == str(weights)
    with_others = {"weights": folder_of("mobilebert"), "resume": True, **settings}
    (run / "result.json").unlink()
    with pytest.raises(KitError, match=r"cannot be resumed: weights_sha256 was '[0-9a-f]{64}', now "):
        train_fold("encoder", documents[:8], run, **with_others)


@pytest.mark.parametrize("family", FAMILIES)
def test_windows_longer_than_the_encoder_reads_are_refused_with_the_limit(family, folder_of, documents, tmp_path):
    how = {"weights": folder_of(family), "n_folds": 2, "folds": [0], "window_size": 81}
    if LONGEST[family] is None:
        assert train_folds("encoder", documents[:8], tmp_path / "run", **how)["n_models"] == 1
        return
    with pytest.raises(KitError, match="window_size is 81; this encoder reads at most 80 pieces"):
        train_folds("encoder", documents[:8], tmp_path / "run", **how)
    assert not (tmp_path / "run").exists()


def test_published_mobilebert_is_the_same_code(folder_of, documents, tmp_path, monkeypatch):
    published = {"published": replace(ENCODER["encoder"]["default"], n_pieces=300)}
    monkeypatch.setitem(presets.PRESETS, "mobilebert", published)
    how = {"preset": "published", "weights": folder_of("mobilebert"), "n_folds": 2}
    one = train_fold("mobilebert", documents[:8], tmp_path / "one", **how)
    other = train_fold("encoder", documents[:8], tmp_path / "other", **how | {"preset": "default"})
    assert (one["loss"], one["f5"], one["weights_sha256"]) == (other["loss"], other["f5"], other["weights_sha256"])
    assert default_preset("mobilebert") == "published"
    with pytest.raises(KitError, match="overflows in fp16"):
        train_fold("encoder", documents[:8], tmp_path / "half", **how | {"preset": None, "mixed_precision": "fp16"})


def test_the_command_line_trains_predicts_and_asks_for_weights(folder_of, documents, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_documents("train.json", documents[:8])
    train = "train --model encoder --data train.json --run run --fold 0"
    assert main(train.split()) == 2
    assert "pretrained weights: pass a folder or a hub name with --weights" in capsys.readouterr().err
    assert main([*train.split(), "--weights", str(folder_of("roberta"))]) == 0
    assert f"started from weights {folder_of('roberta')}" in capsys.readouterr().out
    assert main(["predict", "--run", "run", "--data", "train.json", "--out", "submission.csv"]) == 0
    assert (tmp_path / "submission.csv").read_text().startswith("row_id,document,token,label\n")
