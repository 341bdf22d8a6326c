"""The command line: a parser with one-line errors, and argument types that check their values."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Help that shows a default only where there is one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """An argument parser with one-line errors and with defaults in its help."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, formatter_class=_Formatter)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


def add_verb(verbs: Any, function: Callable, text: str) -> argparse.ArgumentParser:
    """Add a verb with the name of the function that runs it."""
    verb = verbs.add_parser(function.__name__, help=text, description=text)
    verb.set_defaults(function=function)
    return verb


def add_runs(verb: argparse.ArgumentParser) -> None:
    """Add the argument `--run`, a list of folders whose taggers a verb averages."""
    verb.add_argument(
        "--run",
        type=Path,
        required=True,
        action="append",
        metavar="DIR",
        help="folder of a run or of an exported tagger; repeat to average several",
    )


def whole(least: int) -> Callable[[str], int]:
    """Return the argument type of whole numbers from `least` up."""

    def parse(text: str) -> int:
        if not text.removeprefix("-").isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a whole number of {least} or more, found {text!r}")
        return int(text)

    return parse


def positive(text: str) -> float:
    """Parse a number above 0."""
    number = _number(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text!r}")
    return number


def share(text: str) -> float:
    """Parse a number above 0 and up to 1."""
    number = _number(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0 and up to 1, found {text!r}")
    return number


def dropout(text: str) -> float:
    """Parse a number from 0 to below 1."""
    number = _number(text)
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to below 1, found {text!r}")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
