import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import papermill
import psutil
import pytest
from tqdm import tqdm

from pii_kit import demo
from pii_kit.demo import InnerBar, excerpts, run_demo
from pii_kit.documents import Document, read_documents, tokenize
from pii_kit.files import KitError, write_json
from pii_kit.redact import Redaction
from pii_kit.redact.document import redact_document
from pii_kit.submission import label_documents, read_submission, true_rows, write_submission

EMPTY = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout whose notebooks are not run: a stand-in for papermill writes the files of notebooks 04 and 05."""
    (tmp_path / "notebooks").mkdir()
    for name in ("01_eda", "04_inference", "05_compare", "06_sha_rnn_language_model"):  # the demo leaves out the last
        (tmp_path / "notebooks" / f"{name}.ipynb").write_text(json.dumps(EMPTY))
    monkeypatch.setattr(demo, "CHECKOUT", tmp_path)
    ran = []

    def execute(path, out, *, parameters, **_):
        ran.append((path.stem, parameters))
        out.write_text(json.dumps(EMPTY))
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
    printed = capsys.readouterr()
    heading, line = printed.out.strip().split("\n")[:2]
    assert " ".join(heading.split()) == "F5 precision recall test F5 seconds"
    assert line.split() == ["SHA-RNN", "0.500", "0.250", "0.750", "0.450", "61"]
    for name in ("submission.csv", "notebooks", "runs", "redacted.json"):
        assert os.path.relpath(root / "outputs" / "demo" / name) in printed.out
    assert printed.out.count("  before  ") == printed.out.count("  after   ") == 3
    assert len(printed.out.splitlines()) <= 45
    assert (root / "outputs/demo/notebooks/05_compare.html").read_text().startswith("<!DOCTYPE html>")
    starts_and_ends = [line.split(":")[0] for line in printed.err.splitlines()]
    assert starts_and_ends == ["1/3 01_eda"] * 2 + ["2/3 04_inference"] * 2 + ["3/3 05_compare"] * 2


def test_the_redacted_test_essays_hold_nothing_that_was_labelled(checkout):
    root, _ = checkout
    run_demo(seed=7, n_documents=20)
    out = root / "outputs" / "demo"
    before, after = (read_documents(path) for path in (out / "essays" / "test.json", out / "redacted.json"))
    rows = read_submission(out / "submission.csv", before)
    assert len(rows) and [doc.number for doc in before] == [doc.number for doc in after]
    emails = [row for row in rows.itertuples() if row.label == "B-EMAIL"]
    texts, tokens = ({doc.number: doc for doc in documents} for documents in (after, before))
    assert emails and all(tokens[row.document].tokens[row.token] not in texts[row.document].full_text for row in emails)


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


def test_a_second_demo_runs_no_notebook_again_and_prints_the_same(checkout, capsys):
    root, ran = checkout
    run_demo(seed=0, n_documents=20)
    first = capsys.readouterr().out.rpartition("\n\n")[0]
    essays = (root / "outputs/demo/essays/train.json").stat().st_mtime_ns
    run_demo(seed=0, n_documents=20)
    second = capsys.readouterr()
    assert len(ran) == 3 and second.out.rpartition("\n\n")[0] == first
    assert (root / "outputs/demo/essays/train.json").stat().st_mtime_ns == essays
    assert "delete the folder to start anew" in second.err


def test_an_interrupted_demo_continues_with_the_notebook_that_was_not_finished(checkout, monkeypatch):
    root, ran = checkout
    execute, folder = papermill.execute_notebook, root / "outputs/demo/runs/half"

    def interrupted(path, out, **settings):
        if path.stem == "04_inference":
            folder.mkdir(parents=True)
            out.write_text(json.dumps(EMPTY))
            raise KeyboardInterrupt
        execute(path, out, **settings)

    monkeypatch.setattr(papermill, "execute_notebook", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_demo(seed=0, n_documents=20)
    monkeypatch.setattr(papermill, "execute_notebook", execute)
    run_demo(seed=0, n_documents=20)
    assert [name for name, _ in ran] == ["01_eda", "04_inference", "05_compare"]
    assert folder.exists()


@pytest.mark.parametrize("change", ["seed", "size", "code", "training"])
def test_a_demo_with_other_settings_or_other_code_starts_anew_and_deletes_nothing_else(checkout, change, monkeypatch):
    root, ran = checkout
    run_demo(seed=0, n_documents=20)
    for place in ("outputs/demo/runs/old", "outputs/mine", "submissions/mine.csv"):
        (root / place).mkdir(parents=True)
    if change == "code":
        (root / "pii_kit").mkdir()
        (root / "pii_kit" / "predict.py").write_text("changed = True")
    if change == "training":
        monkeypatch.setattr(demo, "TRAINING", {"02_train_sha_rnn": {"EPOCHS": 3}})
    run_demo(seed=int(change == "seed"), n_documents=21 if change == "size" else 20)
    assert len(ran) == 6 and not (root / "outputs/demo/runs/old").exists()
    assert (root / "outputs/mine").exists() and (root / "submissions/mine.csv").exists()


def test_a_result_that_is_gone_is_made_again_with_all_that_follows(checkout):
    root, ran = checkout
    run_demo(seed=0, n_documents=20)
    (root / "outputs/demo/submission.csv").unlink()
    run_demo(seed=0, n_documents=20)
    assert [name for name, _ in ran[3:]] == ["04_inference", "05_compare"]


def test_outside_a_checkout_the_demo_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "CHECKOUT", tmp_path)
    with pytest.raises(KitError, match="no notebooks there"):
        run_demo(seed=0, n_documents=20)


def test_excerpts_show_each_type_once_with_the_same_words_around_it_before_and_after():
    text = "Reflection\n\nMy name is Ana Silva and I study tea. Write to ana@example.org today. Ana Silva"
    tokens, spaces = tokenize(text)
    labels = ["O"] * len(tokens)
    labels[tokens.index("Ana") : tokens.index("Ana") + 2] = ["B-NAME_STUDENT", "I-NAME_STUDENT"]
    labels[tokens.index("ana@example.org")] = "B-EMAIL"
    document = Document(number=1, full_text=text, tokens=tokens, trailing_whitespace=spaces)
    redacted = redact_document(document, labels, Redaction(mode="type"))
    before, after = excerpts(text, redacted)
    assert before == "My name is [Ana Silva] and I … study tea. Write to [ana@example.org] today."
    assert after == "My name is [NAME_STUDENT] and I … study tea. Write to [EMAIL] today."


def test_the_bar_of_a_notebook_ends_with_the_last_line_of_its_standard_error():
    with open(os.devnull, "w") as nowhere, tqdm(total=2, file=nowhere) as bar:
        inner = InnerBar(bar)
        inner.write("2 folds:   0%|     | 0/80\r2 folds:  45%|██▌  | 36/80 [00:10<00:12]\r\n ")
        assert bar.postfix == "2 folds:  45% 36/80 [00:10<00:12]"
        inner.write("\n")
        assert bar.postfix == "2 folds:  45% 36/80 [00:10<00:12]"
        inner.end_cell()
        assert (bar.postfix, bar.n) == ("", 1)


INTERRUPTED = """
import signal
import sys
from pathlib import Path
from pii_kit.__main__ import main
from pii_kit import demo

signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal: processes in the background ignore Ctrl-C
demo.CHECKOUT = Path(sys.argv[1])
sys.exit(main(["demo", "--documents", "2"]))
"""


def test_ctrl_c_ends_the_kernel_with_one_line_on_how_to_continue(tmp_path):
    code = {"cell_type": "code", "outputs": [], "execution_count": None}
    given = {"tags": ["parameters"]}
    parameters = code | {"id": "given", "metadata": given, "source": "DATA = None\nOUT = None\nSEED = 0"}
    source = "import os, pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep(600)"
    sleep = code | {"id": "sleep", "metadata": {}, "source": source}
    (tmp_path / "notebooks").mkdir()
    kernel_spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = EMPTY | {"cells": [parameters, sleep], "metadata": {"kernelspec": kernel_spec}}
    write_json(tmp_path / "notebooks" / "01_eda.ipynb", notebook)
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path)]
    demo_process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    kernel, until = tmp_path / "notebooks" / "pid", time.monotonic() + 180
    while not (kernel.exists() and kernel.read_text()) and time.monotonic() < until:
        time.sleep(0.1)
    os.killpg(demo_process.pid, signal.SIGINT)
    _, printed = demo_process.communicate(timeout=120)
    message = "interrupted; run the same command again: it continues where it stopped"
    assert printed.splitlines() == ["1/1 01_eda", message]
    assert demo_process.returncode == 130
    assert not psutil.pid_exists(int(kernel.read_text()))
    assert not (tmp_path / "outputs/demo/notebooks/01_eda.html").exists()
