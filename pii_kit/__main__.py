"""`python -m pii_kit VERB`: read the arguments and run one verb."""

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Collection, Sequence
from importlib import import_module

from pii_kit import __version__
from pii_kit.cli import Parser
from pii_kit.documents import DataWarning
from pii_kit.files import KitError

VERBS = {  # in the order of the work: the verb, its module in pii_kit.cli, and what it does
    "sample": ("data", "write made-up essays: train.json, test.json and test_labels.csv"),
    "convert": ("interchange", "turn essays that were labelled with another tool into a train.json"),
    "train": ("taggers", "train taggers on labelled essays, one for each fold"),
    "predict": ("taggers", "label essays with trained taggers and write a submission"),
    "check": ("data", "check a submission and list all errors"),
    "score": ("data", "score a submission on labelled essays"),
    "errors": (
        "taggers",
        "write a page of errors on labelled essays, with only taggers that did not train on the essay",
    ),
    "redact": (
        "redact",
        "replace PII in essays: JSON, JSON lines, csv, parquet or text files, or a folder of text files",
    ),
    "redact-eval": (
        "redact",
        "measure what a redaction with runs leaves in labelled essays, and what else it replaces",
    ),
    "review": ("review", "write a page to decide what is PII; redact --decisions uses what it saves"),
    "export": ("taggers", "export a trained run to ONNX, into a folder that predict accepts as a run"),
    "bench": ("bench", "measure how fast runs predict on this machine, beside spaCy's NER and transformers' pipeline"),
    "kaggle": ("kaggle", "the kit on Kaggle: build, push, status, pull, submit"),
    "lm": ("language_model", "train, evaluate and sample the byte-level SHA-RNN language model"),
    "demo": ("demo", "run notebooks 01 to 05 on made-up essays, into outputs/demo"),
}
EPILOG = """\
Start with `%(prog)s demo`, which runs everything on made-up essays,
or with sample, train and predict. `%(prog)s VERB --help` has examples.

exit codes: 0 done; 2 error in arguments, data or files; 130 interrupted"""


def parser(verbs: Collection[str] = tuple(VERBS)) -> argparse.ArgumentParser:
    """Return the parser of the command line. Only these `verbs` get their arguments, for which modules are imported."""
    whole = Parser(prog="python -m pii_kit", description="Find PII in student essays.", epilog=EPILOG)
    whole.add_argument("--version", action="version", version=f"pii_kit {__version__}")
    actions = whole.add_subparsers(title="verbs", required=True, metavar="VERB")
    for name, (module, text) in VERBS.items():
        if name in verbs:
            add = getattr(import_module(f"pii_kit.cli.{module}"), f"add_{name.replace('-', '_')}")
            add(actions, text)
        else:
            actions.add_parser(name, help=text)
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Return the exit code: 0, 2 after an error for the user (one line), 130 after Ctrl-C."""
    if not sys.stderr.isatty():  # a log gets a line of a bar every half minute; tqdm reads this when it is imported
        os.environ.setdefault("TQDM_MININTERVAL", "30")
    arguments = sys.argv[1:] if arguments is None else arguments
    args = parser(arguments[:1]).parse_args(arguments)
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
    except KeyboardInterrupt as interrupt:
        advice = "the same command with --resume continues the run" if hasattr(args, "resume") else ""
        print("; ".join(filter(None, ["interrupted", str(interrupt) or advice])), file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
