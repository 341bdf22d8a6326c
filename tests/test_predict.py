import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch
from conftest import make_document

from pii_kit.predict import Ensemble, ahead, predict_documents
from pii_kit.windows import cut_windows


@pytest.fixture(params=["sha_rnn_tagger", "mobilebert_tagger"])
def tagger(request):
    return request.getfixturevalue(request.param)


def test_every_token_of_every_document_has_probabilities(tagger, documents):
    predicted = list(predict_documents([tagger], documents))
    assert [document for document, _ in predicted] == list(documents)
    for document, scores in predicted:
        assert scores.shape == (len(document.tokens), 15)
        np.testing.assert_allclose(scores.sum(1), 1, atol=1e-5)


def test_batches_and_their_padding_never_change_a_probability(tagger, documents):
    one_by_one = [scores for _, scores in predict_documents([tagger], documents, batch_pieces=1)]
    together = [scores for _, scores in predict_documents([tagger], documents, batch_pieces=10_000)]
    for one, other in zip(one_by_one, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_document_does_not_change_the_probabilities_of_another(tagger, documents):
    (_, alone), *_ = predict_documents([tagger], documents[5:6])
    together = [scores for _, scores in predict_documents([tagger], documents)][5]
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_nothing_is_truncated(tagger, documents):
    long = max(documents, key=lambda document: len(document.tokens))
    assert len(cut_windows(long, tagger.tokenizer, size=tagger.window_size, overlap=tagger.overlap)) > 3
    ((_, scores),) = predict_documents([tagger], [long])
    assert len(scores) == len(long.tokens)
    assert len(np.unique(scores[-20:, 0])) > 1


def test_several_taggers_are_averaged(sha_rnn_tagger, mobilebert_tagger, documents):
    one, other, both = (
        [scores for _, scores in predict_documents(group, documents[:3])]
        for group in ([sha_rnn_tagger], [mobilebert_tagger], [sha_rnn_tagger, mobilebert_tagger])
    )
    for first, second, mean in zip(one, other, both, strict=True):
        np.testing.assert_allclose(mean, (first + second) / 2, atol=1e-6)


def test_documents_without_tokens_and_no_documents_are_accepted(tagger, documents):
    empty = make_document("")
    predicted = list(predict_documents([tagger], [empty, documents[0], empty]))
    assert [scores.shape[0] for _, scores in predicted] == [0, len(documents[0].tokens), 0]
    assert list(predict_documents([tagger], [])) == []


def test_documents_are_read_only_when_needed(tagger, documents):
    """An endless stream of documents can be predicted: memory does not grow with their number."""

    def endless():
        while True:
            yield documents[0]

    stream = predict_documents([tagger], endless())
    assert next(stream)[0] is documents[0]


def test_the_next_two_items_are_made_in_other_threads_while_one_is_used_and_read_in_this_one():
    readers, makers, together = set(), set(), threading.Barrier(2, timeout=20)

    def items():
        for number in range(5):
            readers.add(threading.get_ident())
            yield number

    def make(number):
        makers.add(threading.get_ident())
        if number in (1, 2):
            together.wait()
        if number == 4:
            raise ValueError("the last")
        return 10 * number

    with ThreadPoolExecutor(2) as threads:
        made = ahead(make, items(), threads)
        assert [next(made) for _ in range(4)] == [(0, 0), (1, 10), (2, 20), (3, 30)]
        with pytest.raises(ValueError, match="the last"):
            next(made)
    assert readers == {threading.get_ident()} and len(makers) == 2 and not makers & readers


def test_groups_and_taggers_that_overlap_are_put_together_as_they_belong(
    sha_rnn_tagger, mobilebert_tagger, documents, monkeypatch
):
    taggers = [sha_rnn_tagger, mobilebert_tagger, sha_rnn_tagger]
    expected = [scores for _, scores in predict_documents(taggers, documents)]
    monkeypatch.setattr("pii_kit.predict.DOCUMENTS_AT_A_TIME", 5)
    predicted = list(predict_documents(taggers, documents))
    assert [document for document, _ in predicted] == list(documents)
    for one, (_, other) in zip(expected, predicted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def calling(tagger, function):
    """Return a tagger whose model calls a function before each batch."""

    def model(**batch):
        function()
        return tagger.model(**batch)

    model.eval, model.device = tagger.model.eval, tagger.model.device
    return replace(tagger, model=model)


def test_the_windows_of_one_document_are_shared_among_the_cores(sha_rnn_tagger, documents, monkeypatch):
    """A document that fits into one batch makes as many batches as there are cores, so that none is idle."""
    together = threading.Barrier(2, timeout=20)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)  # else later tests in this process would have two
    long = max(documents, key=lambda document: len(document.tokens))
    assert list(predict_documents([calling(sha_rnn_tagger, together.wait)], [long]))


def test_batches_are_computed_under_the_callers_autocast(sha_rnn_tagger, documents):
    seen = set()
    tagger = calling(
        sha_rnn_tagger, lambda: seen.add((torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")))
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        list(predict_documents([tagger], documents[:1]))
    assert seen == {(True, torch.bfloat16)}


@pytest.mark.parametrize("ends", ["when all is read", "before", "by an error"])
def test_after_a_prediction_no_thread_is_left_and_pytorch_has_its_cores_back(ends, tagger, documents, monkeypatch):
    threads, n_threads = threading.active_count(), torch.get_num_threads()
    monkeypatch.setattr("pii_kit.predict.DOCUMENTS_AT_A_TIME", 2)
    stream = predict_documents([tagger], chain(documents, [None] if ends == "by an error" else []))
    next(stream)
    if ends == "before":
        stream.close()
    else:
        with pytest.raises(AttributeError) if ends == "by an error" else nullcontext():
            list(stream)
    assert (threading.active_count(), torch.get_num_threads()) == (threads, n_threads)


def test_an_average_uses_the_weights(sha_rnn_tagger, mobilebert_tagger, documents):
    taggers = [sha_rnn_tagger, mobilebert_tagger]
    one, two, both = (
        next(predict_documents(group, documents[:1], weights=weights))[1]
        for group, weights in (([taggers[0]], None), ([taggers[1]], None), (taggers, (0.75, 0.25)))
    )
    np.testing.assert_allclose(both, 0.75 * one + 0.25 * two, atol=1e-6)


def test_a_run_keeps_its_weight_when_some_of_its_taggers_are_left_out():
    """Runs of two folds and of three, weights .4 and .6; a run alone has all the weight, whatever it was."""
    ensemble = Ensemble(
        taggers=(None,) * 5, weights=(0.2, 0.2, 0.2, 0.2, 0.2), of_run=(0, 0, 1, 1, 1), o_threshold=0.5, rules=()
    )
    assert ensemble.weights_of([0, 2]) == pytest.approx([0.4, 0.6])
    assert ensemble.weights_of([0, 1, 4]) == pytest.approx([0.2, 0.2, 0.6])
    assert ensemble.weights_of([3, 2]) == pytest.approx([0.5, 0.5])
    assert ensemble.weights_of([1]) == [1]


def test_all_taggers_have_exactly_the_weights_of_the_ensemble():
    weights = (0.1, 0.1, 0.1, 0.7 / 3, 0.7 / 3, 0.7 / 3)
    ensemble = Ensemble(taggers=(None,) * 6, weights=weights, of_run=(0, 0, 0, 1, 1, 1), o_threshold=0.5, rules=())
    assert tuple(ensemble.weights_of(range(6))) == weights


def test_a_copy_on_another_device_leaves_the_original_where_it_is(sha_rnn_tagger):
    """The meta device takes the place of a second GPU."""
    ensemble = Ensemble(taggers=(sha_rnn_tagger,), weights=(1.0,), of_run=(0,), o_threshold=0.7, rules=("add_emails",))
    assert ensemble.on("cpu") == ensemble
    copy = ensemble.on("meta")
    assert copy.taggers[0].model.device.type == "meta" and ensemble.taggers[0].model.device.type == "cpu"
    assert (copy.weights, copy.o_threshold, copy.rules) == (ensemble.weights, ensemble.o_threshold, ensemble.rules)
