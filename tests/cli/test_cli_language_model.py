import json
import lzma

import pytest

from pii_kit.__main__ import main
from pii_kit.language_model import bits_per_character, load_language_model

TEXT = b"One fish, two fish, red fish, blue fish. " * 40
SIZES = "--width 16 --boom 32 --layers 2 --window-size 24 --batch-size 3 --learning-rate 0.01"
TRAIN = f"lm train --data text.txt --run run {SIZES}"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_bytes(TEXT)
    (tmp_path / "text.xz").write_bytes(lzma.compress(TEXT))
    return tmp_path


def test_train_eval_export_and_sample_work_together(place, capsys, caplog):
    assert main(f"{TRAIN} --epochs 2 --memory 50".split()) == 0
    result = json.loads((place / "run" / "result.json").read_text())
    assert f"bpc {result['validation_bpc']:.3f}" in capsys.readouterr().out

    expected = bits_per_character(load_language_model("run"), TEXT)
    for data in ("text.txt", "text.xz"):
        assert main(f"lm eval --run run --data {data}".split()) == 0
        assert f"{data}: {expected:.4f} bits per character over 1639 bytes" in capsys.readouterr().out
    assert main(["lm", "eval", "--run", "run", "--data", "text.txt", "--part", "test", "--memory", "0"]) == 0
    assert "over 81 bytes" in capsys.readouterr().out

    assert main(["lm", "export", "--run", "run", "--out", "lm.onnx"]) == 0
    assert "lm.onnx: exported; logits differ by" in capsys.readouterr().out
    assert (place / "lm.onnx").exists()
    assert main(["lm", "eval", "--run", "run", "--data", "text.txt", "--memory", "20", "--window-size", "24"]) == 0
    assert "a memory of 20 positions has no room beside windows of 24" in caplog.text
    capsys.readouterr()

    samples = []
    for seed in (1, 1, 2):
        assert main(f"lm sample --run run --prompt One --bytes 30 --seed {seed}".split()) == 0
        samples.append(capsys.readouterr().out)
    assert samples[0] == samples[1] != samples[2]
    assert all(text.startswith("One") for text in samples)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", {"attention_layers": [0], "num_attention_heads": 1, "memory_size": 5000, "dropout": 0.1}),
        ("--attention all --heads 2", {"attention_layers": [0, 1], "num_attention_heads": 2}),
        ("--attention 1,0 --memory 7", {"attention_layers": [0, 1], "memory_size": 7}),
        ("--dropout 0.2 --optimizer adamw", {"dropout": 0.2}),
    ],
)
def test_every_variant_of_the_paper_can_be_chosen_by_arguments(arguments, expected, place):
    assert main(f"{TRAIN} {arguments}".split()) == 0
    config = load_language_model("run").config
    assert {name: getattr(config, name) for name in expected} == expected


def test_a_second_pass_starts_from_the_best_weights_of_the_first_run(place, capsys):
    assert main(f"{TRAIN} --epochs 2".split()) == 0
    first = json.loads((place / "run" / "result.json").read_text())
    second = "lm train --data text.txt --run second --from run --learning-rate 1e-9 --seed 125"
    assert main(second.split()) == 0
    result = json.loads((place / "second" / "result.json").read_text())
    assert result["validation_bpc"] == pytest.approx(first["validation_bpc"], abs=1e-3)
    assert result["parameters"] == first["parameters"]


def test_a_timed_out_run_is_resumed_by_the_same_command(place, capsys):
    assert main(f"{TRAIN} --minutes 0.00001".split()) == 0
    first = json.loads((place / "run" / "result.json").read_text())["step"]
    assert main(f"{TRAIN} --resume".split()) == 0
    assert json.loads((place / "run" / "result.json").read_text())["step"] > first == 1


CASES = {
    "lm train --data nowhere.txt --run run": "nowhere.txt: no such file",
    "lm train --data cut.xz --run run": "cut.xz: cannot be loaded",
    "lm train --data text.txt --run run --width 20 --boom 30": "boom_size 30 is not a multiple of hidden_size 20",
    "lm train --data text.txt --run run --attention some": "expected none, all, or Block indices",
    "lm train --data text.txt --run run --learning-rate -1": "lm train: learning_rate: expected greater than 0",
    "lm train --data text.txt --run run --attention 4": "not all within 0 to 3",
    "lm train --data text.txt --run run --resume": "run: not a run folder, because run.json is missing",
    "lm eval --run nowhere --data text.txt": "nowhere: not the folder of a trained language model",
    "lm export --run . --out new.onnx": "new.onnx: is inside the input folder",
}


@pytest.mark.parametrize("command", CASES)
def test_bad_input_prints_one_line_and_leaves_no_file(command, place, capsys):
    (place / "cut.xz").write_bytes(lzma.compress(TEXT)[:-9])
    assert main(command.split()) == 2
    out, err = capsys.readouterr()
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert CASES[command] in line and "Traceback" not in err and out == ""
    assert not (place / "run").exists()
