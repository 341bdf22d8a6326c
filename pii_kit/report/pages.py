"""HTML pages of one file: the errors of a run, the review of detections, and the report of a redaction.

Style and script are inside, and a page loads nothing.
"""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from math import inf
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from pii_kit.documents import Document, true_labels
from pii_kit.files import KitError, atomic_write
from pii_kit.labels import LABELS, OUTSIDE_ID, PII_TYPES, type_of
from pii_kit.metrics import BETA, Predictions, Score, as_dict, row_counts
from pii_kit.pieces import encodable
from pii_kit.redact.review import FORMAT, Detection, fingerprint_texts
from pii_kit.report import ERROR_COLOURS, TYPE_COLOURS, error_kind

N_LIKELIEST = 3  # labels in the tooltip of a token
N_ROWS = 500  # of a table on the page of a redaction; the JSON report has all
NAMED = ("documents", "changed_documents", "types", "mentions", "kept", "leaks", "look_at_first", "settings")


def write_error_page(
    path: str | Path, predictions: Predictions, labels: Sequence[Sequence[str]], *, title: str, note: str = ""
) -> None:
    """Write the errors of predicted labels (document, token) on labelled documents as a page with filters.

    Documents with missed rows come first, then those that cost the most F5. Documents without any true or predicted PII
    are only counted.

    Raises:
        KitError: A document has no labels, or the page would lie in a run folder, which must not hold text of essays.
    """
    folder = Path(path).parent.resolve()
    for parent in (folder, *folder.parents):
        if (parent / "run.json").exists():
            raise KitError(f"{path}: would put essays into the run folder {parent}; write the page outside of it")
    scores = [Score(*row_counts(doc, found)) for (doc, _), found in zip(predictions, labels, strict=True)]
    total = Score(*(sum(getattr(score, name) for score in scores) for name in ("tp", "fp", "fn")))
    listed = []
    for (document, probabilities), predicted, score in zip(predictions, labels, scores, strict=True):
        if marks := _marks(document, probabilities, predicted):
            cost = round(BETA**2 * score.fn + score.fp)  # what errors add to the denominator of F5
            spaces = [*map(int, document.trailing_whitespace)]
            order = score.fn == 0, -cost, document.number
            listed.append((order, [str(document.number), document.tokens, spaces, marks, cost]))
    listed.sort(key=lambda pair: pair[0])
    n_wrong = sum(score.fn + score.fp > 0 for score in scores)
    figures = {name: f"{value}" if isinstance(value, int) else f"{value:.4f}" for name, value in as_dict(total).items()}
    figures |= {"documents": f"{len(scores)}", "wrong": f"{n_wrong}", "right": f"{len(listed) - n_wrong}"}
    figures |= {"empty": f"{len(scores) - len(listed)}", "title": escaped(title), "note": escaped(note)}
    data = {"types": PII_TYPES, "documents": [entry for _, entry in listed]}
    style = _colour_rules("kind", ERROR_COLOURS)
    _write_page(path, "error_page", data=data, scripts=["error_page.js"], style=style, **figures)


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


def write_review_page(
    path: str | Path,
    documents: Sequence[Document],
    detections: Sequence[Sequence[Detection]],
    *,
    names: Mapping[int, str],
    title: str,
    note: str = "",
) -> None:
    """Write a page on which a person decides what is PII; `redact.review.read_decisions` reads what it saves.

    The document with the most uncertain detection comes first. `names` are shown instead of documents' numbers.
    """
    pairs = list(zip(documents, detections, strict=True))
    pairs.sort(key=lambda pair: min((detection.margin for detection in pair[1]), default=inf))
    entries = []
    for document, of_document in pairs:
        tokens = zip(document.tokens, document.trailing_whitespace, strict=True)
        spans = [
            [span.start, span.end, PII_TYPES.index(span.pii_type), round(span.chance, 4), int(span.is_suggestion)]
            for span in of_document
        ]
        number = str(document.number)  # as text, because JavaScript rounds large numbers
        entries.append([number, [token + " " * space for token, space in tokens], spans, names[document.number]])
    data = {"format": FORMAT, "fingerprint": fingerprint_texts(documents), "types": PII_TYPES, "documents": entries}
    scripts, style = ["review_view.js", "review_page.js"], _colour_rules("type", TYPE_COLOURS)
    texts = {"title": escaped(title), "note": escaped(note)}
    _write_page(path, "review_page", data=data, scripts=scripts, style=style, **texts)


def write_redaction_page(path: str | Path, report: Mapping[str, Any]) -> None:
    """Write what `redact.release.report_of` returns as a page: counts and places, but no text of documents."""
    leaks = report["leaks"]
    others = report["settings"] | {name: value for name, value in report.items() if name not in NAMED}
    rows = {
        "types": [{"type": name, **counts} for name, counts in report["types"].items()],
        "look_at_first": [{"document": name} for name in report["look_at_first"]],
        "reasons": [{"reason": reason, "places": n} for reason, n in leaks["explained"].items()],
        "leaks": sorted(leaks["places"], key=lambda leak: leak["reason"] != ""),  # unexplained ones first
        "kept": report["kept"],
        "mentions": report["mentions"],
        "others": [{"name": name, "value": value} for name, value in others.items()],
    }
    parts = {name: _table(of_table[:N_ROWS]) for name, of_table in rows.items()}
    parts |= {"changed": f"{report['changed_documents']}", "documents": f"{report['documents']}", "limit": f"{N_ROWS}"}
    parts |= {"unexplained": f"{leaks['unexplained']}", "explained": f"{sum(leaks['explained'].values())}"}
    _write_page(path, "redaction_page", title="Redaction report", **parts)


def _table(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows as an HTML table, whose columns are all names in them."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    html = "".join(f"<th>{escaped(name.replace('_', ' '))}</th>" for name in columns)
    for row in rows:
        cells = (row.get(name, "") for name in columns)
        texts = (f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells)
        html += "</tr>\n<tr>" + "".join(f"<td>{escaped(text)}</td>" for text in texts)
    return f"<table>\n<tr>{html}</tr>\n</table>\n" if rows else "<p>None.</p>\n"


def _write_page(
    path: str | Path, name: str, *, data: object = None, scripts: Sequence[str] = (), style: str = "", **parts: str
) -> None:
    """Write the template NAME.html as a page that only the owner may read, completely or not at all.

    `data` is what the script reads as JSON: text of documents belongs there, because the script makes text nodes of it.
    `scripts` and `style` are added to those of all pages. `parts` are HTML.
    """
    script = "".join(map(read_asset, ("page.js", *scripts)))
    page = Template(read_asset("page.html")).substitute(
        parts,
        style=read_asset("page.css") + read_asset(f"{name}.css") + style,
        body=Template(read_asset(f"{name}.html")).substitute(parts),
        # If text of a document ever broke out of its element, it still could not run a script or load a file.
        digest=b64encode(sha256(script.encode()).digest()).decode(),
        script=script,
        data=json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),  # "<" alone could end the JSON
    )
    with atomic_write(path, private=True) as handle:
        handle.write(page)


def read_asset(name: str) -> str:
    """Return a file of the pages: style, script or HTML."""
    return (files("pii_kit.report") / name).read_text(encoding="utf-8")


def escaped(text: str) -> str:
    """Escape text for HTML; lone surrogates, which UTF-8 cannot encode, become question marks."""
    return escape(encodable(text))


def _colour_rules(attribute: str, colours: Mapping[str, str]) -> str:
    """Return CSS rules that give elements a colour by the value of a data attribute."""
    return "".join(f'[data-{attribute}="{value}"] {{ --colour: {colour}; }}\n' for value, colour in colours.items())
