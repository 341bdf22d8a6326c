"""Pretraining a tagger's body on text without labels: it guesses masked pieces, before the tagger is fitted."""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from accelerate import Accelerator, DataLoaderConfiguration
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import PreTrainedModel

from pii_kit.batches import SimilarLengthBatches, batch_loader
from pii_kit.data import Document
from pii_kit.errors import KitError
from pii_kit.masked_pieces import Guesser, mask_pieces, without_classifier
from pii_kit.optim import build_optimizer, build_schedule, mixed_precision
from pii_kit.pieces import MASK, PieceTokenizer
from pii_kit.ranks import check_batch_size, ranks_on_cpu, seed_rank
from pii_kit.settings import check_overlap, check_positive, check_shares
from pii_kit.windows import cut_windows

logger = logging.getLogger(__name__)

WEIGHT_DECAY = 0.01
CLIP_NORM = 1.0
WARMUP_SHARE = 0.1  # of all steps; then one cosine to the end


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Settings of one pretraining. Sizes are in pieces, `batch_size` in windows.

    `masked_share` is the share of pieces to be guessed, other ones in each epoch; `mixed_precision` as in TrainConfig.
    """

    epochs: int = 3
    batch_size: int = 16
    window_size: int = 512
    overlap: int = 0
    learning_rate: float = 3e-3
    masked_share: float = 0.15
    seed: int = 0
    mixed_precision: str = "auto"

    def __post_init__(self):
        """Raises KitError, naming the setting, for a value that cannot be."""
        check_positive(self, "epochs", "batch_size", "window_size", "learning_rate", "masked_share")
        check_shares(self, "masked_share")
        check_overlap(self)


def pretrain(
    model: PreTrainedModel,
    tokenizer: PieceTokenizer,
    documents: Sequence[Document],
    config: PretrainConfig,
    *,
    quiet: bool = False,
) -> list[dict]:
    """Train the body of a tagger in place to guess masked pieces; gives back a row per epoch: epoch, loss, seconds.

    The loss is in nats per masked piece. Labels are not looked at. The classifier and torch's random state stay as they
    are; equal seeds give equal weights. It keeps no checkpoint: once interrupted it starts again. Raises KitError for
    documents without tokens, a tokenizer without a mask and a loss that is not finite.
    """
    if tokenizer.mask_id is None:
        raise KitError(f"the tokenizer has no piece {MASK}, which pretraining hides pieces with")
    accelerator = Accelerator(
        cpu=ranks_on_cpu(),
        mixed_precision=mixed_precision(config.mixed_precision),
        dataloader_config=DataLoaderConfiguration(split_batches=True),
    )
    check_batch_size(accelerator, config.batch_size)
    loader, batches = _loader(documents, tokenizer, config, whole=accelerator.num_processes > 1)
    history = []
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())), without_classifier(model):
        torch.manual_seed(config.seed)
        seed_rank(accelerator, config.seed)
        guesser = Guesser(model, tokenizer)
        optimizer, schedule = _optimizer(guesser, config, n_steps=config.epochs * len(batches))
        guesser, optimizer, loader, schedule = accelerator.prepare(guesser, optimizer, loader, schedule)
        guesser.train()
        for epoch in range(1, config.epochs + 1):
            began, total, n_chosen = time.perf_counter(), 0.0, 0
            for set_epoch in (loader.set_epoch, batches.set_epoch):
                set_epoch(epoch - 1)
            name = f"pretraining {epoch}/{config.epochs}"
            for batch in tqdm(loader, desc=name, disable=quiet or not accelerator.is_main_process):
                shown, chosen = mask_pieces(batch, tokenizer, share=config.masked_share)
                losses = F.cross_entropy(guesser(shown, chosen), batch["input_ids"][chosen], reduction="none")
                loss = losses.sum() / max(len(losses), 1)  # a batch of few pieces may have none to guess
                total += _finite(loss, epoch, schedule) * len(losses)
                n_chosen += len(losses)
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(guesser.parameters(), CLIP_NORM)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
            row = {"epoch": epoch, "loss": total / max(n_chosen, 1), "seconds": time.perf_counter() - began}
            history.append(row)
            logger.info("pretraining epoch %(epoch)d: loss %(loss).4f", row)
    return history


def _loader(
    documents: Sequence[Document], tokenizer: PieceTokenizer, config: PretrainConfig, *, whole: bool
) -> tuple[DataLoader, SimilarLengthBatches]:
    """The windows of all documents in batches, all of them `whole` if that is asked for, and what orders them."""
    windows = [
        window
        for document in documents
        for window in cut_windows(
            replace(document, labels=None), tokenizer, size=config.window_size, overlap=config.overlap
        )
    ]
    if not windows:
        raise KitError("the documents to pretrain on hold no tokens")
    batches = SimilarLengthBatches(list(map(len, windows)), batch_size=config.batch_size, seed=config.seed, whole=whole)
    return batch_loader(windows, batches, pad_id=tokenizer.pad_id, seed=config.seed), batches


def _optimizer(
    guesser: Guesser, config: PretrainConfig, *, n_steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimizer = build_optimizer(guesser, name="adamw", learning_rate=config.learning_rate, weight_decay=WEIGHT_DECAY)
    warmup_steps = round(WARMUP_SHARE * n_steps)
    return optimizer, build_schedule(
        optimizer, warmup_steps=warmup_steps, cycle_steps=n_steps - warmup_steps, restart_decay=1.0
    )


def _finite(loss: torch.Tensor, epoch: int, schedule) -> float:
    value = loss.item()
    if not math.isfinite(value):
        rate = schedule.get_last_lr()[0]
        raise KitError(f"the loss is {value} in pretraining epoch {epoch} (learning rate {rate:.2g}): lower the rate")
    return value
