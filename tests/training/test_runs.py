import json

import numpy as np
import pytest
from conftest import make_document
from transformers import AutoModelForTokenClassification, AutoTokenizer

from pii_kit.files import KitError, read_json, write_json
from pii_kit.pieces import read_tokenizer
from pii_kit.predict import load_member, predict_documents
from pii_kit.training.runs import fingerprint, reopen_run, save_tagger, start_run, training_seconds


@pytest.fixture(params=["sha_rnn_tagger", "mobilebert_tagger"])
def tagger(request):
    return request.getfixturevalue(request.param)


def test_a_run_folder_rebuilds_its_tagger_exactly(tagger, documents, tmp_path):
    save_tagger(tmp_path, tagger)
    again = load_member(tmp_path)
    assert (again.window_size, again.overlap, again.o_threshold) == (64, 16, 0.9)
    for (_, one), (_, other) in zip(
        predict_documents([tagger], documents), predict_documents([again], documents), strict=True
    ):
        assert np.array_equal(one, other)


def test_a_saved_tagger_is_a_plain_transformers_folder(tagger, documents, tmp_path):
    save_tagger(tmp_path, tagger)
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "tagger")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tagger")
    batch = tokenizer([documents[0].full_text[:80]], return_tensors="pt", return_token_type_ids=False)
    assert model(**batch).logits.shape[-1] == 15


def test_nothing_in_a_run_folder_needs_unpickling(tagger, tmp_path):
    save_tagger(tmp_path, tagger)
    assert {path.suffix for path in (tmp_path / "tagger").iterdir()} == {".json", ".safetensors"}


def test_a_better_tagger_takes_the_place_of_the_one_before(sha_rnn_tagger, mobilebert_tagger, tmp_path):
    for tagger in (sha_rnn_tagger, mobilebert_tagger):
        save_tagger(tmp_path, tagger)
    assert type(load_member(tmp_path).network.model) is type(mobilebert_tagger.network.model)
    assert [path.name for path in tmp_path.iterdir()] == ["tagger"]


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json", "decision.json"])
@pytest.mark.parametrize("damage", ["missing", "cut short"])
def test_a_damaged_run_folder_is_an_error_in_one_line(sha_rnn_tagger, tmp_path, file, damage):
    save_tagger(tmp_path, sha_rnn_tagger)
    path = tmp_path / "tagger" / file
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(KitError) as error:
        load_member(tmp_path)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_weights_of_another_model_are_refused(sha_rnn_tagger, mobilebert_tagger, tmp_path):
    save_tagger(tmp_path / "one", sha_rnn_tagger)
    save_tagger(tmp_path / "other", mobilebert_tagger)
    weights = (tmp_path / "one" / "tagger" / "model.safetensors").read_bytes()
    (tmp_path / "other" / "tagger" / "model.safetensors").write_bytes(weights)
    with pytest.raises(KitError, match="cannot be loaded"):
        load_member(tmp_path / "other")


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(KitError, match=f"{tmp_path}: not a run folder"):
        load_member(tmp_path)


MANIFEST = {"model": "sha_rnn", "train": {"epochs": 3, "seed": 0}}


def test_a_folder_holds_one_run(sha_rnn_tagger, tmp_path):
    start_run(tmp_path, MANIFEST, sha_rnn_tagger.tokenizer)
    with pytest.raises(KitError, match="holds a run already"):
        start_run(tmp_path, MANIFEST, sha_rnn_tagger.tokenizer)


def test_a_run_is_resumed_only_with_the_settings_it_was_started_with(sha_rnn_tagger, documents, tmp_path):
    start_run(tmp_path, MANIFEST, sha_rnn_tagger.tokenizer)
    reopen_run(tmp_path, json.loads(json.dumps(MANIFEST)))
    again = read_tokenizer(tmp_path)
    assert again.cut(documents[0]).ids.tolist() == sha_rnn_tagger.tokenizer.cut(documents[0]).ids.tolist()
    with pytest.raises(KitError, match=r"cannot be resumed: train\.epochs was 3, now 4"):
        reopen_run(tmp_path, {"model": "sha_rnn", "train": {"epochs": 4, "seed": 0}})


def test_equal_documents_have_equal_fingerprints_and_another_label_another(documents):
    assert fingerprint(documents) == fingerprint(list(documents))
    one = make_document("Ann", labels={})
    assert fingerprint([one]) != fingerprint([make_document("Ann", labels={"Ann": "B-NAME_STUDENT"})])


def test_a_damaged_json_file_is_named(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(KitError, match=r"run\.json: damaged"):
        read_json(tmp_path / "run.json")


def test_sessions_side_by_side_count_once_in_elapsed_seconds_and_all_count_in_cpu_seconds(tmp_path):
    """Two folds from 100 to 130 and from 110 to 150, and after a pause the second again from 1000 to 1007."""
    sessions = {"fold_0": [(100, 30)], "fold_1": [(110, 40), (1000, 7)]}
    for name, rows in sessions.items():
        (tmp_path / name).mkdir()
        rows = [{"began": began, "elapsed_seconds": seconds, "cpu_seconds": 2 * seconds} for began, seconds in rows]
        write_json(tmp_path / name / "sessions.json", rows)
    folders = [tmp_path / name for name in ("fold_0", "fold_1", "fold_2")]  # the last has not begun
    assert training_seconds(folders) == {"elapsed_seconds": 57, "cpu_seconds": 154}
    assert training_seconds(folders[1:2]) == {"elapsed_seconds": 47, "cpu_seconds": 94}
