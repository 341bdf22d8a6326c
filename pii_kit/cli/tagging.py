"""The verbs sample, convert, train, predict, check, score, errors and export."""

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pii_kit.cli import options
from pii_kit.cli.options import counted, examples, flag, load_tagger, option, pairs
from pii_kit.files import KitError, check_output
from pii_kit.labels import PII_TYPES

if TYPE_CHECKING:
    from pii_kit.documents import Document
    from pii_kit.predict import Tagger

app = typer.Typer()
Submission = Annotated[Path, option("FILE.csv", "the submission")]


@app.command(epilog=examples("sample --out essays", "sample --out essays --documents 1000 --length 2.8 --seed 1"))
def sample(
    out: options.OutFolder,
    documents: Annotated[int, option("N", "training essays; test essays: a quarter, at least 50", min=1)] = 400,
    length: Annotated[float, option("X", "length of the essays; 2.8: as long as the competition's", min=0.1)] = 1.0,
    seed: options.Seed = 0,
) -> None:
    """Write made-up essays: train.json, test.json, test_labels.csv."""
    from pii_kit.sample import write_sample

    check_output(out, folder=True)
    write_sample(out, n_documents=documents, length=length, seed=seed)
    print(f"{out}: train.json, test.json, test_labels.csv")


@app.command(
    epilog=examples(
        "convert --data export.jsonl --form doccano --label PERSON=NAME_STUDENT --label ORG= --out train.json"
    )
)
def convert(
    data: Annotated[Path, option("FILE", "the tool's export")],
    form: Annotated[options.Form, option(None, "conll: a token and its BIO tag in each line")],
    out: options.Out,
    label: Annotated[
        list[str] | None,
        option("LABEL=TYPE", "the PII type of a label in the file; LABEL= drops the label; repeatable"),
    ] = None,
    text_field: Annotated[str | None, option("NAME", "field of the text; default: text, or the only one")] = None,
) -> None:
    """Turn essays that another tool labelled into a train.json."""
    from pii_kit.convert import read_annotations
    from pii_kit.documents import write_documents
    from pii_kit.labels import pii_places

    check_output(out, data)
    types = pairs("--label", label)
    if unknown := {*types.values()} - {*PII_TYPES, ""}:
        raise KitError(
            f"--label: no PII type {unknown.pop()!r}; expected {', '.join(PII_TYPES)}, or nothing to drop it"
        )
    documents, n_extended = read_annotations(data, form, types=types, text_field=text_field)
    write_documents(out, documents)
    n_rows = sum(len(pii_places(document.labels or ())) for document in documents)
    extended = f"; {n_extended} spans cut through a token, which is labelled whole" * (n_extended > 0)
    print(f"{out}: {counted(len(documents), 'document')} with {counted(n_rows, 'PII token')}{extended}")


@app.command(
    epilog=examples(
        "train --model sha_rnn --data train.json --run runs/sha_rnn",
        "train --model sha_rnn --data train.json --run runs/wide --set model.hidden_size=192 --set model.boom_size=768",
    )
)
def train(
    model: Annotated[options.Model, option(None, "encoder: any pretrained encoder of transformers")],
    data: Annotated[Path | None, option("FILE.json", "labelled essays")] = None,
    run: Annotated[Path | None, option("DIR", "folder of the run")] = None,
    extra: Annotated[list[Path] | None, option("FILE.json", "more essays to train on; none is scored")] = None,
    preset: Annotated[str | None, option("NAME", "cpu, original or (mobilebert) published; encoder: default")] = None,
    fold: Annotated[int | None, option("K", "train only the tagger that is scored on fold K", min=0)] = None,
    epochs: Annotated[int | None, option("N", "replaces the preset's value", min=1)] = None,
    learning_rate: Annotated[float | None, option("RATE", "replaces the preset's value")] = None,
    batch_size: Annotated[int | None, option("N", "in windows; replaces the preset's value", min=1)] = None,
    seed: Annotated[int | None, option("S", "random seed; default: 0", min=0)] = None,
    changes: Annotated[list[str] | None, option("NAME=VALUE", "any other setting; repeatable", "--set")] = None,
    list_settings: Annotated[bool, flag("--list-settings", "list all settings; needs no --data and no --run")] = False,
    weights: Annotated[str | None, option("FOLDER_OR_HUB_NAME", "of encoder and mobilebert's preset published")] = None,
    teacher: Annotated[list[Path] | None, option("DIR", "learn from this run's predictions; repeatable")] = None,
    unlabelled: Annotated[Path | None, option("FILE.json", "essays that the teacher labels")] = None,
    minutes: options.Minutes = None,
    resume: options.Resume = False,
) -> None:
    """Train taggers on labelled essays, one for each fold."""
    from pii_kit.settings import find_preset, listing

    named: dict[str, Any] = {"epochs": epochs, "learning_rate": learning_rate, "batch_size": batch_size, "seed": seed}
    named = {name: value for name, value in named.items() if value is not None}
    settings = pairs("--set", changes)
    for name in named.keys() & settings.keys():
        raise KitError(f"--set {name} and --{name.replace('_', '-')} are one setting; expected one of them")
    settings |= named
    if list_settings:
        rows = listing(find_preset(model, preset, settings))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        print("\n".join(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {about}".rstrip() for name, value, about in rows))
        return
    if not (data and run):
        raise KitError("--data FILE.json and --run DIR are needed: the essays to train on, and the folder of the run")
    if bool(unlabelled) != bool(teacher):
        raise KitError("--teacher and --unlabelled need each other: the runs that label, and the essays to label")
    from pii_kit.documents import read_documents
    from pii_kit.kaggle import deadline_in
    from pii_kit.training.train import train as train_run

    essays, *more = (read_documents(path, labels_required=True) for path in (data, *(extra or ())))
    result = train_run(
        model,
        essays,
        run,
        preset=preset,
        folds=None if fold is None else [fold],
        resume=resume,
        deadline=deadline_in(minutes),
        weights=weights,
        extra=list(chain.from_iterable(more)),
        teachers=teacher or (),
        unlabelled=read_documents(unlabelled) if unlabelled else (),
        changes=settings,
    )
    _print_result(run, result, is_taught=bool(teacher))


def _print_result(run: Path, result: dict, *, is_taught: bool) -> None:
    is_late = "n_finished" in result
    models = counted(result["n_models"], "model")
    n_true = result["tp"] + result["fn"]
    parts = [
        f"the time ran out: {result['n_finished']} folds finished, {models} so far" if is_late else "",
        f"F5 {result['f5']:.3f} out of fold on {result['n_documents']} documents "
        f"(95% interval {result['f5_low']:.3f} to {result['f5_high']:.3f})",
        f"{result['fn']} of {n_true} rows missed (95% lower bound of recall: {result['recall_bound']:.2f})",
        "too high if the teachers learned from these documents: score it on others" if is_taught else "",
        "" if is_late else f"{models}, started from {result['weights']} weights, on {result['device']}",
        f"{result['elapsed_seconds']:.0f} s elapsed, {result['cpu_seconds']:.0f} s of processor time",
        "continue with --resume" if is_late else "",
    ]
    print(f"{run}: {'; '.join(filter(None, parts))}")


@app.command(
    epilog=examples(
        "predict --run runs/sha_rnn --data test.json --out submission.csv",
        "predict --run runs/sha_rnn --run runs/mobilebert --data essays.csv --format jsonl --out found.jsonl",
    )
)
def predict(
    data: Annotated[Path, option("IN", "the essays; for a submission in the competition's JSON, else as for redact")],
    out: options.Out,
    run: options.Runs = None,
    train: options.Train = None,
    threshold: options.Threshold = None,
    recall: options.Recall = None,
    engine: options.Engine = "auto",
    format: Annotated[options.Format, option(None, "submission, JSON lines with spans, DocBin, or a page")] = "csv",
    text_column: options.TextColumn = None,
    minutes: Annotated[float | None, option("N", "finish in time, if need be with fewer models or rules alone")] = None,
) -> None:
    """Label essays with taggers and write a submission."""
    if minutes and format != "csv":
        raise KitError("--minutes needs --format csv: only a submission can be finished by rules")
    from pii_kit.documents import read_documents
    from pii_kit.kaggle import deadline_in
    from pii_kit.redact.essays import FORMS, read_essays

    if format == "csv" and (data.is_dir() or data.suffix.lower() in {*FORMS} - {".json"}):
        raise KitError(f"{data}: a submission needs the competition's JSON; for other essays add --format jsonl")
    check_output(out, data, train, *(run or ()))
    deadline = deadline_in(minutes)
    essays = None if format == "csv" else read_essays(data, text_column)
    documents = list(essays.documents.values()) if essays else read_documents(data)
    n_tokens = sum(len(document.tokens) for document in documents)
    _, tagger = load_tagger(run, threshold, train, recall, engine=engine, n_tokens=n_tokens)
    if essays:
        from pii_kit.convert import write_spans

        labelled = list(tagger.label_documents(documents))
        write_spans(out, format, labelled, essays.names if data.is_dir() else {})
        done = f"{sum(len(spans) for _, spans in labelled)} spans in {len(labelled)} documents"
    elif minutes:
        done = _write_in_time(tagger, documents, out, deadline)
    else:
        from tqdm import tqdm

        from pii_kit.submission import submission_rows, write_submission

        bar = tqdm(tagger.predict(documents), total=len(documents), desc="documents", mininterval=10)
        rows = submission_rows((document.number, tagger.decide(document, scores)) for document, scores in bar)
        write_submission(out, rows)
        done = f"{len(rows)} rows from {len(documents)} documents"
    print(f"{out}: {done}; {counted(len(tagger.members), 'model')}, P(O) < {tagger.o_threshold:g}")


def _write_in_time(tagger: "Tagger", documents: "list[Document]", out: Path, deadline: float) -> str:
    """Write a submission before the deadline, and return what was done."""
    from tempfile import TemporaryDirectory

    from pii_kit.files import atomic_write
    from pii_kit.kaggle.time_limit import label_in_time, write_early_submission

    with TemporaryDirectory() as scratch:
        partial = Path(scratch, "submission.csv")  # rows from rules must never be taken for a result
        rows = write_early_submission(partial, documents)  # for documents without time
        report = label_in_time(tagger, documents, partial, found=rows, deadline=deadline)
        with atomic_write(out) as handle:
            handle.write(partial.read_text(encoding="utf-8"))
    late = f" (out of time: {report.by_some_runs} by fewer runs, {report.by_rules} by rules alone)"
    return f"{report.rows} rows from {report.documents} documents{late * (report.by_all_runs < report.documents)}"


@app.command(epilog=examples("check --data test.json --submission submission.csv"))
def check(data: options.Data, submission: Submission) -> None:
    """Check a submission and list all errors."""
    from pii_kit.documents import read_documents
    from pii_kit.submission import read_submission

    rows = read_submission(submission, read_documents(data))
    print(f"{submission}: {len(rows)} rows, nothing wrong")


@app.command(
    epilog=examples(
        "score --data labelled.json --submission submission.csv",
        "score --data essays/test.json --labels essays/test_labels.csv --submission submission.csv --json",
    )
)
def score(
    data: options.Data,
    submission: Submission,
    labels: Annotated[Path | None, option("FILE.csv", "the true rows; default: the labels in --data")] = None,
    as_json: Annotated[bool, flag("--json", "print one JSON object")] = False,
) -> None:
    """Score a submission on labelled essays."""
    import json

    from pii_kit.documents import read_documents
    from pii_kit.metrics import as_dict, bootstrap_interval, micro_fbeta
    from pii_kit.submission import read_submission, true_rows

    documents = read_documents(data, labels_required=not labels)
    truth = read_submission(labels, documents) if labels else true_rows(documents)
    rows = read_submission(submission, documents)
    result = micro_fbeta(truth, rows)
    low, high = bootstrap_interval(truth, rows, [document.number for document in documents])
    if as_json:
        print(json.dumps({**as_dict(result), "f5_low": low, "f5_high": high}))
    else:
        print(f"F5 {result.f:.4f} (95% interval over documents {low:.3f} to {high:.3f})")
        print(f"precision {result.precision:.4f}, recall {result.recall:.4f}")
        print(f"correct rows {result.tp}, false rows {result.fp}, missed rows {result.fn}")


@app.command(epilog=examples("errors --run runs/sha_rnn --data train.json --out errors.html"))
def errors(
    data: options.Labelled,
    out: options.Out,
    run: options.Runs = None,
    train: options.Train = None,
    threshold: options.Threshold = None,
    recall: options.Recall = None,
) -> None:
    """Write a page of errors on labelled essays.

    Each essay is labelled by the taggers that did not train on it.
    """
    check_output(out, data, train, *(run or ()))
    from pii_kit.documents import read_documents
    from pii_kit.metrics import micro_fbeta
    from pii_kit.report.pages import write_error_page
    from pii_kit.submission import submission_rows, true_rows
    from pii_kit.training.out_of_fold import predict_unseen

    documents = read_documents(data, labels_required=True)
    runs, tagger = load_tagger(run, threshold, train, recall)
    unseen = predict_unseen(tagger, runs, documents)
    scored = [document for document, _ in unseen.predictions]
    labels = [tagger.decide(*pair) for pair in unseen.predictions]
    rows = submission_rows((doc.number, of_document) for doc, of_document in zip(scored, labels, strict=True))
    title = f"Errors of {' and '.join(folder.resolve().name for folder in runs)}"
    note = f"{unseen.counts()}. PII where P(O) < {tagger.o_threshold:g}."
    write_error_page(out, unseen.predictions, labels, title=title, note=note)
    is_chosen = options.thresholds(threshold)[0] is None and unseen.n_predicted < len(scored)
    high = " (optimistic: the threshold was chosen on these documents)" * is_chosen
    print(f"{out}: {unseen.counts()}: F5 {micro_fbeta(true_rows(scored), rows).f:.3f}{high}")


@app.command(
    epilog=examples(
        "export --run runs/sha_rnn --out exported/sha_rnn",
        "export --run runs/sha_rnn --out exported/sha_rnn --int8 train.json",
    )
)
def export(
    run: options.RunFolder,
    out: options.OutFolder,
    int8: Annotated[Path | None, option("FILE.json", "the training essays: 8 bits, if no more rows are missed")] = None,
) -> None:
    """Export a run to ONNX, as a folder that is a run too."""
    check_output(out, run, int8, folder=True)
    from pii_kit.documents import read_documents
    from pii_kit.training.out_of_fold import export_run

    labelled = read_documents(int8, labels_required=True) if int8 else None
    difference = export_run(run, out, int8=labelled)
    precision = f"in 8 bits it misses no more rows of {len(labelled)} essays; " if labelled is not None else ""
    print(f"{out}: exported; {precision}logits differ by {difference:.2g} at most from PyTorch's")
