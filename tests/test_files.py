from types import SimpleNamespace

import pytest

from pii_kit.files import (
    KitError,
    atomic_folder,
    atomic_write,
    check_choice,
    check_overlap,
    check_positive,
    check_shares,
    in_one_line,
    read_json,
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


def test_a_write_replaces_the_file_and_makes_its_folder(tmp_path):
    path = tmp_path / "new" / "file.txt"
    for text in ("first", "second\r\n"):
        with atomic_write(path) as handle:
            handle.write(text)
        assert path.read_bytes() == text.encode()


def test_a_failed_folder_leaves_the_old_one_and_nothing_else(tmp_path):
    with atomic_folder(tmp_path / "state") as inside:
        (inside / "a").write_text("old")
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "state") as inside:
        (inside / "a").write_text("new")
        raise RuntimeError
    assert (tmp_path / "state" / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_new_folder_replaces_the_old_one_completely(tmp_path):
    for name in ("a", "b"):
        with atomic_folder(tmp_path / "state") as inside:
            (inside / name).write_text(name)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["b"]


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


def test_recovery_changes_nothing_without_a_killed_swap(tmp_path):
    with atomic_folder(tmp_path / "state") as inside:
        (inside / "a").write_text("kept")
    recover_folder(tmp_path / "state")
    assert (tmp_path / "state" / "a").read_text() == "kept"


@pytest.mark.parametrize(
    ("check", "values", "needle"),
    [
        (lambda given: check_positive(given, "a", "b"), {"a": 1, "b": 0}, "b is 0; expected more than 0"),
        (lambda given: check_positive(given, "a"), {"a": float("nan")}, "a is nan"),
        (lambda given: check_shares(given, "a", "b"), {"a": -0.1, "b": 2}, "a is -0.1; expected 0 to 1"),
        (lambda given: check_choice(given, "a", ("x", "y")), {"a": "z"}, "a is 'z'; expected one of x, y"),
        (check_overlap, {"overlap": 6, "window_size": 8}, "overlap is 6; expected 0 to 5 in a window"),
        (check_overlap, {"overlap": -1, "window_size": 8}, "overlap is -1"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_its_name(check, values, needle):
    with pytest.raises(KitError, match=needle):
        check(SimpleNamespace(**values))


def test_settings_at_their_limits_pass():
    settings = SimpleNamespace(least=1e-9, share=0, whole=1.0, name="x", overlap=5, window_size=8)
    check_positive(settings, "least")
    check_shares(settings, "share", "whole")
    check_choice(settings, "name", {"x": 1})
    check_overlap(settings)


def test_json_is_read_as_it_was_written_and_bad_files_are_named(tmp_path):
    write_json(tmp_path / "run.json", {"f5": 0.5, "folds": [1, None]})
    assert read_json(tmp_path / "run.json") == {"f5": 0.5, "folds": [1, None]}
    with pytest.raises(KitError, match=r"not a run folder, because result\.json is missing"):
        read_json(tmp_path / "result.json")
    for content in (b'{"f5"', b"\xff"):
        (tmp_path / "run.json").write_bytes(content)
        with pytest.raises(KitError, match=r"run\.json: damaged"):
            read_json(tmp_path / "run.json")


def test_an_error_of_several_lines_is_shown_on_one_short_line():
    assert in_one_line(ValueError("two\n  lines")) == "two lines"
    assert len(in_one_line(ValueError("x" * 1000))) == 300
