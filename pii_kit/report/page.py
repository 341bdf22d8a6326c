"""Build HTML pages of one file: style and script are inside, and the page loads nothing."""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from pii_kit.files import atomic_write
from pii_kit.pieces import encodable


def write_page(
    path: str | Path, name: str, *, data: object = None, scripts: Sequence[str] = (), style: str = "", **parts: str
) -> None:
    """Write the template NAME.html as a page, completely or not at all. Only the owner may read it.

    `data` is what the script reads as JSON: text of documents belongs there, because the script makes text nodes of it.
    `scripts` are files, and `style` are rules, beside those of all pages and NAME.css. `parts` are HTML.
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


def colour_rules(attribute: str, colours: Mapping[str, str]) -> str:
    """Return CSS rules that give elements a colour by the value of a data attribute."""
    return "".join(f'[data-{attribute}="{value}"] {{ --colour: {colour}; }}\n' for value, colour in colours.items())


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows as an HTML table, whose columns are all names in them."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    html = "".join(f"<th>{escaped(name.replace('_', ' '))}</th>" for name in columns)
    for row in rows:
        cells = (row.get(name, "") for name in columns)
        texts = (f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells)
        html += "</tr>\n<tr>" + "".join(f"<td>{escaped(text)}</td>" for text in texts)
    return f"<table>\n<tr>{html}</tr>\n</table>\n" if rows else "<p>None.</p>\n"
