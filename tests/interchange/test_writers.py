"""Predictions for other tools: what they read is what was found, and a file is whole or not there."""

import json
import re
from html import unescape

import pytest
import spacy
from spacy.tokens import DocBin

from pii_kit.__main__ import main
from pii_kit.documents import Document, document_of_text, write_documents
from pii_kit.interchange.writers import WRITERS, write_docbin, write_html, write_jsonl
from pii_kit.labels import EMAIL, NAME_STUDENT, PII_TYPES
from pii_kit.predict import PiiSpan, Tagger
from pii_kit.report import TYPE_COLOURS

ANA = PiiSpan(3, 12, NAME_STUDENT, 0.75, "Ana Silva")
ODD = Document(  # an empty token, one of whitespace, half a character, and markup
    number=9,
    full_text="",
    tokens=("<b>", "", "\n", "zoé@z.de", "\ud83d"),
    trailing_whitespace=(True, True, False, True, False),
)
ODD_SPAN = PiiSpan(6, 14, EMAIL, 0.5, "zoé@z.de")
FOUND = [
    (document_of_text("By Ana Silva.", 4), [ANA]),
    (document_of_text("", 5), []),
    (ODD, [ODD_SPAN]),
]


def test_json_lines_have_the_text_and_the_places_of_each_document(tmp_path):
    write_jsonl(tmp_path / "out.jsonl", iter(FOUND), names={5: "empty.txt"})
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    ana = {"start": 3, "end": 12, "type": NAME_STUDENT, "probability": 0.75}
    assert lines[0] == {"document": 4, "text": "By Ana Silva.", "spans": [ana]}
    assert lines[1] == {"document": 5, "name": "empty.txt", "text": "", "spans": []}
    (span,) = lines[2]["spans"]
    assert lines[2]["text"][span["start"] : span["end"]] == "zoé@z.de"


def test_a_docbin_has_the_documents_own_tokens_whitespace_and_entities(tmp_path):
    write_docbin(tmp_path / "out.spacy", iter(FOUND), names={5: "empty.txt"})
    vocab = spacy.blank("en").vocab
    plain, empty, odd = DocBin().from_disk(tmp_path / "out.spacy").get_docs(vocab)
    assert plain.text == "By Ana Silva." and [token.text for token in plain] == ["By", "Ana", "Silva", "."]
    assert [(one.text, one.label_, one.start_char, one.end_char) for one in plain.ents] == [
        ("Ana Silva", NAME_STUDENT, 3, 12)
    ]
    assert len(empty) == 0
    assert [token.text for token in odd] == ["<b>", " ", "\n", "zoé@z.de", "?"]
    assert [bool(token.whitespace_) for token in odd] == list(ODD.trailing_whitespace)
    assert [(one.text, one.label_) for one in odd.ents] == [("zoé@z.de", EMAIL)]
    docs = DocBin(store_user_data=True).from_disk(tmp_path / "out.spacy").get_docs(vocab)
    assert [doc.user_data for doc in docs] == [{"document": 4}, {"document": 5, "name": "empty.txt"}, {"document": 9}]


def test_a_page_shows_text_as_text_and_entities_in_the_colours_of_their_types(tmp_path):
    write_html(tmp_path / "out.html", iter(FOUND), names={5: "<i>.txt"})
    page = (tmp_path / "out.html").read_bytes().decode("ascii")
    marks = re.findall(r"<mark .*?background: (#\w+).*?>\s*(.*?)\s*<span .*?>(\w+)</span>", page, re.DOTALL)
    assert [(colour, unescape(text), pii_type) for colour, text, pii_type in marks] == [
        (TYPE_COLOURS[NAME_STUDENT], "Ana Silva", NAME_STUDENT),
        (TYPE_COLOURS[EMAIL], "zoé@z.de", EMAIL),
    ]
    assert "&lt;b&gt;" in page and "<b>" not in page and "&lt;i&gt;.txt</h2>" in page and "Document 4</h2>" in page
    assert "<script" not in page and "http" not in page


@pytest.mark.parametrize("form", WRITERS)
def test_an_error_leaves_an_earlier_file_as_it_was(form, tmp_path):
    def found():
        yield FOUND[0]
        raise RuntimeError("a model broke")

    (tmp_path / "out").write_text("an earlier result")
    with pytest.raises(RuntimeError, match="a model broke"):
        WRITERS[form](tmp_path / "out", found())
    assert (tmp_path / "out").read_text() == "an earlier result" and len(list(tmp_path.iterdir())) == 1


@pytest.fixture
def place(cross_validated, tmp_path, monkeypatch):
    """A folder in which the test stands, and the start of a command that predicts with a trained run."""
    monkeypatch.chdir(tmp_path)
    return tmp_path, ["predict", "--run", str(cross_validated(0)[0])]


def test_predict_writes_what_the_tagger_finds_in_essays_of_any_form(place, documents, cross_validated, capsys):
    folder, predict = place
    expected = [spans for _, spans in Tagger.load(cross_validated(0)[0]).label_documents(documents[:3])]
    (folder / "texts").mkdir()
    for number, document in enumerate(documents[:3]):
        (folder / "texts" / f"{number}.txt").write_bytes(document.full_text.encode())
    write_documents("essays.json", documents[:3])
    for data in ("texts", "essays.json"):
        assert main([*predict, "--data", data, "--format", "jsonl", "--out", "out.jsonl"]) == 0
        lines = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
        found = [
            [(one["start"], one["end"], one["type"], one["probability"]) for one in line["spans"]] for line in lines
        ]
        places = [
            [(one.start, one.end, one.type, pytest.approx(one.probability, abs=1e-5)) for one in of] for of in expected
        ]
        assert found == places
        names = ["0.txt", "1.txt", "2.txt"] if data == "texts" else [None] * 3
        assert [line.get("name") for line in lines] == names
        assert f"out.jsonl: {sum(map(len, expected))} spans in 3 documents" in capsys.readouterr().out
    for form in ("docbin", "html"):
        assert main([*predict, "--data", "texts", "--format", form, "--out", form]) == 0
    ents = [doc.ents for doc in DocBin().from_disk("docbin").get_docs(spacy.blank("en").vocab)]
    assert [[one.text for one in of] for of in ents] == [[one.text for one in of] for of in expected]
    page = (folder / "html").read_text()
    assert "0.txt</h2>" in page and page.count("<mark") == sum(map(len, expected))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "in.txt", "--out", "in.txt"], "is used twice"),
        (["--data", "in.txt", "--out", "."], "is a folder"),
        (["--data", "in.txt", "--out", "out", "--minutes", "1"], "--minutes needs --format csv"),
        (["--data", "in.pdf", "--out", "out"], "in.pdf: no such file"),
    ],
)
def test_arguments_of_a_format_that_do_not_fit_are_one_line(arguments, message, place, capsys):
    folder, predict = place
    (folder / "in.txt").write_text("By Ana")
    assert main([*predict, "--format", "html", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert (folder / "in.txt").read_text() == "By Ana" and not (folder / "out").exists()


def test_every_type_has_a_colour():
    assert set(TYPE_COLOURS) == {*PII_TYPES}
