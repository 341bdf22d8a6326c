"""Errors for users, and files that are written completely or not at all."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeVar

from pydantic import BaseModel, ValidationError

Record = TypeVar("Record", bound=BaseModel)


class KitError(Exception):
    """Bad input. The message names the file, document and field and what was expected; users see no traceback."""


@contextmanager
def atomic_write(path: str | Path, *, private: bool = False) -> Iterator[TextIO]:
    """Open a UTF-8 text file that replaces `path` only if the block succeeds. Line endings are written unchanged.

    Nobody but the owner can read a `private` file, from the moment it is created.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)  # left over from a killed process of the same number
    try:
        with open(partial, "x", encoding="utf-8", newline="", opener=_open_private if private else None) as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Create an empty folder to fill; it replaces the folder `path` only if the block succeeds.

    If the process is killed while the folders are swapped, the complete new folder is still there as `.NAME.complete`;
    `recover_folder` moves it to `path`.
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
    """Finish the work of an `atomic_folder` that was killed: move its complete new folder to `path`."""
    path = Path(path)
    complete = path.with_name(f".{path.name}.complete")
    if complete.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        os.rename(complete, path)


def check_output(out: str | Path, *inputs: str | Path | None, folder: bool = False) -> None:
    """Check that a file, or a `folder` that is new or empty, can be written without replacing anything else.

    Raises:
        KitError: The output is one of the `inputs`, lies in one that is a folder, or is a link, a device, an existing
            folder (for a file), or not a new or empty folder (for a folder). Inputs that are None are left out.
    """
    out = Path(out)
    if out.is_symlink():
        raise KitError(f"{out}: is a link; choose another name for the output")
    for source in (Path(one) for one in inputs if one is not None):
        if out.resolve() == source.resolve() or (out.exists() and source.exists() and out.samefile(source)):
            raise KitError(f"{out}: is used twice; input and outputs must be different files")
        if source.is_dir() and source.resolve() in out.resolve().parents:
            raise KitError(f"{out}: is inside the input folder {source}; write the output elsewhere")
    if folder:
        if out.exists() and not (out.is_dir() and not any(out.iterdir())):
            raise KitError(f"{out}: exists already; choose a new folder")
    elif out.is_dir():
        raise KitError(f"{out}: is a folder; expected the name of a file to write")
    elif out.exists() and not out.is_file():
        raise KitError(f"{out}: is a device; expected the name of a file to write")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, completely or not at all."""
    with atomic_write(path) as handle:
        json.dump(content, handle, indent=1)


def read_json(path: Path) -> Any:
    """Read a JSON file of a run folder. Raise KitError if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except FileNotFoundError:
        raise KitError(f"{path.parent}: not a run folder, because {path.name} is missing") from None
    except (ValueError, RecursionError) as error:
        raise KitError(f"{path}: damaged: {error}; copy the file again, or train again") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def read_record(path: Path, schema: type[Record]) -> Record:
    """Read a JSON file as a pydantic model. Raise KitError if it is missing, damaged or out of range."""
    return check_record(read_json(path), schema, path)


def check_record(content: Any, schema: type[Record], where: str | Path) -> Record:
    """Return parsed JSON as a pydantic model. Raise KitError, with place and field, if it does not fit."""
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        problem = f"{field}: {first['msg']}" if field else "expected an object"
        raise KitError(f"{where}: {problem}, found {printable(str(first['input']))}") from None


def printable(text: str) -> str:
    """Return at most 40 characters of a stranger's text, with "?" for characters that a terminal would act on.

    >>> printable("red " + chr(27) + "[31m")
    'red ?[31m'
    """
    shown = "".join(character if character.isprintable() else "?" for character in text[:41])
    return shown if len(shown) <= 40 else shown[:39] + "…"


@contextmanager
def loading(place: str | Path) -> Iterator[None]:
    """Turn whatever a library raises for damaged or strange files into one KitError.

    A panic inside `tokenizers` is a BaseException, so that no narrower class will do.
    """
    try:
        yield
    except (KitError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        raise KitError(f"{place}: cannot be loaded: {in_one_line(error)}") from None


def in_one_line(error: BaseException) -> str:
    """Return an error's message, or else its class, on one line of at most 300 printable characters."""
    text = " ".join(str(error).split())[:300] or type(error).__name__
    return "".join(character if character.isprintable() else "?" for character in text)
