"""Tables (pandas) of what labelled documents contain, and of how predicted labels score."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from pii_kit.documents import Document, true_labels
from pii_kit.labels import PII_TYPES, spans_of, type_of
from pii_kit.metrics import BETA, as_dict, bootstrap_interval, micro_fbeta
from pii_kit.pieces import PieceTokenizer
from pii_kit.report import error_kind


def document_table(documents: Sequence[Document], tokenizer: PieceTokenizer | None = None) -> pd.DataFrame:
    """Count tokens, whitespace tokens and entities of each document, and pieces if there is a tokenizer."""
    table = pd.DataFrame({"document": [document.number for document in documents]})
    table["tokens"] = [len(document.tokens) for document in documents]
    if tokenizer:
        table["pieces"] = [len(tokenizer.cut(document).ids) for document in documents]
    table["whitespace"] = [sum(map(str.isspace, document.tokens)) for document in documents]
    return table.assign(entities=[len(spans_of(true_labels(document))) for document in documents])


def entity_table(documents: Iterable[Document]) -> pd.DataFrame:
    """Return a row for each entity: document, type, tokens `first` to `end`, and position (0 to 1) in the document."""
    rows = [
        (document.number, pii_type, first, end, first / len(document.tokens))
        for document in documents
        for first, end, pii_type in spans_of(true_labels(document))
    ]
    return pd.DataFrame(rows, columns=["document", "type", "first", "end", "position"])


def label_counts(documents: Sequence[Document]) -> pd.DataFrame:
    """Count, for each PII type, the B- and I- tokens, the entities, and the documents that contain the type."""
    labels = Counter(label for document in documents for label in true_labels(document))
    entities = entity_table(documents).groupby("type")["document"]
    table = pd.DataFrame({f"{sign}-": [labels[f"{sign}-{name}"] for name in PII_TYPES] for sign in "BI"}, PII_TYPES)
    counts = {"entities": entities.size(), "documents": entities.nunique()}
    return table.assign(**{name: of.reindex(PII_TYPES, fill_value=0) for name, of in counts.items()})


def overview(documents: Sequence[Document]) -> pd.Series:
    """Return the main figures of a data set."""
    counts, by_document = label_counts(documents), document_table(documents)
    n_tokens, n_pii = int(by_document["tokens"].sum()), int(counts[["B-", "I-"]].to_numpy().sum())
    figures = {
        "documents": len(documents),
        "documents with PII": int((by_document["entities"] > 0).sum()),
        "tokens": n_tokens,
        "tokens that are PII": n_pii,
        "per cent of tokens": round(100 * n_pii / n_tokens, 3),
        "longest document, tokens": int(by_document["tokens"].max()),
    }
    return pd.Series(figures, name="value", dtype=object)


def error_counts(documents: Sequence[Document], labels: Sequence[Sequence[str]]) -> pd.DataFrame:
    """Count the wrong rows of every document with errors; documents that cost the most F5 come first.

    The cost is what the errors add to the denominator of F5: 25 for a miss, 1 for a false row, 26 for a wrong label.
    """
    kinds, rows = ["missed", "false", "wrong label"], []
    for document, predicted in zip(documents, labels, strict=True):
        counts = Counter(error_kind(*pair) for pair in zip(true_labels(document), predicted, strict=True))
        rows.append([document.number, *(counts[kind] for kind in kinds)])
    table = pd.DataFrame(rows, columns=["document", *kinds])
    table["cost"] = (table[kinds] @ [BETA**2, 1, BETA**2 + 1]).astype(int)
    return table[table["cost"] > 0].sort_values(["cost", "document"], ascending=[False, True], ignore_index=True)


def score_table(truth: pd.DataFrame, submissions: Mapping[str, pd.DataFrame], documents: Sequence[int]) -> pd.DataFrame:
    """Return f5, precision, recall, tp, fp, fn, and the interval f5_low to f5_high of each submission."""
    lines = {}
    for name, rows in submissions.items():
        low, high = bootstrap_interval(truth, rows, documents)
        lines[name] = {**as_dict(micro_fbeta(truth, rows)), "f5_low": low, "f5_high": high}
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("model")


def type_table(truth: pd.DataFrame, rows: pd.DataFrame, documents: Sequence[int]) -> pd.DataFrame:
    """Return the columns of `score_table` for each PII type that has true or submitted rows."""
    lines = {}
    for pii_type in PII_TYPES:
        of_type = [table[table["label"].map(type_of) == pii_type] for table in (truth, rows)]
        if any(map(len, of_type)):
            lines[pii_type] = score_table(of_type[0], {pii_type: of_type[1]}, documents).iloc[0]
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("type")
