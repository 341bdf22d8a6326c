import itertools

import numpy as np
import pytest
from conftest import make_document
from hypothesis import given, settings
from hypothesis import strategies as st

from pii_kit.documents import Document
from pii_kit.labels import LABELS
from pii_kit.pieces import train_byte_pairs, train_word_pieces
from pii_kit.windows import (
    IGNORED,
    NO_TOKEN,
    collate,
    cut_windows,
    merge_windows,
    window_spans,
)


@given(lengths=st.lists(st.integers(1, 12), max_size=40), size=st.integers(1, 15), overlap=st.integers(0, 14))
@settings(deadline=None)
def test_spans_cover_all_pieces_in_order_and_cut_only_tokens_longer_than_a_window(lengths, size, overlap):
    overlap = min(overlap, size - 1)
    starts = [sum(lengths[:index]) for index in range(len(lengths))]
    n = sum(lengths)
    spans = window_spans(n, size=size, overlap=overlap, starts=starts)
    assert {piece for span in spans for piece in span} == set(range(n))
    assert all(0 < len(span) <= size for span in spans)
    assert all(one.start < two.start and one.stop < two.stop for one, two in itertools.pairwise(spans))
    inside_long = {
        p for s, length in zip(starts, lengths, strict=True) if length > size for p in range(s, s + length + 1)
    }
    edges = {*starts, n} | inside_long
    assert all(span.start in edges and span.stop in edges for span in spans)


@given(n=st.integers(1, 60), size=st.integers(1, 20), overlap=st.integers(0, 19))
def test_neighbours_share_exactly_the_overlap_if_every_piece_is_a_token(n, size, overlap):
    overlap = min(overlap, size - 1)
    spans = window_spans(n, size=size, overlap=overlap, starts=range(n))
    assert all(one.stop - two.start == overlap for one, two in itertools.pairwise(spans))


@pytest.fixture(params=[train_byte_pairs, train_word_pieces], ids=["byte pairs", "word pieces"], scope="module")
def tokenizer(request, documents):
    return request.param(documents, n_pieces=400)


@pytest.mark.parametrize(("size", "overlap"), [(3, 0), (8, 3), (17, 12), (64, 16), (10_000, 5)])
def test_cut_then_merge_is_the_identity(tokenizer, documents, size, overlap):
    rng = np.random.default_rng(0)
    for document in [*documents[:6], make_document("x" * 300), make_document("")]:
        scores = rng.random((len(document.tokens), 3), dtype=np.float32)
        windows = cut_windows(document, tokenizer, size=size, overlap=min(overlap, size - 3 if size > 3 else 0))
        probabilities = []
        for window in windows:
            of_window = np.full((len(window), 3), np.nan, dtype=np.float32)
            begins = window.token_index != NO_TOKEN
            of_window[begins] = scores[window.token_index[begins]]
            probabilities.append(of_window)
        assert np.array_equal(merge_windows(len(document.tokens), windows, probabilities, 3), scores)


def test_only_the_first_piece_of_a_token_has_its_label(tokenizer, documents):
    document = next(doc for doc in documents if doc.types)
    (window,) = cut_windows(document, tokenizer, size=10_000, overlap=0)
    begins = window.token_index != NO_TOKEN
    assert [LABELS[label] for label in window.labels[begins]] == list(document.labels)
    assert set(window.labels[~begins]) == {IGNORED}


def test_windows_of_a_bert_vocabulary_have_special_pieces_at_the_ends_and_still_fit(documents):
    tokenizer = train_word_pieces(documents, n_pieces=400)
    windows = cut_windows(documents[0], tokenizer, size=32, overlap=8)
    assert len(windows) > 3
    for window in windows:
        assert (window.pieces[0], window.pieces[-1]) == tokenizer.window_ends
        assert window.token_index[0] == window.token_index[-1] == NO_TOKEN
        assert len(window) <= 32


def test_overlapping_windows_are_averaged(documents):
    tokenizer = train_byte_pairs(documents, n_pieces=400)
    document = Document(number=1, full_text="abc", tokens=("a", "b", "c"), trailing_whitespace=(False,) * 3)
    windows = cut_windows(document, tokenizer, size=3, overlap=1)
    assert [window.token_index.tolist() for window in windows] == [[NO_TOKEN, 0, 1], [1, 2, NO_TOKEN]]
    merged = merge_windows(3, windows, [np.array([[9.0], [1.0], [2.0]]), np.array([[4.0], [8.0], [9.0]])], 1)
    assert merged.tolist() == [[1.0], [3.0], [8.0]]


@pytest.fixture
def windows(documents, sha_rnn_tagger):
    return [w for doc in documents for w in cut_windows(doc, sha_rnn_tagger.tokenizer, size=64, overlap=16)]


def test_padding_comes_last_and_is_masked_and_ignored(windows):
    short, long = min(windows, key=len), max(windows, key=len)
    batch = collate([short, long], pad_id=0)
    n = len(short)
    assert batch["input_ids"].shape == (2, len(long))
    assert batch["input_ids"][0, :n].tolist() == short.pieces.tolist()
    assert batch["attention_mask"].sum(1).tolist() == [n, len(long)]
    assert (batch["attention_mask"][0, :n] == 1).all()
    assert (batch["labels"][0, n:] == IGNORED).all()
