"""The vocabularies of pretrained encoders, as the kit calls them: token by token."""

import pytest
from conftest import make_document
from encoder_folders import FAMILIES, tokenizer_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from pii_kit.documents import Document
from pii_kit.files import KitError
from pii_kit.pieces import NEWLINE, of_transformers, read_tokenizer, write_tokenizer

SENTENCE = 'Dear Ana (my friend),\nhe met "Bob" and others\n\nYours, O\'Hara'


@pytest.fixture(params=FAMILIES, scope="module")
def loaded(request, documents, tmp_path_factory):
    """The stored tokenizer of a family, as transformers loads it."""
    folder = tmp_path_factory.mktemp(request.param)
    tokenizer_of(request.param, documents, folder).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def tokenizer(loaded):
    return of_transformers(loaded)


def pieces_of(tokenizer, text: str) -> list[list[str]]:
    cut = tokenizer.cut(make_document(text))
    names = [tokenizer.tokenizer.id_to_token(piece) for piece in cut.ids]
    ends = [*cut.starts[1:], len(names)]
    return [names[start:end] for start, end in zip(cut.starts, ends, strict=True)]


token = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6) | st.sampled_from(["\n", " ", "\n\n", "[MASK]"])


@given(tokens=st.lists(st.tuples(token, st.booleans()), max_size=12))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_token_has_pieces_in_order_and_cutting_is_deterministic(tokenizer, tokens):
    texts, spaces = tuple(text for text, _ in tokens), tuple(space for _, space in tokens)
    document = Document(number=1, full_text="", tokens=texts, trailing_whitespace=spaces)
    cut, again = tokenizer.cut(document), tokenizer.cut(document)
    assert cut.starts.tolist() == sorted(set(cut.starts.tolist())) and len(cut.starts) == len(texts)
    assert all(0 <= start < len(cut.ids) for start in cut.starts) and cut.starts.tolist()[:1] in ([], [0])
    assert cut.ids.tolist() == again.ids.tolist() and all(0 <= piece < tokenizer.n_pieces for piece in cut.ids)
    assert len(cut.features) == len(cut.ids)


def test_a_newline_is_a_piece_unlike_spaces_and_unknown_text(tokenizer):
    one, two = pieces_of(tokenizer, "tea\nand")[1], pieces_of(tokenizer, "tea\n\nand")[1]
    space = [tokenizer.tokenizer.id_to_token(piece) for piece in tokenizer.tokenizer.encode(" ").ids]
    assert len(one) == 1 and two in (one * 2, ["ĊĊ"])
    assert one[0] not in [*space, tokenizer.specials["unknown"]]


def test_a_text_has_the_pieces_that_the_encoder_was_pretrained_on(loaded, tokenizer):
    """Apart from newlines, which some vocabularies drop; then a line starts as a text does."""
    ours = [name for of_token in pieces_of(tokenizer, SENTENCE) for name in of_token if name != NEWLINE]
    assert ours == loaded.tokenize(SENTENCE)


def test_special_pieces_have_the_names_and_numbers_of_the_vocabulary(loaded, tokenizer):
    ids = (tokenizer.pad_id, tokenizer.unknown_id, tokenizer.mask_id, *(tokenizer.window_ends or ()))
    if loaded.mask_token is None:  # not trained on masked pieces
        assert ids == (loaded.pad_token_id,) * 3
        return
    names = ("pad", "unk", "mask", "cls", "sep")
    assert ids == tuple(getattr(loaded, f"{name}_token_id") for name in names)
    assert len(set(ids)) == 5 and tokenizer.document_ends is None


def test_a_saved_tokenizer_is_read_with_its_special_pieces(tokenizer, documents, tmp_path):
    write_tokenizer(tmp_path, tokenizer)
    again = read_tokenizer(tmp_path)
    assert again.specials == tokenizer.specials and again.window_ends == tokenizer.window_ends
    for document in (*documents[:3], make_document(SENTENCE)):
        assert again.cut(document).ids.tolist() == tokenizer.cut(document).ids.tolist()


def test_a_vocabulary_without_padding_is_refused_by_name(documents, tmp_path):
    loaded = tokenizer_of("modernbert", documents, tmp_path)
    loaded.pad_token = None
    with pytest.raises(KitError, match=r"no special piece for pad \(no name\); expected pad, unknown, mask"):
        of_transformers(loaded)
