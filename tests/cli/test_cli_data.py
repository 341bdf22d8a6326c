"""The verbs sample and score."""

from pii_kit.__main__ import main


def test_sample_never_writes_over_essays(tmp_path, capsys):
    (tmp_path / "train.json").write_text("[]")
    assert main(["sample", "--out", str(tmp_path), "--documents", "4"]) == 2
    assert f"{tmp_path}: exists already; choose a new folder" in capsys.readouterr().err
    assert (tmp_path / "train.json").read_text() == "[]" and not (tmp_path / "test.json").exists()


def test_the_test_essays_of_sample_are_scored_with_their_labels(tmp_path, capsys):
    assert main(["sample", "--out", str(tmp_path / "in"), "--documents", "4"]) == 0
    data, labels = str(tmp_path / "in" / "test.json"), str(tmp_path / "in" / "test_labels.csv")
    assert main(["score", "--data", data, "--labels", labels, "--submission", labels]) == 0
    assert "F5 1.0000" in capsys.readouterr().out
    assert main(["score", "--data", data, "--submission", labels]) == 2
    assert "labels missing" in capsys.readouterr().err
