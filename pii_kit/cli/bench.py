"""`python -m pii_kit bench`: the speed of runs, or of training, on this machine, beside peers."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd

from pii_kit.cli import add_verb, whole
from pii_kit.cli.demo import CHECKOUT
from pii_kit.documents import read_documents
from pii_kit.files import KitError, atomic_folder, write_json
from pii_kit.predict import ENGINES
from pii_kit.report.bench import N_DOCUMENTS, N_PIPELINE, SIZES, long_documents, run_bench
from pii_kit.report.bench_training import training_speed
from pii_kit.report.compare import labelled_test_documents
from pii_kit.report.plots import plot_growth, plot_speed
from pii_kit.report.timing import machine

COLUMNS = {
    "documents": ("documents", "{:,}"),
    "length": ("length", "{:,}"),
    "seconds": ("seconds", "{:.2f}"),
    "documents_per_second": ("documents/s", "{:,.1f}"),
    "tokens_per_second": ("tokens/s", "{:,.0f}"),
    "times_spacy": ("× spaCy", "{:.2f}"),
    "times_pipeline": ("× pipeline", "{:.2f}"),
    "peak_mib": ("peak MiB", "{:,.0f}"),
    "f5": ("F5", "{:.3f}"),
    "limit_tokens_per_second": ("limit tokens/s", "{:,.0f}"),
    "share_of_limit": ("of the limit", "{:.0%}"),
    "setting": ("fastest setting", "{}"),
}
TRAINING_COLUMNS = {
    "model": ("model", "{}"),
    "kit_pieces_per_second": ("kit", "{:,.0f}"),
    "trainer_pieces_per_second": ("Trainer", "{:,.0f}"),
    "times_trainer": ("× Trainer", "{:.2f}"),
    "lowest": ("lowest", "{:.2f}"),
    "padding": ("padding", "{:.1%}"),
    "folds_side_by_side": ("folds", "{}"),
}
TRAINING_NOTE = """\
The kit trains several folds side by side and augments the essays in each epoch. transformers' Trainer trains one model
with all threads, on windows that are ready-made. Model, batch size and precision are the same."""
RESULT = "bench.json"
MEASURED = [engine for engine in ENGINES if engine != "auto"]


def bench(args: argparse.Namespace) -> None:
    if args.out.exists() and not (args.out / RESULT).exists():
        raise KitError(f"{args.out}: exists already and is no result of bench; choose a new folder")
    if args.weights and not args.training:
        raise KitError("--weights needs --training: prediction is measured with the weights of --run")
    if args.training:
        bench_training(args)
        return
    runs, labelled, training = args.run, [], []
    if args.data:
        labelled = read_documents(args.data, labels_required=True)
    if args.train:
        training = read_documents(args.train, labels_required=True)
    if not runs:
        demo = CHECKOUT / "outputs" / "demo"
        runs = sorted(folds.parent for folds in demo.glob("runs/*/folds.json"))
        if not runs:
            raise KitError(f"{demo / 'runs'}: no trained runs; run `make demo` first, or choose runs with --run DIR")
        if not args.data:
            labelled = labelled_test_documents(demo / "essays")
            training = training or read_documents(demo / "essays" / "train.json", labels_required=True)
    lines, curves, about = run_bench(
        runs,
        engines=args.engine or MEASURED,
        documents=labelled[:N_DOCUMENTS] if args.data else long_documents(),
        labelled=labelled,
        training=training,
        repeats=args.repeats,
    )
    text = as_text(lines, curves, about)
    figure, (top, middle, bottom) = plt.subplots(
        3, figsize=(9, 8 + len(lines) / 4), height_ratios=[1 + len(lines) / 14, 1, 1], layout="constrained"
    )
    plot_speed(lines, top)
    plot_growth(curves[curves["length"] == SIZES[0][1]], by="documents", ax=middle)
    plot_growth(curves[curves["documents"] <= SIZES[0][0]], by="length", ax=bottom)
    with atomic_folder(args.out) as inside:
        tables = {"lines": lines.reset_index(), "curves": curves}
        records = {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}
        write_json(inside / RESULT, {**about, **records})
        (inside / "bench.txt").write_text(text, encoding="utf-8")
        figure.savefig(inside / "bench.png", dpi=120)
    plt.close(figure)
    print(f"{text}\n{args.out}: {RESULT}, bench.txt, bench.png")


def bench_training(args: argparse.Namespace) -> None:
    """Print how fast models train beside transformers' Trainer, and write it to bench.json."""
    documents = read_documents(args.training, labels_required=True)
    wanted: list[tuple[str, str | None]] = [("sha_rnn", None), ("mobilebert", None)]
    wanted += [("encoder", args.weights)] if args.weights else []
    lines = [training_speed(model, documents, weights=weights, repeats=args.repeats) for model, weights in wanted]
    columns = {name: title for name, (title, _) in TRAINING_COLUMNS.items()}
    formats = {title: form.format for title, form in TRAINING_COLUMNS.values()}
    table = pd.DataFrame(lines)[[*columns]].rename(columns=columns).to_string(formatters=formats, index=False)
    with atomic_folder(args.out) as inside:
        write_json(inside / RESULT, {"machine": machine(), "repeats": args.repeats, "training": lines})
    print(f"{table}\n\nMedians of {args.repeats} repetitions, pieces per second without padding.\n{TRAINING_NOTE}")
    print(f"{args.out}: {RESULT}")


def as_text(lines: pd.DataFrame, curves: pd.DataFrame, about: Mapping[str, Any]) -> str:
    """Return the machine and both tables as text, with what their columns mean."""
    here = about["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in here["versions"].items())
    f5 = f"F5 is on {about['f5_documents']} documents with {about['f5_rows']} rows, which no run was trained on."
    return f"""\
{here["processor"]}, {here["cores"]} cores, load average {here["load_average"][0]:.1f}; {versions}
fp32 matrix product: {about["matrix_product_flops"] / 1e9:,.0f} GFLOP/s

{_as_text(lines)}

Medians of {about["repeats"]} repetitions. × spaCy, × pipeline: tokens/s as a multiple of the peer's in the same one.
Pipeline: transformers' token-classification with the weights of the same fold, on {N_PIPELINE} of the documents.
Peak MiB is that of the whole process, libraries included. Limit: the matrix products of a tagger in fp32, alone.
{f5 if about["f5_documents"] else "There is no F5: it needs labelled documents that no run was trained on (--data)."}

{_as_text(curves.set_index("name"))}
"""


def _as_text(table: pd.DataFrame) -> str:
    shown = {column: title for column, (title, _) in COLUMNS.items() if column in table}
    formats = {title: form.format for title, form in COLUMNS.values()}
    return table.rename(columns=shown)[list(shown.values())].to_string(formatters=formats, na_rep="")


def add_bench(verbs, text: str) -> None:
    """Add the verb bench."""
    runs = "--run runs/sha_rnn --data labelled.json --train train.json"
    verb = add_verb(verbs, bench, text, "", f"{runs} --engine torch --engine onnx --out bench")
    text = "folder of a run; repeat for several; default: those of `make demo`"
    verb.add_argument("--run", type=Path, action="append", metavar="DIR", help=text)
    text = "labelled essays: speed on the first ones, F5 on those that no run was trained on; default: made-up essays"
    verb.add_argument("--data", type=Path, metavar="LABELLED.json", help=text)
    text = "the essays that the runs were trained on, to train spaCy's NER on, for its F5"
    verb.add_argument("--train", type=Path, metavar="TRAIN.json", help=text)
    text = "what computes the models; repeat for several; default: all"
    verb.add_argument("--engine", action="append", choices=MEASURED, help=text)
    text = "measure how fast the models train on these essays instead, beside transformers' Trainer"
    verb.add_argument("--training", type=Path, metavar="LABELLED.json", help=text)
    text = "with --training: a pretrained encoder, to train that too"
    verb.add_argument("--weights", metavar="FOLDER_OR_HUB_NAME", help=text)
    verb.add_argument("--repeats", type=whole(1), default=5, metavar="N", help="repetitions of each measurement")
    text = "folder for bench.json, bench.txt and bench.png; an earlier result there is replaced"
    verb.add_argument("--out", type=Path, default=Path("outputs/bench"), metavar="DIR", help=text)
