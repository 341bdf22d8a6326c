"""The verbs `kaggle build`, push, status, pull and submit."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pii_kit.cli.options import examples, flag, new_app, number, option
from pii_kit.files import KitError, atomic_folder

if TYPE_CHECKING:
    from pii_kit.kaggle.build import Description
    from pii_kit.kaggle.client import Kaggle

app = new_app("Send the kit to Kaggle, and fetch what its notebooks write.")
FILE, KIT, SUBMISSION = Path("kaggle_metadata.json"), Path("dist/kaggle"), "submission.csv"
tell = partial(print, flush=True)  # flushed, so that each line shows at once

Metadata = Annotated[Path, option("FILE", "what goes to Kaggle", "--description")]
Owner = Annotated[str | None, option("NAME", "default: FILE's, then KAGGLE_USERNAME, then who is signed in")]
Timeout = Annotated[float, number("S", "seconds for one call of the client")]
Kit = Annotated[Path, option("DIR", "folder to write to", "--out")]
Pulled = Annotated[Path, option("DIR", "gets a folder for each notebook", "--out")]
Only = Annotated[list[str] | None, option("SLUG", "only this notebook (push: or data set); repeat for more")]
Wait = Annotated[bool, flag("--wait", "wait for runs (and send what reads their outputs) or for the score")]
Version = Annotated[int | None, option("N", "version of the notebook; default: the one pushed last", min=1)]
Message = Annotated[str | None, option("TEXT", "default: the versions of kit and notebook")]


@app.command(epilog=examples("kaggle build --out dist/kaggle --owner NAME"))
def build(out: Kit = KIT, description: Metadata = FILE, owner: Owner = None, timeout: Timeout = 600) -> None:
    """Write the folders that the Kaggle client sends."""
    from pii_kit.kaggle.build import read_description
    from pii_kit.kaggle.client import Kaggle

    content = read_description(description)
    name = _named_owner(owner, content)
    if name is None:
        try:
            name = Kaggle(description.parent, timeout=timeout).sign_in()
        except KitError as error:
            places = f'--owner NAME, KAGGLE_USERNAME, or "owner" in {description}'
            raise KitError(f"owner missing: put your Kaggle name in {places}, or sign in ({error})") from None
    _build(content, description.parent, out, name)


@app.command(epilog=examples("kaggle push --wait", "kaggle push --only pii-kit-04-inference"))
def push(
    out: Kit = KIT,
    only: Only = None,
    wait: Wait = False,
    description: Metadata = FILE,
    owner: Owner = None,
    timeout: Timeout = 600,
) -> None:
    """Build, then send data sets and notebooks in order; Kaggle runs the notebooks."""
    from pii_kit.kaggle.push import push_kit, select

    content, kaggle, name = _start(description, owner, timeout)
    select(content, only or ())  # a wrong slug ends it before the build
    _build(content, description.parent, out, name)
    push_kit(kaggle, content, out, owner=name, only=only or (), wait=wait)


@app.command(epilog=examples("kaggle status"))
def status(description: Metadata = FILE, owner: Owner = None, timeout: Timeout = 600) -> None:
    """Show the state of data sets and notebooks."""
    from pii_kit.kaggle.build import full_name

    content, kaggle, user = _start(description, owner, timeout)
    width = max(len(entry.slug) for entry in (*content.datasets, *content.notebooks))
    for dataset in content.datasets:
        state, version = kaggle.dataset(full_name(user, dataset.slug))
        tell(f"data set  {dataset.slug:{width}}  {f'{state}, version {version}' if version else state}")
    for notebook in content.notebooks:
        run = kaggle.notebook(full_name(user, notebook.slug))
        tell(f"notebook  {notebook.slug:{width}}  {' '.join(run).strip()}")


@app.command(epilog=examples("kaggle pull --out outputs"))
def pull(
    out: Pulled, only: Only = None, description: Metadata = FILE, owner: Owner = None, timeout: Timeout = 600
) -> None:
    """Download what the notebooks have written: run folders, submission.csv, logs."""
    from pii_kit.kaggle import runs_below
    from pii_kit.kaggle.build import full_name
    from pii_kit.kaggle.client import FAILED
    from pii_kit.kaggle.push import select

    content, kaggle, user = _start(description, owner, timeout)
    for notebook in select(content, only or ())[1]:
        name, folder = full_name(user, notebook.slug), out / notebook.slug
        run = kaggle.notebook(name)
        if run[0] not in ("complete", *FAILED):
            tell(f"notebook {name}: {run[0]}, nothing to pull")
            continue
        with atomic_folder(folder) as inside:
            files = kaggle.download(name, inside)
        tell(f"notebook {name}: {run[0]}, {len(files)} files in {folder}")
    if runs := runs_below(out):
        options = " ".join(f"--run {run}" for run in runs)
        tell(f"Predict with them: pii-kit predict {options} --data TEST.json --out {SUBMISSION}")
    for file in sorted(out.rglob(SUBMISSION)):
        tell(f"Check it: pii-kit check --data TEST.json --submission {file}")


@app.command(epilog=examples("kaggle submit --wait"))
def submit(
    notebook_version: Version = None,
    message: Message = None,
    wait: Wait = False,
    description: Metadata = FILE,
    owner: Owner = None,
    timeout: Timeout = 600,
) -> None:
    """Submit the output of the notebook that has "submits": true."""
    from tempfile import TemporaryDirectory

    from pii_kit import __version__
    from pii_kit.kaggle.build import full_name

    content, kaggle, user = _start(description, owner, timeout)
    slugs = [notebook.slug for notebook in content.notebooks if notebook.submits]
    if not slugs:
        raise KitError(f'{description}: no notebook has "submits": true, so there is none to submit')
    name, competition = full_name(user, slugs[0]), content.competition
    version = notebook_version or kaggle.pushed.get(f"notebook {name}", {}).get("version")
    if version is None:
        raise KitError(f"notebook {name}: not pushed from this checkout; give --notebook-version N, as its page shows")
    state, reason = kaggle.notebook(name, version)
    if state != "complete":
        raise KitError(f"notebook {name}: {f'{state} {reason}'.strip()}; only a complete run can be submitted")
    with TemporaryDirectory() as folder:
        if Path(folder, SUBMISSION) not in kaggle.download(f"{name}/{version}", Path(folder), only=SUBMISSION):
            raise KitError(f"notebook {name}: its run has written no {SUBMISSION}; `kaggle pull` has its log")
    text = message or f"pii_kit {__version__}, {slugs[0]} version {version}"
    number = kaggle.submit(name, version, competition=competition, file=SUBMISSION, message=text)
    tell(f"submission {number}: sent")
    if wait:
        tell(f"submission {number}: {kaggle.wait_for_submission(competition, number)}")


def _start(description: Path, owner: str | None, timeout: float) -> "tuple[Description, Kaggle, str]":
    """Read the description and sign in; return both and the owner."""
    from pii_kit.kaggle.build import read_description
    from pii_kit.kaggle.client import Kaggle

    content = read_description(description)
    name = _named_owner(owner, content)
    kaggle = Kaggle(description.parent, timeout=timeout, tell=tell)
    user = kaggle.sign_in()
    return content, kaggle, name or user


def _named_owner(owner: str | None, description: "Description") -> str | None:
    from pii_kit.kaggle.build import is_owner

    name = owner or description.owner or os.environ.get("KAGGLE_USERNAME")
    if name is not None and not is_owner(name):
        raise KitError(f"owner {name!r}: expected the name in the address of your Kaggle profile")
    return name


def _build(description: "Description", root: Path, out: Path, owner: str) -> None:
    from pii_kit.kaggle.build import build_kit

    build_kit(description, root, out, owner=owner)
    counts = f"datasets/ ({len(description.datasets)}), kernels/ ({len(description.notebooks)})"
    tell(f"{out}: written for {owner}: {counts}")
