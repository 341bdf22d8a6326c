"""Measure the kit beside its peers on this machine: `make bench`, or `python -m tests.benchmarks --help`.

Everything runs in a process of its own, in turns with its peer, so that a machine that is slow for a while is slow for
both. bench.json has all figures, bench.png a picture of them.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd

from pii_kit.documents import Document, document_of_text, join_tokens, write_documents
from pii_kit.files import KitError, atomic_folder, read_json, write_json
from pii_kit.report import plots
from pii_kit.sample import make_documents

DEMO = Path(__file__).parents[2] / "outputs" / "demo"
KIT, WORK = (sys.executable, "-m", "pii_kit"), (sys.executable, "-m", "tests.benchmarks.work")
PACKAGES = ("torch", "transformers", "tokenizers", "onnxruntime", "spacy", "numpy")
SIZES = ((100, 100), (1_000, 100), (10_000, 100), (100, 1_000), (10, 10_000), (1, 100_000))  # documents, tokens in each
LENGTH = 2.8  # made-up documents are then as long as the competition's
N_LONG = 32  # documents that models are measured on


@dataclass(frozen=True)
class Measure:
    """A command of the kit beside a peer's, which may handle another number of `units` (tokens or texts).

    `value` is what counts: "wall", "cpu" (processor seconds), "alone" (seconds without loading) or "peak" (MiB). The
    ratio of a `speed` says how many times as fast the kit is, other ratios how many times as much the kit takes.
    """

    name: str
    kit: Sequence[object]
    peer: Sequence[object]
    value: str
    units: tuple[float, float] = (1, 1)
    speed: bool = True


def run(command: Sequence[object]) -> dict[str, float]:
    """Run a command; return its wall-clock and processor seconds, its peak memory, and the seconds that it printed."""
    began = time.perf_counter()
    with TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
        process = subprocess.Popen(list(map(str, command)), stdout=output, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        for file in (output, errors):
            file.seek(0)
        if process.returncode:
            raise KitError(f"{' '.join(map(str, command[2:]))[:200]}: {errors.read().strip()[-500:]}")
        last = output.read().strip().rpartition("\n")[2]
    measured = {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss / 1024}
    return measured | (json.loads(last) if last.startswith('{"alone"') else {})


def in_turns(measures: Sequence[Measure], repeats: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each measure: medians over turns of both values by unit, and the median ratio of a turn."""
    for measure in measures:
        print(measure.name, file=sys.stderr)
        turns = [(run(measure.kit)[measure.value], run(measure.peer)[measure.value]) for _ in range(repeats)]
        table = pd.DataFrame(turns, columns=["kit", "peer"]) / list(measure.units)
        ratios = table["peer"] / table["kit"] if measure.speed else table["kit"] / table["peer"]
        medians = 1 / table.median() if measure.speed else table.median()
        row = {"measure": measure.name, "value": measure.value, **medians, "ratio": ratios.median()}
        yield row | {"lowest": ratios.min(), "highest": ratios.max(), "turns": turns}


def cut_documents(source: Sequence[Document], n_documents: int, length: int) -> list[Document]:
    """Return documents of `length` tokens each, cut from a text that repeats."""
    pairs = cycle(pair for doc in source for pair in zip(doc.tokens, doc.trailing_whitespace, strict=True))
    texts = (join_tokens(*zip(*islice(pairs, length), strict=True)) for _ in range(n_documents))
    return [document_of_text(text, number) for number, text in enumerate(texts)]


def measures_of(folder: Path, runs: Sequence[Path], train: Path | None, args: argparse.Namespace) -> Iterator[Measure]:
    """Yield what is measured; the files that it needs are written into a folder first."""
    source = make_documents(N_LONG, seed=0, length=LENGTH)
    n_tokens = sum(len(document.tokens) for document in source)
    data = {name: folder / f"{name}.json" for name in ("long", "many", "short", "few")}
    write_documents(data["long"], source)
    write_documents(data["many"], cut_documents(source, args.tokens // 700, 700))
    write_documents(data["short"], cut_documents(source, args.texts, 20))
    write_documents(data["few"], cut_documents(source, 10, 20))
    torch = (*WORK, "import_torch")
    redact = (*KIT, "redact", "--mode", "type", "--data")
    yield Measure("ten texts redacted", (*redact, data["few"], "--out", folder / "few.out"), torch, "cpu", speed=False)
    yield Measure("train --help", (*KIT, "train", "--help"), torch, "cpu", speed=False)
    presidio = (*WORK, "redact_presidio", data["short"])
    short = (*redact, data["short"], "--out", folder / "short.out")
    yield Measure("short texts redacted, texts/s: Presidio", short, presidio, "wall", (args.texts, args.texts))

    essays = train or data["long"]
    run((*WORK, "train_spacy", essays, folder / "spacy", 40 if train else 1))
    predict = (*KIT, "predict", "--format", "jsonl")
    whole = (*predict, "--data", data["many"], "--out", folder / "many.out")
    small, every = (n_tokens, n_tokens), (args.tokens, args.tokens)
    spacy = {name: (*WORK, "label_spacy", folder / "spacy", data[name], 1) for name in ("long", "many")}
    yield Measure("default tagger, whole process, tokens/s: spaCy's NER", whole, spacy["many"], "wall", every)
    once, many = (*predict, "--data", data["long"], "--out", folder / "long.out"), whole
    name = f"default tagger, peak MiB for {args.tokens:,} tokens: {n_tokens:,} tokens"
    yield Measure(name, many, once, "peak", speed=False)
    for path in runs:
        whole = (*predict, "--run", path, "--data", data["many"], "--out", folder / "run.out")
        yield Measure(f"{path.name}, whole process, tokens/s: spaCy's NER", whole, spacy["many"], "wall", every)
        for engine in ("onnx", "onnx-int8"):
            alone = (*WORK, "label", engine, data["long"], path)
            yield Measure(f"{path.name}, {engine}, tokens/s: spaCy's NER", alone, spacy["long"], "alone", small)
            config = read_json(next(path.glob("fold_*/tagger/config.json")))
            if "encoder" in config and len(list(path.glob("fold_*"))) == 1:
                peer = (*WORK, "label_pipeline", path, data["long"])
                yield Measure(f"{path.name}, {engine}, tokens/s: pipeline", alone, peer, "alone", small)
        if args.training and train:
            kit = (*WORK, "train_kit", read_json(path / "run.json")["model"], train)
            yield Measure(
                f"{path.name}, training: Trainer", kit, (*WORK, "train_trainer", path, train, folder), "alone"
            )


def curves(folder: Path, runs: Sequence[Path], repeats: int) -> pd.DataFrame:
    """Return the median seconds of spaCy's NER, the default tagger and runs for each of SIZES."""
    source, rows = make_documents(N_LONG, seed=0, length=LENGTH), []
    for n_documents, length in SIZES:
        data = folder / "curve.json"
        write_documents(data, cut_documents(source, n_documents, length))
        subjects = {path.name: (*WORK, "label", "onnx", data, path) for path in runs}
        subjects |= {"default tagger": (*WORK, "label", "onnx", data)}
        subjects |= {"spaCy's NER": (*WORK, "label_spacy", folder / "spacy", data, 1)}
        print(f"{n_documents} documents of {length} tokens", file=sys.stderr)
        turns = [{name: run(command)["alone"] for name, command in subjects.items()} for _ in range(repeats)]
        for name, seconds in pd.DataFrame(turns).median().items():
            rows.append({"name": name, "documents": n_documents, "length": length, "seconds": seconds})
    return pd.DataFrame(rows)


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": next(iter(names), platform.processor()),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {one.name: one.version for one in distributions() if one.name in PACKAGES},
    }


def draw(table: pd.DataFrame, growth: pd.DataFrame) -> plt.Figure:
    """Draw the ratios, and seconds by number and by length of documents."""
    with plt.rc_context(plots.STYLE):
        figure, (ratios, by_number, by_length) = plt.subplots(1, 3, figsize=(18, 1.5 + 0.3 * len(table)))
    ratios.barh(table["measure"], table["ratio"])
    ratios.bar_label(ratios.containers[0], fmt="%.2f", padding=3)
    ratios.invert_yaxis()
    ratios.set(xlabel="times the peer", xscale="log")
    for ax, column, fixed in ((by_number, "documents", "length"), (by_length, "length", "documents")):
        for name, lines in growth.groupby("name", sort=False):
            lines = lines[lines["length"] == 100] if fixed == "length" else lines.drop(index=lines.index[1:3])
            ax.plot(lines[column], lines["seconds"], marker="o", label=name)
        ax.set(xscale="log", yscale="log", xlabel=column, ylabel="seconds")
        ax.legend()
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, action="append", help="folder of a run; default: those of `make demo`")
    parser.add_argument(
        "--train", type=Path, help="essays that the runs were trained on, for spaCy's NER and --training"
    )
    parser.add_argument("--training", action="store_true", help="measure training too")
    parser.add_argument("--only", default="", help="only measures whose name contains this")
    parser.add_argument("--tokens", type=int, default=300_000, help="tokens that whole processes label")
    parser.add_argument("--texts", type=int, default=5_000, help="short texts that are redacted")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("outputs/bench"))
    args = parser.parse_args()
    runs = args.run or sorted(path.parent for path in DEMO.glob("runs/*/run.json") if any(path.parent.glob("fold_*")))
    train = args.train or next(iter(DEMO.glob("essays/train.json")), None)
    about = {"machine": machine(), "repeats": args.repeats}
    with TemporaryDirectory() as scratch:
        measures = [one for one in measures_of(Path(scratch), runs, train, args) if args.only in one.name]
        table = pd.DataFrame(in_turns(measures, args.repeats))
        growth = pd.DataFrame() if args.only else curves(Path(scratch), runs, min(args.repeats, 3))
    print(table.drop(columns="turns").to_string(index=False, float_format="{:,.2f}".format))
    with atomic_folder(args.out) as inside:
        write_json(
            inside / "bench.json", about | {"measures": table.to_dict("records"), "curves": growth.to_dict("records")}
        )
        if len(growth):
            print(growth.to_string(index=False))
            draw(table, growth).savefig(inside / "bench.png")


if __name__ == "__main__":
    main()
