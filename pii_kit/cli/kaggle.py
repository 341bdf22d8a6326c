"""`python -m pii_kit kaggle build|push|status|pull|submit`: the arguments of these verbs, and what they print."""

import argparse
import os
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pii_kit import __version__
from pii_kit.cli import add_verb, positive, whole
from pii_kit.files import KitError, atomic_folder
from pii_kit.kaggle import runs_below
from pii_kit.kaggle.build import PLACEHOLDER, Description, build_kit, full_name, is_owner, read_description
from pii_kit.kaggle.client import Kaggle
from pii_kit.kaggle.push import FAILED, NOT_THERE, Pushes, push_kit, run_state, select, wait_for_submission

SUBMISSION = "submission.csv"
tell = partial(print, flush=True)  # flushed, so that each line shows at once


def build(args: argparse.Namespace) -> None:
    description = read_description(args.description)
    owner = _named_owner(args, description)
    if owner is None:
        try:
            owner = Kaggle(timeout=args.timeout).sign_in()
        except KitError as error:
            places = f'--owner NAME, KAGGLE_USERNAME, or "owner" in {args.description}'
            raise KitError(f"owner missing: put your Kaggle name in {places}, or sign in ({error})") from None
    _build(description, args.out, owner)


def push(args: argparse.Namespace) -> None:
    description, kaggle, owner, _ = _start(args)
    select(description, args.only or ())  # a wrong slug ends it before the build
    _build(description, args.out, owner)
    push_kit(kaggle, description, args.out, owner=owner, only=args.only or (), wait=args.wait)


def status(args: argparse.Namespace) -> None:
    description, kaggle, owner, pushes = _start(args)
    width = max(len(entry.slug) for entry in (*description.datasets, *description.notebooks))
    for dataset in description.datasets:
        found = kaggle.dataset(full_name(owner, dataset.slug))
        text = f"{found[0]}, version {found[1]}" if found else NOT_THERE
        tell(f"data set  {dataset.slug:{width}}  {text}")
    for notebook in description.notebooks:
        run = run_state(kaggle, full_name(owner, notebook.slug), pushes)
        tell(f"notebook  {notebook.slug:{width}}  {' '.join(run).strip()}")


def pull(args: argparse.Namespace) -> None:
    description, kaggle, owner, pushes = _start(args)
    for notebook in select(description, args.only or ())[1]:
        name, folder = full_name(owner, notebook.slug), args.out / notebook.slug
        run = run_state(kaggle, name, pushes)
        if run[0] not in ("complete", *FAILED):
            tell(f"notebook {name}: {run[0]}, nothing to pull")
            continue
        with atomic_folder(folder) as inside:
            files = kaggle.download(name, inside)
        tell(f"notebook {name}: {run[0]}, {len(files)} files in {folder}")
    if runs := runs_below(args.out):
        options = " ".join(f"--run {run}" for run in runs)
        tell(f"Predict with them: python -m pii_kit predict {options} --data TEST.json --out {SUBMISSION}")
    for file in sorted(args.out.rglob(SUBMISSION)):
        tell(f"Check it: python -m pii_kit check --data TEST.json --submission {file}")


def submit(args: argparse.Namespace) -> None:
    description, kaggle, owner, pushes = _start(args)
    slugs = [notebook.slug for notebook in description.notebooks if notebook.submits]
    if not slugs:
        raise KitError(f'{args.description}: no notebook has "submits": true, so there is none to submit')
    name, competition = full_name(owner, slugs[0]), description.competition
    version = args.notebook_version or pushes.get(f"notebook {name}").get("version")
    if version is None:
        raise KitError(
            f"notebook {name}: not pushed from this checkout; give --notebook-version N, as its page on Kaggle shows"
        )
    state, reason = kaggle.notebook(name, version) or (NOT_THERE, "")
    if state != "complete":
        raise KitError(f"notebook {name}: {f'{state} {reason}'.strip()}; only a complete run can be submitted")
    with TemporaryDirectory() as folder:
        if Path(folder, SUBMISSION) not in kaggle.download(name, Path(folder), version=version, only=SUBMISSION):
            raise KitError(f"notebook {name}: its run has written no {SUBMISSION}; `kaggle pull` has its log")
    message = args.message or f"pii_kit {__version__}, {slugs[0]} version {version}"
    number = kaggle.submit(name, version, competition=competition, file=SUBMISSION, message=message)
    tell(f"submission {number}: sent")
    if args.wait:
        tell(f"submission {number}: {wait_for_submission(kaggle, competition, number)[1]}")


def _start(args: argparse.Namespace) -> tuple[Description, Kaggle, str, Pushes]:
    """Read the description and sign in; return both, the owner, and what was pushed before."""
    description = read_description(args.description)
    owner = _named_owner(args, description)
    kaggle = Kaggle(timeout=args.timeout, tell=tell)
    user = kaggle.sign_in()
    return description, kaggle, owner or user, Pushes(description.root)


def _named_owner(args: argparse.Namespace, description: Description) -> str | None:
    owner = args.owner or description.owner or os.environ.get("KAGGLE_USERNAME")
    if owner is not None and not is_owner(owner):
        raise KitError(f"owner {owner!r}: expected the name in the address of your Kaggle profile")
    return owner


def _build(description: Description, out: Path, owner: str) -> None:
    build_kit(description, out, owner=owner)
    counts = f"datasets/ ({len(description.datasets)}), kernels/ ({len(description.notebooks)})"
    tell(f"{out}: written for {owner}: {counts}")


def add_kaggle(verbs, text: str) -> None:
    """Add the verb `kaggle` with its own verbs."""
    verbs = verbs.add_parser("kaggle", help=text, description=text)
    verbs = verbs.add_subparsers(title="verbs", required=True, metavar="VERB")
    only: dict[str, Any] = {"action": "append", "metavar": "SLUG"}
    kit: dict[str, Any] = {"type": Path, "default": Path("dist/kaggle"), "metavar": "DIR", "help": "folder to write to"}

    verb = _add_verb(verbs, build, "write the folders that the Kaggle client sends", "--out dist/kaggle")
    verb.add_argument("--out", **kit)

    text = "build, then send data sets and notebooks in order; Kaggle runs the notebooks"
    verb = _add_verb(verbs, push, text, "--wait", "--only pii-kit-04-inference")
    verb.add_argument("--out", **kit)
    verb.add_argument("--only", **only, help="this data set, or notebook with its data sets; repeat for more")
    verb.add_argument("--wait", action="store_true", help="wait for the runs, and send what reads their outputs")

    _add_verb(verbs, status, "show the state of data sets and notebooks", "")

    text = "download what the notebooks have written: run folders, submission.csv, logs"
    verb = _add_verb(verbs, pull, text, "--out outputs")
    verb.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets a folder for each notebook")
    verb.add_argument("--only", **only, help="this notebook; repeat for more")

    verb = _add_verb(verbs, submit, 'submit the output of the notebook that has "submits": true', "--wait")
    text = "version of the notebook; default: the one pushed last"
    verb.add_argument("--notebook-version", type=whole(1), metavar="N", help=text)
    verb.add_argument("--message", metavar="TEXT", help="default: the versions of kit and notebook")
    verb.add_argument("--wait", action="store_true", help="wait for the score")


def _add_verb(verbs, function, text: str, *examples: str) -> argparse.ArgumentParser:
    verb = add_verb(verbs, function, text, *examples)
    file = Path("kaggle_metadata.json")
    verb.add_argument("--description", type=Path, default=file, metavar="FILE", help="what goes to Kaggle")
    owner = f"Kaggle user; default: FILE's unless {PLACEHOLDER}, then KAGGLE_USERNAME, then who is signed in"
    verb.add_argument("--owner", metavar="NAME", help=owner)
    verb.add_argument("--timeout", type=positive, default=600, metavar="S", help="seconds for one call of the client")
    return verb
