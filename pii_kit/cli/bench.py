"""`python -m pii_kit bench`: the speed of runs on this machine, beside peers."""

import argparse
import json
from pathlib import Path

from pii_kit.cli import add_verb, whole
from pii_kit.cli.data import CHECKOUT
from pii_kit.data import read_documents
from pii_kit.files import KitError, atomic_folder, write_json
from pii_kit.predict import ENGINES
from pii_kit.report.bench import N_DOCUMENTS, Bench, long_documents, run_bench
from pii_kit.report.compare import labelled_test_documents
from pii_kit.report.plots import plot_growth, plot_speed

COLUMNS = {
    "documents_per_second": ("documents/s", "{:,.1f}"),
    "tokens_per_second": ("tokens/s", "{:,.0f}"),
    "times_spacy": ("× spaCy", "{:.2f}"),
    "times_pipeline": ("× pipeline", "{:.2f}"),
    "peak_mib": ("peak MiB", "{:,.0f}"),
    "f5": ("F5", "{:.3f}"),
    "floor_tokens_per_second": ("floor tokens/s", "{:,.0f}"),
    "share_of_floor": ("of the floor", "{:.0%}"),
    "setting": ("fastest setting", "{}"),
}
RESULT = "bench.json"
MEASURED = [engine for engine in ENGINES if engine != "auto"]


def bench(args: argparse.Namespace) -> None:
    if args.out.exists() and not (args.out / RESULT).exists():
        raise KitError(f"{args.out}: exists already and is no result of bench; choose a new folder")
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
    done = run_bench(
        runs,
        engines=args.engine or MEASURED,
        documents=labelled[:N_DOCUMENTS] if args.data else long_documents(),
        labelled=labelled,
        training=training,
        repeats=args.repeats,
    )
    text = as_text(done)
    with atomic_folder(args.out) as inside:
        tables = {"lines": done.lines.reset_index(), "curves": done.curves}
        records = {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}
        write_json(inside / RESULT, {**done.about, **records})
        (inside / "bench.txt").write_text(text, encoding="utf-8")
        plots = {
            "speed": plot_speed(done.lines),
            "number": plot_growth(done.curves.query("length == 100"), by="documents"),
            "length": plot_growth(done.curves.query("documents <= 100"), by="length"),
        }
        for name, ax in plots.items():
            ax.figure.savefig(inside / f"{name}.png", dpi=120)
    print(f"{text}\n{args.out}: {RESULT}, bench.txt, {', '.join(f'{name}.png' for name in plots)}")


def as_text(done: Bench) -> str:
    """Return the machine, both tables and what their columns mean, as text."""
    machine, about = done.about["machine"], done.about
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    shown = {column: title for column, (title, _) in COLUMNS.items() if column in done.lines}
    table = done.lines.assign(setting=done.lines["setting"].fillna("")).rename(columns=shown)[list(shown.values())]
    formats = {title: form.format for title, form in COLUMNS.values()}
    curves = done.curves.pivot(index=["documents", "length"], columns="name", values="seconds")
    ratios = done.curves.pivot(index=["documents", "length"], columns="name", values="times_spacy")
    f5 = f"F5: {about['f5_documents']} documents with {about['f5_rows']} rows, which no run was trained on."
    return f"""\
{machine["processor"]}, {machine["cores"]} cores, load average {machine["load_average"][0]:.1f}; {versions}
fp32 matrix product: {about["matrix_product_flops"] / 1e9:,.0f} GFLOP/s

{table.to_string(formatters=formats, na_rep="")}

Medians of {about["repeats"]} turns. × spaCy, × pipeline: tokens per second over those of the peer in the same turns.
Peak MiB: the whole process, libraries included. Floor: the time of a tagger's fp32 matrix products alone.
{f5 if about["f5_documents"] else "No F5: it needs labelled documents that no run was trained on (--data)."}

Seconds by number of documents and their length in tokens:
{curves[done.curves["name"].unique()].to_string(float_format="{:.2f}".format)}

Times as fast as spaCy's NER:
{ratios[done.curves["name"].unique()].to_string(float_format="{:.2f}".format)}
"""


def add_bench_verb(verbs) -> None:
    """Add the verb bench."""
    text = "measure how fast runs predict on this machine, beside spaCy's NER and transformers' pipeline"
    verb = add_verb(verbs, bench, text)
    text = "folder of a run; repeat for several; default: those of `make demo`"
    verb.add_argument("--run", type=Path, action="append", metavar="DIR", help=text)
    text = "labelled essays: speed on the first ones, F5 on those that no run was trained on; default: made-up essays"
    verb.add_argument("--data", type=Path, metavar="LABELLED.json", help=text)
    text = "essays to train spaCy's NER on, for its F5"
    verb.add_argument("--train", type=Path, metavar="TRAIN.json", help=text)
    text = "what computes the models; repeat for several; default: all"
    verb.add_argument("--engine", action="append", choices=MEASURED, help=text)
    verb.add_argument("--repeats", type=whole(1), default=5, metavar="N", help="number of turns of each line")
    text = "folder for bench.json, bench.txt and plots; an earlier result there is replaced"
    verb.add_argument("--out", type=Path, default=Path("outputs/bench"), metavar="DIR", help=text)
