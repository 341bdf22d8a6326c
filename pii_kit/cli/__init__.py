"""Reading the command line: a parser whose errors are one line, and types of arguments."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Help that names defaults where there are any."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line, and defaults in its help."""

    def __init__(self, **settings):
        super().__init__(**settings, formatter_class=_Formatter)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} ({self.prog} --help)\n")


def add_verb(verbs, function: Callable, text: str) -> argparse.ArgumentParser:
    """A verb that is called as the function is."""
    verb = verbs.add_parser(function.__name__, help=text, description=text)
    verb.set_defaults(function=function)
    return verb


def add_runs(verb: argparse.ArgumentParser) -> None:
    """The argument `run` of a verb that averages over trained taggers: a list of folders."""
    verb.add_argument(
        "--run",
        type=Path,
        required=True,
        action="append",
        metavar="DIR",
        help="a run's or an exported folder; repeat to average",
    )


def whole(least: int) -> Callable[[str], int]:
    """The type of whole numbers from `least` up."""

    def parse(text: str) -> int:
        if not text.removeprefix("-").isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a whole number of {least} or more, found {text!r}")
        return int(text)

    return parse


def positive(text: str) -> float:
    """The type of numbers above 0."""
    number = _number(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text!r}")
    return number


def share(text: str) -> float:
    """The type of numbers above 0 and up to 1."""
    number = _number(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0 and up to 1, found {text!r}")
    return number


def dropout(text: str) -> float:
    """The type of numbers from 0 to below 1."""
    number = _number(text)
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to below 1, found {text!r}")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
