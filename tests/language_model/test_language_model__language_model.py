import math
from itertools import pairwise

import pytest
import torch
from conftest import tiny_language_model

from pii_kit.files import KitError
from pii_kit.language_model import bits_per_character, bpc_by_memory, generate

TEXT = bytes(torch.randint(0, 256, (301,), generator=torch.Generator().manual_seed(0)).tolist())


@torch.no_grad()
def one_by_one(model, text):
    """bpc the slow way: byte by byte, in double precision."""
    state, nats = None, 0.0
    for byte, following in pairwise(text):
        done = model(torch.tensor([[byte]]), state=state)
        state = done.state
        nats -= done.logits[0, 0].double().log_softmax(-1)[following].item()
    return nats / (len(text) - 1) / math.log(2)


@pytest.mark.parametrize("n_bytes", [2, 3, 64, 65, 66, 301])
def test_bpc_is_that_of_reading_byte_by_byte_for_a_text_of_any_length(n_bytes):
    model = tiny_language_model(vocab_size=256, memory_size=1000)
    found = bits_per_character(model, TEXT[:n_bytes], window_size=64)
    assert found == pytest.approx(one_by_one(model, TEXT[:n_bytes]), abs=1e-5)


def test_a_model_that_knows_nothing_needs_eight_bits():
    model = tiny_language_model(vocab_size=256)
    with torch.no_grad():
        model.model.embedding.weight.zero_()
    for n_streams in (1, 3, 7):
        assert bits_per_character(model, TEXT, window_size=50, n_streams=n_streams) == pytest.approx(8, abs=1e-5)


def test_streams_side_by_side_are_the_texts_parts_read_apart():
    model = tiny_language_model(vocab_size=256)
    halves = [bits_per_character(model, part, window_size=10) for part in (TEXT[:151], TEXT[150:])]
    together = bits_per_character(model, TEXT, window_size=10, n_streams=2)
    assert together == pytest.approx(sum(halves) / 2, abs=1e-5)


def test_a_model_that_backs_off_reads_as_one_whose_memory_is_empty():
    """Outside its window such a model differs from one that attends nowhere else only by what is in the window."""
    model = tiny_language_model(vocab_size=256)
    backed_off = bits_per_character(model, TEXT, window_size=10, back_off=True)
    assert backed_off != pytest.approx(bits_per_character(model, TEXT, window_size=10), abs=1e-7)
    model.config.memory_size = 0
    assert backed_off == pytest.approx(bits_per_character(model, TEXT, window_size=10), abs=1e-6)


@pytest.mark.parametrize("text", [b"", b"a"])
def test_a_text_with_nothing_to_predict_is_refused(text):
    with pytest.raises(KitError, match=f"a text of {len(text)} bytes: expected at least 2"):
        bits_per_character(tiny_language_model(vocab_size=256), text)


def test_what_is_made_up_has_the_length_asked_for_and_follows_the_seed():
    model = tiny_language_model(vocab_size=256)
    made = generate(model, b"Hello", n_bytes=40, seed=1)
    assert len(made) == 40
    assert made == generate(model, b"Hello", n_bytes=40, seed=1) != generate(model, b"Hello", n_bytes=40, seed=2)
    assert len(generate(model, b"", n_bytes=3)) == 3


@torch.no_grad()
def test_a_cold_model_makes_up_the_likeliest_bytes():
    model = tiny_language_model(vocab_size=256)
    text = bytearray(b"Hello, a prompt that is longer than the memory")
    prompt = bytes(text)
    state = model(torch.tensor([list(text[:20])])).state
    done = model(torch.tensor([list(text[20:40])]), state=state)
    done = model(torch.tensor([list(text[40:])]), state=done.state)
    for _ in range(5):
        text.append(int(done.logits[0, -1].argmax()))
        done = model(torch.tensor([[text[-1]]]), state=done.state)
    assert generate(model, prompt, n_bytes=5, temperature=1e-4) == bytes(text[len(prompt) :])


def test_bpc_by_memory_is_bpc_with_that_memory_and_leaves_the_model_as_it_was():
    model = tiny_language_model(vocab_size=256)
    table = bpc_by_memory(model, TEXT, [0, 20], window_size=10)
    assert table["memory"].tolist() == [0, 20] and (table["seconds"] > 0).all()
    assert model.config.memory_size == 20
    assert table["bpc"].tolist() == [
        bits_per_character(model, TEXT, window_size=10, back_off=True),
        bits_per_character(model, TEXT, window_size=10),
    ]
