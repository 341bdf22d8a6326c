"""Redact files: the output, the mapping that restores the original, and the report for an audit."""

import json
import zlib
from base64 import b64decode, b64encode
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from pii_kit.files import KitError, atomic_folder, atomic_write
from pii_kit.labels import OUTSIDE, OUTSIDE_ID, spans_of
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
        """The new content of each file by name; the name is empty unless the files are in a folder."""
        return self.essays.redacted(self.redacted)

    @property
    def unexplained(self) -> list[Leak]:
        return [leak for leak in self.leaks if not leak.reason]


def redact_essays(essays: Essays, labels: Iterable[Sequence[str]], settings: Redaction) -> Release:
    """Redact essays by the `labels` (document, token) of their documents, and check the result for leaks."""
    pairs = zip(essays.documents.values(), labels, strict=True)
    redacted = tuple(redact_document(*pair, settings, in_spreadsheet=essays.is_spreadsheet) for pair in pairs)
    return Release(essays, settings, redacted, tuple(find_leaks(redacted, essays.others(), settings)))


def write_release(release: Release, out: Path, mapping: Path | None = None) -> None:
    """Write the output, and the mapping, which only its owner can read: both complete, or neither."""
    with ExitStack() as stack:
        if mapping:  # it takes its place last: until then the release before can be restored
            json.dump(_mapping_of(release), stack.enter_context(atomic_write(mapping, private=True)))
        write_files(out, release.contents, stack)


def write_files(out: Path, contents: Mapping[str, bytes], stack: ExitStack, *, private: bool = False) -> None:
    """Write one file, or a folder of files, which take their place when the stack is left without an error."""
    if "" in contents:
        stack.enter_context(atomic_write(out, private=private)).buffer.write(contents[""])
        return
    folder = stack.enter_context(atomic_folder(out))
    if private:
        folder.chmod(0o700)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


class _File(BaseModel):
    name: str
    redacted: str  # digest
    original: str  # compressed, in base 64


class _Mapping(BaseModel):
    format: str
    seed: int | None
    files: list[_File]
    documents: list[dict[str, Any]]


def _mapping_of(release: Release) -> dict[str, Any]:
    """Return the originals of the files and, for each document, what was replaced, with places in the output."""
    files = [
        {
            "name": name,
            "redacted": _digest(release.contents[name]),
            "original": b64encode(zlib.compress(original)).decode(),
        }
        for name, original in release.essays.contents.items()
    ]
    documents = [
        {
            "document": one.original.number,
            "name": release.essays.names[one.original.number],
            "replaced": [[c.new_start, c.new_end, c.pii_type, c.source, c.original] for c in one.changes],
        }
        for one in release.redacted
        if one.changes
    ]
    seed = release.settings.drawn_seed if release.settings.mode == "surrogate" and not release.settings.key else None
    return {"format": FORMAT, "seed": seed, "files": files, "documents": documents}


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
    except (ValidationError, ValueError, zlib.error):
        raise KitError(f"{mapping}: not a mapping that redact wrote, or damaged") from None
    if known.format != FORMAT or any(Path(name).name != name for name in originals if name):
        raise KitError(f"{mapping}: not a mapping of this version; expected {FORMAT!r}")
    if not data.exists() or data.is_dir() == ("" in originals):
        raise KitError(f"{data}: no such file or folder; expected what was written with {mapping}")
    for file in known.files:
        path = data / file.name if file.name else data
        if not path.is_file() or _digest(path.read_bytes()) != file.redacted:
            raise KitError(f"{path}: changed since it was redacted, or {mapping} is of another redaction")
    with ExitStack() as stack:
        write_files(out, originals, stack, private=True)
    return len(originals)


def report_of(
    release: Release, sources: Mapping[str, Any], predictions: Iterable[tuple[Sequence[str], np.ndarray]] = ()
) -> dict[str, Any]:
    """Return the report of a release: counts and places, never text, and no digest of a text.

    `sources` tells where the labels came from. With `predictions`, the labels (token) and probabilities (token, label)
    of each document, the report has the probability of the labelled spans, and the documents to look at first are also
    those in which taggers expect further PII.
    """
    names, settings = release.essays.names, release.settings
    counts: dict[str, Counter[str]] = defaultdict(Counter)  # type → source, or "kept"
    places: dict[str, list[dict[str, Any]]] = {"mentions": [], "kept": [], "leaks": []}
    weights: Counter[int] = Counter()  # document → how much a person should look at it
    probabilities: dict[str, list[float]] = defaultdict(list)  # type → of each labelled span
    for one, (labels, scores) in zip(release.redacted, predictions, strict=False):
        is_pii = 1 - scores[:, OUTSIDE_ID]
        for first, end, pii_type in spans_of(labels):
            probabilities[pii_type].append(float(is_pii[first:end].mean()))
        weights[one.original.number] += float(is_pii[[label == OUTSIDE for label in labels]].sum())  # type: ignore[assignment]
    for one in release.redacted:
        where = {"name": names[one.original.number]}
        for change in one.changes:
            counts[change.pii_type][change.source] += 1
            if change.source == "mention":
                places["mentions"].append(where | {"start": change.new_start, "type": change.pii_type})
        for start, _, pii_type, reason in one.kept:
            counts[pii_type]["kept"] += 1
            weights[one.original.number] += 1
            places["kept"].append(where | {"original_start": start, "type": pii_type, "reason": reason})
    for leak in release.leaks:
        weights[leak.document] += 1 if leak.reason else UNEXPLAINED_WEIGHT
        place = {"field": leak.field, "start": leak.start, "type": leak.pii_type, "reason": leak.reason}
        places["leaks"].append({"name": names[leak.document], **place})
    return {
        "note": PRIVATE,
        "settings": describe(settings),
        **sources,
        "output_sha256": [_digest(content) for content in release.contents.values()] if release.essays.contents else [],
        "documents": len(release.redacted),
        "without_text": len(release.essays.rows) - len(release.redacted),
        "changed_documents": sum(bool(one.changes) for one in release.redacted),
        "types": {
            pii_type: {source: of_type[source] for source in SOURCES}
            | ({"lowest_probability": min(found)} if (found := probabilities[pii_type]) else {})
            for pii_type, of_type in sorted(counts.items())
        },
        "mentions": places["mentions"],
        "kept": places["kept"],
        "leaks": {
            "unexplained": len(release.unexplained),
            "explained": dict(Counter(leak.reason for leak in release.leaks if leak.reason)),
            "places": places["leaks"],
        },
        "look_at_first": [names[number] for number, weight in weights.most_common(N_FIRST) if weight],
    }


def describe(settings: Redaction) -> dict[str, Any]:
    """Return the settings without their strings and secrets."""
    counts = {"key": settings.key is not None, "allowed": len(settings.allow), "denied": len(settings.deny)}
    mentions = "all" if settings.mentions else "labelled"
    return {"mode": settings.mode, "mentions": mentions, "patterns": settings.patterns, **counts}
