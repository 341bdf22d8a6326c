"""`python -m pii_kit train|predict|export|errors`: the arguments of these verbs, and what they print."""

import argparse
from dataclasses import replace
from pathlib import Path

from pii_kit.cli import add_runs, add_verb, positive, share, whole
from pii_kit.data import read_documents
from pii_kit.files import KitError
from pii_kit.kaggle import deadline_in
from pii_kit.kaggle.time_limit import Labelled, label_in_time, write_early_submission
from pii_kit.metrics import micro_fbeta
from pii_kit.report.error_page import write_error_page
from pii_kit.submission import submission_rows, true_rows
from pii_kit.training.config import DEFAULT_PRESET, PRESETS
from pii_kit.training.ensemble import export_run, load_ensemble, predict_unseen, teach
from pii_kit.training.folds import train_everywhere
from pii_kit.training.parallel import rank_state, working_devices


def _device() -> str:
    return working_devices()[0]


def train(args: argparse.Namespace) -> None:
    if bool(args.teacher) != bool(args.unlabelled):
        raise KitError("--teacher and --unlabelled go together: the runs that teach, and the essays they label")
    documents = read_documents(args.data, labels_required=True)
    taught = teach(args.teacher, read_documents(args.unlabelled), device=_device()) if args.teacher else None
    result = train_everywhere(
        args.model,
        documents,
        args.run,
        preset=args.preset,
        folds=None if args.fold is None else [args.fold],
        resume=args.resume,
        deadline=deadline_in(args.minutes).at,
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
    ensemble = load_ensemble(args.run, device=_device())
    if args.o_threshold:
        ensemble = replace(ensemble, o_threshold=args.o_threshold)
    found = write_early_submission(args.out, documents)
    done = label_in_time(ensemble, documents, args.out, found=found, deadline=deadline)
    models = f"{done.models} models, P(O) < {ensemble.o_threshold:g}"
    print(f"{args.out}: {done.rows} rows from {done.documents} documents; {models}{_too_late(done)}")


def _too_late(done: Labelled) -> str:
    if done.by_all_models == done.documents:
        return ""
    return f"; for want of time {done.by_fewer_models} documents by fewer models, {done.by_rules_alone} by rules alone"


def export(args: argparse.Namespace) -> None:
    difference = export_run(args.run, args.out)
    print(f"{args.out}: exported; logits differ by {difference:.2g} at most from PyTorch's")


def errors(args: argparse.Namespace) -> None:
    documents = read_documents(args.data, labels_required=True)
    ensemble = load_ensemble(args.run, device=_device())
    unseen = predict_unseen(ensemble, args.run, documents)
    shown = [document for document, _ in unseen.predictions]
    labels = [ensemble.label(*pair) for pair in unseen.predictions]
    rows = submission_rows((document.document, found) for document, found in zip(shown, labels, strict=True))
    write_error_page(
        args.out,
        shown,
        [scores for _, scores in unseen.predictions],
        labels,
        title=f"Errors of {' and '.join(run.resolve().name for run in args.run)}",
        note=f"{unseen.counts()}. PII where P(O) < {ensemble.o_threshold:g}.",
    )
    print(f"{args.out}: {unseen.counts()}: F5 {micro_fbeta(true_rows(shown), rows).f:.3f}")


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
    verb.add_argument("--data", type=Path, required=True, metavar="TEST.json", help="essays")
    verb.add_argument("--out", type=Path, required=True, metavar="FILE.csv", help="the submission")
    verb.add_argument("--o-threshold", type=share, metavar="P", help="PII where P(O) is less; default: as trained")

    verb.add_argument(
        "--minutes",
        type=positive,
        metavar="M",
        help="be done in so many, with fewer models if need be",
    )

    verb = add_verb(verbs, export, "a trained tagger to ONNX, as a folder that predict takes like a run's")
    verb.add_argument("--run", type=Path, required=True, metavar="DIR", help="the run's folder")
    verb.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")

    verb = add_verb(
        verbs, errors, "a page of the errors of trained taggers on labelled essays, none of which they were trained on"
    )
    add_runs(verb)
    verb.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="LABELLED.json",
        help="labelled essays; those of the training are shown by what was said of them out of fold",
    )
    verb.add_argument("--out", type=Path, required=True, metavar="PAGE.html", help="the page; any browser shows it")
