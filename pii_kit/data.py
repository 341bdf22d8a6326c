"""Essays in the competition's format: read and checked, written, split by document, and found on the machine."""

import json
import random
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import spacy

from pii_kit.files import KitError, atomic_write
from pii_kit.labels import LABEL_TO_ID, OUTSIDE, type_of


class DataWarning(UserWarning):
    """Input that can be read, but is not as the competition describes it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """One essay. `tokens`, `trailing_whitespace` and `labels` (None where the essay is unlabelled) are equally long."""

    document: int
    full_text: str
    tokens: tuple[str, ...]
    trailing_whitespace: tuple[bool, ...]
    labels: tuple[str, ...] | None = None

    @property
    def types(self) -> frozenset[str]:
        """The PII types that the essay holds; empty without labels."""
        return frozenset(filter(None, map(type_of, set(self.labels or ()))))


def spell(tokens: Iterable[str], trailing_whitespace: Iterable[bool]) -> str:
    """Tokens to the text they stand for: a space follows where `trailing_whitespace` says so.

    >>> spell(["Hi", ",", "Ann"], [False, True, False])
    'Hi, Ann'
    """
    return "".join(token + " " * space for token, space in zip(tokens, trailing_whitespace, strict=True))


def read_documents(path: str | Path, *, labels_required: bool = False) -> list[Document]:
    """A train.json or test.json to its documents, in the file's order.

    Raises KitError, naming file, document and field, for anything that is not the competition's format. Texts that
    their tokens do not spell, and a file without documents, give a DataWarning: tokens and rows are still right.
    Equal tokens share one string, which keeps the hidden test (15,900 essays, 11M tokens) far below 2 GiB.
    """
    path = Path(path)
    if not path.is_file():
        raise KitError(f"{path}: no such file; looked in {path.parent.absolute()}")

    shared: dict[str, str] = {}
    try:
        with open(path, encoding="utf-8-sig") as handle:
            # The hook packs each essay as soon as it is parsed, so that the raw lists of all essays never coexist.
            entries = json.load(handle, object_hook=lambda entry: _share_tokens(entry, shared))
    except json.JSONDecodeError as error:
        raise KitError(f"{path}: not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise KitError(f"{path}: not JSON in UTF-8: {error}") from None
    if not isinstance(entries, list):
        raise KitError(f"{path}: expected a list of essays, found {_json_name(entries)}")

    documents, first_at = [], {}
    for position, entry in enumerate(entries):
        document = _check_entry(entry, path, position, labels_required)
        if document.document in first_at:
            places = f"{first_at[document.document]} and {position}"
            raise KitError(f"{path}: document {document.document}: number used twice, by the essays at {places}")
        first_at[document.document] = position
        documents.append(document)
    if not documents:
        warnings.warn(f"{path}: holds no documents", DataWarning, stacklevel=2)
    different = sum(spell(doc.tokens, doc.trailing_whitespace) != doc.full_text for doc in documents)
    if different:
        text = (
            f"{path}: full_text is not what the tokens spell in {different} of {len(documents)} documents; tokens count"
        )
        warnings.warn(text, DataWarning, stacklevel=2)
    return documents


def _share_tokens(entry: dict, shared: dict[str, str]) -> dict:
    tokens = entry.get("tokens")
    if isinstance(tokens, list) and all(isinstance(token, str) for token in tokens):
        entry["tokens"] = tuple(shared.setdefault(token, token) for token in tokens)
    for field in ("trailing_whitespace", "labels"):
        if isinstance(entry.get(field), list):
            entry[field] = tuple(sys.intern(item) if isinstance(item, str) else item for item in entry[field])
    return entry


_ITEM_TYPES = {"tokens": str, "trailing_whitespace": bool, "labels": str}


def _check_entry(entry, path: Path, position: int, labels_required: bool) -> Document:
    if not isinstance(entry, dict):
        raise KitError(f"{path}: essay at {position}: expected an object, found {_json_name(entry)}")
    number = entry.get("document")
    where = f"{path}: document {number}" if "document" in entry else f"{path}: essay at {position}"
    needed = ["document", "full_text", "tokens", "trailing_whitespace"] + ["labels"] * labels_required
    missing = [field for field in needed if field not in entry]
    if missing:
        hint = " (training needs them)" if missing == ["labels"] else ""
        raise KitError(f"{where}: {', '.join(missing)} missing{hint}")
    if type(number) is not int:
        raise KitError(f"{path}: essay at {position}: document: expected a whole number, found {_json_name(number)}")
    if not isinstance(entry["full_text"], str):
        raise KitError(f"{where}: full_text: expected a string, found {_json_name(entry['full_text'])}")
    for field, item_type in _ITEM_TYPES.items():
        if field not in entry:
            continue
        if not isinstance(entry[field], tuple | list):
            raise KitError(f"{where}: {field}: expected a list, found {_json_name(entry[field])}")
        for index, item in enumerate(entry[field]):
            if type(item) is not item_type:
                name = {str: "a string", bool: "true or false"}[item_type]
                raise KitError(f"{where}: {field}[{index}]: expected {name}, found {_json_name(item)}")
        if len(entry[field]) != len(entry["tokens"]):
            raise KitError(f"{where}: {field}: {len(entry[field])} of them for {len(entry['tokens'])} tokens")
    for index, label in enumerate(entry.get("labels", ())):
        if label not in LABEL_TO_ID:
            raise KitError(f"{where}: labels[{index}]: {label!r} is none of the {len(LABEL_TO_ID)} BIO labels")
    return Document(
        document=number,
        full_text=entry["full_text"],
        tokens=entry["tokens"],
        trailing_whitespace=entry["trailing_whitespace"],
        labels=entry.get("labels"),
    )


def _json_name(value) -> str:
    names = {type(None): "null", bool: "true or false", int: "a number", float: "a number", str: "a string"}
    return names.get(type(value), "an object" if isinstance(value, dict) else "a list")


def write_documents(path: str | Path, documents: Iterable[Document]) -> None:
    """Documents to a file that `read_documents` gives back; labels are left out where they are None."""
    fields = ("document", "full_text", "tokens", "trailing_whitespace", "labels")
    entries = [{field: getattr(doc, field) for field in fields} for doc in documents]
    with atomic_write(path) as handle:
        json.dump([{key: value for key, value in entry.items() if value is not None} for entry in entries], handle)


def fold_of_documents(documents: Sequence[Document], *, n_folds: int, seed: int) -> list[int]:
    """The fold, 0 to n_folds − 1, of each document: folds differ by one at most in documents of any set of types.

    Documents are sorted by the set of types they hold, sets with the rarest type first, shuffled within a set, and
    dealt to the folds like cards. So rare types spread too, which scikit-learn's stratified folds, where each set is
    a class of its own, do not promise. Raises KitError if there are fewer documents than folds.
    """
    if not 2 <= n_folds <= len(documents):
        raise KitError(
            f"{len(documents)} documents cannot be split into {n_folds} folds; 2 to one a document are possible"
        )
    counts = Counter(pii_type for doc in documents for pii_type in doc.types)
    shuffle = random.Random(seed)

    def rarest_first(doc: Document) -> tuple:
        ranks = sorted((counts[pii_type], pii_type) for pii_type in doc.types)
        return (not ranks, ranks)

    keys = [(rarest_first(doc), shuffle.random()) for doc in documents]
    folds = [0] * len(documents)
    for place, index in enumerate(sorted(range(len(documents)), key=keys.__getitem__)):
        folds[index] = place % n_folds
    return folds


def split_documents(
    documents: Sequence[Document], *, n_folds: int = 5, fold: int = 0, seed: int = 0
) -> tuple[list[Document], list[Document]]:
    """Documents to (training, validation): validation is one of `n_folds` folds of `fold_of_documents`."""
    folds = fold_of_documents(documents, n_folds=n_folds, seed=seed)
    training = [doc for doc, of in zip(documents, folds, strict=True) if of != fold]
    validation = [doc for doc, of in zip(documents, folds, strict=True) if of == fold]
    return training, validation


TOKENIZER = spacy.blank("en").tokenizer
ADDRESS = "STREET_ADDRESS"
Span = tuple[str, str | None]


def document_of_spans(number: int, spans: Sequence[Span]) -> Document:
    """Spans to a document. Raises ValueError where PII parts a token, or holds whitespace tokens and is no address.

    >>> document_of_spans(1, [("By ", None), ("Ana Silva", "NAME_STUDENT")]).labels
    ('O', 'B-NAME_STUDENT', 'I-NAME_STUDENT')
    """
    full_text = "".join(text for text, _ in spans)
    tokens = TOKENIZER(full_text)
    labels = [OUTSIDE] * len(tokens)
    begin = 0
    for text, pii_type in spans:
        end = begin + len(text)
        if pii_type:
            entity = tokens.char_span(begin, end)
            if entity is None or (pii_type != ADDRESS and any(token.is_space for token in entity)):
                raise ValueError(f"document {number}: {pii_type} {text!r} does not fit spaCy's tokens")
            for token in entity:
                labels[token.i] = f"{'B' if token.i == entity.start else 'I'}-{pii_type}"
        begin = end
    return Document(
        document=number,
        full_text=full_text,
        tokens=tuple(token.text for token in tokens),
        trailing_whitespace=tuple(bool(token.whitespace_) for token in tokens),
        labels=tuple(labels),
    )


def cut(document: Document, first: int, end: int) -> Document:
    """The tokens from `first` to `end` of a labelled document, as a document that spells them alone."""
    part = slice(first, end)
    return join(
        document.document,
        [
            replace(
                document,
                tokens=document.tokens[part],
                trailing_whitespace=document.trailing_whitespace[part],
                labels=document.labels[part],
            )
        ],
    )


def join(number: int, parts: Iterable[Document]) -> Document:
    """Parts, in their order, to one document; undoes `cut`. `full_text` of a part does not count, its tokens do."""
    parts = list(parts)
    tokens = tuple(token for part in parts for token in part.tokens)
    spaces = tuple(space for part in parts for space in part.trailing_whitespace)
    labels = tuple(label for part in parts for label in part.labels)
    return Document(
        document=number, full_text=spell(tokens, spaces), tokens=tokens, trailing_whitespace=spaces, labels=labels
    )
