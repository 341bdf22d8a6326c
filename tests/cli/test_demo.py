import pandas as pd
import papermill
import pytest

from pii_kit.cli import data as demo
from pii_kit.cli.data import run_demo
from pii_kit.data import read_documents
from pii_kit.files import KitError
from pii_kit.submission import label_documents, read_submission, true_rows, write_submission


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout whose notebooks are not run: a stand-in for papermill writes the files of notebooks 04 and 05."""
    (tmp_path / "notebooks").mkdir()
    for name in ("01_eda", "04_inference", "05_compare", "06_sha_rnn_language_model"):  # the demo leaves out the last
        (tmp_path / "notebooks" / f"{name}.ipynb").write_text("{}")
    monkeypatch.setattr(demo, "CHECKOUT", tmp_path)
    ran = []

    def execute(path, out, *, parameters, **_):
        ran.append((path.stem, parameters))
        out.write_text("executed")
        essays = tmp_path / "outputs" / "demo" / "essays"
        if path.stem.startswith("04"):
            documents = read_documents(essays / "test.json")
            rows = read_submission(essays / "test_labels.csv", documents)
            write_submission(parameters["SUBMISSION"], true_rows(label_documents(documents, rows)))
        if path.stem.startswith("05"):
            line = {"f5": 0.5, "precision": 0.25, "recall": 0.75, "test_f5": 0.45}
            line |= {"elapsed_seconds": 61.2, "cpu_seconds": 118.7, "epoch_seconds": 2.0, "parameters": 900_000}
            table = pd.DataFrame([line], index=pd.Index(["SHA-RNN"], name="model"))
            table.to_csv(tmp_path / "outputs" / "demo" / "comparison.csv")

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    return tmp_path, ran


def test_the_demo_runs_the_notebooks_in_order_and_prints_scores_and_paths(checkout, capsys):
    root, ran = checkout
    run_demo(seed=7, n_documents=20)
    assert [name for name, _ in ran] == ["01_eda", "04_inference", "05_compare"]
    assert all(parameters["SEED"] == 7 for _, parameters in ran)
    printed = capsys.readouterr().out
    heading, _, line = printed.strip().split("\n")[:3]
    assert " ".join(heading.split()) == "F5 precision recall test F5 training, elapsed s training, CPU s parameters"
    assert line.split() == ["SHA-RNN", "0.500", "0.250", "0.750", "0.450", "61", "119", "900,000"]
    for name in ("submission.csv", "notebooks", "runs", "essays"):
        assert str(root / "outputs" / "demo" / name) in printed


def test_the_demo_writes_only_into_its_own_folder(checkout):
    root, _ = checkout
    real = root / "submissions" / "submission.csv"
    real.parent.mkdir()
    real.write_text("a real submission")
    run_demo(seed=0, n_documents=20)
    assert real.read_text() == "a real submission"
    assert (root / "outputs" / "demo" / "submission.csv").read_text().startswith("row_id,document,token,label\n")
    assert sorted(path.name for path in root.iterdir()) == ["notebooks", "outputs", "submissions"]
    assert [path.name for path in (root / "outputs").iterdir()] == ["demo"]


def test_the_results_of_an_earlier_demo_are_deleted_and_nothing_else(checkout):
    root, _ = checkout
    for place in ("outputs/demo/runs/old", "outputs/mine", "submissions/mine.csv"):
        (root / place).mkdir(parents=True)
    run_demo(seed=0, n_documents=20)
    assert not (root / "outputs/demo/runs/old").exists()
    assert (root / "outputs/mine").exists() and (root / "submissions/mine.csv").exists()


def test_outside_a_checkout_the_demo_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "CHECKOUT", tmp_path)
    with pytest.raises(KitError, match="no notebooks there"):
        run_demo(seed=0, n_documents=20)
