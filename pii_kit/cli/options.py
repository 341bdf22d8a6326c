"""Options that several verbs share, and the tagger that they choose."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pii_kit.files import KitError

if TYPE_CHECKING:
    from pii_kit.predict import Tagger

# Written down here because the help must import nothing slow; a test compares them with the package.
Model = Literal["sha_rnn", "mobilebert", "encoder"]
Form = Literal["doccano", "label-studio", "conll"]
Format = Literal["csv", "jsonl", "docbin", "html"]
Mode = Literal["mask", "type", "surrogate", "hash"]


def new_app(text: str) -> typer.Typer:
    """Return an app with plain help, without completion and without tracebacks of its own."""
    plain: dict[str, Any] = {"add_completion": False, "pretty_exceptions_enable": False, "rich_markup_mode": None}
    return typer.Typer(help=text, subcommand_metavar="VERB [OPTIONS]", **plain)


def examples(*commands: str) -> str:
    r"""Return the end of a verb's help; `\b` keeps its lines as they are."""
    return "\n".join(["\b", "Examples:", *(f"  pii-kit {command}" for command in commands)])


def option(metavar: str | None, text: str, *names: str, **settings: Any) -> Any:
    """Return an option that takes a value. Without a metavar, the help shows the type."""
    return typer.Option(*names, metavar=metavar, help=text, **settings)


def flag(name: str, text: str) -> Any:
    """Return an option without a value."""
    return typer.Option(name, help=text)


Data = Annotated[Path, option("FILE.json", "the essays, in the competition's JSON")]
Labelled = Annotated[Path, option("FILE.json", "labelled essays, in the competition's JSON", "--data")]
Texts = Annotated[
    Path, option("IN", "the essays: JSON, JSON lines, csv, parquet or text, or a folder of text files", "--data")
]
TextColumn = Annotated[str | None, option("NAME", "column or field of the text; default: full_text or text")]
Out = Annotated[Path, option("FILE", "the file to write")]
OutFolder = Annotated[Path, option("DIR", "the folder to write; new or empty", "--out")]
RunFolder = Annotated[Path, option("DIR", "folder of the run", "--run")]
Runs = Annotated[
    list[Path] | None,
    option("DIR", "folder of a run; repeatable: runs are averaged; default: the tagger that comes with the kit"),
]
Train = Annotated[
    Path | None, option("FILE.json", "labelled essays of the training, to choose the threshold of several runs")
]
Threshold = Annotated[
    list[str] | None,
    option(
        "P|TYPE=P",
        "a token is PII if P(O), its probability to be none, is below P; TYPE=P: for one PII type; repeatable",
    ),
]
Recall = Annotated[
    float | None,
    option("SHARE", "with --train: use the lowest threshold that finds this share of PII out of fold", min=0, max=1),
]
Engine = Annotated[
    Literal["auto", "torch", "onnx", "onnx-int8"],
    option(None, "auto: onnx on a CPU if it is installed and the essays are many, else torch"),
]
Minutes = Annotated[float | None, option("N", "finish in this time")]
Seed = Annotated[int, option("S", "random seed: equal seeds give equal results", min=0)]
Resume = Annotated[bool, flag("--resume", "continue the unfinished run in the folder")]
Mentions = Annotated[
    Literal["all", "labelled"], option(None, "replace all mentions of what is labelled, or only the labelled ones")
]


def pairs(name: str, values: Sequence[str] | None) -> dict[str, str]:
    """Return the keys and values of an option that is repeated as KEY=VALUE."""
    content = {}
    for text in values or ():
        key, equals, content[key] = text.rpartition("=")
        if not (key and equals):
            raise typer.BadParameter(f"expected KEY=VALUE, found {text!r}", param_hint=name)
    return content


def thresholds(values: Sequence[str] | None) -> tuple[float | None, dict[str, float]]:
    """Return the threshold of --threshold P, and those of --threshold TYPE=P by type. `Tagger.load` checks them."""
    limits: dict[str, float] = {}
    for text in values or ():
        pii_type, _, value = text.rpartition("=")
        try:
            limits[pii_type] = float(value)
        except ValueError:
            raise KitError(f"--threshold {text}: expected P or TYPE=P, with P from 0 to 1") from None
    return limits.pop("", None), limits


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: "1 model", "2 models"."""
    return f"{count} {noun}{'s' * (count != 1)}"


def load_tagger(
    run: Sequence[Path] | None, threshold: Sequence[str] | None, train: Path | None, recall: float | None, **how: Any
) -> "tuple[list[Path], Tagger]":
    """Load what the shared options choose; return the runs and their tagger. `how` goes to `Tagger.load`."""
    o_threshold, by_type = thresholds(threshold)
    if recall and (o_threshold or not train):
        raise KitError("--recall chooses the threshold on --train FILE.json; give that, and no --threshold P")
    from pii_kit.documents import read_documents
    from pii_kit.predict import DEFAULT_RUN, Tagger

    if not run:
        note = "using the tagger that comes with the kit, trained on made-up essays like those of `sample`"
        print(f"no --run: {note}; `train` makes a better one from your own labelled essays", file=sys.stderr)
    runs = list(run or [DEFAULT_RUN])
    documents = read_documents(train, labels_required=True) if train else []
    if train and not any(document.types for document in documents):
        raise KitError(f"{train}: no document has PII; expected the labels that the runs were trained on")
    tagger = Tagger.load(*runs, o_threshold=o_threshold, thresholds=by_type, **how)
    if recall:
        from pii_kit.metrics import recall_bound
        from pii_kit.training.out_of_fold import threshold_for_recall

        o_threshold, score = threshold_for_recall(runs, documents, tagger.rules, recall)
        counts = f"{score.tp} of {score.tp + score.fn} rows out of fold, and {score.fp} other tokens"
        bound = recall_bound(score.tp, score.fn)
        print(f"P(O) < {o_threshold:g} finds {counts}; 95% lower bound of recall: {bound:.3f}")
    elif documents and len(runs) > 1 and not o_threshold:
        from pii_kit.training.out_of_fold import choose_threshold

        o_threshold = choose_threshold(runs, documents, tagger.rules)
    return runs, tagger if o_threshold is None else replace(tagger, o_threshold=o_threshold)
