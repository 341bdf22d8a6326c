import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from pii_kit.files import KitError
from pii_kit.training.parallel import check_batch_size, over_ranks, random_states, weigh_loss

# Trains three taggers in FOLDER: without any dropout; with it; and with it again, stopped half-way and gone on with.
SCRIPT = """
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from conftest import tiny_mobilebert, tiny_sha_rnn

from pii_kit.training.loop import Clock
from pii_kit.data import split_documents
from pii_kit.windows import EpochWindows
from pii_kit.pieces import train_byte_pairs, train_word_pieces
from pii_kit.sample import make_documents
from pii_kit.training.loop import fit
from pii_kit.training.config import TrainConfig

torch.set_num_threads(1)
folder = Path(sys.argv[1])
documents = make_documents(12, seed=1)
training, validation = split_documents(documents, n_folds=3, seed=0)
config = TrainConfig(epochs=2, batch_size=4, window_size=64, overlap=8, class_weights=0.2, checkpoint_steps=5)
pairs, words = (train(documents, n_pieces=400) for train in (train_byte_pairs, train_word_pieces))
while len(EpochWindows(training, pairs, config)) % config.batch_size:  # two processes would fill the last batch
    training = training[:-1]


def sha_rnn(dropout):
    return tiny_sha_rnn(vocab_size=pairs.n_pieces, dropout=dropout)


mobilebert = tiny_mobilebert(vocab_size=words.n_pieces, attention_probs_dropout_prob=0.0)
for name, model, tokenizer in (("sha_rnn", sha_rnn(0.0), pairs), ("mobilebert", mobilebert, words)):
    fit(model, tokenizer, training, validation, config, folder / name, quiet=True)

config = replace(config, hidden_share=0.1)
fit(sha_rnn(0.3), pairs, training, validation, config, folder / "unbroken", quiet=True)
left = iter(range(7))
Clock.is_over = lambda clock, batches_per_epoch: next(left, None) is None
fit(sha_rnn(0.3), pairs, training, validation, config, folder / "broken", quiet=True, deadline=0.0)
torch.manual_seed(99)
Clock.is_over = lambda clock, batches_per_epoch: False
fit(sha_rnn(0.3), pairs, training, validation, config, folder / "broken", quiet=True, resume=True)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory, request):
    """The folders of one process and of two, over gloo on the CPU."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "script.py").write_text(SCRIPT)
    paths = os.pathsep.join([str(request.config.rootpath), str(request.config.rootpath / "tests")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    for name, launch in (("one", []), ("two", launcher)):
        command = [sys.executable, *launch, str(folder / "script.py"), str(folder / name)]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert ended.returncode == 0, ended.stderr
    return folder / "one", folder / "two"


def weights_of(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "tagger" / "model.safetensors")


@pytest.mark.parametrize("model", ["sha_rnn", "mobilebert"])
def test_two_processes_train_the_tagger_that_one_trains(model, trained):
    """But for rounding: each sums its half of a batch, and the halves are averaged, weighted as one process weighs."""
    one, two = (weights_of(folder / model) for folder in trained)
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, atol=2e-5, rtol=1e-3)
    histories = [json.loads((folder / model / "history.json").read_text()) for folder in trained]
    for row, other in zip(*histories, strict=True):
        assert other["loss"] == pytest.approx(row["loss"], rel=1e-4)
        assert (other["learning_rate"], other["f5"]) == (row["learning_rate"], pytest.approx(row["f5"]))


def test_a_run_folder_of_two_processes_is_laid_out_as_that_of_one(trained):
    one, two = ({str(path.relative_to(folder)) for path in folder.rglob("*")} for folder in trained)
    assert one == two


def test_with_dropout_two_processes_train_another_tagger_than_one(trained):
    """Each draws random numbers for its half of a batch, other ones than one process draws for the whole."""
    one, two = (weights_of(folder / "unbroken") for folder in trained)
    assert any(not torch.allclose(one[name], two[name], atol=1e-4) for name in one)


@pytest.mark.parametrize("place", [0, 1])
def test_a_stopped_run_goes_on_to_the_weights_of_an_unbroken_one_in_as_many_processes(place, trained):
    unbroken, broken = (weights_of(trained[place] / name) for name in ("unbroken", "broken"))
    assert all(torch.equal(unbroken[name], broken[name]) for name in unbroken)


def test_a_batch_that_cannot_be_cut_among_the_processes_is_refused():
    with pytest.raises(KitError, match="batch_size is 6; expected a multiple of the 4 processes"):
        check_batch_size(SimpleNamespace(num_processes=4), 6)
    check_batch_size(SimpleNamespace(num_processes=4), 8)


def test_one_process_needs_nothing_of_all_this():
    alone = SimpleNamespace(num_processes=1)
    loss = torch.tensor(2.5)
    assert weigh_loss(alone, loss, torch.tensor(7.0)) is loss
    assert over_ranks(alone, loss, True) == (2.5, True)
    assert random_states(alone) == {}
