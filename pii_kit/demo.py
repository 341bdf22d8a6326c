"""`pii-kit demo`: run notebooks 01 to 05 on made-up essays, and show what came out."""

import logging
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from pii_kit.documents import read_documents
from pii_kit.files import KitError, atomic_write, read_json, write_json
from pii_kit.redact import Redacted, Redaction
from pii_kit.redact.document import redact_document
from pii_kit.redact.forms import read_files
from pii_kit.redact.release import redact_files, write_output
from pii_kit.report.picture import draw_redaction
from pii_kit.sample import write_sample
from pii_kit.submission import label_documents, read_submission

CHECKOUT = Path(__file__).parents[1]
LENGTH = 2.8  # made-up essays as long as the competition's
# Unlike real essays, made-up ones hold the rare types about equally often, so planted PII does too. More documents and
# fewer epochs than in the presets: chosen on made-up essays of the seeds 0 and 11 (ledger).
SETTINGS = {"hidden_share": 0.05, "augment.plant_share": 0.8} | {
    f"augment.{name}_share": 0.25 for name in ("email", "username", "id", "phone", "url", "address")
}
# Parameters of the notebooks that train, beside the data and the seed. In short windows both models learn more in the
# same time than in those of their presets. spaCy's NER has fewer epochs, for the sake of time (ledger: what 14 give).
TRAINING: dict[str, dict[str, Any]] = {
    "02_train_sha_rnn": {
        "EPOCHS": 14,
        "FOLDS": 2,
        "SETTINGS": SETTINGS
        | {"window_size": 64, "overlap": 16, "batch_size": 16, "empty_share": 0.1, "class_weights": 0.3},
    },
    "03_train_mobilebert": {
        "EPOCHS": 15,
        "FOLDS": 2,
        "SETTINGS": SETTINGS
        | {"window_size": 24, "overlap": 6, "batch_size": 32, "empty_share": 0.5, "class_weights": 0.3}
        | {"model.num_hidden_layers": 2, "model.hidden_dropout_prob": 0.0},
    },
    "05_compare": {"SPACY_EPOCHS": 8},
}
RESULTS = {
    "02_train_sha_rnn": "runs/sha_rnn/result.json",
    "03_train_mobilebert": "runs/mobilebert/result.json",
    "04_inference": "submission.csv",
    "05_compare": "comparison.csv",
}
COLUMNS = {"f5": "F5", "precision": "precision", "recall": "recall", "test_f5": "test F5", "elapsed_seconds": "seconds"}
FORMATS = {name: ("{:.0f}" if name == "seconds" else "{:.3f}").format for name in COLUMNS.values()}
N_SHOWN, CONTEXT, WIDTH = 3, 24, 88  # documents, and characters of them, that are shown before and after redaction


def run_demo(*, seed: int, n_documents: int) -> None:
    """Run notebooks 01 to 05 on made-up essays, with all results in outputs/demo, and print what came out.

    Results that an earlier demo with the same settings and the same code left in outputs/demo are used again, and an
    interrupted training is resumed. Other results there are deleted first. Nothing outside that folder is written.

    Raises:
        KitError: The kit does not run from a checkout, or the submission is not valid.
    """
    notebooks = sorted((CHECKOUT / "notebooks").glob("0[1-5]*.ipynb"))
    if not notebooks:
        raise KitError(f"{CHECKOUT / 'notebooks'}: no notebooks there; run the demo in a checkout of the kit")
    out, began = CHECKOUT / "outputs" / "demo", time.perf_counter()
    essays, submission = out / "essays", out / "submission.csv"
    _open_folder(out, {"seed": seed, "documents": n_documents, "length": LENGTH, "training": TRAINING})
    if not (essays / "test_labels.csv").exists():  # written last
        write_sample(essays, n_documents=n_documents, seed=seed, length=LENGTH)
    is_new = False
    for number, notebook in enumerate(notebooks, start=1):
        page = (out / "notebooks" / notebook.name).with_suffix(".html")
        is_new = is_new or not (page.exists() and (out / RESULTS.get(notebook.stem, "")).exists())
        if is_new:
            page.unlink(missing_ok=True)
            parameters = {"DATA": str(essays), "OUT": str(out), "SEED": seed, **TRAINING.get(notebook.stem, {})}
            if notebook.stem == "04_inference":
                parameters["SUBMISSION"] = str(submission)
            _execute(notebook, page, parameters, title=f"{number}/{len(notebooks)} {notebook.stem}")
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


def _execute(notebook: Path, page: Path, parameters: dict[str, Any], *, title: str) -> None:
    """Run a notebook and keep it beside `page`, which is the same as HTML. The page is written last."""
    import papermill  # only the demo needs these two
    from nbconvert import HTMLExporter

    executed = page.with_suffix(".ipynb")
    n_cells = 1 + sum(cell["cell_type"] == "code" for cell in read_json(notebook)["cells"])  # one for the parameters
    with _progress(title, n_cells=n_cells) as bar:
        inner = InnerBar(bar)
        papermill.execute_notebook(
            notebook,
            executed,
            parameters=parameters,
            cwd=notebook.parent,
            kernel_name="python3",
            progress_bar=False,
            stderr_file=inner,
            on_cell_complete=inner.end_cell,
            coalesce_streams=True,
            shutdown_kernel="immediate",  # after Ctrl-C a busy kernel would live for seconds
            extra_arguments=["--log-level=CRITICAL"],  # no warning about plain TCP: the essays are made up
        )
        exporter = HTMLExporter()
        exporter.log.setLevel(logging.ERROR)  # it warns that plots have no alternative text
        html, _ = exporter.from_filename(str(executed))
        with atomic_write(page) as handle:
            handle.write(html)


class InnerBar:
    """A text file for the standard error of a notebook: its last line becomes the end of the line of `bar`.

    If that line has a progress bar, the bar itself is left out.
    """

    def __init__(self, bar: tqdm):
        self.bar = bar

    def write(self, text: str) -> None:
        if lines := re.findall(r"[^\r\n]*\S[^\r\n]*", text):
            self.bar.set_postfix_str(re.sub(r"\|[^|]*\|", "", lines[-1]).strip())

    def end_cell(self, **_: Any) -> None:
        self.bar.set_postfix_str("", refresh=False)
        self.bar.update()

    def flush(self) -> None:
        """Do nothing: the bar is drawn at once."""


@contextmanager
def _progress(title: str, *, n_cells: int) -> Iterator[tqdm]:
    """Show a bar that counts cells and seconds in a terminal; elsewhere one line at the start and one at the end."""
    began, ended, in_terminal = time.perf_counter(), threading.Event(), sys.stderr.isatty()
    if not in_terminal:
        print(title, file=sys.stderr, flush=True)
    form, name = "{desc} |{bar:10}| {elapsed}{postfix}", f"{title:<24}"
    with tqdm(total=n_cells, desc=name, bar_format=form, dynamic_ncols=True, disable=not in_terminal) as bar:

        def tick() -> None:
            while not ended.wait(1):
                bar.refresh()

        ticking = threading.Thread(target=tick, daemon=True)
        ticking.start()
        try:
            yield bar
            bar.n = n_cells
        finally:
            ended.set()
            ticking.join()
            bar.set_postfix_str("")
    if not in_terminal:
        print(f"{title}: {time.perf_counter() - began:.0f} seconds", file=sys.stderr, flush=True)


def _show(out: Path, seed: int) -> None:
    """Print the scores, some redacted documents, where everything is, and what to do next; write redacted.json."""
    files = read_files(out / "essays" / "test.json")
    documents = read_documents(out / "essays" / "test.json")
    rows = read_submission(out / "submission.csv", documents)
    labelled = label_documents(documents, rows)
    release = redact_files(files, [doc.labels or () for doc in labelled], Redaction(mode="surrogate", seed=seed))
    write_output(out / "redacted.json", release.output)

    table = pd.read_csv(out / "comparison.csv", index_col="model").rename(columns=COLUMNS)[[*COLUMNS.values()]]
    print(f"\n{table.to_string(formatters=FORMATS, na_rep='', index_names=False)}")
    print("F5, precision and recall: out of fold on the training essays; seconds: training of all folds")
    print("\nTest essays before and after redaction; what was found is in brackets:")
    truth = label_documents(documents, read_submission(out / "essays" / "test_labels.csv", documents))
    n_types = {document.number: len(document.types) for document in truth}
    found = [pair for pair in zip(labelled, release.redacted, strict=True) if pair[1].changes]
    found.sort(key=lambda pair: -n_types[pair[0].number])
    for document, redacted in found[:N_SHOWN]:
        before, after = excerpts(document.full_text, redacted)
        print(f"\n  before  {before}\n  after   {after}")
    print()
    paths = {
        f"submission ({len(rows)} rows, checked)": "submission.csv",
        "executed notebooks": "notebooks/*.html",
        "errors of SHA-RNN": "runs/sha_rnn/errors.html",
        "test essays, redacted": "redacted.json",
        "runs": "runs",
    }
    if found:
        first = found[0][0]
        pair = first, redact_document(first, first.labels or (), Redaction(mode="surrogate", seed=seed)).document
        draw_redaction(*pair).savefig(out / "redaction.png", dpi=160)
        paths["a picture of the first essay"] = "redaction.png"
    for name, path in paths.items():
        print(f"{name:<32} {os.path.relpath(out / path)}")
    command = os.path.relpath(Path(sys.executable).with_name("pii-kit"))
    own, run = "--data YOUR_TRAIN.json --run runs/sha_rnn", os.path.relpath(out / "runs" / "sha_rnn")
    print("\nNext: train on your own labelled essays, or redact a folder of text files with this run right away:")
    print(f"  {command} train --model sha_rnn {own}")
    print(f"  {command} redact --data ESSAYS --run {run} \\\n    --mode surrogate --seed 1 --out redacted")


def excerpts(text: str, redacted: Redacted) -> tuple[str, str]:
    """Return parts of a text around what was found, in brackets, and the same parts after redaction.

    The first change of each PII type is shown with the unchanged text around it, as far as WIDTH allows.
    """
    parts: list[tuple[str, str]] = []
    shown, types = 0, set()
    for change, following in pairwise([*sorted(redacted.changes, key=lambda change: change.start), None]):
        assert change is not None
        if change.pii_type not in types:
            left = text[max(change.start - CONTEXT, shown) : change.start]
            right = text[change.end : min(change.end + CONTEXT // 2, following.start if following else len(text))]
            left, right = re.sub(r"^\S*\s", "", left), re.sub(r"\s\S*$", "", right)
            part = [" ".join((left + middle + right).split()) for middle in (f"[{change.original}]", change.text)]
            if parts and max(sum(map(len, column)) for column in zip(*parts, part, strict=True)) > WIDTH:
                break
            parts.append((part[0], part[1]))
            types.add(change.pii_type)
            shown = change.end + len(right)
        shown = max(shown, change.end)
    before, after = zip(*parts, strict=True)
    return " … ".join(before), " … ".join(after)
