"""Run notebook 04 as it is pushed, in a competition's rerun: with Kaggle's folders, without network, without the kit.

This needs Linux namespaces; the tests are skipped on a machine that does not allow them.
"""

import json
import os
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

from pii_kit.documents import write_documents
from pii_kit.kaggle import COMPETITION
from pii_kit.submission import check_submission

OF_THE_KIT = ("pii_kit", "__editable__", "faker", "Faker")
LAYOUTS = {"old": ("", "", ""), "new": ("competitions/", "datasets/stranger/", "notebooks/stranger/")}

# A new root folder: the folders of this machine, and /kaggle with a read-only input/.
NAMESPACE = """
set -e
mount -t tmpfs none "$ROOT"
for entry in /*; do
    if [ -L "$entry" ]; then cp -P "$entry" "$ROOT$entry"
    elif [ -d "$entry" ]; then mkdir -p "$ROOT$entry"; mount --rbind "$entry" "$ROOT$entry"; fi
done
mkdir -p "$ROOT/kaggle"
mount --bind "$TREE" "$ROOT/kaggle"
mount --bind "$TREE/input" "$ROOT/kaggle/input"
mount -o remount,bind,ro "$ROOT/kaggle/input"
exec chroot "$ROOT" "$@"
"""
# Run the notebook as Kaggle does. The kernel uses pipes, because there is no network, not even to this machine.
RUN = """
import socket
import sys
from pathlib import Path

import papermill
from traitlets.config import Config

try:
    socket.create_connection(("127.0.0.1", 9), timeout=1)
except OSError as error:
    assert "unreachable" in str(error), error
try:
    Path("/kaggle/input/new").touch()
except OSError as error:
    assert "Read-only" in str(error), error
else:
    raise AssertionError("/kaggle/input can be written")
pipes = Config(KernelManager={"transport": "ipc"})
papermill.execute_notebook(sys.argv[1], sys.argv[2], cwd="/kaggle/working", kernel_name="python3", config=pipes)
"""


def in_namespace(command: list[str], tree: Path, root: Path, environment: dict) -> subprocess.CompletedProcess:
    root.mkdir(exist_ok=True)
    return subprocess.run(
        ["unshare", "--map-root-user", "--mount", "--net", "bash", "-c", NAMESPACE, "bash", *command],
        env={**environment, "TREE": str(tree), "ROOT": str(root)},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture
def python(tmp_path) -> Path:
    """A Python with the packages of this one, without the kit and without what Kaggle's image lacks."""
    folder = tmp_path / "image"
    venv.create(folder, symlinks=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(OF_THE_KIT):
            (site / entry.name).symlink_to(entry)
    return folder / "bin" / "python"


@pytest.fixture
def notebook(built_kit, tmp_path) -> Path:
    """Notebook 04 as it is pushed, but with an error in each cell after the one that labels."""
    content = json.loads((built_kit / "kernels" / "pii-kit-04-inference" / "04_inference.ipynb").read_text())
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    (labelling,) = [place for place, cell in enumerate(code) if "label_in_time(" in "".join(cell["source"])]
    assert len(code) > labelling + 2
    for cell in code[labelling + 1 :]:
        cell["source"] = ["raise RuntimeError\n", *cell["source"]]
    (tmp_path / "pushed.ipynb").write_text(json.dumps(content))
    return tmp_path / "pushed.ipynb"


@pytest.mark.parametrize(("layout", "is_damaged"), [("new", False), ("old", True)])
def test_a_rerun_of_notebook_04_leaves_a_valid_submission_whatever_fails_after_the_first_file(
    layout, is_damaged, built_kit, notebook, python, cross_validated, documents, tmp_path
):
    tree = tmp_path / "kaggle"
    for name in ("input", "working", "temp"):
        (tree / name).mkdir(parents=True)
    if not shutil.which("unshare") or in_namespace(["true"], tree, tmp_path / "root", dict(os.environ)).returncode:
        pytest.skip("this machine does not allow Linux namespaces")
    competition, datasets, notebooks = (tree / "input" / part for part in LAYOUTS[layout])
    write_documents(competition / COMPETITION / "test.json", documents)
    shutil.copytree(built_kit / "datasets" / "pii-kit-package", datasets / "pii-kit-package")
    for seed, name in enumerate(("02-train-sha-rnn", "03-train-mobilebert")):
        run = notebooks / f"pii-kit-{name}" / "runs" / name[9:].replace("-", "_")
        shutil.copytree(cross_validated(seed)[0], run)
        if is_damaged:
            (run / "fold_0" / "tagger" / "model.safetensors").write_bytes(b"damaged")
    (tmp_path / "run.py").write_text(RUN)

    assert not has_the_kit(python, tmp_path)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PII_KIT"))}
    environment |= {"KAGGLE_KERNEL_RUN_TYPE": "Batch", "KAGGLE_IS_COMPETITION_RERUN": "1", "OMP_NUM_THREADS": "1"}
    command = [str(python), str(tmp_path / "run.py"), str(notebook), str(tmp_path / "executed.ipynb")]
    ended = in_namespace(command, tree, tmp_path / "root", environment)
    assert ended.returncode == 0, ended.stderr
    assert has_the_kit(python, tmp_path), "the notebook should have installed it from the attached wheel"
    submission = tree / "working" / "submission.csv"
    assert check_submission(submission, documents) == []
    assert len(submission.read_text().splitlines()) > 1
    executed = (tmp_path / "executed.ipynb").read_text()
    assert "Kaggle, Batch, " in executed
    assert ("by_all_runs" in executed, "An error occurred" in executed) == (not is_damaged, is_damaged)


def has_the_kit(python: Path, place: Path) -> bool:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [python, "-c", "import pii_kit, faker"]
    return subprocess.run(command, capture_output=True, cwd=place, env=environment).returncode == 0
