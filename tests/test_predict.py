"""Probabilities, labels and spans of documents and texts, and loading of runs."""

import re
import subprocess
import sys
import threading
from contextlib import nullcontext
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import make_document, tiny_mobilebert, tiny_sha_rnn

import pii_kit
from pii_kit import PiiSpan
from pii_kit.documents import document_of_text, join_tokens
from pii_kit.files import KitError, read_json, write_json
from pii_kit.labels import EMAIL, ID_NUM, LABELS, NAME_STUDENT, OUTSIDE_ID, PII_TYPES, STREET_ADDRESS, spans_of
from pii_kit.models import network
from pii_kit.models.network import TorchNetwork, precision
from pii_kit.models.onnx import write_onnx
from pii_kit.predict import Tagger, fold_folders, load_member, predict_documents, save_member
from pii_kit.rules import DEFAULT_RULES, label_document

ROOT = Path(__file__).parents[1]
SIZES = {"window_size": 64, "overlap": 16, "o_threshold": 0.9}


@pytest.fixture(params=["sha_rnn_tagger", "mobilebert_tagger"])
def member(request):
    return request.getfixturevalue(request.param)


def test_every_token_of_every_document_has_probabilities(member, documents):
    predicted = list(predict_documents([member], documents))
    assert [document for document, _ in predicted] == list(documents)
    for document, scores in predicted:
        assert scores.shape == (len(document.tokens), 15)
        np.testing.assert_allclose(scores.sum(1), 1, atol=1e-5)


def test_batches_and_their_padding_never_change_a_probability(member, documents):
    small, large = TorchNetwork(member.network.model), TorchNetwork(member.network.model)
    small.batch_pieces, large.batch_pieces = 1, 10_000
    one_by_one, together = (predict_documents([replace(member, network=of)], documents) for of in (small, large))
    for (_, one), (_, other) in zip(one_by_one, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_documents_without_tokens_and_no_documents_are_accepted(member, documents):
    empty = make_document("")
    predicted = list(predict_documents([member], [empty, documents[0], empty]))
    assert [scores.shape[0] for _, scores in predicted] == [0, len(documents[0].tokens), 0]
    assert list(predict_documents([member], [])) == []


def test_groups_and_taggers_that_overlap_are_put_together_as_they_belong(
    sha_rnn_tagger, mobilebert_tagger, documents, monkeypatch
):
    taggers = [sha_rnn_tagger, mobilebert_tagger, sha_rnn_tagger]
    expected = [scores for _, scores in predict_documents(taggers, documents)]
    monkeypatch.setattr("pii_kit.predict.DOCUMENTS_AT_A_TIME", 5)
    predicted = list(predict_documents(taggers, documents))
    assert [document for document, _ in predicted] == list(documents)
    for one, (_, other) in zip(expected, predicted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_several_devices_share_the_batches_and_change_nothing(member, documents):
    """Two replicas on the CPU stand in for two GPUs: each is used by one thread at a time."""
    model, both = member.network.model, TorchNetwork(member.network.model, ["cpu"])
    in_use, seen = [], set()

    def replica(name):
        def call(**inputs):
            assert name not in in_use
            in_use.append(name)
            seen.add(name)
            try:
                return model(**inputs)
            finally:
                in_use.remove(name)

        call.device = torch.device("cpu")
        return call

    both._free.get()
    for name in "ab":
        both._free.put(replica(name))
    both.n_workers, both.batch_pieces = 2, 256
    found = list(predict_documents([replace(member, network=both)], documents))
    assert seen == {"a", "b"}
    for (_, one), (_, other) in zip(found, predict_documents([member], documents), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_batch_that_does_not_fit_into_memory_is_computed_in_halves(member, documents, monkeypatch):
    expected, compute, sizes = list(predict_documents([member], documents[:4])), network._logits, []

    def small_memory(model, batch):
        sizes.append(len(batch["input_ids"]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return compute(model, batch)

    monkeypatch.setattr(network, "_logits", small_memory)
    for (_, one), (_, other) in zip(expected, predict_documents([member], documents[:4]), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert max(sizes) > 4 and min(sizes) <= 2
    monkeypatch.setattr(network, "_logits", lambda model, batch: small_memory(model, {"input_ids": [0] * 3}))
    with pytest.raises(torch.OutOfMemoryError):
        list(predict_documents([member], documents[:4]))


@pytest.mark.parametrize(
    ("capability", "build", "changes", "expected"),
    [
        ((8, 0), tiny_sha_rnn, {}, torch.bfloat16),
        ((9, 0), tiny_mobilebert, {}, torch.bfloat16),
        ((7, 5), tiny_sha_rnn, {}, torch.float32),
        ((7, 5), tiny_mobilebert, {}, torch.float32),
        ((7, 5), tiny_mobilebert, {"model_type": "bert"}, torch.float16),
        ((6, 0), tiny_mobilebert, {"model_type": "bert"}, torch.float32),
    ],
)
def test_gpus_compute_in_the_precision_that_is_fast_and_safe(capability, build, changes, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    model = SimpleNamespace(config=build().config)
    if changes:
        model.config.encoder.model_type = changes["model_type"]
    assert precision("cuda:0", model) is expected


def test_probabilities_that_are_no_numbers_are_an_error(sha_rnn_tagger, documents):
    broken = tiny_sha_rnn(vocab_size=sha_rnn_tagger.tokenizer.n_pieces)
    with torch.no_grad():
        broken.classifier.weight.fill_(float("nan"))
    with pytest.raises(KitError, match=f"document {documents[0].number}: probabilities are no numbers"):
        list(predict_documents([replace(sha_rnn_tagger, network=TorchNetwork(broken))], documents[:1]))


@pytest.mark.parametrize("ends", ["when all is read", "before", "by an error"])
def test_after_a_prediction_no_thread_is_left_and_pytorch_has_its_cores_back(ends, member, documents, monkeypatch):
    threads, n_threads = threading.active_count(), torch.get_num_threads()
    monkeypatch.setattr("pii_kit.predict.DOCUMENTS_AT_A_TIME", 2)
    stream = predict_documents([member], chain(documents, [None] if ends == "by an error" else []))
    next(stream)
    if ends == "before":
        stream.close()
    else:
        with pytest.raises(AttributeError) if ends == "by an error" else nullcontext():
            list(stream)
    assert (threading.active_count(), torch.get_num_threads()) == (threads, n_threads)


def test_an_average_uses_the_weights(sha_rnn_tagger, mobilebert_tagger, documents):
    one, two = sha_rnn_tagger, mobilebert_tagger
    first, second, both = (
        next(predict_documents(group, documents[:1]))[1]
        for group in ([one], [two], [replace(one, weight=0.75), replace(two, weight=0.25)])
    )
    np.testing.assert_allclose(both, 0.75 * first + 0.25 * second, atol=1e-6)


KNOWN = {  # token: its likeliest label and its P(O)
    "Ana": (f"B-{NAME_STUDENT}", 0.25),
    "Silva": (f"I-{NAME_STUDENT}", 0.125),
    "AB-12345": (f"B-{ID_NUM}", 0.75),
    "12": (f"B-{STREET_ADDRESS}", 0.25),
    **dict.fromkeys(("\n", "\n\n", " "), (f"I-{STREET_ADDRESS}", 0.25)),
    "Lund": (f"I-{STREET_ADDRESS}", 0.25),
}


class KnownTokens(Tagger):
    """A tagger without models that knows the tokens of KNOWN, and counts the documents that it has read."""

    n_read = 0

    def predict(self, documents):
        for document in documents:
            KnownTokens.n_read += 1
            scores = np.zeros((len(document.tokens), len(LABELS)), dtype=np.float32)
            for place, token in enumerate(document.tokens):
                label, p_outside = KNOWN.get(token, (LABELS[1], 1.0))
                scores[place, LABELS.index(label)] = 1 - p_outside
                scores[place, OUTSIDE_ID] = p_outside
            yield document, scores


def known(rules=DEFAULT_RULES) -> Tagger:
    return KnownTokens((), o_threshold=0.5, rules=rules)


def test_a_span_has_its_place_type_and_the_probability_of_its_surest_token():
    assert known().label("My name is Ana Silva.") == [PiiSpan(11, 20, NAME_STUDENT, 0.875, "Ana Silva")]
    assert known().label("Nothing here.") == known().label("") == known().label(" \n") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("🐱 I am  Ana Silva\n", ["Ana Silva"]),
        ("At 12 \nLund\n\n", ["12 \nLund"]),
        ("At \n Lund \n\n and\n\nLund\n.", ["Lund", "Lund"]),
        ("half \ud83d Ana", ["Ana"]),
        ("Some words. " * 100_000 + "Ana ", ["Ana"]),
    ],
)
def test_a_span_is_the_text_of_its_tokens_without_outer_whitespace(text, expected):
    spans = known(rules=()).label(text)
    assert [span.text for span in spans] == [text[span.start : span.end] for span in spans] == expected


def test_what_only_a_rule_labels_has_a_probability_near_0():
    assert known().label("Write to zoe@z.de") == [PiiSpan(9, 17, EMAIL, 0.0, "zoe@z.de")]


def test_many_texts_are_labelled_lazily_as_each_alone():
    texts = ["Ana", "no", "by Ana Silva"]
    read = []
    labelled = known().label_texts(read.append(text) or text for text in texts)
    assert not read
    assert next(labelled) == known().label("Ana") and read == ["Ana"]
    assert list(labelled) == [[], known().label("by Ana Silva")]
    with pytest.raises(KitError, match="call label for a single one"):
        known().label_texts("Ana")
    for text, what in ((None, "null"), (float("nan"), "nan"), (["Ana"], "a list")):
        with pytest.raises(KitError, match=f"document 1: expected text, found {what}"):
            list(known().label_texts(["Ana", text]))


def test_no_rule_removes_what_the_model_is_sure_of_from_a_text(monkeypatch):
    """Rules are made for the competition's score, and act on submissions alone."""
    monkeypatch.setitem(KNOWN, "ana", (f"B-{NAME_STUDENT}", 0.01))
    document = document_of_text("I am ana")
    ((_, scores),) = known().predict([document])
    assert known().decide(document, scores) == ["O"] * 3
    assert [span.text for span in known().label("I am ana")] == ["ana"]


def test_probabilities_of_a_text_are_a_table():
    table = known().probabilities("By  Ana.")
    assert list(table.columns) == ["token", "start", "end", *LABELS]
    assert table[["token", "start", "end"]].values.tolist() == [["By", 0, 2], [" ", 3, 4], ["Ana", 4, 7], [".", 7, 8]]
    assert table["B-NAME_STUDENT"].tolist() == [0, 0, 0.75, 0] and repr(known()).count("\n") == 0


@pytest.fixture
def run(sha_rnn_tagger, mobilebert_tagger, tmp_path):
    """A function that writes a run of SHA-RNNs, or another model, which differ in their classifiers."""

    def write(name, n_folds=2, of=sha_rnn_tagger, build=tiny_sha_rnn, rules=DEFAULT_RULES, o_threshold=0.5):
        for k in range(n_folds):
            model = build(vocab_size=of.tokenizer.n_pieces)
            with torch.no_grad():
                model.classifier.bias[1 + k] += 1
            save_member(tmp_path / name / f"fold_{k}", model, of.tokenizer, **SIZES)
        write_json(tmp_path / name / "decision.json", {"o_threshold": o_threshold, "rules": list(rules)})
        return tmp_path / name

    return write


def test_a_saved_network_is_loaded_exactly(member, documents, tmp_path):
    save_member(tmp_path, member.network.model, member.tokenizer, **SIZES)
    again = load_member(tmp_path)
    assert {name: getattr(again, name) for name in SIZES} == SIZES
    assert {path.suffix for path in (tmp_path / "tagger").iterdir()} == {".json", ".safetensors"}
    for (_, one), (_, other) in zip(
        predict_documents([member], documents), predict_documents([again], documents), strict=True
    ):
        assert np.array_equal(one, other)


def test_runs_have_equal_weights_and_the_mean_of_their_thresholds_and_all_their_rules(run, documents):
    one = run("one", n_folds=3, rules=["add_emails", "id_length"], o_threshold=0.5)
    two = run("two", n_folds=1, rules=["emails_have_at", "id_length"], o_threshold=0.9)
    tagger = Tagger.load(one, two)
    assert [(member.run, member.weight) for member in tagger.members] == [(0, 1 / 6)] * 3 + [(1, 1 / 2)]
    assert (tagger.o_threshold, tagger.rules) == (0.7, ("add_emails", "id_length", "emails_have_at"))
    assert Tagger.load(one, two, o_threshold=0.25).o_threshold == 0.25
    assert not Tagger.load(one, thresholds=dict.fromkeys(PII_TYPES, 0.0)).label("Ana Silva met Bo Li at home.")
    assert repr(tagger) == "Tagger(4 networks of 2 runs, P(O) < 0.7)"
    folds = [[s for _, s in predict_documents([load_member(fold)], documents)] for fold in fold_folders(one)]
    for place, (document, scores) in enumerate(tagger.of_runs([0]).predict(documents)):
        np.testing.assert_allclose(scores, np.mean([of_fold[place] for of_fold in folds], axis=0), atol=1e-6)
        settings = {"o_threshold": tagger.o_threshold, "rules": tagger.rules}
        assert tagger.decide(document, scores) == label_document(document, scores, **settings)


def test_a_text_is_labelled_as_its_document_is_decided(run, documents, monkeypatch):
    monkeypatch.setattr("pii_kit.patterns.find", lambda text: [])
    tagger, n_spans = Tagger.load(run("one"), o_threshold=0.06), 0
    for document, probabilities in tagger.predict(documents[:6]):
        spans = tagger.label(document.full_text)
        labels = tagger.decide(document, probabilities, keep_sure=True)
        parts = [
            (join_tokens(document.tokens[first:end], document.trailing_whitespace[first:end]).strip(), pii_type)
            for first, end, pii_type in spans_of(labels)
        ]
        assert [(span.text, span.type) for span in spans] == [part for part in parts if part[0]]
        n_spans += len(spans)
    assert n_spans


def test_runs_trained_on_different_documents_are_averaged_with_a_warning(run, caplog):
    """As a model of made-up essays beside one of real essays."""
    one, two = run("one"), run("two")
    for data, n_warnings in (("a", 0), ("b", 1)):
        write_json(one / "run.json", {"data": "a"})
        write_json(two / "run.json", {"data": data})
        assert len(Tagger.load(one, two).members) == 4
        assert len(caplog.records) == n_warnings


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json", "pieces.json", "decision.json"])
@pytest.mark.parametrize("damage", ["missing", "cut short"])
def test_a_damaged_run_is_an_error_in_one_line(run, file, damage):
    path = run("one") / "fold_1" / "tagger" / file
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(KitError) as error:
        Tagger.load(path.parents[2])
    assert str(path.parent) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("decision.json", {"o_threshold": float("nan")}, "NaN is no number"),
        ("decision.json", {"o_threshold": 1.5}, "o_threshold: expected less than or equal to 1, found 1.5"),
        ("decision.json", {"window_size": "a\nb" * 30}, "window_size: expected a valid integer"),
        ("config.json", {"auto_map": {"AutoModel": "code.py"}}, "names code of its own"),
        ("config.json", {"id2label": {"0": "O"}}, "trained with other labels"),
        ("config.json", {"n_features": 7}, "a table of 7 features"),
        ("config.json", {"vocab_size": 20}, "fewer pieces than its tokenizer"),
        ("decision.json", {"overlap": 62}, "windows of 64 pieces cannot overlap by 62"),
    ],
)
def test_a_changed_record_is_an_error_that_says_what_is_wrong(run, file, change, message):
    path = run("one") / "fold_0" / "tagger" / file
    write_json(path, read_json(path) | change)
    with pytest.raises(KitError, match=message) as error:
        Tagger.load(path.parents[2])
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"thresholds": {"NAME": 0.2}}, "threshold NAME=0.2; expected 0 to 1 for one of NAME_STUDENT"),
        ({"thresholds": {NAME_STUDENT: float("nan")}}, "threshold NAME_STUDENT=nan; expected 0 to 1"),
        ({"o_threshold": 1.5}, "o_threshold is 1.5; expected 0 to 1"),
        ({"engine": "tensorflow"}, "engine is 'tensorflow'; expected one of auto, torch"),
    ],
)
def test_a_wrong_setting_is_an_error_before_anything_is_loaded(settings, message):
    with pytest.raises(KitError, match=re.escape(message)):
        Tagger.load("no such run", **settings)


LABEL = """
import sys
from pii_kit import Tagger
from pii_kit.documents import Document
document = Document(number=1, full_text="I am Ana", tokens=("I", "am", "Ana"), trailing_whitespace=(True, True, False))
assert list(Tagger.load(sys.argv[1]).label_documents([document]))
heavy = {"torch", "transformers", "pandas", "scipy", "faker"} & {*sys.modules}
assert not heavy, heavy
"""


def test_importing_the_package_loads_no_other_package():
    program = "import sys, pii_kit; assert not {'torch', 'spacy', 'numpy', 'transformers', 'pydantic'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_an_exported_run_labels_documents_without_torch(run):
    """Apart from spaCy's tokenizer, which imports torch where it is installed."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    folder = run("one", n_folds=1)
    inside, member = folder / "fold_0" / "tagger", load_member(folder / "fold_0")
    write_onnx(member.network.model, inside, n_pieces=member.tokenizer.n_pieces, window_size=member.window_size)
    (inside / "model.safetensors").unlink()
    subprocess.run([sys.executable, "-c", LABEL, folder], check=True, cwd=ROOT)


def test_the_package_exports_its_public_names_and_no_others():
    assert all(hasattr(pii_kit, name) for name in pii_kit.__all__)
    assert set(pii_kit.__all__) == set(pii_kit._MODULES)
    with pytest.raises(AttributeError, match="has no attribute 'Taggr'"):
        pii_kit.Taggr  # noqa: B018
