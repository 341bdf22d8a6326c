"""`python -m pii_kit redact` and `redact-eval`: redact essays, restore the original, and measure what survives."""

import argparse
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pii_kit.cli import add_path, add_runs, add_verb, counted, given_threshold, whole
from pii_kit.cli.taggers import load_runs, use_default_run
from pii_kit.documents import DataWarning, read_documents
from pii_kit.files import KitError, atomic_write, write_json
from pii_kit.labels import NAME_STUDENT, PII_TYPES
from pii_kit.redact import MODES, Redaction, normalise
from pii_kit.redact.decisions import read_decisions
from pii_kit.redact.evaluate import evaluate_redaction
from pii_kit.redact.forms import read_files
from pii_kit.redact.ray_engine import redact_on_ray
from pii_kit.redact.release import (
    check_output,
    hash_of,
    items_of,
    redact_files,
    report_of,
    restore,
    write_mapping,
    write_output,
)
from pii_kit.redact.table import TableConfig
from pii_kit.report.redaction_page import write_redaction_page
from pii_kit.submission import label_documents, read_submission
from pii_kit.training.ensemble import labels_out_of_fold, predict_labelled
from pii_kit.training.runs import fingerprint_runs

KEY = "PII_KIT_KEY"
SHORT_KEY = 16  # bytes
WRITTEN = ("out", "mapping", "report")
READ = ("data", "submission", "decisions", "key_file", "allow", "deny", "mapping")


def redact(args: argparse.Namespace) -> None:
    _check_paths(args)
    if args.restore:
        if not args.mapping or args.mode or args.submission or args.run or args.decisions or args.report or args.ray:
            raise KitError("--restore takes --data, --mapping and --out alone")
        print(f"{args.out}: {counted(restore(args.data, args.mapping, args.out), 'file')} restored")
        return
    if not args.mode:
        raise KitError(f"--mode is missing: what takes the place of PII; expected one of {', '.join(MODES)}")
    if sum(map(bool, (args.submission, args.run, args.decisions))) > 1:
        raise KitError("expected not more than one of --submission, --run and --decisions")
    if not (args.submission or args.decisions or args.run):
        use_default_run(args)
    if (args.threshold or args.recall) and not args.run:
        raise KitError("--threshold and --recall need probabilities; leave out --submission and --decisions")
    if (args.address or args.workers) and not args.ray:
        raise KitError("--address and --workers need --ray")
    settings = _settings(args)
    if args.ray:
        _redact_folder(args, settings)
        return
    files = read_files(args.data)
    documents = [item.document for item in items_of(files)]
    predictions: list[tuple[list[str], np.ndarray]] = []
    if args.run:
        ensemble = load_runs(args)
        predictions = [(ensemble.label(*pair), pair[1]) for pair in ensemble.predict(documents)]
        labels: Sequence[Sequence[str]] = [of_document for of_document, _ in predictions]
        limits = {"o_threshold": ensemble.o_threshold, "thresholds": dict(ensemble.by_type)}
        sources: dict[str, Any] = {"taggers": fingerprint_runs(args.run)} | limits
    elif args.decisions:
        labels, n_spans, n_undecided = read_decisions(args.decisions, documents)
        print(f"{args.decisions}: {n_undecided} of {n_spans} detections undecided, which counts as accepted")
        sources = {"decisions_sha256": hash_of(args.decisions.read_bytes())}
    else:
        rows = read_submission(args.submission, documents)
        labels = [document.labels or () for document in label_documents(documents, rows)]
        sources = {"submission_sha256": hash_of(args.submission.read_bytes())}
    release = redact_files(files, labels, settings)
    report = report_of(release, settings, sources, predictions)
    if args.report:
        write_json(args.report, report)
        write_redaction_page(args.report.with_suffix(".html"), report)
    n_leaks = len(release.unexplained)
    if args.strict and n_leaks:
        where = f"{args.report} lists them" if args.report else "--report FILE.json lists them"
        raise KitError(f"{args.data}: {n_leaks} leaks that nothing explains; nothing was released; {where}")
    if args.mapping:
        write_mapping(args.mapping, release)
    write_output(args.out, release.output)
    _print_summary(args.out, report, has_report=bool(args.report))


def _redact_folder(args: argparse.Namespace, settings: Redaction) -> None:
    if args.mapping:
        raise KitError("--ray writes no mapping; redact the files one by one for that")
    if args.decisions:
        raise KitError("--ray does not take --decisions, which are about a single file")
    config = TableConfig(
        settings=settings,
        runs=tuple(args.run or ()),
        submission=args.submission,
        train=args.train,
        mixed_data=args.mixed_data,
        recall=args.recall,
        o_threshold=given_threshold(args),
        thresholds=tuple((pii_type, limit) for pii_type, limit in args.threshold or () if pii_type),
    )
    report = redact_on_ray(
        args.data, args.out, config, strict=args.strict, address=args.address, n_workers=args.workers
    )
    if args.report:
        write_json(args.report, report)
    _print_summary(args.out, report, has_report=bool(args.report))


def _print_summary(out: Path, report: Mapping[str, Any], *, has_report: bool) -> None:
    n_spans, n_mentions = (sum(of_type[name] for of_type in report["types"].values()) for name in ("spans", "mentions"))
    print(f"{out}: {report['documents']} documents; ", end="")
    print(f"{n_spans} spans and {n_mentions} further mentions replaced; ", end="")
    leaks = report["leaks"]
    n_explained = sum(leaks["explained"].values())
    left = f"{leaks['unexplained']} unexplained leaks, {n_explained} with a reason"
    listed = " (--report FILE.json lists them)" if (n_explained or leaks["unexplained"]) and not has_report else ""
    print(f"leak check: {left}{listed}")
    fields = sorted({one["field"] for one in leaks.get("places", ()) if not one["reason"]} - {"full_text"})
    if fields:
        print(
            f"warning: only the text is redacted; replaced strings are still in: {', '.join(fields)}", file=sys.stderr
        )
    if n_named := report.get("named_files"):
        print(
            f"warning: {counted(n_named, 'file name')} with a replaced string of its text; rename",
            file=sys.stderr,
        )
    print("PII that was not found stays as it is: look through the essays with review, the most uncertain first")


def _check_paths(args: argparse.Namespace) -> None:
    """Check that no file is written over another one of the command, or raise KitError."""
    written = [path for name in WRITTEN if (path := getattr(args, name)) and not (args.restore and name == "mapping")]
    if args.report:
        written.append(args.report.with_suffix(".html"))
    read = [path for name in READ if (path := getattr(args, name)) and (args.restore or name != "mapping")]
    seen = {path.resolve() for path in read}
    for path in written:
        if path.resolve() in seen:
            raise KitError(f"{path}: is used twice; input and outputs must be different files")
        if args.data.is_dir() and args.data.resolve() in path.resolve().parents:
            raise KitError(f"{path}: is inside the input folder; write the outputs elsewhere")
        seen.add(path.resolve())
    if not args.ray:  # a job on Ray may continue in a folder of files
        check_output(args.out, is_folder=args.data.is_dir())


def _settings(args: argparse.Namespace) -> Redaction:
    return Redaction(
        mode=args.mode,
        seed=args.seed,
        key=_key(args.key_file) if args.mode in ("hash", "surrogate") else None,
        mentions=args.mentions == "all",
        allow=frozenset(_lines(args.allow)),
        deny=tuple(_denied(line, args.deny, number) for number, line in enumerate(_lines(args.deny), 1)),
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


def redact_eval(args: argparse.Namespace) -> None:
    documents = read_documents(args.data, labels_required=True)
    ensemble = load_runs(args)
    found = predict_labelled(ensemble, args.run, documents)
    shown = [document for document, _ in found.predictions]
    fixed = given_threshold(args)
    validated = {} if fixed else labels_out_of_fold(ensemble, args.run, shown, recall=args.recall)
    labels = [validated.get(pair[0].number) or ensemble.label(*pair) for pair in found.predictions]
    table = evaluate_redaction(shown, labels, Redaction(mode="type", mentions=args.mentions == "all"))
    if args.out:
        with atomic_write(args.out) as handle:
            table.to_csv(handle, index_label="counted", lineterminator="\n")
    chosen = f"{len(validated)} documents have the threshold that the other folds choose"
    high = "; optimistic: other thresholds were chosen on these documents"
    is_high = not fixed and len(validated) < len(shown) - found.n_predicted
    print(f"{found.counts()}. PII where P(O) < {ensemble.o_threshold:g}; {chosen}{high * is_high}.")
    print(table.to_string(formatters=dict.fromkeys(("n", "good"), "{:.0f}".format), float_format="{:.4f}".format))


def add_redact(verbs, text: str) -> None:
    """Add the verb redact."""
    examples = [
        "--data essays.csv --run runs/sha_rnn --mode surrogate --out released.csv --mapping mapping.json",
        "--restore --data released.csv --mapping mapping.json --out essays.csv",
    ]
    verb = add_verb(verbs, redact, text, *examples)
    add_path(verb, "--data", "IN", "the essays; with --restore, the redacted ones")
    add_path(verb, "--out", "OUT", "the redacted essays, in the same form; with --restore, the original ones")
    verb.add_argument("--mode", choices=MODES, help="what takes the place of PII")
    verb.add_argument(
        "--submission", type=Path, metavar="FILE.csv", help="labels of the essays, as predict writes them"
    )
    text = "labels of the essays, as the page of review saves them"
    verb.add_argument("--decisions", type=Path, metavar="FILE.json", help=text)
    add_runs(verb)
    verb.add_argument("--seed", type=whole(0), default=0, metavar="S", help="equal seeds draw equal surrogates")
    text = f"file with a secret key, for hash and surrogate; default: the environment variable {KEY}"
    verb.add_argument("--key-file", type=Path, metavar="FILE", help=text)
    _add_mentions(verb)
    verb.add_argument("--allow", type=Path, metavar="FILE", help="strings that are never replaced, one in each line")
    text = "strings that are always replaced, one in each line, as names or as TYPE<TAB>text"
    verb.add_argument("--deny", type=Path, metavar="FILE", help=text)
    text = "write what restores the original, for the owner's eyes only; with --restore, read it"
    verb.add_argument("--mapping", type=Path, metavar="MAP.json", help=text)
    text = "write counts, places and hashes, but no text, and FILE.html, which shows them; with --ray counts alone"
    verb.add_argument("--report", type=Path, metavar="FILE.json", help=text)
    text = "release nothing, with exit code 2, if the leak check finds anything that it cannot explain"
    verb.add_argument("--strict", action="store_true", help=text)
    text = "redact a folder of parquet or JSON lines files on Ray; the same command resumes an interrupted job"
    verb.add_argument("--ray", action="store_true", help=text)
    text = "with --ray: address of a Ray cluster; default: this machine"
    verb.add_argument("--address", metavar="ADDRESS", help=text)
    text = "with --ray: number of workers; default: one for each processor core"
    verb.add_argument("--workers", type=whole(1), metavar="N", help=text)
    verb.add_argument("--restore", action="store_true", help="write the original essays again")


def add_redact_eval(verbs, text: str) -> None:
    """Add the verb redact-eval."""
    example = "--data labelled.json --run runs/sha_rnn"
    verb = add_verb(verbs, redact_eval, text, example, f"{example} --train train.json --recall .99")
    add_path(verb, "--data", "LABELLED.json", "labelled essays; the training essays are labelled out of fold")
    add_runs(verb)
    _add_mentions(verb)
    verb.add_argument("--out", type=Path, metavar="FILE.csv", help="write the table too")


def _add_mentions(verb: argparse.ArgumentParser) -> None:
    text = "replace every mention of a labelled string, or only the labelled ones"
    verb.add_argument("--mentions", choices=("all", "labelled"), default="all", help=text)
