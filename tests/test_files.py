import pytest

from pii_kit.files import atomic_folder, atomic_write, recover_folder


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


def test_a_folder_takes_the_place_of_the_old_one_as_a_whole(tmp_path):
    for name in ("a", "b"):
        with atomic_folder(tmp_path / "state") as inside:
            (inside / name).write_text(name)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["b"]


@pytest.mark.parametrize("old_is_there", [True, False])
def test_a_kill_between_the_two_renames_is_made_good(tmp_path, old_is_there):
    complete = tmp_path / ".state.complete"
    complete.mkdir()
    (complete / "a").write_text("new")
    if old_is_there:
        (tmp_path / "state").mkdir()
        (tmp_path / "state" / "a").write_text("old")
    recover_folder(tmp_path / "state")
    assert (tmp_path / "state" / "a").read_text() == "new"
    assert not complete.exists()


def test_recovery_leaves_a_whole_folder_alone(tmp_path):
    with atomic_folder(tmp_path / "state") as inside:
        (inside / "a").write_text("kept")
    recover_folder(tmp_path / "state")
    assert (tmp_path / "state" / "a").read_text() == "kept"
