"""The whole command line: its verbs, examples, suggestions, and options that mean the same in every verb."""

import argparse
import shlex
import subprocess
import sys
from collections import defaultdict

import pytest

from pii_kit import __version__
from pii_kit.__main__ import main, parser


def verbs_of(of: argparse.ArgumentParser, *names: str) -> dict[tuple[str, ...], argparse.ArgumentParser]:
    """The parsers of all verbs, those of verbs with verbs of their own instead of these, by name."""
    inner = [action.choices for action in of._actions if action.nargs == argparse.PARSER]
    if not inner:
        return {names: of}
    return {name: verb for key, each in inner[0].items() for name, verb in verbs_of(each, *names, key).items()}


VERBS = verbs_of(parser())


def test_the_version_is_the_packages(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0 and capsys.readouterr().out == f"pii_kit {__version__}\n"


def test_verbs_are_listed_in_the_order_of_the_work_and_the_help_names_the_exit_codes(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    help = capsys.readouterr().out
    order = ["sample", "train", "predict", "check", "score", "errors", "redact", "redact-eval", "review", "export"]
    places = [help.index(f"\n    {verb}") for verb in [*order, "kaggle", "lm", "demo"]]
    assert places == sorted(places)
    assert "exit codes: 0 done; 2 error in arguments, data or files; 130 interrupted\n" in help


@pytest.mark.parametrize("names", VERBS, ids=" ".join)
def test_the_help_of_a_verb_ends_with_examples_that_are_commands_of_this_verb(names):
    _, examples = VERBS[names].format_help().split("\n\nexamples:\n")
    lines = examples.splitlines()
    assert 1 <= len(lines) <= 2
    for line in lines:
        python, flag, kit, *arguments = shlex.split(line)
        assert (python, flag, kit) == ("python", "-m", "pii_kit") and tuple(arguments[: len(names)]) == names
        assert parser().parse_args(arguments).function is VERBS[names].get_default("function")


@pytest.mark.parametrize(
    ("command", "expected"),
    {
        "trian --data a": "argument VERB: 'trian' is no verb; did you mean 'train'?",
        "kaggle psuh": "argument VERB: 'psuh' is no verb; did you mean 'push'?",
        "lm trian": "argument VERB: 'trian' is no verb; did you mean 'train'?",
        "lm fly": "argument VERB: 'fly' is no verb; expected one of train, eval, sample",
        "--verison": "--verison: no such option; did you mean --version?",
        "train --modle sha_rnn --run r": "--modle: no such option; did you mean --model?",
        "train --model=sha_rnn --dat=a": "--dat: no such option; did you mean --data?",
        "kaggle pull --uot a": "--uot: no such option; did you mean --out?",
        "predict --test a": "--test: no such option (see python -m pii_kit predict --help)",
        "check --xyzzy": "--xyzzy: no such option (see python -m pii_kit check --help)",
        "train --model sharnn": "argument --model: 'sharnn' is not valid; did you mean 'sha_rnn'?",
        "train --model gpt": "argument --model: 'gpt' is not valid; expected one of sha_rnn, mobilebert, encoder",
    }.items(),
)
def test_a_mistyped_name_is_one_line_with_a_suggestion(command, expected, capsys):
    with pytest.raises(SystemExit) as stop:
        main(command.split())
    out, err = capsys.readouterr()
    assert stop.value.code == 2 and err.startswith(f"error: {expected}") and err.count("\n") == 1 and not out


@pytest.mark.parametrize(
    "arguments", [["--help"], ["trian"], ["check", "--help"], ["kaggle", "status", "--help"]], ids=" ".join
)
def test_what_needs_no_models_does_not_wait_for_them(arguments):
    program = "import sys; from pii_kit.__main__ import main\n"
    program += "try: main(sys.argv[1:])\nfinally: assert not {'torch', 'spacy', 'transformers'} & {*sys.modules}"
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert "AssertionError" not in done.stderr and "python -m pii_kit" in done.stdout + done.stderr


# The metavar of these names the form of the file, which differs from verb to verb.
FILES = {"--data", "--out"}


def test_an_option_has_one_metavar_and_one_type_in_all_verbs():
    """The least whole number may differ."""
    found = defaultdict(set)
    for verb in VERBS.values():
        for action in verb._actions:
            name, kind = action.option_strings[-1], action.type
            kind = "whole number" if getattr(kind, "__qualname__", "").startswith("whole.") else kind
            found[name].add((kind, None if name in FILES else action.metavar, action.nargs))
    assert {name: kinds for name, kinds in found.items() if len(kinds) > 1} == {}
    assert {"--seed", "--run", "--minutes", "--threshold", "--engine", "--data"} <= {*found}
