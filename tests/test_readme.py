"""What the README files say: commands are understood, examples print what they say, named files exist."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "cli"))
from commands import parse, verbs

ROOT = Path(__file__).parents[1]
PAGES = {path: (ROOT / path).read_text() for path in ("README.md", "notebooks/README.md", "pii_kit/README.md")}
PAGES["pii_kit/redact/README.md"] = (ROOT / "pii_kit/redact/README.md").read_text()
README = PAGES["README.md"]
COMMANDS = {
    command for text in PAGES.values() for command in re.findall(r"^    \S*pii-kit ([a-z].*?)\s*(?:#|$)", text, re.M)
}
EXAMPLES = [block for text in PAGES.values() for block in re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.M)]


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_a_command_is_understood(command):
    parse(*command.replace("'", "").split())


def test_the_readme_names_every_verb():
    named = set(re.findall(r"`([\w-]+)`", README))
    assert {name[0] for name in verbs()} <= named


def test_the_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for text in PAGES.values() for target in re.findall(r"(?:`|    )make ([a-z-]+)", text)}
    assert named and named <= targets


def test_linked_files_and_notebooks_exist():
    for path, text in PAGES.items():
        for link in re.findall(r"\]\((?!http|#)([^)#]+)", text):
            assert ((ROOT / path).parent / link).exists(), (path, link)
    for path in ("README.md", "notebooks/README.md"):
        named = re.findall(r"`(\d\d_\w+)`", PAGES[path])
        assert {notebook.stem for notebook in (ROOT / "notebooks").glob("*.ipynb")} == set(named)


@pytest.mark.parametrize("example", [block for block in EXAMPLES if "PII_TYPES" not in block])
def test_an_example_prints_what_it_says(example, capsys):
    if "presidio" in example:
        pytest.importorskip("presidio_analyzer")
    exec(example, {})
    printed = capsys.readouterr().out.splitlines()
    expected = re.findall(r"print\(.*# (.*)", example)
    assert printed and (not expected or printed == expected)


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 200


def test_pinned_versions_lie_in_the_ranges_of_the_project():
    pins = dict(re.findall(r"^([\w-]+)==([\d.]+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"] | {"spark": []}  # not installed: 450 MB, and it needs Java
    ranges = project["dependencies"] + [one for extra in extras.values() for one in extra]
    for name, low in (re.fullmatch(r"([\w-]+)(?:\[\w+\])?[>=]=([\d.]+)", one).groups() for one in ranges):
        assert name in pins, name
        assert [int(n) for n in pins[name].split(".")] >= [int(n) for n in low.split(".")], name
