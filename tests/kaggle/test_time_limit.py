from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import essay_of_labels, make_document

from pii_kit.kaggle import time_limit
from pii_kit.kaggle.time_limit import Labelled, label_by_rules, label_in_time, write_early_submission
from pii_kit.labels import LABELS
from pii_kit.predict import Tagger
from pii_kit.report.baselines import label_with_patterns
from pii_kit.rules import DEFAULT_RULES
from pii_kit.sample import make_documents
from pii_kit.submission import read_submission, submission_rows, write_submission

FILE = "submission.csv"
HEADER = "row_id,document,token,label\n"
GROUP = 8  # documents that the made-up runs predict at once


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    monkeypatch.delenv("KAGGLE_IS_COMPETITION_RERUN", raising=False)


@pytest.fixture(scope="module")
def essays():
    """Short documents without PII."""
    return [essay_of_labels(number, ["O"] * (20 + number * 7 % 40)) for number in range(200)]


def count(documents) -> int:
    return sum(len(document.tokens) for document in documents)


class Clock:
    """Stands still between the steps of the made-up runs."""

    def __init__(self, monkeypatch, *, writing: float = 0):
        self.now, write = 1000.0, write_submission

        def write_slowly(*arguments):
            write(*arguments)
            self.now += writing

        monkeypatch.setattr(time_limit.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time_limit, "write_submission", write_slowly)
        monkeypatch.setattr(time_limit, "DOCUMENTS_AT_A_TIME", GROUP)


@dataclass
class Runs:
    """A tagger of made-up runs: run k takes `seconds[k]` for a token, and labels each token whose index is k modulo 7.

    `asked` lists what was predicted: pairs of the runs and the numbers of the documents. `before` is called first.
    """

    clock: Clock
    seconds: dict[int, float]
    asked: list = field(default_factory=list)
    factors: tuple[float, ...] = (1.0,)
    before: object = None

    @property
    def members(self):
        return [SimpleNamespace(run=run, weight=1 / 2 / len(self.seconds)) for run in self.seconds for _ in range(2)]

    def of_runs(self, runs):
        return replace(self, seconds={run: self.seconds[run] for run in runs})

    def predict(self, documents):
        self.asked.append((tuple(self.seconds), [document.number for document in documents]))
        for start in range(0, len(documents), GROUP):
            if self.before:
                self.before(tuple(self.seconds))
            group = documents[start : start + GROUP]
            factor = self.factors[start // GROUP % len(self.factors)]
            self.clock.now += factor * sum(self.seconds.values()) * count(group)
            for document in group:
                scores = np.zeros((len(document.tokens), len(LABELS)), dtype=np.float32)
                scores[:, 0] = 1
                for run in self.seconds:
                    scores[run::7] = 1 / (len(LABELS))
                yield document, scores

    def decide(self, document, probabilities):
        return ["O" if of_token[0] > 0.9 else "B-NAME_STUDENT" for of_token in probabilities]

    def whole(self) -> list[int]:
        """The runs that were asked for more documents than are measured."""
        return [runs[0] for runs, numbers in self.asked if len(numbers) > time_limit.N_MEASURED]


@pytest.fixture
def label(essays, tmp_path):
    """A function that labels the essays into submission.csv, and keeps the rows from rules as early.csv."""

    def run(tagger, documents=essays, **settings) -> Labelled:
        write_early_submission(tmp_path / "early.csv", documents)
        found = write_early_submission(tmp_path / FILE, documents)
        return label_in_time(tagger, documents, tmp_path / FILE, found=found, **settings)

    return run


@pytest.fixture
def is_early(tmp_path):
    return lambda: (tmp_path / FILE).read_bytes() == (tmp_path / "early.csv").read_bytes()


def test_rules_drop_what_regular_expressions_take_for_pii_and_add_author_lines():
    document = make_document("Submitted by: Ann Lee\n\nSee https://www.coursera.org/learn/design for ann@lee.org")
    labels = dict(zip(document.tokens, label_by_rules(document), strict=True))
    assert (labels["Ann"], labels["Lee"]) == ("B-NAME_STUDENT", "I-NAME_STUDENT")
    assert labels["ann@lee.org"] == "B-EMAIL"
    assert labels["https://www.coursera.org/learn/design"] == "O"
    assert "B-URL_PERSONAL" in label_with_patterns(document)


@pytest.mark.parametrize("deadline", [float("inf"), 1e12])
def test_with_time_enough_the_file_is_that_of_the_tagger_byte_for_byte(
    label, is_early, sha_rnn_tagger, mobilebert_tagger, deadline, tmp_path
):
    """Two runs of two folds. With this threshold untrained networks find some PII and do not label everything PII."""
    kinds = [(sha_rnn_tagger, 0.3, 0), (mobilebert_tagger, 0.2, 1)] * 2
    members = tuple(replace(member, weight=weight, run=run) for member, weight, run in kinds)
    tagger = Tagger(members, o_threshold=0.065, rules=DEFAULT_RULES)
    essays = make_documents(60, seed=5)
    done = label(tagger, documents=essays, deadline=deadline)
    rows = submission_rows((doc.number, tagger.decide(doc, scores)) for doc, scores in tagger.predict(essays))
    write_submission(tmp_path / "plain.csv", rows)
    assert (tmp_path / FILE).read_bytes() == (tmp_path / "plain.csv").read_bytes()
    assert not is_early() and 100 < len(rows) == done.rows
    assert (done.by_all_runs, done.by_some_runs, done.by_rules, done.errors) == (len(essays), 0, 0, 0)


def test_the_fastest_run_is_first_and_the_file_is_rewritten_after_each(label, essays, monkeypatch, tmp_path):
    contents = []

    def look(runs):
        read_submission(tmp_path / FILE, essays)
        contents.append((tmp_path / FILE).read_bytes())

    runs = Runs(Clock(monkeypatch), {0: 0.003, 1: 0.001, 2: 0.002}, before=look)
    done = label(runs, deadline=runs.clock.now + 1e6)
    assert runs.whole() == [1, 2, 0]
    assert [len(set(contents)), contents[0]] == [3, (tmp_path / "early.csv").read_bytes()]
    assert (tmp_path / FILE).read_bytes() not in contents
    assert done.by_all_runs == len(essays)


@pytest.mark.parametrize("milliseconds", [0.3, 1, 2, 4, 7])  # for a token
@pytest.mark.parametrize("writing", [0, 20])
def test_it_ends_in_time_with_slow_writing_and_uneven_runs(label, essays, monkeypatch, writing, milliseconds):
    runs = Runs(Clock(monkeypatch, writing=writing), {0: 0.001, 1: 0.003}, factors=(1, 1.2, 0.9, 1.1, 1))
    deadline = runs.clock.now + 5 * writing + milliseconds / 1000 * count(essays)
    done = label(runs, deadline=deadline)
    assert runs.clock.now <= deadline
    assert done.by_rules + done.by_some_runs + done.by_all_runs == len(essays)
    assert done.by_rules == 0 if milliseconds > 3 else done.by_all_runs == 0
    assert done.by_rules < len(essays) or milliseconds < 2


def fail(*_):
    raise OSError("No space left on device")


def test_an_error_is_raised_after_the_rows_found_before_it_are_written(label, is_early, essays, monkeypatch, tmp_path):
    runs = Runs(Clock(monkeypatch), {0: 0.001, 1: 0.001})
    runs.before = lambda asked: fail() if asked == (0,) and runs.clock.now > 1004 else None
    with pytest.raises(OSError, match="No space left"):
        label(runs)
    assert len(read_submission(tmp_path / FILE, essays)) and not is_early()


def test_in_a_rerun_the_other_runs_label_all_if_one_fails(label, is_early, essays, monkeypatch, caplog):
    monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")
    runs = Runs(Clock(monkeypatch), {0: 0.001, 1: 0.002})
    runs.before = lambda asked: fail() if asked == (0,) else None
    done = label(runs, deadline=1e12)
    assert (done.errors, done.by_some_runs, done.by_rules) == (1, len(essays), 0)
    assert "No space left" in caplog.text and "Traceback" in caplog.text
    assert not is_early()


def test_in_a_rerun_a_full_disk_leaves_the_file_written_before(label, is_early, essays, monkeypatch, caplog):
    monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")
    runs = Runs(Clock(monkeypatch), {0: 0.001})
    runs.before = lambda _: monkeypatch.setattr(time_limit, "write_submission", fail)
    done = label(runs)
    assert done.by_all_runs == len(essays) and done.errors > 0
    assert is_early() and "No space left on device" in caplog.text


@pytest.mark.parametrize("n_empty", [0, 3])
def test_documents_without_tokens_and_no_documents_at_all(label, n_empty, monkeypatch, tmp_path):
    runs = Runs(Clock(monkeypatch), {0: 0.001})
    empty = [make_document("", number) for number in range(n_empty)]
    assert label(runs, documents=empty, deadline=runs.clock.now + 60).rows == 0
    assert (tmp_path / FILE).read_text() == HEADER
    filled = [essay_of_labels(1000 + number, ["O"] * 300) for number in range(2)]
    assert label(runs, documents=empty + filled, deadline=runs.clock.now + 60).by_all_runs == n_empty + 2
    assert set(read_submission(tmp_path / FILE, filled)["document"]) == {1000, 1001}
