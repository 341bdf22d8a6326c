"""Labels of other tools: hand-worked files, round trips, and errors that name file, place and what was expected."""

import json
import re

import pytest

from pii_kit.__main__ import main
from pii_kit.documents import DataWarning, join_tokens, read_documents, token_edges
from pii_kit.files import KitError
from pii_kit.interchange.readers import FORMS, read_annotations
from pii_kit.labels import EMAIL, NAME_STUDENT, STREET_ADDRESS, spans_of

NAME = NAME_STUDENT


@pytest.fixture
def read(tmp_path):
    """A function that writes a file and reads it as documents."""

    def read_it(content, form, **types):
        path = tmp_path / "export"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_annotations(path, form, types=types)

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


DOCCANO_ERRORS = [
    ({"label": []}, "entry 0: text: expected a string"),
    ({"text": "x"}, "entry 0: label: expected a list"),
    ({"text": "x", "label": [[0, 1]]}, "entry 0: label[0]: expected [start, end, label]"),
    ({"text": "x", "labels": [["0", 1, NAME]]}, "entry 0: labels[0]: expected [start, end, label]"),
    (
        {"text": "x", "entities": [{"label": NAME}]},
        "entry 0: entities[0]: expected [start, end, label], or start_offset",
    ),
    (
        {"text": "Ana", "label": [[0, 4, NAME]]},
        "NAME_STUDENT at characters 0 to 4: expected places in the text, which has 3",
    ),
    ({"text": "Ana", "label": [[-1, 2, NAME]]}, "at characters -1 to 2: expected places in the text"),
    ({"text": "Ana", "label": [[2, 2, NAME]]}, "at characters 2 to 2: expected places in the text"),
    ({"text": "Ana Li", "label": [[0, 5, NAME], [4, 6, EMAIL]]}, "EMAIL at characters 4 to 6: overlaps another span"),
    ({"text": "Ana Li", "label": [[0, 3, NAME], [0, 3, EMAIL]]}, "overlaps another span"),
    ({"text": "Ana  Li", "label": [[3, 5, NAME]]}, "has only whitespace"),
    ({"text": "x y", "label": [[0, 1, "PER"], [2, 3, "LOC"]]}, "unknown labels 'LOC', 'PER'; expected NAME_STUDENT"),
]
STUDIO_ERRORS = [
    ({"data": "x"}, "entry 0: data: expected an object"),
    ({"data": {"full_text": "x"}}, "entry 0: data: text: expected a string"),
    ({"data": {"text": "x"}}, "entry 0: annotations: expected a list"),
    ({"data": {"text": "x"}, "annotations": [{}]}, "annotations[0]: result: expected a list"),
    ({"data": {"text": "x"}, "annotations": [{"result": [{}]}]}, "annotations[0].result[0]: type: expected a string"),
    (
        {
            "data": {"text": "x"},
            "annotations": [{"result": [{"type": "labels", "value": {"labels": [NAME], "start": 0}}]}],
        },
        "result[0]: end: expected a whole number",
    ),
    (
        {
            "data": {"text": "x"},
            "annotations": [{"result": [{"type": "hypertextlabels", "value": {"start": "/p[1]"}}]}],
        },
        "result[0]: labels: expected a list",
    ),
    (
        {
            "data": {"text": "🐱 By Ana"},
            "annotations": [
                {"result": [{"type": "labels", "value": {"start": 6, "end": 9, "labels": [NAME], "text": "Ana"}}]}
            ],
        },
        "text: differs from the characters 6 to 9",
    ),
    (
        {
            "data": {"text": "Ana"},
            "annotations": [{"result": [{"type": "labels", "value": {"start": 0, "end": 3, "labels": [NAME, EMAIL]}}]}],
        },
        "labels: expected one label",
    ),
]
CONLL_ERRORS = [
    ("Ana", "line 1: expected a token and a tag"),
    ("By O\nAna B-", "line 2: expected a token and a tag: O, B-LABEL or I-LABEL"),
    ("By O\nAna S-PER", "line 2: expected a token and a tag"),
    ("By O\nAna I-PER", "line 2: I-PER continues nothing; expected B-PER before it"),
    ("Ana B-PER\nLi I-LOC", "line 2: I-LOC continues nothing"),
    ("Ana B-PER\n\nLi I-PER", "line 3: I-PER continues nothing"),
    ("", "holds no labelled documents"),
]
ERRORS = [(lines(entry), "doccano", message) for entry, message in DOCCANO_ERRORS]
ERRORS += [(lines(entry), "label-studio", message) for entry, message in STUDIO_ERRORS]
ERRORS += [(text, "conll", message) for text, message in CONLL_ERRORS]
ERRORS += [
    ("{", "doccano", "not JSON"),
    ("[1]", "label-studio", "a document is no object"),
    (b"\xff", "conll", "not UTF-8 text at byte 0"),
    ("", "csv", "form is 'csv'; expected one of doccano, label-studio, conll"),
]


@pytest.mark.parametrize(("content", "form", "message"), ERRORS)
def test_what_does_not_fit_is_an_error_that_names_file_and_place(content, form, message, read):
    with pytest.raises(KitError, match=re.escape(message)) as error:
        read(content, form)
    assert "export" in str(error.value) or form == "csv"


def test_a_label_cannot_be_mapped_to_an_unknown_type(read):
    with pytest.raises(KitError, match="unknown labels 'PER'"):
        read(lines({"text": "Ana", "label": [[0, 3, "PER"]]}), "doccano", PER="PERSON")


def test_convert_writes_a_train_json_and_says_what_it_extended(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = "By Ana Silva\u2019s Lund"
    (tmp_path / "in.jsonl").write_text(lines({"id": 4, "text": text, "label": [[3, 11, "A=PER"], [15, 19, "LOC"]]}))
    arguments = ["--data", "in.jsonl", "--form", "doccano", "--out", "train.json"]
    assert main(["convert", *arguments, "--label", f"A=PER={NAME}", "--label", "LOC="]) == 0
    said = "train.json: 1 documents with 2 PII tokens; 1 spans cut through a token, which is labelled whole\n"
    assert capsys.readouterr().out == said
    (document,) = read_documents("train.json", labels_required=True)
    assert document.number == 4 and labelled(document) == [("Ana Silva", NAME)]
    assert join_tokens(document.tokens, document.trailing_whitespace) == document.full_text == text


@pytest.mark.parametrize("label", ["PER", "PER=NAME", "=NAME_STUDENT"])
def test_a_wrong_mapping_is_refused(label, capsys):
    assert main(["convert", "--data", "x", "--form", "conll", "--out", "y", "--label", label]) == 2
    assert "expected" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("out", "message"), [("in.jsonl", "is used twice"), (".", "is a folder"), ("x", "no such file")]
)
def test_convert_overwrites_neither_its_input_nor_a_folder(out, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if message != "no such file":
        (tmp_path / "in.jsonl").write_text(lines({"text": "x", "label": []}))
    before = sorted(tmp_path.iterdir())
    for form in FORMS:
        assert main(["convert", "--data", "in.jsonl", "--form", form, "--out", out]) == 2
        assert message in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before
