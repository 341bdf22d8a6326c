"""Every form of file: values, order and columns stay, and what cannot be read is one error that says where."""

import csv
import io
import json

import pyarrow
import pyarrow.parquet
import pytest

from pii_kit.documents import DataWarning, join_tokens, read_documents, tokenize
from pii_kit.files import KitError
from pii_kit.labels import PII_TYPES
from pii_kit.redact import MODES, Redaction
from pii_kit.redact.essays import read_essays
from pii_kit.redact.release import redact_essays

NAME = PII_TYPES[0]
TEXT = 'By Ngozi Okwuosa. "Ngozi", she said,\n  𝒳 \u200f said OKWUOSA; 12,5\x00 €.'
CLEAN = TEXT.replace("Ngozi Okwuosa", "[NAME_STUDENT]").replace("Ngozi", "[NAME_STUDENT]")
CLEAN = CLEAN.replace("OKWUOSA", "[NAME_STUDENT]")


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def labels_of(document) -> list[str]:
    """Label the first mention of each of the two names."""
    labels = ["O"] * len(document.tokens)
    for name in ("Ngozi", "Okwuosa"):
        if name in document.tokens:
            labels[document.tokens.index(name)] = f"{'B' if name == 'Ngozi' else 'I'}-{NAME}"
    return labels


def redacted(path, mode="type", text_column=None) -> dict[str, str]:
    """Return the redacted files of a file or folder, as text."""
    essays = read_essays(path, text_column)
    key = b"a key of a test, not a secret" if mode == "hash" else None
    release = redact_essays(essays, map(labels_of, essays.documents.values()), Redaction(mode=mode, key=key, seed=1))
    return {name: content.decode() for name, content in release.contents.items()}


def competition(text=TEXT, number=7, **more) -> dict:
    tokens, spaces = tokenize(text)
    return {"document": number, "full_text": text, "tokens": tokens, "trailing_whitespace": spaces, **more}


@pytest.mark.parametrize("mode", MODES)
def test_competition_json_stays_consistent_and_keeps_other_fields(tmp_path, mode):
    extra, path = {"école": [1.5, {"a": None}, 2**70]}, tmp_path / "in.json"
    labels = ["B-NAME_STUDENT" if token == "Ngozi" else "O" for token in tokenize(TEXT)[0]]
    original = [competition(labels=labels, **extra), competition("No PII here.", 9)]
    write(path, "\ufeff" + json.dumps(original, ensure_ascii=False))
    text = redacted(path, mode)[""]
    assert text[0] == "\ufeff"
    first, second = json.loads(text[1:])
    assert first["école"] == extra["école"] and list(first) == list(original[0])
    assert second == json.loads(json.dumps(original[1]))
    (document, _) = read_documents(write(tmp_path / "out.json", text))
    assert join_tokens(document.tokens, document.trailing_whitespace) == document.full_text
    assert "Okwuosa" not in document.full_text and document.types == {NAME}
    assert mode != "type" or document.full_text == CLEAN


def test_json_lines_may_hold_nothing_but_a_text(tmp_path):
    lines = [{"text": TEXT, "id": "x"}, {"document": 3, "full_text": "Hi"}, competition(number=4), {"Text ": "é\u2028"}]
    path = write(tmp_path / "in.jsonl", "\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n\n")
    new = [json.loads(line) for line in redacted(path)[""].removesuffix("\n").split("\n")]
    assert new[0] == {"text": CLEAN, "id": "x"} and new[1] == lines[1] and new[3] == lines[3]
    assert new[2]["full_text"] == CLEAN == join_tokens(new[2]["tokens"], new[2]["trailing_whitespace"])
    essays = read_essays(path)
    assert [document.number for document in essays.documents.values()] == [0, 1, 2, 3]
    assert [*essays.names.values()] == ["line 1 (id x)", "line 2 (document 3)", "line 3 (document 4)", "line 4"]


def test_half_a_surrogate_pair_in_json_survives(tmp_path):
    path = write(tmp_path / "in.json", '[{"full_text": "é \\ud83d Ngozi Okwuosa \\ude00\\ud83d\\ude00"}]')
    assert json.loads(redacted(path)[""]) == [{"full_text": "é \ud83d [NAME_STUDENT] \ude00\U0001f600"}]


def test_a_text_file_and_a_folder_of_them_without_links(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder / "b.txt", "\ufeff" + TEXT + "\r\n")
    write(folder / "a.md", "# " + TEXT)
    write(folder / "c.csv", "Ngozi Okwuosa")
    (folder / "p.txt").symlink_to("/etc/passwd")
    with pytest.warns(DataWarning, match=r"2 left out .*: c\.csv, p\.txt$"):
        assert redacted(folder) == {"a.md": "# " + CLEAN, "b.txt": "\ufeff" + CLEAN + "\r\n"}
    assert redacted(folder / "b.txt") == {"": "\ufeff" + CLEAN + "\r\n"}
    with pytest.warns(DataWarning):
        assert [*read_essays(folder).names.values()] == ["a.md", "b.txt"]


@pytest.mark.parametrize(("suffix", "delimiter"), [("csv", ","), ("csv", ";"), ("csv", "\t"), ("tsv", "\t")])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_csv_file_keeps_its_other_cells_and_its_separators(tmp_path, suffix, delimiter, end):
    rows = [
        ["who", " Full_Text ", "document"],
        ["=1+1", TEXT, "7"],
        ["é;,", "Ngozi Okwuosa", "8"],
        ["x" * 200_000, " ", "9"],
    ]
    buffer = io.StringIO(newline="")
    csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator=end, delimiter=delimiter).writerows(rows)
    path = write(tmp_path / f"in.{suffix}", "\ufeff" + buffer.getvalue())
    with pytest.warns(DataWarning, match=r"1 without text, passed through as they are: row 4"):
        new = redacted(path)[""]
    assert new.startswith("\ufeff") and new.endswith(end)
    found = list(csv.reader(io.StringIO(new[1:], newline=""), delimiter=delimiter))
    assert found == [rows[0], ["=1+1", CLEAN, "7"], ["é;,", "[NAME_STUDENT]", "8"], rows[3]]


def test_no_surrogate_becomes_a_formula_in_a_spreadsheet_and_signs_stay_elsewhere(tmp_path):
    for suffix, text in (("csv", "text,n\n+49 170 1234567,1\n"), ("txt", "+49 170 1234567")):
        essays = read_essays(write(tmp_path / f"in.{suffix}", text))
        release = redact_essays(essays, [["O"] * len(essays.documents[0].tokens)], Redaction(mode="surrogate"))
        new = release.contents[""].decode().removeprefix("text,n\n")
        assert new[0] == ("4" if suffix == "csv" else "+") and "1234567" not in new


def test_a_parquet_file_keeps_its_columns_types_and_missing_texts(tmp_path):
    tokens, spaces = tokenize(TEXT)
    columns = {"n": pyarrow.array([1, 2, None], pyarrow.int8()), "full_text": [TEXT, "Hi", None], "document": [5, 6, 7]}
    columns |= {"tokens": [tokens, ["Hi"], None], "trailing_whitespace": [spaces, [False], None]}
    table = pyarrow.table(columns, metadata={"made": "up"})
    pyarrow.parquet.write_table(table, tmp_path / "in.parquet")
    with pytest.warns(DataWarning, match="1 without text"):
        essays = read_essays(tmp_path / "in.parquet")
    release = redact_essays(essays, map(labels_of, essays.documents.values()), Redaction(mode="type"))
    new = pyarrow.parquet.read_table(io.BytesIO(release.contents[""]))
    assert new.schema.equals(pyarrow.parquet.read_schema(tmp_path / "in.parquet"), check_metadata=True)
    first, *others = new.to_pylist()
    assert first["full_text"] == CLEAN == join_tokens(first["tokens"], first["trailing_whitespace"])
    assert others == table.to_pylist()[1:] and first["n"] == 1


@pytest.mark.parametrize("value", ["null", "NaN", '""', '" \\n"'])
def test_texts_that_are_missing_pass_through_and_are_named(tmp_path, value):
    path = write(tmp_path / "in.json", f'[{{"text": "By Ngozi Okwuosa"}}, {{"text": {value}}}]')
    with pytest.warns(DataWarning, match="1 without text, passed through as they are: entry 2"):
        new = redacted(path)[""]
    assert repr(json.loads(new)[1]) == repr(json.loads(path.read_text())[1]) and "Okwuosa" not in new


def test_a_text_column_can_be_named_in_any_casing(tmp_path):
    path = write(tmp_path / "in.csv", "id,Essay \n4,By Ngozi Okwuosa\n")
    assert redacted(path, text_column="essay")[""] == "id,Essay \n4,By [NAME_STUDENT]\n"
    with pytest.raises(
        KitError, match=r"no column full_text or text; found id, Essay ; --text-column NAME chooses one"
    ):
        read_essays(path)
    with pytest.raises(KitError, match="no column 'body'; found id"):
        read_essays(path, "body")


@pytest.mark.parametrize("name", ["in.json", "in.jsonl", "in.csv", "in.tsv"])
def test_an_empty_file_is_a_warning(tmp_path, name):
    path = write(tmp_path / name, "[]" if name == "in.json" else "")
    with pytest.warns(DataWarning, match="the file holds no essays"):
        assert redacted(path)[""].strip() in ("", "[]")


def test_a_text_that_differs_from_its_tokens_becomes_what_they_spell(tmp_path):
    entry = competition("By Ngozi Okwuosa.") | {"full_text": "By  Ngozi Okwuosa !"}
    path = write(tmp_path / "in.json", json.dumps([entry]))
    with pytest.warns(DataWarning, match="1 whose text differs from their tokens.*: entry 1"):
        assert json.loads(redacted(path)[""])[0]["full_text"] == "By [NAME_STUDENT]."


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.json", '[{"full_text": "a", "full_text": "b"}]', "a field twice"),
        ("in.json", '[{"full_text": "a"}', "not JSON"),
        ("in.json", "[3]", "list of objects"),
        ("in.json", '{"full_text": "a"}', "list of objects"),
        ("in.json", "[" * 100_000, "not JSON"),
        ("in.json", '[{"title": "a"}]', "entry 1: no column full_text or text; found title"),
        ("in.json", '[{"document": 4, "full_text": 3}]', "entry 1: expected text, found int"),
        ("in.json", '[{"full_text": "a", "labels": ["O"]}]', "tokens: Field required"),
        ("in.json", '[{"document": 1, "text": "a"}, {"document": 1, "text": "b"}]', "used twice"),
        ("in.jsonl", '{"text": "a"}\n]', "line 2: not JSON"),
        ("in.csv", "text,n\na\n", "row 2: more or fewer cells than the 2"),
        ("in.csv", 'text,n\n"a,3', "quote"),
        ("in.csv", "text,tokens\na,a\n", "lists"),
        ("in.csv", "text,a,a\na,b,c\n", "one name"),
        ("in.parquet", "no", "not a parquet file"),
        ("in.txt", b"Jos\xe9", "not UTF-8 text at byte 3"),
        ("in.docx", "", "a table as csv and other text as plain text"),
        ("in", "", "no suffix is not read"),
    ],
)
def test_bad_input_is_one_error_with_its_place(tmp_path, name, content, message):
    with pytest.raises(KitError, match=message) as error:
        read_essays(write(tmp_path / name, content))
    assert str(error.value).startswith(str(tmp_path / name)) and "\n" not in str(error.value)


def test_a_submission_counts_the_tokens_of_the_competition(tmp_path):
    path = write(tmp_path / "in.csv", 'text\n"1.Ngozi|Bo wrote this"\n')
    tokens = [next(iter(read_essays(path, at_marks=at_marks).documents.values())).tokens for at_marks in (False, True)]
    assert tokens == [tokenize("1.Ngozi|Bo wrote this")[0], ("1.", "Ngozi", "|", "Bo", "wrote", "this")]
