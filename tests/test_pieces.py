import subprocess
import sys

import pytest
from conftest import make_document

from pii_kit.documents import Document
from pii_kit.files import KitError
from pii_kit.lexicon import CASINGS
from pii_kit.pieces import read_tokenizer, train_byte_pairs, train_word_pieces, write_tokenizer
from pii_kit.sample import make_documents

EXOTIC = (
    *["\n", "\n\n", "  ", " \n \n", "\u200b", "\ufeff", "\x00", "😀", "ﷺ", "\ud7ff", "Ωmega", "[PAD]", "[CLS]"],
    "a" * 500,
)


@pytest.fixture(params=[train_byte_pairs, train_word_pieces], ids=["byte pairs", "word pieces"], scope="module")
def tokenizer(request, documents):
    return request.param(documents, n_pieces=600)


def exotic_document() -> Document:
    return Document(
        number=1,
        full_text="".join(token + " " for token in EXOTIC),
        tokens=EXOTIC,
        trailing_whitespace=(True,) * len(EXOTIC),
    )


def test_every_token_has_a_piece(tokenizer):
    cut = tokenizer.cut(exotic_document())
    assert len(cut.starts) == len(EXOTIC)
    ends = [*cut.starts[1:], len(cut.ids)]
    assert all(end > start for start, end in zip(cut.starts, ends, strict=True))


def test_newlines_are_pieces_of_their_own(tokenizer):
    cut = tokenizer.cut(make_document("one\n\ntwo"))
    assert make_document("one\n\ntwo").tokens == ("one", "\n\n", "two")
    newlines = cut.ids[cut.starts[1] : cut.starts[2]]
    assert len(newlines) == 2 and newlines[0] == newlines[1]
    assert newlines[0] not in (tokenizer.unknown_id, cut.ids[0], cut.ids[-1])


def test_the_pieces_of_a_document_do_not_depend_on_earlier_documents(tokenizer, documents):
    alone = type(tokenizer)(tokenizer.tokenizer).cut(documents[3])
    for document in documents:
        tokenizer.cut(document)
    again = tokenizer.cut(documents[3])
    assert alone.ids.tolist() == again.ids.tolist() and alone.starts.tolist() == again.starts.tolist()


def test_byte_pairs_decode_to_the_text_in_lower_case(documents):
    tokenizer = train_byte_pairs(documents, n_pieces=600)
    document = make_document("Zoë Ångström\n\n said: “naïve” 😀 twice.")
    assert tokenizer.tokenizer.decode(tokenizer.cut(document).ids.tolist()) == document.full_text.lower()


@pytest.mark.parametrize("train", [train_byte_pairs, train_word_pieces])
def test_capitals_change_the_casing_but_not_the_pieces(train, documents):
    upper, lower = make_document("MARIA"), make_document("maria")
    tokenizer = train(documents, n_pieces=600)
    assert tokenizer.cut(upper).ids.tolist() == tokenizer.cut(lower).ids.tolist()
    assert tokenizer.cut(upper).features.tolist() != tokenizer.cut(lower).features.tolist()


def test_a_saved_tokenizer_gives_the_same_pieces(tokenizer, documents, tmp_path):
    write_tokenizer(tmp_path, tokenizer)
    again = read_tokenizer(tmp_path)
    for document in [*documents[:3], exotic_document()]:
        assert again.cut(document).ids.tolist() == tokenizer.cut(document).ids.tolist()


def test_training_gives_the_same_vocabulary_in_another_process():
    script = (
        "from pii_kit.sample import make_documents; from pii_kit import pieces\n"
        "train = pieces.train_word_pieces\n"
        "print(train(make_documents(10, seed=2), n_pieces=500).tokenizer.to_str())"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout
    assert printed.strip() == train_word_pieces(make_documents(10, seed=2), n_pieces=500).tokenizer.to_str()


def test_a_capitalized_word_that_three_documents_have_in_lower_case_counts_as_a_word():
    essays = [make_document(f"the steel boat {word}", number) for number, word in enumerate(["one", "two", "old"])]
    tokenizer = train_byte_pairs(essays, n_pieces=300)
    assert tokenizer.words == {"the", "steel", "boat"}
    text = make_document("Steel BOAT Ana OLD")
    casings = [CASINGS[row[0]] for row in tokenizer.cut(text).features[tokenizer.cut(text).starts]]
    assert casings == ["Title word", "UPPER word", "Title", "UPPER"]


def test_a_capitalized_word_that_its_own_document_has_in_lower_case_counts_as_a_word_there():
    tokenizer = train_byte_pairs([make_document("tea")], n_pieces=300)
    casings = [
        CASINGS[tokenizer.cut(make_document(text)).features[1][0]] for text in ("Rivet and a rivet", "Rivet and a bolt")
    ]
    assert casings == ["Title word", "Title"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("pieces.json", '{"words": ["tea"]', "damaged"),
        ("pieces.json", '{"words": ["tea"]}', "specials: Field required"),
        ("pieces.json", '{"words": [], "specials": {"pad": "[NO]"}}', r"no special piece for pad \(\[NO\]\), unknown"),
        ("tokenizer.json", "{}", "cannot be loaded"),
        ("tokenizer.json", '{"version": "1.0", "truncation": 3}', "cannot be loaded"),
    ],
)
def test_words_are_read_from_the_file_beside_the_tokenizer_and_damage_is_named(tmp_path, file, content, message):
    tokenizer = train_byte_pairs([make_document("tea", number) for number in range(3)], n_pieces=300)
    write_tokenizer(tmp_path, tokenizer)
    assert read_tokenizer(tmp_path).words == tokenizer.words == {"tea"}
    (tmp_path / file).write_text(content)
    with pytest.raises(KitError, match=message):
        read_tokenizer(tmp_path)


def test_a_document_starts_and_ends_with_a_piece_of_its_own(documents):
    for tokenizer in (train_byte_pairs(documents, n_pieces=400), train_word_pieces(documents, n_pieces=400)):
        cut = tokenizer.cut(documents[0])
        assert (cut.ids[0], cut.ids[-1]) == tokenizer.document_ends
        assert cut.starts[0] == 1 and len(cut.ids) == len(cut.features)
        assert tokenizer.cut(make_document("")).ids.tolist() == []
