"""Compare how fast the kit trains its models on this machine with transformers' Trainer."""

from collections.abc import Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from transformers import (
    DataCollatorForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)

from pii_kit.documents import Document
from pii_kit.files import read_json
from pii_kit.pieces import PieceTokenizer
from pii_kit.split import split_documents
from pii_kit.training import build, default_preset, look_up, starting_weights
from pii_kit.training.epochs import EpochWindows, SimilarLengthBatches, targets_of_epoch
from pii_kit.training.folds import train_folds
from pii_kit.training.optim import mixed_precision
from pii_kit.training.settings import TrainConfig
from pii_kit.windows import Window, cut_windows

EPOCHS = 3  # of the kit, of which the middle one counts: data are made in it, and nothing is scored
N_FOLDS = 5


def training_speed(
    model: str, documents: Sequence[Document], *, weights: str | Path | None = None, repeats: int = 5
) -> dict[str, Any]:
    """Measure whole epochs of a model's default preset on labelled documents, in turns with transformers' Trainer.

    The kit trains as many folds side by side as `train` does, and makes its augmented data meanwhile. The Trainer gets
    the windows of one of these epochs ready-made, and all threads; model, batch size and precision are the same.

    Returns:
        Medians over turns: pieces per second of both, without padding, their ratio, and the share of padding.

    Raises:
        KitError: as `train_folds`.
    """
    chosen = look_up(model, default_preset(model))
    config, start = chosen.train, starting_weights(model, chosen, weights)
    training, _ = split_documents(documents, n_folds=N_FOLDS, fold=0, seed=config.seed)
    _, tokenizer = build(model, chosen, training, None, start)

    def cut(document: Document) -> list[Window]:
        return cut_windows(document, tokenizer, size=config.window_size, overlap=config.overlap)

    epoch = EpochWindows(lambda number: targets_of_epoch(training, (), (), config, number), cut)
    lengths, empty = epoch.lengths_and_empty()
    batches = list(
        SimilarLengthBatches(lengths, empty, share=config.empty_share, batch_size=config.batch_size, seed=config.seed)
    )
    windows = [epoch[index] for index in chain.from_iterable(batches)]
    n_pieces = sum(map(len, windows))
    n_padded = sum(max(lengths[index] for index in batch) * len(batch) for batch in batches)
    n_together = 1 if torch.cuda.is_available() else min(torch.get_num_threads(), N_FOLDS)
    of_kit, of_trainer = [], []
    for _ in range(repeats):
        with TemporaryDirectory() as folder, ExitStack() as silent:
            progress = silent.enter_context(open(Path(folder, "progress"), "w", encoding="utf-8"))
            silent.enter_context(redirect_stdout(progress))
            silent.enter_context(redirect_stderr(progress))
            settings: Any = {"epochs": EPOCHS, "validate_epochs": EPOCHS, "weights": weights}
            train_folds(model, documents, Path(folder, "run"), folds=range(n_together), **settings)
            histories = list(map(read_json, Path(folder).glob("run/fold_*/history.json")))
            of_kit.append(n_together * n_pieces / np.mean([history[1]["epoch_seconds"] for history in histories]))
            network, _ = build(model, chosen, training, tokenizer, start)
            trainer = _trainer(network, tokenizer, windows, config, folder)
            of_trainer.append(n_pieces / trainer.train().metrics["train_runtime"])
    ratios = np.divide(of_kit, of_trainer)
    return {
        "model": model,
        "kit_pieces_per_second": float(np.median(of_kit)),
        "trainer_pieces_per_second": float(np.median(of_trainer)),
        "times_trainer": float(np.median(ratios)),
        "lowest": float(ratios.min()),
        "padding": 1 - n_pieces / n_padded,
        "folds_side_by_side": n_together,
    }


def _trainer(
    network: PreTrainedModel, tokenizer: PieceTokenizer, windows: Sequence[Window], config: TrainConfig, folder: str
) -> Trainer:
    """Return transformers' Trainer with its defaults but for batch size, learning rate and precision."""
    precision = mixed_precision(config.mixed_precision, is_encoder=hasattr(network.config, "encoder"))
    arguments = TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=config.batch_size,
        num_train_epochs=1,
        learning_rate=config.learning_rate,
        bf16=precision == "bf16",
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        report_to=[],
        remove_unused_columns=False,
    )
    padding = PreTrainedTokenizerFast(tokenizer_object=tokenizer.tokenizer, pad_token=tokenizer.specials["pad"])
    collator = DataCollatorForTokenClassification(padding)
    rows: Any = [
        {"input_ids": window.pieces, "labels": window.labels, "attention_mask": np.ones(len(window), dtype=int)}
        for window in windows
    ]
    return Trainer(model=network, args=arguments, train_dataset=rows, data_collator=collator)
