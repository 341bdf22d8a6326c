"""Build HTML pages of one file: their style and script are inside, and they load nothing."""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files

from pii_kit.pieces import encodable


def build_page(
    title: str, body: Iterable[str], *, style: str, scripts: Sequence[str], without_script: str = ""
) -> Iterator[str]:
    """Yield the parts of a page around the HTML of its body. `title` is plain text.

    `style` is added to the style that all pages share, and `scripts` to their script. The rules in `without_script`
    apply where JavaScript is off.
    """
    script = "".join(map(read_asset, ("page.js", *scripts)))
    # If text of a document ever broke out of its element, it still could not run a script or load a file.
    script_hash = b64encode(sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{script_hash}'"
    yield (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title>\n<style>\n{read_asset('page.css')}{style}</style>\n"
        f"<noscript><style>\n{without_script}</style></noscript>\n</head>\n<body>\n"
    )
    yield from body
    yield f"<script>{script}</script>\n</body>\n</html>\n"


def escaped(text: str) -> str:
    """Escape text for HTML; lone surrogates, which UTF-8 cannot encode, become question marks."""
    return escape(encodable(text))


def read_asset(name: str) -> str:
    """Return a file of the pages: style, script or HTML."""
    return (files("pii_kit.report") / name).read_text(encoding="utf-8")
