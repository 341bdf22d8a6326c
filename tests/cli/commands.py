"""The verbs of the command line, and whether a command is understood."""

import typer

from pii_kit.cli import app

ROOT = typer.main.get_command(app)


def verbs(group=ROOT, *names: str) -> dict[tuple[str, ...], object]:
    """The click command of each verb by its names; those of `kaggle` and `lm` in place of these two."""
    found = {}
    for name, command in group.commands.items():
        inner = verbs(command, *names, name) if hasattr(command, "commands") else {(*names, name): command}
        found |= inner
    return found


def parse(*arguments: str) -> dict:
    """The values of the options of a command that is not run; raise as the command line does."""
    name, rest, command = (), list(arguments), ROOT
    while hasattr(command, "commands"):
        name, command = (*name, rest[0]), command.commands[rest.pop(0)]
    return command.make_context(" ".join(name), rest).params
