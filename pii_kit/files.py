"""Errors for users, checks of settings, and files that are written whole or not at all."""

import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO


class KitError(Exception):
    """Bad input. The message names file, document and field and what was expected; users see it without traceback."""


@contextmanager
def atomic_write(path: str | Path) -> Iterator[TextIO]:
    """A text handle (UTF-8, line ends untouched) whose content stands at `path` after the block, or nothing new does.

    The text is written beside the target and renamed over it, which POSIX does in one step. Raises OSError.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "w", encoding="utf-8", newline="") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """An empty folder to fill, which replaces the folder `path` after the block; untouched if the block fails.

    A kill between the two renames leaves no `path`, but the whole of its successor as `.NAME.complete`, which
    `recover_folder` puts in its place.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, complete = (path.with_name(f".{path.name}.{state}") for state in ("partial", "complete"))
    recover_folder(path)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                with open(file, "rb") as handle:
                    os.fsync(handle.fileno())
        os.rename(partial, complete)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    recover_folder(path)


def recover_folder(path: str | Path) -> None:
    """Finish what a killed `atomic_folder` had begun: a complete successor takes the place of `path`."""
    path = Path(path)
    complete = path.with_name(f".{path.name}.complete")
    if complete.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        os.rename(complete, path)


def check_positive(settings: Any, *names: str) -> None:
    """Raises KitError for the first of the named settings that is not above 0."""
    for name in names:
        if not getattr(settings, name) > 0:
            raise KitError(f"{name} is {getattr(settings, name)}; expected more than 0")


def check_shares(settings: Any, *names: str) -> None:
    """Raises KitError for the first of the named settings that is not from 0 to 1."""
    for name in names:
        if not 0 <= getattr(settings, name) <= 1:
            raise KitError(f"{name} is {getattr(settings, name)}; expected 0 to 1")


def check_choice(settings: Any, name: str, choices: Collection[str]) -> None:
    """Raises KitError if the named setting is none of `choices`."""
    if getattr(settings, name) not in choices:
        raise KitError(f"{name} is {getattr(settings, name)!r}; expected one of {', '.join(choices)}")


def check_overlap(settings: Any) -> None:
    """Raises KitError if windows of `window_size` pieces, two of them marks at the ends, cannot have that `overlap`."""
    if not 0 <= settings.overlap < settings.window_size - 2:
        raise KitError(f"overlap is {settings.overlap}; expected 0 to {settings.window_size - 3} in a window")


def write_json(path: Path, content) -> None:
    with atomic_write(path) as handle:
        json.dump(content, handle, indent=1)


def read_json(path: Path):
    """A JSON file of a run folder. Raises KitError if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise KitError(f"{path.parent}: not a run folder, or not yet one: {path.name} is missing") from None
    except json.JSONDecodeError as error:
        raise KitError(f"{path}: damaged: {error}") from None


def in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
