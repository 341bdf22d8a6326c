import pytest

from pii_kit.kaggle.time_limit import KEPT, Speeds, plan_taggers

FIVE_AND_FIVE = [0] * 5 + [1] * 5  # two runs of five folds
FAST, SLOW = 0.001, 0.004


@pytest.mark.parametrize(
    ("seconds", "plan"),
    [
        (float("inf"), [0, 5, 1, 6, 2, 7, 3, 8, 4, 9]),
        (25.0, [0, 5, 1, 6, 2, 7, 3, 8, 4, 9]),  # 5 × 1 + 5 × 4 seconds
        (24.9, [0, 5, 1, 6, 2, 7, 3, 8, 4]),
        (10.0, [0, 5, 1, 6]),
        (9.9, [0, 5, 1, 2, 3, 4]),  # the second fold of the slow run no longer fits, those of the fast one do
        (5.0, [0, 5]),
        (4.9, [0, 1, 2, 3]),
        (1.0, [0]),
        (0.1, [0]),
        (-3.0, [0]),
    ],
)
def test_first_folds_come_before_second_ones_and_what_is_too_dear_is_dropped(seconds, plan):
    assert plan_taggers(FIVE_AND_FIVE, [FAST, SLOW], n_tokens=[1000] * 10, seconds=seconds) == plan


def test_the_faster_run_comes_first_wherever_it_stands():
    assert plan_taggers([0, 1, 1], [SLOW, FAST], n_tokens=[1000] * 3, seconds=3) == [1, 2]


def test_a_tagger_that_has_less_left_to_label_costs_less():
    """The fast run's first fold has labelled the last group of 1,000 tokens already, so a second one still fits."""
    assert plan_taggers([0, 0, 1], [FAST, SLOW], n_tokens=[1000] * 3, seconds=1) == [0]
    assert plan_taggers([0, 0, 1], [FAST, SLOW], n_tokens=[0, 1000, 1000], seconds=1) == [0, 1]


def test_no_plan_costs_more_than_there_is_time_for_unless_it_is_a_single_tagger():
    for seconds in range(1, 40):
        plan = plan_taggers(FIVE_AND_FIVE, [FAST, SLOW], n_tokens=[1000] * 10, seconds=seconds)
        cost = sum(1000 * (FAST, SLOW)[FIVE_AND_FIVE[tagger]] for tagger in plan)
        assert cost <= seconds
        assert len(set(plan)) == len(plan)


def test_a_run_that_was_not_measured_is_tried():
    speeds = Speeds(2)
    assert speeds.seconds_per_token() == [0, 0]
    speeds.add(0, n_tokens=100, seconds=2)
    assert speeds.seconds_per_token() == [0.02, 0]
    assert [speeds.is_measured(run) for run in (0, 1)] == [True, False]
    assert plan_taggers([0, 1], speeds.seconds_per_token(), n_tokens=[1000] * 2, seconds=1) == [1]


def test_speed_follows_a_machine_that_slows_down():
    speeds = Speeds(1)
    speeds.add(0, n_tokens=100, seconds=1)
    speeds.add(0, n_tokens=100, seconds=3)
    assert speeds.seconds_per_token() == [pytest.approx((KEPT * 1 + 3) / (KEPT * 100 + 100))]
    for _ in range(60):
        speeds.add(0, n_tokens=100, seconds=3)
    assert speeds.seconds_per_token() == [pytest.approx(0.03, rel=0.01)]
