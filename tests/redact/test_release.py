"""Every form of file: the output has the input's layout, and the mapping restores the input byte for byte."""

import csv
import io
import json
import os
import stat
import sys

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pii_kit.documents import DataWarning, join_tokens, read_documents, tokenize
from pii_kit.files import KitError
from pii_kit.labels import LABELS, PII_TYPES
from pii_kit.redact import MODES, Redaction
from pii_kit.redact.forms import read_files
from pii_kit.redact.release import items_of, redact_files, report_of, restore, write_mapping, write_output
from pii_kit.sample import make_documents

NAME, EMAIL, USERNAME, ID, PHONE, URL, ADDRESS = PII_TYPES
TEXT = 'By Ana Silva. "Ana", she said,\n  𝒳 \u200f said ANA; 12,5\x00 €.'
CLEAN = TEXT.replace("Ana Silva", "[NAME_STUDENT]").replace("Ana", "[NAME_STUDENT]").replace("ANA", "[NAME_STUDENT]")


def labels_of(document) -> list[str]:
    """Label "Ana Silva"."""
    labels = ["O"] * len(document.tokens)
    for place, token in enumerate(document.tokens):
        if place and (document.tokens[place - 1], token) == ("Ana", "Silva"):
            labels[place - 1 : place + 1] = f"B-{NAME}", f"I-{NAME}"
    return labels


def release_of(path, *, mode="type", **more):
    files = read_files(path)
    key = {"key": b"a key of a test"} if mode == "hash" else {}
    chosen = Redaction(mode=mode, **key | more)
    return redact_files(files, [labels_of(item.document) for item in items_of(files)], chosen), chosen


def redacted_and_restored(path, out, **more):
    """Redact a file, check that the mapping restores it, and return the path of the output."""
    release, _ = release_of(path, **more)
    mapping, back = out.with_name("map.json"), out.with_name("back")
    write_output(out, release.output)
    write_mapping(mapping, release)
    restore(out, mapping, back)
    if path.is_dir():
        assert {file.name: file.read_bytes() for file in back.iterdir()} == {
            file.name: file.read_bytes() for file in path.iterdir()
        }
    else:
        assert back.read_bytes() == path.read_bytes()
    return out


def competition(text=TEXT, number=7, **more) -> dict:
    tokens, spaces = tokenize(text)
    return {"document": number, "full_text": text, "tokens": tokens, "trailing_whitespace": spaces, **more}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("layout", [{}, {"indent": 3}, {"ensure_ascii": False}, {"separators": (",", ":")}])
def test_competition_json_keeps_its_layout_and_other_fields(tmp_path, layout, mode):
    path, extra = tmp_path / "in.json", {"école": [1.50, {"a": None}]}
    entry = competition()
    labels = labels_of(next(iter(items_of(read_files(write(path, json.dumps([entry])))))).document)
    original = [competition(labels=labels, **extra), competition("No PII here.", 9)]
    write(path, "\ufeff" + json.dumps(original, **layout) + " \r\n")
    out = redacted_and_restored(path, tmp_path / "out.json", mode=mode)
    new = json.loads(out.read_text(encoding="utf-8-sig"))
    (document, second) = read_documents(out)
    assert join_tokens(document.tokens, document.trailing_whitespace) == document.full_text
    assert new[0]["école"] == extra["école"] and new[1] == json.loads(json.dumps(original[1]))
    assert "Silva" not in document.full_text and document.labels is not None and second.labels is None
    if mode == "type":
        assert document.full_text == CLEAN
        assert (
            json.dumps([*map(dict, new)], **layout).count("\n") == out.read_text("utf-8-sig").count("\n") - 1 or layout
        )


def write(path, text: str):
    path.write_bytes(text.encode())
    return path


def test_json_lines_may_hold_nothing_but_a_text(tmp_path):
    lines = [{"text": TEXT, "id": "x"}, {"document": 3, "full_text": "Hi"}, competition(number=4)]
    path = write(tmp_path / "in.jsonl", "\n".join(json.dumps(line) for line in lines) + "\n\n")
    out = redacted_and_restored(path, tmp_path / "out.jsonl")
    new = [json.loads(line) for line in out.read_text().split("\n")[:3]]
    assert new[0] == {"text": CLEAN, "id": "x"} and new[1] == lines[1] and new[2]["full_text"] == CLEAN
    assert join_tokens(new[2]["tokens"], new[2]["trailing_whitespace"]) == CLEAN
    assert [item.document.number for item in items_of(read_files(path))] == [0, 1, 2]


def test_a_text_file_and_a_folder_of_them(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder / "b.txt", "\ufeff" + TEXT + "\r\n")
    write(folder / "a.txt", "")
    out = redacted_and_restored(folder, tmp_path / "out")
    assert {file.name: file.read_bytes().decode() for file in out.iterdir()} == {
        "a.txt": "",
        "b.txt": "\ufeff" + CLEAN + "\r\n",
    }
    write(folder / "c.md", "Ana Silva")
    with pytest.warns(DataWarning, match="no .txt files: 1$"):
        assert len(read_files(folder)) == 2
    single = redacted_and_restored(folder / "b.txt", tmp_path / "one" / "out.txt")
    assert single.read_bytes() == (out / "b.txt").read_bytes()


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_csv_file_keeps_its_other_cells(tmp_path, quoting, end):
    rows = [["who", "full_text", "document"], ["=1+1", TEXT, "7"], ["é", "Ana Silva", "8"], ["", "", "9"]]
    buffer = io.StringIO(newline="")
    csv.writer(buffer, quoting=quoting, lineterminator=end).writerows(rows)
    path = write(tmp_path / "in.csv", "\ufeff" + buffer.getvalue())
    out = redacted_and_restored(path, tmp_path / "out.csv")
    new = list(csv.reader(io.StringIO(out.read_bytes().decode("utf-8-sig"), newline="")))
    assert new == [rows[0], ["=1+1", CLEAN, "7"], ["é", "[NAME_STUDENT]", "8"], ["", "", "9"]]


def test_a_surrogate_with_a_comma_is_quoted_and_none_is_a_formula(tmp_path):
    path = write(tmp_path / "in.csv", "text,n\n12 High Street,1\n+49 170 123456,2\n")
    files = read_files(path)
    kinds = (ADDRESS, PHONE)
    labels = [
        [f"{'I' if place else 'B'}-{kind}" for place, _ in enumerate(item.document.tokens)]
        for item, kind in zip(items_of(files), kinds, strict=True)
    ]
    for seed in range(8):
        release = redact_files(files, labels, Redaction(mode="surrogate", seed=seed))
        rows = list(csv.reader(io.StringIO(release.output[""].decode(), newline="")))
        assert [row[1:] for row in rows] == [["n"], ["1"], ["2"]]
        assert all(row[0][0] not in "=+-@\t\r" for row in rows)


def test_a_parquet_file_keeps_its_columns_and_types(tmp_path):
    path = tmp_path / "in.parquet"
    tokens, spaces = tokenize(TEXT)
    columns = {"n": pyarrow.array([1, 2], pyarrow.int8()), "full_text": [TEXT, "Hi"], "document": [5, 6]}
    columns |= {"tokens": [tokens, ["Hi"]], "trailing_whitespace": [spaces, [False]]}
    table = pyarrow.table(columns, metadata={"made": "up"})
    pyarrow.parquet.write_table(table, path, compression="gzip")
    new = pyarrow.parquet.read_table(redacted_and_restored(path, tmp_path / "out.parquet"))
    assert new.schema.equals(pyarrow.parquet.read_schema(path), check_metadata=True)
    first, second = new.to_pylist()
    assert first["full_text"] == CLEAN == join_tokens(first["tokens"], first["trailing_whitespace"])
    assert second == table.to_pylist()[1] and first["n"] == 1


def test_parquet_without_pyarrow_is_a_clear_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(KitError, match="pip install pyarrow"):
        read_files(write(tmp_path / "in.parquet", "PAR1"))


texts = st.lists(
    st.sampled_from(["Ana Silva", "Silva", "ana", '"', ",", "\n", "\r\n", "\\", "é", "𝒳", "\x00", " ", "a"])
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(texts.map("".join), min_size=1, max_size=3),
    st.sampled_from(MODES),
    st.sampled_from(["json", "ascii.json", "jsonl", "csv", "txt"]),
    st.randoms(use_true_random=False),
)
def test_any_text_in_any_form_is_restored_exactly(tmp_path_factory, bodies, mode, form, rng):
    folder = tmp_path_factory.mktemp("form")
    entries = [competition(text, number) for number, text in enumerate(bodies)]
    entries = [entry | {"labels": rng.choices(LABELS, k=len(entry["tokens"]))} for entry in entries]
    path = folder / f"in.{form}"
    if form.endswith("json"):
        write(path, json.dumps(entries, ensure_ascii=form == "ascii.json"))
    elif form == "jsonl":
        write(path, "\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in bodies))
    elif form == "csv":
        buffer = io.StringIO(newline="")
        csv.writer(buffer, quoting=csv.QUOTE_ALL).writerows([["text"], *([text] for text in bodies)])
        write(path, buffer.getvalue())
    else:
        write(path, bodies[0])
    files = read_files(path)
    labels = [rng.choices(["O", *LABELS], k=len(item.document.tokens)) for item in items_of(files)]
    chosen = Redaction(mode=mode, key=b"a key of a test")
    release = redact_files(files, labels, chosen)
    assert release.output == redact_files(files, labels, chosen).output
    write_output(folder / f"out.{form}", release.output)
    write_mapping(folder / "map", release)
    restore(folder / f"out.{form}", folder / "map", folder / "back")
    assert (folder / "back").read_bytes() == path.read_bytes()
    again = [item.document for item in items_of(read_files(folder / f"out.{form}"))]
    assert [document.full_text for document in again] == [one.document.full_text for one in release.redacted]
    if form.endswith("json"):
        assert again == [one.document for one in release.redacted]


def test_half_a_surrogate_pair_in_json_survives(tmp_path):
    path = write(tmp_path / "in.json", '[{"full_text": "\\ud83d Ana Silva \\ude00\\ud83d\\ude00 Ana."}]')
    out = redacted_and_restored(path, tmp_path / "out.json")
    expected = '[{"full_text": "\\ud83d [NAME_STUDENT] \\ude00\\ud83d\\ude00 [NAME_STUDENT]."}]'
    assert out.read_text() == expected


def test_a_text_that_differs_from_its_tokens_becomes_what_they_spell(tmp_path):
    entry = competition("By Ana Silva.") | {"full_text": "By  Ana Silva !"}
    path = write(tmp_path / "in.json", json.dumps([entry]))
    with pytest.warns(DataWarning, match="1 of 1"):
        out = redacted_and_restored(path, tmp_path / "out.json")
    assert read_documents(out)[0].full_text == "By [NAME_STUDENT]."


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_only_its_owner_may_read_a_mapping_even_while_it_is_written(tmp_path, monkeypatch):
    path, mapping = write(tmp_path / "in.txt", "By Ana Silva"), tmp_path / "map.json"
    mapping.write_text("an earlier one")
    mapping.chmod(0o666)
    seen = []
    dump = json.dump

    def watched(*args, **more):
        dump(*args, **more)
        seen.extend(stat.S_IMODE(file.stat().st_mode) for file in tmp_path.glob(".map.json*"))

    monkeypatch.setattr(json, "dump", watched)
    old = os.umask(0)
    try:
        write_mapping(mapping, release_of(path)[0])
    finally:
        os.umask(old)
    assert seen == [0o600] and stat.S_IMODE(mapping.stat().st_mode) == 0o600


def test_restore_refuses_changed_files_other_files_and_damaged_mappings(tmp_path):
    path, out, mapping = write(tmp_path / "in.txt", TEXT), tmp_path / "out.txt", tmp_path / "map.json"
    release, _ = release_of(path)
    write_output(out, release.output)
    write_mapping(mapping, release)
    content = json.loads(mapping.read_text())
    content["files"][0]["edits"][0][2] = "Eve"
    damaged = write(tmp_path / "damaged.json", json.dumps(content))
    with pytest.raises(KitError, match="damaged"):
        restore(out, damaged, tmp_path / "back")
    for wrong in ("[]", "{", "{}", json.dumps({"format": content["format"], "files": 3})):
        with pytest.raises(KitError, match="not a mapping"):
            restore(out, write(tmp_path / "wrong.json", wrong), tmp_path / "back")
    with pytest.raises(KitError, match="no such file"):
        restore(out, tmp_path / "none.json", tmp_path / "back")
    out.write_bytes(out.read_bytes() + b" ")
    with pytest.raises(KitError, match="changed since"):
        restore(out, mapping, tmp_path / "back")
    with pytest.raises(KitError, match="other files"):
        restore(tmp_path, mapping, tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.json", '[{"full_text": "a", "full_text": "b"}]', "twice"),
        ("in.json", '[{"full_text": "a"}', "not JSON"),
        ("in.json", "[3]", "no object"),
        ("in.json", "[" * 100_000, "not JSON"),
        ("in.json", '[{"title": "a"}]', "entry 0: full_text missing"),
        ("in.json", '[{"document": 4, "full_text": 3}]', "document 4: full_text: expected a string"),
        ("in.json", '[{"full_text": "a", "labels": ["O"]}]', "tokens, trailing_whitespace missing"),
        ("in.json", '[{"document": 1, "text": "a"}, {"document": 1, "text": "b"}]', "used twice"),
        ("in.jsonl", '{"text": "a"}\n]', "not JSON lines"),
        ("in.csv", "text,n\na\n", "row 2: 1 cells; expected 2"),
        ("in.csv", 'text\n"a', "quote"),
        ("in.csv", "title\na\n", "header"),
        ("in.csv", "text,tokens\na,a\n", "tokens"),
        ("in.parquet", "no", "not a parquet file"),
        ("in.docx", "", "unknown form"),
    ],
)
def test_bad_input_is_one_error_with_its_place(tmp_path, name, content, message):
    with pytest.raises(KitError, match=message):
        read_files(write(tmp_path / name, content))


def test_text_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "in.txt").write_bytes(b"Jos\xe9")
    with pytest.raises(KitError, match="byte 3"):
        read_files(tmp_path / "in.txt")


def test_documents_cannot_choose_paths(tmp_path):
    path = write(tmp_path / "in.jsonl", json.dumps({"document": "../../x", "text": "By Ana Silva"}))
    redacted_and_restored(path, tmp_path / "sub" / "out.jsonl")
    assert sorted(file.name for file in tmp_path.rglob("*")) == sorted(
        ["in.jsonl", "sub", "out.jsonl", "map.json", "back"]
    )


def test_an_existing_folder_is_never_replaced(tmp_path):
    write(tmp_path / "a.txt", "keep")
    with pytest.raises(KitError, match="exists already"):
        write_output(tmp_path, {"b.txt": b"new"})
    with pytest.raises(KitError, match="is a folder"):
        write_output(tmp_path, {"": b"new"})
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def leaks_of(tmp_path, text, **more):
    entry = {"document": 5, "text": text, **more.pop("fields", {})}
    release, chosen = release_of(write(tmp_path / "in.jsonl", json.dumps(entry)), **more)
    return release, chosen


def test_a_planted_leak_is_found_and_words_are_explained(tmp_path):
    release, _ = leaks_of(tmp_path, "By Ana Silva. xanasilvax; a banana; analysis")
    new = release.redacted[0].document.full_text
    found = [(new[leak.start :][:5].lower(), leak.reason) for leak in release.leaks]
    assert found == [("anasi", ""), ("silva", ""), ("anana", "part of another word"), ("analy", "part of another word")]
    assert {(leak.document, leak.field, leak.pii_type) for leak in release.leaks} == {(5, "full_text", NAME)}
    release, _ = leaks_of(tmp_path, "By Ana Silva. Ana", mentions=False)
    assert [leak.reason for leak in release.leaks] == [""]
    release, _ = leaks_of(tmp_path, "By Ana Silva. Ana", allow=frozenset({"ana"}))
    assert [leak.reason for leak in release.leaks] == ["allowed"]


def test_other_fields_are_searched_too(tmp_path):
    release, _ = leaks_of(tmp_path, "By Ana Silva.", fields={"author": "ana", "more": {"deep": ["SILVA"]}})
    assert [(leak.field, leak.reason) for leak in release.leaks] == [("author", ""), ("more", "")]


@pytest.mark.parametrize("mode", MODES)
def test_a_clean_release_has_no_leaks(tmp_path, mode):
    release, _ = leaks_of(tmp_path, TEXT, mode=mode)
    assert release.leaks == ()


@pytest.mark.parametrize(
    ("mode", "key", "reasons"), [("surrogate", b"0123456789abcdef", [""]), ("surrogate", None, [])]
)
def test_with_a_key_strings_are_searched_in_all_documents(tmp_path, mode, key, reasons):
    texts = ["By Ana Silva.", "I know ana  silva, they say, and Ana"]
    path = write(tmp_path / "in.jsonl", "\n".join(json.dumps({"text": text}) for text in texts))
    files = read_files(path)
    documents = [item.document for item in items_of(files)]
    labels = [labels_of(documents[0]), ["O"] * len(documents[1].tokens)]
    release = redact_files(files, labels, Redaction(mode="surrogate", key=key))
    assert [leak.reason for leak in release.leaks if leak.document == 1] == reasons


def test_a_report_counts_and_holds_no_text(tmp_path):
    release, chosen = leaks_of(tmp_path, "By Ana Silva. Silva met xsilvax", allow=frozenset({"zebra"}))
    report = report_of(release, chosen, {})
    assert report["types"] == {NAME: {"spans": 1, "mentions": 1, "kept": 0}}
    assert report["leaks"]["unexplained"] == 1 and report["look_at_first"] == [5]
    assert report["mentions"] == [{"document": 5, "start": 19, "type": NAME}]
    written = json.dumps(report).lower()
    assert not any(word in written for word in ("silva", "zebra", "ana ", "met"))


def test_made_up_essays_are_redacted_without_unexplained_leaks_in_every_mode(tmp_path):
    documents = make_documents(60, seed=3)
    path = tmp_path / "in.json"
    entries = [competition(document.full_text, document.number) for document in documents]
    files = read_files(write(path, json.dumps(entries)))
    for mode in MODES:
        chosen = Redaction(mode=mode, key=b"0123456789abcdef" if mode == "hash" else None)
        release = redact_files(files, [document.labels for document in documents], chosen)
        n_changed = sum(bool(one.changes) for one in release.redacted)
        assert n_changed == sum(bool(document.types) for document in documents) > 0
        assert len(release.unexplained) <= 2, mode
