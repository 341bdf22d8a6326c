import hashlib
import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from conftest import NAMES, make_document, tiny_mobilebert
from encoder_folders import FAMILIES, LONGEST, write_encoder
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForTokenClassification,
    GPT2Config,
    GPT2Model,
    MobileBertConfig,
    T5Config,
    T5EncoderModel,
)
from transformers import MobileBertForTokenClassification as PlainMobileBert

from pii_kit.files import KitError
from pii_kit.lexicon import N_FEATURES, N_ROWS
from pii_kit.models import encoder
from pii_kit.models.encoder import (
    EncoderForTokenClassification,
    fingerprint_weights,
    load_pretrained,
    longest_window,
)
from pii_kit.models.network import flops, linear_parameters, load_model, save_model
from pii_kit.pieces import NEWLINE

LABELS = {name: NAMES[name] for name in ("id2label", "label2id")}


def batch(n_rows=3, n_pieces=20, n_words=250):
    generator = torch.Generator().manual_seed(0)
    return {
        "input_ids": torch.randint(6, n_words, (n_rows, n_pieces), generator=generator),
        "feature_ids": torch.randint(0, N_ROWS, (n_rows, n_pieces, N_FEATURES), generator=generator),
    }


def load(folder, **settings):
    return load_pretrained(folder, **{"n_features": N_ROWS, "labels": LABELS, **settings})


@pytest.fixture(scope="module")
def folder_of(documents, tmp_path_factory):
    """A function from a family to the folder of a small pretrained encoder, not to be changed."""
    root = tmp_path_factory.mktemp("encoders")
    return lambda family: root / family if (root / family).exists() else write_encoder(family, documents, root / family)


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def copied(folder_of, tmp_path):
    """A folder with a BERT, to be damaged."""
    return shutil.copytree(folder_of("bert"), tmp_path / "encoder")


@torch.no_grad()
def test_padding_never_changes_a_probability(family, folder_of):
    """For any piece and feature in the padding, because training masks pieces there too."""
    (model, _), inputs = load(folder_of(family)), batch()
    for weight in model.eval().parameters():
        weight.add_(torch.randn_like(weight) * 0.1)
    lengths = [20, 13, 2]
    mask = (torch.arange(20) < torch.tensor(lengths)[:, None]).long()
    together = model(**inputs, attention_mask=mask).logits.softmax(-1)
    for row, length in enumerate(lengths):
        alone = model(**{name: ids[row : row + 1, :length] for name, ids in inputs.items()}).logits[0].softmax(-1)
        torch.testing.assert_close(together[row, :length], alone, atol=1e-5, rtol=1e-4)
    assert together.std() > 1e-3


@torch.no_grad()
def test_a_new_tagger_computes_what_the_stored_encoder_computes(family, folder_of):
    """Features change nothing before training."""
    (model, tokenizer), inputs = load(folder_of(family)), batch()
    plain = AutoModel.from_pretrained(folder_of(family)).eval()
    expected = plain(input_ids=inputs["input_ids"]).last_hidden_state
    torch.testing.assert_close(model.eval()(**inputs).logits, model.classifier(expected), atol=1e-5, rtol=1e-4)
    assert tokenizer.n_pieces <= model.encoder.get_input_embeddings().num_embeddings
    assert model.classifier.weight.std() > 0 and model.config.id2label == LABELS["id2label"]


def test_features_learn(family, folder_of):
    model, _ = load(folder_of(family))
    model.train()(**batch()).logits.log_softmax(-1)[..., 1].sum().backward()
    assert model.feature_embedding.weight.grad.any()
    assert not [name for name, weight in model.named_parameters() if weight.grad is None]


@torch.no_grad()
def test_saving_and_loading_keeps_every_weight_and_the_logits(family, folder_of, tmp_path):
    model, _ = load(folder_of(family))
    torch.nn.init.normal_(model.feature_embedding.weight)
    save_model(tmp_path, model.eval())
    for again in (load_model(tmp_path), AutoModelForTokenClassification.from_pretrained(tmp_path)):
        assert type(again) is EncoderForTokenClassification and type(again.encoder) is type(model.encoder)
        weights, loaded = model.state_dict(), again.state_dict()
        assert weights.keys() == loaded.keys() and all(torch.equal(weights[name], loaded[name]) for name in weights)
        assert again.config.to_diff_dict()["encoder"] == model.config.to_diff_dict()["encoder"]
        torch.testing.assert_close(again.eval()(**batch()).logits, model(**batch()).logits)


def test_the_longest_window_is_one_that_the_encoder_reads_and_its_operations_are_counted(family, folder_of):
    model, _ = load(folder_of(family))
    longest, linear = longest_window(model), 2 * 32 * linear_parameters(model)
    assert longest == LONGEST[family] and 0.8 * linear < flops(model, n_pieces=32) < 6 * linear
    with torch.no_grad():
        assert model(**batch(n_pieces=longest or 200)).logits.isfinite().all()


@torch.no_grad()
def test_without_features_the_small_mobilebert_is_transformers_own_model():
    ours = tiny_mobilebert(n_features=0)
    config = MobileBertConfig(**ours.config.encoder.to_dict())
    config.num_labels = 15
    plain = PlainMobileBert(config).eval()
    weights = {name.replace("encoder.", "mobilebert.", 1): value for name, value in ours.state_dict().items()}
    plain.load_state_dict(weights)
    torch.testing.assert_close(ours(**batch()).logits, plain(input_ids=batch()["input_ids"]).logits)


@torch.no_grad()
@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "deberta-v2"])
def test_an_added_newline_starts_at_the_mean_of_the_stored_rows(family, folder_of):
    model, tokenizer = load(folder_of(family))
    stored = AutoModel.from_pretrained(folder_of(family)).get_input_embeddings().weight
    rows, newline = model.encoder.get_input_embeddings().weight, tokenizer.tokenizer.token_to_id(NEWLINE)
    assert torch.equal(rows[:newline], stored[:newline])
    torch.testing.assert_close(rows[newline], stored[:newline].mean(0))
    assert newline in tokenizer.cut(make_document("a\nb")).ids
    assert len(rows) == max(len(stored), newline + 1) == model.config.encoder.vocab_size


@torch.no_grad()
@pytest.mark.parametrize("family", ["roberta", "modernbert"])
def test_a_byte_level_vocabulary_stays_as_it_is(family, folder_of):
    model, tokenizer = load(folder_of(family))
    stored = AutoModel.from_pretrained(folder_of(family)).get_input_embeddings().weight
    assert torch.equal(model.encoder.get_input_embeddings().weight, stored)
    assert tokenizer.tokenizer.token_to_id(NEWLINE) is None


def as_bin(folder):
    """Store the weights as folders on the hub did before safetensors."""
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def test_weights_of_a_bin_file_are_those_of_safetensors(folder_of, copied):
    (stored, _), (model, _) = load(folder_of("bert"), hidden_dropout_prob=0.3), load(as_bin(copied))
    weights = model.encoder.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in stored.encoder.state_dict().items())
    assert stored.dropout.p == stored.encoder.encoder.layer[0].output.dropout.p == 0.3 != model.dropout.p
    digest = hashlib.sha256((copied / "pytorch_model.bin").read_bytes()).hexdigest()
    assert fingerprint_weights(copied) == digest != fingerprint_weights(folder_of("bert"))


class Shell:
    def __reduce__(self):
        return Path.touch, (Path(STOLEN[0]),)


STOLEN = [""]


def test_code_in_a_bin_file_is_never_run(copied, tmp_path):
    STOLEN[0] = str(tmp_path / "stolen")
    as_bin(copied)
    (copied / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Shell()}))
    with pytest.raises(KitError, match=f"{copied}: cannot be loaded: Weights only load failed"):
        load(copied)
    assert not Path(STOLEN[0]).exists()


def test_a_vocabulary_of_sentencepiece_says_what_to_install(folder_of, tmp_path, monkeypatch):
    """Published DeBERTa-v3 folders hold no tokenizer.json."""
    copy = shutil.copytree(folder_of("deberta-v2"), tmp_path / "encoder")
    (copy / "tokenizer.json").unlink()
    (copy / "spm.model").write_bytes(b"a model")
    monkeypatch.setattr(encoder.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(KitError, match="pip install sentencepiece"):
        load(copy)


def remove_a_weight(folder):
    weights = load_file(folder / "model.safetensors")
    del weights[next(name for name in weights if "encoder" in name)]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def make_a_weight_nan(folder):
    weights = load_file(folder / "model.safetensors")
    next(value for name, value in weights.items() if "encoder" in name)[0] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def remove_the_vocabulary(folder):
    for name in ("vocab.txt", "tokenizer.json"):
        (folder / name).unlink()


def make_the_tokenizer_panic(folder):
    """tokenizers trusts that ids of its trie are bytes of one piece, and panics."""
    content = json.loads((folder / "tokenizer.json").read_text())
    content["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "/////w=="}
    (folder / "tokenizer.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "needle"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot be loaded: .*no file named model.safetensors"),
        (remove_a_weight, "cannot be loaded: the file of weights lacks 1 of them"),
        (make_a_weight_nan, "cannot be loaded: weights are not finite"),
        (remove_the_vocabulary, r"cannot be loaded: the vocabulary has \d+ pieces, expected about 297"),
        (make_the_tokenizer_panic, "cannot be loaded"),
    ],
)
def test_a_damaged_folder_is_an_error_of_one_line(damage, needle, copied):
    """transformers alone would fill missing weights with random numbers, and take a vocabulary of five pieces."""
    damage(copied)
    with pytest.raises(KitError, match=f"{copied}: {needle}") as error:
        load(copied)
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("model", "needle"),
    [
        (
            GPT2Model(GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=400)),
            "'gpt2', which reads from left to right",
        ),
        (T5EncoderModel(T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=1, vocab_size=400)), ""),
    ],
    ids=["GPT-2", "T5"],
)
def test_a_model_that_is_no_encoder_is_refused(model, needle, folder_of, tmp_path):
    shutil.copytree(folder_of("bert"), tmp_path, dirs_exist_ok=True)
    model.save_pretrained(tmp_path)
    with pytest.raises(KitError, match=f"{tmp_path}: .*{needle}"):
        load(tmp_path)


def test_an_encoder_that_padding_changes_is_refused(folder_of, monkeypatch):
    def forward(self, input_ids, **_):
        sums = input_ids.sum(1, keepdim=True)[..., None].float()
        return encoder.TokenClassifierOutput(logits=sums.expand(1, input_ids.shape[1], 15))

    monkeypatch.setattr(EncoderForTokenClassification, "forward", forward)
    with pytest.raises(KitError, match="type 'bert', which does not work here: padding changes its predictions"):
        load(folder_of("bert"))


@pytest.mark.parametrize("weights", ["pii-kit-tests/nowhere", "google/mobilebert-uncased"])
def test_weights_that_are_not_on_this_machine_are_an_error_that_tells_how_to_attach_them(weights):
    """The tests run with the hub's own switch HF_HUB_OFFLINE, so nothing waits for a network."""
    with pytest.raises(KitError, match=rf"{weights}: not on this machine.*Add input.*--weights FOLDER") as error:
        load(weights)
    assert ("--weights random" in str(error.value)) == weights.startswith("google")


@torch.no_grad()
def test_norms_folded_for_export_compute_the_same_and_a_gain_of_zero_is_not_divided_by():
    model = tiny_mobilebert()
    for weight in model.parameters():
        weight.add_(torch.randn_like(weight) * 0.1)
    model.encoder.encoder.layer[0].attention.output.LayerNorm.weight[3] = 0
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    folded = model.for_export()
    pieces = torch.arange(24).view(2, 12)
    torch.testing.assert_close(folded(pieces).logits, model(pieces).logits)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
