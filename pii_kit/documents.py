"""Documents in the competition's format: read, check, write, tokenize, cut and join them."""

import codecs
import json
import re
import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import accumulate, chain, pairwise
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, StrictBool, StrictInt
from pydantic_core import from_json

from pii_kit.files import KitError, atomic_write, check_record, json_name, printable
from pii_kit.labels import LABEL_TO_ID, LABELS, OUTSIDE, STREET_ADDRESS, type_of

if TYPE_CHECKING:
    from spacy.tokenizer import Tokenizer  # type: ignore[import-not-found]

FIELDS = ("document", "full_text", "tokens", "trailing_whitespace", "labels")
# spaCy's time grows with the square of a text without whitespace: longer ones are tokenized in parts.
LONGEST, PART = 5000, 1000
LONG = re.compile(rf"\S{{{LONGEST},}}")
# Marks of tables, HTML or LaTeX, and numbers of lists glue tokens together, such as "1.Ana" or "Ana|Bo".
MARKS = r"[{}<>|\\\[\]()]"
GLUED = re.compile(rf"{MARKS}|^\d+[.)][^\W\d_]")
PARTS = re.compile(rf"^\d+[.)](?=[^\W\d_])|\\[A-Za-z]+|{MARKS}|(?:(?!{MARKS}).)+", re.DOTALL)
ADDRESS = re.compile(r"@|://|www\.")  # such a token stays whole
SUFFIX = 40  # characters at the end of a text in which spaCy's suffixes are searched; only runs of dots are longer


class DataWarning(UserWarning):
    """Input that is used, but differs from what the competition describes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """One essay. `number` is the field `document` of a file; the lists have an item per token, `labels` may be None."""

    number: Annotated[StrictInt, Field(alias="document", ge=-(2**63), lt=2**63)]  # as in pandas, and the submission
    full_text: str
    tokens: tuple[str, ...]
    trailing_whitespace: tuple[StrictBool, ...]
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
        raise KitError(f"{path}: expected a list of documents, found {json_name(content)}")
    content.reverse()
    documents: dict[int, Document] = {}
    n_different = 0
    while content:
        entry = content.pop()  # the parsed entry is freed when its document is made
        number = entry.get("document") if isinstance(entry, dict) else None
        place = f"entry {len(documents)}" if number is None else f"document {printable(str(number))}"
        document = check_entry(entry, f"{path}: {place}")
        if labels_required and document.labels is None:
            raise KitError(f"{path}: {place}: labels missing (training and scoring need them)")
        if document.number in documents:
            raise KitError(f"{path}: {place}: the number is used twice")
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


def check_entry(entry: Any, where: str) -> Document:
    """Return the document of a parsed JSON object. Raises KitError, which begins with `where`, if a field is wrong."""
    document = check_record(entry, Document, where)
    n_tokens = len(document.tokens)
    for field in ("trailing_whitespace", "labels"):
        items = getattr(document, field)
        if items is not None and len(items) != n_tokens:
            raise KitError(f"{where}: {field}: {len(items)} values for {n_tokens} tokens")
    if unknown := set(document.labels or ()) - LABEL_TO_ID.keys():
        expected = f"expected one of {', '.join(LABELS)}"
        raise KitError(f"{where}: labels: unknown label {printable(min(unknown))!r}; {expected}")
    return document


def write_documents(path: str | Path, documents: Iterable[Document]) -> None:
    """Write documents to a file that `read_documents` reads; labels are omitted where they are None."""
    entries = []
    for document in documents:
        entry = {"document": document.number} | {name: getattr(document, name) for name in FIELDS[1:]}
        entries.append({name: value for name, value in entry.items() if value is not None})
    with atomic_write(path) as handle:
        json.dump(entries, handle)


@cache
def english_tokenizer() -> "Tokenizer":
    """Return spaCy's tokenizer of English, which split the competition's essays: that of `spacy.blank("en")`."""
    # Not spacy.blank, which imports every package that extends spaCy: Presidio alone takes seconds.
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


def tokenize(text: str) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """Tokenize a text as the competition does; return tokens and trailing whitespace: joined, they are the text.

    >>> tokenize("Hi, Ann")
    (('Hi', ',', 'Ann'), (False, True, False))
    """
    tokens: list[str] = []
    spaces: list[bool] = []
    cuts = [place for run in LONG.finditer(text) for place in range(run.start() + PART, run.end(), PART)]
    for start, end in pairwise([0, *cuts, len(text)]):
        part = text[start:end]
        # spaCy refuses unpaired UTF-16 surrogates, which JSON may hold; "?" in their place gives the same tokens.
        parsed = english_tokenizer()(part.encode("utf-8", "replace").decode("utf-8"))
        tokens += [part[token.idx : token.idx + len(token)] for token in parsed]
        spaces += [bool(token.whitespace_) for token in parsed]
    return tuple(tokens), tuple(spaces)


def document_of_text(text: str, number: int = 0) -> Document:
    """Return an unlabelled document of a text, tokenized as the competition does. Raises KitError if it is no text."""
    if not isinstance(text, str):
        raise KitError(f"document {number}: expected text, found {json_name(text)}")
    tokens, spaces = tokenize(text)
    return Document(number=number, full_text=text, tokens=tokens, trailing_whitespace=spaces)


def document_to_label(text: str, number: int = 0) -> Document:
    """Return an unlabelled document with more tokens than the competition's: marks glue no names together.

    For texts that are labelled or redacted, not for training and submissions, whose tokens are counted.

    >>> document_to_label("1.Ana|Bo a@b.de(home)").tokens
    ('1.', 'Ana', '|', 'Bo', 'a@b.de(home', ')')
    """
    document = document_of_text(text, number)
    if not any(map(GLUED.search, document.tokens)):
        return document
    tokens: list[str] = []
    spaces: list[bool] = []
    for token, space in zip(document.tokens, document.trailing_whitespace, strict=True):
        is_glued = GLUED.search(token) and not ADDRESS.search(token) and any(map(str.isalpha, token))
        parts = PARTS.findall(token) if is_glued else [token]
        tokens += parts
        spaces += [*[False] * (len(parts) - 1), space]
    return replace(document, tokens=tuple(tokens), trailing_whitespace=tuple(spaces))


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
    tokens, spaces = document.tokens[first:end], document.trailing_whitespace[first:end]
    labels = document.labels and document.labels[first:end]
    text = join_tokens(tokens, spaces)
    return replace(document, full_text=text, tokens=tokens, trailing_whitespace=spaces, labels=labels)


def join(number: int, parts: Iterable[Document]) -> Document:
    """Join documents to one, in order; undoes `cut`. The result is labelled if all parts are."""
    parts = list(parts)
    tokens = tuple(token for part in parts for token in part.tokens)
    spaces = tuple(space for part in parts for space in part.trailing_whitespace)
    labelled = all(part.labels is not None for part in parts)
    labels = tuple(label for part in parts for label in part.labels or ()) if labelled else None
    text = join_tokens(tokens, spaces)
    return Document(number=number, full_text=text, tokens=tokens, trailing_whitespace=spaces, labels=labels)
