from types import SimpleNamespace

import pytest
from conftest import tiny_mobilebert, tiny_sha_rnn

from pii_kit.report import original
from pii_kit.report.original import published_table

TRAIN = {"learning_rate": 3e-3, "optimizer": "adamw", "weight_decay": 0.01, "warmup_epochs": 1}


@pytest.mark.parametrize("name", ["original_settings", "original_results"])
@pytest.mark.parametrize("model", ["sha_rnn", "mobilebert"])
def test_every_line_of_the_original_tables_stands_beside_ours(model, name):
    published = published_table(name)
    lines = published[published.columns[0]].unique()
    table = original.beside_original(name, model, {line: f"our {line}" for line in lines})
    assert list(table.index) == list(lines)
    assert list(table.columns) == ["original claim", "what its code did", "ours"]
    for line in published[published["model"] == model].to_numpy().tolist():
        assert table.loc[line[0]].tolist() == [*line[2:], f"our {line[0]}"]
    with pytest.raises(KeyError):
        original.beside_original(name, model, {})


@pytest.mark.parametrize(
    ("value", "shown"),
    [(51_485_000, "51.485M"), (20_743_454_720, "20.743G"), (4, "4"), (0.98765, "0.988"), ("as is", "as is")],
)
def test_large_numbers_are_shown_in_millions_and_scores_with_three_digits(value, shown):
    ours = dict.fromkeys(published_table("original_settings")["setting"], value)
    assert set(original.beside_original("original_settings", "sha_rnn", ours)["ours"]) == {shown}


@pytest.mark.parametrize(
    ("network", "expected"), [(tiny_sha_rnn, (1, 1, 16)), (tiny_mobilebert, (2, 2, 16))], ids=["sha_rnn", "mobilebert"]
)
def test_our_settings_have_every_line_of_the_original_table(network, expected):
    ours = original.our_settings(network().config, {**TRAIN, "class_weights": 0.1, "cycle_epochs": 3})
    assert set(ours) == set(published_table("original_settings")["setting"])
    assert (ours["learning rate"], ours["class weights"]) == ("0.003", "0.1 for O, 1 for PII")
    assert ours["schedule"] == "cosine, cycles of 3 epochs"
    assert (ours["attention layers"], ours["attention heads"], ours["embedding size"]) == expected
    config = SimpleNamespace(dropout=0, attention_layers=[], num_attention_heads=1, hidden_size=1)
    ours = original.our_settings(config, {**TRAIN, "class_weights": "log", "cycle_epochs": None})
    assert (ours["class weights"], ours["schedule"]) == ("log", "cosine, one cycle")


def test_the_original_metrics_flatter_a_model_that_finds_nothing():
    truth = [["O"]] * 69 + [["B-EMAIL"]] * 31
    assert original.original_metrics(truth, [["O"]] * 100) == {
        "F5, original definition": 0.69,
        "precision, original definition": 1.0,
        "recall, original definition": 0.69,
        "tag accuracy": 0.0,
    }


def test_the_original_metrics_ignore_the_type_except_in_tag_accuracy():
    figures = original.original_metrics([["B-EMAIL", "O"]], [["I-ID_NUM", "B-EMAIL"]])
    assert list(figures.values()) == pytest.approx([26 * 0.5 * 1 / (25 * 0.5 + 1), 0.5, 1.0, 0.0])


def test_published_tables_have_their_columns_and_a_source():
    paper, here = published_table("language_model_paper"), published_table("language_model_here")
    assert paper.columns[1:].tolist() == ["test bpc", "parameters"]
    assert here.columns[1:].tolist() == ["test bpc", "validation bpc"]
    assert len(paper) == 8
    assert paper.set_index("model").loc["SHA-LSTM, one attention layer"].tolist() == [1.076, 53_785_805]
    assert "1911.11423" in paper.attrs["source"]
    for name in ("original_settings", "original_results"):
        table = published_table(name)
        assert "original" in table.attrs["source"] and not table.isna().any(axis=None)
        assert table.map(len).max(axis=None) <= 50, "pandas truncates longer texts in notebooks"
