"""Redact files: the output, the mapping that restores the original, and the report for an audit."""

import base64
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import starmap
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from pii_kit.files import KitError, atomic_folder, atomic_write
from pii_kit.labels import OUTSIDE, OUTSIDE_ID, spans_of
from pii_kit.redact import Redacted, Redaction, parts_of
from pii_kit.redact.document import redact_document
from pii_kit.redact.edits import Edit, edited, rebuild
from pii_kit.redact.finder import fold
from pii_kit.redact.forms import File, Item, text_files
from pii_kit.redact.leaks import Leak, find_leaks

MAPPING = "pii_kit redaction mapping, version 1"
UNEXPLAINED_WEIGHT = 1000  # of a leak; one with a reason weighs 1
N_FIRST = 20  # documents that the report recommends to look at


@dataclass(frozen=True, kw_only=True)
class Release:
    """Redacted files: for each its new content and the edits that restore it, and for each document what was done."""

    files: tuple[File, ...]
    contents: tuple[bytes, ...]
    edits: tuple[list[Edit] | None, ...]
    redacted: tuple[Redacted, ...]
    leaks: tuple[Leak, ...]

    @property
    def output(self) -> dict[str, bytes]:
        """The new content of each file by name; the name is empty unless the files are in a folder."""
        return {file.name: content for file, content in zip(self.files, self.contents, strict=True)}

    def by_file(self) -> Iterator[tuple[File, Sequence[Redacted]]]:
        """Yield each file with its redacted documents."""
        done = 0
        for file in self.files:
            yield file, self.redacted[done : done + len(file.items)]
            done += len(file.items)

    @property
    def unexplained(self) -> list[Leak]:
        return [leak for leak in self.leaks if not leak.reason]


def items_of(files: Sequence[File]) -> list[Item]:
    """Return the documents of all files, in order."""
    return [item for file in files for item in file.items]


def names_of(files: Sequence[File]) -> dict[int, str]:
    """Return the names of the files of a folder by document number; none if there is no folder."""
    return {item.document.number: file.name for file in files if file.name for item in file.items}


def redact_files(files: Sequence[File], labels: Sequence[Sequence[str]], settings: Redaction) -> Release:
    """Redact the documents of files by their `labels` (document, token), and check the result for leaks."""
    items = items_of(files)
    redacted = [redact_document(item.document, of_one, settings) for item, of_one in zip(items, labels, strict=True)]
    contents, edits, done = [], [], 0
    for file in files:
        content, back = rebuild(file, redacted[done : done + len(file.items)])
        contents.append(content)
        edits.append(back)
        done += len(file.items)
    return Release(
        files=tuple(files),
        contents=tuple(contents),
        edits=tuple(edits),
        redacted=tuple(redacted),
        leaks=tuple(find_leaks(items, redacted, settings)),
    )


def check_output(path: Path, *, is_folder: bool) -> None:
    """Raise KitError if a file, or a folder that must be new or empty, cannot be written at the path."""
    if not is_folder and path.is_dir():
        raise KitError(f"{path}: is a folder; expected the name of a file to write")
    if is_folder and path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise KitError(f"{path}: exists already; choose a new folder")


def write_output(path: Path, contents: Mapping[str, bytes]) -> None:
    """Write one file, or a new folder of files, completely or not at all. Raises KitError as `check_output`."""
    check_output(path, is_folder="" not in contents)
    if "" in contents:
        with atomic_write(path) as handle:
            handle.buffer.write(contents[""])
        return
    with atomic_folder(path) as folder:
        for name, content in contents.items():
            (folder / name).write_bytes(content)


def write_mapping(path: Path, release: Release) -> None:
    """Write what restores the original, into a file that only its owner can read.

    For each document it also lists what was replaced, with places in the output, in characters.
    """
    files = []
    for file, content, edits in zip(release.files, release.contents, release.edits, strict=True):
        entry: dict[str, Any] = {
            "name": file.name,
            "sha256": hash_of(content),
            "original_sha256": hash_of(file.content),
        }
        # The bytes of a parquet file depend on its writer, so the whole original is kept.
        original = base64.b64encode(file.content).decode()
        files.append(entry | ({"original": original} if edits is None else {"edits": edits}))
    documents = [
        {
            "document": one.document.number,
            "replaced": [[c.new_start, c.new_end, c.pii_type, c.original] for c in one.changes],
        }
        for one in release.redacted
        if one.changes
    ]
    with atomic_write(path, private=True) as handle:
        json.dump({"format": MAPPING, "files": files, "documents": documents}, handle, indent=1)


def restore(data: Path, mapping: Path, out: Path) -> int:
    """Write the original files of a redacted file or folder; return their number.

    Raises:
        KitError: the mapping cannot be read, is not of this data, or the data were changed since they were redacted.
    """
    entries = _read_mapping(mapping)
    if not data.exists():
        raise KitError(f"{data}: no such file or folder")
    names = text_files(data) if data.is_dir() else [""]
    if set(names) != set(entries):
        raise KitError(
            f"{data}: the mapping is of {len(entries)} other files; expected exactly those it was written with"
        )
    originals = {}
    for name in names:
        path = data / name if name else data
        content = path.read_bytes()
        if hash_of(content) != entries[name].get("sha256"):
            raise KitError(f"{path}: changed since it was redacted, or {mapping} is of another redaction")
        originals[name] = _original(content, entries[name], mapping)
    write_output(out, originals)
    return len(originals)


def _read_mapping(path: Path) -> dict[str, dict]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != MAPPING:
            raise ValueError("unknown format")
        return {entry["name"]: entry for entry in content["files"]}
    except FileNotFoundError:
        raise KitError(f"{path}: no such file") from None
    except (ValueError, KeyError, TypeError):
        raise KitError(f"{path}: not a mapping that redact wrote, or damaged") from None


def _original(content: bytes, entry: dict, mapping: Path) -> bytes:
    try:
        if "original" in entry:
            original = base64.b64decode(entry["original"])
        else:
            original = edited(content.decode("utf-8"), entry["edits"])[0].encode("utf-8")
    except (ValueError, KeyError, TypeError):
        raise KitError(f"{mapping}: damaged") from None
    if hash_of(original) != entry.get("original_sha256"):
        raise KitError(f"{mapping}: damaged: it does not restore the original")
    return original


def hash_of(content: bytes) -> str:
    """Return the SHA-256 of a file's content."""
    return sha256(content).hexdigest()


def describe(settings: Redaction) -> dict[str, Any]:
    """Return the settings without their strings."""
    return {
        "mode": settings.mode,
        "seed": settings.seed,
        "key": settings.key is not None,
        "mentions": "all" if settings.mentions else "labelled",
        "allowed": len(settings.allow),
        "denied": len(settings.deny),
    }


def _is_named(file: File, redacted: Sequence[Redacted]) -> bool:
    """Return whether the name of a folder's file has a part of a string that was replaced in it."""
    parts = {part for one in redacted for change in one.changes for part in parts_of(change.original, change.pii_type)}
    return bool(file.name) and any(fold(part) in fold(Path(file.name).stem) for part in parts)


def report_of(
    release: Release,
    settings: Redaction,
    sources: Mapping[str, Any],
    predictions: Iterable[tuple[Sequence[str], np.ndarray]] = (),
) -> dict[str, Any]:
    """Return the report of a release: counts, places and hashes, never text.

    `sources` tells where the labels came from. With `predictions`, the labels (token) and probabilities (token, label)
    of each document, the report has the probability of the labelled spans, and the documents to look at first are also
    those in which taggers expect further PII.
    """
    mentions, kept = [], []
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("spans", "mentions", "kept")}
    weights: dict[int, float] = defaultdict(float)  # document → how much a person should look at it
    for leak in release.leaks:
        weights[leak.document] += 1 if leak.reason else UNEXPLAINED_WEIGHT
    spans: dict[str, list[float]] = {}  # type → mean probability of PII in each labelled span
    for one, (labels, probabilities) in zip(release.redacted, predictions, strict=False):
        is_pii = 1 - probabilities[:, OUTSIDE_ID]
        for first, end, pii_type in spans_of(labels):
            spans.setdefault(pii_type, []).append(float(is_pii[first:end].mean()))
        weights[one.document.number] += float(is_pii[[label == OUTSIDE for label in labels]].sum())
    for one in release.redacted:
        number = one.document.number
        for change in one.changes:
            counts["mentions" if change.is_mention else "spans"][change.pii_type] += 1
            if change.is_mention:
                mentions.append({"document": number, "start": change.new_start, "type": change.pii_type})
        for stay in one.kept:
            counts["kept"][stay.pii_type] += 1
            weights[number] += 1
            kept.append(
                {"document": number, "original_start": stay.start, "type": stay.pii_type, "reason": stay.reason}
            )
    types = sorted(set().union(*counts.values()))
    return {
        "settings": describe(settings),
        **sources,
        "input_sha256": [hash_of(file.content) for file in release.files],
        "output_sha256": [hash_of(content) for content in release.contents],
        "named_files": sum(starmap(_is_named, release.by_file())),
        "documents": len(release.redacted),
        "changed_documents": sum(bool(one.changes) for one in release.redacted),
        "types": {
            one: {name: of_types[one] for name, of_types in counts.items()} | _probability(spans.get(one, ()))
            for one in types
        },
        "mentions": mentions,
        "kept": kept,
        "leaks": {
            "unexplained": len(release.unexplained),
            "explained": dict(Counter(leak.reason for leak in release.leaks if leak.reason)),
            "places": [
                {"document": leak.document, "field": leak.field, "start": leak.start}
                | {"type": leak.pii_type, "reason": leak.reason}
                for leak in release.leaks
            ],
        },
        "look_at_first": sorted(weights, key=lambda number: -weights[number])[:N_FIRST],
    }


def _probability(spans: Sequence[float]) -> dict[str, float]:
    return {"mean_probability": fmean(spans), "lowest_probability": min(spans)} if spans else {}
