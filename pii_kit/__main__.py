"""`python -m pii_kit VERB`: one verb per stage. Nothing but the reading of arguments and the printing of results."""

import argparse
import json
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from pii_kit.arguments import Parser, add_verb, positive, whole
from pii_kit.data import DataWarning, read_documents
from pii_kit.errors import KitError
from pii_kit.kaggle_commands import add_kaggle_verbs
from pii_kit.language_model_commands import add_language_model_verbs
from pii_kit.metrics import as_dict, bootstrap_interval, micro_fbeta
from pii_kit.sample import write_sample
from pii_kit.submission import read_submission, true_rows
from pii_kit.tagger_commands import add_tagger_verbs


def sample(args: argparse.Namespace) -> None:
    folder = write_sample(
        args.out, n_documents=args.documents, n_test=args.test_documents, length=args.length, seed=args.seed
    )
    print(f"{folder}: train.json, test.json, test_labels.csv")


def score(args: argparse.Namespace) -> None:
    documents = read_documents(args.truth, labels_required=True)
    truth = true_rows(documents)
    rows = read_submission(args.submission, documents)
    result = micro_fbeta(truth, rows)
    low, high = bootstrap_interval(truth, rows, [document.document for document in documents])
    if args.json:
        print(json.dumps({**as_dict(result), "f5_low": low, "f5_high": high}))
    else:
        print(f"F5 {result.f:.4f} (95% interval over documents {low:.3f} to {high:.3f})")
        print(f"precision {result.precision:.4f}, recall {result.recall:.4f}")
        print(f"rows right {result.tp}, false {result.fp}, missed {result.fn}")


def check(args: argparse.Namespace) -> None:
    rows = read_submission(args.submission, read_documents(args.data))
    print(f"{args.submission}: {len(rows)} rows, nothing wrong")


def demo(args: argparse.Namespace) -> None:
    from pii_kit.demo import run_demo  # needs papermill, which other verbs do without

    run_demo(seed=args.seed, n_documents=args.documents)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m pii_kit", description="Find PII in student essays.")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    verb = add_verb(verbs, sample, "write made-up essays: train.json, test.json and test_labels.csv")
    verb.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    verb.add_argument(
        "--documents",
        type=whole(1),
        default=400,
        metavar="N",
        help="training essays",
    )
    verb.add_argument(
        "--test-documents",
        type=whole(1),
        metavar="N",
        help="essays to test on; default: a quarter as many as to train on, at least 50",
    )
    verb.add_argument(
        "--length",
        type=positive,
        default=1.0,
        metavar="X",
        help="times as many sentences; 2.8 makes essays as long as the competition's",
    )
    verb.add_argument("--seed", type=whole(0), default=0, metavar="S", help="equal seeds give equal essays")

    add_tagger_verbs(verbs)

    verb = add_verb(verbs, score, "score a submission against labelled essays")
    verb.add_argument("--truth", type=Path, required=True, metavar="LABELLED.json", help="labelled essays")
    verb.add_argument("--submission", type=Path, required=True, metavar="FILE.csv", help="the submission")
    verb.add_argument("--json", action="store_true", help="print one JSON object")

    verb = add_verb(verbs, check, "say all that is wrong with a submission")
    verb.add_argument("--data", type=Path, required=True, metavar="TEST.json", help="the essays it is for")
    verb.add_argument("--submission", type=Path, required=True, metavar="FILE.csv", help="the submission")

    verb = add_verb(verbs, demo, "run the five notebooks in order on made-up essays")
    verb.add_argument("--documents", type=whole(1), default=60, metavar="N", help="training essays")
    verb.add_argument("--seed", type=whole(0), default=0, metavar="S", help="of essays and training")

    add_language_model_verbs(verbs)
    add_kaggle_verbs(verbs)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Gives back 0, or 2 after one line on what was wrong."""
    args = _parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("pii_kit").setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", DataWarning)
            warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
            args.function(args)
    except (KitError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; a training goes on with --resume", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
