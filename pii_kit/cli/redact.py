"""The verbs redact, redact-eval and review."""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pii_kit.cli import options
from pii_kit.cli.options import counted, examples, flag, load_tagger, option
from pii_kit.documents import DataWarning, Document
from pii_kit.files import KitError, atomic_write, check_output, write_json
from pii_kit.labels import NAME_STUDENT, PII_TYPES

app = typer.Typer()
KEY = "PII_KIT_KEY"


@app.command(
    epilog=examples(
        "redact --data essays.csv --run runs/sha_rnn --mode surrogate --out released.csv --mapping mapping.json",
        "redact --restore --data released.csv --mapping mapping.json --out essays.csv",
    )
)
def redact(
    data: options.Texts,
    out: Annotated[Path, option("OUT", "the redacted essays, in the same form; with --restore, the original ones")],
    mode: Annotated[options.Mode | None, option(None, "what takes the place of PII")] = None,
    submission: Annotated[Path | None, option("FILE.csv", "labels of the essays, as predict writes them")] = None,
    decisions: Annotated[Path | None, option("FILE.json", "labels of the essays, as review's page saves them")] = None,
    run: options.Runs = None,
    train: options.Train = None,
    threshold: options.Threshold = None,
    recall: options.Recall = None,
    text_column: options.TextColumn = None,
    seed: Annotated[int | None, option("S", "equal seeds draw equal surrogates; keep it secret", min=0)] = None,
    key_file: Annotated[Path | None, option("FILE", f"a secret key, for hash and surrogate; default: ${KEY}")] = None,
    mentions: options.Mentions = "all",
    allow: Annotated[Path | None, option("FILE", "strings that are never replaced, one in each line")] = None,
    deny: Annotated[Path | None, option("FILE", "lines that are always replaced: a name, or TYPE<TAB>text")] = None,
    mapping: Annotated[Path | None, option("FILE.json", "the file that restores the original; keep it secret")] = None,
    report: Annotated[Path | None, option("FILE.json", "write counts and places, and a page FILE.html of them")] = None,
    strict: Annotated[bool, flag("--strict", "release nothing if the leak check finds an unexplained leak")] = False,
    ray: Annotated[bool, flag("--ray", "redact the files of a folder on Ray; the same command finishes a job")] = False,
    address: Annotated[str | None, option("ADDRESS", "with --ray: a Ray cluster; default: this machine")] = None,
    workers: Annotated[int | None, option("N", "with --ray: number of workers; default: the cores", min=1)] = None,
    restore: Annotated[bool, flag("--restore", "write the original essays again, from --data and --mapping")] = False,
) -> None:
    """Replace PII in essays."""
    read = [data, submission, decisions, train, key_file, allow, deny, *(run or ()), mapping if restore else None]
    page = report and report.parent / f"{report.stem}.html"
    outputs = [None if ray else out, None if restore else mapping, report, page]  # a job on Ray may continue
    for place, path in enumerate(outputs):
        if path:
            check_output(path, *read, *outputs[:place], folder=path == out and data.is_dir())
    if restore:
        if not mapping:
            raise KitError("--restore needs --mapping FILE.json, which the redaction has written")
        from pii_kit.redact.release import restore as restore_files

        print(f"{out}: {counted(restore_files(data, mapping, out), 'file')} restored")
        return
    has_labels = bool(submission or decisions)
    conflicts = {
        "--mode is missing: what takes the place of PII (mask, type, surrogate or hash)": not mode,
        "expected one of --submission, --run and --decisions": has_labels and (run or (submission and decisions)),
        "--threshold and --recall are for taggers, not for given labels": has_labels and (threshold or recall),
        "--ray takes no --mapping, --submission and --decisions": ray and (mapping or submission or decisions),
        "--address and --workers are for --ray": not ray and (address or workers),
    }
    for message, is_wrong in conflicts.items():
        if is_wrong:
            raise KitError(message)
    from pii_kit.redact import Redaction

    settings = Redaction(
        mode=str(mode),
        seed=seed,
        key=_key(key_file) if mode in ("hash", "surrogate") else None,
        mentions=mentions == "all",
        patterns=decisions is None,  # a reviewer has seen what patterns find
        allow=[text for text, _ in _strings(allow)],
        deny=_strings(deny),
    )
    if ray:
        from pii_kit.redact.table import TableConfig, redact_on_ray

        o_threshold, by_type = options.thresholds(threshold)
        if recall:
            o_threshold = load_tagger(run, threshold, train, recall)[1].o_threshold
        chosen: dict[str, Any] = {"o_threshold": o_threshold, "thresholds": tuple(by_type.items())}
        chosen |= {"runs": tuple(run or ()), "text_column": text_column}
        config = TableConfig(settings=settings, **chosen)
        content = redact_on_ray(data, out, config, strict=strict, address=address, n_workers=workers)
        if report:
            write_json(report, content)
    else:
        from pii_kit.redact.essays import read_essays
        from pii_kit.redact.release import redact_essays, report_of, write_release

        essays = read_essays(data, text_column, at_marks=not submission)
        documents, tagger_options = list(essays.documents.values()), (run, threshold, train, recall)
        labels, predictions, sources = _label(documents, submission, decisions, tagger_options)
        release = redact_essays(essays, labels, settings)
        content = report_of(release, sources, predictions)
        if report and page:
            from pii_kit.report.pages import write_redaction_page

            write_json(report, content)
            write_redaction_page(page, content)
        if strict and (n_leaks := len(release.unexplained)):
            where = report or "--report FILE.json"
            raise KitError(f"{data}: {n_leaks} leaks that nothing explains; nothing was released; {where} lists them")
        write_release(release, out, mapping)
    _print_summary(out, content, has_report=bool(report))


def _label(
    documents: Sequence[Document], submission: Path | None, decisions: Path | None, tagger_options: Sequence[Any]
) -> tuple[Sequence[Sequence[str]], list[tuple[list[str], Any]], dict[str, Any]]:
    """Return labels (document, token), a tagger's labels with their probabilities, and the report's lines on both."""
    if decisions:
        from pii_kit.redact.review import read_decisions

        labels, n_spans, n_undecided = read_decisions(decisions, documents)
        print(f"{decisions}: {n_undecided} of {n_spans} detections undecided, which counts as accepted")
        return labels, [], {"decisions": decisions.name}
    if submission:
        from pii_kit.submission import label_documents, read_submission

        labelled = label_documents(documents, read_submission(submission, documents))
        return [document.labels or () for document in labelled], [], {"submission": submission.name}
    runs, tagger = load_tagger(*tagger_options)
    predictions = [(tagger.decide(*pair, keep_sure=True), pair[1]) for pair in tagger.predict(documents)]
    names = [folder.resolve().name for folder in runs]
    sources = {"taggers": names, "o_threshold": tagger.o_threshold, "thresholds": dict(tagger.thresholds)}
    return [labels for labels, _ in predictions], predictions, sources


def _print_summary(out: Path, report: Mapping[str, Any], *, has_report: bool) -> None:
    counts, leaks = report["types"].values(), report["leaks"]
    n_spans = sum(of_type[source] for of_type in counts for source in ("label", "pattern", "denied"))
    n_mentions, n_explained = sum(of_type["mention"] for of_type in counts), sum(leaks["explained"].values())
    listed = " (--report FILE.json lists them)" * bool(not has_report and (n_explained or leaks["unexplained"]))
    left = f"leak check: {leaks['unexplained']} unexplained leaks, {n_explained} with a reason{listed}"
    print(f"{out}: {report['documents']} documents; {n_spans} spans and {n_mentions} further mentions replaced; {left}")
    places: dict[str, dict[str, None]] = {}
    for leak in leaks.get("places", ()):
        if leak["field"] != "full_text" and not leak["reason"]:
            places.setdefault(leak["field"], {})[leak["name"]] = None
    if places:
        listed = "; ".join(f"{field}: {', '.join(list(names)[:5])}" for field, names in places.items())
        text = f"only the text is redacted; replaced strings are still in other columns or file names: {listed}"
        warnings.warn(text, DataWarning, stacklevel=2)
    print("PII that was not found stays as it is: look through the essays with review, the most uncertain first")


def _key(path: Path | None) -> bytes | None:
    """Return the key of the file, or of the environment variable PII_KIT_KEY, or None."""
    return (path.read_bytes() if path else os.fsencode(os.environ.get(KEY, ""))).strip() or (b"" if path else None)


def _strings(path: Path | None) -> list[tuple[str, str]]:
    """Return the text and PII type of each line that is not blank: TYPE<TAB>text, or text that is a name."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines() if path else []
    except UnicodeDecodeError as error:
        raise KitError(f"{path}: not UTF-8 text at byte {error.start}") from None
    entries = []
    for number, line in enumerate(filter(str.strip, lines), start=1):
        pii_type, tab, text = line.rpartition("\t")
        if tab and pii_type not in PII_TYPES:
            raise KitError(f"{path}: entry {number}: expected TYPE, a tab and a text; TYPE: {', '.join(PII_TYPES)}")
        entries.append((text.strip(), pii_type or NAME_STUDENT))
    return entries


@app.command(
    epilog=examples(
        "redact-eval --data labelled.json --run runs/sha_rnn",
        "redact-eval --data labelled.json --run runs/sha_rnn --train train.json --recall .99",
    )
)
def redact_eval(
    data: options.Labelled,
    run: options.Runs = None,
    train: options.Train = None,
    threshold: options.Threshold = None,
    recall: options.Recall = None,
    mentions: options.Mentions = "all",
    out: Annotated[Path | None, option("FILE.csv", "write the table too")] = None,
) -> None:
    """Measure what a redaction of labelled essays misses."""
    if out:
        check_output(out, data, train, *(run or ()))
    from pii_kit.documents import read_documents
    from pii_kit.redact import Redaction
    from pii_kit.redact.leaks import evaluate_redaction
    from pii_kit.training.out_of_fold import labels_out_of_fold, predict_unseen

    documents = read_documents(data, labels_required=True)
    runs, tagger = load_tagger(run, threshold, train, recall)
    unseen = predict_unseen(tagger, runs, documents)
    scored = [document for document, _ in unseen.predictions]
    is_fixed = options.thresholds(threshold)[0] is not None
    validated = {} if is_fixed else labels_out_of_fold(tagger, runs, scored, recall=recall)
    labels = [validated.get(pair[0].number) or tagger.decide(*pair, keep_sure=True) for pair in unseen.predictions]
    table = evaluate_redaction(scored, labels, Redaction(mode="type", mentions=mentions == "all"))
    if out:
        with atomic_write(out) as handle:
            table.to_csv(handle, index_label="counted", lineterminator="\n")
    chosen = f"{len(validated)} documents have the threshold that the other folds choose"
    is_high = not is_fixed and len(validated) < len(scored) - unseen.n_predicted
    high = "; optimistic: other thresholds were chosen on these documents" * is_high
    print(f"{unseen.counts()}. PII where P(O) < {tagger.o_threshold:g}; {chosen}{high}.")
    print(table.to_string(formatters=dict.fromkeys(("n", "good"), "{:.0f}".format), float_format="{:.4f}".format))


@app.command(epilog=examples("review --data essays.csv --run runs/sha_rnn --out review.html"))
def review(
    data: options.Texts,
    out: options.Out,
    run: options.Runs = None,
    train: options.Train = None,
    threshold: options.Threshold = None,
    recall: options.Recall = None,
    text_column: options.TextColumn = None,
) -> None:
    """Write a page to decide what is PII.

    The page holds the essays. `redact --decisions` uses what it saves.
    """
    check_output(out, data, train, *(run or ()))
    from pii_kit.redact.essays import read_essays
    from pii_kit.redact.review import find_detections
    from pii_kit.report.pages import write_review_page

    essays = read_essays(data, text_column)
    documents = list(essays.documents.values())
    runs, tagger = load_tagger(run, threshold, train, recall)
    detections = [find_detections(*pair, tagger) for pair in tagger.predict(documents)]
    limits = "".join(f", {pii_type}: {limit:g}" for pii_type, limit in tagger.thresholds.items())
    names = " and ".join(folder.resolve().name for folder in runs)
    note = f"Detections of {names}: P(O) < {tagger.o_threshold:g}{limits}."
    write_review_page(out, documents, detections, title=f"Review of {data.name}", note=note, names=essays.names)
    suggestions = [detection.is_suggestion for of_document in detections for detection in of_document]
    counts = f"{len(suggestions) - sum(suggestions)} detections and {sum(suggestions)} suggestions"
    print(f"{out}: {counts} in {len(documents)} documents; save the decisions on the page for redact --decisions")
