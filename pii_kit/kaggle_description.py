"""`kaggle_metadata.json`, the kit's one description for Kaggle: all that the Kaggle client needs is made from it."""

import json
from dataclasses import dataclass
from pathlib import Path

from pii_kit.errors import KitError
from pii_kit.kaggle_checks import PLACEHOLDER, find_problems


@dataclass(frozen=True)
class Package:
    """The data set that carries the package as a wheel, and wheels that Kaggle's image lacks, by their names."""

    slug: str
    title: str
    license: str
    wheels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Runs:
    """A data set of run folders, which are named relative to the description's own folder."""

    slug: str
    title: str
    license: str
    folders: tuple[str, ...]


@dataclass(frozen=True)
class Notebook:
    """A Kaggle notebook. `accelerator` None is a CPU; sources without an owner are of the same description."""

    slug: str
    title: str
    file: str
    accelerator: str | None
    internet: bool
    datasets: tuple[str, ...]
    models: tuple[str, ...]
    kernels: tuple[str, ...]
    submits: bool = False


@dataclass(frozen=True)
class Description:
    """All that goes to Kaggle. `root` is the folder of the file; `owner` is None where the placeholder still stands."""

    root: Path
    competition: str
    owner: str | None
    package: Package
    runs: tuple[Runs, ...]
    notebooks: tuple[Notebook, ...]

    @property
    def datasets(self) -> tuple[Package | Runs, ...]:
        """The package, then run folders."""
        return (self.package, *self.runs)


def read_description(path: str | Path) -> Description:
    """The description in the file `path`. Raises KitError with all problems, one a line, each naming its field."""
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise KitError(f"{path}: no such file; run this in a checkout of the kit, or name the file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise KitError(f"{path}: not JSON: {error}") from None
    problems = find_problems(content, path.parent)
    if problems:
        raise KitError("\n".join(f"{path}: {problem}" for problem in problems))
    return Description(
        root=path.parent,
        competition=content["competition"],
        owner=None if content["owner"] == PLACEHOLDER else content["owner"],
        package=_frozen(Package, content["package"]),
        runs=tuple(_frozen(Runs, entry) for entry in content.get("runs", [])),
        notebooks=tuple(_frozen(Notebook, entry) for entry in content["notebooks"]),
    )


def _frozen(kind: type, entry: dict):
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()})


def full_name(owner: str, slug: str) -> str:
    """A source's name as Kaggle wants it, OWNER/SLUG; somebody else's has its owner already.

    >>> full_name("me", "pii-kit-package"), full_name("me", "you/weights")
    ('me/pii-kit-package', 'you/weights')
    """
    return slug if "/" in slug else f"{owner}/{slug}"
