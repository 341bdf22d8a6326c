"""Train a byte-level SHA-RNN language model: contiguous streams, carried state and memory, exact resume."""

import hashlib
import logging
import math
import random
import statistics
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from tqdm import tqdm

from pii_kit.files import KitError, check_choice, check_positive, check_shares, read_json, write_json
from pii_kit.language_model import Split, bits_per_character, split_bytes, streams, varied_windows
from pii_kit.models.sha_rnn import ShaRnnForCausalLM
from pii_kit.models.sha_rnn_layers import ShaRnnConfig
from pii_kit.models.sha_rnn_memory import ShaRnnState
from pii_kit.training import runs
from pii_kit.training.optim import OPTIMIZERS, build_optimizer, mixed_precision
from pii_kit.training.parallel import device_name, new_accelerator, peak_memory

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LanguageModelConfig:
    """Settings of a training. The defaults suit a small model on a CPU; the paper's learning rate is 2e-3.

    Attributes:
        half_rate_epochs: epochs after `epochs`, at half the learning rate, starting from the best weights so far.
        batch_size, eval_streams: streams read in parallel in training and in validation.
        window_size: longest window, in bytes.
        clip_norm: largest norm of the gradient.
        warmup_steps: steps over which the learning rate rises linearly.
        memory_drop: share of windows before which the memory is emptied, so that the LSTM learns to do without it.
        eval_steps: windows between validations (None: one per epoch); the weights with the lowest bpc are kept.
        checkpoint_steps: windows between checkpoints; there is also one at the end of each epoch and session.
    """

    epochs: int = 1
    half_rate_epochs: int = 0
    batch_size: int = 8
    window_size: int = 128
    optimizer: str = "lamb"
    learning_rate: float = 1e-3
    weight_decay: float = 1.2e-6
    clip_norm: float = 0.25
    warmup_steps: int = 200
    memory_drop: float = 0.0
    mixed_precision: str = "auto"
    eval_steps: int | None = None
    eval_streams: int = 8
    checkpoint_steps: int = 500
    seed: int = 0

    def __post_init__(self):
        """Check the settings; raise KitError, naming the setting, for a value out of range."""
        check_positive(self, "epochs", "batch_size", "window_size", "learning_rate", "clip_norm")
        check_positive(self, "eval_streams", "checkpoint_steps")
        check_shares(self, "memory_drop")
        check_choice(self, "optimizer", OPTIMIZERS)


# Settings that may change when a run is resumed: they do not change the course of the training.
FREE = ("epochs", "half_rate_epochs", "checkpoint_steps")


@dataclass
class Position:
    """How far a training is; saved in each checkpoint."""

    epoch: int = 0  # finished epochs
    window: int = 0  # finished windows of the current epoch
    step: int = 0  # finished windows of all epochs
    seconds: float = 0.0  # wall-clock time of all sessions up to the checkpoint
    halved: bool = False  # whether the learning rate is halved
    nats: list[float] = field(default_factory=list)  # losses since the last validation
    history: list[dict] = field(default_factory=list)  # one row per validation

    def __str__(self) -> str:
        return f"epoch {self.epoch + 1}, window {self.window + 1}"


def train_language_model(
    text: bytes,
    sizes: ShaRnnConfig,
    config: LanguageModelConfig,
    folder: Path,
    *,
    resume: bool = False,
    deadline: float = math.inf,
    source: str = "the text",
) -> dict:
    """Train on the first 90% of a text, validate on the next 5%, and test the kept weights on the last 5%.

    Training stops with a checkpoint at `deadline`, a time of `time.monotonic()`. `resume` continues the run in
    `folder`. Error messages call the text `source`. Returns the result, also written to result.json: the history's row
    of the kept weights, `test_bpc`, and `elapsed_seconds` (wall clock over all sessions). Raises KitError if the text
    is too short, if `folder` already holds a run, or if a resumed run was started with other arguments.
    """
    split = split_bytes(text)
    _check_length(split, config, source)
    manifest = {
        "text": {"bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()},
        "model": {name: value for name, value in sizes.to_diff_dict().items() if name != "transformers_version"},
        "training": {name: value for name, value in asdict(config).items() if name not in FREE},
    }
    (runs.reopen_run if resume else runs.start_run)(folder, manifest)
    torch.manual_seed(config.seed)
    model = ShaRnnForCausalLM(sizes)
    history = fit_language_model(model, split, config, folder, resume=resume, deadline=deadline)
    kept = runs.load_language_model(folder, device=model.device)
    result = {
        **min(history, key=lambda row: row["validation_bpc"]),
        "test_bpc": bits_per_character(kept, split.test, window_size=config.window_size, n_streams=config.eval_streams),
        "elapsed_seconds": read_json(folder / "checkpoint" / "position.json")["seconds"],
        "parameters": kept.num_parameters(),
        "device": device_name(),
    }
    write_json(folder / "result.json", result)
    return result


def _check_length(split: Split, config: LanguageModelConfig, source: str) -> None:
    names, minima = ("training", "validation", "test"), (2 * config.batch_size, 2, 2)  # each stream predicts a byte
    for name, part, least in zip(names, split, minima, strict=True):
        if len(part) < least:
            total = sum(map(len, split))
            raise KitError(f"{source}: {total} bytes, of which {len(part)} for {name}; expected at least {least}")


def fit_language_model(
    model: ShaRnnForCausalLM,
    split: Split,
    config: LanguageModelConfig,
    folder: Path,
    *,
    resume: bool = False,
    deadline: float = math.inf,
) -> list[dict]:
    """Train `model`, keep the weights with the lowest validation bpc in the run folder, and return the history.

    A resumed run ends with the same weights and history as an uninterrupted one (bit for bit on the CPU of one
    machine). If the deadline comes before the first validation, the current weights are kept until the next validation.
    """
    began = time.monotonic()
    accelerator = new_accelerator(mixed_precision=mixed_precision(config.mixed_precision))
    if accelerator.num_processes > 1:
        raise KitError(f"{accelerator.num_processes} processes: the language model trains in one")
    inputs, targets = (part.to(accelerator.device) for part in streams(split.train, config.batch_size))
    optimizer = build_optimizer(
        model, name=config.optimizer, learning_rate=config.learning_rate, weight_decay=config.weight_decay
    )
    model, optimizer = accelerator.prepare(model, optimizer)
    bare = accelerator.unwrap_model(model)
    position, state = Position(), bare.empty_state()
    if resume and (found := runs.load_checkpoint(folder, accelerator)):
        position, state = Position(**found[0]), _restored(state, found[1], folder, accelerator.device)
        logger.info("resuming at %s", position)
    began -= position.seconds

    def save() -> None:
        position.seconds = time.monotonic() - began
        runs.save_checkpoint(folder, accelerator, asdict(position), state.tensors())

    n_epochs = config.epochs + config.half_rate_epochs
    while position.epoch < n_epochs:
        if position.epoch >= config.epochs and not position.halved:
            bare.load_state_dict(runs.load_language_model(folder).state_dict())
            position.halved = True
            save()  # later, the best weights may be those of the half-rate epochs
        todo = list(varied_windows(inputs.shape[1], config.window_size, seed=f"{config.seed} {position.epoch}"))
        rest, name = todo[position.window :], f"epoch {position.epoch + 1}/{n_epochs}"
        for window in tqdm(rest, desc=name, total=len(todo), initial=position.window, unit="window", mininterval=2):
            model.train()
            _set_rate(optimizer, config, position)
            if random.Random(f"{config.seed} {position.step}").random() < config.memory_drop:
                state = state.without_memory()
            here = slice(window.start, window.stop)
            output = model(inputs[:, here].long(), state=state, labels=targets[:, here].long())
            state = output.state
            position.nats.append(_finite(output.loss, position))
            accelerator.backward(output.loss)
            accelerator.clip_grad_norm_(model.parameters(), config.clip_norm)
            optimizer.step()
            optimizer.zero_grad()

            position.step += 1
            position.window += 1
            position.seconds = time.monotonic() - began
            ended, late = position.window == len(todo), time.monotonic() >= deadline
            if ended or (config.eval_steps and position.step % config.eval_steps == 0):
                _validate(bare, split.validation, config, folder, position)
            if ended:
                position.epoch, position.window, state = position.epoch + 1, 0, bare.empty_state()
            if ended or late or position.step % config.checkpoint_steps == 0:
                save()
            if late:
                logger.info("time limit reached before %s; resume the run to continue", position)
                if not position.history:
                    position = replace(position, history=[])  # a copy: the resumed run must not see this validation
                    _validate(bare, split.validation, config, folder, position)
                return position.history
    return position.history


def _restored(empty: ShaRnnState, tensors: dict, folder: Path, device: torch.device) -> ShaRnnState:
    try:
        return empty.with_tensors({name: tensor.to(device, copy=True) for name, tensor in tensors.items()})
    except KeyError as error:
        raise KitError(f"{folder}: checkpoint of an older version, without {error}; start a new run") from None


def _set_rate(optimizer: torch.optim.Optimizer, config: LanguageModelConfig, position: Position) -> None:
    rate = config.learning_rate * min(1.0, (position.step + 1) / max(config.warmup_steps, 1))
    for group in optimizer.param_groups:
        group["lr"] = rate / 2 if position.halved else rate


def _finite(loss: torch.Tensor, position: Position) -> float:
    value = loss.item()
    if not math.isfinite(value):
        raise KitError(f"the loss is {value} at {position}: lower the learning rate, or resume in another precision")
    return value


def _validate(
    model: ShaRnnForCausalLM, validation: bytes, config: LanguageModelConfig, folder: Path, position: Position
) -> None:
    """Append a row to the history, and keep the weights if their bpc is the lowest so far."""
    bpc = bits_per_character(model, validation, window_size=config.window_size, n_streams=config.eval_streams)
    row = {
        "step": position.step,
        "epoch": position.epoch + 1,
        "training_bpc": statistics.fmean(position.nats) / math.log(2),
        "validation_bpc": bpc,
        "learning_rate": config.learning_rate / (2 if position.halved else 1),
        "elapsed_seconds": position.seconds,
        "peak_memory_bytes": peak_memory(),
    }
    position.nats = []
    if bpc < min((earlier["validation_bpc"] for earlier in position.history), default=math.inf):
        runs.save_language_model(folder, model)
    position.history.append(row)
    write_json(folder / "history.json", position.history)
    logger.info("step %(step)d: training bpc %(training_bpc).3f, validation bpc %(validation_bpc).3f", row)
