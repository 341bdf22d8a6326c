"""Documents in the competition's format: read, check, write, tokenize, cut and join them."""

import codecs
import json
import re
import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import accumulate, chain
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import from_json

from pii_kit.files import KitError, atomic_write, printable
from pii_kit.labels import LABEL_TO_ID, LABELS, OUTSIDE, STREET_ADDRESS, type_of

if TYPE_CHECKING:
    from spacy.tokenizer import Tokenizer  # type: ignore[import-not-found]

FIELDS = ("document", "full_text", "tokens", "trailing_whitespace", "labels")
# spaCy's time grows with the square of a text without whitespace: longer ones are tokenized in parts.
LONGEST, PART = 5000, 1000
LONG = re.compile(rf"\S{{{LONGEST},}}")
SUFFIX = 40  # characters at the end of a text in which spaCy's suffixes are searched; only runs of dots are longer


class DataWarning(UserWarning):
    """Input that can be used, but differs from the competition's description."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """One essay. `number` is the field `document` of a file; the lists have an item per token, `labels` may be None."""

    number: int
    full_text: str
    tokens: tuple[str, ...]
    trailing_whitespace: tuple[bool, ...]
    labels: tuple[str, ...] | None = None

    @property
    def types(self) -> frozenset[str]:
        """The PII types among the labels; empty for an unlabelled document."""
        return frozenset(filter(None, map(type_of, set(self.labels or ()))))


def true_labels(document: Document) -> tuple[str, ...]:
    """Return the labels of a document. Raises KitError if it has none."""
    if document.labels is None:
        raise KitError(f"document {document.number}: labels missing; expected a labelled document")
    return document.labels


def join_tokens(tokens: Iterable[str], trailing_whitespace: Iterable[bool]) -> str:
    """Join tokens to text, with a space after each token that has trailing whitespace.

    >>> join_tokens(["Hi", ",", "Ann"], [False, True, False])
    'Hi, Ann'
    """
    after = map(("", " ").__getitem__, trailing_whitespace)
    return "".join(chain.from_iterable(zip(tokens, after, strict=True)))


def token_edges(document: Document) -> list[int]:
    """Return where each token starts in the joined tokens, and then where they end, in characters.

    >>> token_edges(document_of_text("Hi, Ann"))
    [0, 2, 4, 7]
    """
    return [0, *accumulate(map(add, map(len, document.tokens), document.trailing_whitespace))]


def covered_tokens(edges: Sequence[int], start: int, end: int) -> tuple[int, int]:
    """Return (first token, end token) of the tokens that overlap characters `start` to `end`; see `token_edges`.

    >>> covered_tokens([0, 2, 4, 7], 1, 5)
    (0, 3)
    """
    return bisect_right(edges, start) - 1, bisect_left(edges, end)


class _Entry(BaseModel, strict=True):
    """A document in a file. Numbers have 64 bits in pandas, numpy and the submission."""

    document: int = Field(ge=-(2**63), lt=2**63)
    full_text: str
    tokens: Annotated[list[str], Field(strict=False)]  # a tuple too
    trailing_whitespace: Annotated[list[bool], Field(strict=False)]
    labels: Annotated[list[str], Field(strict=False)] | None = None


def read_documents(path: str | Path, *, labels_required: bool = False) -> list[Document]:
    """Return the documents of a train.json or test.json in its order.

    The hidden test (15,900 documents, 11M tokens) takes 350 MB, and 530 MB while it is read.

    Raises:
        KitError: the file is not in the competition's format. The message names file, document and field.
    """
    path = Path(path)
    if not path.is_file():
        kind = "a folder, not a JSON file" if path.is_dir() else "no such file"
        raise KitError(f"{path}: {kind}; looked in {path.parent.absolute()}")
    content = _parse(path)
    if not isinstance(content, list):
        raise KitError(f"{path}: expected a list of documents, found {_json_name(content)}")
    content.reverse()
    documents: dict[int, Document] = {}
    n_different = 0
    while content:
        entry = content.pop()  # the parsed entry is freed when its document is made
        number = entry.get("document") if isinstance(entry, dict) else None
        place = f"entry {len(documents)}" if number is None else f"document {printable(str(number))}"
        document = check_entry(entry, f"{path}: {place}", labels_required=labels_required)
        if document.number in documents:
            raise KitError(f"{path}: document {document.number}: the number is used twice")
        documents[document.number] = document
        n_different += join_tokens(document.tokens, document.trailing_whitespace) != document.full_text
    if not documents:
        warnings.warn(f"{path}: the file holds no documents", DataWarning, stacklevel=2)
    if n_different:
        where = f"{path}: full_text differs from the tokens in {n_different} of {len(documents)} documents"
        warnings.warn(f"{where}; the tokens are used", DataWarning, stacklevel=2)
    return list(documents.values())


def _parse(path: Path) -> Any:
    raw = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    with suppress(ValueError):  # also for halves of surrogate pairs, which JSON may hold
        return from_json(raw, cache_strings="all")  # equal tokens share strings; `json` takes twice the memory
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise KitError(f"{path}: not JSON in UTF-8: {error}; is the file complete?") from None


def check_entry(entry: Any, where: str, *, labels_required: bool = False) -> Document:
    """Return the document of a parsed JSON object.

    Raises:
        KitError: a field is missing, has another type, or does not fit the others. `where` is what the message names.
    """
    try:
        content = _Entry.model_validate(entry)
    except ValidationError as error:
        errors = error.errors()
        if missing := [str(one["loc"][0]) for one in errors if one["type"] == "missing"]:
            raise KitError(f"{where}: {', '.join(missing)} missing") from None
        field = "".join(f"[{part}]" if isinstance(part, int) else part for part in errors[0]["loc"])
        expected = errors[0]["msg"].replace("valid integer", "whole number").replace("valid ", "")
        expected = expected.replace("Input should be", f"{field}: expected") if field else "expected a document"
        raise KitError(f"{where}: {expected}, found {_json_name(errors[0]['input'])}") from None
    labels, n_tokens = content.labels, len(content.tokens)
    if labels_required and labels is None:
        raise KitError(f"{where}: labels missing (training and scoring need them)")
    for field, items in (("trailing_whitespace", content.trailing_whitespace), ("labels", labels)):
        if items is not None and len(items) != n_tokens:
            raise KitError(f"{where}: {field}: {len(items)} values for {n_tokens} tokens")
    if unknown := set(labels or ()) - LABEL_TO_ID.keys():
        expected = f"expected one of {', '.join(LABELS)}"
        raise KitError(f"{where}: labels: unknown label {printable(min(unknown))!r}; {expected}")
    return Document(
        number=content.document,
        full_text=content.full_text,
        tokens=tuple(content.tokens),
        trailing_whitespace=tuple(content.trailing_whitespace),
        labels=None if labels is None else tuple(labels),
    )


def _json_name(value: Any) -> str:
    names = {type(None): "null", bool: "true or false", float: "a decimal number", int: "a number", str: "a string"}
    return names.get(type(value), "an object" if isinstance(value, dict) else "a list")


def write_documents(path: str | Path, documents: Iterable[Document]) -> None:
    """Write documents to a file that `read_documents` reads; labels are omitted where they are None."""
    found = ({"document": doc.number} | {name: getattr(doc, name) for name in FIELDS[1:]} for doc in documents)
    entries = [{name: value for name, value in entry.items() if value is not None} for entry in found]
    with atomic_write(path) as handle:
        json.dump(entries, handle)


@cache
def english_tokenizer() -> "Tokenizer":
    """Return spaCy's tokenizer of English, which split the competition's essays: that of `spacy.blank("en")`."""
    # Not spacy.blank, which imports every package that extends spaCy: Presidio alone takes seconds. Imported here, as
    # most commands read tokens and never tokenize.
    from spacy import util
    from spacy.lang.en import English
    from spacy.tokenizer import Tokenizer
    from spacy.vocab import create_vocab

    rules = English.Defaults
    return Tokenizer(
        create_vocab("en", rules),
        rules=rules.tokenizer_exceptions,
        # The patterns of prefixes match the start alone, but `search` would try them at each character.
        prefix_search=util.compile_prefix_regex(rules.prefixes or ()).match,
        suffix_search=partial(_find_suffix, util.compile_suffix_regex(rules.suffixes or ())),
        infix_finditer=util.compile_infix_regex(rules.infixes or ()).finditer,
        token_match=rules.token_match,
        url_match=rules.url_match,
        max_cache_size=200_000,
    )


def _find_suffix(pattern: re.Pattern, text: str) -> re.Match | None:
    """Return the match of spaCy's suffixes, which end where the text ends; spaCy reads only its length."""
    match = pattern.search(text[-SUFFIX:])
    return pattern.search(text) if match and match.start() == 0 and len(text) > SUFFIX else match


def _parts(text: str) -> Iterator[str]:
    """Cut a text inside runs of LONGEST or more characters without whitespace, every PART characters."""
    cuts = [place for run in LONG.finditer(text) for place in range(run.start() + PART, run.end(), PART)]
    return (text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True))


def tokenize(text: str) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """Tokenize a text as the competition does; return tokens and trailing whitespace: joined, they are the text.

    >>> tokenize("Hi, Ann")
    (('Hi', ',', 'Ann'), (False, True, False))
    """
    tokenizer = english_tokenizer()
    tokens: list[str] = []
    spaces: list[bool] = []
    for part in _parts(text):
        # spaCy refuses unpaired UTF-16 surrogates, which JSON may hold; "?" in their place gives the same tokens.
        found = tokenizer(part.encode("utf-8", "replace").decode("utf-8"))
        tokens += [part[token.idx : token.idx + len(token)] for token in found]
        spaces += [bool(token.whitespace_) for token in found]
    return tuple(tokens), tuple(spaces)


def document_of_text(text: str, number: int = 0) -> Document:
    """Return an unlabelled document of a text, tokenized as the competition does. Raises KitError if it is no text."""
    if not isinstance(text, str):
        raise KitError(f"document {number}: expected text, found {_json_name(text)}")
    tokens, spaces = tokenize(text)
    return Document(number=number, full_text=text, tokens=tokens, trailing_whitespace=spaces)


Span = tuple[str, str | None]  # text, PII type


def document_of_spans(number: int, spans: Sequence[Span]) -> Document:
    """Make a labelled document of consecutive spans of text, tokenized by spaCy.

    Raises:
        ValueError: a PII span starts or ends inside a token, or holds a whitespace token and is not a STREET_ADDRESS.

    >>> document_of_spans(1, [("By ", None), ("Ana Silva", "NAME_STUDENT")]).labels
    ('O', 'B-NAME_STUDENT', 'I-NAME_STUDENT')
    """
    document = document_of_text("".join(text for text, _ in spans), number)
    edges, labels, begin = token_edges(document), [OUTSIDE] * len(document.tokens), 0
    for text, pii_type in spans:
        end = begin + len(text)
        if pii_type:
            first, stop = covered_tokens(edges, begin, end)
            tokens = document.tokens[first:stop]
            fits = edges[first] == begin and edges[stop] - document.trailing_whitespace[stop - 1] == end
            if not fits or (pii_type != STREET_ADDRESS and any(map(str.isspace, tokens))):
                raise ValueError(f"document {number}: {pii_type} {text!r} does not fit spaCy's tokens")
            labels[first:stop] = [f"B-{pii_type}"] + [f"I-{pii_type}"] * (len(tokens) - 1)
        begin = end
    return replace(document, labels=tuple(labels))


def cut(document: Document, first: int, end: int) -> Document:
    """Return the tokens from `first` to `end` as a document; its `full_text` is the joined tokens."""
    labels = document.labels and document.labels[first:end]
    tokens, spaces = document.tokens[first:end], document.trailing_whitespace[first:end]
    return _document(document.number, tokens, spaces, labels)


def join(number: int, parts: Iterable[Document]) -> Document:
    """Join documents to one, in order; undoes `cut`. The result is labelled if all parts are."""
    parts = list(parts)
    tokens = tuple(token for part in parts for token in part.tokens)
    spaces = tuple(space for part in parts for space in part.trailing_whitespace)
    labelled = all(part.labels is not None for part in parts)
    labels = tuple(label for part in parts for label in part.labels or ()) if labelled else None
    return _document(number, tokens, spaces, labels)


def _document(
    number: int, tokens: tuple[str, ...], spaces: tuple[bool, ...], labels: tuple[str, ...] | None
) -> Document:
    text = join_tokens(tokens, spaces)
    return Document(number=number, full_text=text, tokens=tokens, trailing_whitespace=spaces, labels=labels)
