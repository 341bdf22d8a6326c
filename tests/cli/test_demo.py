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
    """A checkout whose notebooks are not run: an executor stands in that writes what 04 and 05 write."""
    (tmp_path / "notebooks").mkdir()
    for name in ("01_eda", "04_inference", "05_compare", "06_sha_rnn_language_model"):  # the last is not the demo's
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
            line |= {"training_seconds": 61.2, "parameters": 900_000}
            table = pd.DataFrame([line], index=pd.Index(["SHA-RNN"], name="model"))
            table.to_csv(tmp_path / "outputs" / "demo" / "comparison.csv")

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    return tmp_path, ran


def test_the_demo_runs_the_notebooks_in_order_and_says_where_everything_lies(checkout, capsys):
    root, ran = checkout
    run_demo(seed=7, n_documents=20)
    assert [name for name, _ in ran] == ["01_eda", "04_inference", "05_compare"]
    assert all(parameters["SEED"] == 7 for _, parameters in ran)
    printed = capsys.readouterr().out
    for word in ("SHA-RNN", "0.500", "0.250", "0.750", "61", "900,000"):
        assert word in printed
    for place in ("submissions/submission.csv", "outputs/demo/notebooks", "outputs/demo/runs", "outputs/demo/essays"):
        assert str(root / place) in printed


def test_what_an_earlier_demo_left_is_removed_and_nothing_else(checkout):
    root, _ = checkout
    for place in ("outputs/demo/runs/old", "outputs/mine", "submissions/mine.csv"):
        (root / place).mkdir(parents=True)
    run_demo(seed=0, n_documents=20)
    assert not (root / "outputs/demo/runs/old").exists()
    assert (root / "outputs/mine").exists() and (root / "submissions/mine.csv").exists()


def test_outside_a_checkout_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "CHECKOUT", tmp_path)
    with pytest.raises(KitError, match="no notebooks there"):
        run_demo(seed=0, n_documents=20)
