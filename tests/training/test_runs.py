"""The folder of a run: its record, its lock, its checkpoints, and what it knows of its documents."""

import json
import multiprocessing
import resource
import signal
import sys
from dataclasses import replace

import pytest
import torch
from conftest import TINY_PRESETS, make_document

from pii_kit.files import KitError, write_json
from pii_kit.training.runs import (
    CHECKPOINT,
    Position,
    RunRecord,
    digest_documents,
    digest_of,
    digest_runs,
    known,
    load_checkpoint,
    locked,
    not_trained_on,
    open_run,
    read_run,
    save_checkpoint,
    training_seconds,
)

LABELS = {"Ann": "B-NAME_STUDENT", "Lee": "I-NAME_STUDENT"}


def record_of(documents, **changes) -> RunRecord:
    fields = {
        "model": "sha_rnn", "preset": "cpu", "settings": TINY_PRESETS["sha_rnn"]["cpu"], "weights": "random",
        "weights_sha256": None, "n_folds": 2, "folds": [0, 1], "n_documents": len(documents),
        "data": digest_documents(documents), "documents": known(documents, [0, 1] * (len(documents) // 2)), "extra": [],
        "teachers": [], "taught": [],
    }  # fmt: skip
    return RunRecord(**fields | changes)


def test_a_digest_ignores_the_labelled_tokens_and_nothing_else():
    one = make_document("I am Ann Lee and like tea", 1, LABELS)
    assert digest_of(one) == digest_of(make_document("I am Ann Lee and like tea", 2, LABELS))
    assert digest_of(one) == digest_of(replace(one, tokens=("I", "am", "Zoe", "May", *one.tokens[4:])))
    assert digest_of(one) != digest_of(make_document("I am Ann Lee and like tee", 1, LABELS))
    assert digest_of(one) != digest_of(make_document("I am Ann Lee and like tea", 1, {}))


def test_a_folder_holds_one_run_which_is_resumed_with_the_same_record_only(documents, tmp_path):
    record = record_of(documents)
    open_run(tmp_path, record, resume=True)
    assert read_run(tmp_path) == record
    with pytest.raises(KitError, match="holds a run already; resume it, or choose another folder"):
        open_run(tmp_path, record, resume=False)
    open_run(tmp_path, record_of(documents), resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "mobilebert"}, "model was 'sha_rnn', now 'mobilebert'"),
        ({"settings": TINY_PRESETS["mobilebert"]["cpu"]}, "settings.model"),
        ({"folds": [0]}, r"folds was \[0, 1\], now \[0\]"),
        ({"data": "other"}, "data was"),
        ({"extra": known([make_document("a b", 3, {})], [None])}, "extra was"),
        ({"taught": [(1, 3)]}, "taught was"),
    ],
)
def test_resuming_with_something_else_is_refused_by_name(change, message, documents, tmp_path):
    open_run(tmp_path, record_of(documents), resume=False)
    with pytest.raises(KitError, match=rf"cannot be resumed: {message}") as error:
        open_run(tmp_path, record_of(documents, **change), resume=True)
    assert len(str(error.value)) < 300 and "\n" not in str(error.value)


def test_runs_of_earlier_versions_and_damaged_records_are_errors_in_one_line(documents, tmp_path):
    (tmp_path / "run.json").write_text('{"model": "sha_rnn"}')
    with pytest.raises(KitError, match=r"run\.json"):
        read_run(tmp_path)
    (tmp_path / "folds.json").write_text("{}")
    with pytest.raises(KitError, match=r"of a version before 0\.3"):
        open_run(tmp_path, record_of(documents), resume=True)


def hold(folder, ready, release) -> None:
    with locked(folder):
        ready.set()
        release.wait(30)


def test_a_folder_in_use_is_refused_until_its_process_ends(tmp_path):
    context = multiprocessing.get_context("forkserver")
    ready, release = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path, ready, release))
    process.start()
    assert ready.wait(60)
    with pytest.raises(KitError, match="another training uses this folder"), locked(tmp_path):
        pass
    process.kill()
    with locked(tmp_path, wait=True), pytest.raises(KitError), locked(tmp_path):
        pass
    process.join()
    with locked(tmp_path):
        pass


@pytest.fixture
def state(sha_rnn_tagger):
    model = torch.nn.Linear(300, 300)
    return {
        "network": model.state_dict(), "random": {"cpu": torch.get_rng_state()}, "tokenizer": sha_rnn_tagger.tokenizer,
        "position": Position(9, 3, 4, 0.5, 1.0, 2.0, [{"epoch": 1, "loss": 0.25}]),
    }  # fmt: skip


def test_a_checkpoint_comes_back_as_it_was(state, documents, tmp_path):
    assert load_checkpoint(tmp_path, "cpu") is None
    save_checkpoint(tmp_path, state)
    again = load_checkpoint(tmp_path, "cpu")
    assert again["position"] == state["position"]
    assert all(torch.equal(again["network"][name], tensor) for name, tensor in state["network"].items())
    assert torch.equal(again["random"]["cpu"], state["random"]["cpu"])
    one, other = (of["tokenizer"].cut(documents[0]) for of in (state, again))
    assert one.ids.tolist() == other.ids.tolist() and one.features.tolist() == other.features.tolist()
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_every_damage_of_a_checkpoint_is_an_error_in_one_line(state, tmp_path):
    save_checkpoint(tmp_path, state)
    path = tmp_path / CHECKPOINT
    content = path.read_bytes()
    damaged = [content[:size] for size in (0, 100, len(content) // 2, len(content) - 1)]
    for place in range(0, len(content) - 200, len(content) // 40):  # the last bytes list the parts of the file
        flipped = bytearray(content)
        flipped[place] ^= 0x55
        damaged.append(bytes(flipped))
    n_refused = 0
    for number, wrong in enumerate(damaged):
        path.write_bytes(wrong)
        try:
            again = load_checkpoint(tmp_path, "cpu")  # some bytes only fill gaps
            assert torch.equal(again["random"]["cpu"], state["random"]["cpu"]), number
            assert torch.equal(again["network"]["weight"], state["network"]["weight"]), number
        except KitError as error:
            n_refused += 1
            assert f"{path}: damaged (" in str(error) and "\n" not in str(error)
            assert "delete it to train this fold from the start" in str(error)
    assert n_refused >= 30


def test_nothing_in_a_checkpoint_is_executed(state, tmp_path):
    class Command:
        def __reduce__(self):
            return (print, ("executed",))

    torch.save({**state, "position": Command(), "tokenizer": ("", [], {})}, tmp_path / CHECKPOINT)
    with pytest.raises(KitError, match="damaged"):
        load_checkpoint(tmp_path, "cpu")


def save_where_files_are_short(folder, state) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        save_checkpoint(folder, state)
    except KitError as error:
        sys.exit(3 if "cannot be written, and is unchanged" in str(error) else 4)


def test_a_full_disk_leaves_the_last_checkpoint_whole(state, tmp_path):
    save_checkpoint(tmp_path, state)
    before = (tmp_path / CHECKPOINT).read_bytes()
    process = multiprocessing.get_context("forkserver").Process(
        target=save_where_files_are_short, args=(tmp_path, state)
    )
    process.start()
    process.join(60)
    assert process.exitcode == 3
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_documents_of_a_run_are_recognised(documents, tmp_path):
    trained, others = documents[:4], documents[4:8]
    extra, student = documents[8:9], documents[9:10]
    assert not_trained_on(tmp_path, documents) == list(documents)  # a run without a record is not known
    taught = [(document.number, len(document.tokens)) for document in student]
    record = record_of(trained, extra=known(extra, [None]), taught=taught)
    write_json(tmp_path / "run.json", json.loads(record.model_dump_json()))
    renumbered = [replace(document, number=500 + place) for place, document in enumerate(trained)]
    assert not_trained_on(tmp_path, [*trained, *extra, *student, *renumbered, *others]) == others


def test_a_digest_of_a_tagger_changes_with_its_files(cross_validated, tmp_path):
    one, other, third = digest_runs([cross_validated(0)[0]])
    assert one != other != third != one and digest_runs([cross_validated(0)[0]] * 2) == [one, other, third] * 2
    with pytest.raises(KitError, match="not a run folder with a trained model"):
        digest_runs([tmp_path])


def test_epochs_side_by_side_count_once_in_elapsed_seconds_and_all_count_in_cpu_seconds():
    """Two folds from 100 to 130 and from 110 to 150, and after a pause the second again from 1000 to 1007."""
    histories = [
        [{"ended": end, "epoch_seconds": seconds, "cpu_seconds": 2 * seconds} for end, seconds in rows]
        for rows in ([(130, 30)], [(150, 40), (1007, 7)], [])
    ]
    assert training_seconds(histories) == {"elapsed_seconds": 57, "cpu_seconds": 154}
    assert training_seconds(histories[1:2]) == {"elapsed_seconds": 47, "cpu_seconds": 94}
    assert training_seconds(histories[2:]) == {"elapsed_seconds": 0.0, "cpu_seconds": 0}
