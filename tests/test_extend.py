"""What the README says on extending the kit, done to a copy of the package."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pii_kit.documents import document_of_spans

ROOT = Path(__file__).parents[1]
README = (ROOT / "pii_kit" / "README.md").read_text()
SMALL = ["--set", "epochs=1", "--set", "model.hidden_size=16", "--set", "model.boom_size=16", "--fold", "0"]


@pytest.fixture
def copy(tmp_path):
    """A copy of the package in which the README's eighth type is added."""
    line = re.search(r"^PII_TYPES = .*BIRTH_DATE.*$", README, re.MULTILINE)[0]
    shutil.copytree(ROOT / "pii_kit", tmp_path / "pii_kit", ignore=shutil.ignore_patterns("__pycache__"))
    labels = tmp_path / "pii_kit" / "labels.py"
    labels.write_text(re.sub(r"^PII_TYPES = .*$", line, labels.read_text(), count=1, flags=re.MULTILINE))
    return tmp_path


def run(folder: Path, *commands: list[str]) -> None:
    """Run commands of the copy, one after the other, in one process: its start takes longer than they do."""
    program = "import json, sys; from pii_kit.__main__ import main\n"
    program += "for command in json.loads(sys.argv[1]): assert main(command) == 0, command"
    command = [sys.executable, "-c", program, json.dumps(commands)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_new_type_is_trained_predicted_and_redacted(copy):
    end = " in a small town, and I like it there.\n"
    spans = [("I was born on ", None), ("3 May 1999", "BIRTH_DATE"), (end, None)]
    documents = [document_of_spans(number, spans[: 3 if number % 2 else 1]) for number in range(10)]
    (copy / "train.json").write_text(json.dumps(documents_with_the_type(documents)))
    truth = "row_id,document,token,label\n0,1,4,B-BIRTH_DATE\n1,1,5,I-BIRTH_DATE\n2,1,6,I-BIRTH_DATE\n"
    (copy / "truth.csv").write_text(truth)
    data = ["--data", "train.json"]
    redact = ["redact", *data, "--submission", "truth.csv"]
    run(
        copy,
        ["train", "--model", "sha_rnn", *data, "--run", "run", *SMALL],
        ["predict", "--run", "run", *data, "--threshold", "1", "--out", "submission.csv"],
        ["check", *data, "--submission", "submission.csv"],
        [*redact, "--out", "type.json", "--mode", "type"],
        [*redact, "--out", "surrogate.json", "--mode", "surrogate"],
    )
    texts = {mode: json.loads((copy / f"{mode}.json").read_text())[1]["full_text"] for mode in ("type", "surrogate")}
    assert texts["type"] == "I was born on [BIRTH_DATE] in a small town, and I like it there.\n"
    assert re.fullmatch(r"I was born on (?!3 May 1999)\d \w+ \d{4} in a small town.*\n", texts["surrogate"])


def documents_with_the_type(documents):
    """The documents as train.json has them."""
    fields = ("full_text", "tokens", "trailing_whitespace", "labels")
    return [{"document": doc.number} | {name: getattr(doc, name) for name in fields} for doc in documents]
