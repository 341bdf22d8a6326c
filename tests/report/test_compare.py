from dataclasses import asdict, replace

import pandas as pd
import pytest
from conftest import tiny_mobilebert, tiny_sha_rnn

from pii_kit.report import compare
from pii_kit.report.compare import SEED_RESULTS, SEED_SETTINGS, seed_metrics
from pii_kit.training.config import TrainConfig

MODELS = ("sha_rnn", "mobilebert")


@pytest.fixture(params=MODELS)
def model_and_tagger(request):
    return request.param, request.getfixturevalue(f"{request.param}_tagger")


@pytest.mark.parametrize("seed", [SEED_SETTINGS, SEED_RESULTS])
@pytest.mark.parametrize("model", MODELS)
def test_every_line_of_the_seeds_tables_stands_beside_ours(model, seed):
    table = compare.beside_seed(model, seed, {name: f"our {name}" for name in seed})
    assert list(table.index) == list(seed)
    assert list(table.columns) == compare.COLUMNS and len(compare.COLUMNS) == 3
    for name, line in table.iterrows():
        assert tuple(line) == (*seed[name][model], f"our {name}")


def test_a_line_that_ours_lacks_is_not_passed_over():
    with pytest.raises(KeyError):
        compare.beside_seed("sha_rnn", SEED_SETTINGS, {})


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (51_485_000, "51.485M"),
        (20_743_454_720, "20.743G"),
        (909_967, "0.910M"),
        (4, "4"),
        (0.98765, "0.988"),
        ("as is", "as is"),
    ],
)
def test_large_numbers_are_shown_in_millions_and_scores_in_three_digits(value, shown):
    seed = {"line": {"sha_rnn": ("claim", "code")}}
    assert compare.beside_seed("sha_rnn", seed, {"line": value}).loc["line", "ours"] == shown


def test_our_settings_have_every_line_of_the_seeds(model_and_tagger):
    model, tagger = model_and_tagger
    train = asdict(TrainConfig(learning_rate=3e-3, class_weights=0.1, cycle_epochs=3, restart_decay=0.5))
    ours = compare.settings(model, tagger, train)
    assert list(ours) == list(SEED_SETTINGS)
    assert ours["learning rate"] == "0.003"
    assert ours["class weights"] == "0.1 for O, 1 for PII"
    assert ours["schedule"] == "cosine, cycles of 3 epochs, peaks × 0.5"
    # One of SHA-RNN's two blocks attends, each of MobileBERT's two layers does.
    expected = {"sha_rnn": (1, 1, 16), "mobilebert": (2, 2, 16)}[model]
    assert (ours["attention layers"], ours["attention heads"], ours["embedding size"]) == expected


def test_a_schedule_without_restarts_and_a_named_weighting_are_told(sha_rnn_tagger):
    ours = compare.settings("sha_rnn", sha_rnn_tagger, asdict(TrainConfig(class_weights="log", cycle_epochs=None)))
    assert ours["class weights"] == "log"
    assert "one cycle" in ours["schedule"]


# MobileBERT is one of 512 positions, as in every preset but the seed's; SHA-RNN has one LSTM, for the test's speed.
@pytest.mark.parametrize(
    ("model", "network"),
    [
        ("sha_rnn", tiny_sha_rnn(num_hidden_layers=1, attention_layers=[0], bidirectional=False)),
        ("mobilebert", tiny_mobilebert(max_position_embeddings=512)),
    ],
    ids=MODELS,
)
def test_our_results_have_every_line_of_the_seeds(sha_rnn_tagger, model, network):
    tagger = replace(sha_rnn_tagger, model=network)
    by_seed = seed_metrics([["B-EMAIL", "O"], ["O"]], [["B-EMAIL", "B-EMAIL"], ["O"]])
    ours = compare.results(tagger, {"f5": 0.75}, {"seconds_per_epoch": 12.34, "device": "a CPU"}, by_seed)
    assert list(ours) == list(SEED_RESULTS)
    assert ours["F5, the competition's"] == 0.75
    assert ours["precision, seed's definition"] == 0.75  # the mean of 1/2 and 0/0 = 1
    assert ours["recall, seed's definition"] == 1.0
    assert ours["parameters"] == tagger.model.num_parameters() > ours["nn.Linear parameters"] > 0
    assert ours["seconds per epoch"] == "12.3 (a CPU)"
    assert not compare.beside_seed(model, SEED_RESULTS, ours).isna().any(axis=None)


def rows(*triples) -> pd.DataFrame:
    return pd.DataFrame(triples, columns=["document", "token", "label"])


TRUTH = rows((1, 0, "B-EMAIL"), (1, 1, "B-ID_NUM"), (2, 0, "B-EMAIL"), (2, 5, "B-ID_NUM"))
FIRST = rows((1, 0, "B-EMAIL"), (1, 1, "B-ID_NUM"), (3, 0, "B-EMAIL"))
SECOND = rows((1, 0, "B-EMAIL"), (2, 0, "B-ID_NUM"), (2, 5, "B-ID_NUM"), (3, 0, "B-EMAIL"), (4, 4, "B-EMAIL"))


def test_agreement_tells_who_has_which_rows():
    table = compare.agreement(TRUTH, FIRST, SECOND, names=("one", "two"))
    assert table.T.to_dict("list") == {"both": [1, 1], "one alone": [1, 0], "two alone": [1, 2], "neither": [1, 0]}
    assert table["true rows"].sum() == len(TRUTH)


def test_the_score_table_has_a_line_per_submission():
    table = compare.score_table(TRUTH, {"one": FIRST, "nothing": rows()})
    assert list(table.index) == ["one", "nothing"]
    assert table.loc["one"].to_dict() == {
        "f5": pytest.approx(26 * 2 / (26 * 2 + 25 * 2 + 1)),
        "precision": pytest.approx(2 / 3),
        "recall": 0.5,
        "tp": 2,
        "fp": 1,
        "fn": 2,
    }
    assert table.loc["nothing", "f5"] == 0


def words_of(*, patterns=0.4, one=0.9, two=0.6, both=0.95, interval=(0.92, 0.97)) -> str:
    scores = pd.DataFrame({"f5": {"patterns": patterns, "one": one, "two": two, "both": both}})
    return compare.verdict(scores, baseline="patterns", average="both", interval=interval)


def test_the_verdict_names_the_better_model_and_the_gain_of_averaging():
    words = words_of()
    assert "one is ahead of two, F5 0.900 to 0.600" in words
    assert "gains 0.050: 0.950, 95% interval over documents 0.920 to 0.970" in words
    assert "Both are above patterns (0.400)" in words
    assert "chance" not in words


def test_the_verdict_says_what_averaging_costs_and_who_is_not_better_than_the_baseline():
    words = words_of(one=0.3, two=0.9, both=0.85, interval=(0.8, 0.95))
    assert "two is ahead of one, F5 0.900 to 0.300" in words
    assert "costs 0.050: 0.850" in words
    assert "Not better than patterns (0.400): one." in words
    assert "between the average and two lies within chance" in words


def test_no_model_is_ahead_of_itself():
    assert "one is ahead of one" not in words_of(one=0.7, two=0.7)
