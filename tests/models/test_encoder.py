import json

import pytest
import torch
from conftest import tiny_mobilebert
from safetensors.torch import load_file, save_file
from transformers import AutoModelForTokenClassification, BertTokenizer
from transformers import MobileBertForTokenClassification as PlainMobileBert

from pii_kit.files import KitError
from pii_kit.models import encoder as mobilebert
from pii_kit.models.encoder import MobileBertForTokenClassification, load_published
from pii_kit.pieces import CASINGS, NEWLINE, train_word_pieces


def batch(n_rows=3, n_pieces=20):
    generator = torch.Generator().manual_seed(0)
    return {
        "input_ids": torch.randint(6, 400, (n_rows, n_pieces), generator=generator),
        "casing_ids": torch.randint(0, 6, (n_rows, n_pieces), generator=generator),
    }


@torch.no_grad()
def test_padding_never_changes_the_logits_of_a_real_piece():
    """For any piece and casing in the padding, because training masks pieces there too."""
    model, inputs = tiny_mobilebert(), batch()
    torch.nn.init.normal_(model.casing_embedding.weight)
    lengths = [20, 13, 2]
    mask = (torch.arange(20) < torch.tensor(lengths)[:, None]).long()
    together = model(**inputs, attention_mask=mask).logits
    for row, length in enumerate(lengths):
        alone = model(**{name: ids[row : row + 1, :length] for name, ids in inputs.items()}).logits[0]
        torch.testing.assert_close(together[row, :length], alone, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_casing_changes_nothing_before_training():
    model, inputs = tiny_mobilebert(), batch()
    assert torch.equal(model(**inputs).logits, model(input_ids=inputs["input_ids"]).logits)


def test_casing_learns():
    model = tiny_mobilebert().train()
    model(**batch(), labels=torch.ones(3, 20, dtype=torch.long)).loss.backward()
    assert model.casing_embedding.weight.grad.any()


@torch.no_grad()
def test_without_casing_it_is_transformers_own_model(tmp_path):
    ours = tiny_mobilebert(n_casings=0)
    ours.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"model_type": "mobilebert"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    plain = PlainMobileBert.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(ours(**batch()).logits, plain(input_ids=batch()["input_ids"]).logits)


@torch.no_grad()
def test_saving_and_loading_keeps_every_weight_and_the_logits(tmp_path):
    model = tiny_mobilebert()
    torch.nn.init.normal_(model.casing_embedding.weight)
    model.save_pretrained(tmp_path)
    again = AutoModelForTokenClassification.from_pretrained(tmp_path)
    assert type(again) is MobileBertForTokenClassification
    weights, loaded = model.state_dict(), again.state_dict()
    assert weights.keys() == loaded.keys() and all(torch.equal(weights[name], loaded[name]) for name in weights)
    torch.testing.assert_close(again(**batch()).logits, model(**batch()).logits)


@pytest.fixture
def published(tmp_path, documents):
    """A folder like the published one: MobileBERT without casing features, and a vocabulary without newlines."""
    folder = tmp_path / "mobilebert-uncased"
    tokenizer = train_word_pieces(documents, n_pieces=300).tokenizer
    words = [word for word in sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get) if word != NEWLINE]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    tiny = tiny_mobilebert(vocab_size=len(words), n_casings=0)
    PlainMobileBert(mobilebert.MobileBertConfig(**_sizes(tiny.config))).save_pretrained(folder)
    return folder


def _sizes(config) -> dict:
    names = ("vocab_size", "hidden_size", "embedding_size", "intra_bottleneck_size", "intermediate_size")
    names += ("num_hidden_layers", "num_attention_heads", "num_feedforward_networks")
    return {name: getattr(config, name) for name in names}


@torch.no_grad()
def test_published_weights_are_kept_and_newlines_get_a_piece(published):
    model, tokenizer = load_published(str(published), n_casings=len(CASINGS), num_labels=15)
    plain = PlainMobileBert.from_pretrained(published)
    n_words = plain.config.vocab_size
    assert tokenizer.tokenizer.token_to_id(NEWLINE) == n_words
    assert model.get_input_embeddings().num_embeddings == n_words + 1
    assert torch.equal(model.get_input_embeddings().weight[:n_words], plain.get_input_embeddings().weight)
    loaded, stored = model.mobilebert.encoder.state_dict(), plain.mobilebert.encoder.state_dict()
    assert all(torch.equal(loaded[name], stored[name]) for name in stored)
    assert not model.casing_embedding.weight.any()
    assert model.classifier.out_features == 15


@pytest.mark.parametrize(
    ("content", "needle"),
    [
        (b"[]", "no MobileBERT there; expected an object with model_type 'mobilebert', found 'a list'"),
        (b"not JSON", "cannot be read as JSON"),
        (b"\xff\xfe", "cannot be read as JSON"),
        (b'{"model_type": "bert"}', "expected an object with model_type 'mobilebert', found 'bert'"),
        (b"{}", "found None"),
        (None, "cannot be read as JSON"),
    ],
)
def test_a_folder_with_another_config_is_an_error_that_names_the_file(content, needle, tmp_path):
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(KitError, match=rf"config\.json: .*{needle}"):
        load_published(tmp_path)


def remove_a_weight(folder):
    weights = load_file(folder / "model.safetensors")
    del weights[next(name for name in weights if "encoder" in name)]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "needle"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "no file named model.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"cut"), "header too small"),
        (remove_a_weight, "the file of weights lacks 1 of them"),
        (lambda folder: [(folder / name).unlink() for name in ("vocab.txt", "tokenizer.json")], "the vocabulary has"),
    ],
)
def test_a_damaged_folder_is_an_error_that_tells_what_to_do(damage, needle, published):
    """transformers alone would fill missing weights with random numbers, and take a vocabulary of five pieces."""
    damage(published)
    with pytest.raises(KitError, match=f"mobilebert-uncased: cannot load .*--weights FOLDER.*{needle}") as error:
        load_published(published)
    assert "\n" not in str(error.value)


def test_weights_that_are_not_on_this_machine_are_an_error_that_tells_how_to_attach_them():
    """The tests run with the hub's own switch HF_HUB_OFFLINE, so nothing waits for a network."""
    with pytest.raises(KitError, match=r"pii-kit-tests/nowhere: cannot load .*Add input.*--weights FOLDER.*random"):
        load_published("pii-kit-tests/nowhere")
