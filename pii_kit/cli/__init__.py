"""The command line: a parser with one-line errors, and argument types that check their values."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from pii_kit.labels import PII_TYPES


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Help that shows a default only where there is one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """An argument parser with one-line errors and with defaults in its help. Options are never abbreviated."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, formatter_class=_Formatter, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


def add_verb(verbs: Any, function: Callable, text: str) -> argparse.ArgumentParser:
    """Add a verb with the name of the function that runs it, hyphens for underscores."""
    verb = verbs.add_parser(function.__name__.replace("_", "-"), help=text, description=text)
    verb.set_defaults(function=function)
    return verb


def add_path(verb: Any, name: str, metavar: str, text: str) -> None:
    """Add a required argument for a file or folder."""
    verb.add_argument(name, type=Path, required=True, metavar=metavar, help=text)


def add_runs(verb: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add the arguments that choose the taggers that a verb averages, and their thresholds."""
    text = "folder of a run or of an exported tagger; repeat to average several"
    verb.add_argument("--run", type=Path, required=required, action="append", metavar="DIR", help=text)
    text = "the essays that the runs were trained on, to choose the threshold of several runs"
    verb.add_argument("--train", type=Path, metavar="TRAIN.json", help=text)
    verb.add_argument("--mixed-data", action="store_true", help="allow runs that were trained on different essays")
    text = "a token is PII of this type where P(O) is lower; repeat for several types"
    verb.add_argument("--threshold", type=_threshold, action="append", metavar="TYPE=P", help=text)
    text = "with --train: choose the threshold of the other types that finds this share of rows out of fold"
    verb.add_argument("--recall", type=share, metavar="SHARE", help=text)


def _threshold(text: str) -> tuple[str, float]:
    pii_type, _, value = text.partition("=")
    if pii_type not in PII_TYPES:
        raise argparse.ArgumentTypeError(f"expected TYPE=P with one of {', '.join(PII_TYPES)}, found {text!r}")
    return pii_type, share(value)


def whole(least: int) -> Callable[[str], int]:
    """Return the argument type of whole numbers from `least` up."""

    def parse(text: str) -> int:
        if not text.removeprefix("-").isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a whole number of {least} or more, found {text!r}")
        return int(text)

    return parse


def _number(expected: str, is_valid: Callable[[float], bool]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not is_valid(number):
            raise argparse.ArgumentTypeError(f"expected {expected}, found {text!r}")
        return number

    return parse


positive = _number("a number above 0", lambda number: 0 < number < float("inf"))
share = _number("a number above 0 and up to 1", lambda number: 0 < number <= 1)
dropout = _number("a number from 0 to below 1", lambda number: 0 <= number < 1)
