import json

from pii_kit.__main__ import main
from pii_kit.labels import LABELS
from pii_kit.predict import DEFAULT_RUN, Tagger

TEXT = "My name is Ana Silva. As Marie Curie said, nothing is to be feared.\n\nEmail: ana.silva@example.org\n"


def test_the_default_tagger_is_small_and_knows_all_labels():
    assert sum(path.stat().st_size for path in DEFAULT_RUN.rglob("*") if path.is_file()) < 2_000_000
    (tagger,) = Tagger.load(DEFAULT_RUN).members
    assert tuple(tagger.network.model.config.id2label.values()) == LABELS


def test_a_text_is_labelled_without_a_run():
    found = [(span.text, span.type) for span in Tagger.load().label(TEXT)]
    assert ("Ana Silva", "NAME_STUDENT") in found and ("ana.silva@example.org", "EMAIL") in found
    assert not any("Curie" in text for text, _ in found)


def test_verbs_without_a_run_use_the_default_tagger_and_say_so(tmp_path, capsys):
    essay, found, redacted = tmp_path / "essay.txt", tmp_path / "found.jsonl", tmp_path / "redacted.txt"
    essay.write_text(TEXT)
    assert main(["predict", "--data", str(essay), "--format", "jsonl", "--out", str(found)]) == 0
    assert "no --run: using the tagger that comes with the kit" in capsys.readouterr().err
    assert {span["type"] for span in json.loads(found.read_text())["spans"]} == {"NAME_STUDENT", "EMAIL"}
    assert main(["redact", "--data", str(essay), "--mode", "type", "--out", str(redacted)]) == 0
    assert "[NAME_STUDENT]" in redacted.read_text() and "Marie Curie" in redacted.read_text()
    assert main(["review", "--data", str(essay), "--out", str(tmp_path / "review.html")]) == 0


def test_a_submission_of_text_files_is_refused_with_what_to_do(tmp_path, capsys):
    (tmp_path / "essay.txt").write_text(TEXT)
    for data in (tmp_path, tmp_path / "essay.txt"):
        assert main(["predict", "--data", str(data), "--out", str(tmp_path / "submission.csv")]) == 2
        assert "for other essays add --format jsonl" in capsys.readouterr().err


def test_names_in_a_text_without_capital_letters_are_found():
    tagger = Tagger.load()
    found = tagger.label("my name is jamal washington and i live in a small town. i like tea.")
    assert [(span.text, span.type) for span in found] == [("jamal washington", "NAME_STUDENT")]
