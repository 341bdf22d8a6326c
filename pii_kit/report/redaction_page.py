"""Show the report of a redaction as one HTML page: counts and places, but no text."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pii_kit.report.page import table, write_page

N_PLACES = 500  # rows of a table on the page; the JSON report has all of them
SHOWN = ("documents", "changed_documents", "types", "mentions", "kept", "leaks", "look_at_first", "settings")


def write_redaction_page(path: str | Path, report: Mapping[str, Any]) -> None:
    """Write what `redact.release.report_of` returns as a page."""
    leaks = report["leaks"]
    first = ", ".join(map(str, report["look_at_first"]))
    sections = {
        "Replaced, by type": [{"type": name, **counts} for name, counts in report["types"].items()],
        "Look at first": [{"documents": first}] if first else [],
        "Why leaks may stay": [{"reason": reason, "places": n} for reason, n in leaks["explained"].items()],
        "Leaks": sorted(leaks["places"], key=lambda leak: leak["reason"] != ""),  # unexplained ones first
        "Kept strings": report["kept"],
        "Mentions": report["mentions"],
    }
    others = report["settings"] | {name: value for name, value in report.items() if name not in SHOWN}
    sections["Settings, labels and files"] = [{"name": name, "value": value} for name, value in others.items()]
    notes = {
        "Replaced, by type": "A mention is not labelled, but equal to a labelled string or name.",
        "Look at first": "Documents with leaks, with strings that were kept, or with further tokens that may be PII; "
        "most urgent first.",
        **dict.fromkeys(("Leaks", "Kept strings", "Mentions"), "Places are in characters."),
    }
    html = ""
    for name, rows in sections.items():
        more = f" The first {N_PLACES} of {len(rows)}; the JSON report has all." * (len(rows) > N_PLACES)
        html += f"<section><h2>{name}</h2><p>{notes.get(name, '')}{more}</p>{table(rows[:N_PLACES])}</section>\n"
    counts = f"{report['changed_documents']} of {report['documents']} documents changed. Leaks: "
    counts += f"{leaks['unexplained']} unexplained, {sum(leaks['explained'].values())} with a reason."
    write_page(path, "redaction_page", "Redaction report", counts=counts, sections=html)
