"""What is compared, and on which essays: runs out of fold, spaCy's recognizer on the same folds, test essays."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pii_kit.data import Document, read_documents, split_documents
from pii_kit.ensemble import choose_weights, load_ensemble
from pii_kit.folds import load_folds_out_of_fold
from pii_kit.metrics import micro_fbeta
from pii_kit.out_of_fold import OutOfFold, average_out_of_fold
from pii_kit.runs import read_json
from pii_kit.spacy_ner import label_with_spacy, train_spacy_ner
from pii_kit.submission import label_documents, read_submission, submission_rows, true_rows


def spacy_out_of_fold(
    documents: Sequence[Document], *, n_folds: int, folds: Sequence[int], seed: int
) -> dict[int, list[str]]:
    """Document number to labels (token) by spaCy's NER, trained for each of `folds` on the essays of all others."""
    labels: dict[int, list[str]] = {}
    for fold in folds:
        training, validation = split_documents(documents, n_folds=n_folds, fold=fold, seed=seed)
        pipeline = train_spacy_ner(training, seed=seed)
        labels |= {document.document: label_with_spacy(pipeline, document) for document in validation}
    return labels


def say_out_of_fold(
    runs: Mapping[str, Path], *, both: str
) -> tuple[dict[str, OutOfFold], dict[str, dict], list[float]]:
    """Runs by name to what each says out of fold, and their average under the name `both`; decisions; the weights.

    A decision is a cut-off and rules, as `label_document` takes them; the weights are the average's, run by run.
    """
    kept = {name: load_folds_out_of_fold(run) for name, run in runs.items()}
    decisions = {name: read_json(run / "decision.json") for name, run in runs.items()}
    weights, o_threshold = choose_weights(list(kept.values()))
    rules = list(dict.fromkeys(rule for decision in decisions.values() for rule in decision["rules"]))
    kept[both] = average_out_of_fold(list(kept.values()), weights)
    return kept, decisions | {both: {"o_threshold": o_threshold, "rules": rules}}, weights


def f5_of_test(runs: Sequence[Path], test: Sequence[Document]) -> float:
    """F5 of the average of all folds of runs on labelled documents that no run was trained on."""
    ensemble = load_ensemble(runs)
    rows = submission_rows((doc.document, ensemble.label(doc, scores)) for doc, scores in ensemble.predict(test))
    return micro_fbeta(true_rows(test), rows).f


def labelled_test_documents(folder: Path) -> list[Document]:
    """The folder's test essays where test_labels.csv or the file itself tells their labels; else none."""
    test = read_documents(folder / "test.json")
    if (folder / "test_labels.csv").is_file():
        return label_documents(test, read_submission(folder / "test_labels.csv", test))
    return test if all(document.labels is not None for document in test) else []
