import json

from pii_kit.__main__ import main
from pii_kit.cli import bench as cli
from pii_kit.documents import write_documents
from pii_kit.report import bench
from pii_kit.sample import make_documents
from pii_kit.training.folds import train_folds


def test_bench_writes_a_table_json_and_a_plot(documents, tiny_presets, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sizes = ((2, 50), (4, 50), (1, 100))
    monkeypatch.setattr(bench, "SIZES", sizes)
    monkeypatch.setattr(cli, "SIZES", sizes)
    new = make_documents(4, seed=5, first_document=5000)
    train_folds("mobilebert", documents, tmp_path / "run", preset="cpu", n_folds=3, folds=[0], epochs=1)
    write_documents("new.json", new)
    files = ["--run", "run", "--data", "new.json", "--out", "out"]
    assert main(["bench", *files, "--engine", "torch", "--repeats", "2"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["bench.json", "bench.png", "bench.txt"]
    assert (tmp_path / "out" / "bench.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "out" / "bench.txt").read_text()
    assert text in capsys.readouterr().out

    result = json.loads((tmp_path / "out" / "bench.json").read_text())
    names = ["spaCy's NER", "pipeline, run, 1 fold", "run, 1 fold, torch"]
    lines = {line["name"]: line for line in result["lines"]}
    assert list(lines) == names and all(name in text for name in names)
    own = lines["run, 1 fold, torch"]
    assert own["documents"] == 4 and own["tokens"] == sum(len(document.tokens) for document in new)
    assert own["peak_mib"] > 50 and own["times_spacy"] > 0 and own["times_pipeline"] > 0
    assert own["f5"] is not None and result["f5_documents"] == 4
    assert lines["spaCy's NER"]["f5"] is None, "it was not trained on documents that were given"
    assert [sorted(turn) for turn in result["turns"]] == [sorted(names)]
    assert all(len(seconds) == result["repeats"] == 2 for seconds in result["turns"][0].values())
    assert [(row["name"], row["documents"], row["length"]) for row in result["curves"]] == [
        (name, *size) for size in sizes for name in ("spaCy's NER", "run, 1 fold, torch")
    ]


def test_training_is_measured_beside_transformers_trainer(documents, tiny_presets, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_documents("essays.json", documents)
    assert main(["bench", "--training", "essays.json", "--repeats", "2", "--out", "out"]) == 0
    result = json.loads((tmp_path / "out" / "bench.json").read_text())
    assert [line["model"] for line in result["training"]] == ["sha_rnn", "mobilebert"] and result["repeats"] == 2
    printed = capsys.readouterr().out
    for line in result["training"]:
        assert line["kit_pieces_per_second"] > 0 and line["trainer_pieces_per_second"] > 0
        assert 0 < line["lowest"] <= line["times_trainer"] and 0 <= line["padding"] < 1
        assert f"{line['times_trainer']:.2f}" in printed and line["folds_side_by_side"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["essays.json", "out"]
    assert main(["bench", "--weights", "encoder"]) == 2
    assert "--weights needs --training" in capsys.readouterr().err


def test_without_runs_bench_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli, "CHECKOUT", tmp_path)
    assert main(["bench", "--out", str(tmp_path / "out")]) == 2
    assert "run `make demo` first, or choose runs with --run DIR" in capsys.readouterr().err


def test_the_runs_of_the_demo_are_measured_on_its_test_documents(cross_validated, tmp_path, monkeypatch, capsys):
    demo = tmp_path / "outputs" / "demo"
    assert main(["sample", "--out", str(demo / "essays"), "--documents", "6"]) == 0
    (demo / "runs").mkdir()
    (demo / "runs" / "sha_rnn").symlink_to(cross_validated(0)[0])
    monkeypatch.setattr(cli, "CHECKOUT", tmp_path)
    passed = {}

    def measure(runs, **settings):
        passed.update(settings, runs=runs)
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run_bench", measure)
    assert main(["bench", "--out", str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err.endswith("interrupted\n")
    assert passed["runs"] == [demo / "runs" / "sha_rnn"] and passed["engines"] == ["torch", "onnx", "onnx-int8"]
    assert len(passed["labelled"]) == 50 and len(passed["training"]) == 6
    assert all(document.labels is not None for document in passed["labelled"])


def test_a_folder_that_holds_something_else_is_not_replaced(cross_validated, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["bench", "--run", str(cross_validated(0)[0]), "--out", str(tmp_path)]) == 2
    assert "is no result of bench" in capsys.readouterr().err and (tmp_path / "mine.txt").exists()


def test_an_exported_run_is_refused_because_its_engine_cannot_be_chosen(tmp_path, capsys):
    (tmp_path / "run" / "tagger").mkdir(parents=True)
    (tmp_path / "run" / "tagger" / "model.onnx").touch()
    assert main(["bench", "--run", str(tmp_path / "run"), "--out", str(tmp_path / "out")]) == 2
    assert "an exported run" in capsys.readouterr().err
