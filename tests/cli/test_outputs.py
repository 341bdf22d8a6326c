"""No verb writes over anything that it reads, over a device, through a link, or into a folder that it reads."""

import os

import pytest

from pii_kit.cli import main

LABELLED = "--data essays.json --run run --train train.json"
FILES = {
    "convert": "convert --data essays.json --form doccano --out OUT",
    "predict": f"predict {LABELLED} --out OUT",
    "predict spans": f"predict {LABELLED} --format jsonl --out OUT",
    "errors": f"errors {LABELLED} --out OUT",
    "redact": f"redact {LABELLED} --mode type --allow allow.txt --out OUT",
    "redact rows": "redact --data essays.json --submission rows.csv --mode type --out OUT",
    "mapping": "redact --data essays.json --submission rows.csv --mode type --out new.json --mapping OUT",
    "report": "redact --data essays.json --decisions rows.csv --mode type --out new.json --report OUT",
    "restore": "redact --restore --data essays.json --mapping rows.csv --out OUT",
    "redact-eval": f"redact-eval {LABELLED} --out OUT",
    "review": f"review {LABELLED} --out OUT",
    "lm export": "lm export --run run --out OUT",
}
FOLDERS = {
    "sample": "sample --documents 4 --out OUT",
    "export": "export --run run --int8 essays.json --out OUT",
    "redact": "redact --data run --submission rows.csv --mode type --out OUT",
    "restore": "redact --restore --data run --mapping rows.csv --out OUT",
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with inputs, in which the test stands."""
    monkeypatch.chdir(tmp_path)
    for name in ("essays.json", "train.json", "rows.csv", "allow.txt", "elsewhere"):
        (tmp_path / name).write_text(f"content of {name}")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "essay.txt").write_text("content")
    (tmp_path / "link").symlink_to("elsewhere")
    (tmp_path / "dangling").symlink_to("run/new.json")
    (tmp_path / "folder link").symlink_to("run")
    os.link("essays.json", "hard link")
    return tmp_path


def content(place) -> dict[str, str]:
    return {str(path): path.read_text() for path in place.rglob("*") if path.is_file()}


def refused(command: str, out: str, place, capsys) -> None:
    before = content(place)
    assert main([out if word == "OUT" else word for word in command.split()]) == 2, out
    printed, error = capsys.readouterr()
    assert error.startswith(f"error: {out}: ") and error.count("\n") == 1 and not printed
    assert content(place) == before and (place / "link").is_symlink() and (place / "dangling").is_symlink()


@pytest.mark.parametrize("command", FILES.values(), ids=FILES)
def test_a_file_replaces_no_input_no_link_no_device_and_no_folder(command, place, capsys):
    inputs = [name for name in ("essays.json", "train.json", "rows.csv", "allow.txt") if name in command]
    inside = ["run/new.json", "dangling"] if "--run" in command else []
    for out in (*inputs, *inside, *["hard link"] * ("essays.json" in inputs), "link", os.devnull, "."):
        refused(command, out, place, capsys)


@pytest.mark.parametrize("command", FOLDERS.values(), ids=FOLDERS)
def test_a_folder_is_new_or_empty(command, place, capsys):
    for out in ("run", "elsewhere", "link", "folder link", os.devnull, "."):
        refused(command, out, place, capsys)


def test_two_outputs_of_one_command_are_two_files(place, capsys):
    command = "redact --data essays.json --submission rows.csv --mode type --out new.json"
    for more in ("--mapping new.json", "--report new.json", "--report new.html --mapping new.html"):
        assert main(f"{command} {more}".split()) == 2
        assert "is used twice" in capsys.readouterr().err and not (place / "new.json").exists()
