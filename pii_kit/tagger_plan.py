"""Which taggers there is time for, from the speed that they show."""

from collections.abc import Sequence

# What a group of documents still counts for when the next one has been measured: about the last ten make the speed, so
# that it follows a machine that slows down.
KEPT = 0.9


class Speeds:
    """Seconds that a tagger of each run takes for a token, as last measured. Folds of one run are equally fast."""

    def __init__(self, n_runs: int):
        self._tokens, self._seconds = [0.0] * n_runs, [0.0] * n_runs

    def add(self, run: int, *, n_tokens: int, seconds: float) -> None:
        """Take in that a tagger of the run has labelled so many tokens in so many seconds; none say nothing."""
        if n_tokens:
            self._tokens[run] = KEPT * self._tokens[run] + n_tokens
            self._seconds[run] = KEPT * self._seconds[run] + seconds

    def is_measured(self, run: int) -> bool:
        return self._tokens[run] > 0

    def seconds_per_token(self) -> list[float]:
        """By run; 0 for a run that has not been measured, so that it is tried."""
        pairs = zip(self._tokens, self._seconds, strict=True)
        return [seconds / tokens if tokens else 0 for tokens, seconds in pairs]


def plan_taggers(
    of_run: Sequence[int], seconds_per_token: Sequence[float], *, n_tokens: Sequence[int], seconds: float
) -> list[int]:
    """The taggers to use, in the order of their use, where `n_tokens` (tagger) have to be labelled in `seconds`.

    `of_run` (tagger) is the run that a tagger is a fold of, `seconds_per_token` (run) what its taggers take. First come
    the first folds of all runs, then the second ones, and so on, since runs differ more than folds do; among equal
    folds the faster run's. Each is taken that fits into what those before it leave; the first one in any case.

    Two folds of a fast run and two of one that takes three times as long; 1,000 tokens in 8, in 5, in .5 seconds:

    >>> plan_taggers([0, 0, 1, 1], [0.001, 0.003], n_tokens=[1000] * 4, seconds=8)
    [0, 2, 1, 3]
    >>> plan_taggers([0, 0, 1, 1], [0.001, 0.003], n_tokens=[1000] * 4, seconds=5)
    [0, 2, 1]
    >>> plan_taggers([0, 0, 1, 1], [0.001, 0.003], n_tokens=[1000] * 4, seconds=0.5)
    [0]
    """
    order = sorted(
        range(len(of_run)),
        key=lambda tagger: (of_run[:tagger].count(of_run[tagger]), seconds_per_token[of_run[tagger]]),
    )
    plan: list[int] = []
    for tagger in order:
        cost = n_tokens[tagger] * seconds_per_token[of_run[tagger]]
        if not plan or cost <= seconds:
            plan.append(tagger)
            seconds -= cost
    return plan
