"""Compare models: out-of-fold scores, baselines, cost, and figures that others published."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from pii_kit import models as cost
from pii_kit.documents import Document, read_documents
from pii_kit.files import KitError, read_json
from pii_kit.metrics import (
    Predictions,
    as_dict,
    bootstrap_interval,
    decided_rows,
    micro_fbeta,
    paired_bootstrap,
    row_set,
)
from pii_kit.models.network import TorchNetwork
from pii_kit.models.onnx import FILE as ONNX_FILE
from pii_kit.predict import Member, Tagger, fold_folders, load_member, predict_documents
from pii_kit.report.baselines import label_with_spacy, train_spacy_ner
from pii_kit.rules import DEFAULT_RULES, RULES
from pii_kit.submission import label_documents, read_submission, submission_rows, true_rows
from pii_kit.training.folds import load_folds_out_of_fold, validated_documents
from pii_kit.training.out_of_fold import OutOfFold, average_out_of_fold, labels_by_other_folds
from pii_kit.training.parallel import run_in_parallel
from pii_kit.training.runs import fingerprint

MODELS = {"SHA-RNN": "sha_rnn", "MobileBERT": "mobilebert", "encoder": "encoder"}


def find_runs(folders: Sequence[Path], documents: Sequence[Document]) -> dict[str, Path]:
    """Return, by the names of MODELS, the finished run of each model among run folders; exported runs do not count.

    There need not be a run of "encoder". Raises KitError if another model has no finished run, if a model has more than
    one, or if a run was not trained on `documents`.
    """
    finished = [run for run in folders if (run / "folds.json").exists() and (run / "result.json").exists()]
    finished = [run for run in finished if not any(run.rglob(ONNX_FILE))]  # an exported run is a copy of another
    runs, data = {}, fingerprint(documents)
    for name, model in MODELS.items():
        found = [run for run in finished if read_json(run / "folds.json")["model"] == model]
        if not found and model == "encoder":
            continue
        if len(found) != 1:
            where = f": {', '.join(map(str, found))}; move the others away" if found else "; train one first"
            raise KitError(f"expected one finished run of {name}, found {len(found)}{where}")
        if any(read_json(fold / "run.json")["data"] != data for fold in fold_folders(found[0])):
            raise KitError(f"{found[0]}: trained on other documents than the {len(documents)} given; use its own data")
        runs[name] = found[0]
    return runs


@dataclass(frozen=True)
class Comparison:
    """Out-of-fold predictions of several runs and their average, on the documents that every run scored.

    Predictions, decisions (`o_threshold` and `rules`, for new documents) and labels (document, token) are by name. The
    labels of each fold are decided with the threshold that was chosen on the other folds, so that the choice does not
    bias their score.
    """

    documents: list[Document]
    out_of_fold: dict[str, OutOfFold]
    decisions: dict[str, dict]
    labels: dict[str, list[list[str]]]

    def predictions(self, name: str) -> Predictions:
        """Return each document with its probabilities (token, label)."""
        return [(document, self.out_of_fold[name].of(document)) for document in self.documents]


def compare_out_of_fold(runs: Mapping[str, Path], documents: Sequence[Document], *, average: str) -> Comparison:
    """Load the out-of-fold predictions of runs and average them under the name `average`.

    The average's threshold for new documents is chosen with its rules, on all documents that every run scored;
    `labels` are decided fold by fold (the folds of the first run).
    Raises KitError if a run has no out-of-fold predictions, or if no document was scored by every run.
    """
    kept = {}
    for name, run in runs.items():
        of_run = load_folds_out_of_fold(run)
        if of_run is None:
            raise KitError(f"{run}: no out-of-fold probabilities in its folds; train the run again")
        kept[name] = of_run
    scored = [document for document in documents if all(of_run.holds(document) for of_run in kept.values())]
    if not scored:
        raise KitError(f"{', '.join(map(str, runs.values()))}: no document was scored by all; train the same folds")
    members = [_only(of_run, scored) for of_run in kept.values()]
    decisions = {name: read_json(run / "decision.json") for name, run in runs.items()}
    rules = list(dict.fromkeys(rule for decision in decisions.values() for rule in decision["rules"]))
    folds = [fold for fold in validated_documents(next(iter(runs.values())), scored) if fold]
    labels = {}
    groups = {**{name: [member] for name, member in zip(runs, members, strict=True)}, average: members}
    for name, group in groups.items():
        of_group = rules if name == average else decisions[name]["rules"]
        by_number, o_threshold = labels_by_other_folds(group, folds, of_group)
        labels[name] = [by_number[document.number] for document in scored]
    decisions[average] = {"o_threshold": o_threshold, "rules": rules}  # the last group's
    every = dict(zip([*runs, average], [*members, average_out_of_fold(members)], strict=True))
    return Comparison(scored, every, decisions, labels)


def _only(kept: OutOfFold, documents: Sequence[Document]) -> OutOfFold:
    numbers = [document.number for document in documents]
    scored, rows = np.isin(kept.documents, numbers), np.isin(kept.document, numbers)
    of_rows = (array[rows] for array in (kept.document, kept.token, kept.label, kept.probabilities))
    return OutOfFold(kept.documents[scored], kept.n_tokens[scored], *of_rows)


def spacy_out_of_fold(
    documents: Sequence[Document], run: Path, test: Sequence[Document] = (), *, epochs: int | None = None
) -> tuple[dict[int, list[str]], list[list[str]]]:
    """Return labels (token) of spaCy's NER, trained on the folds of a run, side by side.

    For each fold, spaCy trains on all documents except the fold's validation documents, with the fold's seed; `epochs`
    None: as many as the fold has. The labels of `documents` are by document number; those of `test` are of the first
    fold's pipeline.
    """
    folds = fold_folders(run)
    tasks = [
        partial(_label_with_spacy_fold, documents, fold, () if place else test, epochs)
        for place, fold in enumerate(folds)
    ]
    bar = tqdm(desc="spaCy's NER", total=len(tasks), unit="fold")
    of_folds = run_in_parallel(tasks, n_workers=min(torch.get_num_threads(), len(tasks)), bar=bar)
    return {number: labels for of_fold, _ in of_folds for number, labels in of_fold.items()}, of_folds[0][1]


def _label_with_spacy_fold(
    documents: Sequence[Document], fold: Path, test: Sequence[Document], epochs: int | None
) -> tuple[dict[int, list[str]], list[list[str]]]:
    manifest = read_json(fold / "run.json")
    validation = set(manifest["validation"])
    training = [document for document in documents if document.number not in validation]
    settings = manifest["train"]
    pipeline = train_spacy_ner(training, seed=settings["seed"], epochs=epochs or settings["epochs"])
    held_out = (document for document in documents if document.number in validation)
    labels = {document.number: label_with_spacy(pipeline, document) for document in held_out}
    return labels, [label_with_spacy(pipeline, document) for document in test]


def f5_of_test(
    runs: Mapping[str, Path],
    comparison: Comparison,
    test: Sequence[Document],
    *,
    average: str,
    baselines: Mapping[str, Sequence[Sequence[str]]],
) -> pd.Series:
    """Return F5 on labelled test documents as `test_f5`: of each run, its folds averaged, of the average, and of the
    labels (document, token) of `baselines`.
    """
    of_runs = {name: [scores for _, scores in Tagger.load(run).predict(test)] for name, run in runs.items()}
    means = [np.mean(of_document, axis=0) for of_document in zip(*of_runs.values(), strict=True)]
    truth, numbers = true_rows(test), [document.number for document in test]
    rows = {name: submission_rows(zip(numbers, labels, strict=True)) for name, labels in baselines.items()}
    for name, scores in {**of_runs, average: means}.items():
        rows[name] = decided_rows(list(zip(test, scores, strict=True)), **comparison.decisions[name])
    return pd.Series({name: micro_fbeta(truth, of_name).f for name, of_name in rows.items()}, name="test_f5")


def labelled_test_documents(folder: Path) -> list[Document]:
    """Return a folder's test documents with the labels of test_labels.csv or test.json; [] if there are no labels."""
    test = read_documents(folder / "test.json")
    if (folder / "test_labels.csv").is_file():
        return label_documents(test, read_submission(folder / "test_labels.csv", test))
    return test if all(document.labels is not None for document in test) else []


def score_table(truth: pd.DataFrame, submissions: Mapping[str, pd.DataFrame], documents: Sequence[int]) -> pd.DataFrame:
    """Return f5, precision, recall, tp, fp, fn, and the interval f5_low to f5_high of each submission."""
    lines = {}
    for name, rows in submissions.items():
        low, high = bootstrap_interval(truth, rows, documents)
        lines[name] = {**as_dict(micro_fbeta(truth, rows)), "f5_low": low, "f5_high": high}
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("model")


def cost_table(runs: Mapping[str, Path], documents: Sequence[Document]) -> pd.DataFrame:
    """Return the cost of each run: size, operations, training seconds, and tokens labelled per second.

    `elapsed_seconds` is wall-clock time, `cpu_seconds` processor time, `epoch_seconds` one epoch of one fold.
    """
    lines = {}
    for name, run in runs.items():
        member = load_member(fold_folders(run)[0], devices=["cpu"], engine="torch")
        assert isinstance(member.network, TorchNetwork)  # `find_runs` leaves out exported runs
        model = member.network.model
        result = read_json(run / "result.json")
        lines[name] = {
            "parameters": model.num_parameters(),
            "GFLOPs for 512 pieces": cost.flops(model, n_pieces=512) / 1e9,
            **{seconds: result[seconds] for seconds in ("elapsed_seconds", "cpu_seconds", "epoch_seconds")},
            "tokens_per_second": tokens_per_second(member, documents),
        }
    return pd.DataFrame.from_dict(lines, orient="index")


def tokens_per_second(member: Member, documents: Sequence[Document], *, repeats: int = 3) -> float:
    """Return the tokens labelled per second, tokenization included, in the fastest of `repeats` repetitions."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        for _ in predict_documents([member], documents):
            pass
        seconds.append(time.perf_counter() - began)
    return sum(len(document.tokens) for document in documents) / min(seconds)


def agreement(
    truth: pd.DataFrame, first: pd.DataFrame, second: pd.DataFrame, *, names: tuple[str, str]
) -> pd.DataFrame:
    """Count true rows and false alarms by which of two submissions contains them."""
    true, one, two = map(row_set, (truth, first, second))
    who = {"both": one & two, f"only {names[0]}": one - two, f"only {names[1]}": two - one}
    lines = {name: (len(rows & true), len(rows - true)) for name, rows in who.items()}
    lines["neither"] = (len(true - one - two), 0)
    return pd.DataFrame.from_dict(lines, orient="index", columns=["true rows", "false alarms"])


def rule_table(predictions: Predictions, *, o_threshold: float) -> pd.DataFrame:
    """Return how each rule alone changes F5, correct rows (tp) and false alarms (fp), and if it is on by default."""
    truth = true_rows(document for document, _ in predictions)
    before = micro_fbeta(truth, decided_rows(predictions, o_threshold=o_threshold))
    lines = {}
    for name in RULES:
        after = micro_fbeta(truth, decided_rows(predictions, o_threshold=o_threshold, rules=[name]))
        lines[name] = (after.f - before.f, after.tp - before.tp, after.fp - before.fp, name in DEFAULT_RULES)
    columns = ["f5_change", "tp_change", "fp_change", "default"]
    return pd.DataFrame.from_dict(lines, orient="index", columns=columns).rename_axis("rule")


def verdict(
    truth: pd.DataFrame,
    submissions: Mapping[str, pd.DataFrame],
    documents: Sequence[int],
    *,
    baselines: Collection[str],
    average: str,
) -> str:
    """Return a Markdown list that compares the models with each other, the average and the best baseline."""
    f5 = {name: micro_fbeta(truth, rows).f for name, rows in submissions.items()}
    baseline = max(baselines, key=lambda name: f5[name])
    models = sorted((name for name in f5 if name not in (*baselines, average)), key=lambda name: -f5[name])
    pairs = [(models[0], models[-1]), (average, models[0]), *((name, baseline) for name in models)]
    lines = []
    for one, two in pairs:
        low, high = paired_bootstrap(truth, submissions[one], submissions[two], documents)
        place = "above" if f5[one] > f5[two] else "below" if f5[one] < f5[two] else "equal to"
        chance = " The interval contains 0: the difference may be chance." if low <= 0 <= high else ""
        lines.append(
            f"- {one} is {place} {two}: F5 {f5[one]:.3f} and {f5[two]:.3f}, a difference of {f5[one] - f5[two]:+.3f} "
            f"(95% interval {low:+.3f} to {high:+.3f}).{chance}"
        )
    return "\n".join(lines)
