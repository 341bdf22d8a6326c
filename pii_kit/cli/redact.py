"""`python -m pii_kit redact`: redact essays, or restore the original of redacted ones."""

import argparse
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pii_kit.cli import add_path, add_runs, add_verb, share, whole
from pii_kit.cli.taggers import load_runs
from pii_kit.data import DataWarning, Document
from pii_kit.files import KitError, write_json
from pii_kit.labels import NAME_STUDENT, PII_TYPES
from pii_kit.redact import MODES, Redaction, normalise
from pii_kit.redact.forms import read_files
from pii_kit.redact.ray_engine import redact_on_ray
from pii_kit.redact.release import (
    check_output,
    items_of,
    redact_files,
    report_of,
    restore,
    write_mapping,
    write_output,
)
from pii_kit.redact.table import TableConfig, predict_labels
from pii_kit.submission import label_documents, read_submission

KEY = "PII_KIT_KEY"
SHORT_KEY = 16  # bytes
WRITTEN = ("out", "mapping", "report")
READ = ("data", "submission", "key_file", "allow", "deny", "mapping")


def redact(args: argparse.Namespace) -> None:
    _check_paths(args)
    if args.restore:
        if not args.mapping or args.mode or args.submission or args.run or args.report or args.engine:
            raise KitError("--restore takes --data, --mapping and --out alone")
        print(f"{args.out}: {restore(args.data, args.mapping, args.out)} files restored")
        return
    if not args.mode or bool(args.submission) == bool(args.run):
        raise KitError("redact needs --mode, and either --submission or --run")
    if args.threshold and not args.run:
        raise KitError("--threshold needs --run: a submission has no probabilities")
    if (args.address or args.workers) and not args.engine:
        raise KitError("--address and --workers need --engine ray")
    config = _config(args)
    if args.engine:
        _redact_folder(args, config)
        return
    files = read_files(args.data)
    documents = [item.document for item in items_of(files)]
    release = redact_files(files, _labels(args, documents), config.settings)
    report = report_of(release, config.settings, config.sources())
    if args.report:
        write_json(args.report, report)
    n_leaks = len(release.unexplained)
    if args.strict and n_leaks:
        where = f"{args.report} lists them" if args.report else "--report FILE.json lists them"
        raise KitError(f"{args.data}: {n_leaks} leaks that nothing explains; nothing was released; {where}")
    if args.mapping:
        write_mapping(args.mapping, release)
    write_output(args.out, release.output)
    _print_summary(args.out, report)


def _redact_folder(args: argparse.Namespace, config: TableConfig) -> None:
    if args.mapping:
        raise KitError("--engine ray writes no mapping; redact the files one by one for that")
    report = redact_on_ray(
        args.data, args.out, config, strict=args.strict, address=args.address, n_workers=args.workers
    )
    if args.report:
        write_json(args.report, report)
    _print_summary(args.out, report)


def _print_summary(out: Path, report: Mapping[str, Any]) -> None:
    n_spans, n_mentions = (sum(of_type[name] for of_type in report["types"].values()) for name in ("spans", "mentions"))
    print(f"{out}: {report['documents']} documents; ", end="")
    print(f"{n_spans} spans and {n_mentions} further mentions replaced; ", end="")
    leaks = report["leaks"]
    print(f"leaks: {leaks['unexplained']} unexplained, {sum(leaks['explained'].values())} with a reason")


def _check_paths(args: argparse.Namespace) -> None:
    """Check that no file is written over another one of the command, or raise KitError."""
    written = [path for name in WRITTEN if (path := getattr(args, name)) and not (args.restore and name == "mapping")]
    read = [path for name in READ if (path := getattr(args, name)) and (args.restore or name != "mapping")]
    seen = {path.resolve() for path in read}
    for path in written:
        if path.resolve() in seen:
            raise KitError(f"{path}: is used twice; input and outputs must be different files")
        if args.data.is_dir() and args.data.resolve() in path.resolve().parents:
            raise KitError(f"{path}: is inside the input folder; write the outputs elsewhere")
        seen.add(path.resolve())
    if not args.engine:  # a job on Ray may go on in a folder of files
        check_output(args.out, is_folder=args.data.is_dir())


def _config(args: argparse.Namespace) -> TableConfig:
    settings = Redaction(
        mode=args.mode,
        seed=args.seed,
        key=_key(args.key_file) if args.mode in ("hash", "surrogate") else None,
        mentions=args.mentions == "all",
        allow=frozenset(_lines(args.allow)),
        deny=tuple(_denied(line, args.deny, number) for number, line in enumerate(_lines(args.deny), 1)),
    )
    return TableConfig(
        settings=settings,
        runs=tuple(args.run or ()),
        submission=args.submission,
        train=args.train,
        mixed_data=args.mixed_data,
        thresholds=tuple(args.threshold or ()),
    )


def _key(path: Path | None) -> bytes | None:
    """Return the key of the file, or of the environment variable PII_KIT_KEY, or None."""
    if path is None and not os.environ.get(KEY):
        return None
    if path is not None and not path.is_file():
        raise KitError(f"{path}: no such file; expected the key of --key-file")
    key = (path.read_bytes() if path else os.fsencode(os.environ[KEY])).strip()
    if 0 < len(key) < SHORT_KEY:
        warnings.warn(
            f"the key has {len(key)} bytes; {SHORT_KEY} random ones or more are safe", DataWarning, stacklevel=2
        )
    return key


def _lines(path: Path | None) -> list[str]:
    """Return the lines of a file that are not blank."""
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise KitError(f"{path}: not UTF-8 text at byte {error.start}") from None
    return [line for line in lines if normalise(line)]


def _denied(line: str, path: Path, number: int) -> tuple[str, str]:
    """Return the string and the type of a line: "TYPE<TAB>text", or text that is a name."""
    pii_type, tab, text = line.partition("\t")
    if not tab:
        return line.strip(), NAME_STUDENT
    if pii_type not in PII_TYPES or not text.strip():
        raise KitError(
            f"{path}: entry {number}: expected a text, or TYPE, a tab and a text; TYPE: {', '.join(PII_TYPES)}"
        )
    return text.strip(), pii_type


def _labels(args: argparse.Namespace, documents: Sequence[Document]) -> list[Sequence[str]]:
    """Return the labels (document, token) of the submission, or those that the runs predict."""
    if args.submission:
        rows = read_submission(args.submission, documents)
        return [document.labels or () for document in label_documents(documents, rows)]
    return predict_labels(load_runs(args), documents, dict(args.threshold or ()))


def _threshold(text: str) -> tuple[str, float]:
    pii_type, _, value = text.partition("=")
    if pii_type not in PII_TYPES:
        raise argparse.ArgumentTypeError(f"expected TYPE=P with one of {', '.join(PII_TYPES)}, found {text!r}")
    return pii_type, share(value)


def add_redact_verbs(verbs) -> None:
    """Add the verb redact."""
    text = "replace PII in essays: JSON, JSON lines, csv or parquet files, text files or a folder of these"
    verb = add_verb(verbs, redact, text)
    add_path(verb, "--data", "IN", "the essays; with --restore, the redacted ones")
    add_path(verb, "--out", "OUT", "the redacted essays, in the same form; with --restore, the original ones")
    verb.add_argument("--mode", choices=MODES, help="what takes the place of PII")
    verb.add_argument(
        "--submission", type=Path, metavar="FILE.csv", help="labels of the essays, as predict writes them"
    )
    add_runs(verb, required=False)
    text = "with --run: a token is PII of this type where P(O) is lower; repeat for several types"
    verb.add_argument("--threshold", type=_threshold, action="append", metavar="TYPE=P", help=text)
    verb.add_argument("--seed", type=whole(0), default=0, metavar="S", help="equal seeds draw equal surrogates")
    text = f"file with a secret key, for hash and surrogate; default: the environment variable {KEY}"
    verb.add_argument("--key-file", type=Path, metavar="FILE", help=text)
    text = "replace all further mentions of labelled strings, or labelled ones alone"
    verb.add_argument("--mentions", choices=("all", "labelled"), default="all", help=text)
    verb.add_argument("--allow", type=Path, metavar="FILE", help="strings that are never replaced, one in each line")
    text = "strings that are always replaced, one in each line, as names or as TYPE<TAB>text"
    verb.add_argument("--deny", type=Path, metavar="FILE", help=text)
    text = "write what restores the original, for the owner's eyes only; with --restore, read it"
    verb.add_argument("--mapping", type=Path, metavar="MAP.json", help=text)
    text = "write counts, places and hashes, but no text"
    verb.add_argument("--report", type=Path, metavar="FILE.json", help=text)
    text = "release nothing, with exit code 2, if the leak check finds anything that it cannot explain"
    verb.add_argument("--strict", action="store_true", help=text)
    text = "redact a folder of parquet or JSON lines files on Ray; a job that was interrupted goes on"
    verb.add_argument("--engine", choices=("ray",), help=text)
    text = "with --engine: address of a Ray cluster; default: this machine"
    verb.add_argument("--address", metavar="ADDRESS", help=text)
    text = "with --engine: number of workers; default: one for each processor core"
    verb.add_argument("--workers", type=whole(1), metavar="N", help=text)
    verb.add_argument("--restore", action="store_true", help="write the original essays again")
