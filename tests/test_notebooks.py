import ast
import json
import os
from pathlib import Path

import papermill
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
EACH_NOTEBOOK = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str = "code") -> list[dict]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def test_the_notebooks_are_there():
    names = ["01_eda", "02_train_sha_rnn", "03_train_mobilebert", "04_inference", "05_compare"]
    names += ["06_sha_rnn_language_model"]
    assert [path.stem for path in NOTEBOOKS] == names


@EACH_NOTEBOOK
def test_a_notebook_first_says_what_it_asks_reads_and_writes_and_its_outputs_are_never_kept(path):
    first = source(cells(path, "markdown")[0])
    assert all(word in first for word in ("**Question:**", "**Reads:**", "**Writes:**"))
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells(path))


@EACH_NOTEBOOK
def test_parameters_are_literals_in_one_tagged_cell(path):
    tagged = [cell for cell in cells(path) if "parameters" in cell["metadata"].get("tags", [])]
    assert tagged == cells(path)[:1]
    for statement in ast.parse(source(tagged[0])).body:
        assert isinstance(statement, ast.Assign)
        ast.literal_eval(statement.value)


@EACH_NOTEBOOK
def test_notebooks_tell_and_the_package_does(path):
    lines = [[line for line in source(cell).splitlines() if line.strip()] for cell in cells(path)]
    assert sum(map(len, lines)) < 80
    assert all(len(of_cell) <= 15 for of_cell in lines)
    tree = ast.parse("\n".join(source(cell) for cell in cells(path)))
    assert not any(isinstance(node, ast.ClassDef | ast.FunctionDef) for node in ast.walk(tree))
    assert not any(line.lstrip().startswith(("%", "!")) for of_cell in lines for line in of_cell)


def test_all_notebooks_start_alike_with_a_short_folded_cell():
    starts = [cells(path)[1:3] for path in NOTEBOOKS]
    assert len({"".join(map(source, start)) for start in starts}) == 1
    for folded, _ in starts:
        assert folded["metadata"] == {"_kg_hide-input": True}  # how Kaggle shows it folded
        assert len([line for line in source(folded).splitlines() if line and not line.startswith("#")]) == 5


# In the kernels, as on Kaggle's GPU machines: `import spacy` asks cupy for GPUs, and a fork after that would fail.
SITE = """
import os, sys
if any("ipykernel" in argument for argument in sys.orig_argv):
    def fork():
        raise RuntimeError("a process that has asked for GPUs was forked")
    os.fork = fork
"""
CUPY = """
import pathlib
class cuda:
    class runtime:
        class CUDARuntimeError(Exception): pass
        def getDeviceCount():
            pathlib.Path(__file__).with_name("asked").touch()
            raise cuda.runtime.CUDARuntimeError
__version__ = "14.0.1"
"""


@pytest.fixture
def like_kaggle(tmp_path, monkeypatch):
    """Return the file that exists when GPUs were asked for."""
    files = {"sitecustomize.py": SITE, "cupy/__init__.py": CUPY, "cupy/cublas.py": "", "cupyx/__init__.py": ""}
    for name, text in files.items():
        (tmp_path / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / name).write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"), prepend=os.pathsep)
    return tmp_path / "site" / "cupy" / "asked"


@pytest.mark.long
def test_all_notebooks_run_in_order_on_a_few_essays(like_kaggle, tmp_path):
    """As the demo and Kaggle run them, on so few essays and epochs that nothing is learned."""
    for path in NOTEBOOKS:
        parameters = {"OUT": str(tmp_path / "out"), "DOCUMENTS": 24, "SEED": 1}
        if path.stem.startswith(("02", "03")):
            parameters |= {"PRESET": "cpu", "EPOCHS": 1, "FOLDS": 2}
        if path.stem.startswith("04"):
            parameters["SUBMISSION"] = str(tmp_path / "submission.csv")
        if path.stem.startswith("06"):
            parameters |= {"WIDTH": 16, "LAYERS": 2, "MEMORY": 100, "EPOCHS": 1, "MINUTES": 0.05}
        done = papermill.execute_notebook(
            path,
            tmp_path / path.name,
            parameters=parameters,
            cwd=path.parent,
            kernel_name="python3",
            progress_bar=False,
        )
        outputs = [output for cell in done.cells for output in cell.get("outputs", [])]
        assert not any("Warning" in output.get("text", "") for output in outputs)
    assert (tmp_path / "submission.csv").read_text().startswith("row_id,document,token,label\n")
    assert (tmp_path / "out" / "comparison.csv").is_file()
    assert (tmp_path / "out" / "runs" / "language_model" / "result.json").is_file()
    assert like_kaggle.exists()
