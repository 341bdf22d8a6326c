import math
import threading

import numpy as np
import pytest
from conftest import likely

from pii_kit import kaggle as time_left
from pii_kit.kaggle import Deadline, deadline_in
from pii_kit.kaggle import time_limit as device_taggers
from pii_kit.kaggle import time_limit as label_in_time
from pii_kit.kaggle.time_limit import Labelled, write_early_submission
from pii_kit.predict import DOCUMENTS_AT_A_TIME, Ensemble
from pii_kit.rules import DEFAULT_RULES
from pii_kit.sample import make_documents
from pii_kit.submission import read_submission, submission_rows, write_submission

NO_LIMIT = Deadline(float("inf"))
EARLY, RIGHT = "early.csv", "submission.csv"


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    monkeypatch.delenv("KAGGLE_IS_COMPETITION_RERUN", raising=False)


@pytest.fixture(scope="module")
def essays():
    """Enough for five groups."""
    return make_documents(4 * DOCUMENTS_AT_A_TIME + 7, seed=5)


@pytest.fixture(scope="module")
def ensemble(sha_rnn_tagger, mobilebert_tagger):
    """Two runs of two folds; the cut-off is low enough for untrained taggers to find some PII and not only PII."""
    return Ensemble(
        taggers=(sha_rnn_tagger, mobilebert_tagger) * 2,
        weights=(0.3, 0.2, 0.3, 0.2),
        of_run=(0, 1, 0, 1),
        o_threshold=0.065,
        rules=DEFAULT_RULES,
    )


@pytest.fixture
def label(ensemble, essays, tmp_path):
    """A function that labels the essays into submission.csv; what rules find is kept as early.csv."""

    def run(deadline=NO_LIMIT, of=ensemble, **settings) -> Labelled:
        found = write_early_submission(tmp_path / EARLY, essays)
        write_early_submission(tmp_path / RIGHT, essays)
        return label_in_time.label_in_time(of, essays, tmp_path / RIGHT, found=found, deadline=deadline, **settings)

    return run


class Clock:
    """Stands for time.monotonic and for the models, which take `seconds` (model) for a token; each says anything."""

    def __init__(self, monkeypatch, **seconds: float):
        self.now, self.seconds, self.asked = 1000.0, seconds, []
        self.before_asking = lambda: None
        monkeypatch.setattr(time_left.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(device_taggers, "predict_group", self.ask)

    def ask(self, tagger, documents, *, batch_size):
        if len(documents) > 1:  # the first use of a model, on one document, is free
            self.before_asking()
            model = tagger.model.config.model_type.partition("_tagger")[0]
            self.asked.append(model)
            self.now += self.seconds[model] * count(documents)
        return [likely(np.random.default_rng(doc.document), ["O"] * len(doc.tokens)) for doc in documents]


def count(documents) -> int:
    return sum(len(document.tokens) for document in documents)


def test_without_a_limit_the_file_is_the_plain_ways_byte_for_byte(label, ensemble, essays, tmp_path):
    done = label()
    rows = submission_rows((doc.document, ensemble.label(doc, scores)) for doc, scores in ensemble.predict(essays))
    write_submission(tmp_path / "plain.csv", rows)
    assert (tmp_path / RIGHT).read_bytes() == (tmp_path / "plain.csv").read_bytes() != (tmp_path / EARLY).read_bytes()
    assert 100 < len(rows) == done.rows
    assert (done.documents, done.by_all_models, done.by_fewer_models, done.by_rules_alone) == (135, 135, 0, 0)
    assert (done.models, done.models_a_document, done.errors) == (4, 4.0, 0)
    assert done.seconds_with_all == pytest.approx(done.seconds, rel=0.5)


def test_two_devices_share_the_work_and_change_nothing(label, ensemble, monkeypatch, tmp_path):
    label()
    alone = (tmp_path / RIGHT).read_bytes()
    both, threads, predict = threading.Barrier(2, timeout=20), set(), device_taggers.predict_group

    def meet(tagger, documents, *, batch_size):
        if threading.get_ident() not in threads:
            threads.add(threading.get_ident())
            both.wait()  # each has begun before either goes on
        return predict(tagger, documents, batch_size=batch_size)

    monkeypatch.setattr(device_taggers, "predict_group", meet)
    done = label(devices=["cpu", "cpu"])
    assert len(threads) == 2 and done.by_all_models == done.documents
    assert (tmp_path / RIGHT).read_bytes() == alone


def test_a_valid_file_stands_before_the_first_model_is_asked_and_gets_better(label, essays, monkeypatch, tmp_path):
    clock = Clock(monkeypatch, sha_rnn=0.002, mobilebert=0.002)  # more than a minute for each group
    contents = []

    def look():
        read_submission(tmp_path / RIGHT, essays)
        contents.append((tmp_path / RIGHT).read_bytes())

    clock.before_asking = look
    label()
    early, last = (tmp_path / EARLY).read_bytes(), (tmp_path / RIGHT).read_bytes()
    assert contents[0] == early and last not in contents
    assert 2 < len(set(contents)) <= 5


def test_taggers_are_dropped_so_that_every_document_has_its_turn_in_time(label, essays, monkeypatch, tmp_path):
    """All four would take 8 ms a token; there are 5: a fold of each run for all, and not all of the time for more."""
    clock = Clock(monkeypatch, sha_rnn=0.001, mobilebert=0.003)
    limit = 0.005 * count(essays)
    done = label(Deadline(clock.now + limit))
    assert 0.7 * limit < done.seconds <= limit
    assert (done.by_fewer_models + done.by_all_models, done.by_rules_alone) == (len(essays), 0)
    assert done.by_fewer_models > done.by_all_models
    assert 2 <= done.models_a_document < 4
    assert done.seconds_with_all == pytest.approx(0.008 * count(essays))
    assert clock.asked[:2] == ["sha_rnn", "mobilebert"]  # both are measured at once
    assert len(read_submission(tmp_path / RIGHT, essays)) == done.rows


def test_a_machine_that_slows_down_is_noticed(label, essays, monkeypatch):
    clock = Clock(monkeypatch, sha_rnn=0.001, mobilebert=0.001)

    def slow_down():
        if len(clock.asked) == 8:
            clock.seconds = {"sha_rnn": 0.003, "mobilebert": 0.003}

    clock.before_asking = slow_down
    limit = 0.006 * count(essays)  # half as much again as all taggers would have taken
    done = label(Deadline(clock.now + limit))
    assert done.by_all_models > 0 and done.by_fewer_models > 0 and done.by_rules_alone == 0
    assert done.seconds <= limit


def test_where_the_fastest_tagger_is_too_slow_the_rest_keeps_what_rules_found(label, essays, monkeypatch, tmp_path):
    clock = Clock(monkeypatch, sha_rnn=0.001, mobilebert=0.003)
    limit = 0.0007 * count(essays)
    done = label(Deadline(clock.now + limit))
    assert done.by_fewer_models > 0 and 0 < done.by_rules_alone < len(essays)
    assert done.seconds <= limit
    assert clock.asked.count("mobilebert") == 1  # on a few documents, to measure it
    early, rows = (read_submission(tmp_path / name, essays) for name in (EARLY, RIGHT))
    same = [
        early[early["document"] == doc.document].iloc[:, 1:].values.tolist()
        == rows[rows["document"] == doc.document].iloc[:, 1:].values.tolist()
        for doc in essays
    ]
    assert done.by_rules_alone <= sum(same) < len(essays)


def test_without_any_time_the_rules_have_the_only_word(label, essays, monkeypatch, tmp_path):
    clock = Clock(monkeypatch, sha_rnn=0.001, mobilebert=0.001)
    done = label(Deadline(clock.now - 5))
    assert (done.by_rules_alone, done.models_a_document, clock.asked) == (len(essays), 0, [])
    assert math.isnan(done.seconds_with_all)
    assert (tmp_path / RIGHT).read_bytes() == (tmp_path / EARLY).read_bytes()


@pytest.fixture
def broken(monkeypatch):
    """A clock whose models fail with the twelfth question."""
    clock = Clock(monkeypatch, sha_rnn=0.001, mobilebert=0.001)

    def fail():
        if len(clock.asked) == 11:
            clock.before_asking = lambda: None
            raise ValueError("a model broke")

    clock.before_asking = fail
    return clock


@pytest.mark.parametrize("devices", [["cpu"], ["cpu", "cpu"]])
def test_an_error_is_raised_and_leaves_what_was_found_before_it(label, essays, broken, devices, tmp_path):
    with pytest.raises(ValueError, match="a model broke"):
        label(devices=devices)
    read_submission(tmp_path / RIGHT, essays)
    assert (tmp_path / RIGHT).read_bytes() != (tmp_path / EARLY).read_bytes()
    assert len(broken.asked) < 20


def test_in_a_rerun_an_error_is_printed_and_the_rest_goes_on(label, essays, broken, monkeypatch, caplog, tmp_path):
    """The third group keeps what its first tagger said; those after it are labelled by all."""
    monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")
    done = label()
    assert done.errors == 1 and done.by_rules_alone == 0
    assert 0 < done.by_fewer_models <= DOCUMENTS_AT_A_TIME
    assert done.by_fewer_models + done.by_all_models == len(essays)
    assert "a model broke" in caplog.text and "Traceback" in caplog.text
    assert len(read_submission(tmp_path / RIGHT, essays)) == done.rows


def test_in_a_rerun_models_that_always_fail_leave_what_rules_found(label, essays, monkeypatch, caplog, tmp_path):
    monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")

    def fail(*_, **__):
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(device_taggers, "predict_group", fail)
    done = label()
    assert (done.by_rules_alone, done.errors) == (len(essays), 5)
    assert caplog.text.count("Traceback") == 1
    assert (tmp_path / RIGHT).read_bytes() == (tmp_path / EARLY).read_bytes()


def test_no_documents_give_a_header(ensemble, tmp_path):
    found = write_early_submission(tmp_path / RIGHT, [])
    done = label_in_time.label_in_time(ensemble, [], tmp_path / RIGHT, found=found, deadline=deadline_in(1))
    assert (done.documents, done.rows, done.models_a_document) == (0, 0, 0)
    assert (tmp_path / RIGHT).read_text() == "row_id,document,token,label\n"
