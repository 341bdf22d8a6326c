"""`python -m pii_kit VERB`: read the arguments and run one verb."""

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence

from pii_kit.cli import Parser
from pii_kit.cli.bench import add_bench_verb
from pii_kit.cli.data import add_data_verbs
from pii_kit.cli.demo import add_demo_verb
from pii_kit.cli.interchange import add_convert_verb
from pii_kit.cli.kaggle import add_kaggle_verbs
from pii_kit.cli.language_model import add_language_model_verbs
from pii_kit.cli.redact import add_redact_verbs
from pii_kit.cli.review import add_review_verb
from pii_kit.cli.taggers import add_tagger_verbs
from pii_kit.data import DataWarning
from pii_kit.files import KitError


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    whole = Parser(prog="python -m pii_kit", description="Find PII in student essays.")
    verbs = whole.add_subparsers(title="verbs", required=True, metavar="VERB")
    add_data_verbs(verbs)
    add_demo_verb(verbs)
    add_tagger_verbs(verbs)
    add_bench_verb(verbs)
    add_review_verb(verbs)
    add_redact_verbs(verbs)
    add_convert_verb(verbs)
    add_language_model_verbs(verbs)
    add_kaggle_verbs(verbs)
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Return the exit code: 0, 2 after an error for the user (one line), 130 after Ctrl-C."""
    args = parser().parse_args(arguments)
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
        print(f"interrupted; {str(interrupt) or 'continue a training with --resume'}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
