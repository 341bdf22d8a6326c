from collections import deque
from dataclasses import replace

import numpy as np
import pytest
from conftest import essay_of_labels, likely, make_document

from pii_kit.kaggle import time_limit
from pii_kit.kaggle.time_limit import (
    Labelled,
    label_by_rules,
    label_in_time,
    plan_taggers,
    write_early_submission,
)
from pii_kit.metrics import micro_fbeta
from pii_kit.predict import DOCUMENTS_AT_A_TIME, Tagger
from pii_kit.report.baselines import label_with_patterns
from pii_kit.rules import DEFAULT_RULES
from pii_kit.sample import make_documents
from pii_kit.submission import read_submission, rows_table, submission_rows, true_rows, write_submission

EARLY, RIGHT = "early.csv", "submission.csv"
HEADER = "row_id,document,token,label\n"
N_GROUPS = 5


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    monkeypatch.delenv("KAGGLE_IS_COMPETITION_RERUN", raising=False)


@pytest.fixture(scope="module")
def essays():
    """Documents for five groups."""
    return make_documents((N_GROUPS - 1) * DOCUMENTS_AT_A_TIME + 7, seed=5)


@pytest.fixture(scope="module")
def ensemble(sha_rnn_tagger, mobilebert_tagger):
    """Two runs of two folds. With this threshold untrained taggers find some PII and do not label everything PII."""
    kinds = [(sha_rnn_tagger, 0.3, 0), (mobilebert_tagger, 0.2, 1)] * 2
    members = tuple(replace(member, weight=weight, run=run) for member, weight, run in kinds)
    return Tagger(members, o_threshold=0.065, rules=DEFAULT_RULES)


@pytest.fixture
def label(ensemble, essays, tmp_path):
    """A function that labels the essays into submission.csv and keeps the rows from rules as early.csv."""

    def run(of=ensemble, documents=essays, **settings) -> Labelled:
        found = write_early_submission(tmp_path / EARLY, documents)
        write_early_submission(tmp_path / RIGHT, documents)
        return label_in_time(of, documents, tmp_path / RIGHT, found=found, **settings)

    return run


class Clock:
    """Replaces time.monotonic and the models. Each model takes `seconds` for a token, and writing takes `writing`."""

    def __init__(self, monkeypatch, *, writing: float = 0, **seconds: float):
        self.now, self.seconds, self.asked = 1000.0, seconds, []
        self.before_asking, write = lambda: None, write_submission

        def write_slowly(*arguments):
            write(*arguments)
            self.now += writing

        monkeypatch.setattr(time_limit.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time_limit, "write_submission", write_slowly)
        monkeypatch.setattr(time_limit, "predict_documents", self.ask)

    def ask(self, members, documents):
        self.before_asking()
        config = members[0].network.model.config
        model = getattr(config, "encoder", config).model_type
        self.asked.append((model, [document.number for document in documents]))
        self.now += self.seconds[model] * count(documents)
        return [(doc, likely(np.random.default_rng(doc.number), ["O"] * len(doc.tokens))) for doc in documents]

    def groups(self) -> list[list[int]]:
        """The documents of each prediction that is not a measurement."""
        return [numbers for _, numbers in self.asked if len(numbers) > 1]


def count(documents) -> int:
    return sum(len(document.tokens) for document in documents)


def test_rules_drop_what_regular_expressions_take_for_pii_and_add_author_lines():
    document = make_document("Submitted by: Ann Lee\n\nSee https://www.coursera.org/learn/design for ann@lee.org")
    labels = dict(zip(document.tokens, label_by_rules(document), strict=True))
    assert (labels["Ann"], labels["Lee"]) == ("B-NAME_STUDENT", "I-NAME_STUDENT")
    assert labels["ann@lee.org"] == "B-EMAIL"
    assert labels["https://www.coursera.org/learn/design"] == "O"
    assert "B-URL_PERSONAL" in label_with_patterns(document)


def test_rules_score_better_than_regular_expressions_alone():
    documents = make_documents(80, seed=3)
    truth = true_rows(documents)
    early, patterns = (
        micro_fbeta(truth, submission_rows((doc.number, label(doc)) for doc in documents)).f
        for label in (label_by_rules, label_with_patterns)
    )
    assert early > patterns > 0


def test_the_early_file_is_valid_and_holds_the_returned_rows(documents, tmp_path):
    found = write_early_submission(tmp_path / RIGHT, documents)
    assert list(found) == [document.number for document in documents]
    rows = read_submission(tmp_path / RIGHT, documents)
    assert rows.equals(rows_table(row for of_document in found.values() for row in of_document)) and len(rows) > 0


@pytest.mark.parametrize("texts", [[], [""], ["nothing here"]])
def test_documents_without_pii_give_an_early_file_with_the_header_alone(texts, tmp_path):
    write_early_submission(tmp_path / RIGHT, [make_document(text) for text in texts])
    assert (tmp_path / RIGHT).read_text() == HEADER


FIVE_AND_FIVE = [0] * 5 + [1] * 5  # two runs of five folds
FAST, SLOW = 0.001, 0.004


@pytest.mark.parametrize(
    ("seconds", "plan"),
    [
        (float("inf"), [0, 5, 1, 6, 2, 7, 3, 8, 4, 9]),
        (25.0, [0, 5, 1, 6, 2, 7, 3, 8, 4, 9]),  # 5 × 1 + 5 × 4 seconds
        (24.9, [0, 5, 1, 6, 2, 7, 3, 8, 4]),
        (10.0, [0, 5, 1, 6]),
        (9.9, [0, 5, 1, 2, 3, 4]),  # the second fold of the slow run does not fit, those of the fast run do
        (5.0, [0, 5]),
        (4.9, [0, 1, 2, 3]),
        (1.0, [0]),
        (0.1, [0]),
        (-3.0, [0]),
    ],
)
def test_first_folds_come_before_second_folds_and_taggers_that_do_not_fit_are_left_out(seconds, plan):
    assert plan_taggers(FIVE_AND_FIVE, [FAST, SLOW], 1000, seconds) == plan


def test_the_faster_run_comes_first_in_any_order_of_runs():
    assert plan_taggers([0, 1, 1], [SLOW, FAST], 1000, 3) == [1, 2]


def test_a_plan_of_several_taggers_never_takes_longer_than_there_is_time():
    for seconds in range(1, 40):
        plan = plan_taggers(FIVE_AND_FIVE, [FAST, SLOW], 1000, seconds)
        assert sum(1000 * (FAST, SLOW)[FIVE_AND_FIVE[tagger]] for tagger in plan) <= seconds
        assert len(set(plan)) == len(plan)


def test_without_a_limit_the_file_is_that_of_the_ensemble_byte_for_byte(label, ensemble, essays, tmp_path):
    done = label()
    rows = submission_rows((doc.number, ensemble.decide(doc, scores)) for doc, scores in ensemble.predict(essays))
    write_submission(tmp_path / "plain.csv", rows)
    assert (tmp_path / RIGHT).read_bytes() == (tmp_path / "plain.csv").read_bytes() != (tmp_path / EARLY).read_bytes()
    assert 100 < len(rows) == done.rows
    assert (done.documents, done.by_all_models, done.by_fewer_models, done.by_rules) == (len(essays), len(essays), 0, 0)
    assert (done.models, done.errors) == (4, 0) and done.seconds > 0


def test_each_run_is_measured_after_a_warm_up_and_each_document_labelled_once(label, essays, monkeypatch):
    clock = Clock(monkeypatch, sha_rnn=0.001, mobilebert=0.001)
    label()
    (usual,) = clock.asked[0][1]
    assert clock.asked[:4] == [("sha_rnn", [usual])] * 2 + [("mobilebert", [usual])] * 2
    lengths = sorted(len(document.tokens) for document in essays)
    assert len(next(doc for doc in essays if doc.number == usual).tokens) == lengths[len(lengths) // 2]
    assert len(clock.asked) == 4 + 4 * N_GROUPS
    asked = sorted(number for group in clock.groups() for number in group)
    assert asked == sorted(4 * [document.number for document in essays])


def test_the_time_of_the_first_use_of_a_model_does_not_count(label, essays, monkeypatch):
    """The first prediction takes an hour; there are two for all others, which take seconds."""
    clock = Clock(monkeypatch, sha_rnn=1e-5, mobilebert=1e-5)

    def set_up():
        clock.now += 3600 * (len(clock.asked) == 0)

    clock.before_asking = set_up
    assert label(deadline=clock.now + 2 * 3600).by_all_models == len(essays)


def test_groups_are_taken_in_a_random_order_that_is_the_same_each_time(label, essays, monkeypatch):
    clock = Clock(monkeypatch, sha_rnn=0.001, mobilebert=0.001)
    first, second = ([group[0] for group in clock.groups()][-4 * N_GROUPS :: 4] for _ in range(2) if label())
    assert first == second != sorted(first)
    assert sorted(first) == [essays[place].number for place in range(0, len(essays), DOCUMENTS_AT_A_TIME)]


@pytest.mark.parametrize("n_empty", [0, 3, 40])
def test_documents_without_tokens_are_labelled_and_have_no_rows(label, n_empty, monkeypatch, tmp_path):
    Clock(monkeypatch, sha_rnn=0.001, mobilebert=0.001)
    documents = [make_document("", number) for number in range(n_empty)]
    filled = [essay_of_labels(1000 + number, ["O"] * 300) for number in range(2)]
    done = label(documents=documents + filled)
    assert done.by_all_models == n_empty + 2
    assert set(read_submission(tmp_path / RIGHT, filled)["document"]) == {1000, 1001}
    assert label(documents=documents).rows == 0


def test_a_valid_file_exists_before_the_first_prediction_and_gets_better(label, essays, monkeypatch, tmp_path):
    clock = Clock(monkeypatch, sha_rnn=0.002, mobilebert=0.002)  # a group takes more than a minute
    contents = []

    def look():
        read_submission(tmp_path / RIGHT, essays)
        contents.append((tmp_path / RIGHT).read_bytes())

    clock.before_asking = look
    label()
    early, last = (tmp_path / EARLY).read_bytes(), (tmp_path / RIGHT).read_bytes()
    assert contents[0] == early and last not in contents
    assert 2 < len(set(contents)) <= N_GROUPS


def test_taggers_are_left_out_so_that_every_document_is_labelled_in_time(label, essays, monkeypatch, tmp_path):
    """All four taggers would take 8 ms for a token; there is time for 5."""
    clock = Clock(monkeypatch, sha_rnn=0.001, mobilebert=0.003)
    limit = 0.005 * count(essays)
    done = label(deadline=clock.now + limit)
    assert 0.7 * limit < done.seconds <= limit
    assert (done.by_fewer_models + done.by_all_models, done.by_rules) == (len(essays), 0)
    assert done.by_fewer_models > done.by_all_models
    assert {model for model, numbers in clock.asked if len(numbers) > 1} == {"sha_rnn", "mobilebert"}
    assert len(read_submission(tmp_path / RIGHT, essays)) == done.rows


def test_a_machine_that_slows_down_is_noticed(label, essays, monkeypatch):
    clock = Clock(monkeypatch, sha_rnn=0.001, mobilebert=0.001)

    def slow_down():
        if len(clock.asked) == 12:
            clock.seconds = {"sha_rnn": 0.003, "mobilebert": 0.003}

    clock.before_asking = slow_down
    limit = 0.006 * count(essays)  # 1.5 times what all taggers would have taken
    done = label(deadline=clock.now + limit)
    assert done.by_all_models > 0 and done.by_fewer_models > 0 and done.by_rules == 0
    assert done.seconds <= limit


def test_if_the_fastest_tagger_is_too_slow_the_other_documents_keep_the_rows_from_rules(
    label, essays, monkeypatch, tmp_path
):
    clock = Clock(monkeypatch, sha_rnn=0.001, mobilebert=0.003)
    limit = 0.0007 * count(essays)
    done = label(deadline=clock.now + limit)
    assert done.by_fewer_models > 0 and 0 < done.by_rules < len(essays)
    assert done.seconds <= limit
    assert all(len(numbers) == 1 for model, numbers in clock.asked if model == "mobilebert")  # measured only
    early, rows = (read_submission(tmp_path / name, essays) for name in (EARLY, RIGHT))
    same = [
        early[early["document"] == doc.number].iloc[:, 1:].values.tolist()
        == rows[rows["document"] == doc.number].iloc[:, 1:].values.tolist()
        for doc in essays
    ]
    assert done.by_rules <= sum(same) < len(essays)


def test_without_any_time_all_rows_are_from_rules(label, essays, monkeypatch, tmp_path):
    clock = Clock(monkeypatch, sha_rnn=0.001, mobilebert=0.001)
    done = label(deadline=clock.now - 5)
    assert (done.by_rules, done.by_all_models, done.by_fewer_models, clock.asked) == (len(essays), 0, 0, [])
    assert (tmp_path / RIGHT).read_bytes() == (tmp_path / EARLY).read_bytes()


@pytest.mark.parametrize("milliseconds", [0.3, 0.8, 1, 1.5, 2, 3, 4, 5, 6, 7])  # for a token
@pytest.mark.parametrize("writing", [0, 3, 20])
def test_it_ends_in_time_with_slow_writing_and_uneven_models(label, essays, monkeypatch, writing, milliseconds):
    """Some predictions take a fifth longer than others, and deciding takes time too: nothing is late."""
    clock = Clock(monkeypatch, sha_rnn=0.001, mobilebert=0.003, writing=writing)
    factors, decide = deque([1, 1.2, 0.9, 1.1, 1]), Tagger.decide

    def be_uneven():
        factors.rotate(1)
        clock.seconds = {"sha_rnn": 0.001 * factors[0], "mobilebert": 0.003 * factors[0]}

    def decide_slowly(self, document, probabilities):
        clock.now += 0.0005 * len(document.tokens)
        return decide(self, document, probabilities)

    clock.before_asking = be_uneven
    monkeypatch.setattr(Tagger, "decide", decide_slowly)
    deadline = clock.now + 4 * writing + milliseconds / 1000 * count(essays)  # it writes four times at least
    done = label(deadline=deadline)
    assert clock.now <= deadline
    assert done.by_rules < len(essays) or milliseconds < 1


def fail_once(clock: Clock, calls: int) -> None:
    """Let the models fail once, after that many predictions."""

    def fail():
        if len(clock.asked) == calls:
            clock.before_asking = lambda: None
            raise ValueError("a model broke")

    clock.before_asking = fail


def test_an_error_is_raised_after_the_rows_found_before_it_are_written(label, essays, monkeypatch, tmp_path):
    clock = Clock(monkeypatch, sha_rnn=0.001, mobilebert=0.001)
    fail_once(clock, calls=19)
    with pytest.raises(ValueError, match="a model broke"):
        label()
    read_submission(tmp_path / RIGHT, essays)
    assert (tmp_path / RIGHT).read_bytes() != (tmp_path / EARLY).read_bytes()
    assert len(clock.asked) < 4 + 4 * N_GROUPS


def test_in_a_rerun_an_error_is_logged_and_labelling_goes_on(label, essays, monkeypatch, caplog, tmp_path):
    """One group is labelled without the tagger that failed; all others are labelled by all taggers."""
    monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")
    fail_once(Clock(monkeypatch, sha_rnn=0.001, mobilebert=0.001), calls=11)
    done = label()
    assert done.errors == 1 and done.by_rules == 0
    assert 0 < done.by_fewer_models <= DOCUMENTS_AT_A_TIME
    assert done.by_fewer_models + done.by_all_models == len(essays)
    assert "a model broke" in caplog.text and "Traceback" in caplog.text
    assert len(read_submission(tmp_path / RIGHT, essays)) == done.rows


def test_in_a_rerun_the_other_runs_label_all_if_one_run_always_fails(label, essays, monkeypatch, caplog, tmp_path):
    monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")
    clock = Clock(monkeypatch, sha_rnn=0.001, mobilebert=0.001)

    def fail(members, documents):
        if members[0].network.model.config.model_type.startswith("sha_rnn"):
            raise RuntimeError("CUDA error: device-side assert triggered")
        return clock.ask(members, documents)

    monkeypatch.setattr(time_limit, "predict_documents", fail)
    done = label()
    assert (done.by_fewer_models, done.by_rules) == (len(essays), 0)
    assert caplog.text.count("Traceback") == 1
    assert (tmp_path / RIGHT).read_bytes() != (tmp_path / EARLY).read_bytes()


def test_in_a_rerun_models_that_always_fail_leave_the_rows_from_rules(label, essays, monkeypatch, caplog, tmp_path):
    monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")

    def fail(*_, **__):
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(time_limit, "predict_documents", fail)
    done = label()
    assert done.by_rules == len(essays) and done.errors >= N_GROUPS
    assert caplog.text.count("Traceback") == 1
    assert (tmp_path / RIGHT).read_bytes() == (tmp_path / EARLY).read_bytes()


def test_in_a_rerun_a_full_disk_leaves_the_file_written_before(label, essays, monkeypatch, caplog, tmp_path):
    monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")
    clock = Clock(monkeypatch, sha_rnn=0.001, mobilebert=0.001)

    def fill_disk():
        def fail(*_):
            raise OSError("No space left on device")

        monkeypatch.setattr(time_limit, "write_submission", fail)

    clock.before_asking = fill_disk
    done = label()
    assert done.by_all_models == len(essays) and done.errors > 0
    assert (tmp_path / RIGHT).read_bytes() == (tmp_path / EARLY).read_bytes()
    assert "No space left on device" in caplog.text


def test_no_documents_give_the_header_alone(label, tmp_path):
    done = label(documents=[], deadline=time_limit.time.monotonic() + 60)
    assert (done.documents, done.rows, done.by_all_models) == (0, 0, 0)
    assert (tmp_path / RIGHT).read_text() == HEADER
