"""`python -m pii_kit train|predict|export|errors`: the arguments of these verbs, and what they print."""

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from pii_kit.cli import add_runs, add_verb, positive, share, whole
from pii_kit.data import read_documents
from pii_kit.files import KitError, atomic_write
from pii_kit.kaggle import deadline_in
from pii_kit.kaggle.time_limit import Labelled, label_in_time, write_early_submission
from pii_kit.metrics import micro_fbeta
from pii_kit.report.error_page import write_error_page
from pii_kit.submission import submission_rows, true_rows
from pii_kit.training import DEFAULT_PRESET, PRESETS
from pii_kit.training.ensemble import export_run, load_ensemble, predict_labelled, teach
from pii_kit.training.folds import train_everywhere
from pii_kit.training.parallel import rank_state, working_devices


def _device() -> str:
    return working_devices()[0]


def train(args: argparse.Namespace) -> None:
    if bool(args.teacher) != bool(args.unlabelled):
        raise KitError("--teacher and --unlabelled go together: the runs that teach, and the essays they label")
    documents = read_documents(args.data, labels_required=True)
    taught = None
    if args.teacher:
        unlabelled = read_documents(args.unlabelled)
        taught = teach(args.teacher, unlabelled, mixed_data=args.mixed_data, device=_device())
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
        epochs=args.epochs,
        seed=args.seed,
        learning_rate=args.learning_rate,
        batch_size=args.batch_size,
        patience=args.patience,
        checkpoint_steps=args.checkpoint_steps,
        taught=taught,
    )
    if not rank_state().is_main_process:
        return
    interval = f"95% interval {result['f5_low']:.3f} to {result['f5_high']:.3f}"
    scored = f"F5 {result['f5']:.3f} out of fold on {result['n_documents']} documents ({interval})"
    seconds = f"{result['elapsed_seconds']:.0f} s elapsed, {result['cpu_seconds']:.0f} s of processor time"
    if "n_finished" in result:
        so_far = f"{result['n_finished']} folds finished, {result['n_models']} models so far"
        print(f"{args.run}: the time ran out: {so_far}; {scored}; {seconds}; continue with --resume")
    else:
        start = f"started from weights {result['weights']}"
        print(f"{args.run}: {scored}; {result['n_models']} models, {start}; {seconds}, on {result['device']}")


def predict(args: argparse.Namespace) -> None:
    deadline = deadline_in(args.minutes)
    documents = read_documents(args.data)
    training = read_documents(args.train, labels_required=True) if args.train else []
    ensemble = load_ensemble(args.run, documents=training, mixed_data=args.mixed_data, device=_device())
    if args.o_threshold:
        ensemble = replace(ensemble, o_threshold=args.o_threshold)
    with TemporaryDirectory() as scratch:
        partial = Path(scratch, "submission.csv")  # rows from rules must never be taken for a result
        found = write_early_submission(partial, documents)
        done = label_in_time(ensemble, documents, partial, found=found, deadline=deadline)
        with atomic_write(args.out) as handle:
            handle.write(partial.read_text(encoding="utf-8"))
    models = f"{done.models} models, P(O) < {ensemble.o_threshold:g}"
    print(f"{args.out}: {done.rows} rows from {done.documents} documents; {models}{_not_by_all(done)}")


def _not_by_all(done: Labelled) -> str:
    if done.by_all_models == done.documents:
        return ""
    return f"; out of time: {done.by_fewer_models} documents by fewer models, {done.by_rules} by rules alone"


def export(args: argparse.Namespace) -> None:
    difference = export_run(args.run, args.out)
    print(f"{args.out}: exported; logits differ by {difference:.2g} at most from PyTorch's")


def errors(args: argparse.Namespace) -> None:
    documents = read_documents(args.data, labels_required=True)
    training = read_documents(args.train, labels_required=True) if args.train else []
    ensemble = load_ensemble(args.run, documents=training, mixed_data=args.mixed_data, device=_device())
    found = predict_labelled(ensemble, args.run, documents)
    shown = [document for document, _ in found.predictions]
    labels = [ensemble.label(*pair) for pair in found.predictions]
    rows = submission_rows((doc.document, of_document) for doc, of_document in zip(shown, labels, strict=True))
    write_error_page(
        args.out,
        shown,
        [scores for _, scores in found.predictions],
        labels,
        title=f"Errors of {' and '.join(run.resolve().name for run in args.run)}",
        note=f"{found.counts()}. PII where P(O) < {ensemble.o_threshold:g}.",
    )
    print(f"{args.out}: {found.counts()}: F5 {micro_fbeta(true_rows(shown), rows).f:.3f}")


def add_tagger_verbs(verbs) -> None:
    """Add the verbs train, predict, export and errors."""
    verb = add_verb(verbs, train, "train taggers on labelled essays, one for each fold")
    verb.add_argument("--model", choices=list(PRESETS), required=True, help="which of the two models")
    verb.add_argument("--data", type=Path, required=True, metavar="TRAIN.json", help="labelled essays")
    verb.add_argument("--run", type=Path, required=True, metavar="DIR", help="folder of the run")
    presets = sorted({name for of_model in PRESETS.values() for name in of_model})
    verb.add_argument("--preset", choices=presets, default=DEFAULT_PRESET, help="model size and settings")
    verb.add_argument("--fold", type=whole(0), metavar="K", help="train only the tagger that fold K validates")
    verb.add_argument("--epochs", type=whole(1), metavar="N", help="replaces the preset's value")
    verb.add_argument("--learning-rate", type=share, metavar="RATE", help="replaces the preset's value")
    verb.add_argument(
        "--batch-size", type=whole(1), metavar="N", help="windows in a batch; replaces the preset's value"
    )
    verb.add_argument("--patience", type=whole(1), metavar="N", help="stop after N epochs without a better F5")
    verb.add_argument("--checkpoint-steps", type=whole(1), metavar="N", help="number of batches between checkpoints")
    verb.add_argument("--seed", type=whole(0), default=0, metavar="S", help="random seed")
    verb.add_argument(
        "--weights",
        metavar="DIR",
        help="with the preset published: folder of MobileBERT's weights, or 'random'; default: download them",
    )
    verb.add_argument(
        "--teacher",
        type=Path,
        action="append",
        metavar="DIR",
        help="train also on this run's predictions for the unlabelled essays; repeat to average several runs",
    )
    verb.add_argument("--mixed-data", action="store_true", help="allow teachers that were trained on different essays")
    verb.add_argument("--unlabelled", type=Path, metavar="FILE.json", help="essays for the teacher; labels are ignored")
    verb.add_argument(
        "--processes",
        type=whole(1),
        metavar="N",
        help="number of processes that share each batch; default: one for each GPU",
    )
    verb.add_argument("--minutes", type=positive, metavar="N", help="save everything and stop in time; see --resume")
    verb.add_argument("--resume", action="store_true", help="resume the unfinished run in the folder")

    verb = add_verb(verbs, predict, "label essays with trained taggers and write a submission")
    add_runs(verb)
    verb.add_argument("--data", type=Path, required=True, metavar="TEST.json", help="the essays to label")
    verb.add_argument("--out", type=Path, required=True, metavar="FILE.csv", help="the submission to write")
    verb.add_argument(
        "--train",
        type=Path,
        metavar="TRAIN.json",
        help="the labelled essays that the runs were trained on, to choose the weights of several runs",
    )
    verb.add_argument("--mixed-data", action="store_true", help="average runs that were trained on different essays")
    verb.add_argument(
        "--o-threshold",
        type=share,
        metavar="P",
        help="a token is PII where P(O) is lower; default: as chosen in training",
    )
    verb.add_argument(
        "--minutes",
        type=positive,
        metavar="N",
        help="finish in N minutes; where time is short, fewer models or rules alone label an essay",
    )

    verb = add_verb(verbs, export, "export a trained run to ONNX, into a folder that predict takes like a run's")
    verb.add_argument("--run", type=Path, required=True, metavar="DIR", help="the run's folder")
    verb.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to; it must not exist")

    verb = add_verb(
        verbs, errors, "write a page of errors on labelled essays, using only taggers that did not train on the essay"
    )
    add_runs(verb)
    verb.add_argument(
        "--train",
        type=Path,
        metavar="TRAIN.json",
        help="the essays that the runs were trained on, to choose weights and threshold of several runs",
    )
    verb.add_argument("--mixed-data", action="store_true", help="allow runs that were trained on different essays")
    verb.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="LABELLED.json",
        help="labelled essays; those of the training are shown with their out-of-fold predictions",
    )
    verb.add_argument("--out", type=Path, required=True, metavar="PAGE.html", help="the page, for any browser")
