"""Compare runs with each other, with their average, with baselines, and with published figures."""

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from pii_kit.documents import Document, read_documents
from pii_kit.files import KitError, read_json
from pii_kit.labels import OUTSIDE
from pii_kit.metrics import Predictions, Score, decided_rows, micro_fbeta, paired_bootstrap
from pii_kit.models.network import TorchNetwork, flops, linear_parameters
from pii_kit.models.onnx import FILE as ONNX_FILE
from pii_kit.predict import Tagger, fold_folders, load_member, predict_documents
from pii_kit.report.baselines import label_fold_with_spacy
from pii_kit.rules import DEFAULT_RULES, RULES
from pii_kit.submission import label_documents, read_submission, submission_rows, true_rows
from pii_kit.training.out_of_fold import labels_by_other_folds, load_out_of_fold, mean_of
from pii_kit.training.processes import Task, progress_bar, run_side_by_side
from pii_kit.training.runs import digest_documents, read_run

MODELS = {"SHA-RNN": "sha_rnn", "MobileBERT": "mobilebert", "encoder": "encoder"}
AVERAGE = "average"


def find_runs(folders: Sequence[Path], documents: Sequence[Document]) -> dict[str, Path]:
    """Return the finished run of each model by its name in MODELS; there need not be one of "encoder".

    Raises:
        KitError: There is no run of a model, more than one, or one that was not trained on `documents`.
    """
    finished = [run for run in folders if (run / "run.json").exists() and (run / "result.json").exists()]
    records = {run: read_json(run / "run.json") for run in finished if not any(run.rglob(ONNX_FILE))}
    runs = {name: [run for run in records if records[run].get("model") == model] for name, model in MODELS.items()}
    for name, of_model in runs.items():
        if len(of_model) > 1 or not (of_model or name == "encoder"):
            found = f"{', '.join(map(str, of_model))}; move the others away" if of_model else "none; train one first"
            raise KitError(f"{name}: expected one finished run, found {found}")
        if of_model and records[of_model[0]]["data"] != digest_documents(documents):
            raise KitError(f"{of_model[0]}: trained on other documents than the {len(documents)} given")
    return {name: of_model[0] for name, of_model in runs.items() if of_model}


@dataclass(frozen=True)
class Comparison:
    """Out-of-fold labels (document, token) of runs and of their AVERAGE, on the documents that every run scored.

    Labels are decided with the threshold of the other folds, so that the choice does not bias their score.
    `decisions` (`o_threshold` and `rules`) are for new documents. `average` has the mean probabilities.
    """

    documents: list[Document]
    average: Predictions
    decisions: dict[str, dict]
    labels: dict[str, list[list[str]]]


def compare_out_of_fold(runs: Mapping[str, Path], documents: Sequence[Document]) -> Comparison:
    """Decide labels, fold by fold, from the out-of-fold predictions of runs and from their average.

    Raises:
        KitError: A run has no out-of-fold predictions, or no document was scored by every run.
    """
    members = {name: [load_out_of_fold(run)] for name, run in runs.items()}
    every = [member for group in members.values() for member in group]
    scored = [document for document in documents if all(member.holds(document) for member in every)]
    if not scored:
        raise KitError(f"{', '.join(map(str, runs.values()))}: no document was scored by all; train the same folds")
    stored = {name: read_json(run / "decision.json") for name, run in runs.items()}
    rules = chain.from_iterable(decision["rules"] for decision in stored.values())
    stored[AVERAGE] = {"rules": list(dict.fromkeys(rules))}
    labels, decisions = {}, {}
    for name, group in {**members, AVERAGE: every}.items():
        by_number, o_threshold = labels_by_other_folds(group, scored, stored[name]["rules"])
        o_threshold = stored[name].get("o_threshold", o_threshold)
        decisions[name] = {"o_threshold": o_threshold, "rules": stored[name]["rules"]}
        labels[name] = [by_number[document.number] for document in scored]
    return Comparison(scored, [(document, mean_of(every, document)) for document in scored], decisions, labels)


def spacy_out_of_fold(
    documents: Sequence[Document],
    run: Path,
    test: Sequence[Document] = (),
    *,
    epochs: int | None = None,
    deadline: float = math.inf,
) -> tuple[dict[int, list[str]], list[list[str]], int]:
    """Label documents with spaCy's NER, trained on the folds of a run, as many at once as there are cores.

    It trains for as many epochs as the run if `epochs` is None, or until `deadline`, a time of `time.monotonic()`.
    Return labels (token) by document number, labels (document, token) of `test` by the first fold, and the fewest
    epochs of a fold.
    """
    record = read_run(run)
    fold_of = {entry.number: entry.fold for entry in record.documents}
    devices = ["cpu"] * min(torch.get_num_threads(), len(record.folds))
    settings = {"seed": record.settings.train.seed, "epochs": epochs or record.settings.train.epochs}
    began, share, tasks, held_out = time.monotonic(), len(devices) / len(record.folds), [], []
    for place, fold in enumerate(record.folds):
        training = [document for document in documents if fold_of[document.number] != fold]
        held_out.append([document for document in documents if fold_of[document.number] == fold])
        end = began + (deadline - began) * min(share * (place // len(devices) + 1), 1)
        arguments = training, [*held_out[-1], *(() if place else test)], settings | {"deadline": end}
        tasks.append(Task(f"spaCy's NER, fold {fold}", label_fold_with_spacy, arguments))
    bar = progress_bar("spaCy's NER", settings["epochs"] * len(tasks), "epochs")
    found, n_epochs = zip(*run_side_by_side(tasks, bar, devices), strict=True)
    labels: dict[int, list[str]] = {}
    for of_fold, of_documents in zip(held_out, found, strict=True):
        labels |= zip([document.number for document in of_fold], of_documents, strict=False)  # then come those of test
    return labels, found[0][len(held_out[0]) :], min(n_epochs)


def labelled_test_documents(folder: Path) -> list[Document]:
    """Return a folder's test documents with the labels of test_labels.csv; [] if there is no such file."""
    if not (folder / "test_labels.csv").is_file():
        return []
    test = read_documents(folder / "test.json")
    return label_documents(test, read_submission(folder / "test_labels.csv", test))


def f5_of_test(
    runs: Mapping[str, Path],
    comparison: Comparison,
    test: Sequence[Document],
    baselines: Mapping[str, Sequence[Sequence[str]]],
) -> pd.Series:
    """Return F5 on labelled test documents of each run, of their average, and of labels (document, token)."""
    scores = {name: [found for _, found in Tagger.load(run).predict(test)] for name, run in runs.items()}
    scores[AVERAGE] = [np.mean(of_document, axis=0) for of_document in zip(*scores.values(), strict=True)]
    truth, numbers = true_rows(test), [document.number for document in test]
    rows = {name: submission_rows(zip(numbers, labels, strict=True)) for name, labels in baselines.items()}
    for name, of_run in scores.items():
        rows[name] = decided_rows(list(zip(test, of_run, strict=True)), **comparison.decisions[name])
    return pd.Series({name: micro_fbeta(truth, of_name).f for name, of_name in rows.items()}, name="test_f5")


def cost_table(runs: Mapping[str, Path], documents: Sequence[Document]) -> pd.DataFrame:
    """Return size, operations, seconds of training, and tokens per second on `documents`, of a run's first fold."""
    lines = {}
    for name, run in runs.items():
        member, result = load_member(fold_folders(run)[0]), read_json(run / "result.json")
        assert isinstance(member.network, TorchNetwork)  # `find_runs` leaves out exported runs
        model, seconds = member.network.model, []
        for _ in range(3):
            began = time.perf_counter()
            list(predict_documents([member], documents))
            seconds.append(time.perf_counter() - began)
        lines[name] = {
            "parameters": model.num_parameters(),
            "nn.Linear parameters": linear_parameters(model),
            "GFLOPs for 1,024 pieces": flops(model, n_pieces=1024) / 1e9,
            **{name: result[name] for name in ("elapsed_seconds", "cpu_seconds", "epoch_seconds", "device")},
            "tokens_per_second": sum(len(document.tokens) for document in documents) / min(seconds),
        }
    return pd.DataFrame.from_dict(lines, orient="index")


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
    truth: pd.DataFrame, submissions: Mapping[str, pd.DataFrame], documents: Sequence[int], *, models: Sequence[str]
) -> str:
    """Return a Markdown list that compares the models with each other, their AVERAGE, and the best of the others."""
    f5 = {name: micro_fbeta(truth, rows).f for name, rows in submissions.items()}
    baseline = max((name for name in f5 if name not in (*models, AVERAGE)), key=f5.__getitem__)
    models = sorted(models, key=lambda name: -f5[name])
    lines = []
    for name, other in [(models[0], models[-1]), (AVERAGE, models[0]), *((model, baseline) for model in models)]:
        low, high = paired_bootstrap(truth, submissions[name], submissions[other], documents)
        difference = f5[name] - f5[other]
        place = "above" if difference > 0 else "below" if difference < 0 else "equal to"
        chance = " The interval contains 0: the difference may be chance." if low <= 0 <= high else ""
        lines.append(
            f"- {name} is {place} {other}: F5 {f5[name]:.3f} and {f5[other]:.3f}, a difference of {difference:+.3f} "
            f"(95% interval {low:+.3f} to {high:+.3f}).{chance}"
        )
    return "\n".join(lines)


def published_table(name: str) -> pd.DataFrame:
    """Return a table of published.json, such as "language_model_paper"; its `attrs["source"]` cites the source."""
    table = json.loads((files("pii_kit.report") / "published.json").read_text(encoding="utf-8"))[name]
    frame = pd.DataFrame(table["rows"], columns=table["columns"])
    frame.attrs["source"] = table["source"]
    return frame


def beside_original(name: str, model: str, ours: Mapping[str, object]) -> pd.DataFrame:
    """Return a table of the original project for one model, with our values (by line) as the column "ours"."""
    table = published_table(name)
    table = table[table["model"] == model].drop(columns="model").set_index(table.columns[0])
    return table.assign(ours=[_short(ours[line]) for line in table.index])


def _short(value: object) -> str:
    if isinstance(value, int | np.integer) and value >= 10**5:
        return f"{value / 1e9:.3f}G" if value >= 10**9 else f"{value / 1e6:.3f}M"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def our_settings(config: Any, train: Mapping[str, Any]) -> dict[str, object]:
    """Return a network's configuration and the settings of its training under the names of "original_settings"."""
    encoder = getattr(config, "encoder", None)
    weights, cycle = train["class_weights"], train["cycle_epochs"]
    return {
        "learning rate": f"{train['learning_rate']:g}",
        "class weights": weights if isinstance(weights, str) else f"{weights:g} for O, 1 for PII",
        "optimizer": f"{train['optimizer']}, decay {train['weight_decay']:g}",
        "dropout": encoder.hidden_dropout_prob if encoder else config.dropout,
        "warm-up, epochs": f"{train['warmup_epochs']:g}",
        "schedule": f"cosine, {f'cycles of {cycle} epochs' if cycle else 'one cycle'}",
        "attention layers": encoder.num_hidden_layers if encoder else len(config.attention_layers),
        "attention heads": (encoder or config).num_attention_heads,
        "embedding size": encoder.embedding_size if encoder else config.hidden_size,
    }


def original_metrics(truth: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]) -> dict[str, float]:
    """Return the four figures that the original project reported, by its definitions; not the competition's metric.

    Precision, recall and F5 of PII against O, whatever the type, are means over documents, and 1 where they are 0/0.
    So a model that predicts O everywhere scores the share of documents without PII. Tag accuracy is the share of exact
    labels among tokens whose true label is not O.
    """
    scores, n_right, n_pii = [], 0, 0
    for of_document in zip(truth, predicted, strict=True):
        pairs = list(zip(*of_document, strict=True))
        kinds = [(true != OUTSIDE, label != OUTSIDE) for true, label in pairs]
        scores.append(Score(tp=kinds.count((True, True)), fp=kinds.count((False, True)), fn=kinds.count((True, False))))
        n_right += sum(true == label != OUTSIDE for true, label in pairs)
        n_pii += sum(true for true, _ in kinds)
    figures = {
        f"{name}, original definition": float(np.mean([getattr(score, field) for score in scores]))
        for name, field in (("F5", "f"), ("precision", "precision"), ("recall", "recall"))
    }
    return {**figures, "tag accuracy": n_right / n_pii if n_pii else 1.0}
