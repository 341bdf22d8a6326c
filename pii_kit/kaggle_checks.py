"""What is wrong with the content of `kaggle_metadata.json`: all that the Kaggle client does not see, before it sends.

The client is silent on keys it does not know, accelerators that do not exist and data sets that are nowhere, and Kaggle
then runs the notebook without them.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from pii_kit.kaggle import COMPETITION

PLACEHOLDER = "INSERT_KAGGLE_USERNAME"
# The client's list without P100, which the image's torch cannot use any more, and without TPUs, which the kit cannot.
# NvidiaTeslaT4 gives two of them; a single one is not offered.
ACCELERATORS = ("NvidiaTeslaT4", "NvidiaL4", "NvidiaL4X1", "NvidiaTeslaA100", "NvidiaH100", "NvidiaRtxPro6000")

Expected = Callable[[object], str | None]  # a value to what was expected in its place; None where it is right


def slugify(title: str) -> str:
    """The slug that Kaggle makes of a title.

    >>> slugify("PII kit 02: Train SHA-RNN")
    'pii-kit-02-train-sha-rnn'
    """
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")


def is_owner(name: object) -> bool:
    """Whether this can be a Kaggle user's name, and is not the placeholder for one."""
    return isinstance(name, str) and name != PLACEHOLDER and re.fullmatch(OWNER, name) is not None


def _text(pattern: str, expected: str, *, least: int = 1, most: int | None = None) -> Expected:
    if least > 1:
        expected += f" of {least} characters or more" if most is None else f" of {least} to {most} characters"

    def check(value: object) -> str | None:
        right = isinstance(value, str) and re.fullmatch(pattern, value) and least <= len(value) <= (most or len(value))
        return None if right else expected

    return check


def _one_of(*allowed: object) -> Expected:
    return lambda value: None if value in allowed else " or ".join(json.dumps(one) for one in allowed)


def _list_of(item: Expected) -> Expected:
    def check(value: object) -> str | None:
        if not isinstance(value, list):
            return "a list"
        wrong = [expected for one in value if (expected := item(one))]
        return f"a list, each of it {wrong[0]}" if wrong else None

    return check


def _true_or_false(value: object) -> str | None:
    return None if isinstance(value, bool) else "true or false"


def _some(kind: type, expected: str) -> Expected:
    return lambda value: None if isinstance(value, kind) and value else expected


OWNER = r"[A-Za-z0-9][A-Za-z0-9_-]*"
_SLUG = r"[a-z0-9]+(-[a-z0-9]+)*"
_SLUG_WORDS = "small letters, digits and single hyphens"
_TITLE = r"\S(.*\S)?"
_LICENSE = _text(_TITLE, "a licence's name, as Kaggle has it")
_SOURCES = _list_of(_text(rf"({OWNER}/)?{_SLUG}", "a slug of this file, or somebody else's as OWNER/SLUG"))
_FOLDER = _text(r"\w[\w.-]*(/\w[\w.-]*)*", "a path below this file's folder")

_DATASET = {  # lengths are what Kaggle's client and site take
    "slug": _text(_SLUG, _SLUG_WORDS, least=6, most=50),
    "title": _text(_TITLE, "text", least=6, most=50),
    "license": _LICENSE,
}
_TOP = {
    "competition": _one_of(COMPETITION),
    "owner": lambda value: None if value == PLACEHOLDER or is_owner(value) else f"a user's name, or {PLACEHOLDER}",
    "package": _some(dict, "an object"),
    "runs": _list_of(_some(dict, "an object")),
    "notebooks": _some(list, "a list of at least one notebook"),
}
_PACKAGE = {**_DATASET, "wheels": _list_of(_text(r"\w[\w.-]*", "a distribution's name"))}
_RUNS = {**_DATASET, "folders": lambda value: _some(list, "a list of run folders")(value) or _list_of(_FOLDER)(value)}
_NOTEBOOK = {
    "slug": _text(_SLUG, _SLUG_WORDS, least=5),
    "title": _text(_TITLE, "text", least=5),
    "file": _text(r"\w[\w.-]*(/\w[\w.-]*)*\.ipynb", "a path of a notebook below this file's folder"),
    "accelerator": _one_of(None, *ACCELERATORS),
    "internet": _true_or_false,
    "datasets": _SOURCES,
    "models": _list_of(_text(rf"{OWNER}(/[\w.-]+){{3}}/\d+", "OWNER/MODEL/FRAMEWORK/VARIATION/VERSION")),
    "kernels": _SOURCES,
    "submits": _true_or_false,
}
_OPTIONAL = {"runs", "wheels", "submits"}


def find_problems(content: object, root: Path) -> list[str]:
    """All that is wrong with a description in the folder `root`, each problem with its field; empty if nothing is."""
    if not isinstance(content, dict):
        return ["expected an object"]
    top = _entry(content, _TOP, "")
    datasets = [("package.", content.get("package"), _PACKAGE)]
    datasets += [(f"runs[{i}].", entry, _RUNS) for i, entry in enumerate(_listed(content, "runs"))]
    notebooks = [(f"notebooks[{i}].", entry, _NOTEBOOK) for i, entry in enumerate(_listed(content, "notebooks"))]
    problems = list(top)
    for where, entry, checks in datasets + notebooks:
        problems += _entry(entry, checks, where) if isinstance(entry, dict) else []
    if problems:
        return problems  # what follows reads fields that must be right for it
    for entries in (datasets, notebooks):
        problems += _names([(where, entry) for where, entry, _ in entries])
    problems += _run_folders([(where, entry) for where, entry, _ in datasets[1:]])
    slugs = {entry["slug"] for _, entry, _ in datasets}
    earlier: set[str] = set()
    for where, entry, _ in notebooks:
        problems += _notebook(where, entry, root, datasets=slugs, kernels=earlier)
        earlier.add(entry["slug"])
    submitting = [where for where, entry, _ in notebooks if entry.get("submits")]
    problems += [f"{where}submits: true once before; one notebook is submitted" for where in submitting[1:]]
    return problems


def _listed(content: dict, key: str) -> list:
    value = content.get(key, [])
    return value if isinstance(value, list) else []


def _entry(entry: dict, checks: Mapping[str, Expected], where: str) -> Iterator[str]:
    for key in entry:
        if key not in checks:
            yield f"{where}{key}: unknown; expected {', '.join(checks)}"
    for key, check in checks.items():
        if key not in entry:
            if key not in _OPTIONAL:
                yield f"{where}{key}: missing"
        elif expected := check(entry[key]):
            yield f"{where}{key}: {json.dumps(entry[key], ensure_ascii=False)[:100]}; expected {expected}"


def _names(entries: list[tuple[str, dict]]) -> Iterator[str]:
    """Titles that do not make their slugs, so that Kaggle would file them elsewhere, and slugs that are there twice."""
    seen = set()
    for where, entry in entries:
        if slugify(entry["title"]) != entry["slug"]:
            yield f"{where}title: {entry['title']!r} makes the slug {slugify(entry['title'])!r}, not {entry['slug']!r}"
        if entry["slug"] in seen:
            yield f"{where}slug: {entry['slug']!r} is there before"
        seen.add(entry["slug"])


def _run_folders(entries: list[tuple[str, dict]]) -> Iterator[str]:
    """Folders that would lie on each other: a data set holds each by its last name."""
    for where, entry in entries:
        names = [PurePosixPath(folder).name for folder in entry["folders"]]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"{where}folders: {name!r} is there twice; expected names that differ"


def _notebook(where: str, entry: dict, root: Path, *, datasets: set[str], kernels: set[str]) -> Iterator[str]:
    for source in entry["datasets"]:
        if "/" not in source and source not in datasets:
            known = ", ".join(sorted(datasets))
            yield f"{where}datasets: {source!r} is not in this file; expected {known} or OWNER/SLUG"
    for source in entry["kernels"]:
        if "/" not in source and source not in kernels:
            yield f"{where}kernels: {source!r} is no notebook that stands before this one, nor OWNER/SLUG"
    if entry.get("submits") and entry["internet"]:
        yield f"{where}internet: true; expected false, for this notebook is submitted"
    try:
        cells = json.loads((root / entry["file"]).read_text(encoding="utf-8"))["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        ran = sum(bool(cell.get("outputs") or cell.get("execution_count")) for cell in code)
    except FileNotFoundError:
        yield f"{where}file: {entry['file']!r} does not exist in {root.resolve()}"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        yield f"{where}file: {entry['file']!r} is not a notebook: {error!r}"
    else:
        if ran:  # outputs may show essays, which must not leave this machine by accident
            yield f"{where}file: {entry['file']!r} has outputs in {ran} cells; expected none (nbstripout removes them)"
