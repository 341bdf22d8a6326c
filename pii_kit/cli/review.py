"""`python -m pii_kit review`: write a page on which a person decides what is PII."""

import argparse

from pii_kit.cli import add_path, add_runs, add_verb
from pii_kit.cli.taggers import load_runs
from pii_kit.files import KitError
from pii_kit.redact.decisions import find_detections
from pii_kit.redact.forms import read_files
from pii_kit.redact.release import check_output, items_of, names_of
from pii_kit.report.review_page import write_review_page


def review(args: argparse.Namespace) -> None:
    if args.out.resolve() == args.data.resolve():
        raise KitError(f"{args.out}: is the input; choose another name for the page")
    check_output(args.out, is_folder=False)
    files = read_files(args.data)
    documents = [item.document for item in items_of(files)]
    ensemble = load_runs(args)
    detections = [find_detections(*pair, ensemble) for pair in ensemble.predict(documents)]
    runs = " and ".join(run.resolve().name for run in args.run)
    limits = "".join(f", {pii_type}: {limit:g}" for pii_type, limit in ensemble.by_type.items())
    note = f"Detections of {runs}: P(O) < {ensemble.o_threshold:g}{limits}."
    title = f"Review of {args.data.name}"
    write_review_page(args.out, documents, detections, title=title, note=note, names=names_of(files))
    suggestions = [one.is_suggestion for of_document in detections for one in of_document]
    counts = f"{len(suggestions) - sum(suggestions)} detections and {sum(suggestions)} suggestions"
    print(f"{args.out}: {counts} in {len(documents)} documents; save the decisions on the page for redact --decisions")


def add_review(verbs, text: str) -> None:
    """Add the verb review."""
    verb = add_verb(verbs, review, text, "--data essays.csv --run runs/sha_rnn --out review.html")
    add_path(verb, "--data", "IN", "the essays, in any form that redact reads")
    add_runs(verb)
    add_path(verb, "--out", "PAGE.html", "the page, for any browser; it holds the essays")
