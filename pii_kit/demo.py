"""The demo: notebooks 01 to 05 on made-up essays, with all results in outputs/demo."""

import os
import re
import shutil
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

from pii_kit.documents import read_documents, write_documents
from pii_kit.files import KitError, atomic_write, read_json, write_json
from pii_kit.redact import Redacted, Redaction, redact_document
from pii_kit.submission import label_documents, read_submission

CHECKOUT = Path(__file__).parents[1]
LENGTH = 2.8  # made-up essays as long as the competition's
# Made-up essays hold the rare types about equally often, unlike real ones, so planted PII does too. More documents,
# fewer epochs and shorter windows than in the presets: chosen on made-up essays of the seeds 0 and 11 (ledger).
SETTINGS = {"hidden_share": 0.05, "augment.plant_share": 0.8, "class_weights": 0.3} | {
    f"augment.{name}_share": 0.25 for name in ("email", "username", "id", "phone", "url", "address")
}
SHA_RNN = SETTINGS | {"window_size": 64, "overlap": 16, "batch_size": 16, "empty_share": 0.1}
MOBILEBERT = SETTINGS | {"window_size": 24, "overlap": 6, "batch_size": 32, "empty_share": 0.5}
MOBILEBERT |= {"model.num_hidden_layers": 2, "model.hidden_dropout_prob": 0.0}
# Each notebook with the result that shows that it was run, and its parameters beside the data and the seed.
NOTEBOOKS: dict[str, tuple[str, dict[str, Any]]] = {
    "01_eda": ("", {}),
    "02_train_sha_rnn": ("runs/sha_rnn/result.json", {"EPOCHS": 14, "FOLDS": 2, "SETTINGS": SHA_RNN}),
    "03_train_mobilebert": ("runs/mobilebert/result.json", {"EPOCHS": 15, "FOLDS": 2, "SETTINGS": MOBILEBERT}),
    "04_inference": ("submission.csv", {}),
    "05_compare": ("comparison.csv", {"SPACY_EPOCHS": 8}),  # fewer than 14, for the sake of time
}
COLUMNS = {"f5": "F5", "precision": "precision", "recall": "recall", "test_f5": "test F5", "elapsed_seconds": "seconds"}
N_SHOWN, CONTEXT = 3, 24  # documents, changes in each, and characters around them, shown before and after redaction


def run_demo(*, seed: int, n_documents: int) -> None:
    """Run notebooks 01 to 05 on made-up essays, and print what came out.

    Results of an earlier demo with the same settings and the same code are used again, and an interrupted training is
    resumed. Other results in outputs/demo are deleted first. Nothing outside that folder is written.
    """
    from pii_kit.sample import write_sample

    if not (CHECKOUT / "notebooks").is_dir():
        raise KitError(f"{CHECKOUT / 'notebooks'}: no notebooks there; run the demo in a checkout of the kit")
    out, began, is_new = CHECKOUT / "outputs" / "demo", time.perf_counter(), False
    _open_folder(out, {"seed": seed, "documents": n_documents, "length": LENGTH, "notebooks": repr(NOTEBOOKS)})
    if not (out / "essays" / "test_labels.csv").exists():  # written last
        write_sample(out / "essays", n_documents=n_documents, seed=seed, length=LENGTH)
    for name, (result, parameters) in NOTEBOOKS.items():
        page = out / "notebooks" / f"{name}.html"
        is_new = is_new or not (page.exists() and (out / result).exists())
        if is_new:
            page.unlink(missing_ok=True)
            given = {"DATA": str(out / "essays"), "OUT": str(out), "SEED": seed}
            if name == "04_inference":
                given["SUBMISSION"] = str(out / "submission.csv")
            _execute(CHECKOUT / "notebooks" / f"{name}.ipynb", page, given | parameters)
    _show(out, seed)
    print(f"\n{time.perf_counter() - began:.0f} seconds in total")


def _open_folder(out: Path, settings: dict[str, Any]) -> None:
    """Make the folder of the results; keep what is there if it was made with the same settings and the same code."""
    code, manifest = sha256(), out / "demo.json"
    for file in sorted([*CHECKOUT.glob("notebooks/*.ipynb"), *CHECKOUT.glob("pii_kit/**/*.*")]):
        if file.is_file() and file.suffix != ".pyc":
            code.update(f"{file.relative_to(CHECKOUT)}\n".encode() + file.read_bytes())
    settings = settings | {"code": code.hexdigest()}
    if manifest.exists() and read_json(manifest) == settings:
        print(f"reusing what is in {os.path.relpath(out)}; delete the folder to start anew", file=sys.stderr)
        return
    if out.exists():
        print(f"{os.path.relpath(out)}: made with other settings or other code; starting anew", file=sys.stderr)
        manifest.unlink(missing_ok=True)  # first, so that a folder that is deleted in part is not taken for a whole one
        shutil.rmtree(out)
    (out / "notebooks").mkdir(parents=True)
    write_json(manifest, settings)


def _execute(notebook: Path, page: Path, parameters: dict[str, Any]) -> None:
    """Run a notebook, and keep it beside `page`, which is the same as HTML and written last."""
    import papermill  # only the demo needs these two
    from nbconvert import HTMLExporter

    began = time.perf_counter()
    print(notebook.stem, file=sys.stderr, flush=True)
    papermill.execute_notebook(
        notebook,
        page.with_suffix(".ipynb"),
        parameters=parameters,
        cwd=notebook.parent,
        kernel_name="python3",
        progress_bar=False,
        stderr_file=sys.stderr if sys.stderr.isatty() else None,  # the bars of trainings
        coalesce_streams=True,
        shutdown_kernel="immediate",  # after Ctrl-C a busy kernel would live for seconds
        extra_arguments=["--log-level=CRITICAL"],  # no warning about plain TCP: the essays are made up
    )
    exporter = HTMLExporter()
    exporter.log.setLevel("ERROR")  # it warns that plots have no alternative text
    with atomic_write(page) as handle:
        handle.write(exporter.from_filename(str(page.with_suffix(".ipynb")))[0])
    print(f"{notebook.stem}: {time.perf_counter() - began:.0f} seconds", file=sys.stderr, flush=True)


def _show(out: Path, seed: int) -> None:
    """Print the scores, some redacted documents, where everything is, and what to do next; write redacted.json."""
    import pandas as pd

    from pii_kit.report.highlight import draw_redaction

    settings = Redaction(mode="surrogate", seed=seed)
    documents = read_documents(out / "essays" / "test.json")
    rows = read_submission(out / "submission.csv", documents)
    labelled = label_documents(documents, rows)
    redacted = [redact_document(document, document.labels or (), settings) for document in labelled]
    write_documents(out / "redacted.json", [result.document for result in redacted])

    table = pd.read_csv(out / "comparison.csv", index_col="model").rename(columns=COLUMNS)[[*COLUMNS.values()]]
    formats = {name: ("{:.0f}" if name == "seconds" else "{:.3f}").format for name in COLUMNS.values()}
    print(f"\n{table.to_string(formatters=formats, na_rep='', index_names=False)}")
    print("F5, precision and recall: out of fold on the training essays; seconds: training of all folds")
    print("\nTest essays before and after redaction; what was found is in brackets:")
    redacted.sort(key=lambda result: -len({change.pii_type for change in result.changes}))
    for result in redacted[:N_SHOWN]:
        print("\n  before  {}\n  after   {}".format(*excerpts(result)))
    draw_redaction(redacted[0].original, redacted[0].document).savefig(out / "redaction.png", dpi=160)
    paths = {
        f"submission ({len(rows)} rows, checked)": "submission.csv",
        "executed notebooks": "notebooks/*.html",
        "test essays, redacted": "redacted.json",
        "a picture of the first of them": "redaction.png",
        "runs": "runs",
        "errors of the models": "errors_*.html",
    }
    print("\n" + "\n".join(f"{name:<32} {os.path.relpath(out / path)}" for name, path in paths.items()))
    command = os.path.relpath(Path(sys.executable).with_name("pii-kit"))
    run = os.path.relpath(out / "runs" / "sha_rnn")
    print("\nNext: train on your own labelled essays, or redact a folder of text files with this run right away:")
    print(f"  {command} train --model sha_rnn --data YOUR_TRAIN.json --run runs/sha_rnn")
    print(f"  {command} redact --data ESSAYS --run {run} --mode surrogate --out redacted")


def excerpts(redacted: Redacted) -> tuple[str, str]:
    """Return the surroundings of the first change of each PII type, before (in brackets) and after redaction."""
    old, new = redacted.original.full_text, redacted.document.full_text
    firsts = {change.pii_type: change for change in reversed(redacted.changes)}
    changes = sorted(firsts.values(), key=lambda change: change.start)[:N_SHOWN]
    before = [_around(old, change.start, f"[{change.original}]", change.end) for change in changes]
    places = [(change.new_start, change.text) for change in changes]
    return " … ".join(before), " … ".join(_around(new, start, text, start + len(text)) for start, text in places)


def _around(text: str, start: int, middle: str, end: int) -> str:
    """Return `middle` with the whole words of a text before `start` and after `end`."""
    left = re.sub(r"^\S*\s", "", text[max(start - CONTEXT, 0) : start])
    right = re.sub(r"\s\S*$", "", text[end : end + CONTEXT // 2])
    return " ".join(f"{left}{middle}{right}".split())
