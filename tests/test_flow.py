"""The whole way on the command line, and the order of the modules."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import pii_kit
from pii_kit import presets
from pii_kit.__main__ import main
from pii_kit.pieces import CASINGS
from pii_kit.presets import Preset
from pii_kit.train import TrainConfig

PACKAGE = Path(pii_kit.__file__).parent
REFERENCES = PACKAGE.parents[1] / "shared" / "data"

SHA_RNN = {
    "hidden_size": 16,
    "boom_size": 32,
    "num_hidden_layers": 1,
    "attention_layers": [0],
    "n_casings": len(CASINGS),
}
MOBILEBERT = {
    "hidden_size": 32,
    "embedding_size": 16,
    "intra_bottleneck_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_feedforward_networks": 1,
    "n_casings": len(CASINGS),
}
TRAIN = TrainConfig(epochs=2, batch_size=8, window_size=64, overlap=16, learning_rate=1e-2, class_weights=0.1)


def test_essays_go_in_and_a_checked_submission_comes_out(tmp_path, monkeypatch, capsys):
    small = {
        "sha_rnn": {"cpu": Preset(n_pieces=300, model=SHA_RNN, train=TRAIN)},
        "mobilebert": {"cpu": Preset(n_pieces=300, model=MOBILEBERT, train=TRAIN)},
    }
    monkeypatch.setattr(presets, "PRESETS", small)
    monkeypatch.chdir(tmp_path)
    commands = [
        "sample --out essays --documents 40 --seed 3",
        "train --model sha_rnn --preset cpu --data essays/train.json --run runs/sha_rnn",
        "train --model mobilebert --preset cpu --data essays/train.json --run runs/mobilebert",
        "predict --run runs/sha_rnn --run runs/mobilebert --data essays/test.json --out submission.csv",
        "check --data essays/test.json --submission submission.csv",
        "check --data essays/test.json --submission essays/test_labels.csv",
    ]
    for command in commands:
        assert main(command.split()) == 0, capsys.readouterr().err
    assert "nothing wrong" in capsys.readouterr().out


def test_scoring_prints_one_object_of_figures(tmp_path, monkeypatch, capsys, documents):
    from pii_kit.data import write_documents
    from pii_kit.submission import true_rows, write_submission

    monkeypatch.chdir(tmp_path)
    write_documents("truth.json", documents)
    rows = true_rows(documents)
    write_submission("all_but_one.csv", rows.iloc[:-1])
    assert main(["score", "--truth", "truth.json", "--submission", "all_but_one.csv", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    n = len(rows)
    assert printed["f5"] == pytest.approx(26 * (n - 1) / (26 * (n - 1) + 25))
    assert (printed["tp"], printed["fp"], printed["fn"]) == (n - 1, 0, 1)
    assert printed["precision"] == 1 and printed["recall"] == pytest.approx((n - 1) / n)


def test_the_competitions_sample_submission_scores_one(capsys):
    truth, submission = REFERENCES / "essays_public_test.json", REFERENCES / "sample_submission.csv"
    if not truth.is_file():
        pytest.skip("the public test essays are not at hand")
    assert main(["score", "--truth", str(truth), "--submission", str(submission), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["f5"] == 1.0


def imports(path: Path) -> set[str]:
    """The modules of the package that a module imports, at its top or inside."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("pii_kit"):
            found |= {node.module.removeprefix("pii_kit").lstrip(".")} - {""}
            found |= {alias.name for alias in node.names} if node.module == "pii_kit" else set()
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("pii_kit.") for alias in node.names if alias.name.startswith("pii_kit.")}
    return found


def test_modules_never_import_in_a_circle():
    graph = {path.stem: imports(path) for path in PACKAGE.glob("*.py")}
    done: set[str] = set()
    while left := {module for module in graph if module not in done}:
        free = {module for module in left if graph[module] <= done}
        assert free, f"a circle among {sorted(left)}"
        done |= free


def test_all_but_the_demo_can_be_imported_without_faker_and_papermill():
    modules = [f"pii_kit.{path.stem}" for path in PACKAGE.glob("[a-z]*.py") if path.stem != "demo"]
    program = "\n".join(
        [
            "import importlib, sys",
            "sys.modules.update(faker=None, papermill=None, jupyterlab=None)",
            f"for name in {[*modules, 'pii_kit.__main__']}: importlib.import_module(name)",
        ]
    )
    subprocess.run([sys.executable, "-c", program], check=True)
