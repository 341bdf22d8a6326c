"""Labels of other tools: hand-worked files, round trips, and errors that name file, place and what was expected."""

import json
import re
from html import unescape

import pytest
import spacy
from spacy.tokens import DocBin

from pii_kit.cli import main
from pii_kit.convert import SPAN_FORMS, read_annotations, write_spans
from pii_kit.documents import DataWarning, Document, document_of_text, read_documents, token_edges
from pii_kit.files import KitError
from pii_kit.labels import EMAIL, PHONE_NUM, STREET_ADDRESS, spans_of
from pii_kit.labels import NAME_STUDENT as NAME
from pii_kit.predict import PiiSpan
from pii_kit.report import TYPE_COLOURS


@pytest.fixture
def read(tmp_path):
    """A function that writes a file and reads it as documents."""

    def read_it(content, form, text_field=None, **types):
        path = tmp_path / "export"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_annotations(path, form, types=types, text_field=text_field)

    return read_it


def lines(*entries) -> str:
    return "\n".join(map(json.dumps, entries))


def task(text, *places, number=1, cancelled=False) -> dict:
    results = [
        {"type": "labels", "value": {"start": start, "end": end, "labels": [label]}} for start, end, label in places
    ]
    return {"id": number, "data": {"text": text}, "annotations": [{"result": results, "was_cancelled": cancelled}]}


def labelled(document) -> list[tuple[str, str]]:
    """The labelled parts of a document's text."""
    edges, text = token_edges(document), document.full_text
    return [(text[edges[first] : edges[end]].strip(), kind) for first, end, kind in spans_of(document.labels)]


TEXT = "By Ana Silva, a@b.de"
PLACES = [[3, 12, NAME], [14, 20, EMAIL]]
OFFSETS = [{"label": label, "start_offset": start, "end_offset": end} for start, end, label in PLACES]


@pytest.mark.parametrize(
    "fields",
    [
        {"text": TEXT, "label": PLACES},
        {"text": TEXT, "labels": [*PLACES[::-1], PLACES[0]]},
        {"text": TEXT, "entities": OFFSETS, "relations": []},
        {"text": TEXT, "annotations": OFFSETS},
        {"data": TEXT, "label": PLACES, "Comments": []},
    ],
)
def test_the_forms_of_doccano_give_the_same_document(fields, read):
    ((document,), n_extended) = read(lines({"id": 7, **fields}), "doccano")
    assert (document.number, n_extended) == (7, 0)
    assert document.tokens == ("By", "Ana", "Silva", ",", "a@b.de")
    assert document.labels == ("O", f"B-{NAME}", f"I-{NAME}", "O", f"B-{EMAIL}")


@pytest.mark.parametrize("as_lines", [True, False])
def test_label_studio_tasks_are_a_list_or_lines_and_cancelled_annotations_do_not_count(as_lines, read):
    cancelled = task("By Ana", (0, 2, NAME), cancelled=True)
    second = {**task("Bo", number=3), "annotations": cancelled["annotations"] + task("", (0, 2, NAME))["annotations"]}
    first = task("🐱 By Ana", (5, 8, NAME), number=2)
    first["annotations"][0]["result"] += [{"type": "choices", "value": {"choices": ["x"]}}, {"type": "relation"}]
    tasks = [first, second, cancelled]
    with pytest.warns(DataWarning, match="1 tasks have no annotation"):
        documents, _ = read(lines(*tasks) if as_lines else json.dumps(tasks), "label-studio")
    assert [(one.number, labelled(one)) for one in documents] == [(2, [("Ana", NAME)]), (3, [("Bo", NAME)])]


REGION = {"start": 5, "end": 8, "labels": [NAME], "text": "Ana"}
RESULT = {"result": [{"type": "labels", "value": REGION}]}
HTML = {"start": "/p[1]/text()[1]", "end": "/p[1]/b[1]", "globalOffsets": {"start": 5, "end": 8}}
PAGE = {"type": "hypertextlabels", "value": {**HTML, "hypertextlabels": [NAME], "text": "Ana"}}


@pytest.mark.parametrize(
    "entry",
    [
        {"data": {"text": "🐱 By Ana"}, "completions": [RESULT]},
        {"data": {"essay": "🐱 By Ana", "n": 3}, "annotations": [RESULT]},
        {"text": "🐱 By Ana", "label": [REGION], "annotator": 1, "created_at": "2024"},
        {"text": "🐱 By Ana", "label": [{**REGION, "start": 6, "end": 9}]},
        {"text": "🐱 By Ana", "label": [{**REGION, "labels": [NAME, "SURE"]}]},
        {"data": {"page": "<p>🐱 By <b>Ana</b></p>"}, "annotations": [{"result": [PAGE]}]},
    ],
    ids=["completions", "another field", "JSON-MIN", "units of UTF-16", "two labels", "page"],
)  # fmt: skip
def test_the_forms_of_label_studio_give_the_same_document(entry, read):
    ((document,), _) = read(json.dumps([{"id": 1, **entry}]), "label-studio", SURE="")
    assert (document.number, document.full_text, labelled(document)) == (1, "🐱 By Ana", [("Ana", NAME)])


def test_the_text_can_be_in_any_field(read):
    entry = {"title": "Bo", "body": "By Ana", "label": [[3, 6, NAME]]}
    assert labelled(read(lines(entry), "doccano", text_field="body")[0][0]) == [("Ana", NAME)]
    with pytest.raises(KitError, match=r"text: expected a text; fields with text: title, body \(choose with --text-fi"):
        read(lines(entry), "doccano")


CONLL = """-DOCSTART- -X- O O

By IN O
Ana NNP B-PERSON
Silva NNP I-PERSON
. . O


It\tPRP\tO
rains VBZ O
-DOCSTART- O

Bo B-PERSON
Li B-PERSON
Rome B-CITY
"""


@pytest.mark.parametrize("end_of_line", ["\n", "\r\n"])
def test_tags_become_documents_with_a_line_for_each_sentence(end_of_line, read):
    documents, _ = read(CONLL.replace("\n", end_of_line), "conll", PERSON=NAME, CITY="")
    assert [one.full_text for one in documents] == ["By Ana Silva .\nIt rains", "Bo Li Rome"]
    assert [labelled(one) for one in documents] == [[("Ana Silva", NAME)], [("Bo", NAME), ("Li", NAME)]]


SCHEMES = ("O I-A I-A O I-B", "O B-A I-A O B-B", "O B-A E-A O S-B", "O B-A L-A O U-B", "o b-A i-A o b-B")


@pytest.mark.parametrize("tags", SCHEMES)
def test_tags_of_every_scheme_give_the_same_spans(tags, read):
    plain = "\n".join(map(" ".join, zip(("By", "Ana", "Silva", "in", "Lund"), tags.split(), strict=True)))
    (document,), _ = read(f"# text = By Ana\n{plain}", "conll", A=NAME, B=STREET_ADDRESS)
    assert labelled(document) == [("Ana Silva", NAME), ("Lund", STREET_ADDRESS)]
    (document,), _ = read("Ana I-A\nSilva B-A\nLee I-A\nBo U-A\nLi S-A", "conll", A=NAME)  # neighbours of one label
    assert labelled(document) == [("Ana", NAME), ("Silva Lee", NAME), ("Bo", NAME), ("Li", NAME)]


def test_a_token_between_tabs_may_hold_spaces(read):
    (document,), _ = read("Ring\tO\n06 39 98 12 34\tB-A\n", "conll", A=PHONE_NUM)
    assert document.full_text == "Ring 06 39 98 12 34" and labelled(document) == [("06 39 98 12 34", PHONE_NUM)]


def test_the_index_column_of_conll_u_is_no_token(read):
    rest = "\t_" * 7
    rows = [("1", "By", "O"), ("2-3", "AnaSilva", "O"), ("2", "Ana", "B-A"), ("3", "Silva", "I-A")]
    text = "# newdoc id = 1\n# text = By\n" + "\n".join(f"{index}\t{word}{rest}\t{tag}" for index, word, tag in rows)
    (document,), _ = read(f"{text}\n\n1\tOK{rest}\tO\n", "conll", A=NAME)
    assert document.full_text == "By Ana Silva\nOK" and labelled(document) == [("Ana Silva", NAME)]
    (document,), _ = read("1 CD O\n2 CD B-A\n3 CD O\nHi UH O", "conll", A=NAME)
    assert document.full_text == "1 2 3 Hi"


@pytest.mark.parametrize(
    ("text", "place", "expected", "extended"),
    [
        ("Ana Silva's", (0, 7), [("Ana Silva", NAME)], 1),
        ("by Ana", (4, 6), [("Ana", NAME)], 1),
        ("by  Ana \n", (2, 9), [("Ana", NAME)], 0),
        ("Ana@x", (0, 3), [("Ana@x", NAME)], 1),
        ("Ana\nSilva", (0, 9), [("Ana", NAME), ("Silva", NAME)], 0),
    ],
)
def test_a_span_covers_whole_tokens_and_no_whitespace(text, place, expected, extended, read):
    (document,), n_extended = read(lines({"text": text, "label": [[*place, NAME]]}), "doccano")
    assert labelled(document) == expected and n_extended == extended


def test_a_token_that_two_spans_share_belongs_to_the_first(read):
    (document,), n_extended = read(lines({"text": "Ana77x Lee", "label": [[3, 10, EMAIL], [0, 3, NAME]]}), "doccano")
    assert (labelled(document), n_extended) == ([("Ana77x", NAME), ("Lee", EMAIL)], 2)


@pytest.mark.parametrize("ids", [[3, 3], ["a", 5], [None, 5], [True, 5], [2**63, 5]])
def test_documents_have_numbers_of_their_own_if_the_ids_cannot_be_numbers(ids, read):
    content = lines(*({"id": one, "text": "x", "label": []} for one in ids))
    assert [document.number for document in read(content, "doccano")[0]] == [0, 1]


def test_labelled_documents_survive_every_form_of_export(documents, read):
    """What the tools export of made-up essays is read as the same essays; texts of CoNLL are its tokens."""
    doccano, tasks, tags = [], [], []
    for document in documents:
        edges = token_edges(document)
        places = [
            (edges[first], edges[end - 1] + len(document.tokens[end - 1]), pii_type)
            for first, end, pii_type in spans_of(document.labels)
        ]
        doccano.append({"id": document.number, "text": document.full_text, "label": places})
        tasks.append(task(document.full_text, *places, number=document.number))
        pairs = zip(document.tokens, document.labels, strict=True)
        tags += ["-DOCSTART- O", *(f"{token} {label}" if token.strip() else "" for token, label in pairs)]
    assert read(lines(*doccano), "doccano") == read(json.dumps(tasks), "label-studio") == (documents, 0)
    for document, same in zip(documents, read("\n".join(tags), "conll")[0], strict=True):
        assert labelled(same) == labelled(document)


ERRORS = [
    ({"label": []}, "entry 0: text: expected a text; fields with text: none"),
    ({"text": "x", "label": [[0, 1]]}, "entry 0: span 0: label: Field required"),
    ({"text": "x", "labels": [["0", 1, NAME]]}, "entry 0: span 0: start: expected"),
    ({"text": "Ana", "label": [[0, 4, NAME]]}, "at characters 0 to 4: expected a part of the text, which has 3"),
    ({"text": "Ana Li", "label": [[0, 5, NAME], [4, 6, EMAIL]]}, "EMAIL at characters 4 to 6: overlaps another span"),
    ({"text": "x y", "label": [[0, 1, "\x1b[31m" + "P" * 50]]}, "unknown labels ?[31mPPP"),
    ({"text": "🐱 By Ana", "label": [{**REGION, "labels": [NAME, EMAIL]}]}, "expected one label; --label LABEL= drops"),
    ({"text": "By Ana", "label": [{**REGION, "start": 2, "end": 4}]}, "text: differs from the characters 2 to 4"),
    ({"data": {}}, "entry 0: annotations: Field required"),
    ({"data": {"text": "x"}, "annotations": [{}]}, "entry 0: annotations.0.result: Field required"),
]  # fmt: skip
ERRORS = [(lines(entry), "label-studio", message) for entry, message in ERRORS] + [
    ("Ana", "conll", "line 1: expected a token and a tag"),
    ("By O\nAna B-", "conll", "line 2: expected a token and a tag: O, or B- or I- and a label"),
    ("", "conll", "holds no labelled documents"),
    ("{", "doccano", "cannot be loaded: Expecting"),
    ("[1]", "label-studio", "entry 0: expected an object"),
    (b"\xff", "conll", "cannot be loaded: 'utf-8'"),
]


@pytest.mark.parametrize(("content", "form", "message"), ERRORS)
def test_what_does_not_fit_is_one_line_that_names_file_and_place(content, form, message, read):
    with pytest.raises(KitError, match=re.escape(message)) as error:
        read(content, form)
    assert "export" in str(error.value) and "\n" not in str(error.value)


def test_convert_writes_a_train_json_and_says_what_it_extended(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = "By Ana Silva\u2019s Lund"
    (tmp_path / "in.jsonl").write_text(lines({"id": 4, "body": text, "label": [[3, 11, "A=PER"], [15, 19, "LOC"]]}))
    arguments = ["--data", "in.jsonl", "--form", "doccano", "--text-field", "body", "--out", "train.json"]
    assert main(["convert", *arguments, "--label", f"A=PER={NAME}", "--label", "LOC="]) == 0
    said = "train.json: 1 document with 2 PII tokens; 1 spans cut through a token, which is labelled whole\n"
    assert capsys.readouterr().out == said
    (document,) = read_documents("train.json", labels_required=True)
    assert (document.number, document.full_text, labelled(document)) == (4, text, [("Ana Silva", NAME)])


ODD = Document(  # an empty token, one of whitespace, half a character, and markup
    number=9,
    full_text="",
    tokens=("<b>", "", "\n", "zoé@z.de", "\ud83d"),
    trailing_whitespace=(True, True, False, True, False),
)
FOUND = [
    (document_of_text("By Ana Silva.", 4), [PiiSpan(3, 12, NAME, 0.75, "Ana Silva")]),
    (document_of_text("", 5), []),
    (ODD, [PiiSpan(6, 14, EMAIL, 0.5, "zoé@z.de")]),
]


def test_json_lines_have_the_text_and_the_places_of_each_document(tmp_path):
    write_spans(tmp_path / "out.jsonl", "jsonl", iter(FOUND), {5: "empty.txt"})
    first, second, third = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    ana = {"start": 3, "end": 12, "type": NAME, "probability": 0.75}
    assert first == {"document": 4, "text": "By Ana Silva.", "spans": [ana]}
    assert second == {"document": 5, "name": "empty.txt", "text": "", "spans": []}
    assert third["text"][third["spans"][0]["start"] : third["spans"][0]["end"]] == "zoé@z.de"


def test_a_docbin_has_the_documents_own_tokens_whitespace_and_entities(tmp_path):
    write_spans(tmp_path / "out.spacy", "docbin", iter(FOUND), {5: "empty.txt"})
    docs = DocBin(store_user_data=True).from_disk(tmp_path / "out.spacy").get_docs(spacy.blank("en").vocab)
    plain, empty, odd = docs
    assert [(one.text, one.label_, one.start_char) for one in plain.ents] == [("Ana Silva", NAME, 3)]
    assert plain.text == "By Ana Silva." and len(empty) == 0
    assert [token.text for token in odd] == ["<b>", " ", "\n", "zoé@z.de", "?"]
    assert [bool(token.whitespace_) for token in odd] == list(ODD.trailing_whitespace)
    assert [(one.text, one.label_) for one in odd.ents] == [("zoé@z.de", EMAIL)]
    assert [doc.user_data for doc in (plain, empty)] == [{"document": 4}, {"document": 5, "name": "empty.txt"}]


@pytest.mark.filterwarnings("ignore:.*W006")
def test_a_page_shows_text_as_text_and_entities_in_the_colours_of_their_types(tmp_path):
    write_spans(tmp_path / "out.html", "html", iter(FOUND), {5: "<i>.txt"})
    page = (tmp_path / "out.html").read_bytes().decode("ascii")
    marks = re.findall(r"<mark .*?background: (#\w+).*?>\s*(.*?)\s*<span .*?>(\w+)</span>", page, re.DOTALL)
    expected = [(TYPE_COLOURS[NAME], "Ana Silva", NAME), (TYPE_COLOURS[EMAIL], "zoé@z.de", EMAIL)]
    assert [(colour, unescape(text), pii_type) for colour, text, pii_type in marks] == expected
    assert "&lt;b&gt;" in page and "<b>" not in page and "&lt;i&gt;.txt</h2>" in page and "Document 4</h2>" in page
    assert "<script" not in page and "http" not in page


@pytest.mark.parametrize("form", SPAN_FORMS)
def test_an_error_leaves_an_earlier_file_as_it_was_and_only_its_owner_reads_a_new_one(form, tmp_path):
    def found(error=None):
        yield FOUND[0]
        if error:
            raise error

    (tmp_path / "out").write_text("an earlier result")
    with pytest.raises(RuntimeError, match="a model broke"):
        write_spans(tmp_path / "out", form, found(RuntimeError("a model broke")))
    assert (tmp_path / "out").read_text() == "an earlier result" and len(list(tmp_path.iterdir())) == 1
    write_spans(tmp_path / "out", form, found())
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600
