"""The original project's tables and metrics beside ours, and other published figures."""

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd

from pii_kit.labels import OUTSIDE
from pii_kit.metrics import Score


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
    """Return the settings of a run under the names of "original_settings".

    `config` is the network's configuration, and `train` are the settings of its training.
    """
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

    Precision, recall and F5 of PII against O are computed for each document, whatever the type, and averaged over
    documents; precision and recall are 1 where they are 0/0. So a model that predicts O everywhere scores the share of
    documents without PII. Tag accuracy is the share of exact labels among tokens whose true label is not O.
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
