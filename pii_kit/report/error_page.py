"""Write the errors on labelled documents as one self-contained HTML page with filters."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pii_kit.documents import Document, true_labels
from pii_kit.files import KitError
from pii_kit.labels import LABELS, OUTSIDE_ID, PII_TYPES, type_of
from pii_kit.metrics import BETA, Predictions, Score, as_dict, row_counts
from pii_kit.report import ERROR_COLOURS
from pii_kit.report.highlight import error_kind
from pii_kit.report.page import colour_rules, escaped, write_page

N_LIKELIEST = 3  # labels listed in the tooltip of a token


def write_error_page(
    path: str | Path, predictions: Predictions, labels: Sequence[Sequence[str]], *, title: str, note: str = ""
) -> None:
    """Write the errors of predicted labels (document, token) on labelled documents as one HTML page.

    Documents with missed rows come first, and among them those that cost the most F5. Documents with only correct rows
    are hidden until a filter shows them, and those without any true or predicted PII are only counted.

    Raises:
        KitError: A document has no labels, or the page would lie in a run folder, which must not hold text of essays.
    """
    folder = Path(path).parent.resolve()
    for parent in (folder, *folder.parents):
        if (parent / "run.json").exists():
            raise KitError(f"{path}: would put essays into the run folder {parent}; write the page outside of it")
    scored, total = [], Score(0, 0, 0)
    for (document, probabilities), predicted in zip(predictions, labels, strict=True):
        score = Score(*row_counts(document, predicted))
        scored.append((score, document, _marks(document, probabilities, predicted)))
        total = Score(total.tp + score.tp, total.fp + score.fp, total.fn + score.fn)
    listed = [one for one in scored if one[2]]
    listed.sort(key=lambda one: (one[0].fn == 0, -_cost(one[0]), one[1].number))
    documents = [
        [str(document.number), document.tokens, [*map(int, document.trailing_whitespace)], marks, _cost(score)]
        for score, document, marks in listed
    ]
    n_wrong = sum(_cost(score) > 0 for score, *_ in listed)
    counts = {"documents": len(scored), "wrong": n_wrong, "right": len(listed) - n_wrong}
    counts |= {"empty": len(scored) - len(listed)}
    write_page(
        path,
        "error_page",
        title=escaped(title),
        scripts=["error_page.js"],
        style=colour_rules("kind", ERROR_COLOURS),
        data={"types": PII_TYPES, "documents": documents},
        note=escaped(note),
        **{name: f"{count}" if isinstance(count, int) else f"{count:.4f}" for name, count in as_dict(total).items()},
        **{name: f"{count}" for name, count in counts.items()},
    )


def _cost(score: Score) -> int:
    """Return what errors add to the denominator of F5."""
    return round(BETA**2 * score.fn + score.fp)


def _marks(document: Document, probabilities: np.ndarray, labels: Sequence[str]) -> list[tuple]:
    """Return the tokens to colour: token index, kind of error, types of the true and predicted label, and tooltip."""
    marks = []
    for index, (true, predicted) in enumerate(zip(true_labels(document), labels, strict=True)):
        if kind := error_kind(true, predicted):
            types = [*dict.fromkeys(filter(None, map(type_of, (true, predicted))))]
            scores = probabilities[index]
            hint = f"token {index}\ntrue label       {true}\npredicted label  {predicted}\n"
            hint += f"P(O)             {scores[OUTSIDE_ID]:.5f}\nmost likely:"
            for label in np.argsort(-scores, kind="stable")[:N_LIKELIEST]:
                hint += f"\n{scores[label]:.5f}  {LABELS[label]}"
            marks.append((index, kind, types, hint))
    return marks
