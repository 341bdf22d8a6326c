from dataclasses import asdict

import pytest
from conftest import tiny_mobilebert, tiny_sha_rnn

from pii_kit.report import baselines
from pii_kit.report.baselines import published_table
from pii_kit.training import TrainConfig

MODELS = ("sha_rnn", "mobilebert")
# MobileBERT has 512 positions, as in every other preset than "original"; SHA-RNN has one LSTM to keep the test fast.
NETWORKS = {
    "sha_rnn": lambda: tiny_sha_rnn(num_hidden_layers=1, attention_layers=[0], bidirectional=False),
    "mobilebert": lambda: tiny_mobilebert(max_position_embeddings=512),
}


@pytest.mark.parametrize("name", ["original_settings", "original_results"])
@pytest.mark.parametrize("model", MODELS)
def test_every_line_of_the_original_tables_stands_beside_ours(model, name):
    published = published_table(name)
    lines = published[published.columns[0]].unique()
    table = baselines.beside_original(name, model, {line: f"our {line}" for line in lines})
    assert list(table.index) == list(lines)
    assert list(table.columns) == ["original claim", "what its code did", "ours"]
    for line, values in zip(published.to_numpy().tolist(), published["model"] == model, strict=True):
        if values:
            assert table.loc[line[0]].tolist() == [*line[2:], f"our {line[0]}"]


def test_a_line_without_a_value_of_ours_is_an_error():
    with pytest.raises(KeyError):
        baselines.beside_original("original_settings", "sha_rnn", {})


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
def test_large_numbers_are_shown_in_millions_and_scores_with_three_digits(value, shown):
    lines = published_table("original_settings")["setting"]
    ours = {line: value for line in lines}
    assert set(baselines.beside_original("original_settings", "sha_rnn", ours)["ours"]) == {shown}


@pytest.mark.parametrize("model", MODELS)
def test_our_settings_have_every_line_of_the_original_table(model):
    train = asdict(TrainConfig(learning_rate=3e-3, class_weights=0.1, cycle_epochs=3, restart_decay=0.5))
    network = tiny_sha_rnn() if model == "sha_rnn" else tiny_mobilebert()
    ours = baselines.settings(model, network, train)
    assert set(ours) == set(published_table("original_settings")["setting"])
    assert ours["learning rate"] == "0.003"
    assert ours["class weights"] == "0.1 for O, 1 for PII"
    assert ours["schedule"] == "cosine, cycles of 3 epochs, peaks × 0.5"
    # One of SHA-RNN's two blocks has attention, and both layers of MobileBERT.
    expected = {"sha_rnn": (1, 1, 16), "mobilebert": (2, 2, 16)}[model]
    assert (ours["attention layers"], ours["attention heads"], ours["embedding size"]) == expected


def test_a_schedule_without_restarts_and_a_named_weighting_are_shown():
    train = asdict(TrainConfig(class_weights="log", cycle_epochs=None))
    ours = baselines.settings("sha_rnn", tiny_sha_rnn(), train)
    assert ours["class weights"] == "log"
    assert "one cycle" in ours["schedule"]


@pytest.mark.parametrize("model", MODELS)
def test_our_results_have_every_line_of_the_original_table(model):
    network = NETWORKS[model]()
    metrics = baselines.original_metrics([["B-EMAIL", "O"], ["O"]], [["B-EMAIL", "B-EMAIL"], ["O"]])
    ours = baselines.results(network, 0.75, {"epoch_seconds": 12.34, "device": "a CPU"}, metrics)
    assert set(ours) == set(published_table("original_results")["result"])
    assert ours["F5, competition's definition"] == 0.75
    assert ours["precision, original definition"] == 0.75  # the mean of 1/2 and 0/0 = 1
    assert ours["recall, original definition"] == 1.0
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    assert ours["parameters"] == n_parameters > ours["nn.Linear parameters"] > 0
    assert ours["seconds per epoch"] == "12.3 for one fold (a CPU)"
    assert not baselines.beside_original("original_results", model, ours).isna().any(axis=None)


def test_the_original_metrics_flatter_a_model_that_finds_nothing():
    truth = [["O"]] * 69 + [["B-EMAIL"]] * 31
    assert baselines.original_metrics(truth, [["O"]] * 100) == {
        "F5, original definition": 0.69,
        "precision, original definition": 1.0,
        "recall, original definition": 0.69,
        "tag accuracy": 0.0,
    }


def test_the_original_metrics_ignore_the_type_except_in_tag_accuracy():
    figures = baselines.original_metrics([["B-EMAIL", "O"]], [["I-ID_NUM", "B-EMAIL"]])
    assert figures["precision, original definition"] == 0.5 and figures["recall, original definition"] == 1.0
    assert figures["F5, original definition"] == pytest.approx(26 * 0.5 * 1 / (25 * 0.5 + 1))
    assert figures["tag accuracy"] == 0.0
