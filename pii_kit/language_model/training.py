"""Train a SHA-RNN language model over bytes: contiguous streams, carried state and memory, exact resume."""

import hashlib
import logging
import math
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from tqdm import tqdm

from pii_kit.files import KitError, check_choice, check_positive, check_shares, write_json
from pii_kit.language_model import Split, bits_per_character, split_bytes, streams, varied_windows
from pii_kit.models.sha_rnn import ShaRnnForCausalLM
from pii_kit.models.sha_rnn_layers import ShaRnnConfig
from pii_kit.models.sha_rnn_memory import ShaRnnState
from pii_kit.training.optim import OPTIMIZERS, build_optimizer, mixed_precision
from pii_kit.training.parallel import device_name, peak_memory
from pii_kit.training.runs import (
    load_checkpoint,
    load_language_model,
    reopen_run,
    save_checkpoint,
    save_language_model,
    start_run,
)


@dataclass(frozen=True, kw_only=True)
class LanguageModelConfig:
    """Settings of one training. `batch_size` is in streams, `window_size` in bytes, `clip_norm` the gradient's norm.

    After `epochs` at `learning_rate` come `half_rate_epochs` at half of it, from the best weights so far. The rate
    rises over `warmup_steps`. `memory_drop` is the share of windows before which the memory is dropped, so that the
    LSTM learns to do without. bpc is validated, and the best weights kept, every `eval_steps` windows (None: only at
    each epoch's end); `eval_streams` are read side by side then. A checkpoint is written every `checkpoint_steps`
    windows, at each epoch's end, and when the session's `minutes` are over. Defaults suit a small model on a CPU; the
    paper's rate is 2e-3.
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
    minutes: float | None = None
    seed: int = 0

    def __post_init__(self):
        """Raises KitError, naming the setting, for a value that cannot be."""
        check_positive(self, "batch_size", "window_size", "learning_rate", "clip_norm", "checkpoint_steps")
        check_positive(self, "eval_streams")
        if self.epochs + self.half_rate_epochs < 1:
            raise KitError("epochs and half_rate_epochs are both 0; expected an epoch of either")
        check_shares(self, "memory_drop")
        check_choice(self, "optimizer", OPTIMIZERS)


logger = logging.getLogger(__name__)
# What a resumed run may ask for otherwise: it changes how far training goes, not the way there.
FREE = ("epochs", "half_rate_epochs", "checkpoint_steps", "minutes")


def train_language_model(
    text: bytes,
    sizes: ShaRnnConfig,
    config: LanguageModelConfig,
    folder: Path,
    *,
    resume: bool = False,
    source: str = "the text",
) -> dict:
    """Train on the first 90% of `text`, validate on the next 5%, and give back the result, with the last 5%'s bpc.

    Raises KitError if the text, which errors call `source`, is too short, the folder holds a run already, or a run is
    resumed with another text, other sizes or other settings.
    """
    split = split_bytes(text)
    _check_length(split, config, source)
    wished = {
        "text": {"bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()},
        "model": {name: value for name, value in sizes.to_diff_dict().items() if name != "transformers_version"},
        "training": {name: value for name, value in asdict(config).items() if name not in FREE},
    }
    if resume:
        reopen_run(folder, wished)
    else:
        start_run(folder, wished)
    torch.manual_seed(config.seed)
    model = ShaRnnForCausalLM(sizes)
    history = fit_language_model(model, split, config, folder, resume=resume)
    best = min(history, key=lambda row: row["validation_bpc"])
    kept = load_language_model(folder, device=model.device)
    result = {
        **best,
        "test_bpc": bits_per_character(kept, split.test, window_size=config.window_size, n_streams=config.eval_streams),
        "total_seconds": history[-1]["seconds"],
        "parameters": kept.num_parameters(),
        "device": device_name(),
    }
    write_json(folder / "result.json", result)
    return result


def _check_length(split: Split, config: LanguageModelConfig, source: str) -> None:
    """Every stream needs a byte and one to predict; every part of the text likewise."""
    for name, part, least in (
        ("training", split.train, 2 * config.batch_size),
        ("validation", split.validation, 2),
        ("test", split.test, 2),
    ):
        if len(part) < least:
            total = sum(map(len, split))
            raise KitError(f"{source}: {total} bytes, of which {len(part)} for {name}; expected at least {least}")


def fit_language_model(
    model: ShaRnnForCausalLM, split: Split, config: LanguageModelConfig, folder: Path, *, resume: bool = False
) -> list[dict]:
    """Train `model`, keep the weights of the best validation bpc in the run folder, give back the history.

    With `resume` training goes on from the folder's checkpoint: weights, optimizer, random state, place in the streams,
    LSTM state and memory, to the same weights as an unbroken run (bit for bit on the CPU of one machine).
    """
    began = time.perf_counter()
    accelerator = Accelerator(mixed_precision=mixed_precision(config.mixed_precision))
    if accelerator.num_processes > 1:
        raise KitError(f"{accelerator.num_processes} processes: the language model trains in one")
    inputs, targets = (part.to(accelerator.device) for part in streams(split.train, config.batch_size))
    optimizer = build_optimizer(
        model, name=config.optimizer, learning_rate=config.learning_rate, weight_decay=config.weight_decay
    )
    model, optimizer = accelerator.prepare(model, optimizer)
    bare = accelerator.unwrap_model(model)
    place, state = {**BEGINNING, "nats": [], "history": []}, bare.empty_state()
    if resume and (found := load_checkpoint(folder, accelerator)):
        place, tensors = found
        state = _on_device(state, tensors, accelerator.device)
        logger.info("going on from epoch %d, window %d", place["epoch"] + 1, place["window"])
    began -= place["seconds"]

    while place["epoch"] < config.epochs + config.half_rate_epochs:
        if place["epoch"] >= config.epochs and not place["halved"]:
            bare.load_state_dict(load_language_model(folder).state_dict())
            place["halved"] = True
            # At once: after a kill, the best weights could already be ones of this second pass.
            state = _checkpoint(folder, accelerator, place, state, began)
        todo = list(varied_windows(inputs.shape[1], config.window_size, seed=f"{config.seed} {place['epoch']}"))
        for window in _progress(todo, place, config):
            model.train()
            _set_rate(optimizer, config, place)
            if random.Random(f"{config.seed} {place['step']}").random() < config.memory_drop:
                state = state.without_memory()
            here = slice(window.start, window.stop)
            done = model(inputs[:, here].long(), state=state, labels=targets[:, here].long())
            state = done.state
            place["nats"].append(_finite(done.loss, place))
            accelerator.backward(done.loss)
            accelerator.clip_grad_norm_(model.parameters(), config.clip_norm)
            optimizer.step()
            optimizer.zero_grad()

            place["step"] += 1
            place["window"] += 1
            seconds = time.perf_counter() - began
            late = config.minutes is not None and seconds - place["seconds"] > 60 * config.minutes
            ended = place["window"] == len(todo)
            if ended or late or (config.eval_steps and place["step"] % config.eval_steps == 0):
                _validate(bare, split.validation, config, folder, place, seconds)
            if ended:
                place |= {"epoch": place["epoch"] + 1, "window": 0}
                state = bare.empty_state()
            if ended or late or place["step"] % config.checkpoint_steps == 0:
                state = _checkpoint(folder, accelerator, place, state, began)
            if late:
                logger.info("%g minutes are over after window %d; resume to go on", config.minutes, place["window"])
                return place["history"]
    return place["history"]


# Where a training stands: epochs finished, windows of the one under way, steps in all, seconds up to the session under
# way, whether the rate is halved; beside these, the losses in nats since the last validation, and the history.
BEGINNING = {"epoch": 0, "window": 0, "step": 0, "seconds": 0.0, "halved": False}


def _checkpoint(folder: Path, accelerator: Accelerator, place: dict, state: ShaRnnState, began: float) -> ShaRnnState:
    """Training's state written, and the state to go on with: the written one, laid out as a resumed run has it.

    The last bit of a product can depend on how its factors lie in memory.
    """
    tensors = state.tensors()
    save_checkpoint(folder, accelerator, {**place, "seconds": time.perf_counter() - began}, tensors)
    return _on_device(state.cleared(), tensors, accelerator.device)


def _on_device(empty: ShaRnnState, tensors: dict[str, torch.Tensor], device: torch.device) -> ShaRnnState:
    return empty.with_tensors({name: tensor.to(device, copy=True) for name, tensor in tensors.items()})


def _progress(todo: list[range], place: dict, config: LanguageModelConfig) -> Iterator[range]:
    name = f"epoch {place['epoch'] + 1}/{config.epochs + config.half_rate_epochs}"
    rest, done = todo[place["window"] :], place["window"]
    return tqdm(rest, desc=name, total=len(todo), initial=done, unit="window", mininterval=2)


def _set_rate(optimizer: torch.optim.Optimizer, config: LanguageModelConfig, place: dict) -> None:
    rate = config.learning_rate * min(1.0, (place["step"] + 1) / max(config.warmup_steps, 1))
    for group in optimizer.param_groups:
        group["lr"] = rate / 2 if place["halved"] else rate


def _finite(loss: torch.Tensor, place: dict) -> float:
    value = loss.item()
    if not math.isfinite(value):
        where = f"epoch {place['epoch'] + 1}, window {place['window'] + 1}"
        raise KitError(f"the loss is {value} at {where}: lower the learning rate, or resume with another precision")
    return value


def _validate(
    model: ShaRnnForCausalLM,
    validation: bytes,
    config: LanguageModelConfig,
    folder: Path,
    place: dict,
    seconds: float,
) -> None:
    """A row of the history, and the weights kept if no earlier row has a lower bpc."""
    bpc = bits_per_character(model, validation, window_size=config.window_size, n_streams=config.eval_streams)
    row = {
        "step": place["step"],
        "epoch": place["epoch"] + 1,
        "training_bpc": statistics.fmean(place["nats"]) / math.log(2),
        "validation_bpc": bpc,
        "learning_rate": config.learning_rate / (2 if place["halved"] else 1),
        "seconds": seconds,
        "peak_memory_bytes": peak_memory(),
    }
    place["nats"] = []
    if bpc < min((earlier["validation_bpc"] for earlier in place["history"]), default=math.inf):
        save_language_model(folder, model)
    place["history"].append(row)
    write_json(folder / "history.json", place["history"])
    logger.info("step %(step)d: training bpc %(training_bpc).3f, validation bpc %(validation_bpc).3f", row)
