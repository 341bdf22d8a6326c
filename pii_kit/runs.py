"""A run's folder: all it takes to rebuild the tagger, to read how it was trained, and to go on after a kill.

run.json          what was asked for: model, preset, settings, data's fingerprint, validation documents
tokenizer.json    the pieces
tagger/           the best epoch so far: a transformers folder (config, safetensors, tokenizer) and decision.json
checkpoint/       the latest state of an unfinished run: Accelerate's folder and position.json
history.json      one row per finished epoch
result.json       written last; a folder that has it is finished
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForTokenClassification, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

import pii_kit.mobilebert  # both modules register their classes with the Auto classes
import pii_kit.sha_rnn  # noqa: F401
from pii_kit.data import Document
from pii_kit.errors import KitError
from pii_kit.files import atomic_folder, atomic_write, recover_folder
from pii_kit.pieces import PAD, PieceTokenizer, read_tokenizer
from pii_kit.predict import Tagger


def fingerprint(documents: Iterable[Document]) -> str:
    """A digest of documents, tokens and labels: equal for equal training data."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(json.dumps([document.document, document.tokens, document.labels]).encode())
    return digest.hexdigest()[:16]


def write_json(path: Path, content) -> None:
    with atomic_write(path) as handle:
        json.dump(content, handle, indent=1)


def read_json(path: Path):
    """A JSON file of a run folder. Raises KitError if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise KitError(f"{path.parent}: not a run folder, or not yet one: {path.name} is missing") from None
    except json.JSONDecodeError as error:
        raise KitError(f"{path}: damaged: {error}") from None


def start_run(folder: Path, manifest: dict, tokenizer: PieceTokenizer) -> None:
    """A new run's folder with its manifest. Raises KitError if the folder already holds a run."""
    if (folder / "run.json").exists():
        raise KitError(f"{folder}: holds a run already; resume it, or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / "tokenizer.json") as handle:
        handle.write(tokenizer.tokenizer.to_str(pretty=False))
    write_json(folder / "run.json", manifest)


def reopen_run(folder: Path, manifest: dict) -> PieceTokenizer:
    """The tokenizer of a run that is gone on with. Raises KitError, naming the field, if it was started differently."""
    started = read_json(folder / "run.json")
    _compare(started, manifest, folder)
    return read_tokenizer(folder / "tokenizer.json")


def _compare(started: dict, wished: dict, folder: Path, field: str = "") -> None:
    for key, value in wished.items():
        if isinstance(value, dict):
            _compare(started.get(key, {}), value, folder, f"{field}{key}.")
        elif started.get(key) != value:
            raise KitError(f"{folder}: cannot be resumed: {field}{key} was {started.get(key)!r}, now {value!r}")


def save_tagger(folder: Path, tagger: Tagger) -> None:
    """The run's best tagger so far, in place of the one before it."""
    disable_progress_bar()  # transformers draws one for each of its files, however small
    with atomic_folder(folder / "tagger") as inside:
        tagger.model.save_pretrained(inside)
        PreTrainedTokenizerFast(tokenizer_object=tagger.tokenizer.tokenizer, pad_token=PAD).save_pretrained(inside)
        decision = {"window_size": tagger.window_size, "overlap": tagger.overlap, "o_threshold": tagger.o_threshold}
        write_json(inside / "decision.json", decision)


def load_tagger(folder: str | Path, *, device: str | torch.device = "cpu") -> Tagger:
    """The tagger of a run folder, with the weights of its best epoch. Raises KitError if it is missing or damaged."""
    recover_folder(Path(folder) / "tagger")
    inside = Path(folder) / "tagger"
    if not inside.is_dir():
        raise KitError(f"{folder}: not a run folder with a trained model (no folder 'tagger' in it)")
    decision = read_json(inside / "decision.json")
    try:
        config = AutoConfig.from_pretrained(inside)
        model = AutoModelForTokenClassification.from_config(config)
        # Copied into the model's own memory: tensors mapped from the file lie elsewhere in a cache line, and the last
        # bit of a sum depends on that.
        model.load_state_dict(load_file(inside / "model.safetensors"))
        tokenizer = read_tokenizer(inside / "tokenizer.json")
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise KitError(f"{inside}: cannot be loaded: {' '.join(str(error).split())[:300]}") from None
    return Tagger(model=model.to(device).eval(), tokenizer=tokenizer, **decision)


def save_checkpoint(folder: Path, accelerator: Accelerator, position: dict) -> None:
    """The state of training and its position, in place of the checkpoint before it."""
    with atomic_folder(folder / "checkpoint") as inside:
        accelerator.save_state(str(inside))
        write_json(inside / "position.json", position)


def load_checkpoint(folder: Path, accelerator: Accelerator) -> dict | None:
    """Training's state put back (nothing is unpickled freely) and its position; None if there is no checkpoint."""
    recover_folder(folder / "checkpoint")
    if not (folder / "checkpoint").is_dir():
        return None
    accelerator.load_state(str(folder / "checkpoint"))
    return read_json(folder / "checkpoint" / "position.json")
