"""Train a tagger for each fold in one run folder, and choose its decision out of fold."""

import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from accelerate import notebook_launcher
from accelerate.utils import broadcast_object_list, set_seed
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from tqdm import tqdm
from transformers import PreTrainedModel

from pii_kit.data import Document, split_documents
from pii_kit.files import KitError, read_json, write_json
from pii_kit.labels import LABEL_TO_ID, LABELS
from pii_kit.metrics import (
    Predictions,
    as_dict,
    best_threshold,
    bootstrap_interval,
    decided_rows,
    micro_fbeta,
    threshold_curve,
)
from pii_kit.models.encoder import (
    MobileBertForTokenClassification,
    MobileBertTaggerConfig,
    find_weights,
    load_published,
)
from pii_kit.models.sha_rnn import ShaRnnForTokenClassification
from pii_kit.models.sha_rnn_layers import ShaRnnConfig
from pii_kit.pieces import PieceTokenizer, common_words, read_tokenizer, train_byte_pairs, train_word_pieces
from pii_kit.rules import DEFAULT_RULES
from pii_kit.submission import true_rows
from pii_kit.training.config import Preset, default_preset, look_up
from pii_kit.training.distill import Taught
from pii_kit.training.loop import fit, is_finished, kept_epoch
from pii_kit.training.out_of_fold import OutOfFold, join_out_of_fold, load_out_of_fold
from pii_kit.training.parallel import check_gpus, device_name, n_gpus, rank_state, run_side_by_side
from pii_kit.training.runs import fingerprint, has_tagger, reopen_run, start_run

logger = logging.getLogger(__name__)


def build(
    model: str,
    preset: Preset,
    documents: Sequence[Document],
    tokenizer: PieceTokenizer | None,
    weights: str | Path | None,
) -> tuple[PreTrainedModel, PieceTokenizer]:
    """A model ready for training, and its tokenizer, which is learned from `documents` unless it is given or loaded."""
    labels = {"id2label": dict(enumerate(LABELS)), "label2id": LABEL_TO_ID}
    if model == "sha_rnn":
        tokenizer = tokenizer or train_byte_pairs(documents, n_pieces=preset.n_pieces)
        config = ShaRnnConfig(vocab_size=tokenizer.n_pieces, pad_token_id=tokenizer.pad_id, **preset.model, **labels)
        return ShaRnnForTokenClassification(config), tokenizer
    if preset.published:
        found = find_weights(weights)
        if found:
            logger.info("MobileBERT starts from the published weights in %s", found)
            network, tokenizer = load_published(found, **preset.model, **labels)
            return network, replace(tokenizer, words=common_words(documents))
        logger.warning("MobileBERT's published weights cannot be reached: it starts from random weights")
    tokenizer = tokenizer or train_word_pieces(documents, n_pieces=preset.n_pieces)
    config = MobileBertTaggerConfig(
        vocab_size=tokenizer.n_pieces, pad_token_id=tokenizer.pad_id, **preset.model, **labels
    )
    return MobileBertForTokenClassification(config), tokenizer


def train_preset(
    model: str,
    documents: Sequence[Document],
    folder: str | Path,
    *,
    preset: str | None = None,
    resume: bool = False,
    weights: str | Path | None = None,
    n_folds: int = 5,
    fold: int = 0,
    taught: Taught | None = None,
    deadline: float | None = None,
    quiet: bool = False,
    **settings,
) -> dict | None:
    """Train `model` ("sha_rnn" or "mobilebert") on labelled documents into a run folder; gives back the run's result.

    One of `n_folds` folds validates. `settings` replace those of the preset's TrainConfig; None leaves them. `weights`
    is a folder with published MobileBERT weights. `taught` (see `ensemble.teach`) are unlabelled essays to learn from
    as well; those that are among `documents`, validation above all, are left out. With `resume` an unfinished run is gone on
    with, and a finished one is left as it is. A run that nears its `deadline`, a time of `time.monotonic`, saves its
    state and a tagger, and gives back None. Several processes train one run. Raises KitError for names that are not
    offered and folders that hold another run.
    """
    folder = Path(folder)
    preset_name = preset or default_preset(model)
    chosen = look_up(model, preset_name)
    changes = {name: value for name, value in settings.items() if value is not None}
    config = replace(chosen.train, **changes)
    if model == "mobilebert" and config.mixed_precision == "fp16":
        raise KitError("MobileBERT overflows in fp16; train it with mixed_precision 'bf16' or 'no'")
    training, validation = split_documents(documents, n_folds=n_folds, fold=fold, seed=config.seed)
    taught = taught and taught.beside(documents)
    manifest = {
        "model": model,
        "preset": preset_name,
        "data": fingerprint(documents),
        "n_documents": len(documents),
        "train": asdict(config),
        "n_folds": n_folds,
        "fold": fold,
        "validation": [document.document for document in validation],
        "taught": taught and taught.manifest(),
    }
    state = rank_state()
    goes_on = resume and (folder / "run.json").exists()
    if goes_on:
        reopen_run(folder, manifest)
        if (folder / "result.json").exists():
            logger.info("%s is finished already", folder)
            return read_json(folder / "result.json")
    set_seed(config.seed)
    tokenizer = read_tokenizer(folder / "tokenizer.json") if goes_on else None
    network, tokenizer = build(model, chosen, training, tokenizer, weights)
    if state.is_main_process and not goes_on:
        start_run(folder, manifest, tokenizer)
    state.wait_for_everyone()  # none looks for the run before another has begun it

    began = time.perf_counter()
    history = fit(
        network,
        tokenizer,
        training,
        validation,
        config,
        folder,
        taught=taught,
        resume=resume,
        deadline=deadline,
        quiet=quiet,
    )
    if not is_finished(history, config):
        logger.warning("%s: the time is over after epoch %g of %d", folder, history[-1]["epoch"], config.epochs)
        return None
    result = {
        **kept_epoch(history, config.keep),
        "epochs": len(history),
        "seconds_per_epoch": sum(row["seconds"] for row in history) / len(history),
        "seconds": time.perf_counter() - began,
        "parameters": network.num_parameters(),
        "device": device_name(),
    }
    if state.is_main_process:
        write_json(folder / "result.json", result)
    state.wait_for_everyone()
    return result


logger = logging.getLogger(__name__)


def train_folds(
    model: str,
    documents: Sequence[Document],
    folder: str | Path,
    *,
    preset: str | None = None,
    n_folds: int = 5,
    folds: Sequence[int] | None = None,
    resume: bool = False,
    deadline: float = math.inf,
    **settings,
) -> dict:
    """Train `model` once for each of `folds` of `n_folds` into a run folder; gives back the result, out of fold.

    `folds` None are all of them, or the first alone where the preset says so. `settings`, and essays `taught` by a
    teacher, go to `train_preset`. A run that was killed goes on with `resume`, and finished folds are left as they are.
    On a CPU of several cores as many folds train side by side as torch would use threads, each on one: models as small
    as those of the CPU presets gain nothing from a second thread. Near `deadline`, a time of
    `time.monotonic`, folds under way save their state and a tagger, no other begins, and the result has no "epochs": go on
    with `resume`. Several processes train one fold at a time. Raises KitError as `train_preset`.
    """
    folder = Path(folder)
    preset = preset or default_preset(model)
    every_fold = look_up(model, preset).every_fold
    if folds is None:
        folds = range(n_folds) if every_fold else [0]
    if not folds or len(set(folds)) < len(folds) or any(not 0 <= fold < n_folds for fold in folds):
        raise KitError(f"folds are {', '.join(map(str, folds)) or 'none'}; expected each once, 0 to {n_folds - 1}")
    manifest = {"model": model, "preset": preset, "n_folds": n_folds, "folds": list(folds)}
    state = rank_state()
    _open(folder, manifest, resume=resume, writes=state.is_main_process)
    state.wait_for_everyone()
    train = partial(train_preset, model, documents, preset=preset, n_folds=n_folds, resume=resume, **settings)
    if deadline < math.inf:
        train = partial(_in_time, train, deadline=deadline, begin=_last_begin(deadline))
    if torch.cuda.is_available() or state.num_processes > 1:
        results = [train(_fold(folder, k), fold=k) for k in folds]
    else:
        results = _side_by_side(train, folder, folds, settings.get("epochs") or look_up(model, preset).train.epochs)
    if None in results or (folder / "result.json").exists():
        return result_so_far(folder, documents)
    result = choose_decision(folder, documents) | {
        "n_models": len(results),
        "epochs": sum(row["epochs"] for row in results),
        "seconds": sum(row["seconds"] for row in results),
        "seconds_per_epoch": sum(row["seconds_per_epoch"] for row in results) / len(results),
        "parameters": results[0]["parameters"],
        "device": results[0]["device"],
    }
    if state.is_main_process:
        write_json(folder / "result.json", result)
    state.wait_for_everyone()
    return result


def result_so_far(folder: str | Path, documents: Sequence[Document]) -> dict:
    """A run's result; of one whose time was over before its end, the score of the taggers that it has until then."""
    folder = Path(folder)
    if (folder / "result.json").exists():
        return read_json(folder / "result.json")
    folds = read_json(folder / "folds.json")["folds"]
    n_finished = sum((_fold(folder, k) / "result.json").exists() for k in folds)
    how = "resume the run to train the others (on Kaggle: attach this output to the next session, and run again)"
    logger.warning("%s: %d of %d folds are finished; %s", folder, n_finished, len(folds), how)
    return {**choose_decision(folder, documents), "n_models": len(fold_folders(folder)), "n_finished": n_finished}


def _side_by_side(train: Callable, folder: Path, folds: Sequence[int], epochs: int) -> list[dict | None]:
    """The results of folds, trained on a CPU: as many at once as torch would use threads."""
    n_workers = min(torch.get_num_threads(), len(folds))
    if n_workers == 1:
        return [train(_fold(folder, k), fold=k) for k in folds]
    return run_side_by_side(
        [partial(train, _fold(folder, k), fold=k, quiet=True) for k in folds],
        n_workers=n_workers,
        bar=tqdm(desc=f"{len(folds)} folds", total=epochs * len(folds), unit="epoch"),
        count=lambda: sum(_epochs_done(_fold(folder, k)) for k in folds),
    )


def _last_begin(deadline: float) -> float:
    """The time of `time.monotonic` after which no fold begins, since little would come of it."""
    seconds = deadline - time.monotonic()
    return deadline - min(seconds / 4, max(30, seconds / 20))


def _in_time(train: Callable, folder: Path, *, deadline: float, begin: float, **settings) -> dict | None:
    """A fold's result, None if its time was over before its end; late ones do not begin, but finished ones are read."""
    late = broadcast_object_list([time.monotonic() > begin])[0]
    if late and not (folder / "result.json").exists():
        return None
    return train(folder, deadline=deadline, **settings)


def _open(folder: Path, manifest: dict, *, resume: bool, writes: bool) -> None:
    """Write folds.json, or see that a run is gone on with as it was started. A run begins with its first fold's."""
    begun = [*folder.glob("run.json"), *folder.glob("fold_*/run.json")]
    if begun and not resume:
        raise KitError(f"{folder}: holds a run already; resume it, or choose another folder")
    if begun:
        reopen_run(folder, manifest, file="folds.json")
    elif writes:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "folds.json", manifest)


def choose_decision(folder: Path, documents: Sequence[Document]) -> dict:
    """Write decision.json from the out-of-fold probabilities of a run on its documents; gives back the score.

    The cut-off is chosen and scored on the same documents: one number out of few, so it flatters F5 a little.
    """
    predictions = out_of_fold_predictions(folder, documents)
    o_threshold = best_threshold(threshold_curve(predictions, rules=DEFAULT_RULES))
    truth = true_rows(document for document, _ in predictions)
    rows = decided_rows(predictions, o_threshold=o_threshold, rules=DEFAULT_RULES)
    low, high = bootstrap_interval(truth, rows, [document.document for document, _ in predictions])
    if rank_state().is_main_process:
        write_json(folder / "decision.json", {"o_threshold": o_threshold, "rules": list(DEFAULT_RULES)})
    score = as_dict(micro_fbeta(truth, rows))
    return {**score, "f5_low": low, "f5_high": high, "n_documents": len(predictions), "o_threshold": o_threshold}


def fold_folders(folder: str | Path) -> list[Path]:
    """The run folders of a cross-validation's folds; a run of one tagger is its own only fold.

    Of a run that is not finished they are the finished folds, where there are none yet those that have a tagger, and
    without any all that were asked for.
    """
    folder = Path(folder)
    if not (folder / "folds.json").exists():
        return [folder]
    folders = [_fold(folder, k) for k in read_json(folder / "folds.json")["folds"]]
    if (folder / "result.json").exists() or not any((of_fold / "run.json").exists() for of_fold in folders):
        return folders  # trained to the end, or exported: a fold that is missing here is missed
    begun = [of_fold for of_fold in folders if has_tagger(of_fold)]
    return [of_fold for of_fold in begun if (of_fold / "result.json").exists()] or begun or folders


def is_whole(folder: str | Path) -> bool:
    """Whether a run has a tagger for each fold, so that each essay it was trained on is some fold's validation too."""
    folds = Path(folder) / "folds.json"
    return folds.exists() and len(fold_folders(folder)) == read_json(folds)["n_folds"]


def _fold(folder: Path, k: int) -> Path:
    return folder / f"fold_{k}"


def _epochs_done(folder: Path) -> int:
    return len(read_json(folder / "history.json")) if (folder / "history.json").exists() else 0


def load_folds_out_of_fold(folder: str | Path) -> OutOfFold | None:
    """The out-of-fold probabilities of all folds of a run; None where a fold has none. Raises KitError if damaged."""
    parts = [load_out_of_fold(of_fold / "tagger") for of_fold in fold_folders(folder)]
    return None if any(part is None for part in parts) else join_out_of_fold(parts)


def out_of_fold_predictions(folder: str | Path, documents: Sequence[Document]) -> Predictions:
    """Those of labelled `documents` that some fold validated on, with its tagger's probabilities (token, label).

    Raises KitError if the run kept none.
    """
    kept = load_folds_out_of_fold(folder)
    if kept is None:
        raise KitError(f"{folder}: holds no out-of-fold probabilities")
    return [(document, kept.of(document)) for document in documents if kept.holds(document)]


logger = logging.getLogger(__name__)


def train_everywhere(
    model: str, documents: Sequence[Document], folder: str | Path, *, n_processes: int | None = None, **settings
) -> dict:
    """`folds.train_folds` in `n_processes` processes, None for one on each GPU; gives back its result.

    Within a process that torchrun has started it trains as one of those, and where a GPU is in use by this process
    already, on that one alone. Raises KitError as `train_folds`, if the GPUs do not work, and if a process fails.
    """
    if "LOCAL_RANK" not in os.environ:
        check_gpus()
        n_processes = n_processes or n_gpus()
        if n_processes > 1 and torch.cuda.is_initialized():
            logger.warning("a GPU is in use by this process already: training on one GPU")
        elif n_processes > 1:
            # torch says of each process that it ended and where, of bad input too; what matters is said below.
            logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
            logging.getLogger("torch.multiprocessing").setLevel(logging.CRITICAL)
            try:
                notebook_launcher(_train, (model, documents, folder, settings), num_processes=n_processes)
            except ChildFailedError as error:
                raise KitError(_reason(error)) from None
            return result_so_far(folder, documents)
    return train_folds(model, documents, folder, **settings)


def _train(model: str, documents: Sequence[Document], folder: str | Path, settings: dict) -> None:
    train_folds(model, documents, folder, **settings)


def _reason(error: ChildFailedError) -> str:
    """What the process that failed first said last; where it was, is logged for what is not the kit's own error."""
    _, failure = error.get_first_failure()
    if not isinstance(failure.message, dict):
        return f"a process of the training died (exit code {failure.exitcode}): {failure.message}"
    said = failure.message["message"]
    if said.startswith("KitError: "):
        return said.removeprefix("KitError: ")
    logger.error("%s", failure.message["extraInfo"]["py_callstack"])
    return f"a process of the training failed: {said}"
