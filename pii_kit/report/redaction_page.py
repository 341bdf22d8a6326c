"""Show the report of a redaction as one HTML page: counts, places and hashes, but no text."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pii_kit.files import atomic_write
from pii_kit.report.page import build_page, read_asset

TITLE = "Redaction report"
N_PLACES = 500  # rows of a table on the page; the JSON report has all of them


def write_redaction_page(path: str | Path, report: Mapping[str, Any]) -> None:
    """Write what `redact.release.report_of` returns as a page, completely or not at all."""
    with atomic_write(path) as handle, pd.option_context("display.max_colwidth", None):
        handle.writelines(build_page(TITLE, _body(report), style=read_asset("redaction_page.css"), scripts=()))


def _body(report: Mapping[str, Any]) -> Iterator[str]:
    leaks, n_documents = report["leaks"], report["documents"]
    n_leaks = sum(leaks["explained"].values())
    yield (
        f"<header><h1>{TITLE}</h1><p>{report['changed_documents']} of {n_documents} documents changed. Leaks: "
        f"{leaks['unexplained']} unexplained, {n_leaks} with a reason.</p></header><main>\n"
    )
    types = pd.DataFrame.from_dict(report["types"], orient="index").rename(columns=lambda name: name.replace("_", " "))
    yield _section("Replaced, by type", types, "A mention is not labelled, but equal to a labelled string or name.")
    first = ", ".join(map(str, report["look_at_first"]))
    yield _section(
        "Look at first",
        pd.DataFrame({"documents": [first]} if first else {}),
        "Documents with leaks, with strings that were kept, or with further tokens that may be PII; most urgent first.",
    )
    yield _section("Why leaks may stay", pd.DataFrame(leaks["explained"].items(), columns=["reason", "places"]))
    places = sorted(leaks["places"], key=lambda leak: leak["reason"] != "")  # unexplained ones first
    for name, rows in (("Leaks", places), ("Kept strings", report["kept"]), ("Mentions", report["mentions"])):
        more = f" The first {N_PLACES} of {len(rows)}; the JSON report has all." * (len(rows) > N_PLACES)
        yield _section(name, pd.DataFrame(rows[:N_PLACES]), f"Places are in characters.{more}")
    counts = ("documents", "changed_documents", "types", "mentions", "kept", "leaks", "look_at_first", "settings")
    sources = {name: value for name, value in report.items() if name not in counts}
    rest = pd.DataFrame((report["settings"] | sources).items(), columns=["name", "value"])
    yield _section("Settings, labels and files", rest) + "</main>\n"


def _section(name: str, table: pd.DataFrame, note: str = "") -> str:
    if table.empty:
        content = "<p>None.</p>"
    else:
        numbered = isinstance(table.index, pd.RangeIndex)
        content = f"<p>{note}</p>" + table.to_html(
            index=not numbered, na_rep="", float_format="{:.3f}".format, border=0
        )
    return f"<section><h2>{name}</h2>{content}</section>\n"
