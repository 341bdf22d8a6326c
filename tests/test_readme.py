import importlib
import re
import sys
import tomllib
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "cli"))
from commands import parse, verbs

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"python -m pii_kit ([a-z][^`\n#]*?)\s*(?:`|#|$)", README, re.MULTILINE)


@pytest.mark.parametrize("command", [command for command in COMMANDS if "VERB" not in command])
def test_a_command_of_the_readme_is_understood(command):
    parse(*command.split())


def test_the_readme_names_every_verb():
    names = {verb for verb, *_ in verbs()}
    assert {verb for verb in names if f"`{verb}" not in README and f"pii_kit {verb}" not in README} == set()


def test_the_make_targets_of_the_readme_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|    )make ([a-z]+)", README))
    assert named and named <= targets


def test_the_folder_tree_of_the_readme_is_the_packages():
    """Each top-level module and folder of the package has a line of its own in the tree, and each line a file."""
    tree = README.split("## Folders")[1].split("    pii_kit/\n")[1].split("    submissions/")[0]
    listed = set(re.findall(r"^      (\S+)", tree, re.MULTILINE))
    entries = {path.name + "/" * path.is_dir() for path in (ROOT / "pii_kit").iterdir()}
    assert listed == {entry for entry in entries if not entry.startswith("_")}


def test_the_readme_lists_every_notebook():
    assert {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} <= set(re.findall(r"`(\d\d_\w+)`", README))


def test_pinned_versions_lie_in_the_ranges_of_the_project():
    pins = dict(re.findall(r"^([\w-]+)==([\d.]+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    # The first is pinned in pyproject.toml, and no test needs it; Spark's test is skipped where it is missing.
    extras = project["optional-dependencies"] | {"lexicon": [], "spark": []}
    ranges = project["dependencies"] + [one for extra in extras.values() for one in extra]
    for name, low in (re.fullmatch(r"([\w-]+)(?:\[\w+\])?[>=]=([\d.]+)", one).groups() for one in ranges):
        assert name in pins, name
        assert [int(n) for n in pins[name].split(".")] >= [int(n) for n in low.split(".")], name


def test_the_example_of_the_readme_prints_what_it_says(capsys):
    section = (ROOT / "README.md").read_text().split("## In Python\n")[1].split("\n## ")[0]
    (example,) = re.findall(r"^```python\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    exec(example, {})
    expected = re.findall(r"print.*# (.*)", example)
    assert len(expected) == 2 and capsys.readouterr().out.splitlines() == expected


def test_the_names_of_the_readme_are_in_the_package():
    table = (ROOT / "README.md").read_text().split("## In Python\n")[1].split("\n## ")[0]
    names = [name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(.*?)`", row)]
    for name in names:
        path = name if name.startswith("pii_kit.") else f"pii_kit.{name}"
        module, _, attribute = path.rpartition(".")
        found = importlib.import_module(module)
        assert hasattr(found, attribute) or importlib.import_module(path), path
    assert len(names) > 10
