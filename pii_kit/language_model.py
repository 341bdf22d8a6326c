"""The byte-level SHA-RNN language model: read and split a text, train, measure bits per character, generate.

A run folder holds run.json (what was asked for), checkpoint.pt (the state of the training), history.json (one row for
each validation), model/ (the weights with the lowest validation bpc) and result.json.
"""

import bz2
import gzip
import hashlib
import logging
import lzma
import math
import random
import statistics
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import pandas as pd
import torch
from pydantic import BaseModel, Field
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from pii_kit.files import KitError, atomic_folder, atomic_write, in_one_line, loading, read_json, write_json
from pii_kit.models.encoder import fingerprint_weights
from pii_kit.models.network import load_model, precision, save_model, working_devices
from pii_kit.models.sha_rnn import ShaRnnConfig, ShaRnnForCausalLM, State
from pii_kit.training.optim import build_optimizer
from pii_kit.training.processes import progress_bar, random_states, set_random_states
from pii_kit.training.runs import locked

logger = logging.getLogger(__name__)
IGNORED = -100  # target after the end of a stream
CHECKPOINT_SECONDS = 600
WEIGHT_DECAY, CLIP_NORM = 1.2e-6, 0.25  # the published training code's
EVAL_STREAMS = 8  # read in parallel in validation and test


class Split(NamedTuple):
    """The three parts of a text, in order."""

    train: bytes
    validation: bytes
    test: bytes


def read_bytes(path: str | Path) -> bytes:
    """Return the content of a file; unpack .xz, .gz, .bz2, and .zip with one file. Raises KitError for a bad file."""
    path = Path(path)
    if not path.is_file():
        raise KitError(f"{path}: no such file")
    packed: dict[str, Callable[..., Any]] = {".xz": lzma.open, ".gz": gzip.open, ".bz2": bz2.open, ".zip": _open_zip}
    with loading(path), packed.get(path.suffix, open)(path, "rb") as handle:
        text = handle.read()
    if not text:
        raise KitError(f"{path}: empty; expected text")
    return text


def _open_zip(path: Path, mode: str) -> IO[bytes]:
    archive = zipfile.ZipFile(path)
    (name,) = archive.namelist()
    return archive.open(name)


def split_bytes(text: bytes) -> Split:
    """Split a text into the first 90%, the next 5% and the last 5%, as the paper splits enwik8.

    >>> list(map(len, split_bytes(bytes(205))))
    [184, 10, 11]
    """
    first, second = len(text) * 90 // 100, len(text) * 95 // 100
    return Split(text[:first], text[first:second], text[second:])


def streams(text: bytes, n_streams: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut a text into `n_streams` contiguous streams, and return inputs and targets, int16 (stream, position).

    The target of each byte is the next one, so every byte except the first is a target once, and each stream begins
    with the last byte of the stream before. Shorter streams are padded, with targets of -100.

    >>> inputs, targets = streams(b"abcdef", 2)
    >>> [bytes(row.tolist()) for row in inputs], targets.tolist()
    ([b'abc', b'de\\x00'], [[98, 99, 100], [101, 102, -100]])
    """
    whole = torch.frombuffer(bytearray(text), dtype=torch.uint8).short()
    inputs = whole[:-1].tensor_split(n_streams)
    targets = whole[1:].tensor_split(n_streams)
    return pad_sequence(list(inputs), True), pad_sequence(list(targets), True, IGNORED)


def varied_windows(n_positions: int, size: int, *, seed: int | str) -> Iterator[slice]:
    """Return training windows of varied length, so that their ends fall at other positions in each epoch.

    The mean is `size` or, for one window in twenty, half of it; lengths are normally distributed with deviation 5, at
    least 5 and at most `size`. Source: the published training code.
    """
    rng, begin = random.Random(seed), 0
    while begin < n_positions:
        mean = size if rng.random() < 0.95 else size / 2
        length = min(max(5, round(rng.gauss(mean, 5))), size)
        yield slice(begin, min(begin + length, n_positions))
        begin += length


def compressed_bpc(text: bytes, *, after: bytes) -> dict[str, float]:
    """Return the bits per character that gzip, bzip2 and xz (strongest setting) need for `text` after `after`."""
    strongest_xz = partial(lzma.compress, preset=9 | lzma.PRESET_EXTREME)
    compressors: dict[str, Callable] = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": strongest_xz}
    sizes = {name: len(pack(after + text)) - len(pack(after)) for name, pack in compressors.items()}
    return {name: 8 * size / len(text) for name, size in sizes.items()}


@torch.inference_mode()
def bits_per_character(
    model: ShaRnnForCausalLM, text: bytes, *, window_size: int = 256, n_streams: int = 1, progress: bool = False
) -> float:
    """Return the mean cross-entropy / ln 2 over all bytes of `text` except the first; state and memory are carried.

    More streams are faster, but each one begins without a state. Raises KitError for a text of fewer than two bytes.
    """
    if len(text) < 2:
        raise KitError(f"a text of {len(text)} bytes: expected at least 2, since the first is not predicted")
    memory_size = model.config.memory_size
    if model.config.attention_layers and 0 < memory_size <= window_size:
        logger.warning("a memory of %d positions has no room beside windows of %d: unused", memory_size, window_size)
    model.eval()
    inputs, targets = (part.to(model.device) for part in streams(text, min(n_streams, len(text) - 1)))
    state, nats = None, 0.0
    for begin in tqdm(range(0, inputs.shape[1], window_size), desc="windows", disable=not progress):
        window = slice(begin, begin + window_size)
        labels = targets[:, window].long()
        loss, _, state = model(inputs[:, window].long(), state=state, labels=labels)
        nats += loss.double().item() * int((labels != IGNORED).sum())
    return nats / (len(text) - 1) / math.log(2)


def bpc_by_memory(
    model: ShaRnnForCausalLM, text: bytes, memory_sizes: Sequence[int], *, window_size: int = 256, n_streams: int = 1
) -> pd.DataFrame:
    """Return one row per memory size, with the columns `memory`, `bpc` of `text`, and `seconds`."""
    trained, rows = model.config.memory_size, []
    for size in memory_sizes:
        model.config.memory_size, began = size, time.perf_counter()
        bpc = bits_per_character(model, text, window_size=window_size, n_streams=n_streams)
        rows.append({"memory": size, "bpc": bpc, "seconds": time.perf_counter() - began})
    model.config.memory_size = trained
    return pd.DataFrame(rows)


@torch.inference_mode()
def generate(
    model: ShaRnnForCausalLM, prompt: bytes, *, n_bytes: int, temperature: float = 1.0, seed: int = 0
) -> bytes:
    """Return `n_bytes` that continue `prompt` (default: a new line), sampled one by one; equal for equal seeds."""
    model.eval()
    generator = torch.Generator().manual_seed(seed)
    state, generated = None, bytearray()
    for inputs in torch.tensor([list(prompt or b"\n")], device=model.device).split(model.config.memory_size or 256, 1):
        _, logits, state = model(inputs, state=state)
    while len(generated) < n_bytes:
        probabilities = (logits[0, -1].double() / temperature).softmax(-1).cpu()
        generated.append(int(torch.multinomial(probabilities, 1, generator=generator)))
        _, logits, state = model(torch.tensor([[generated[-1]]], device=model.device), state=state)
    return bytes(generated)


class LanguageModelConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of a training. The defaults suit a small model on a CPU; the paper's learning rate is 2e-3."""

    epochs: int = Field(default=1, ge=1)
    batch_size: int = Field(default=8, ge=1, description="streams read in parallel")
    window_size: int = Field(default=128, ge=5, description="longest window, in bytes")
    optimizer: Literal["lamb", "adamw", "adam"] = "lamb"
    learning_rate: float = Field(default=1e-3, gt=0, description="rate after the warm-up, constant")
    warmup_steps: int = Field(default=200, ge=0, description="steps in which the rate rises linearly")
    eval_steps: int | None = Field(default=None, ge=1, description="windows between validations; None: one per epoch")
    seed: int = 0


@dataclass
class Position:
    """How far a training is."""

    epoch: int = 0  # finished epochs
    window: int = 0  # finished windows of the current epoch
    step: int = 0  # finished windows of all epochs
    seconds: float = 0.0  # wall-clock time of all sessions up to the checkpoint
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
    start: str | Path | None = None,
    resume: bool = False,
    deadline: float = math.inf,
    source: str = "the text",
) -> dict:
    """Train on the first 90% of a text, validate on the next 5%, and test the best weights on the last 5%.

    A resumed run ends with the weights of an uninterrupted one, bit for bit on the CPU of one machine. Resuming a
    finished run changes nothing, unless `config.epochs` is larger than before.

    Args:
        text: the text; messages call it `source`.
        sizes: sizes of a new model.
        config: settings; a resumed run may change only the number of epochs.
        folder: folder of the run, new unless `resume`.
        start: folder of another run, to start from its best weights, with its sizes instead of `sizes`.
        resume: continue the run in `folder`.
        deadline: time of `time.monotonic()` at which to write a checkpoint and stop.

    Returns:
        The result, also in result.json: the history's row of the best weights, `test_bpc`, `elapsed_seconds` of all
        sessions, `parameters` and `device`.

    Raises:
        KitError: the text is too short, `folder` holds a run (without `resume`) or one with other settings, a
            checkpoint is damaged, or the loss is not finite.
    """
    if len(text) < (least := max(40, 3 * config.batch_size)):  # each stream and each part needs two bytes
        raise KitError(f"{source}: {len(text)} bytes; expected at least {least}")
    torch.manual_seed(config.seed)
    model: Any = load_language_model(start) if start else ShaRnnForCausalLM(sizes)
    record = {
        "text_sha256": hashlib.sha256(text).hexdigest(),
        "start_sha256": fingerprint_weights(Path(start) / "model") if start else None,
        **{name: getattr(model.config, name) for name in ShaRnnConfig.__annotations__},
        **config.model_dump(exclude={"epochs"}),
    }
    device = working_devices()[0]
    _open_run(folder, record, resume)
    with locked(folder):
        training = _Training(model.to(device), split_bytes(text), config, folder, deadline)
        if resume:
            training.restore()
            done = training.position.epoch
            if done >= config.epochs and (folder / "result.json").exists():
                logger.info("%s: finished, %d of %d epochs; nothing to do", folder, done, config.epochs)
                return read_json(folder / "result.json")
        training.run()
        best = load_language_model(folder, device=device)
        result = {
            **min(training.position.history, key=lambda row: row["validation_bpc"]),
            "test_bpc": training.bpc(best, training.split.test),
            "elapsed_seconds": training.position.seconds,
            "parameters": best.num_parameters(),
            "device": f"CPU, {torch.get_num_threads()} threads" if device == "cpu" else torch.cuda.get_device_name(),
        }
        write_json(folder / "result.json", result)
        return result


def load_language_model(folder: str | Path, *, device: str | torch.device = "cpu") -> ShaRnnForCausalLM:
    """Load the best model of a run, in evaluation mode. Raises KitError if it is missing or damaged."""
    inside = Path(folder) / "model"
    if not inside.is_dir():
        raise KitError(f"{folder}: not the folder of a trained language model (no folder 'model' in it)")
    model: Any = load_model(inside, language_model=True)
    return model.to(device).eval()


def _open_run(folder: Path, record: dict, resume: bool) -> None:
    """Write run.json, or compare a resumed run's with `record`."""
    path = folder / "run.json"
    if not resume:
        if path.exists():
            raise KitError(f"{folder}: holds a run already; resume it, or choose another folder")
        return write_json(path, record)
    before = read_json(path)
    for name, value in record.items():
        if before.get(name) != value:
            changed = f"{name} was {before.get(name)!r}, now {value!r}"
            raise KitError(f"{folder}: cannot be resumed: {changed}; use the settings that the run was started with")


class _Training:
    """The loop of one session, and what a checkpoint holds."""

    def __init__(
        self, model: ShaRnnForCausalLM, split: Split, config: LanguageModelConfig, folder: Path, deadline: float
    ):
        self.model, self.split, self.config, self.folder, self.deadline = model, split, config, folder, deadline
        self.inputs, self.targets = (part.to(model.device) for part in streams(split.train, config.batch_size))
        rates = {"learning_rate": config.learning_rate, "weight_decay": WEIGHT_DECAY}
        self.optimizer = build_optimizer(model, name=config.optimizer, **rates)
        self.position, self.state, self.began = Position(), State(), time.monotonic()
        dtype = precision(model.device, model)
        self.autocast = partial(torch.autocast, model.device.type, dtype, enabled=dtype != torch.float32)

    def run(self) -> None:
        """Train until the last epoch or the deadline."""
        config, position, written = self.config, self.position, time.monotonic()
        while position.epoch < config.epochs:
            seed = f"{config.seed} {position.epoch}"
            todo = list(varied_windows(self.inputs.shape[1], config.window_size, seed=seed))
            with progress_bar(f"epoch {position.epoch + 1}/{config.epochs}", len(todo), "windows") as bar:
                bar.update(position.window)
                for window in todo[position.window :]:
                    position.nats.append(self.step(window))
                    position.step += 1
                    position.window += 1
                    bar.update()
                    position.seconds = time.monotonic() - self.began
                    ended, late = position.window == len(todo), time.monotonic() >= self.deadline
                    if ended or (config.eval_steps and position.step % config.eval_steps == 0):
                        self.validate(position)
                    if ended:
                        position.epoch, position.window, self.state = position.epoch + 1, 0, {}
                    if ended or late or time.monotonic() - written >= CHECKPOINT_SECONDS:
                        self.save()
                        written = time.monotonic()
                    if late:
                        return self.stop()

    def stop(self) -> None:
        """Keep the current weights if none were validated yet; the resumed run must not see this validation."""
        logger.info("time limit reached before %s; resume the run to continue", self.position)
        if not self.position.history:
            self.position = replace(self.position, history=[])
            self.validate(self.position)

    def step(self, window: slice) -> float:
        """Train on one window of all streams, and return the loss in nats per byte."""
        self.model.train()
        rate = self.config.learning_rate * min(1.0, (self.position.step + 1) / max(self.config.warmup_steps, 1))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        inputs, labels = self.inputs[:, window].long(), self.targets[:, window].long()
        with self.autocast():
            loss, _, self.state = self.model(inputs, state=self.state, labels=labels)
        if not loss.isfinite():
            raise KitError(f"the loss is {loss.item()} at {self.position}: lower the learning rate")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()

    def bpc(self, model: ShaRnnForCausalLM, text: bytes) -> float:
        return bits_per_character(model, text, window_size=self.config.window_size, n_streams=EVAL_STREAMS)

    def validate(self, position: Position) -> None:
        """Append a row to the history, and keep the weights if their bpc is the lowest so far."""
        row = {
            "step": position.step,
            "epoch": position.epoch + 1,
            "training_bpc": statistics.fmean(position.nats) / math.log(2),
            "validation_bpc": self.bpc(self.model, self.split.validation),
            "elapsed_seconds": position.seconds,
        }
        position.nats = []
        if all(row["validation_bpc"] < earlier["validation_bpc"] for earlier in position.history):
            with atomic_folder(self.folder / "model") as inside:
                save_model(inside, self.model)
        position.history.append(row)
        write_json(self.folder / "history.json", position.history)
        logger.info("step %(step)d: training bpc %(training_bpc).3f, validation bpc %(validation_bpc).3f", row)

    def save(self) -> None:
        """Replace the checkpoint."""
        parts = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "state": self.state}
        parts |= {"position": asdict(self.position), "random": random_states(str(self.model.device))}
        path = self.folder / "checkpoint.pt"
        try:
            with atomic_write(path) as handle:
                torch.save(parts, handle.buffer)
        except (OSError, RuntimeError) as error:
            raise KitError(f"{path}: cannot be written ({in_one_line(error)}); the one before is unchanged") from None

    def restore(self) -> None:
        """Continue from the checkpoint, if there is one."""
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        try:
            if damaged := zipfile.ZipFile(path).testzip():  # torch.load compares no checksums
                raise ValueError(f"{damaged} has another checksum")
            parts = torch.load(path, map_location=self.model.device, weights_only=True)
            self.model.load_state_dict(parts["model"])
            self.optimizer.load_state_dict(parts["optimizer"])
            set_random_states(str(self.model.device), parts["random"])
            self.state, self.position = parts["state"], Position(**parts["position"])
        except Exception as error:  # whatever torch and zipfile raise for damaged files
            raise KitError(f"{path}: damaged, cannot be resumed from: {in_one_line(error)}") from None
        self.began -= self.position.seconds
        logger.info("resuming at %s", self.position)
