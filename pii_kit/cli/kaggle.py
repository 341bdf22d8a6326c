"""`python -m pii_kit kaggle build|push|status|pull|submit`: the arguments of these verbs, and what they print."""

import argparse
import os
from functools import partial
from pathlib import Path

from pii_kit import __version__
from pii_kit.cli import add_verb, positive, whole
from pii_kit.files import KitError, atomic_folder
from pii_kit.kaggle import runs_below
from pii_kit.kaggle.build import PLACEHOLDER, Description, build_kit, full_name, is_owner, read_description
from pii_kit.kaggle.publish import FAILED, Kaggle, connect, push_kit, select, wait_for_submission

SUBMISSION = "submission.csv"
tell = partial(print, flush=True)  # a wait of hours is read as it goes on


def build(args: argparse.Namespace) -> None:
    description = read_description(args.description)
    owner = _named_owner(args, description)
    if owner is None:
        try:
            with connect(silence=args.silence) as kaggle:
                owner = kaggle.user
        except KitError as error:
            places = f'--owner NAME, KAGGLE_USERNAME, or "owner" in {args.description}'
            raise KitError(f"owner missing: put your Kaggle name in {places}, or sign in ({error})") from None
    _build(description, args.out, owner)


def push(args: argparse.Namespace) -> None:
    description = read_description(args.description)
    select(description, args.only or ())
    with connect(silence=args.silence) as kaggle:
        owner = _named_owner(args, description) or kaggle.user
        _build(description, args.out, owner)
        push_kit(kaggle, description, args.out, owner=owner, only=args.only or (), wait=args.wait, tell=tell)


def status(args: argparse.Namespace) -> None:
    description = read_description(args.description)
    rows = []
    with connect(silence=args.silence) as kaggle:
        owner = _named_owner(args, description) or kaggle.user
        for dataset in description.datasets:
            state = kaggle.dataset(full_name(owner, dataset.slug))
            rows.append(("data set", dataset.slug, f"{state.status}, version {state.version}" if state else ""))
        for notebook in description.notebooks:
            state = kaggle.kernel(full_name(owner, notebook.slug))
            rows.append(("notebook", notebook.slug, f"{state.status} {state.failure}".strip() if state else ""))
    width = max(len(slug) for _, slug, _ in rows)
    for kind, slug, state in rows:
        print(f"{kind}  {slug:{width}}  {state or 'not on Kaggle'}")


def pull(args: argparse.Namespace) -> None:
    description = read_description(args.description)
    _, notebooks = select(description, args.only or ())
    with connect(silence=args.silence) as kaggle:
        owner = _named_owner(args, description) or kaggle.user
        for notebook in notebooks:
            name = full_name(owner, notebook.slug)
            state = kaggle.kernel(name)
            if state is None or state.status not in ("complete", *FAILED):
                tell(f"notebook {name}: {state.status if state else 'not on Kaggle'}, nothing to pull")
                continue
            with atomic_folder(args.out / notebook.slug) as inside:
                files = kaggle.download(name, inside)
            tell(f"notebook {name}: {state.status}, {len(files)} files to {args.out / notebook.slug}")
    if found := runs_below(args.out):
        runs = " ".join(f"--run {run}" for run in found)
        print(f"Predict with them: python -m pii_kit predict {runs} --data TEST.json --out {SUBMISSION}")
    for file in sorted(args.out.rglob(SUBMISSION)):
        print(f"Check it: python -m pii_kit check --data TEST.json --submission {file}")


def submit(args: argparse.Namespace) -> None:
    description = read_description(args.description)
    submitted = [notebook for notebook in description.notebooks if notebook.submits]
    if not submitted:
        raise KitError(f'{args.description}: no notebook has "submits": true, so there is none to submit')
    with connect(silence=args.silence) as kaggle:
        name = full_name(_named_owner(args, description) or kaggle.user, submitted[0].slug)
        _see_that_it_can_be_submitted(kaggle, name)
        version = args.version or kaggle.kernel_version(name)
        message = args.message or f"pii_kit {__version__}, {submitted[0].slug} version {version}"
        competition = description.competition
        ref, said = kaggle.submit(name, version, competition=competition, file=SUBMISSION, message=message)
        tell(f"{name}, version {version}: {said}")
        if not ref:
            return  # without a reference there is nothing to look for
        scored = wait_for_submission(kaggle, competition, ref, tell=tell) if args.wait else None
        scored = scored or kaggle.submission(competition, ref)
        scores = f", public {scored.public or '-'}, private {scored.private or '-'}" if scored else ""
        tell(f"submission {ref}: {scored.status if scored else 'not listed yet'}{scores}")


def _see_that_it_can_be_submitted(kaggle: Kaggle, name: str) -> None:
    state = kaggle.kernel(name)
    if state is None or state.status != "complete":
        found = f"{state.status} {state.failure}".strip() if state else "not on Kaggle"
        raise KitError(f"notebook {name}: {found}; only a complete run can be submitted")
    files, _ = kaggle.outputs(name)
    if SUBMISSION not in files:
        raise KitError(
            f"notebook {name}: has written no {SUBMISSION} (its files: {', '.join(sorted(files)) or 'none'})"
        )


def _build(description: Description, out: Path, owner: str) -> None:
    build_kit(description, out, owner=owner)
    n_datasets, n_notebooks = len(description.datasets), len(description.notebooks)
    tell(f"{out}: written for {owner}: datasets/ ({n_datasets}), kernels/ ({n_notebooks})")


def _named_owner(args: argparse.Namespace, description: Description) -> str | None:
    """The user under whose name the kit goes to Kaggle; None where only the client's configuration can say."""
    owner = args.owner or description.owner or os.environ.get("KAGGLE_USERNAME")
    if owner is not None and not is_owner(owner):
        raise KitError(f"owner {owner!r}: expected the name in the address of your Kaggle profile")
    return owner


def add_kaggle_verbs(verbs) -> None:
    """The verb `kaggle` with its own verbs."""
    text = "the kit on Kaggle: build, push, status, pull, submit"
    verbs = verbs.add_parser("kaggle", help=text, description=text).add_subparsers(
        title="verbs", required=True, metavar="VERB"
    )
    verb = _add_verb(verbs, build, "write the folders that the Kaggle client sends")
    _add_kit(verb)

    verb = _add_verb(
        verbs, push, "build, then send data sets and notebooks in the right order; Kaggle runs the notebooks"
    )
    _add_kit(verb)
    _add_only(verb, "this data set, or notebook with its data sets; repeat for more")
    verb.add_argument("--wait", action="store_true", help="follow the runs, then send what reads their outputs")

    _add_verb(verbs, status, "say how data sets and notebooks stand")

    verb = _add_verb(verbs, pull, "fetch what the notebooks have written, run folders and logs with it")
    verb.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder for each notebook goes here")
    _add_only(verb, "this notebook; repeat for more")

    verb = _add_verb(verbs, submit, "hand in the notebook that submits, with its last complete run")
    verb.add_argument("--version", type=whole(1), metavar="N", help="of the notebook; default: its latest")
    verb.add_argument("--message", metavar="TEXT", help="default: the versions of kit and notebook")
    verb.add_argument("--wait", action="store_true", help="until it is scored")


def _add_verb(verbs, function, text: str) -> argparse.ArgumentParser:
    verb = add_verb(verbs, function, text)
    file = Path("kaggle_metadata.json")
    verb.add_argument("--description", type=Path, default=file, metavar="FILE", help="what goes to Kaggle")
    owner = f"Kaggle user; default: FILE's unless {PLACEHOLDER}, KAGGLE_USERNAME, who is signed in"
    verb.add_argument("--owner", metavar="NAME", help=owner)
    verb.add_argument("--silence", type=positive, default=60, metavar="S", help="seconds to wait for a word of Kaggle")
    return verb


def _add_kit(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--out", type=Path, default=Path("dist/kaggle"), metavar="DIR", help="folder to write to")


def _add_only(verb: argparse.ArgumentParser, text: str) -> None:
    verb.add_argument("--only", action="append", metavar="SLUG", help=text)
