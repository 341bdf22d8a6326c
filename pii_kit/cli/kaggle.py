"""The verbs `kaggle build`, push, status, pull and submit, run in a checkout of the kit."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pii_kit.cli.options import examples, flag, new_app, option
from pii_kit.files import KitError, atomic_folder

if TYPE_CHECKING:
    from pii_kit.kaggle.build import Description
    from pii_kit.kaggle.client import Kaggle

app = new_app("Send this checkout to Kaggle and fetch results.")
CHECKOUT = Path()
SUBMISSION = "submission.csv"

Kit = Annotated[Path, option("DIR", "folder to write to", "--out")]
Only = Annotated[list[str] | None, option("SLUG", "only this notebook or data set; repeatable")]


@app.command(epilog=examples("kaggle build --out dist/kaggle --owner NAME"))
def build(
    out: Kit = Path("dist/kaggle"),
    owner: Annotated[str | None, option("NAME", "default: that of kaggle_metadata.json, then KAGGLE_USERNAME")] = None,
) -> None:
    """Write the folders that the Kaggle client sends, and send nothing."""
    from pii_kit.kaggle.build import build_kit, read_description

    content = read_description(CHECKOUT)
    name = owner or content.owner or os.environ.get("KAGGLE_USERNAME")
    if not name:
        raise KitError('owner missing: give your Kaggle name as --owner NAME, or as "owner" in kaggle_metadata.json')
    build_kit(content, CHECKOUT, out, owner=name)
    print(f"{out}: written for {name}")


@app.command(epilog=examples("kaggle push --wait", "kaggle push --only pii-kit-04-inference"))
def push(
    out: Kit = Path("dist/kaggle"),
    only: Only = None,
    wait: Annotated[bool, flag("--wait", "wait for runs; send what reads their outputs")] = False,
) -> None:
    """Build, then send data sets and notebooks in order; Kaggle runs the notebooks."""
    from pii_kit.kaggle.build import build_kit
    from pii_kit.kaggle.client import push_kit

    content, kaggle, owner = _start()
    content.select(only or ())  # a wrong slug ends it before the build
    build_kit(content, CHECKOUT, out, owner=owner)
    push_kit(kaggle, content, out, owner=owner, only=only or (), wait=wait)


@app.command(epilog=examples("kaggle status"))
def status() -> None:
    """Show the state of data sets and notebooks."""
    from pii_kit.kaggle.build import full_name

    content, kaggle, owner = _start()
    for dataset in content.datasets:
        state, version = kaggle.dataset(full_name(owner, dataset.slug))
        print(f"data set  {dataset.slug:30}  {state}{f', version {version}' if version else ''}")
    for notebook in content.notebooks:
        state, reason = kaggle.notebook(full_name(owner, notebook.slug))
        print(f"notebook  {notebook.slug:30}  {state} {reason}".rstrip())


@app.command(epilog=examples("kaggle pull --out outputs"))
def pull(
    out: Annotated[Path, option("DIR", "gets a folder for each notebook", "--out")],
    only: Only = None,
) -> None:
    """Download what the notebooks have written: run folders, submission.csv, logs."""
    from pii_kit.kaggle import runs_below
    from pii_kit.kaggle.build import full_name
    from pii_kit.kaggle.client import FAILED

    content, kaggle, owner = _start()
    for notebook in content.select(only or ())[1]:
        name, folder = full_name(owner, notebook.slug), out / notebook.slug
        state, _ = kaggle.notebook(name)
        if state not in ("complete", *FAILED):
            print(f"notebook {name}: {state}, nothing to pull")
            continue
        with atomic_folder(folder) as inside:
            files = kaggle.download(name, inside)
        print(f"notebook {name}: {state}, {len(files)} files in {folder}")
    if runs := runs_below(out):
        options = " ".join(f"--run {run}" for run in runs)
        print(f"Predict with them: pii-kit predict {options} --data TEST.json --out {SUBMISSION}")


@app.command(epilog=examples("kaggle submit --wait", "kaggle submit --notebook-version 3"))
def submit(
    notebook_version: Annotated[int | None, option("N", "default: the version that was pushed last", min=1)] = None,
    wait: Annotated[bool, flag("--wait", "wait for the score")] = False,
) -> None:
    """Submit the output of the notebook that has "submits": true."""
    from pii_kit import __version__
    from pii_kit.kaggle.build import full_name

    content, kaggle, owner = _start()
    slugs = [notebook.slug for notebook in content.notebooks if notebook.submits]
    if not slugs:
        raise KitError('kaggle_metadata.json: no notebook has "submits": true, so there is none to submit')
    name = full_name(owner, slugs[0])
    version = notebook_version or kaggle.pushed.get(f"notebook {name}", {}).get("version")
    if version is None:
        raise KitError(f"notebook {name}: not pushed from this checkout; give --notebook-version N, as its page shows")
    state, reason = kaggle.notebook(name, version)
    if state != "complete":
        raise KitError(f"notebook {name}: {f'{state} {reason}'.strip()}; only a complete run can be submitted")
    message = f"pii_kit {__version__}, {slugs[0]} version {version}"
    number = kaggle.submit(name, version, file=SUBMISSION, message=message)
    print(f"submission {number}: sent")
    if wait:
        print(f"submission {number}: {kaggle.wait_for_submission(number)}")


def _start() -> "tuple[Description, Kaggle, str]":
    """Read the description and sign in; return both and the owner."""
    from pii_kit.kaggle.build import read_description
    from pii_kit.kaggle.client import Kaggle

    content, kaggle = read_description(CHECKOUT), Kaggle(CHECKOUT, tell=partial(print, flush=True))
    user = kaggle.sign_in()
    return content, kaggle, content.owner or user
