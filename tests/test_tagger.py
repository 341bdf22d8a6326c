"""The Python interface: places, types and probabilities of spans, of any text, and what `import pii_kit` costs."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import make_document

import pii_kit
from pii_kit import PiiSpan, Tagger
from pii_kit.documents import Document, document_of_text, join_tokens
from pii_kit.files import KitError
from pii_kit.labels import EMAIL, ID_NUM, LABELS, NAME_STUDENT, OUTSIDE_ID, STREET_ADDRESS, spans_of
from pii_kit.predict import Ensemble
from pii_kit.rules import DEFAULT_RULES
from pii_kit.training.ensemble import load_ensemble

ROOT = Path(__file__).parents[1]
KNOWN = {  # token: its likeliest label and its P(O)
    "Ana": (f"B-{NAME_STUDENT}", 0.25),
    "Silva": (f"I-{NAME_STUDENT}", 0.125),
    "AB-12345": (f"B-{ID_NUM}", 0.75),
    "12": (f"B-{STREET_ADDRESS}", 0.25),
    **dict.fromkeys(("\n", "\n\n", " "), (f"I-{STREET_ADDRESS}", 0.25)),
    "Lund": (f"I-{STREET_ADDRESS}", 0.25),
}


class KnownTokens(Ensemble):
    """An ensemble without models that knows the tokens of KNOWN, and counts the documents that it has read."""

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


def known(rules=DEFAULT_RULES, **by_type) -> Tagger:
    return Tagger(KnownTokens(taggers=(), weights=(), of_run=(), o_threshold=0.5, rules=rules, by_type=by_type))


def test_a_span_has_its_place_type_and_the_probability_of_its_surest_token():
    assert known().label("My name is Ana Silva.") == [PiiSpan(11, 20, NAME_STUDENT, 0.875, "Ana Silva")]
    assert known().label("Nothing here.") == known().label("") == known().label(" \n") == []


def test_a_span_cannot_be_changed():
    (span,) = known().label("Ana")
    with pytest.raises(AttributeError):
        span.start = 1


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


def test_places_in_a_document_are_those_in_the_text_that_its_tokens_spell():
    document = Document(
        number=7, full_text="By  Ana", tokens=("By", "", "Ana"), trailing_whitespace=(True, False, True)
    )
    ((same, spans),) = known().label_documents([document])
    assert same is document and join_tokens(document.tokens, document.trailing_whitespace)[3:6] == "Ana"
    assert spans == [PiiSpan(3, 6, NAME_STUDENT, 0.75, "Ana")]


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


def test_loaded_runs_label_as_the_ensemble_of_predict(cross_validated, documents):
    runs = [cross_validated(0)[0], cross_validated(1)[0]]
    tagger, ensemble = Tagger.load(*runs), load_ensemble(runs)
    n_spans = 0
    for document, probabilities in ensemble.predict(documents[:6]):
        spans = tagger.label(document.full_text)
        labels = ensemble.label(document, probabilities)
        assert spans == next(tagger.label_documents([document]))[1]
        parts = [
            (join_tokens(document.tokens[first:end], document.trailing_whitespace[first:end]).strip(), pii_type)
            for first, end, pii_type in spans_of(labels)
        ]
        assert [(span.text, span.type) for span in spans] == [part for part in parts if part[0]]
        n_spans += len(spans)
    assert n_spans


def test_thresholds_by_type_and_an_engine_are_those_of_the_ensemble(cross_validated):
    run = cross_validated(0)[0]
    text = "Ana Silva met Bo Li at home."
    assert not Tagger.load(run, thresholds=dict.fromkeys((NAME_STUDENT, ID_NUM), 0.0)).label(text)
    everything = Tagger.load(run, thresholds={NAME_STUDENT: 1.0})
    assert everything.ensemble.by_type == {NAME_STUDENT: 1.0}
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    converted = Tagger.load(run, thresholds={NAME_STUDENT: 1.0}, engine="onnx").label(text)
    assert [(span.start, span.end) for span in converted] == [(s.start, s.end) for s in everything.label(text)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"thresholds": {"NAME": 0.2}}, "threshold NAME=0.2; expected 0 to 1 for one of NAME_STUDENT"),
        ({"thresholds": {NAME_STUDENT: 1.5}}, "threshold NAME_STUDENT=1.5; expected 0 to 1"),
        ({"engine": "tensorflow"}, "engine is 'tensorflow'; expected one of auto, torch"),
    ],
)
def test_a_wrong_setting_is_an_error_before_anything_is_loaded(settings, message):
    with pytest.raises(KitError, match=re.escape(message)):
        Tagger.load("no such run", **settings)


def test_the_example_of_the_readme_prints_what_it_says(capsys):
    section = (ROOT / "README.md").read_text().split("## In Python\n")[1].split("\n## ")[0]
    (example,) = re.findall(r"^```python\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    exec(example, {})
    expected = re.findall(r"print.*# (.*)", example)
    assert len(expected) == 2 and capsys.readouterr().out.splitlines() == expected


def test_the_names_of_the_readme_are_in_the_package():
    table = (ROOT / "README.md").read_text().split("## In Python\n")[1].split("\n## ")[0]
    names = [name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(.*?)`", row)]
    for name in names:
        path = name if name.startswith("pii_kit.") else f"pii_kit.{name}"
        module, _, attribute = path.rpartition(".")
        found = importlib.import_module(module)
        assert hasattr(found, attribute) or importlib.import_module(path), path
    assert len(names) > 10


def test_importing_the_package_loads_neither_torch_nor_spacy():
    program = "import sys, pii_kit; assert not {'torch', 'spacy', 'numpy', 'transformers'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_the_package_exports_its_public_names_and_no_others():
    assert all(hasattr(pii_kit, name) for name in pii_kit.__all__)
    assert set(pii_kit.__all__) == set(pii_kit._MODULES)
    with pytest.raises(AttributeError, match="has no attribute 'Taggr'"):
        pii_kit.Taggr  # noqa: B018


def test_a_document_of_a_text_has_the_tokens_of_the_competition():
    text = "By Ana.\n\nIt's 5.  "
    expected = make_document(text, number=3)
    assert document_of_text(text, 3) == expected and join_tokens(expected.tokens, expected.trailing_whitespace) == text


def test_a_text_is_redacted_in_python():
    tagger, text = pii_kit.Tagger.load(), "My name is Ana Silva. My phone number is 555-204-7781."
    assert [span.text for span in tagger.label(text)] == ["Ana Silva", "555-204-7781"]
    redacted = pii_kit.redact_text(text, tagger, pii_kit.Redaction(mode="type"))
    assert redacted == "My name is [NAME_STUDENT]. My phone number is [PHONE_NUM]."


def test_the_authors_of_two_texts_get_different_surrogates_and_equal_texts_equal_ones():
    tagger, settings = pii_kit.Tagger.load(), pii_kit.Redaction(mode="surrogate", seed=1)
    texts = ["My name is Ana Silva.", "My name is Marco Rossi.", "My name is Ana Silva."]
    first, other, again = (pii_kit.redact_text(text, tagger, settings) for text in texts)
    assert first == again and first != other
    assert not {"Ana", "Silva", "Marco", "Rossi"} & {*(first + other).replace(".", " ").split()}


def test_an_empty_cell_is_no_text():
    with pytest.raises(KitError, match="expected text, found null"):
        pii_kit.redact_text(None, pii_kit.Tagger.load(), pii_kit.Redaction(mode="type"))


def test_names_in_a_text_without_capital_letters_are_found():
    tagger = pii_kit.Tagger.load()
    found = tagger.label("my name is jamal washington and i live in a small town. i like tea.")
    assert [(span.text, span.type) for span in found] == [("jamal washington", "NAME_STUDENT")]
