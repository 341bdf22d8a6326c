"""Documents in the competition's format: read, check, write, tokenize, cut and join them."""

import json
import re
import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, chain
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pii_kit.files import KitError, atomic_write
from pii_kit.labels import LABEL_TO_ID, LABELS, OUTSIDE, STREET_ADDRESS, type_of

if TYPE_CHECKING:
    from spacy.tokenizer import Tokenizer  # type: ignore[import-not-found]

FIELDS = ("document", "full_text", "tokens", "trailing_whitespace", "labels")
BLOCK = 2**20  # characters of a file that are read at a time
SPACE = r"[ \t\n\r]*"  # of JSON
MAX_NUMBER = 2**63 - 1  # pandas, numpy and the submission hold document numbers as 64-bit integers


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


def read_documents(path: str | Path, *, labels_required: bool = False) -> list[Document]:
    """Return the documents of a train.json or test.json in its order; warnings and errors are of `iterate_documents`.

    Equal tokens share one string, which keeps the hidden test (15,900 documents, 11M tokens) far below 2 GiB.
    """
    return list(iterate_documents(path, labels_required=labels_required))


def iterate_documents(path: str | Path, *, labels_required: bool = False) -> Iterator[Document]:
    """Yield the documents of a train.json or test.json while it is read, so that memory does not grow with the file.

    A text that differs from its tokens, or a file without documents, causes a DataWarning at the end: tokens and rows
    are still right.

    Raises:
        KitError: the file is not in the competition's format. The message names file, document and field.
    """
    path = Path(path)
    if not path.is_file():
        kind = "a folder, not a JSON file" if path.is_dir() else "no such file"
        raise KitError(f"{path}: {kind}; looked in {path.parent.absolute()}")

    first_at: dict[int, int] = {}
    n_different = 0
    for position, entry in enumerate(_entries(path)):
        document = check_entry(entry, path, position, labels_required)
        first = first_at.setdefault(document.number, position)
        if first != position:
            raise KitError(f"{path}: document {document.number}: used twice, by entries {first} and {position}")
        n_different += join_tokens(document.tokens, document.trailing_whitespace) != document.full_text
        yield document
    if not first_at:
        warnings.warn(f"{path}: the file holds no documents", DataWarning, stacklevel=2)
    if n_different:
        where = f"{path}: full_text differs from the tokens in {n_different} of {len(first_at)} documents"
        warnings.warn(f"{where}; the tokens are used", DataWarning, stacklevel=2)


def _entries(path: Path) -> Iterator[Any]:
    """Yield the items of a list in a JSON file while it is read: the whole text would be larger than the documents.

    Raises:
        KitError: the file is not a list in JSON.
    """
    shared: dict[str, str] = {}
    decoder = json.JSONDecoder(object_hook=lambda entry: _share_tokens(entry, shared))
    try:
        with open(path, encoding="utf-8-sig") as handle:
            text, place, before, at_end = "", 0, "[", False
            while not at_end:
                block = handle.read(max(BLOCK, len(text) - place))
                text, place, at_end = text[place:] + block, 0, not block
                while found := re.compile(rf"{SPACE}\{before}{SPACE}").match(text, place):
                    try:
                        entry, end = decoder.raw_decode(text, found.end())
                    except json.JSONDecodeError:  # mostly because the block ends inside the entry
                        break
                    yield entry
                    place, before = end, ","
        opening = "" if before == "," else rf"{SPACE}\["
        if not re.fullmatch(rf"{opening}{SPACE}\]{SPACE}", text[place:]):
            entries = json.loads(path.read_text(encoding="utf-8-sig"))  # raises an error that names line and column
            raise KitError(f"{path}: expected a list of documents, found {_json_name(entries)}")
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise KitError(f"{path}: not JSON: {error.msg} at {where}; is the file complete?") from None
    except (ValueError, RecursionError) as error:  # other encodings, numbers of over 4,300 digits, deep nesting
        raise KitError(f"{path}: not JSON in UTF-8, or too large a number: {error}") from None


def _share_tokens(entry: dict, shared: dict[str, str]) -> dict:
    for field in _ITEMS.keys() & entry.keys():
        items = entry[field]
        if isinstance(items, list):
            is_text = set(map(type, items)) == {str}
            entry[field] = tuple(map(shared.setdefault, items, items) if is_text else items)
    return entry


_ITEMS = {"tokens": (str, "a string"), "trailing_whitespace": (bool, "true or false"), "labels": (str, "a string")}


def check_entry(entry: Any, path: Path | str, position: int, labels_required: bool = False) -> Document:
    """Return the document of a parsed JSON object. Raises KitError, which names file, document and field."""
    where = f"{path}: entry {position}"
    if not isinstance(entry, dict):
        raise KitError(f"{where}: expected an object with the fields of a document, found {_json_name(entry)}")
    number = entry.get("document", 0)
    if type(number) is not int:
        raise KitError(f"{where}: document: expected a whole number, found {_json_name(number)}")
    if "document" in entry:
        where = f"{path}: document {number}"
    if not -MAX_NUMBER - 1 <= number <= MAX_NUMBER:
        raise KitError(f"{where}: the number does not fit 64 bits; expected -2**63 to 2**63 - 1")
    missing = [field for field in FIELDS if field not in entry and (field != "labels" or labels_required)]
    if missing:
        hint = " (training and scoring need them)" if missing == ["labels"] else ""
        raise KitError(f"{where}: {', '.join(missing)} missing{hint}")
    if not isinstance(entry["full_text"], str):
        raise KitError(f"{where}: full_text: expected a string, found {_json_name(entry['full_text'])}")
    for field, (item_type, name) in _ITEMS.items():
        if field not in entry:
            continue
        if not isinstance(entry[field], tuple | list):
            raise KitError(f"{where}: {field}: expected a list, found {_json_name(entry[field])}")
        if not set(map(type, entry[field])) <= {item_type}:
            index, item = next((i, item) for i, item in enumerate(entry[field]) if type(item) is not item_type)
            raise KitError(f"{where}: {field}[{index}]: expected {name}, found {_json_name(item)}")
        if len(entry[field]) != len(entry["tokens"]):
            raise KitError(f"{where}: {field}: {len(entry[field])} values for {len(entry['tokens'])} tokens")
    labels = entry.get("labels", ())
    if unknown := set(labels) - LABEL_TO_ID.keys():
        index, label = next((i, label) for i, label in enumerate(labels) if label in unknown)
        raise KitError(f"{where}: labels[{index}]: unknown label {label[:40]!r}; expected one of {', '.join(LABELS)}")
    return Document(number=number, **{field: entry[field] for field in FIELDS[1:] if field in entry})


def _json_name(value: Any) -> str:
    names = {type(None): "null", bool: "true or false", float: "a decimal number", int: "a number", str: "a string"}
    return names.get(type(value), "an object" if isinstance(value, dict) else "a list")


def write_documents(path: str | Path, documents: Iterable[Document]) -> None:
    """Write documents to a file that `read_documents` reads; labels are omitted where they are None."""
    entries = [
        {"document": doc.number}
        | {field: getattr(doc, field) for field in FIELDS[1:] if getattr(doc, field) is not None}
        for doc in documents
    ]
    with atomic_write(path) as handle:
        json.dump(entries, handle)


Span = tuple[str, str | None]  # text, PII type


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
        prefix_search=util.compile_prefix_regex(rules.prefixes or ()).search,
        suffix_search=util.compile_suffix_regex(rules.suffixes or ()).search,
        infix_finditer=util.compile_infix_regex(rules.infixes or ()).finditer,
        token_match=rules.token_match,
        url_match=rules.url_match,
    )


def tokenize(text: str) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """Tokenize a text as the competition does; return tokens and trailing whitespace: joined, they are the text.

    >>> tokenize("Hi, Ann")
    (('Hi', ',', 'Ann'), (False, True, False))
    """
    # spaCy refuses unpaired UTF-16 surrogates, which JSON may hold; "?" in their place gives the same tokens.
    tokens = english_tokenizer()(text.encode("utf-8", "replace").decode("utf-8"))
    places = [(token.idx, token.idx + len(token)) for token in tokens]
    return tuple(text[start:end] for start, end in places), tuple(bool(token.whitespace_) for token in tokens)


def document_of_text(text: str, number: int = 0) -> Document:
    """Return an unlabelled document of a text, tokenized as the competition does. Raises KitError if it is no text."""
    if not isinstance(text, str):
        raise KitError(f"document {number}: expected text, found {_json_name(text)}")
    return _document_of_tokens(number, *tokenize(text), None)


def document_of_spans(number: int, spans: Sequence[Span]) -> Document:
    """Make a labelled document of consecutive spans of text, tokenized by spaCy.

    Raises:
        ValueError: a PII span starts or ends inside a token, or holds a whitespace token and is not a STREET_ADDRESS.

    >>> document_of_spans(1, [("By ", None), ("Ana Silva", "NAME_STUDENT")]).labels
    ('O', 'B-NAME_STUDENT', 'I-NAME_STUDENT')
    """
    tokens = english_tokenizer()("".join(text for text, _ in spans))
    labels, begin = [OUTSIDE] * len(tokens), 0
    for text, pii_type in spans:
        end = begin + len(text)
        if pii_type:
            entity = tokens.char_span(begin, end)
            if entity is None or (pii_type != STREET_ADDRESS and any(token.is_space for token in entity)):
                raise ValueError(f"document {number}: {pii_type} {text!r} does not fit spaCy's tokens")
            for token in entity:
                labels[token.i] = f"{'B' if token.i == entity.start else 'I'}-{pii_type}"
        begin = end
    spaces = tuple(bool(token.whitespace_) for token in tokens)
    return _document_of_tokens(number, tuple(token.text for token in tokens), spaces, tuple(labels))


def _document_of_tokens(
    number: int, tokens: tuple[str, ...], spaces: tuple[bool, ...], labels: tuple[str, ...] | None
) -> Document:
    text = join_tokens(tokens, spaces)
    return Document(number=number, full_text=text, tokens=tokens, trailing_whitespace=spaces, labels=labels)


def cut(document: Document, first: int, end: int) -> Document:
    """Return the tokens from `first` to `end` as a document; its `full_text` is the joined tokens."""
    labels = document.labels and document.labels[first:end]
    tokens, spaces = document.tokens[first:end], document.trailing_whitespace[first:end]
    return _document_of_tokens(document.number, tokens, spaces, labels)


def join(number: int, parts: Iterable[Document]) -> Document:
    """Join documents to one, in order; undoes `cut`. The result is labelled if all parts are."""
    parts = list(parts)
    tokens = tuple(token for part in parts for token in part.tokens)
    spaces = tuple(space for part in parts for space in part.trailing_whitespace)
    labelled = all(part.labels is not None for part in parts)
    labels = tuple(label for part in parts for label in part.labels or ()) if labelled else None
    return _document_of_tokens(number, tokens, spaces, labels)
