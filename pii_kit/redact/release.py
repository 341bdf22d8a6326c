"""Redact files: the output, the mapping that restores the original, and the report for an audit."""

import zlib
from base64 import b64decode, b64encode
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel

from pii_kit.files import KitError, atomic_folder, atomic_write
from pii_kit.labels import OUTSIDE, OUTSIDE_ID
from pii_kit.redact.document import Redacted, Redaction, redact_document
from pii_kit.redact.essays import Essays
from pii_kit.redact.leaks import Leak, find_leaks

FORMAT = "pii_kit redaction mapping, version 2"
UNEXPLAINED_WEIGHT = 1000  # of a leak; one with a reason weighs 1
N_FIRST = 20  # documents that the report recommends to look at
SOURCES = ("label", "pattern", "denied", "mention", "kept")
PRIVATE = "not for publication: places and counts tell about the essays"


@dataclass(frozen=True)
class Release:
    """Redacted essays: what was done to each document, and what survived in them."""

    essays: Essays
    settings: Redaction
    redacted: tuple[Redacted, ...]
    leaks: tuple[Leak, ...]

    @cached_property
    def contents(self) -> dict[str, bytes]:
        """The new content of each file by name."""
        return self.essays.redacted(self.redacted)

    @property
    def unexplained(self) -> list[Leak]:
        return [leak for leak in self.leaks if not leak.reason]


def redact_essays(essays: Essays, labels: Iterable[Sequence[str]], settings: Redaction) -> Release:
    """Redact essays by the `labels` (document, token) of their documents, and check the result for leaks."""
    pairs = zip(essays.documents.values(), labels, strict=True)
    redacted = tuple(redact_document(*pair, settings, in_spreadsheet=essays.is_spreadsheet) for pair in pairs)
    return Release(essays, settings, redacted, tuple(find_leaks(redacted, essays.others(), settings)))


class _File(BaseModel):
    name: str  # empty unless the files are in a folder
    redacted: str  # digest
    original: str  # compressed, in base 64


class _Mapping(BaseModel):
    format: Literal[FORMAT]  # type: ignore[valid-type]
    seed: int | None
    files: list[_File]


def write_release(release: Release, out: Path, mapping: Path | None = None) -> None:
    """Write the output, and the mapping, which only its owner can read: both complete, or neither."""
    new, settings = release.contents, release.settings
    with ExitStack() as stack:
        if mapping:  # it takes its place last: until then the release before can be restored
            files = [
                _File(name=name, redacted=_digest(new[name]), original=b64encode(zlib.compress(original)).decode())
                for name, original in release.essays.contents.items()
            ]
            seed = settings.drawn_seed if settings.mode == "surrogate" and not settings.key else None
            content = _Mapping(format=FORMAT, seed=seed, files=files).model_dump_json()
            stack.enter_context(atomic_write(mapping, private=True)).write(content)
        _write_files(out, new, stack)


def _write_files(out: Path, contents: Mapping[str, bytes], stack: ExitStack, *, private: bool = False) -> None:
    """Write one file, or a folder of files, which take their place when the stack is left without an error."""
    if "" in contents:
        stack.enter_context(atomic_write(out, private=private)).buffer.write(contents[""])
        return
    folder = stack.enter_context(atomic_folder(out))
    if private:
        folder.chmod(0o700)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def restore(data: Path, mapping: Path, out: Path) -> int:
    """Write the original files of a redacted file or folder, byte for byte; return their number.

    Raises:
        KitError: the mapping cannot be read, is not of this data, or the data were changed since they were redacted.
    """
    try:
        known = _Mapping.model_validate_json(mapping.read_bytes())
        originals = {file.name: zlib.decompress(b64decode(file.original)) for file in known.files}
    except FileNotFoundError:
        raise KitError(f"{mapping}: no such file") from None
    except (ValueError, zlib.error):
        raise KitError(f"{mapping}: not a mapping that this version of redact wrote, or damaged") from None
    if any(Path(name).name != name for name in originals if name):
        raise KitError(f"{mapping}: not a mapping that redact wrote; it names files in other folders")
    if not data.exists() or data.is_dir() == ("" in originals):
        raise KitError(f"{data}: no such file or folder; expected what was written with {mapping}")
    for file in known.files:
        path = data / file.name if file.name else data
        if not path.is_file() or _digest(path.read_bytes()) != file.redacted:
            raise KitError(f"{path}: changed since it was redacted, or {mapping} is of another redaction")
    with ExitStack() as stack:
        _write_files(out, originals, stack, private=True)
    return len(originals)


def report_of(
    release: Release, sources: Mapping[str, Any], predictions: Iterable[tuple[Sequence[str], np.ndarray]] = ()
) -> dict[str, Any]:
    """Return the report of a release: counts and places, never text, and no digest of a text.

    `sources` tells where the labels came from. With `predictions`, the labels (token) and probabilities (token, label)
    of each document, the documents to look at first are also those in which taggers expect further PII.
    """
    names = release.essays.names
    counts: dict[str, Counter[str]] = defaultdict(Counter)  # type → source, or "kept"
    mentions, kept, leaks = [], [], []
    weights: dict[int, float] = defaultdict(float)  # document → how much a person should look at it
    for redacted, (labels, scores) in zip(release.redacted, predictions, strict=False):
        is_outside = np.array(labels) == OUTSIDE
        weights[redacted.original.number] += float((1 - scores[is_outside, OUTSIDE_ID]).sum())
    for redacted in release.redacted:
        where = {"name": names[redacted.original.number]}
        for change in redacted.changes:
            counts[change.pii_type][change.source] += 1
            if change.source == "mention":
                mentions.append(where | {"start": change.new_start, "type": change.pii_type})
        for start, _, pii_type, reason in redacted.kept:
            counts[pii_type]["kept"] += 1
            weights[redacted.original.number] += 1
            kept.append(where | {"original_start": start, "type": pii_type, "reason": reason})
    for leak in release.leaks:
        weights[leak.document] += 1 if leak.reason else UNEXPLAINED_WEIGHT
        place = {"field": leak.field, "start": leak.start, "type": leak.pii_type, "reason": leak.reason}
        leaks.append({"name": names[leak.document], **place})
    first = sorted(filter(weights.get, weights), key=weights.__getitem__, reverse=True)
    return {
        "note": PRIVATE,
        "settings": describe(release.settings),
        **sources,
        "output_sha256": [_digest(content) for content in release.contents.values()],
        "documents": len(release.redacted),
        "without_text": len(release.essays.rows) - len(release.redacted),
        "changed_documents": sum(bool(redacted.changes) for redacted in release.redacted),
        "types": {kind: {source: counts[kind][source] for source in SOURCES} for kind in sorted(counts)},
        "mentions": mentions,
        "kept": kept,
        "leaks": {
            "unexplained": len(release.unexplained),
            "explained": dict(Counter(leak.reason for leak in release.leaks if leak.reason)),
            "places": leaks,
        },
        "look_at_first": [names[number] for number in first[:N_FIRST]],
    }


def describe(settings: Redaction) -> dict[str, Any]:
    """Return the settings without their strings and secrets."""
    counts = {"key": settings.key is not None, "allowed": len(settings.allow), "denied": len(settings.deny)}
    mentions = "all" if settings.mentions else "labelled"
    return {"mode": settings.mode, "mentions": mentions, "patterns": settings.patterns, **counts}
