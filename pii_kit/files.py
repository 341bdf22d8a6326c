"""Errors for users, and files that are written completely or not at all."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TextIO, TypeVar

from pydantic import TypeAdapter, ValidationError

Record = TypeVar("Record")
JSON_NAMES = {type(None): "null", bool: "true or false", str: "a string", list: "a list", dict: "an object"}


class KitError(Exception):
    """Bad input, in one line: file, document or field, and what was expected. Users see no traceback."""


@contextmanager
def atomic_write(path: str | Path, *, private: bool = False) -> Iterator[TextIO]:
    """Open a UTF-8 text file that replaces `path` if the block succeeds. Only its owner can read a `private` one."""
    path = Path(path)
    mode = 0o600 if private else 0o666
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)  # left over from a killed process of the same number
    try:
        with open(
            partial, "x", encoding="utf-8", newline="", opener=lambda name, flags: os.open(name, flags, mode)
        ) as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Create an empty folder to fill; it replaces the folder `path` if the block succeeds.

    If the process is killed between the two, `recover_folder` finds the new folder as `.NAME.complete`.
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
    """Check that writing a file, or a new or empty `folder`, replaces no input, link, device or other folder.

    Raises:
        KitError: it would, or the output lies in an input folder. Inputs that are None are left out.
    """
    out = Path(out)
    if out.is_symlink():
        raise KitError(f"{out}: is a link; choose another name for the output")
    for source in (Path(path) for path in inputs if path is not None):
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
    """Read a JSON file as a type that pydantic checks. Raise KitError if it is missing, damaged or out of range."""
    return check_record(read_json(path), schema, path)


def check_record(content: Any, schema: type[Record], where: str | Path) -> Record:
    """Return parsed JSON as a type that pydantic checks. Raise KitError, with place and field, if it does not fit."""
    try:
        return _adapter(schema).validate_python(content)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(printable, map(str, first["loc"])))
        problem = (
            f"{field}: {first['msg'].replace('Input should be', 'expected').removeprefix('Value error, ')}"
            if field
            else "expected an object"
        )
        found = "" if first["type"] == "missing" else f", found {json_name(first['input'])}"
        raise KitError(f"{where}: {problem}{found}") from None


@cache
def _adapter(schema: Any) -> TypeAdapter:
    return TypeAdapter(schema)


def json_name(value: Any) -> str:
    """Return a number as text, and the JSON type of another value, which may be text of an essay."""
    return JSON_NAMES.get(type(value)) or printable(str(value))


def printable(text: str) -> str:
    """Return at most 40 characters of a text, with "?" for characters that a terminal would act on.

    >>> printable("red " + chr(27) + "[31m")
    'red ?[31m'
    """
    plain = "".join(character if character.isprintable() else "?" for character in text[:41])
    return plain if len(plain) <= 40 else plain[:39] + "…"


@contextmanager
def loading(place: str | Path) -> Iterator[None]:
    """Turn whatever a library raises for damaged or strange files into one KitError."""
    try:
        yield
    except (KitError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a panic inside `tokenizers` is no Exception
        raise KitError(f"{place}: cannot be loaded: {in_one_line(error)}") from None


def in_one_line(error: BaseException) -> str:
    """Return an error's message, or else its class, on one line of at most 300 printable characters."""
    text = " ".join(str(error).split())[:300] or type(error).__name__
    return "".join(character if character.isprintable() else "?" for character in text)
