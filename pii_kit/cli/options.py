"""Options that several verbs share, checks of their values, and the tagger that they choose."""

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pii_kit.files import KitError
from pii_kit.labels import PII_TYPES

if TYPE_CHECKING:
    from pii_kit.predict import Tagger

MODELS = ("sha_rnn", "mobilebert", "encoder")
ENGINES = ("auto", "torch", "onnx", "onnx-int8")


def new_app(text: str) -> typer.Typer:
    """Return an app with plain help, without completion and without tracebacks of its own."""
    plain: dict[str, Any] = {"add_completion": False, "pretty_exceptions_enable": False, "rich_markup_mode": None}
    return typer.Typer(help=text, subcommand_metavar="VERB [OPTIONS]", **plain)


def examples(*commands: str) -> str:
    r"""Return the end of a verb's help; `\b` keeps its lines as they are."""
    return "\n".join(["\b", "Examples:", *(f"  pii-kit {command}" for command in commands)])


def option(metavar: str, text: str, *names: str, **settings: Any) -> Any:
    """Return an option that takes a value."""
    return typer.Option(*names, metavar=metavar, help=text, **settings)


def flag(name: str, text: str) -> Any:
    """Return an option without a value."""
    return typer.Option(name, help=text)


def choice(names: Sequence[str], text: str) -> Any:
    """Return an option that takes one of `names`."""

    def check(value: str | None) -> str | None:
        if value is not None and value not in names:
            raise typer.BadParameter(f"{value!r} is not valid; expected one of {', '.join(names)}")
        return value

    return option("|".join(names), text, callback=check)


def number(metavar: str, text: str, *, low: float = 0, high: float = math.inf) -> Any:
    """Return an option that takes a finite number above `low` and up to `high`."""

    def check(value: float | None) -> float | None:
        if value is not None and not (low < value <= high and value < math.inf):
            raise typer.BadParameter(f"{value:g}; expected a number above {low:g}{f' and up to {high:g}' * (high < 9)}")
        return value

    return option(metavar, text, callback=check)


def pairs(name: str, values: Sequence[str] | None) -> dict[str, str]:
    """Return the keys and values of an option that is repeated as KEY=VALUE."""
    found = {}
    for text in values or ():
        key, equals, found[key] = text.rpartition("=")
        if not (key and equals):
            raise typer.BadParameter(f"expected KEY=VALUE, found {text!r}", param_hint=name)
    return found


def thresholds(values: Sequence[str] | None) -> tuple[float | None, dict[str, float]]:
    """Return the threshold of --threshold P, and those of --threshold TYPE=P by type."""
    limits: dict[str, float] = {}
    for text in values or ():
        pii_type, equals, value = text.rpartition("=")
        try:
            limits[pii_type] = float(value)
        except ValueError:
            limits[pii_type] = math.nan
        if not 0 < limits[pii_type] <= 1 or (equals and pii_type not in PII_TYPES):
            expected = f"P above 0 and up to 1, or TYPE=P with one of {', '.join(PII_TYPES)}"
            raise typer.BadParameter(f"expected {expected}; found {text!r}", param_hint="--threshold")
    return limits.pop("", None), limits


Data = Annotated[Path, option("FILE.json", "the essays, in the competition's JSON")]
Labelled = Annotated[Path, option("FILE.json", "labelled essays, in the competition's JSON", "--data")]
Texts = Annotated[
    Path, option("IN", "the essays: JSON, JSON lines, csv, parquet or text, or a folder of text files", "--data")
]
TextColumn = Annotated[str | None, option("NAME", "the column or field of the text; default: full_text or text")]
Out = Annotated[Path, option("FILE", "the file to write")]
OutFolder = Annotated[Path, option("DIR", "the folder to write; new or empty", "--out")]
RunFolder = Annotated[Path, option("DIR", "folder of the run", "--run")]
Runs = Annotated[
    list[Path] | None,
    option(
        "DIR", "folder of a run or of an exported run; repeat to average; default: the tagger that comes with the kit"
    ),
]
Train = Annotated[
    Path | None, option("FILE.json", "what the runs were trained on, to choose the threshold of several runs")
]
Threshold = Annotated[
    list[str] | None,
    option(
        "P|TYPE=P",
        "a token is PII where P(O) is lower; TYPE=P for tokens of a type; default: as chosen in training",
        callback=lambda values: thresholds(values) and values,
    ),
]
Recall = Annotated[
    float | None,
    number("SHARE", "with --train: use the lowest threshold that finds this share of rows out of fold", high=1),
]
Engine = Annotated[str, choice(ENGINES, "auto: onnx on a CPU if it is installed and the essays are many, else torch")]
Minutes = Annotated[float | None, number("N", "finish in this time")]
Seed = Annotated[int, option("S", "random seed: equal seeds give equal results", min=0)]
Resume = Annotated[bool, flag("--resume", "continue the unfinished run in the folder")]
Mentions = Annotated[
    str, choice(("all", "labelled"), "replace all mentions of a labelled string, or labelled ones alone")
]


def counted(count: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "model"), counted(2, "model")
    ('1 model', '2 models')
    """
    return f"{count} {noun}{'s' * (count != 1)}"


def load_tagger(
    run: Sequence[Path] | None,
    threshold: Sequence[str] | None = None,
    train: Path | None = None,
    recall: float | None = None,
    **settings: Any,
) -> "tuple[list[Path], Tagger]":
    """Load what the shared options choose; return it with its runs. Without a run, say that it is the kit's own.

    `settings` are others of `Tagger.load`.
    """
    o_threshold, by_type = thresholds(threshold)
    if recall and o_threshold:
        raise KitError("--recall chooses the threshold that --threshold P sets; expected one of them")
    if recall and not train:
        raise KitError("--recall needs --train FILE.json, the essays that the runs were trained on")
    from pii_kit.documents import read_documents
    from pii_kit.predict import DEFAULT_RUN, Tagger

    if not run:
        note = "using the tagger that comes with the kit, trained on made-up essays like those of `sample`"
        print(f"no --run: {note}; `train` makes a better one from your own labelled essays", file=sys.stderr)
    runs = list(run or [DEFAULT_RUN])
    documents = read_documents(train, labels_required=True) if train else []
    if train and not any(document.types for document in documents):
        raise KitError(f"{train}: no document has PII; expected the labels that the runs were trained on")
    tagger = Tagger.load(*runs, o_threshold=o_threshold, thresholds=by_type, **settings)
    if documents and len(runs) > 1 and not (o_threshold or recall):
        from pii_kit.training.out_of_fold import choose_threshold

        tagger = replace(tagger, o_threshold=choose_threshold(runs, documents, tagger.rules))
    if recall:
        from pii_kit.metrics import recall_bound
        from pii_kit.training.out_of_fold import threshold_for_recall

        chosen, found = threshold_for_recall(runs, documents, tagger.rules, recall)
        tagger = replace(tagger, o_threshold=chosen)
        counts = f"{found.tp} of {found.tp + found.fn} rows out of fold, and {found.fp} other tokens"
        bound = recall_bound(found.tp, found.fn)
        print(f"P(O) < {tagger.o_threshold:g} finds {counts}; 95% lower bound of recall: {bound:.3f}")
    return runs, tagger
