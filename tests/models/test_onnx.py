import builtins

import pytest
import torch

from pii_kit.files import KitError
from pii_kit.training.ensemble import export_tagger
from pii_kit.training.runs import load_tagger, save_tagger

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


def test_an_exported_model_takes_any_batch_and_length(sha_rnn_tagger, tmp_path):
    save_tagger(tmp_path / "run", sha_rnn_tagger)
    export_tagger(tmp_path / "run", tmp_path / "exported")
    exported = load_tagger(tmp_path / "exported").model
    assert exported.to("cpu").eval() is exported and exported.config.num_labels == 15
    for shape in ((1, 1), (2, 65), (9, 3)):
        windows = {
            "input_ids": torch.randint(300, shape),
            "attention_mask": torch.ones(shape, dtype=torch.long),
            "casing_ids": torch.randint(6, shape),
        }
        with torch.inference_mode():
            expected = sha_rnn_tagger.model(**windows).logits
        torch.testing.assert_close(exported(**windows).logits, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("damage", ["cut short", "not ONNX"])
def test_a_damaged_export_is_an_error_that_names_the_file(damage, sha_rnn_tagger, tmp_path):
    save_tagger(tmp_path / "run", sha_rnn_tagger)
    export_tagger(tmp_path / "run", tmp_path / "exported")
    path = tmp_path / "exported" / "tagger" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-200] if damage == "cut short" else b"hello")
    with pytest.raises(KitError, match=r"model\.onnx: cannot be loaded") as error:
        load_tagger(tmp_path / "exported")
    assert "\n" not in str(error.value)


def test_without_onnxruntime_the_error_says_what_to_install(sha_rnn_tagger, tmp_path, monkeypatch):
    save_tagger(tmp_path / "run", sha_rnn_tagger)
    export_tagger(tmp_path / "run", tmp_path / "exported")

    def refuse(name, *args, original=builtins.__import__, **kwargs):
        if name == "onnxruntime":
            raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(KitError, match="pip install onnxruntime"):
        load_tagger(tmp_path / "exported")
