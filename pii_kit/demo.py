"""The whole kit in one go: the five notebooks run in order on made-up essays, each to an executed copy."""

import shutil
import sys
import time
from pathlib import Path

import pandas as pd
import papermill
from traitlets.config import Config

from pii_kit.data import read_documents
from pii_kit.errors import KitError
from pii_kit.sample import write_sample
from pii_kit.submission import read_submission

CHECKOUT = Path(__file__).parents[1]


def run_demo(*, seed: int, n_documents: int) -> None:
    """Run the notebooks into outputs/demo and submissions/submission.csv, and print how the models did.

    What an earlier demo left in outputs/demo is removed first. Raises KitError outside a checkout, and if the
    submission is not one that Kaggle would take.
    """
    notebooks = sorted((CHECKOUT / "notebooks").glob("0[1-5]*.ipynb"))
    if not notebooks:
        raise KitError(f"{CHECKOUT / 'notebooks'}: no notebooks there; the demo runs in a checkout of the kit")
    out, submission = CHECKOUT / "outputs" / "demo", CHECKOUT / "submissions" / "submission.csv"
    shutil.rmtree(out, ignore_errors=True)
    (out / "notebooks").mkdir(parents=True)
    essays = out / "essays"
    write_sample(essays, n_documents=n_documents, seed=seed)
    began = time.perf_counter()
    for notebook in notebooks:
        print(f"\n{notebook.name}", file=sys.stderr)
        parameters = {"DATA": str(essays), "OUT": str(out), "SEED": seed}
        if notebook.name.startswith("04"):
            parameters["SUBMISSION"] = str(submission)
        papermill.execute_notebook(
            notebook,
            out / "notebooks" / notebook.name,
            parameters=parameters,
            cwd=notebook.parent,
            kernel_name="python3",
            progress_bar=False,
            stderr_file=sys.stderr,
            coalesce_streams=True,
            config=Config(KernelManager={"transport": "ipc"}),  # sockets that nobody else on the machine can read
        )
    rows = read_submission(submission, read_documents(essays / "test.json"))
    table = pd.read_csv(out / "comparison.csv", index_col="model")
    columns = {"f5": "F5", "precision": "precision", "recall": "recall", "test_f5": "test F5"}
    columns |= {"training_seconds": "seconds"}
    print(
        f"\n{table.rename(columns=columns)[[*columns.values(), 'parameters']].to_string(formatters=FORMATS, na_rep='')}"
    )
    print(f"\nsubmission   {submission} ({len(rows)} rows, checked)")
    for name in ("essays", "notebooks", "runs"):
        print(f"{name:<12} {out / name}")
    print(f"{time.perf_counter() - began:.0f} seconds in all")


def _whole(number: float) -> str:
    return "" if pd.isna(number) else f"{number:,.0f}"


FORMATS = {"F5": "{:.3f}".format, "precision": "{:.3f}".format, "recall": "{:.3f}".format}
FORMATS |= {"test F5": "{:.3f}".format, "seconds": _whole, "parameters": _whole}
