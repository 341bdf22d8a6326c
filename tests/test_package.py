"""The package as it is shipped: its declared dependencies, its layers, and a wheel that works alone."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest

from pii_kit.documents import write_documents

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pii_kit"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Installed to be run as commands, by Jupyter, or for an example, and never imported by the package.
COMMANDS = {"kaggle", "six", "onnx", "jupyterlab", "ipykernel", "ipywidgets", "pyspark"}


def name_of(requirement: str) -> str:
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")


def imported_distributions() -> set[str]:
    """The distributions that the modules of the package import, at their top or inside functions."""
    modules = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules.add(node.module.split(".")[0])
    distributions = importlib.metadata.packages_distributions()
    modules -= sys.stdlib_module_names | {"pii_kit"}
    return {name_of(distributions.get(name, [name])[0]) for name in modules}


def test_the_project_declares_what_it_imports_and_nothing_else():
    declared = {name_of(one) for one in PROJECT["dependencies"]}
    optional = {name_of(one) for extra in PROJECT["optional-dependencies"].values() for one in extra}
    imported = imported_distributions()
    assert imported <= declared | optional, "imported, but not declared"
    assert declared <= imported, "declared, but never imported"
    assert optional - imported <= COMMANDS, "declared as an extra, but never imported or run"


def test_everything_but_training_documents_can_be_imported_without_faker_and_the_notebook_tools():
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in PACKAGE.rglob("*.py")
    ]
    hidden = "sys.modules.update(faker=None, papermill=None, jupyterlab=None, kaggle=None)"
    program = f"import importlib, sys\n{hidden}\nfor name in {modules}: importlib.import_module(name)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """A new environment with the packages of this one, but with the kit from its wheel alone."""
    folder = tmp_path_factory.mktemp("environment")
    wheels = tmp_path_factory.mktemp("wheels")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(ROOT)],
        check=True,
    )
    venv.create(folder, symlinks=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(("pii_kit", "__editable__")):
            (site / entry.name).symlink_to(entry)
    (wheel,) = wheels.glob("pii_kit-*.whl")
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-index", "--no-deps", str(wheel)], check=True)
    return python


def run_elsewhere(python: Path, place: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [str(python), *arguments]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


COMMANDS_OF_A_USER = """
import sys, pii_kit
from pii_kit.__main__ import main
print(pii_kit.__file__)
for verb, *arguments in [
    ["sample", "--out", "made_up", "--documents", "20"],
    ["errors", "--run", RUN, "--data", "train.json", "--out", "e.html"],
    ["review", "--run", RUN, "--data", "train.json", "--out", "r.html"],
    ["predict", "--run", RUN, "--data", "made_up/test.json", "--out", "predicted.csv"],
    ["check", "--data", "made_up/test.json", "--submission", "predicted.csv"],
]:
    assert main([verb, *arguments]) == 0, verb
sys.stderr = sys.stdout
assert main(["kaggle", "build", "--out", "kit", "--owner", "me"]) == 2
"""


def test_a_wheel_alone_runs_commands_and_a_notebook(python, tmp_path, cross_validated, documents):
    """Everything that is read from package data is in the wheel: topics, schema, what pages are made of, py.typed."""
    write_documents(tmp_path / "train.json", documents)
    (tmp_path / "kaggle_metadata.json").write_text("{}")
    run = str(cross_validated(0)[0])
    printed = run_elsewhere(python, tmp_path, "-c", COMMANDS_OF_A_USER.replace("RUN", repr(run)))
    where, *lines = printed.splitlines()
    assert not Path(where).is_relative_to(ROOT)
    assert (Path(where).parent / "py.typed").is_file()  # type checkers then read the annotations
    assert all("</script>" in (tmp_path / name).read_text() for name in ("e.html", "r.html"))
    assert any("nothing wrong" in line for line in lines)
    assert any("kaggle_metadata.json: competition: Field required" in line for line in lines)
    notebook = str(ROOT / "notebooks" / "01_eda.ipynb")
    parameters = ["-p", "DATA", str(tmp_path / "made_up"), "-p", "OUT", str(tmp_path / "out")]
    run_elsewhere(python, tmp_path, "-m", "papermill", notebook, "executed.ipynb", *parameters, "-k", "python3")
    assert "regular expressions" in (tmp_path / "executed.ipynb").read_text()
