"""Out-of-fold probabilities: kept in the run folder without any text, averaged, and used to choose thresholds.

Only tokens that a threshold could label PII are kept (P(O) < KEPT_BELOW): about one in a hundred of a trained tagger.
"""

import logging
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from safetensors.numpy import load_file, save_file

from pii_kit.decide import O_THRESHOLDS
from pii_kit.documents import Document, true_labels
from pii_kit.files import KitError, atomic_folder, in_one_line
from pii_kit.labels import LABEL_TO_ID, LABELS, OUTSIDE, OUTSIDE_ID
from pii_kit.metrics import Predictions, Score, counts_by_threshold, row_counts, safe_threshold
from pii_kit.models.network import TorchNetwork
from pii_kit.models.onnx import write_onnx
from pii_kit.pieces import write_tokenizer
from pii_kit.predict import Tagger, fold_folders, load_member, predict_documents
from pii_kit.rules import label_document
from pii_kit.training.runs import not_trained_on

logger = logging.getLogger(__name__)
KEPT_BELOW = 0.99999
FILE = "out_of_fold.safetensors"
EXPORTED = ("run.json", "decision.json", "result.json", "tagger/decision.json", FILE)  # beside networks and tokenizers
COLUMNS = ("tokens", "labels", "probabilities")


@dataclass(frozen=True)
class Scored:
    """What is kept of a document: `tokens` and their true `labels` (row,), and `probabilities` (row, label)."""

    n_tokens: int
    fold: int
    tokens: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True)
class OutOfFold:
    """Out-of-fold probabilities of a run, by document number. A token that is not kept is O, and is predicted O."""

    scored: Mapping[int, Scored]

    def of(self, document: Document) -> np.ndarray:
        """Return the probabilities (token, label) of a document, with P(O) = 1 where none are kept."""
        kept = self.scored[document.number]
        probabilities = np.zeros((kept.n_tokens, len(LABELS)), dtype=np.float32)
        probabilities[:, OUTSIDE_ID] = 1
        probabilities[kept.tokens] = kept.probabilities
        return probabilities

    def holds(self, document: Document) -> bool:
        """Check whether a labelled document was scored: the same number, length and labels."""
        kept = self.scored.get(document.number)
        if kept is None or kept.n_tokens != len(document.tokens) or document.labels is None:
            return False
        labels = np.full(kept.n_tokens, OUTSIDE_ID)
        labels[kept.tokens] = kept.labels
        return labels.tolist() == [LABEL_TO_ID[label] for label in document.labels]

    def folds(self, documents: Iterable[Document]) -> list[list[Document]]:
        """Return the documents that were scored, of each fold in turn."""
        of_folds: dict[int, list[Document]] = {}
        for document in filter(self.holds, documents):
            of_folds.setdefault(self.scored[document.number].fold, []).append(document)
        return [of_folds[fold] for fold in sorted(of_folds)]


def keep_out_of_fold(predictions: Iterable[tuple[Document, np.ndarray]], fold: int = 0) -> OutOfFold:
    """Select what is kept of labelled documents and their probabilities (token, label)."""
    scored = {}
    for document, probabilities in predictions:
        labels = np.array([LABEL_TO_ID[label] for label in true_labels(document)], dtype=np.int8)
        rows = np.flatnonzero((probabilities[:, OUTSIDE_ID] < KEPT_BELOW) | (labels != OUTSIDE_ID))
        scored[document.number] = Scored(len(labels), fold, rows, labels[rows], probabilities[rows])
    return OutOfFold(scored)


def save_out_of_fold(folder: Path, kept: OutOfFold) -> None:
    """Write the out-of-fold probabilities of one fold into its folder."""
    sizes = np.array([(number, of.n_tokens, len(of.tokens)) for number, of in kept.scored.items()])
    columns = {name: np.concatenate([getattr(of, name) for of in kept.scored.values()]) for name in COLUMNS}
    partial = folder / f".{FILE}.partial"
    save_file({"sizes": sizes, **columns}, partial)
    partial.replace(folder / FILE)


def has_out_of_fold(run: str | Path) -> bool:
    """Return whether all folds of a run have out-of-fold probabilities."""
    return all((folder / FILE).exists() for folder in fold_folders(run))


def load_out_of_fold(run: str | Path, folders: Sequence[Path] = ()) -> OutOfFold:
    """Read those of all folds of a run, or of some of its folders. Raises KitError if one is missing or damaged."""
    scored = {}
    for fold, folder in enumerate(folders or fold_folders(run)):
        if not (folder / FILE).exists():
            raise KitError(f"{run}: holds no out-of-fold probabilities to choose a threshold on")
        try:
            content = load_file(folder / FILE)
            parts = [np.split(content[name], content["sizes"][:-1, 2].cumsum()) for name in COLUMNS]
            for (number, n_tokens, _), *columns in zip(content["sizes"].tolist(), *parts, strict=True):
                scored[number] = Scored(n_tokens, fold, *columns)
        except Exception as error:  # whatever a damaged file makes safetensors and numpy raise
            raise KitError(f"{folder / FILE}: cannot be loaded: {in_one_line(error)}") from None
    return OutOfFold(scored)


def mean_of(members: Sequence[OutOfFold], document: Document) -> np.ndarray:
    """Return the mean probabilities (token, label) of several runs for a document that all have scored."""
    return np.mean([member.of(document) for member in members], axis=0)


def choose_threshold(runs: Sequence[str | Path], documents: Sequence[Document], rules: Sequence[str]) -> float:
    """Choose the `safe_threshold` of the runs' average for out-of-fold F5, with the rules applied.

    Of the labelled `documents`, those that every run validated are used.

    Raises:
        KitError: no document was validated by every run.
    """
    return _choose(_counts_of_runs(runs, documents, rules))


def threshold_for_recall(
    runs: Sequence[str | Path], documents: Sequence[Document], rules: Sequence[str], recall: float
) -> tuple[float, Score]:
    """Choose the lowest of O_THRESHOLDS at which the runs' average finds this share of the true rows out of fold.

    A row counts as found if its token has any PII label, which is what redaction needs. The score counts rows found,
    other tokens found, and rows missed.

    Raises:
        KitError: no threshold finds enough rows, or no document was validated by every run.
    """
    counts = _counts_of_runs(runs, documents, rules, recall)
    o_threshold = _choose(counts, recall)
    return o_threshold, Score(*counts.sum(0)[O_THRESHOLDS.index(o_threshold)].tolist())


def labels_by_other_folds(
    members: Sequence[OutOfFold],
    documents: Sequence[Document],
    rules: Sequence[str],
    *,
    recall: float | None = None,
    by_type: Mapping[str, float] = MappingProxyType({}),
) -> tuple[dict[int, list[str]], float]:
    """Return labels (token) by document number, of each fold with the threshold of the other folds, and that of all.

    A threshold that was chosen on the same documents would score too high. The folds are those of the first member; a
    single fold gets its own threshold. `by_type` fixes the thresholds of single PII types.
    """
    folds = members[0].folds(documents)
    counts = [_counts(members, fold, rules, recall) for fold in folds]
    labels = {}
    for place, fold in enumerate(folds):
        o_threshold = _choose(np.concatenate(counts[:place] + counts[place + 1 :] or counts), recall)
        for document in fold:
            labels[document.number] = label_document(
                document, mean_of(members, document), o_threshold=o_threshold, by_type=by_type, rules=rules
            )
    return labels, _choose(np.concatenate(counts), recall)


def labels_out_of_fold(
    tagger: Tagger, runs: Sequence[str | Path], documents: Sequence[Document], *, recall: float | None = None
) -> dict[int, list[str]]:
    """Return the `labels_by_other_folds` of the documents that all runs have validated, in several folds."""
    if not all(map(has_out_of_fold, runs)):
        return {}
    members, shared = _validated(runs, documents)
    if len(members[0].folds(shared)) < 2:
        return {}
    return labels_by_other_folds(members, shared, tagger.rules, recall=recall, by_type=tagger.thresholds)[0]


def _validated(runs: Sequence[str | Path], documents: Sequence[Document]) -> tuple[list[OutOfFold], list[Document]]:
    members = list(map(load_out_of_fold, runs))
    return members, [document for document in documents if all(member.holds(document) for member in members)]


def _counts_of_runs(
    runs: Sequence[str | Path], documents: Sequence[Document], rules: Sequence[str], recall: float | None = None
) -> np.ndarray:
    members, shared = _validated(runs, documents)
    if not shared:
        raise KitError(
            f"none of {len(documents)} labelled documents was in a validation fold of every run; "
            "pass the documents that the runs were trained on, or none for the mean of their thresholds"
        )
    if len(shared) < len(documents):
        counts = f"{len(shared)} of {len(documents)}"
        logger.warning("the threshold is chosen on %s documents; the runs did not validate the others as given", counts)
    return _counts(members, shared, rules, recall)


def _counts(
    members: Sequence[OutOfFold], documents: Iterable[Document], rules: Sequence[str], recall: float | None
) -> np.ndarray:
    """Return the rows right, false and missed (document, threshold, 3), of any type if a recall is asked for."""
    count = row_counts if recall is None else found_counts
    return np.array([counts_by_threshold(doc, mean_of(members, doc), rules=rules, count=count) for doc in documents])


def _choose(counts: np.ndarray, recall: float | None = None) -> float:
    """Return the safe threshold for `counts`, or the lowest one that reaches a recall."""
    if recall is None:
        return safe_threshold(counts.swapaxes(0, 1))[1]
    scores = [Score(*of_threshold) for of_threshold in counts.sum(0).tolist()]
    for o_threshold, score in zip(O_THRESHOLDS, scores, strict=True):
        if score.tp and score.recall >= recall:
            return o_threshold
    reached = f"at most {max(score.tp for score in scores)} of {scores[0].tp + scores[0].fn} rows are found"
    raise KitError(f"a recall of {recall:g} cannot be reached: {reached}; ask for less, or train on more essays")


def found_counts(document: Document, labels: Sequence[str]) -> tuple[int, int, int]:
    """Return how many true rows of a document have any PII label, how many other tokens have one, and missed rows."""
    both = zip(true_labels(document), labels, strict=True)
    pairs = Counter((true != OUTSIDE, label != OUTSIDE) for true, label in both)
    return pairs[True, True], pairs[False, True], pairs[True, False]


@dataclass(frozen=True)
class Unseen:
    """Documents with probabilities (token, label) by taggers that were not trained on them.

    `n_predicted` of them were not validated by every run. `n_left_out` other documents may have been trained on.
    """

    predictions: Predictions
    n_predicted: int
    n_left_out: int

    def counts(self) -> str:
        """Describe how many documents there are and where their probabilities come from."""
        n = len(self.predictions)
        text = f"{n} documents, {n - self.n_predicted} out of fold, {self.n_predicted} predicted"
        return text + f"; {self.n_left_out} left out (a run may have been trained on them)" * (self.n_left_out > 0)


def predict_unseen(tagger: Tagger, runs: Sequence[str | Path], documents: Sequence[Document]) -> Unseen:
    """Predict labelled documents with the tagger of `runs`, using only members that did not train on the document.

    A run's out-of-fold probabilities are used where there are some. It predicts the other documents that it certainly
    was not trained on.
    """
    of_runs: list[dict[int, np.ndarray]] = []  # document number to weighted probabilities
    predicted: set[int] = set()
    for index, run in enumerate(runs):
        weight = sum(member.weight for member in tagger.members if member.run == index)
        kept = load_out_of_fold(run) if has_out_of_fold(run) else OutOfFold({})
        validated = {document.number: kept.of(document) for document in documents if kept.holds(document)}
        others = not_trained_on(Path(run), [document for document in documents if document.number not in validated])
        scores = {document.number: found for document, found in tagger.of_runs([index]).predict(others)}
        predicted |= scores.keys()
        of_runs.append({number: weight * found for number, found in (validated | scores).items()})
    seen = [document for document in documents if all(document.number in scores for scores in of_runs)]
    return Unseen(
        predictions=[(doc, np.sum([scores[doc.number] for scores in of_runs], axis=0)) for doc in seen],
        n_predicted=sum(document.number in predicted for document in seen),
        n_left_out=len(documents) - len(seen),
    )


def export_run(run: str | Path, out: str | Path, *, int8: Sequence[Document] | None = None) -> float:
    """Export all taggers of a run to ONNX into a new run folder; return the largest difference of a logit.

    With `int8`, the labelled documents that the run was trained on, weights are rounded to 8 bits.

    Raises:
        KitError: `out` exists, the run cannot be exported, or its taggers in int8 miss more rows out of fold. Then
            nothing is written.
    """
    run, out = Path(run), Path(out)
    differences: list[float] = []
    if out.exists():
        raise KitError(f"{out}: exists already; choose a new folder")
    with atomic_folder(out) as inside:
        for fold in fold_folders(run):
            member = load_member(fold, engine="torch", devices=["cpu"])
            if not isinstance(member.network, TorchNetwork):
                raise KitError(f"{run}: is exported already")
            tagger = inside / fold.relative_to(run) / "tagger"
            tagger.mkdir(parents=True)
            write_tokenizer(tagger, member.tokenizer)
            sizes = {"n_pieces": member.tokenizer.n_pieces, "window_size": member.window_size}
            differences.append(write_onnx(member.network.model, tagger, **sizes, int8=int8 is not None))
        for folder in {run, *fold_folders(run)}:
            for path in (folder / name for name in EXPORTED):
                if path.is_file():
                    shutil.copyfile(path, inside / path.relative_to(run))
        if int8 is not None:
            _check_int8(run, inside, int8)
    return max(differences)


def _check_int8(run: Path, exported: Path, documents: Sequence[Document]) -> None:
    kept, tagger = load_out_of_fold(run), Tagger.load(exported)
    before: list[tuple[int, int, int]] = []  # rows right, false and missed, of each document
    after: list[tuple[int, int, int]] = []
    for fold, member in enumerate(tagger.members):
        held = [doc for doc in documents if kept.holds(doc) and kept.scored[doc.number].fold == fold]
        for document, probabilities in predict_documents([member], held):
            before.append(row_counts(document, tagger.decide(document, kept.of(document))))
            after.append(row_counts(document, tagger.decide(document, probabilities)))
    right, _, missed = np.sum(before, axis=0) if before else (0, 0, 0)
    if not right + missed:
        raise KitError(f"{run}: no taggers held out essays with PII among these; expected the run's training essays")
    if (now := np.sum(after, axis=0)[2]) > missed:
        rows = f"of {right + missed} rows out of fold {run} misses {now} in 8 bits, {missed} before"
        raise KitError(f"not exported: {rows}")
