"""Labels of other tools: hand-worked files, round trips, and errors that name file, place and what was expected."""

import json
import re
from html import unescape

import pytest
import spacy
from spacy.tokens import DocBin

from pii_kit.cli import main
from pii_kit.convert import FORMS, WRITERS, read_annotations, write_docbin, write_html, write_jsonl
from pii_kit.documents import DataWarning, Document, document_of_text, join_tokens, read_documents, token_edges
from pii_kit.files import KitError
from pii_kit.labels import EMAIL, NAME_STUDENT, PHONE_NUM, STREET_ADDRESS, spans_of
from pii_kit.predict import PiiSpan
from pii_kit.report import TYPE_COLOURS

NAME = NAME_STUDENT


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
    edges = token_edges(document)
    return [
        (document.full_text[edges[first] : edges[end]].strip(), pii_type)
        for first, end, pii_type in spans_of(document.labels)
    ]


@pytest.mark.parametrize(
    "field",
    [
        {"label": [[3, 12, NAME], [14, 20, EMAIL]]},
        {"labels": [[14, 20, EMAIL], [3, 12, NAME], [3, 12, NAME]]},
        {
            "entities": [
                {"id": 1, "label": NAME, "start_offset": 3, "end_offset": 12},
                {"id": 2, "label": EMAIL, "start_offset": 14, "end_offset": 20},
            ],
            "relations": [],
        },
        {"annotations": [{"label": NAME, "start_offset": 3, "end_offset": 12, "user": 1}, [14, 20, EMAIL]]},
        {"text": None, "data": "By Ana Silva, a@b.de", "label": [[3, 12, NAME], [14, 20, EMAIL]]},
    ],
)
def test_the_forms_of_doccano_give_the_same_document(field, read):
    ((document,), n_extended) = read(lines({"id": 7, "text": "By Ana Silva, a@b.de", **field}), "doccano")
    assert (document.number, n_extended) == (7, 0)
    assert document.tokens == ("By", "Ana", "Silva", ",", "a@b.de")
    assert document.labels == ("O", f"B-{NAME}", f"I-{NAME}", "O", f"B-{EMAIL}")


@pytest.mark.parametrize("as_lines", [True, False])
def test_label_studio_tasks_are_a_list_or_lines_and_cancelled_annotations_do_not_count(as_lines, read):
    cancelled = task("By Ana", (0, 2, NAME), cancelled=True)
    second = {**task("Bo", (0, 2, NAME), number=3), "annotations": []}
    second["annotations"] = cancelled["annotations"] + task("", (0, 2, NAME))["annotations"]
    first = task("🐱 By Ana", (5, 8, NAME), number=2)
    first["annotations"][0]["result"] += [
        {"type": "choices", "value": {"choices": ["clean"]}},
        {"type": "relation", "from_id": "a", "to_id": "b"},
    ]
    tasks = [first, second, cancelled]
    with pytest.warns(DataWarning, match="1 tasks have no annotation"):
        documents, _ = read(lines(*tasks) if as_lines else json.dumps(tasks), "label-studio")
    assert [(one.number, labelled(one)) for one in documents] == [(2, [("Ana", NAME)]), (3, [("Bo", NAME)])]


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
def test_bio_tags_become_documents_with_a_line_for_each_sentence(end_of_line, read):
    documents, n_extended = read(CONLL.replace("\n", end_of_line), "conll", PERSON=NAME, CITY="")
    assert [one.full_text for one in documents] == ["By Ana Silva .\nIt rains", "Bo Li Rome"]
    assert [labelled(one) for one in documents] == [[("Ana Silva", NAME)], [("Bo", NAME), ("Li", NAME)]]
    assert [one.number for one in documents] == [0, 1] and n_extended == 0


REGION = {"start": 5, "end": 8, "labels": [NAME], "text": "Ana"}
RESULT = {"result": [{"type": "labels", "value": REGION}]}


@pytest.mark.parametrize(
    "entry",
    [
        {"id": 1, "data": {"text": "🐱 By Ana"}, "completions": [{"result": [{"type": "labels", "value": REGION}]}]},
        {
            "id": 1,
            "data": {"essay": "🐱 By Ana", "n": 3},
            "annotations": [{"result": [{"type": "labels", "value": REGION}]}],
        },
        {"id": 1, "text": "🐱 By Ana", "label": [REGION], "annotator": 1, "created_at": "2024"},
        {"id": 1, "text": "🐱 By Ana", "label": [{**REGION, "start": 6, "end": 9}]},
        {"id": 1, "text": "🐱 By Ana", "label": [{**REGION, "labels": [NAME, "SURE"]}]},
    ],
    ids=["completions", "another field", "JSON-MIN", "units of UTF-16", "two labels"],
)
def test_the_forms_of_label_studio_give_the_same_document(entry, read):
    ((document,), _) = read(json.dumps([entry]), "label-studio", SURE="")
    assert (document.number, labelled(document)) == (1, [("Ana", NAME)])


def test_regions_of_a_page_have_places_in_its_text(read):
    value = {"start": "/p[1]/text()[1]", "end": "/p[1]/b[1]/text()[1]", "startOffset": 3, "endOffset": 5}
    value |= {"globalOffsets": {"start": 3, "end": 11}, "text": "Ana & Bo", "hypertextlabels": [NAME]}
    html = "<p class='x'>By Ana &amp; <b>Bo</b></p>"
    entry = {"data": {"page": html}, "annotations": [{"result": [{"type": "hypertextlabels", "value": value}]}]}
    ((document,), _) = read(json.dumps([entry]), "label-studio")
    assert document.full_text == "By Ana & Bo" and labelled(document) == [("Ana & Bo", NAME)]


def test_the_text_can_be_in_any_field(read):
    entry = {"title": "Bo", "body": "By Ana", "label": [[3, 6, NAME]]}
    assert labelled(read(lines(entry), "doccano", text_field="body")[0][0]) == [("Ana", NAME)]
    with pytest.raises(KitError, match=r"text: expected a text; fields with text: title, body \(choose with --text-fi"):
        read(lines(entry), "doccano")


TAGS = {
    "IO": ("O", "I-A", "I-A", "O", "I-B"),
    "IOB1": ("O", "I-A", "I-A", "O", "I-B"),
    "BIO": ("O", "B-A", "I-A", "O", "B-B"),
    "BIOES": ("O", "B-A", "E-A", "O", "S-B"),
    "BILUO": ("O", "B-A", "L-A", "O", "U-B"),
    "lower case": ("o", "b-A", "i-A", "o", "b-B"),
}


@pytest.mark.parametrize("scheme", TAGS)
def test_tags_of_every_scheme_give_the_same_spans(scheme, read):
    words = ("By", "Ana", "Silva", "in", "Lund")
    plain = "\n".join(f"{word} {tag}" for word, tag in zip(words, TAGS[scheme], strict=True))
    (document,), _ = read(f"# text = By Ana\n{plain}", "conll", A=NAME, B=STREET_ADDRESS)
    assert labelled(document) == [("Ana Silva", NAME), ("Lund", STREET_ADDRESS)]


def test_neighbours_of_one_label_are_told_apart_where_the_scheme_can(read):
    (document,), _ = read("Ana I-A\nSilva B-A\nLee I-A\nBo U-A\nLi S-A", "conll", A=NAME)
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
        ("Ana Silva's", (0, 7), "Ana Silva", 1),
        ("by Ana", (4, 6), "Ana", 1),
        ("by  Ana \n", (2, 9), "Ana", 0),
        ("\n\nAna", (0, 5), "Ana", 0),
        ("Ana@x", (0, 3), "Ana@x", 1),
    ],
)
def test_a_span_covers_whole_tokens_and_no_outer_whitespace(text, place, expected, extended, read):
    (document,), n_extended = read(lines({"text": text, "label": [[*place, NAME]]}), "doccano")
    assert labelled(document) == [(expected, NAME)] and n_extended == extended


def test_a_token_that_two_spans_share_belongs_to_the_first(read):
    text = "Ana77x Lee"
    inside = read(lines({"text": text, "label": [[3, 6, EMAIL], [0, 3, NAME]]}), "doccano")
    longer = read(lines({"text": text, "label": [[3, 10, EMAIL], [0, 3, NAME]]}), "doccano")
    assert (labelled(inside[0][0]), inside[1]) == ([("Ana77x", NAME)], 2)
    assert (labelled(longer[0][0]), longer[1]) == ([("Ana77x", NAME), ("Lee", EMAIL)], 2)


def test_whitespace_inside_a_span_is_labelled_as_in_the_competition(read):
    """A line break is part of an address only; between two names it separates them."""
    text = "Ana\nSilva 12 Elm St\nLund"
    (document,), _ = read(lines({"text": text, "label": [[0, 9, NAME], [10, 24, STREET_ADDRESS]]}), "doccano")
    assert labelled(document) == [("Ana", NAME), ("Silva", NAME), ("12 Elm St\nLund", STREET_ADDRESS)]


@pytest.mark.parametrize(
    ("ids", "numbers"),
    [
        ([3, 5], [3, 5]),
        ([3, 3], [0, 1]),
        (["a", 5], [0, 1]),
        ([None, 5], [0, 1]),
        ([True, 5], [0, 1]),
        ([2**63, 5], [0, 1]),
    ],
)
def test_documents_have_the_ids_of_the_file_if_these_can_be_numbers_of_documents(ids, numbers, read):
    content = lines(*({"id": one, "text": "x", "label": []} for one in ids))
    assert [document.number for document in read(content, "doccano")[0]] == numbers


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
        tags.append("-DOCSTART- O")
        for token, label in zip(document.tokens, document.labels, strict=True):
            tags.append(f"{token} {label}" if token.strip() else "")
    assert any(document.types for document in documents)
    assert read(lines(*doccano), "doccano") == (documents, 0)
    assert read(json.dumps(tasks), "label-studio") == (documents, 0)
    found, _ = read("\n".join(tags), "conll")
    assert len(found) == len(documents)
    for document, same in zip(documents, found, strict=True):
        assert labelled(same) == labelled(document)


def test_half_a_character_survives(read):
    (document,), _ = read('{"text": "half \\ud83d Ana", "label": [[7, 10, "NAME_STUDENT"]]}', "doccano")
    assert document.full_text == "half \ud83d Ana" and labelled(document) == [("Ana", NAME)]


ERRORS = [
    (lines({"label": []}), "doccano", "entry 0: text: expected a text; fields with text: none"),
    (lines({"text": "x"}), "doccano", "entry 0: label: expected a list of spans"),
    (lines({"text": "x", "label": [[0, 1]]}), "doccano", "entry 0: span 0: label: Field required"),
    (lines({"text": "x", "labels": [["0", 1, NAME]]}), "doccano", "entry 0: span 0: start: Input should be"),
    (lines({"text": "Ana", "label": [[0, 4, NAME]]}), "doccano", "NAME_STUDENT at characters 0 to 4: expected a part"),
    (lines({"text": "Ana", "label": [[-1, 2, NAME]]}), "doccano", "which has 3 characters"),
    (lines({"text": "Ana", "label": [[2, 2, NAME]]}), "doccano", "expected a part of the text"),
    (lines({"text": "Ana  Li", "label": [[3, 5, NAME]]}), "doccano", "expected a part of the text"),
    (lines({"text": "Ana Li", "label": [[0, 5, NAME], [4, 6, EMAIL]]}), "doccano", "EMAIL at characters 4 to 6: over"),
    (lines({"text": "x y", "label": [[0, 1, "\x1b[31m" + "P" * 50]]}), "doccano", "unknown labels ?[31mPPP"),
    (lines({"text": "Ana", "label": [{**REGION, "start": 0, "end": 3, "labels": [NAME, EMAIL]}]}), "doccano",
     "EMAIL and NAME_STUDENT at characters 0 to 3: expected one label; --label LABEL= drops one"),
    (json.dumps([{"data": {}}]), "label-studio", "entry 0: annotations: Field required"),
    (json.dumps([{"data": {"text": "x"}, "annotations": [{}]}]), "label-studio", "annotations.0.result: Field"),
    (lines(task("🐱 By Ana", (6, 9, NAME))), "label-studio", "NAME_STUDENT at characters 6 to 9: expected a part"),
    (lines({"text": "By Ana", "label": [{**REGION, "start": 2, "end": 4}]}), "doccano", "text: differs from the"),
    ("Ana", "conll", "line 1: expected a token and a tag"),
    ("By O\nAna B-", "conll", "line 2: expected a token and a tag: O, or B- or I- and a label"),
    ("", "conll", "holds no labelled documents"),
    ("{", "doccano", "not JSON"),
    ("[1]", "label-studio", "entry 0: expected an object"),
    (b"\xff", "conll", "not UTF-8 text at byte 0"),
]  # fmt: skip


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
    said = "train.json: 1 documents with 2 PII tokens; 1 spans cut through a token, which is labelled whole\n"
    assert capsys.readouterr().out == said
    (document,) = read_documents("train.json", labels_required=True)
    assert document.number == 4 and labelled(document) == [("Ana Silva", NAME)]
    assert join_tokens(document.tokens, document.trailing_whitespace) == document.full_text == text


def test_convert_needs_a_file_that_is_there(tmp_path, capsys):
    for form in FORMS:
        assert main(["convert", "--data", str(tmp_path / "x"), "--form", form, "--out", str(tmp_path / "y")]) == 2
        assert "no such file" in capsys.readouterr().err


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
