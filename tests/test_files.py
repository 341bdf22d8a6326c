import os
from contextlib import nullcontext

import pytest
from pydantic import BaseModel, Field

from pii_kit.files import (
    KitError,
    atomic_folder,
    atomic_write,
    check_output,
    read_json,
    read_record,
    recover_folder,
    write_json,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as handle:
        handle.write("half of the n")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("private", [False, True])
def test_a_write_replaces_the_file_and_makes_its_folder(tmp_path, private):
    path = tmp_path / "new" / "file.txt"
    for text in ("first", "second\r\n"):
        with atomic_write(path, private=private) as handle:
            handle.write(text)
        assert path.read_bytes() == text.encode()
        assert not private or path.stat().st_mode & 0o77 == 0


def test_a_new_folder_replaces_the_old_one_completely_or_not_at_all(tmp_path):
    for name in ("a", "b"):
        with atomic_folder(tmp_path / "state") as inside:
            (inside / name).write_text(name)
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "state") as inside:
        (inside / "a").write_text("new")
        raise RuntimeError
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


@pytest.mark.parametrize("old_is_there", [True, False])
def test_a_folder_swap_that_was_killed_is_finished(tmp_path, old_is_there):
    complete = tmp_path / ".state.complete"
    complete.mkdir()
    (complete / "a").write_text("new")
    if old_is_there:
        (tmp_path / "state").mkdir()
        (tmp_path / "state" / "a").write_text("old")
    recover_folder(tmp_path / "state")
    assert (tmp_path / "state" / "a").read_text() == "new"
    assert not complete.exists()


class Record(BaseModel):
    share: float = Field(ge=0, le=1)
    names: tuple[str, ...] = ()


def test_a_record_is_read_as_it_was_written(tmp_path):
    write_json(tmp_path / "run.json", {"share": 0.5, "names": ["a"]})
    assert read_json(tmp_path / "run.json") == {"share": 0.5, "names": ["a"]}
    assert read_record(tmp_path / "run.json", Record) == Record(share=0.5, names=("a",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "not a run folder, because run.json is missing"),
        (b'{"f5"', "run.json: damaged"),
        (b"\xff", "run.json: damaged"),
        (b"[" * 100_000, "run.json: damaged"),
        (b"[]", "run.json: expected an object, found a list"),
        (b"{}", "run.json: share: Field required"),
        (b'{"share": NaN}', "NaN is no number"),
        (b'{"share": 1e999}', "share: expected less than or equal to 1, found inf"),
        (b'{"share": 1, "names": ["a", "' + b"\\u001b" * 60 + b'", 3]}', "names.2: expected a valid string, found 3"),
        (b'{"share": "' + b"\\u001bx\\n" * 60 + b'"}', "share: expected a valid number"),
    ],
)
def test_a_record_that_is_missing_or_wrong_is_an_error_in_one_line(tmp_path, content, message):
    if content is not None:
        (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(KitError) as error:
        read_record(tmp_path / "run.json", Record)
    assert message in str(error.value) and str(error.value).isprintable() and len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("out", "folder", "message"),
    [
        ("in.json", False, "is used twice"),
        ("hard.json", False, "is used twice"),
        ("link.json", False, "is a link"),
        ("inside/new.json", False, "is inside the input folder"),
        ("by_link/new.json", False, "is inside the input folder"),
        ("other", False, "is a folder"),
        ("pipe", False, "is a device"),
        ("inside", True, "is used twice"),
        ("full", True, "exists already"),
        ("new.json", False, None),
        ("old.json", False, None),
        ("other", True, None),
        ("new", True, None),
    ],
)
def test_an_output_replaces_no_input_device_link_or_folder(tmp_path, out, folder, message):
    for name in ("inside", "other", "full"):
        (tmp_path / name).mkdir()
    for name in ("in.json", "old.json", "full/file"):
        (tmp_path / name).write_text("{}")
    os.link(tmp_path / "in.json", tmp_path / "hard.json")
    (tmp_path / "link.json").symlink_to("old.json")
    (tmp_path / "by_link").symlink_to("inside")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(KitError, match=message) if message else nullcontext():
        check_output(tmp_path / out, tmp_path / "in.json", None, tmp_path / "inside", folder=folder)
