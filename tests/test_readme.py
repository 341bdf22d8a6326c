import re
import tomllib
from pathlib import Path

from pii_kit.__main__ import _parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_every_command_line_in_the_readme_is_understood():
    commands = re.findall(r"`python -m pii_kit ([a-z]+ --[^`]+)`", README)
    assert len(commands) == 3
    for command in commands:
        _parser().parse_args(command.split())


def test_the_make_targets_of_the_readme_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|    )make ([a-z]+)", README)) <= targets


def test_every_module_and_notebook_is_in_the_readme():
    names = {path.stem for path in (ROOT / "pii_kit").glob("[a-z]*.py")}
    tree = README.split("## What lies where")[1]
    assert {name for name in names if not re.search(rf"\b{name}\b", tree)} == set()
    assert {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} <= set(re.findall(r"`(\d\d_\w+)`", README))


def test_what_is_pinned_lies_in_the_ranges_that_the_package_states():
    pins = dict(re.findall(r"^([\w-]+)==([\d.]+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ranges = project["dependencies"] + [one for extra in project["optional-dependencies"].values() for one in extra]
    for name, low in (re.fullmatch(r"([\w-]+)[>=]=([\d.]+)", one).groups() for one in ranges):
        assert name in pins, name
        assert [int(n) for n in pins[name].split(".")] >= [int(n) for n in low.split(".")], name
