"""The command line: `pii-kit VERB`, or `python -m pii_kit VERB`. Each verb is a function of one of these modules."""

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

from pii_kit import __version__
from pii_kit.cli import kaggle, language_model, redact, tagging
from pii_kit.cli.options import Seed, examples, new_app, option
from pii_kit.documents import DataWarning
from pii_kit.files import KitError

# The errors of the command line: click's, or those of the copy of click in new versions of typer.
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
EPILOG = """\b
Start with `pii-kit demo`, which runs everything on made-up essays,
or with sample, train and predict. `pii-kit VERB --help` has examples.
\b
Exit codes: 0 done; 2 error in arguments, data or files; 130 interrupted"""

app = new_app("Find PII in student essays.")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"pii_kit {__version__}")
        raise typer.Exit()


@app.callback(epilog=EPILOG)
def _about(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="print the version")
    ] = False,
) -> None:
    """Find PII in student essays."""


@app.command(epilog=examples("demo", "demo --seed 1"))
def demo(
    documents: Annotated[int, option("N", "number of training essays", min=1)] = 550,
    seed: Seed = 0,
) -> None:
    """Run notebooks 01 to 05 on made-up essays, into outputs/demo."""
    from pii_kit.demo import run_demo

    run_demo(seed=seed, n_documents=documents)


for module in (tagging, redact):
    app.add_typer(module.app)
app.add_typer(kaggle.app, name="kaggle")
app.add_typer(language_model.app, name="lm")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Return the exit code: 0, 2 after an error for the user (one line), 130 after Ctrl-C."""
    if not sys.stderr.isatty():  # a log gets a line of a bar every half minute; tqdm reads this when it is imported
        os.environ.setdefault("TQDM_MININTERVAL", "30")
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    logging.basicConfig(format="%(message)s")
    logging.getLogger("pii_kit").setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", DataWarning)
            warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
            command = typer.main.get_command(app)
            with command.make_context("pii-kit", words) as context:
                command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    except USAGE_ERROR as error:
        verb = getattr(getattr(error, "ctx", None), "command_path", "pii-kit")
        text = " ".join(error.format_message().replace("Value error, ", "").split())  # type: ignore[attr-defined]
        print(f"error: {text} (see {verb} --help)", file=sys.stderr)
        return 2
    except (KitError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        advice = "; the same command with --resume continues the run" * ("train" in words[:2])
        advice += "; run the same command again: it continues where it stopped" * (words[0] == "demo")
        print(f"interrupted{advice}", file=sys.stderr)
        return 130
    return 0
