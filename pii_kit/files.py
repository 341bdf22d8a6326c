"""Files and folders that are written whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


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
