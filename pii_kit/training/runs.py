"""A run's folder: all it takes to rebuild the model, to read how it was trained, and to go on after a kill.

run.json          what was asked for: model, preset, settings, data's fingerprint, validation documents
tokenizer.json    the pieces (a tagger's run), and words.json, the words that essays have in lower case
tagger/           the epoch that is kept so far: a transformers folder (config, safetensors, tokenizer), decision.json,
                  and out_of_fold.safetensors, what it says of the validation documents
model/            instead, in a language model's run: a transformers folder (config, safetensors)
checkpoint/       the latest state of an unfinished run: Accelerate's folder, position.json, carried tensors
history.json      one row per finished epoch
result.json       written last; a folder that has it is finished
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError

import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

import pii_kit.models.encoder
import pii_kit.models.sha_rnn  # noqa: F401
from pii_kit.data import Document
from pii_kit.files import KitError, atomic_folder, atomic_write, in_one_line, read_json, recover_folder, write_json
from pii_kit.models import load_model, save_model
from pii_kit.models.onnx import FILE as ONNX_FILE
from pii_kit.models.onnx import OnnxModel
from pii_kit.pieces import CASINGS, PAD, WORDS_FILE, PieceTokenizer, read_tokenizer
from pii_kit.predict import Tagger
from pii_kit.training.out_of_fold import OutOfFold, save_out_of_fold
from pii_kit.training.parallel import random_states, restore_random_state


def fingerprint(documents: Iterable[Document]) -> str:
    """A digest of documents, tokens and labels: equal for equal training data."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(json.dumps([document.document, document.tokens, document.labels]).encode())
    return digest.hexdigest()[:16]


def fingerprint_tagger(folder: str | Path) -> str:
    """A digest of a run folder's trained tagger: equal for equal files. Raises KitError if there is none."""
    digest = hashlib.sha256()
    for path in sorted(_found(Path(folder), "tagger").iterdir()):
        with open(path, "rb") as handle:
            digest.update(path.name.encode() + hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()[:16]


def start_run(folder: Path, manifest: dict, tokenizer: PieceTokenizer | None = None) -> None:
    """A new run's folder with its manifest. Raises KitError if the folder already holds a run."""
    if (folder / "run.json").exists():
        raise KitError(f"{folder}: holds a run already; resume it, or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    if tokenizer is not None:
        with atomic_write(folder / "tokenizer.json") as handle:
            handle.write(tokenizer.tokenizer.to_str(pretty=False))
        write_json(folder / WORDS_FILE, sorted(tokenizer.words))
    write_json(folder / "run.json", manifest)


def reopen_run(folder: Path, manifest: dict, *, file: str = "run.json") -> None:
    """See that a run is gone on with as it was started. Raises KitError, naming the field, if it was not."""
    _compare(read_json(folder / file), manifest, folder)


def _compare(started: dict, wished: dict, folder: Path, field: str = "") -> None:
    for key, value in wished.items():
        if isinstance(value, dict):
            _compare(started.get(key) or {}, value, folder, f"{field}{key}.")
        elif started.get(key) != value:
            raise KitError(f"{folder}: cannot be resumed: {field}{key} was {started.get(key)!r}, now {value!r}")


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """`atomic_folder`, with what libraries raise when a disk is full turned into one clear error."""
    try:
        with atomic_folder(folder) as inside:
            yield inside
    except (OSError, RuntimeError, SafetensorError) as error:
        before = "what it held before is whole" if folder.exists() else "nothing of it is kept"
        raise KitError(f"{folder}: cannot be written ({before}): {in_one_line(error)}") from error


def save_tagger(folder: Path, tagger: Tagger, kept: OutOfFold | None = None) -> None:
    """The tagger that the run keeps so far, with its out-of-fold probabilities, in place of the one before it."""
    with _replaced(folder / "tagger") as inside:
        save_model(inside, tagger.model)
        save_tokenizer_and_decision(inside, tagger)
        if kept is not None:
            save_out_of_fold(inside, kept)


def save_tokenizer_and_decision(inside: Path, tagger: Tagger) -> None:
    """All of a tagger but its model, into the folder that holds that."""
    PreTrainedTokenizerFast(tokenizer_object=tagger.tokenizer.tokenizer, pad_token=PAD).save_pretrained(inside)
    write_json(inside / WORDS_FILE, sorted(tagger.tokenizer.words))
    decision = {"window_size": tagger.window_size, "overlap": tagger.overlap, "o_threshold": tagger.o_threshold}
    write_json(inside / "decision.json", decision)


def load_tagger(folder: str | Path, *, device: str | torch.device = "cpu") -> Tagger:
    """The tagger of a run folder with the weights of its best epoch, or of an exported folder, which stays on the CPU.

    Raises KitError if it is missing or damaged.
    """
    inside = _found(Path(folder), "tagger")
    decision = read_json(inside / "decision.json")
    exported = (inside / ONNX_FILE).exists()
    model = OnnxModel(inside) if exported else load_model(inside, AutoModelForTokenClassification)
    if getattr(model.config, "n_casings", 0) not in (0, len(CASINGS)):
        raise KitError(
            f"{inside}: knows {model.config.n_casings} casings, not {len(CASINGS)}: made by an older version"
        )
    try:
        tokenizer = read_tokenizer(inside / "tokenizer.json")
    except (OSError, ValueError) as error:
        raise KitError(f"{inside}: cannot be loaded: {in_one_line(error)}") from None
    return Tagger(model=model.to(device).eval(), tokenizer=tokenizer, **decision)


def save_language_model(folder: Path, model: PreTrainedModel) -> None:
    """The run's best language model so far, in place of the one before it."""
    with _replaced(folder / "model") as inside:
        save_model(inside, model)


def load_language_model(folder: str | Path, *, device: str | torch.device = "cpu") -> PreTrainedModel:
    """The language model of a run folder, with its best weights. Raises KitError if it is missing or damaged."""
    return load_model(_found(Path(folder), "model"), AutoModelForCausalLM).to(device).eval()


def has_tagger(folder: Path) -> bool:
    """Whether a run's folder holds a trained tagger, finished or not."""
    recover_folder(folder / "tagger")
    return (folder / "tagger").is_dir()


def _found(folder: Path, name: str) -> Path:
    recover_folder(folder / name)
    if not (folder / name).is_dir():
        raise KitError(f"{folder}: not a run folder with a trained model (no folder {name!r} in it)")
    return folder / name


def save_checkpoint(
    folder: Path, accelerator: Accelerator, position: dict, tensors: Mapping[str, torch.Tensor] | None = None
) -> None:
    """The state of training, its position and what it carries, in place of the checkpoint before it.

    Of several processes all must call it; the first one writes.
    """
    carried = {**(tensors or {}), **random_states(accelerator)}
    if accelerator.is_main_process:
        with _replaced(folder / "checkpoint") as inside:
            accelerator.save_state(str(inside))
            save_file(carried, inside / "carried.safetensors")
            write_json(inside / "position.json", position)
    accelerator.wait_for_everyone()


def load_checkpoint(folder: Path, accelerator: Accelerator) -> tuple[dict, dict[str, torch.Tensor]] | None:
    """Training's state put back (nothing is unpickled freely), its position and carried tensors; None without one.

    Raises KitError if it is damaged.
    """
    inside = folder / "checkpoint"
    if accelerator.is_main_process:
        recover_folder(inside)
    accelerator.wait_for_everyone()
    if not inside.is_dir():
        return None
    try:
        accelerator.load_state(str(inside))
        tensors = load_file(inside / "carried.safetensors")
    except (OSError, EOFError, RuntimeError, SafetensorError, UnpicklingError) as error:
        raise KitError(f"{inside}: cannot be resumed from: {in_one_line(error)}") from None
    restore_random_state(accelerator, tensors)
    return read_json(inside / "position.json"), tensors
