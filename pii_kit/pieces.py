"""Tokens to a model's pieces: every token, whitespace included, has at least one; newlines are pieces of their own."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from pii_kit.data import Document
from pii_kit.files import KitError

PAD, UNKNOWN, START, END, MASK, NEWLINE = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "\n"
# Where an essay begins and ends, as pieces: author lines stand there, and a window alone cannot tell. Our own
# vocabularies have them.
TOP, BOTTOM = "[TOP]", "[BOTTOM]"
ALPHABET = 1000  # characters of a WordPiece vocabulary, at most
CASINGS = ("lower", "Title", "UPPER", "mixed", "digits", "other", "Title word", "UPPER word")
WORD_SHIFT = CASINGS.index("Title word") - CASINGS.index("Title")
# A word that so many essays have in lower case is an ordinary one. Three, not one, so that it is about as often known
# in an essay that was among them as in a new one.
WORD_DOCUMENTS = 3
WORDS_FILE = "words.json"


def casing_of(token: str) -> int:
    """The index in CASINGS of how a token is written; one capital alone counts as Title, any digit as digits.

    >>> [CASINGS[casing_of(token)] for token in ("tea", "Ana", "I", "NASA", "eBay", "B52", "\\n")]
    ['lower', 'Title', 'Title', 'UPPER', 'mixed', 'digits', 'other']
    """
    if any(character.isdigit() for character in token):
        return 4
    letters = [character for character in token if character.isalpha()]
    if not letters:
        return 5
    if token.istitle():
        return 1
    if token.isupper():
        return 2
    return 3 if any(character.isupper() for character in letters) else 0


def common_words(documents: Iterable[Document]) -> frozenset[str]:
    """The words that at least WORD_DOCUMENTS of the documents have in lower case: "Smart Cart" is hardly a name."""
    counts = Counter(word for document in documents for word in _lower_words(document))
    return frozenset(word for word, n_documents in counts.items() if n_documents >= WORD_DOCUMENTS)


def _lower_words(document: Document) -> set[str]:
    return {token for token in set(document.tokens) if token.islower() and token.isalpha()}


def encodable(text: str) -> str:
    """The text with "?" for halves of surrogate pairs, which JSON may hold and no encoding, nor `tokenizers`, takes.

    >>> encodable("half " + chr(0xD800))
    'half ?'
    """
    return text.encode("utf-8", "replace").decode("utf-8")


@dataclass(frozen=True, slots=True)
class DocumentPieces:
    """A document in pieces: `ids` and `casing` (piece,), and `starts` (token,), where each token's pieces begin.

    TOP stands before the first token's pieces and BOTTOM after the last one's, where the vocabulary has them.
    """

    ids: np.ndarray
    casing: np.ndarray
    starts: np.ndarray


@dataclass
class PieceTokenizer:
    """A `tokenizers` tokenizer, asked token by token, so that pieces and tokens are aligned by construction.

    A token is looked up with the space before it (a byte-level vocabulary tells " Ana" from "Ana"; the uncased
    WordPiece drops the space). Text that the vocabulary maps to nothing becomes one [UNK]. A capitalized token counts
    as a word where its lower case is among `words` or stands in the same document.
    """

    tokenizer: Tokenizer
    words: frozenset[str] = frozenset()
    _known: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False)
    _casing: dict[str, int] = field(default_factory=dict, repr=False)

    def __post_init__(self):
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.pad_id = self.tokenizer.token_to_id(PAD)
        self.unknown_id = self.tokenizer.token_to_id(UNKNOWN)
        self.mask_id = self.tokenizer.token_to_id(MASK)
        self.start_id = self.tokenizer.token_to_id(START)
        self.end_id = self.tokenizer.token_to_id(END)
        self.top_id = self.tokenizer.token_to_id(TOP)
        self.bottom_id = self.tokenizer.token_to_id(BOTTOM)

    @property
    def n_pieces(self) -> int:
        """Size of the vocabulary."""
        return self.tokenizer.get_vocab_size()

    def cut(self, document: Document) -> DocumentPieces:
        """A document to its pieces."""
        texts, space_before = [], False
        for token, space in zip(document.tokens, document.trailing_whitespace, strict=True):
            texts.append(" " + token if space_before and not token.isspace() else token)
            space_before = space
        self._learn(texts)
        ids_of_tokens = [self._known[text] for text in texts]
        lengths = np.fromiter(map(len, ids_of_tokens), dtype=np.int64, count=len(texts))
        own_words = _lower_words(document)
        casings = (self._casing_of(token, own_words) for token in document.tokens)
        casing = np.fromiter(casings, dtype=np.int8, count=len(texts))
        ids = np.fromiter((piece for ids in ids_of_tokens for piece in ids), dtype=np.int32, count=lengths.sum())
        casing, starts = np.repeat(casing, lengths), np.cumsum(lengths) - lengths
        if self.top_id is not None and texts:
            ids = np.concatenate([[self.top_id], ids, [self.bottom_id]]).astype(np.int32)
            casing = np.pad(casing, 1, constant_values=CASINGS.index("other"))
            starts = starts + 1
        return DocumentPieces(ids=ids, casing=casing, starts=starts)

    def _learn(self, texts: list[str]) -> None:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        encodings = self.tokenizer.encode_batch(list(map(encodable, new)), add_special_tokens=False)
        for text, encoding in zip(new, encodings, strict=True):
            self._known[text] = tuple(encoding.ids) or (self.unknown_id,)

    def _casing_of(self, token: str, own_words: set[str]) -> int:
        if token not in self._casing:
            self._casing[token] = casing_of(token)
        casing = self._casing[token]
        if CASINGS[casing] in ("Title", "UPPER"):
            word = token.lower()
            return casing + WORD_SHIFT * (word in self.words or word in own_words)
        return casing


def train_byte_pairs(documents: Iterable[Document], *, n_pieces: int) -> PieceTokenizer:
    """A byte-level BPE vocabulary learned from essays, in lower case: any text can be spelled in it.

    How a token is written comes as its casing, so that a word is learned once however it is written.
    """
    documents = list(documents)
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


def train_word_pieces(documents: Iterable[Document], *, n_pieces: int) -> PieceTokenizer:
    """An uncased WordPiece vocabulary of BERT's kind, learned from essays, with a newline piece added.

    Characters beyond the ALPHABET commonest become [UNK], as in BERT.
    """
    documents = list(documents)
    texts = [encodable(document.full_text) for document in documents]
    normalizer = normalizers.BertNormalizer(lowercase=True)
    counts = Counter(character for text in texts for character in normalizer.normalize_str(text))
    alphabet = sorted(counts, key=lambda character: (-counts[character], character))[:ALPHABET]
    specials = [PAD, UNKNOWN, START, END, MASK, NEWLINE, TOP, BOTTOM]
    # The trainer numbers continuing characters in the order of a hash map, another one in each process, and breaks ties
    # by these numbers. Given as special tokens they have numbers of ours; the tokenizer is then made anew without that.
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


def read_tokenizer(path: str | Path) -> PieceTokenizer:
    """The tokenizer of a tokenizer.json, with the words beside it; BERT's, which drops newlines, gets a piece for them.

    Raises OSError if the file cannot be read, KitError if it is damaged.
    """
    text = Path(path).read_text(encoding="utf-8")
    beside = Path(path).with_name(WORDS_FILE)
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # tokenizers raises no narrower class
        raise KitError(f"{path}: not a tokenizer: {error}") from None
    if tokenizer.token_to_id(START) is not None and tokenizer.token_to_id(NEWLINE) is None:
        tokenizer.add_special_tokens([NEWLINE])
    try:
        words = json.loads(beside.read_text(encoding="utf-8")) if beside.exists() else ()
    except ValueError as error:
        raise KitError(f"{beside}: damaged: {error}") from None
    return PieceTokenizer(tokenizer, frozenset(words))
