"""Export the taggers of a run to ONNX, in fp32 or int8."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from pii_kit.documents import Document
from pii_kit.files import KitError, atomic_folder
from pii_kit.metrics import row_counts
from pii_kit.models.export import write_onnx
from pii_kit.models.network import TorchNetwork
from pii_kit.pieces import write_tokenizer
from pii_kit.predict import Tagger, fold_folders, load_member, predict_documents
from pii_kit.training.out_of_fold import FILE, load_out_of_fold

COPIED = ("run.json", "decision.json", "result.json", "tagger/decision.json", FILE)


def export_run(run: str | Path, out: str | Path, *, int8: Sequence[Document] | None = None) -> float:
    """Export all taggers of a run to ONNX into a new run folder; return the largest difference of a logit.

    With `int8`, the labelled documents that the run was trained on, weights are rounded to 8 bits.

    Raises:
        KitError: `out` exists, the run cannot be exported, or its taggers in int8 miss more rows of the documents that
            each did not train on. Then nothing is written.
    """
    run, out = Path(run), Path(out)
    if out.exists():
        raise KitError(f"{out}: exists already; choose a new folder")
    difference = 0.0
    with atomic_folder(out) as inside:
        for fold in fold_folders(run):
            member = load_member(fold, engine="torch", devices=["cpu"])
            if not isinstance(member.network, TorchNetwork):
                raise KitError(f"{run}: is exported already")
            target = inside / fold.relative_to(run)
            tagger = target / "tagger"
            tagger.mkdir(parents=True)
            write_tokenizer(tagger, member.tokenizer)
            sizes = {"n_pieces": member.tokenizer.n_pieces, "window_size": member.window_size}
            written = write_onnx(member.network.model, tagger, **sizes, int8=int8 is not None)
            difference = max(difference, written)
            _copy(fold, target)
        _copy(run, inside)
        if int8 is not None:
            _check_int8(run, inside, int8)
    return difference


def _copy(source: Path, target: Path) -> None:
    for name in COPIED:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def _check_int8(run: Path, exported: Path, documents: Sequence[Document]) -> None:
    """Raise KitError if exported taggers miss more rows of their validation documents than those of the run."""
    kept, tagger = load_out_of_fold(run), Tagger.load(exported)
    n_rows = before = after = 0
    for fold, member in enumerate(tagger.members):
        held = [doc for doc in documents if kept.holds(doc) and kept.scored[doc.number].fold == fold]
        for document, probabilities in predict_documents([member], held):
            right, _, missed = row_counts(document, tagger.decide(document, kept.of(document)))
            n_rows, before = n_rows + right + missed, before + missed
            after += row_counts(document, tagger.decide(document, probabilities))[2]
    if not n_rows:
        raise KitError(f"{run}: no taggers held out essays with PII among these; expected the run's training essays")
    if after > before:
        raise KitError(f"not exported: of {n_rows} rows out of fold {run} misses {after} in 8 bits, {before} before")
