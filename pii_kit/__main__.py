"""`python -m pii_kit VERB`: one verb per stage. Nothing but the reading of arguments and the printing of results."""

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence

from pii_kit.cli import Parser
from pii_kit.cli.data import add_data_verbs
from pii_kit.cli.kaggle import add_kaggle_verbs
from pii_kit.cli.language_model import add_language_model_verbs
from pii_kit.cli.taggers import add_tagger_verbs
from pii_kit.data import DataWarning
from pii_kit.files import KitError


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m pii_kit", description="Find PII in student essays.")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    add_data_verbs(verbs)
    add_tagger_verbs(verbs)
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
