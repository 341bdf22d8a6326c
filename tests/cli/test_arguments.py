import argparse

import pytest

from pii_kit.cli import Parser, add_runs, add_verb, dropout, given_threshold, positive, share, whole


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (whole(1), {"1": 1, "20": 20}, ["0", "-1", "1.5", "one", ""]),
        (whole(-2), {"-2": -2, "0": 0}, ["-3", "--2"]),
        (share, {"0.5": 0.5, "1": 1.0}, ["0", "1.1", "-1", "half", "nan"]),
        (dropout, {"0": 0.0, "0.5": 0.5}, ["1", "-0.1", "nan", "x"]),
        (positive, {"0.1": 0.1, "3": 3.0}, ["0", "-1", "inf", "nan", "x"]),
    ],
)
def test_an_argument_type_accepts_its_range_and_names_what_it_refuses(kind, good, bad):
    assert {text: kind(text) for text in good} == good
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError, match="expected") as error:
            kind(text)
        assert repr(text) in str(error.value)


def fetch(args):
    """Do nothing, as a verb."""


def test_a_wrong_argument_is_one_line_and_exit_code_2(capsys):
    parser = Parser(prog="kit")
    verb = add_verb(parser.add_subparsers(), fetch, "fetches")
    verb.add_argument("--times", type=whole(1), default=3, help="how often")
    verb.add_argument("--where", help="a place")
    assert parser.parse_args(["fetch"]).function is fetch
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(["fetch", "--times", "0"])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.startswith("error: argument --times") and error.count("\n") == 1
    with pytest.raises(SystemExit):
        parser.parse_args(["fetch", "--help"])
    help = capsys.readouterr().out
    assert "how often (default: 3)" in help and "None" not in help


def test_a_threshold_is_that_of_all_tokens_or_of_a_type(capsys):
    parser = Parser()
    add_runs(parser)
    args = parser.parse_args(["--run", "a", "--threshold", ".5", "--threshold", "EMAIL=.2"])
    assert args.threshold == [(None, 0.5), ("EMAIL", 0.2)] and given_threshold(args) == 0.5
    assert given_threshold(parser.parse_args(["--run", "a", "--threshold", "EMAIL=.2"])) is None
    for wrong in ("MAIL=.2", "=.2", "2", "EMAIL"):
        with pytest.raises(SystemExit):
            parser.parse_args(["--run", "a", "--threshold", wrong])
        assert "expected" in capsys.readouterr().err


def test_runs_to_average_are_a_list_in_the_order_given():
    parser = Parser()
    add_runs(parser)
    assert list(map(str, parser.parse_args(["--run", "a", "--run", "b"]).run)) == ["a", "b"]
