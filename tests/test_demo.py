"""The demo, with a stand-in for papermill that writes what the notebooks would."""

import os
import signal
import subprocess
import sys
import time

import pandas as pd
import papermill
import psutil
import pytest

from pii_kit import demo
from pii_kit.cli import main
from pii_kit.demo import excerpts, run_demo
from pii_kit.documents import Document, read_documents, tokenize
from pii_kit.files import write_json
from pii_kit.redact import Redaction, redact_document
from pii_kit.submission import label_documents, read_submission, true_rows, write_submission

EMPTY = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
NAMES = ("01_eda", "04_inference", "05_compare")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout and the list of the notebooks that were run in it, with their parameters."""
    (tmp_path / "notebooks").mkdir()
    for name in NAMES:
        write_json(tmp_path / "notebooks" / f"{name}.ipynb", EMPTY)
    monkeypatch.setattr(demo, "CHECKOUT", tmp_path)
    monkeypatch.setattr(demo, "LENGTH", 0.5)
    monkeypatch.setattr(demo, "NOTEBOOKS", {name: demo.NOTEBOOKS[name] for name in NAMES})
    ran = []

    def execute(path, out, *, parameters, **_):
        ran.append((path.stem, parameters))
        write_json(out, EMPTY)
        essays = tmp_path / "outputs" / "demo" / "essays"
        if path.stem.startswith("04"):
            documents = read_documents(essays / "test.json")
            rows = read_submission(essays / "test_labels.csv", documents)
            write_submission(parameters["SUBMISSION"], true_rows(label_documents(documents, rows)))
        if path.stem.startswith("05"):
            line = {"f5": 0.5, "precision": 0.25, "recall": 0.75, "test_f5": 0.45, "elapsed_seconds": 61.2}
            table = pd.DataFrame([line], index=pd.Index(["SHA-RNN"], name="model"))
            table.to_csv(tmp_path / "outputs" / "demo" / "comparison.csv")

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    return tmp_path, ran


def test_the_demo_runs_the_notebooks_in_order_and_prints_scores_excerpts_and_paths(checkout, capsys):
    root, ran = checkout
    assert main(["demo", "--seed", "7", "--documents", "20"]) == 0
    assert [name for name, _ in ran] == [*NAMES] and all(parameters["SEED"] == 7 for _, parameters in ran)
    printed, out = capsys.readouterr(), root / "outputs" / "demo"
    heading, line = printed.out.strip().split("\n")[:2]
    assert " ".join(heading.split()) == "F5 precision recall test F5 seconds"
    assert line.split() == ["SHA-RNN", "0.500", "0.250", "0.750", "0.450", "61"]
    assert all(os.path.relpath(out / name) in printed.out for name in ("submission.csv", "runs", "redacted.json"))
    assert printed.out.count("  before  ") == printed.out.count("  after   ") == 3
    assert (out / "notebooks/05_compare.html").read_text().startswith("<!DOCTYPE html>")
    assert sorted(path.name for path in root.iterdir()) == ["notebooks", "outputs"]
    before, after = (read_documents(path) for path in (out / "essays" / "test.json", out / "redacted.json"))
    texts, tokens = ({doc.number: doc for doc in documents} for documents in (after, before))
    emails = read_submission(out / "submission.csv", before).query("label == 'B-EMAIL'")
    left = [tokens[row.document].tokens[row.token] in texts[row.document].full_text for row in emails.itertuples()]
    assert left and not any(left)


def test_a_second_demo_runs_no_notebook_again_unless_a_result_is_gone(checkout, capsys):
    root, ran = checkout
    run_demo(seed=0, n_documents=20)
    first = capsys.readouterr().out.rpartition("\n\n")[0]
    run_demo(seed=0, n_documents=20)
    second = capsys.readouterr()
    assert len(ran) == 3 and second.out.rpartition("\n\n")[0] == first
    assert "delete the folder to start anew" in second.err
    (root / "outputs/demo/submission.csv").unlink()
    run_demo(seed=0, n_documents=20)
    assert [name for name, _ in ran[3:]] == ["04_inference", "05_compare"]


def test_a_demo_with_other_settings_or_other_code_starts_anew_and_deletes_nothing_else(checkout):
    root, _ = checkout
    out = root / "outputs" / "demo"

    def reuses(**settings) -> bool:
        demo._open_folder(out, settings)
        has_old = (out / "old").exists()
        (out / "old").touch()
        return has_old

    assert [reuses(seed=0), reuses(seed=0), reuses(seed=1), reuses(seed=1)] == [False, True, False, True]
    (root / "outputs" / "mine").touch()
    (root / "pii_kit").mkdir()
    (root / "pii_kit" / "predict.py").write_text("changed = True")
    assert not reuses(seed=1) and (root / "outputs" / "mine").exists()


def test_outside_a_checkout_the_demo_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "CHECKOUT", tmp_path)
    assert main(["demo"]) == 2 and "no notebooks there" in capsys.readouterr().err


def test_excerpts_show_each_type_once_with_the_words_around_it_before_and_after():
    text = "Reflection\n\nMy name is Ana Silva and I study tea. Write to ana@example.org today. Ana Silva"
    tokens, spaces = tokenize(text)
    labels = ["O"] * len(tokens)
    labels[tokens.index("Ana") : tokens.index("Ana") + 2] = ["B-NAME_STUDENT", "I-NAME_STUDENT"]
    labels[tokens.index("ana@example.org")] = "B-EMAIL"
    document = Document(number=1, full_text=text, tokens=tokens, trailing_whitespace=spaces)
    before, after = excerpts(redact_document(document, labels, Redaction(mode="type")))
    assert before == "My name is [Ana Silva] and I … I study tea. Write to [ana@example.org] today. Ana"
    assert after == "My name is [NAME_STUDENT] and I … I study tea. Write to [EMAIL] today."


INTERRUPTED = """
import signal
import sys
from pathlib import Path
from pii_kit import demo
from pii_kit.cli import main

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
    assert printed.splitlines() == ["01_eda", message]
    assert demo_process.returncode == 130
    assert not psutil.pid_exists(int(kernel.read_text()))
    assert not (tmp_path / "outputs/demo/notebooks/01_eda.html").exists()
