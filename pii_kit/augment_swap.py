"""An essay's PII swapped for surrogates of the same form, token by token where it can be."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pii_kit import augment_text as texts
from pii_kit.data import Document, spell
from pii_kit.labels import spans_of
from pii_kit.spans import Span, cut, document_of_spans, join
from pii_kit.surrogates import Surrogates, handle_of


def swap_pii(document: Document, surrogates: Surrogates) -> Document:
    """The document with a surrogate for each PII: equal ones for equal ones, of the same form.

    Names go token by token (initials to initials, capitals to capitals), everywhere in the essay, so that an e-mail
    made of a name is made of its surrogate; numbers keep their digits' places; links and addresses are drawn anew.
    """
    names = _new_names(document, surrogates)
    handle = handle_of("".join(names.values()))
    drawn: dict[tuple[str, str], Sequence[Span]] = {}
    parts: list[Document] = []
    done = 0
    for first, end, pii_type in spans_of(document.labels):
        if pii_type == texts.NAME:
            continue
        text = spell(document.tokens[first:end], document.trailing_whitespace[first:end]).rstrip(" ")
        if (pii_type, text) not in drawn:
            drawn[pii_type, text] = _surrogate(text, pii_type, handle, end - first, surrogates)
        parts += [_renamed(cut(document, done, first), names), _tokens_of(drawn[pii_type, text], document, end)]
        done = end
    parts.append(_renamed(cut(document, done, len(document.tokens)), names))
    return join(document.document, parts)


def _new_names(document: Document, surrogates: Surrogates) -> dict[str, str]:
    """Tokens of the document's names, casefolded, to new ones; particles, punctuation and single letters go as well."""
    names: dict[str, str] = {}
    for first, end, pii_type in spans_of(document.labels):
        if pii_type != texts.NAME:
            continue
        for place, token in enumerate(document.tokens[first:end]):
            if token.casefold() in names or not token[:1].isupper():
                continue
            if sum(map(str.isalpha, token)) < 2:
                names[token.casefold()] = surrogates.like(token)
            elif token.isalpha():
                names[token.casefold()] = surrogates.word("last" if place else "first")
    return names


def _renamed(document: Document, names: Mapping[str, str]) -> Document:
    """A part of a document with its names swapped, wherever they stand in capitals or title case."""

    def swapped(token: str) -> str:
        new = names.get(token.casefold()) if token[:1].isupper() else None
        if new is None:
            return token
        return new.upper() if token.isupper() and len(token) > 1 else new

    return replace(document, tokens=tuple(map(swapped, document.tokens)))


def _surrogate(text: str, pii_type: str, handle: str, n_tokens: int, surrogates: Surrogates) -> list[Span]:
    draws = {
        texts.EMAIL: lambda: surrogates.email(handle),
        texts.USERNAME: lambda: surrogates.username(handle),
        texts.URL: lambda: surrogates.url(handle),
        texts.ADDRESS: surrogates.address,
    }
    if pii_type in draws and (n_tokens == 1 or pii_type == texts.ADDRESS):
        return [(draws[pii_type](), pii_type)]
    return [(surrogates.like(text), pii_type)]


def _tokens_of(spans: Sequence[Span], document: Document, end: int) -> Document:
    """Spans as tokens that take the place of those before `end`, with the space that followed them."""
    made = document_of_spans(document.document, spans)
    return replace(made, trailing_whitespace=(*made.trailing_whitespace[:-1], document.trailing_whitespace[end - 1]))
