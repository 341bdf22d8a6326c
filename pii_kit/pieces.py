"""Cut tokens into the pieces that a model reads. Each token has at least one, and each newline is a piece."""

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from pii_kit.documents import Document
from pii_kit.files import KitError, atomic_write, loading, read_record, write_json
from pii_kit.lexicon import N_FEATURES, NO_WORD, features_of

PAD, UNKNOWN, START, END, MASK, NEWLINE = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "\n"
SPECIALS = {"pad": PAD, "unknown": UNKNOWN, "mask": MASK, "start": START, "end": END}
# Pieces before and after a document, where author lines stand. Only the vocabularies trained here have them.
TOP, BOTTOM = "[TOP]", "[BOTTOM]"
ALPHABET = 1000  # characters of a WordPiece vocabulary, at most
MIN_DOCUMENTS_OF_WORD = 3  # with fewer, more words of training documents than of new ones would be common
PIECES_FILE = "pieces.json"
METASPACE = "Metaspace"  # how `tokenizers` calls SentencePiece's treatment of spaces


def common_words(documents: Iterable[Document]) -> frozenset[str]:
    """Return the words that MIN_DOCUMENTS_OF_WORD or more documents have in lower case; they are hardly names."""
    counts = Counter(word for document in documents for word in set(document.tokens) if _is_lower_word(word))
    return frozenset(word for word, n_documents in counts.items() if n_documents >= MIN_DOCUMENTS_OF_WORD)


def _is_lower_word(token: str) -> bool:
    return token.islower() and token.isalpha()


def encodable(text: str) -> str:
    """Replace half surrogate pairs by "?": JSON may hold them, but UTF-8 and `tokenizers` cannot.

    >>> encodable("half " + chr(0xD800))
    'half ?'
    """
    return text.encode("utf-8", "replace").decode("utf-8")


@dataclass(frozen=True, slots=True)
class DocumentPieces:
    """A document in pieces: `ids` (piece,), `features` (piece, feature), each token's first piece, `starts` (token,).

    If the vocabulary has TOP and BOTTOM, they are the first and the last piece.
    """

    ids: np.ndarray
    features: np.ndarray
    starts: np.ndarray


class _Known(NamedTuple):
    """A text that a tokenizer has encoded, arrays as bytes, which are joined fast."""

    ids: bytes  # (piece,)
    features: tuple[bytes, bytes]  # (piece, feature) of the token as it is, and as a word
    lower: str
    is_lower: bool
    is_common: bool  # whether `lower` is among the tokenizer's words


@dataclass
class PieceTokenizer:
    """A `tokenizers` tokenizer that is called token by token, so that pieces and tokens are aligned by construction.

    A token is encoded with the space before it: many vocabularies distinguish " Ana" from "Ana". A token that the
    vocabulary maps to nothing becomes one [UNK]. A capitalized token has another casing if it is also a word: if its
    lower case is among `words` or in the same document. `specials` maps the roles of SPECIALS to the vocabulary's
    names. `document_ends` (TOP, BOTTOM) and `window_ends` (start, end) are ids, None where the vocabulary lacks them.

    Raises:
        KitError: the vocabulary lacks a special piece for padding, unknown or masked text.
    """

    tokenizer: Tokenizer
    words: frozenset[str] = frozenset()
    specials: Mapping[str, str] = field(default_factory=lambda: SPECIALS)
    _known: dict[str, _Known] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        names = {role: self.specials.get(role, "") for role in ("pad", "unknown", "mask")}
        ids = self._ids(*names.values())
        if ids is None:
            lacks = [f"{role} ({name or 'no name'})" for role, name in names.items() if self._ids(name) is None]
            raise KitError(f"the tokenizer has no special piece for {', '.join(lacks)}; expected {', '.join(names)}")
        self.pad_id, self.unknown_id, self.mask_id = ids
        self.space_starts_lines = METASPACE in str(self.tokenizer.pre_tokenizer)
        self.document_ends = self._ids(TOP, BOTTOM)
        self.window_ends = self._ids(*(self.specials.get(name, "") for name in ("start", "end")))

    def _ids(self, *pieces: str) -> tuple[int, ...] | None:
        ids = tuple(i for i in map(self.tokenizer.token_to_id, pieces) if i is not None)
        return ids if len(ids) == len(pieces) else None

    @cached_property
    def n_pieces(self) -> int:
        """The size of the vocabulary: one more than its highest id, as some vocabularies have gaps."""
        return max(self.tokenizer.get_vocab().values()) + 1

    def cut(self, document: Document) -> DocumentPieces:
        """Cut a document into pieces."""
        tokens, spaces = document.tokens, list(document.trailing_whitespace)
        if self.space_starts_lines:
            spaces = [space or token.isspace() for token, space in zip(tokens, spaces, strict=True)]
        before = [self.space_starts_lines, *spaces][: len(tokens)]
        pairs = zip(tokens, before, strict=True)
        texts = [" " + token if space and not token.isspace() else token for token, space in pairs]
        for text, token in zip(texts, tokens, strict=True):
            if text not in self._known:
                self._known[text] = self._encode(text, token)
        known = list(map(self._known.__getitem__, texts))
        words = {text.lower for text in known if text.is_lower}
        rows = [text.features[text.is_common or text.lower in words] for text in known]
        lengths = np.array([len(text.ids) for text in known], np.int64) // 4
        starts = np.cumsum(lengths) - lengths
        ids = np.frombuffer(b"".join([text.ids for text in known]), np.int32)
        features = np.frombuffer(b"".join(rows), np.int8).reshape(-1, N_FEATURES)
        if self.document_ends and texts:
            top, bottom = self.document_ends
            ids = np.concatenate([[top], ids, [bottom]], dtype=np.int32)
            features = np.concatenate([[NO_WORD], features, [NO_WORD]], dtype=np.int8)
            starts = starts + 1
        return DocumentPieces(ids=ids, features=features, starts=starts)

    def _encode(self, text: str, token: str) -> _Known:
        """Encode a text, which is a token with the space before it."""
        ids = self.tokenizer.encode(encodable(text), add_special_tokens=False).ids or [self.unknown_id]
        plain, as_word = (bytes(row) * len(ids) for row in features_of(token))
        lower, packed = token.lower(), array("i", ids).tobytes()
        return _Known(packed, (plain, as_word), lower, _is_lower_word(token), lower in self.words)


def train_byte_pairs(documents: Sequence[Document], *, n_pieces: int) -> PieceTokenizer:
    """Train a byte-level BPE vocabulary in lower case on documents: the casing is a feature. It encodes any text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(NEWLINE, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=n_pieces,
        special_tokens=[PAD, UNKNOWN, MASK, TOP, BOTTOM],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((encodable(document.full_text) for document in documents), trainer)
    return PieceTokenizer(tokenizer, common_words(documents))


def train_word_pieces(documents: Sequence[Document], *, n_pieces: int) -> PieceTokenizer:
    """Train an uncased WordPiece vocabulary like BERT's on documents, with a piece for newlines.

    Words with a character that is not among the ALPHABET most frequent ones become [UNK], as in BERT.
    """
    texts = [encodable(document.full_text) for document in documents]
    normalizer = normalizers.BertNormalizer(lowercase=True)
    counts = Counter(character for text in texts for character in normalizer.normalize_str(text))
    alphabet = sorted(counts, key=lambda character: (-counts[character], character))[:ALPHABET]
    specials = [PAD, UNKNOWN, START, END, MASK, NEWLINE, TOP, BOTTOM]
    # The trainer numbers the "##" characters in the order of a hash map, which differs between processes, and breaks
    # ties by these numbers. As special tokens they get fixed numbers; the final tokenizer has only the real specials.
    trainer = trainers.WordPieceTrainer(
        vocab_size=n_pieces,
        special_tokens=specials + [f"##{character}" for character in alphabet if not character.isspace()],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    trained = _word_piece_tokenizer({})
    trained.train_from_iterator(texts, trainer)
    tokenizer = _word_piece_tokenizer(trained.get_vocab())
    tokenizer.add_special_tokens(specials)
    return PieceTokenizer(tokenizer, common_words(documents))


def _word_piece_tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def of_transformers(loaded: Any) -> PieceTokenizer:
    """Take over the fast tokenizer of a pretrained encoder, with its special pieces, and a piece for newlines.

    Raises:
        ValueError: the tokenizer is not a fast one.
        KitError: as `PieceTokenizer`.
    """
    if getattr(loaded, "backend_tokenizer", None) is None:
        raise ValueError("its tokenizer is not a fast one; expected a folder with tokenizer.json")
    tokenizer = _with_real_spaces(loaded.backend_tokenizer)
    roles = {"pad": "pad_token", "unknown": "unk_token", "mask": "mask_token", "start": "cls_token", "end": "sep_token"}
    specials = {role: str(getattr(loaded, name)) for role, name in roles.items() if getattr(loaded, name, None)}
    if "pad" in specials:  # models that were not trained on masked pieces have no others
        specials = {"unknown": specials["pad"], "mask": specials["pad"], **specials}
    newline, space = (set(tokenizer.encode(text, add_special_tokens=False).ids) for text in (NEWLINE, " "))
    if newline <= space | {tokenizer.token_to_id(specials.get("unknown", ""))}:
        tokenizer.add_special_tokens([NEWLINE])
    return PieceTokenizer(tokenizer, specials=specials)


def _with_real_spaces(tokenizer: Tokenizer) -> Tokenizer:
    """Return a copy of a tokenizer that encodes a text's own leading space and adds none, as SentencePiece does."""
    content = json.loads(tokenizer.to_str())
    is_sentence_piece = METASPACE in str(tokenizer.pre_tokenizer)
    for part in _parts(content["normalizer"], "normalizers"):
        if part["type"] == "Strip" and is_sentence_piece:
            part |= {"strip_left": False, "strip_right": False}
    for part in _parts(content["pre_tokenizer"], "pretokenizers"):
        if part["type"] == METASPACE:
            part["prepend_scheme"] = "never"
        elif part["type"] == "ByteLevel":
            part["add_prefix_space"] = False
        elif part["type"] == "WhitespaceSplit" and is_sentence_piece:  # Metaspace splits at spaces too, but keeps them
            part |= {"type": "Split", "pattern": {"String": NEWLINE}, "behavior": "Isolated", "invert": False}
    return Tokenizer.from_str(json.dumps(content))


def _parts(content: dict | None, name: str) -> list[dict]:
    """Return the members of a sequence in a tokenizer.json, also of sequences in it, or the only member."""
    if content is None:
        return []
    return [part for member in content[name] for part in _parts(member, name)] if name in content else [content]


def write_tokenizer(folder: Path, tokenizer: PieceTokenizer) -> None:
    """Write tokenizer.json, and pieces.json with the words and the names of the special pieces."""
    with atomic_write(folder / "tokenizer.json") as handle:
        handle.write(tokenizer.tokenizer.to_str())
    write_json(folder / PIECES_FILE, {"words": sorted(tokenizer.words), "specials": dict(tokenizer.specials)})


class _Pieces(BaseModel):
    """pieces.json of a tokenizer."""

    words: frozenset[str]
    specials: dict[str, str]


def read_tokenizer(folder: str | Path) -> PieceTokenizer:
    """Read what `write_tokenizer` wrote. Raises KitError if a file is missing or damaged."""
    path = Path(folder) / "tokenizer.json"
    content = read_record(Path(folder) / PIECES_FILE, _Pieces)
    with loading(path):
        tokenizer = Tokenizer.from_file(str(path))
    return PieceTokenizer(tokenizer, content.words, content.specials)
