"""The command line: a parser with one-line errors, and argument types that check their values."""

import argparse
import sys
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn

from pii_kit.files import did_you_mean
from pii_kit.labels import PII_TYPES


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Help that shows a default only where there is one, and keeps the lines of a text that has several."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False) else super()._get_help_string(action)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


class Parser(argparse.ArgumentParser):
    """An argument parser with defaults in its help, and with one-line errors that suggest names like a mistyped one.

    Options are never abbreviated.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, formatter_class=_Formatter, allow_abbrev=False)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, but name an unknown option before required ones that are missing."""
        args = sys.argv[1:] if args is None else list(args)
        # What follows a verb belongs to the verb's own parser.
        own = takewhile(lambda text: text.startswith("-"), args) if self._subparsers else args
        for text in takewhile(lambda text: text != "--", own):
            option = text.partition("=")[0]
            if option.startswith("--") and option not in self._option_string_actions:
                self.error(f"{option}: no such option{did_you_mean(option, self._option_string_actions)}")
        return super().parse_known_args(args, namespace)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            names = [str(choice) for choice in action.choices]
            near = did_you_mean(str(value), names) or f"; expected one of {', '.join(names)}"
            what = "no verb" if action.nargs == argparse.PARSER else "not valid"
            raise argparse.ArgumentError(action, f"{value!r} is {what}{near}")

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


def add_verb(verbs: Any, function: Callable, text: str, *examples: str) -> argparse.ArgumentParser:
    """Add a verb with the name of the function that runs it, hyphens for underscores, and arguments as examples."""
    lines = "".join(f"\n  %(prog)s {example}".rstrip() for example in examples)
    name = function.__name__.replace("_", "-")
    verb = verbs.add_parser(name, help=text, description=text, epilog=f"examples:{lines}")
    verb.set_defaults(function=function)
    return verb


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "model"), counted(2, "model")
    ('1 model', '2 models')
    """
    return f"{number} {noun}{'s' * (number != 1)}"


def add_path(verb: Any, name: str, metavar: str, text: str) -> None:
    """Add a required argument for a file or folder."""
    verb.add_argument(name, type=Path, required=True, metavar=metavar, help=text)


def add_runs(verb: argparse.ArgumentParser) -> None:
    """Add the arguments that choose the taggers that a verb averages, and their thresholds."""
    text = "folder of a run or of an exported tagger; repeat to average several; default: the tagger that comes with "
    text += "the kit, trained on made-up essays alone"
    verb.add_argument("--run", type=Path, action="append", metavar="DIR", help=text)
    text = "the essays that the runs were trained on, to choose the threshold of several runs"
    verb.add_argument("--train", type=Path, metavar="TRAIN.json", help=text)
    verb.add_argument("--mixed-data", action="store_true", help="allow runs that were trained on different essays")
    text = "a token is PII where P(O) is lower; with TYPE= tokens of this type alone, repeat for several; default: as "
    text += "chosen in training"
    verb.add_argument("--threshold", type=_threshold, action="append", metavar="P|TYPE=P", help=text)
    text = "with --train: use the lowest threshold that finds this share of rows out of fold (not for TYPE=P)"
    verb.add_argument("--recall", type=share, metavar="SHARE", help=text)


def given_threshold(args: argparse.Namespace) -> float | None:
    """Return the P of --threshold P, of the arguments of `add_runs`."""
    return dict(args.threshold or ()).get(None)


def _threshold(text: str) -> tuple[str | None, float]:
    pii_type, equals, value = text.rpartition("=")
    if equals and pii_type not in PII_TYPES:
        raise argparse.ArgumentTypeError(f"expected P, or TYPE=P with one of {', '.join(PII_TYPES)}, found {text!r}")
    return pii_type or None, share(value)


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
