"""Compare models: scores out of fold, baselines, cost, and the original project's claims."""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pii_kit import models as cost
from pii_kit.data import Document, read_documents, split_documents
from pii_kit.files import read_json
from pii_kit.labels import OUTSIDE
from pii_kit.metrics import (
    BETA,
    Predictions,
    Score,
    as_dict,
    bootstrap_interval,
    decided_rows,
    micro_fbeta,
)
from pii_kit.predict import Tagger, predict_documents
from pii_kit.report.baselines import label_with_spacy, train_spacy_ner
from pii_kit.rules import DEFAULT_RULES, RULES
from pii_kit.submission import label_documents, read_submission, submission_rows, true_rows
from pii_kit.training.ensemble import load_ensemble
from pii_kit.training.folds import load_folds_out_of_fold
from pii_kit.training.out_of_fold import OutOfFold, average_out_of_fold, choose_weights

# Settings and results of the seed project: its README's claim, and what its public code and logs show.
SEED_SETTINGS = {
    "learning rate": {"sha_rnn": ("1e-2", "1e-2"), "mobilebert": ("1e-2", "4e-4; 1e-3 exploded")},
    "class weights": {"sha_rnn": ("log", "log"), "mobilebert": ("balanced", "balanced")},
    "optimizer": {"sha_rnn": ("AdamW", "AdamW, decay 1.2e-6"), "mobilebert": ("AdamW", "AdamW, decay 1.2e-6")},
    "dropout": {"sha_rnn": ("0.3", "0.3"), "mobilebert": ("0.3", "hidden 0, attention 0.1")},
    "warm-up, epochs": {"sha_rnn": ("1", "1"), "mobilebert": ("1", "1")},
    "schedule": {
        "sha_rnn": ("cosine, warm restarts", "full restarts"),
        "mobilebert": ("cosine, warm restarts", "loss .08 → 1428 at the first restart"),
    },
    "attention layers": {"sha_rnn": ("4", "4"), "mobilebert": ("3", "24")},
    "attention heads": {"sha_rnn": ("1", "1"), "mobilebert": ("4", "4")},
    "embedding size": {"sha_rnn": ("1024", "1024"), "mobilebert": ("128", "128")},
}
SEED_RESULTS = {
    "F5, seed's definition": {
        "sha_rnn": ("0.7", "O everywhere: 69% of its documents hold no PII"),
        "mobilebert": ("0.98", "per document, PII or not, 0/0 = 1, averaged"),
    },
    "precision, seed's definition": {
        "sha_rnn": ("0", "another checkpoint: one type everywhere"),
        "mobilebert": ("0.84", "same definition"),
    },
    "recall, seed's definition": {
        "sha_rnn": ("1", "another checkpoint: one type everywhere"),
        "mobilebert": ("0.99", "same definition"),
    },
    "tag accuracy": {"sha_rnn": ("0.438", "on pieces that are PII"), "mobilebert": ("0.917", "on pieces that are PII")},
    "F5, the competition's": {"sha_rnn": ("–", "never measured"), "mobilebert": ("–", "never measured")},
    "parameters": {
        "sha_rnn": ("51.485M", "nn.Linear alone"),
        "mobilebert": ("20.350M", "nn.Linear alone; 37.328M in all"),
    },
    "nn.Linear parameters": {"sha_rnn": ("–", "51.485M"), "mobilebert": ("–", "20.350M")},
    "operations for 1,024 pieces": {
        "sha_rnn": ("51.704G", "multiply-accumulates of nn.Linear alone"),
        "mobilebert": ("20.743G", "multiply-accumulates of nn.Linear alone"),
    },
    "seconds per epoch": {
        "sha_rnn": ("3238.6", "RTX 4070, 10,519 documents cut at 1,024 pieces"),
        "mobilebert": ("719.73", "RTX 4090, 10,519 documents cut at 1,024 pieces"),
    },
}
COLUMNS = ["seed's claim", "what its code did", "ours"]


def beside_seed(
    model: str, seed: Mapping[str, Mapping[str, tuple[str, str]]], ours: Mapping[str, object]
) -> pd.DataFrame:
    """One of the seed's tables for one model, in three columns; a line that ours lacks is a KeyError."""
    lines = {name: (*of_models[model], _short(ours[name])) for name, of_models in seed.items()}
    return pd.DataFrame.from_dict(lines, orient="index", columns=COLUMNS)


def _short(value: object) -> str:
    if isinstance(value, int | np.integer) and value >= 10**5:
        return f"{value / 1e9:.3f}G" if value >= 10**9 else f"{value / 1e6:.3f}M"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def settings(model: str, tagger: Tagger, train: Mapping[str, object]) -> dict[str, object]:
    """What ours was trained with, under the names of SEED_SETTINGS. `train` is a run's TrainConfig as a dictionary."""
    config = tagger.model.config
    sha_rnn = model == "sha_rnn"
    restarts = f"cycles of {train['cycle_epochs']} epochs, peaks × {train['restart_decay']:g}"
    weights = train["class_weights"]
    return {
        "learning rate": f"{train['learning_rate']:g}",
        "class weights": weights if isinstance(weights, str) else f"{weights:g} for O, 1 for PII",
        "optimizer": f"{train['optimizer']}, decay {train['weight_decay']:g}",
        "dropout": config.dropout if sha_rnn else config.hidden_dropout_prob,
        "warm-up, epochs": f"{train['warmup_epochs']:g}",
        "schedule": f"cosine, {restarts if train['cycle_epochs'] else 'one cycle'}",
        "attention layers": len(config.attention_layers) if sha_rnn else config.num_hidden_layers,
        "attention heads": config.num_attention_heads,
        "embedding size": config.hidden_size if sha_rnn else config.embedding_size,
    }


def results(
    tagger: Tagger, score: Mapping[str, float], result: Mapping[str, object], by_seed: Mapping[str, float]
) -> dict[str, object]:
    """What ours reached, under the names of SEED_RESULTS: from its score line, its run's result and `seed_metrics`."""
    return {
        "F5, seed's definition": by_seed["seed_f5"],
        "precision, seed's definition": by_seed["seed_precision"],
        "recall, seed's definition": by_seed["seed_recall"],
        "tag accuracy": by_seed["seed_tag_accuracy"],
        "F5, the competition's": score["f5"],
        "parameters": tagger.model.num_parameters(),
        "nn.Linear parameters": cost.linear_parameters(tagger.model),
        "operations for 1,024 pieces": f"{cost.flops(tagger.model, n_pieces=1024) / 1e9:.3f}G floating-point",
        "seconds per epoch": f"{result['seconds_per_epoch']:.1f} ({result['device']})",
    }


def agreement(
    truth: pd.DataFrame, first: pd.DataFrame, second: pd.DataFrame, *, names: tuple[str, str]
) -> pd.DataFrame:
    """Rows of two submissions against the true ones: true rows and false alarms by who has them."""
    true, one, two = (
        set(zip(rows["document"], rows["token"], rows["label"], strict=True)) for rows in (truth, first, second)
    )
    who = {"both": one & two, f"{names[0]} alone": one - two, f"{names[1]} alone": two - one}
    lines = {name: (len(rows & true), len(rows - true)) for name, rows in who.items()}
    lines["neither"] = (len(true - one - two), 0)
    return pd.DataFrame.from_dict(lines, orient="index", columns=["true rows", "false alarms"])


def score_table(
    truth: pd.DataFrame, submissions: Mapping[str, pd.DataFrame], documents: Sequence[int] | None = None
) -> pd.DataFrame:
    """A line per submission: f5, precision, recall, tp, fp, fn; with the documents' numbers also f5_low and f5_high."""
    lines = {name: as_dict(micro_fbeta(truth, rows)) for name, rows in submissions.items()}
    table = pd.DataFrame.from_dict(lines, orient="index").rename_axis("model")
    for name, rows in submissions.items() if documents is not None else ():
        table.loc[name, ["f5_low", "f5_high"]] = bootstrap_interval(truth, rows, documents)
    return table


def verdict(scores: pd.DataFrame, *, baseline: str, average: str, interval: tuple[float, float]) -> str:
    """The score table in words. `interval` is the average's F5 over documents."""
    models = scores.drop([baseline, average])
    best = models["f5"].idxmax()
    worst = models["f5"].idxmin()
    gain = scores.loc[average, "f5"] - models["f5"].max()
    below = [name for name in models.index if models.loc[name, "f5"] <= scores.loc[baseline, "f5"]]
    lead = f"{best} is ahead of {worst}, F5 {models.loc[best, 'f5']:.3f} to {models.loc[worst, 'f5']:.3f}."
    words = [
        lead if best != worst else f"{' and '.join(models.index)} are level, F5 {models.loc[best, 'f5']:.3f}.",
        f"Averaging them {'gains' if gain > 0 else 'costs'} {abs(gain):.3f}: {scores.loc[average, 'f5']:.3f}, "
        f"95% interval over documents {interval[0]:.3f} to {interval[1]:.3f}.",
        f"Not better than {baseline} ({scores.loc[baseline, 'f5']:.3f}): {', '.join(below)}."
        if below
        else f"Both are above {baseline} ({scores.loc[baseline, 'f5']:.3f}).",
    ]
    if interval[0] <= models.loc[best, "f5"] <= interval[1]:
        words.append(f"The difference between the average and {best} lies within chance on so few documents.")
    return " ".join(words)


def spacy_out_of_fold(
    documents: Sequence[Document], *, n_folds: int, folds: Sequence[int], seed: int
) -> dict[int, list[str]]:
    """Document number to labels (token) by spaCy's NER, trained for each of `folds` on the essays of all others."""
    labels: dict[int, list[str]] = {}
    for fold in folds:
        training, validation = split_documents(documents, n_folds=n_folds, fold=fold, seed=seed)
        pipeline = train_spacy_ner(training, seed=seed)
        labels |= {document.document: label_with_spacy(pipeline, document) for document in validation}
    return labels


def say_out_of_fold(
    runs: Mapping[str, Path], *, both: str
) -> tuple[dict[str, OutOfFold], dict[str, dict], list[float]]:
    """Runs by name to what each says out of fold, and their average under the name `both`; decisions; the weights.

    A decision is a cut-off and rules, as `label_document` takes them; the weights are the average's, run by run.
    """
    kept = {name: load_folds_out_of_fold(run) for name, run in runs.items()}
    decisions = {name: read_json(run / "decision.json") for name, run in runs.items()}
    weights, o_threshold = choose_weights(list(kept.values()))
    rules = list(dict.fromkeys(rule for decision in decisions.values() for rule in decision["rules"]))
    kept[both] = average_out_of_fold(list(kept.values()), weights)
    return kept, decisions | {both: {"o_threshold": o_threshold, "rules": rules}}, weights


def f5_of_test(runs: Sequence[Path], test: Sequence[Document]) -> float:
    """F5 of the average of all folds of runs on labelled documents that no run was trained on."""
    ensemble = load_ensemble(runs)
    rows = submission_rows((doc.document, ensemble.label(doc, scores)) for doc, scores in ensemble.predict(test))
    return micro_fbeta(true_rows(test), rows).f


def labelled_test_documents(folder: Path) -> list[Document]:
    """The folder's test essays where test_labels.csv or the file itself tells their labels; else none."""
    test = read_documents(folder / "test.json")
    if (folder / "test_labels.csv").is_file():
        return label_documents(test, read_submission(folder / "test_labels.csv", test))
    return test if all(document.labels is not None for document in test) else []


def rule_table(predictions: Predictions, *, o_threshold: float) -> pd.DataFrame:
    """Labelled documents with their probabilities to a line per rule, applied alone to the labels of one cut-off.

    Columns: the change of F5, of right rows (tp) and of false alarms (fp), and whether the rule is in the default.
    """
    truth = true_rows(document for document, _ in predictions)
    before = micro_fbeta(truth, decided_rows(predictions, o_threshold=o_threshold))
    lines = {}
    for name in RULES:
        after = micro_fbeta(truth, decided_rows(predictions, o_threshold=o_threshold, rules=[name]))
        lines[name] = (after.f - before.f, after.tp - before.tp, after.fp - before.fp, name in DEFAULT_RULES)
    table = pd.DataFrame.from_dict(lines, orient="index", columns=["f5", "tp", "fp", "default"])
    return table.rename_axis("rule")


def seed_metrics(truth: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]) -> dict[str, float]:
    """The four figures that the seed project reported, by its own definitions. They are not the competition's metric.

    Of labels per document it took, for each document alone, precision, recall and F5 of PII against O, whatever the
    type, with 0/0 = 1, and averaged them over documents: predicting O everywhere scores the share of documents without
    PII. Tag accuracy is the share of exact labels among all units whose truth is not O (1.0 if there is none). The
    seed counted word pieces; here the units are those of the labels handed in.
    """
    of_documents, right, n_pii = [], 0, 0
    for true_labels, labels in zip(truth, predicted, strict=True):
        pairs = list(zip(true_labels, labels, strict=True))
        of_documents.append(
            Score(
                tp=sum(true != OUTSIDE and found != OUTSIDE for true, found in pairs),
                fp=sum(true == OUTSIDE and found != OUTSIDE for true, found in pairs),
                fn=sum(true != OUTSIDE and found == OUTSIDE for true, found in pairs),
            )
        )
        right += sum(true == found != OUTSIDE for true, found in pairs)
        n_pii += sum(true != OUTSIDE for true, _ in pairs)
    return {
        "seed_f5": float(np.mean([_ratio_f5(score) for score in of_documents])),
        "seed_precision": float(np.mean([score.precision for score in of_documents])),
        "seed_recall": float(np.mean([score.recall for score in of_documents])),
        "seed_tag_accuracy": right / n_pii if n_pii else 1.0,
    }


def _ratio_f5(score: Score) -> float:
    """F5 out of precision and recall, each with 0/0 = 1, as the seed computed it."""
    numerator = (1 + BETA**2) * score.precision * score.recall
    denominator = BETA**2 * score.precision + score.recall
    return numerator / denominator if denominator else 0.0


def tokens_per_second(tagger: Tagger, documents: Sequence[Document], *, repeats: int = 3) -> float:
    """Tokens labelled a second on the tagger's device, cutting into pieces included; the fastest of `repeats` runs."""
    n_tokens = sum(len(document.tokens) for document in documents)
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        for _ in predict_documents([tagger], documents):
            pass
        seconds.append(time.perf_counter() - began)
    return n_tokens / min(seconds)
