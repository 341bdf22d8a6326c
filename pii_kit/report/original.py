"""Compare our models with the claims of the original project that this kit started from."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from transformers import PreTrainedModel

from pii_kit import models as cost
from pii_kit.labels import OUTSIDE
from pii_kit.metrics import BETA, Score
from pii_kit.report.compare import published_table


def beside_original(name: str, model: str, ours: Mapping[str, object]) -> pd.DataFrame:
    """Return a table of the original project for one model, with our values (by line) as the column "ours"."""
    table = published_table(name)
    table = table[table["model"] == model].drop(columns="model").set_index(table.columns[0])
    return table.assign(ours=[_short(ours[line]) for line in table.index])


def _short(value: object) -> str:
    if isinstance(value, int | np.integer) and value >= 10**5:
        return f"{value / 1e9:.3f}G" if value >= 10**9 else f"{value / 1e6:.3f}M"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def settings(model: str, network: PreTrainedModel, train: Mapping) -> dict[str, object]:
    """Return our settings under the names of "original_settings"; `train` is the TrainConfig in run.json."""
    config = network.config
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


def results(network: PreTrainedModel, f5: float, result: Mapping, original: Mapping[str, float]) -> dict[str, object]:
    """Return our results under the names of "original_results".

    `f5` is the competition's score, `result` the run's result.json, and `original` are the `original_metrics`.
    """
    return {
        **original,
        "F5, competition's definition": f5,
        "parameters": network.num_parameters(),
        "nn.Linear parameters": cost.linear_parameters(network),
        "operations for 1,024 pieces": f"{cost.flops(network, n_pieces=1024) / 1e9:.3f}G floating-point",
        "seconds per epoch": f"{result['epoch_seconds']:.1f} for one fold ({result['device']})",
    }


def original_metrics(truth: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]) -> dict[str, float]:
    """Return the four figures that the original project reported, by its definitions; not the competition's metric.

    Precision, recall and F5 of PII against O are computed for each document, whatever the type, with 0/0 = 1, and
    averaged over documents. So a model that predicts O everywhere scores the share of documents without PII. Tag
    accuracy is the share of exact labels among units whose true label is not O (1.0 if there are none). The original
    project counted word pieces; here a unit is a token.
    """
    scores, right, n_pii = [], 0, 0
    for of_document in zip(truth, predicted, strict=True):
        pairs = list(zip(*of_document, strict=True))
        kinds = [(true != OUTSIDE, found != OUTSIDE) for true, found in pairs]
        scores.append(Score(tp=kinds.count((True, True)), fp=kinds.count((False, True)), fn=kinds.count((True, False))))
        right += sum(true == found != OUTSIDE for true, found in pairs)
        n_pii += sum(true for true, _ in kinds)
    return {
        "F5, original definition": float(np.mean([_f5_of_ratios(score) for score in scores])),
        "precision, original definition": float(np.mean([score.precision for score in scores])),
        "recall, original definition": float(np.mean([score.recall for score in scores])),
        "tag accuracy": right / n_pii if n_pii else 1.0,
    }


def _f5_of_ratios(score: Score) -> float:
    """Compute F5 from precision and recall, each with 0/0 = 1, as the original project did."""
    numerator = (1 + BETA**2) * score.precision * score.recall
    denominator = BETA**2 * score.precision + score.recall
    return numerator / denominator if denominator else 0.0
