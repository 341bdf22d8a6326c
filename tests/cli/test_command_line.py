"""The whole command line: its verbs, help, suggestions, and options that mean the same in every verb."""

import os
import shlex
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import get_args

import pytest
from commands import parse, verbs

from pii_kit import __version__, cli
from pii_kit.cli import main, options
from pii_kit.convert import FORMS, SPAN_FORMS
from pii_kit.predict import ENGINES
from pii_kit.redact import MODES
from pii_kit.settings import PRESETS

VERBS = verbs()


def test_the_version_is_the_packages(capsys):
    assert main(["--version"]) == 0 and capsys.readouterr().out == f"pii_kit {__version__}\n"


def test_the_help_lists_the_verbs_in_the_order_of_the_work_and_the_exit_codes(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    order = ["demo", "sample", "convert", "train", "predict", "check", "score", "errors", "export"]
    places = [text.index(f"\n  {verb} ") for verb in [*order, "redact", "redact-eval", "review", "kaggle", "lm"]]
    assert places == sorted(places)
    assert "Exit codes: 0 done; 2 error in arguments, data or files; 130 interrupted\n" in text


@pytest.mark.parametrize("names", VERBS, ids=" ".join)
def test_the_help_of_a_verb_explains_each_option_and_ends_with_its_commands(names, capsys):
    assert main([*names, "--help"]) == 0
    usage, _, examples = capsys.readouterr().out.partition("\n  Examples:\n")
    assert usage.startswith(f"Usage: pii-kit {' '.join(names)} [OPTIONS]")
    assert all(option.help and option.opts[0] in usage for option in VERBS[names].params)
    assert 1 <= len(examples.splitlines()) <= 3
    for line in examples.splitlines():
        program, *arguments = shlex.split(line)
        assert program == "pii-kit" and tuple(arguments[: len(names)]) == names
        parse(*arguments)


@pytest.mark.parametrize(
    ("command", "expected"),
    {
        "trian --data a": "No such command 'trian'. Did you mean 'train'",
        "kaggle psuh": "No such command 'psuh'. Did you mean 'push'",
        "--verison": "No such option: --verison (Possible options: --version) (see pii-kit --help)",
        "train --modle sha_rnn --run r": "No such option: --modle (Possible options: ",
        "check --data a": "Missing option '--submission'. (see pii-kit check --help)",
        "train --model gpt": "'gpt' is not one of 'sha_rnn', 'mobilebert', 'encoder'.",
        "train --model sha_rnn": "--data FILE.json and --run DIR are needed",
        "train --model sha_rnn --data a --run b --set epochs": "for --set: expected KEY=VALUE, found 'epochs'",
        "predict --data a --out b --recall 2": "Invalid value for '--recall'",
        "redact --data a --out b --mode type --ray --threshold EMAIL": "--threshold EMAIL: expected P or TYPE=P",
    }.items(),
)
def test_a_wrong_argument_is_one_line_and_exit_code_2(command, expected, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(command)) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ") and expected.rstrip("?") in err and err.count("\n") == 1 and not out


def test_thresholds_are_those_of_all_tokens_or_of_a_type():
    assert options.thresholds([".5", "EMAIL=.2"]) == (0.5, {"EMAIL": 0.2})
    assert options.pairs("--set", ["a=1", "b=x=y"]) == {"a": "1", "b=x": "y"}


def test_the_names_that_are_written_down_for_quick_help_are_those_of_the_package():
    written = (options.Model, options.Mode, options.Form, options.Format, get_args(options.Engine)[0])
    assert [get_args(names) for names in written] == [
        tuple(PRESETS),
        MODES,
        tuple(FORMS),
        ("csv", *SPAN_FORMS),
        ENGINES,
    ]


@pytest.mark.parametrize("arguments", [["--help"], ["trian"], ["train", "--help"], ["redact", "--help"]], ids=" ".join)
def test_help_imports_nothing_slow(arguments):
    program = "import sys; from pii_kit.__main__ import main\n"
    program += "main(sys.argv[1:]); assert not {'torch', 'spacy', 'transformers', 'pandas', 'numpy'} & {*sys.modules}"
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert "AssertionError" not in done.stderr and "pii-kit" in done.stdout + done.stderr


# The metavar of these names the form of the file, which differs from verb to verb.
FILES = {"--data", "--out", "--report"}


def test_an_option_has_one_metavar_and_one_type_in_all_verbs():
    found = defaultdict(set)
    for verb in VERBS.values():
        for option in verb.params:
            name = option.opts[0]
            found[name].add((option.multiple, None if name in FILES else option.metavar))
    assert {name: kinds for name, kinds in found.items() if len(kinds) > 1} == {
        "--run": {(True, "DIR"), (False, "DIR")}
    }
    assert {"--seed", "--minutes", "--threshold", "--engine", "--data"} <= {*found}


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        ("train --model sha_rnn --data a --run b", "; the same command with --resume continues the run"),
        ("lm train --data a --run b", "; the same command with --resume continues the run"),
        ("check --data a --submission b", ""),
    ],
)
def test_ctrl_c_ends_with_one_line_and_130(command, advice, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("pii_kit.documents.read_documents", interrupted)
    monkeypatch.setattr("pii_kit.language_model.read_bytes", interrupted)
    assert main(command.split()) == 130
    assert capsys.readouterr().err == f"interrupted{advice}\n"


def test_the_module_and_the_script_are_the_same_command_line():
    assert cli.main is main
    for command in ([sys.executable, "-m", "pii_kit"], [str(Path(sys.executable).with_name("pii-kit"))]):
        if os.path.exists(command[0]):
            done = subprocess.run([*command, "check"], capture_output=True, text=True)
            assert done.returncode == 2 and done.stderr.startswith("error: Missing option '--data'")
