"""`python -m pii_kit VERB`: read the arguments and run one verb."""

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence

from pii_kit import __version__
from pii_kit.cli import Parser
from pii_kit.cli.bench import add_bench
from pii_kit.cli.data import add_check, add_sample, add_score
from pii_kit.cli.demo import add_demo
from pii_kit.cli.interchange import add_convert
from pii_kit.cli.kaggle import add_kaggle
from pii_kit.cli.language_model import add_lm
from pii_kit.cli.redact import add_redact, add_redact_eval
from pii_kit.cli.review import add_review
from pii_kit.cli.taggers import add_errors, add_export, add_predict, add_train
from pii_kit.data import DataWarning
from pii_kit.files import KitError

VERBS = (  # in the order of the work
    *(add_sample, add_convert, add_train, add_predict, add_check, add_score, add_errors),
    *(add_redact, add_redact_eval, add_review, add_export, add_bench, add_kaggle, add_lm, add_demo),
)
EPILOG = """\
Start with `%(prog)s demo`, which runs everything on made-up essays,
or with sample, train and predict. `%(prog)s VERB --help` has examples.

exit codes: 0 done; 2 error in arguments, data or files; 130 interrupted"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    whole = Parser(prog="python -m pii_kit", description="Find PII in student essays.", epilog=EPILOG)
    whole.add_argument("--version", action="version", version=f"pii_kit {__version__}")
    verbs = whole.add_subparsers(title="verbs", required=True, metavar="VERB")
    for add in VERBS:
        add(verbs)
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
