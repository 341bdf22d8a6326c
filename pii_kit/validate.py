"""What a training says of its validation documents, and which of its epochs it keeps."""

from collections.abc import Sequence
from dataclasses import replace

from transformers import PreTrainedModel

from pii_kit.data import Document
from pii_kit.metrics import as_dict, best_threshold, decided_rows, micro_fbeta, threshold_curve
from pii_kit.out_of_fold import OutOfFold, keep_out_of_fold
from pii_kit.pieces import PieceTokenizer
from pii_kit.predict import Tagger, predict_documents
from pii_kit.submission import true_rows
from pii_kit.train_config import TrainConfig


def validate(
    model: PreTrainedModel, tokenizer: PieceTokenizer, validation: Sequence[Document], config: TrainConfig
) -> tuple[Tagger, OutOfFold, dict]:
    """The tagger with its threshold, what it says of the validation documents, and its score by rows."""
    tagger = Tagger(
        model=model, tokenizer=tokenizer, window_size=config.window_size, overlap=config.overlap, o_threshold=1.0
    )
    predictions = list(predict_documents([tagger], validation))
    curve = threshold_curve(predictions, *([[config.o_threshold]] if config.o_threshold else []))
    o_threshold = best_threshold(curve)
    score = micro_fbeta(true_rows(validation), decided_rows(predictions, o_threshold=o_threshold))
    scores = {"o_threshold": o_threshold, **as_dict(score)}
    return replace(tagger, o_threshold=o_threshold), keep_out_of_fold(predictions), scores


def kept_epoch(history: Sequence[dict], keep: str) -> dict:
    """The row whose tagger is kept: of those that were scored the last, or the first with the highest F5."""
    scored = [row for row in history if "f5" in row]
    return scored[-1] if keep == "last" else max(scored, key=lambda row: row["f5"])


def out_of_patience(history: Sequence[dict], patience: int | None) -> bool:
    """Whether so many epochs have gone by without a better F5."""
    if patience is None or not any("f5" in row for row in history):
        return False
    return history[-1]["epoch"] - kept_epoch(history, "best")["epoch"] >= patience


def is_finished(history: Sequence[dict], config: TrainConfig) -> bool:
    """Whether a training is at its end: its epochs are done, or its patience is. If not, its time was over."""
    return bool(history) and (history[-1]["epoch"] == config.epochs or out_of_patience(history, config.patience))
