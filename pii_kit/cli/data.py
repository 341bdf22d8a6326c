"""The verbs sample, score and check."""

import argparse
import json
from pathlib import Path

from pii_kit.cli import add_path, add_verb, positive, whole
from pii_kit.documents import read_documents
from pii_kit.files import KitError
from pii_kit.metrics import as_dict, bootstrap_interval, micro_fbeta
from pii_kit.sample import write_sample
from pii_kit.submission import read_submission, true_rows

SAMPLE_FILES = ("train.json", "test.json", "test_labels.csv")


def sample(args: argparse.Namespace) -> None:
    for name in SAMPLE_FILES:
        if (args.out / name).exists():
            raise KitError(f"{args.out / name}: exists already; choose a new folder")
    sizes = {"n_documents": args.documents, "n_test": args.test_documents, "length": args.length}
    print(f"{write_sample(args.out, **sizes, seed=args.seed)}: {', '.join(SAMPLE_FILES)}")


def score(args: argparse.Namespace) -> None:
    documents = read_documents(args.data, labels_required=not args.labels)
    truth = read_submission(args.labels, documents) if args.labels else true_rows(documents)
    rows = read_submission(args.submission, documents)
    result = micro_fbeta(truth, rows)
    low, high = bootstrap_interval(truth, rows, [document.number for document in documents])
    if args.json:
        print(json.dumps({**as_dict(result), "f5_low": low, "f5_high": high}))
    else:
        print(f"F5 {result.f:.4f} (95% interval over documents {low:.3f} to {high:.3f})")
        print(f"precision {result.precision:.4f}, recall {result.recall:.4f}")
        print(f"correct rows {result.tp}, false rows {result.fp}, missed rows {result.fn}")


def check(args: argparse.Namespace) -> None:
    rows = read_submission(args.submission, read_documents(args.data))
    print(f"{args.submission}: {len(rows)} rows, nothing wrong")


def add_sample(verbs, text: str) -> None:
    """Add the verb sample."""
    verb = add_verb(verbs, sample, text, "--out essays", "--out essays --documents 1000 --length 2.8 --seed 1")
    add_path(verb, "--out", "DIR", "output folder")
    verb.add_argument("--documents", type=whole(1), default=400, metavar="N", help="number of training essays")
    text = "number of test essays; default: a quarter of the training essays, at least 50"
    verb.add_argument("--test-documents", type=whole(1), metavar="N", help=text)
    text = "factor on the number of sentences; 2.8 makes essays as long as the competition's"
    verb.add_argument("--length", type=positive, default=1.0, metavar="X", help=text)
    verb.add_argument("--seed", type=whole(0), default=0, metavar="S", help="equal seeds make equal essays")


def add_score(verbs, text: str) -> None:
    """Add the verb score."""
    example = "--data labelled.json --submission submission.csv"
    verb = add_verb(verbs, score, text, example, f"{example} --json")
    add_path(verb, "--data", "LABELLED.json", "labelled essays")
    add_path(verb, "--submission", "FILE.csv", "submission to score")
    text = "the true rows, such as the test_labels.csv that sample writes; default: the labels in --data"
    verb.add_argument("--labels", type=Path, metavar="FILE.csv", help=text)
    verb.add_argument("--json", action="store_true", help="print one JSON object")


def add_check(verbs, text: str) -> None:
    """Add the verb check."""
    example = "--data test.json --submission submission.csv"
    verb = add_verb(verbs, check, text, example)
    add_path(verb, "--data", "TEST.json", "essays of the submission")
    add_path(verb, "--submission", "FILE.csv", "submission to check")
