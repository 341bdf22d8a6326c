"""Show the report of a redaction as one HTML page: counts and places, but no text."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pii_kit.report.page import table, write_page

LIMIT = 500  # rows of a table on the page; the JSON report has all of them
SHOWN = ("documents", "changed_documents", "types", "mentions", "kept", "leaks", "look_at_first", "settings")


def write_redaction_page(path: str | Path, report: Mapping[str, Any]) -> None:
    """Write what `redact.release.report_of` returns as a page."""
    leaks = report["leaks"]
    others = report["settings"] | {name: value for name, value in report.items() if name not in SHOWN}
    rows = {
        "types": [{"type": name, **counts} for name, counts in report["types"].items()],
        "look_at_first": [{"document": name} for name in report["look_at_first"]],
        "reasons": [{"reason": reason, "places": n} for reason, n in leaks["explained"].items()],
        "leaks": sorted(leaks["places"], key=lambda leak: leak["reason"] != ""),  # unexplained ones first
        "kept": report["kept"],
        "mentions": report["mentions"],
        "others": [{"name": name, "value": value} for name, value in others.items()],
    }
    counts = {"changed": report["changed_documents"], "documents": report["documents"], "limit": LIMIT}
    counts |= {"unexplained": leaks["unexplained"], "explained": sum(leaks["explained"].values())}
    parts = {name: f"{count}" for name, count in counts.items()}
    parts |= {name: table(of_table[:LIMIT]) for name, of_table in rows.items()}
    write_page(path, "redaction_page", title="Redaction report", **parts)
