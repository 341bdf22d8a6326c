"""`python -m pii_kit train|predict|export|errors`: the arguments of these verbs, and what they print."""

import argparse
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tqdm import tqdm

from pii_kit.cli import add_path, add_runs, add_verb, counted, given_threshold, positive, whole
from pii_kit.cli.interchange import add_format, check_not_input, write_found
from pii_kit.documents import DataWarning, iterate_documents, read_documents
from pii_kit.files import KitError, atomic_write
from pii_kit.kaggle import deadline_in
from pii_kit.kaggle.time_limit import label_in_time, write_early_submission
from pii_kit.metrics import micro_fbeta, recall_bound
from pii_kit.predict import ENGINES, Ensemble
from pii_kit.redact.forms import FORMS, read_files
from pii_kit.redact.release import items_of
from pii_kit.report.error_page import write_error_page
from pii_kit.submission import submission_rows, true_rows, write_submission
from pii_kit.training import PRESETS, RANDOM, default_preset, look_up
from pii_kit.training.cascade import make_cascade
from pii_kit.training.ensemble import DEFAULT_RUN, export_run, load_ensemble, predict_labelled, teach, with_recall
from pii_kit.training.folds import train_everywhere
from pii_kit.training.parallel import end_ranks, rank_state, working_devices
from pii_kit.training.settings import list_settings


def train(args: argparse.Namespace) -> None:
    settings = {name: getattr(args, name) for name in ("epochs", "learning_rate", "batch_size", "seed")}
    changes = dict(args.changes or ())
    for name, value in settings.items():
        if value is not None and name in changes:
            raise KitError(f"--set {name} and --{name.replace('_', '-')} are one setting; expected one of them")
    settings["changes"] = changes
    if args.list_settings:
        preset = look_up(args.model, args.preset or default_preset(args.model), **settings)
        rows = list_settings(preset, args.model)
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for name, value, about in rows:
            print(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {about}".rstrip())
        return
    if args.unlabelled and not args.teacher:
        raise KitError("--unlabelled needs --teacher: the runs that label these essays")
    documents = read_documents(args.data, labels_required=True)
    extra = [document for path in args.extra or () for document in read_documents(path, labels_required=True)]
    taught = None
    if args.unlabelled:
        options = {"mixed_data": args.mixed_data, "device": working_devices()[0]}
        taught = teach(args.teacher, read_documents(args.unlabelled), **options)
    result = train_everywhere(
        args.model,
        documents,
        args.run,
        preset=args.preset,
        folds=None if args.fold is None else [args.fold],
        resume=args.resume,
        deadline=deadline_in(args.minutes),
        n_processes=args.processes,
        weights=args.weights,
        extra=extra,
        taught=taught,
        teachers=() if args.unlabelled else args.teacher or (),
        **settings,
    )
    is_main_process = rank_state().is_main_process
    end_ranks()
    if not is_main_process:
        return
    interval = f"95% interval {result['f5_low']:.3f} to {result['f5_high']:.3f}"
    n_true = result["tp"] + result["fn"]
    scored = f"F5 {result['f5']:.3f} out of fold on {result['n_documents']} documents ({interval}); "
    scored += f"{result['fn']} of {n_true} rows missed (95% lower bound of recall: {result['recall_bound']:.2f})"
    if taught:
        scored += "; too high if the teachers learned from these documents: score it on others"
    seconds = f"{result['elapsed_seconds']:.0f} s elapsed, {result['cpu_seconds']:.0f} s of processor time"
    if "n_finished" in result:
        so_far = f"{result['n_finished']} folds finished, {result['n_models']} models so far"
        print(f"{args.run}: the time ran out: {so_far}; {scored}; {seconds}; continue with --resume")
    else:
        weights = "random weights" if result["weights"] == RANDOM else f"weights {result['weights']}"
        start = f"started from {weights}"
        print(
            f"{args.run}: {scored}; {counted(result['n_models'], 'model')}, {start}; {seconds}, on {result['device']}"
        )


def predict(args: argparse.Namespace) -> None:
    deadline = deadline_in(args.minutes)
    is_submission = args.format == "csv"
    if args.minutes and not is_submission:
        raise KitError("--minutes needs --format csv: only a submission can be finished by rules")
    if is_submission and (args.data.is_dir() or args.data.suffix.lower() in {*FORMS} - {".json"}):
        raise KitError(f"{args.data}: a submission needs the competition's JSON; for other essays add --format jsonl")
    if not is_submission:
        check_not_input(args.out, args.data)
    files = [] if is_submission else read_files(args.data)
    documents = iterate_documents(args.data) if is_submission else (item.document for item in items_of(files))
    lengths = [len(document.tokens) for document in documents]  # checks the whole file before anything is labelled
    ensemble = load_runs(args)
    ensemble = ensemble.with_engine(args.engine, n_tokens=sum(lengths))
    if args.cascade:
        ensemble, recalls = make_cascade(ensemble, args.run)
        for number, stage in enumerate(recalls, start=1):
            kept = f"{stage.n_passed} of {stage.n_rows} rows out of fold"
            print(f"stage {number} passes on tokens with P(O) < {stage.pass_below:g}: {kept}")
    if not is_submission:
        write_found(args, files, ensemble)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # said when the file was checked
        if args.minutes or len(working_devices()) > 1:
            write_in_time(args, ensemble, deadline)
        else:
            write_rows(args, ensemble, n_documents=len(lengths))


def write_rows(args: argparse.Namespace, ensemble: Ensemble, n_documents: int) -> None:
    """Write a submission while the documents are read, so that memory does not grow with their number."""
    predicted = ensemble.predict(iterate_documents(args.data))
    bar = tqdm(predicted, total=n_documents, desc="documents", mininterval=10)
    rows = submission_rows((document.number, ensemble.label(document, scores)) for document, scores in bar)
    write_submission(args.out, rows)
    print(f"{args.out}: {len(rows)} rows from {n_documents} documents; {counted(ensemble.n_models, 'model')}, ", end="")
    print(f"P(O) < {ensemble.o_threshold:g}")


def write_in_time(args: argparse.Namespace, ensemble: Ensemble, deadline: float) -> None:
    """Write a submission before a deadline, or on several GPUs; both need all documents in memory."""
    documents = read_documents(args.data)
    with TemporaryDirectory() as scratch:
        partial = Path(scratch, "submission.csv")  # rows from rules must never be taken for a result
        found = write_early_submission(partial, documents) if args.minutes else {}  # for documents without time
        done = label_in_time(ensemble, documents, partial, found=found, deadline=deadline)
        with atomic_write(args.out) as handle:
            handle.write(partial.read_text(encoding="utf-8"))
    print(f"{args.out}: {done.rows} rows from {done.documents} documents; {counted(done.models, 'model')}, ", end="")
    late = f"; out of time: {done.by_fewer_models} documents by fewer models, {done.by_rules} by rules alone"
    print(f"P(O) < {ensemble.o_threshold:g}{late if done.by_all_models < done.documents else ''}")


def use_default_run(args: argparse.Namespace) -> None:
    """Choose the tagger that comes with the kit, and tell the user what it is."""
    args.run = [DEFAULT_RUN]
    print(
        "no --run: using the tagger that comes with the kit, trained on made-up essays like those of `sample`; "
        "`train` makes a better one from your own labelled essays",
        file=sys.stderr,
    )


def load_runs(args: argparse.Namespace) -> Ensemble:
    """Load the ensemble that the arguments of `add_runs` choose; with --recall, print what its threshold finds."""
    if args.recall and given_threshold(args):
        raise KitError("--recall chooses the threshold that --threshold P sets; expected one of them")
    if not args.run:
        use_default_run(args)
    if args.recall and not args.train:
        raise KitError("--recall needs --train TRAIN.json, the essays that the runs were trained on")
    documents = read_documents(args.train, labels_required=True) if args.train else []
    if args.train and not any(document.types for document in documents):
        raise KitError(f"{args.train}: no document has PII; expected the labels that the runs were trained on")
    ensemble = load_ensemble(args.run, documents=documents, mixed_data=args.mixed_data, device=working_devices()[0])
    if args.recall:
        ensemble, found = with_recall(ensemble, args.run, documents, args.recall)
        counts = f"{found.tp} of {found.tp + found.fn} rows out of fold, and {found.fp} other tokens"
        bound = recall_bound(found.tp, found.fn)
        print(f"P(O) < {ensemble.o_threshold:g} finds {counts}; 95% lower bound of recall: {bound:.3f}")
    limits = dict(args.threshold or ())
    return replace(ensemble, o_threshold=limits.pop(None, ensemble.o_threshold), by_type=limits)


def export(args: argparse.Namespace) -> None:
    labelled = read_documents(args.int8, labels_required=True) if args.int8 else None
    difference = export_run(args.run, args.out, int8=labelled)
    precision = f"in 8 bits it misses no more rows of {len(labelled)} essays; " if labelled is not None else ""
    print(f"{args.out}: exported; {precision}logits differ by {difference:.2g} at most from PyTorch's")


def errors(args: argparse.Namespace) -> None:
    documents = read_documents(args.data, labels_required=True)
    ensemble = load_runs(args)
    found = predict_labelled(ensemble, args.run, documents)
    shown, scores = [document for document, _ in found.predictions], [scores for _, scores in found.predictions]
    labels = [ensemble.label(*pair) for pair in found.predictions]
    rows = submission_rows((doc.number, of_document) for doc, of_document in zip(shown, labels, strict=True))
    title = f"Errors of {' and '.join(run.resolve().name for run in args.run)}"
    note = f"{found.counts()}. PII where P(O) < {ensemble.o_threshold:g}."
    write_error_page(args.out, shown, scores, labels, title=title, note=note)
    is_chosen = not given_threshold(args) and found.n_predicted < len(shown)
    high = " (optimistic: the threshold was chosen on these documents)" * is_chosen
    print(f"{args.out}: {found.counts()}: F5 {micro_fbeta(true_rows(shown), rows).f:.3f}{high}")


def _change(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, found {text!r}")
    return name, value


class _Listing(argparse.Action):
    """Note that settings are to be listed, which needs no files."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, True)
        for action in parser._actions:
            action.required = action.required and action.dest == "model"


def add_train(verbs, text: str) -> None:
    """Add the verb train."""
    examples = [
        "--model sha_rnn --data train.json --run runs/sha_rnn",
        "--model sha_rnn --data train.json --run runs/wide --set model.hidden_size=192 --set model.boom_size=768",
    ]
    verb = add_verb(verbs, train, text, *examples)
    text = "SHA-RNN, MobileBERT, or any pretrained encoder of transformers"
    verb.add_argument("--model", choices=list(PRESETS), required=True, help=text)
    add_path(verb, "--data", "TRAIN.json", "labelled essays")
    text = "more labelled essays, which every fold trains on and none is scored on; repeat for several files"
    verb.add_argument("--extra", type=Path, action="append", metavar="MORE.json", help=text)
    add_path(verb, "--run", "DIR", "folder of the run")
    presets = sorted({name for of_model in PRESETS.values() for name in of_model})
    verb.add_argument("--preset", choices=presets, help="model size and settings; default: cpu (encoder: default)")
    verb.add_argument("--fold", type=whole(0), metavar="K", help="train only the tagger that fold K validates")
    verb.add_argument("--epochs", type=whole(1), metavar="N", help="replaces the preset's value")
    verb.add_argument("--learning-rate", type=positive, metavar="RATE", help="replaces the preset's value")
    verb.add_argument("--batch-size", type=whole(1), metavar="N", help="in windows; replaces the preset's value")
    verb.add_argument("--seed", type=whole(0), metavar="S", help="random seed; default: 0")
    text = "replaces any setting, such as class_weights=.2, augment=none or model.hidden_size=192; repeat for several"
    verb.add_argument("--set", dest="changes", type=_change, action="append", metavar="NAME=VALUE", help=text)
    text = "list all names for --set with their values and what they are, and do nothing else"
    verb.add_argument("--list-settings", action=_Listing, nargs=0, default=False, help=text)
    text = "pretrained weights, for model encoder and mobilebert's preset published (default there: download them)"
    verb.add_argument("--weights", metavar="FOLDER_OR_HUB_NAME", help=text)
    text = "learn also from this run's predictions, fold by fold; repeat to average several runs"
    verb.add_argument("--teacher", type=Path, action="append", metavar="DIR", help=text)
    verb.add_argument("--mixed-data", action="store_true", help="allow teachers that were trained on different essays")
    verb.add_argument(
        "--unlabelled",
        type=Path,
        metavar="FILE.json",
        help="essays that the whole teacher labels instead; labels in the file are ignored",
    )
    text = "number of processes that share each batch; default: one for each GPU"
    verb.add_argument("--processes", type=whole(1), metavar="N", help=text)
    verb.add_argument("--minutes", type=positive, metavar="N", help="save everything and stop in time; see --resume")
    verb.add_argument("--resume", action="store_true", help="resume the unfinished run in the folder")


def add_predict(verbs, text: str) -> None:
    """Add the verb predict."""
    examples = [
        "--run runs/sha_rnn --data test.json --out submission.csv",
        "--run runs/sha_rnn --run runs/mobilebert --train train.json --data test.json --out submission.csv --cascade",
    ]
    verb = add_verb(verbs, predict, text, *examples)
    add_runs(verb)
    add_path(verb, "--data", "TEST.json", "the essays to label")
    add_path(verb, "--out", "FILE", "the file to write")
    add_format(verb)
    text = "finish in N minutes; where time is short, fewer models or rules alone label an essay"
    verb.add_argument("--minutes", type=positive, metavar="N", help=text)
    text = "save time: one small model reads everything, the others only what it and smaller ones find suspect"
    verb.add_argument("--cascade", action="store_true", help=text)
    text = "inference engine; auto: onnx on a CPU if its packages are there and the essays are many, else torch"
    verb.add_argument("--engine", choices=ENGINES, default="auto", help=text)


def add_export(verbs, text: str) -> None:
    """Add the verb export."""
    example = "--run runs/sha_rnn --out exported/sha_rnn"
    verb = add_verb(verbs, export, text, example, f"{example} --int8 train.json")
    add_path(verb, "--run", "DIR", "folder of the run")
    add_path(verb, "--out", "DIR", "folder to write to; it must not exist")
    text = "round weights to 8 bits; refused if that misses more rows out of fold of the essays that the run trained on"
    verb.add_argument("--int8", type=Path, metavar="TRAIN.json", help=text)


def add_errors(verbs, text: str) -> None:
    """Add the verb errors."""
    verb = add_verb(verbs, errors, text, "--run runs/sha_rnn --data train.json --out errors.html")
    add_runs(verb)
    text = "labelled essays; the training essays are shown with their out-of-fold predictions"
    add_path(verb, "--data", "LABELLED.json", text)
    add_path(verb, "--out", "PAGE.html", "the page, for any browser")
