from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_document

from pii_kit.kaggle import time_limit as device_taggers
from pii_kit.kaggle.time_limit import BATCH_SIZE, DeviceTaggers
from pii_kit.predict import Ensemble, predict_documents


@pytest.fixture
def ensemble(sha_rnn_tagger, mobilebert_tagger):
    return Ensemble(
        taggers=(sha_rnn_tagger, mobilebert_tagger), weights=(0.5, 0.5), of_run=(0, 1), o_threshold=0.9, rules=()
    )


def test_a_tagger_says_what_it_says_alone(ensemble, documents):
    taggers = DeviceTaggers(ensemble, "cpu")
    for place, tagger in enumerate(ensemble.taggers):
        scores, seconds = taggers.ask(place, documents)
        assert seconds > 0
        for one, (_, alone) in zip(scores, predict_documents([tagger], documents), strict=True):
            np.testing.assert_array_equal(one, alone)


def test_the_first_use_of_a_model_is_made_on_the_shortest_document_and_not_timed(ensemble, documents, monkeypatch):
    now, asked = [0.0], []

    def predict(tagger, group, *, batch_size):
        asked.append([document.document for document in group])
        now[0] += 100 if len(asked) == 1 else 1  # setting up kernels takes its time
        return [np.zeros((len(document.tokens), 15)) for document in group]

    monkeypatch.setattr(device_taggers, "predict_group", predict)
    monkeypatch.setattr(device_taggers.time, "monotonic", lambda: now[0])
    group = [replace(documents[0], document=1), make_document("", 2), make_document("Short one.", 3)]
    taggers = DeviceTaggers(ensemble, "cpu")
    assert [taggers.ask(0, group)[1] for _ in range(2)] == [1, 1]
    assert asked == [[3], [1, 2, 3], [1, 2, 3]]


def test_batches_are_halved_until_they_fit_and_stay_so(ensemble, documents, monkeypatch):
    tried, predict = [], device_taggers.predict_group

    def small_memory(tagger, group, *, batch_size):
        tried.append(batch_size)
        if batch_size > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return predict(tagger, group, batch_size=batch_size)

    whole, _ = DeviceTaggers(ensemble, "cpu").ask(0, documents)
    monkeypatch.setattr(device_taggers, "predict_group", small_memory)
    taggers = DeviceTaggers(ensemble, "cpu")
    for one, other in zip(whole, taggers.ask(0, documents)[0], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    taggers.ask(1, documents)
    assert tried == [BATCH_SIZE, 8, 4, 4, 4, 4]


def test_a_single_window_that_does_not_fit_is_an_error(ensemble, documents, monkeypatch):
    def no_memory(tagger, group, *, batch_size):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(device_taggers, "predict_group", no_memory)
    with pytest.raises(torch.OutOfMemoryError):
        DeviceTaggers(ensemble, "cpu").ask(0, documents)
