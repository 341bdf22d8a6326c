import io
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from safetensors.torch import load_file
from tqdm import tqdm

from pii_kit.files import KitError
from pii_kit.training import parallel
from pii_kit.training.folds import train_folds
from pii_kit.training.parallel import (
    check_batch_size,
    check_gpus,
    over_ranks,
    random_states,
    run_in_parallel,
    sum_over_ranks,
    try_gpus,
    weigh_loss,
    working_devices,
)

# Trains taggers in FOLDER: both models without dropout; SHA-RNN with dropout; and again, stopped and resumed.
SCRIPT = """
import gc
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from conftest import tiny_mobilebert, tiny_sha_rnn

from pii_kit.training.loop import Clock
from pii_kit.split import split_documents
from pii_kit.training.epochs import EpochWindows
from pii_kit.windows import cut_windows
from pii_kit.pieces import train_byte_pairs, train_word_pieces
from pii_kit.sample import make_documents
from pii_kit.training.loop import fit
from pii_kit.training import TrainConfig
from pii_kit.training.parallel import end_ranks

torch.set_num_threads(1)
folder = Path(sys.argv[1])
documents = make_documents(12, seed=1)
training, validation = split_documents(documents, n_folds=3, seed=0)
config = TrainConfig(epochs=2, batch_size=4, window_size=64, overlap=8, class_weights=0.2, checkpoint_steps=5)
config = replace(config, mixed_precision="no")  # bf16 rounds more than the comparison allows
pairs, words = (train(documents, n_pieces=400) for train in (train_byte_pairs, train_word_pieces))
cut = partial(cut_windows, tokenizer=pairs, size=config.window_size, overlap=config.overlap)
# Two processes would fill the last batch.
while len(EpochWindows(lambda epoch: [(document, None) for document in training], cut)) % config.batch_size:
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
end_ranks()
# PyTorch may abort a process that ends while anything holds the connection to the others.
assert not torch.distributed.is_initialized()
assert not any(isinstance(held, torch.nn.parallel.DistributedDataParallel) for held in gc.get_objects())
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
    """Up to rounding: each process sums its half of a batch, and the halves are averaged with their weights."""
    one, two = (weights_of(folder / model) for folder in trained)
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, atol=2e-5, rtol=1e-3)
    histories = [json.loads((folder / model / "history.json").read_text()) for folder in trained]
    for row, other in zip(*histories, strict=True):
        assert other["loss"] == pytest.approx(row["loss"], rel=1e-4)
        assert (other["learning_rate"], other["f5"]) == (row["learning_rate"], pytest.approx(row["f5"]))


def test_two_processes_write_the_same_files_as_one(trained):
    one, two = ({str(path.relative_to(folder)) for path in folder.rglob("*")} for folder in trained)
    assert one == two


def test_with_dropout_two_processes_train_another_tagger_than_one(trained):
    """Each process draws its own random numbers for its half of a batch."""
    one, two = (weights_of(folder / "unbroken") for folder in trained)
    assert any(not torch.allclose(one[name], two[name], atol=1e-4) for name in one)


@pytest.mark.parametrize("place", [0, 1])
def test_a_stopped_run_resumes_to_the_weights_of_an_uninterrupted_one_in_as_many_processes(place, trained):
    unbroken, broken = (weights_of(trained[place] / name) for name in ("unbroken", "broken"))
    assert all(torch.equal(unbroken[name], broken[name]) for name in unbroken)


def test_a_batch_that_cannot_be_split_among_the_processes_is_refused():
    with pytest.raises(KitError, match="batch_size is 6; expected a multiple of the 4 processes"):
        check_batch_size(SimpleNamespace(num_processes=4), 6)
    check_batch_size(SimpleNamespace(num_processes=4), 8)


def test_one_process_changes_nothing():
    alone = SimpleNamespace(num_processes=1)
    loss = torch.tensor(2.5)
    assert weigh_loss(alone, loss, torch.tensor(7.0)) is loss
    assert over_ranks(alone, loss, True) == (2.5, True)
    assert random_states(alone) == {}
    assert sum_over_ranks(alone, 1.5) == 1.5


NO_KERNEL = "torch.AcceleratorError: CUDA error: no kernel image is available for execution on the device"


@pytest.fixture(autouse=True)
def forget():
    try_gpus.cache_clear()
    yield
    try_gpus.cache_clear()


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that torch claims to have; what happens when it is tried is the given script."""

    def claim(script: str) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(parallel, "PROBE", script)

    return claim


def test_a_gpu_without_kernels_is_reported_with_the_one_to_choose(gpu, monkeypatch):
    gpu(f"print('Tesla P100 (16 GiB)', flush=True)\nimport sys\nsys.exit({NO_KERNEL!r})")
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    with pytest.raises(
        KitError,
        match=r"Tesla P100.*does not work with torch .*no kernel image.*\(on Kaggle: GPU T4 x2\)",
    ):
        check_gpus()
    assert working_devices() == ["cpu"]


def test_gpus_that_work_are_all_used(gpu):
    gpu("print('Tesla T4 (15 GiB), Tesla T4 (15 GiB)')")
    check_gpus()
    assert working_devices() == ["cuda:0", "cuda:1"]


def test_a_gpu_that_does_not_answer_is_given_up(gpu, monkeypatch):
    monkeypatch.setattr(parallel, "PROBE_SECONDS", 0.5)
    gpu("import time\ntime.sleep(60)")
    with pytest.raises(KitError, match=r"no answer in 0\.5 seconds"):
        check_gpus()


def test_a_gpu_whose_process_dies_is_not_used(gpu):
    gpu("import os\nos.abort()")
    with pytest.raises(KitError, match="the process died"):
        check_gpus()


def test_without_a_gpu_no_process_is_started(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(parallel, "PROBE", "raise SystemExit(1)")
    check_gpus()
    assert working_devices() == ["cpu"]


def test_the_probe_is_valid_python():
    """Without GPUs it tries none."""
    exec(parallel.PROBE, {})


def run(tasks, n_workers=2):
    return run_in_parallel(tasks, n_workers=n_workers, bar=tqdm(total=len(tasks), disable=True))


def test_results_have_the_order_of_their_tasks_and_each_task_one_thread():
    bar = tqdm(total=3, file=io.StringIO())
    tasks = [partial(pow, 2, 5), partial(torch.get_num_threads), partial(pow, 3, 2)]
    assert run_in_parallel(tasks, n_workers=2, bar=bar) == [32, 1, 9]
    assert bar.n == 3


def test_the_error_of_a_task_is_raised():
    with pytest.raises(ValueError, match="invalid literal"):
        run([partial(int, "no number"), partial(pow, 2, 5)])


def test_a_process_that_dies_is_one_clear_line():
    with pytest.raises(KitError, match="process died"):
        run([partial(os._exit, 3)], n_workers=1)


def wait_and_write(path: Path, seconds: float) -> None:
    time.sleep(seconds)
    path.write_text("done")


def test_the_error_of_a_task_ends_the_tasks_that_run(tmp_path):
    """So a second attempt has the run's folder for itself."""
    began = time.monotonic()
    with pytest.raises(ValueError, match="invalid literal"):
        run([partial(wait_and_write, tmp_path / "file", 600), partial(int, "no number")])
    assert time.monotonic() - began < 300 and not (tmp_path / "file").exists()


def test_the_module_imports_where_the_system_has_no_resource_module():
    """psutil is imported first: on Linux, but not on Windows, it uses that module itself."""
    code = "import psutil, sys; sys.modules['resource'] = None; import pii_kit.training.parallel as kit"
    code += "; print(kit.peak_memory())"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0 and int(ended.stdout) > 2**20, ended.stderr


def test_the_largest_memory_counts_bytes_and_never_falls():
    """In a process of its own: memory that earlier tests freed could be used again without a rise."""
    code = "from pii_kit.training.parallel import peak_memory as peak; before = peak(); held = bytearray(b'1') * 2**28"
    code += "; during = peak(); del held; print(before, during, peak())"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, during, after = map(int, ended.stdout.split())
    assert before + 2**27 < during <= after


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_processes_end_with_their_parent():
    program = (
        "import time\nfrom functools import partial\nfrom tqdm import tqdm\n"
        "from pii_kit.training.parallel import run_in_parallel\n"
        "if __name__ == '__main__':\n"
        "    run_in_parallel([partial(time.sleep, 100)], n_workers=1, bar=tqdm(total=1))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(workers := psutil.Process(parent.pid).children(recursive=True)) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)  # the worker, the server that starts it, and the process that keeps track of its resources
    time.sleep(2)  # until the worker has started its task
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert len(workers) == 3 and psutil.wait_procs(workers, timeout=30)[1] == []


INTERRUPTED = """
import signal, sys, time
from functools import partial
from pathlib import Path
from tqdm import tqdm
from pii_kit.training.parallel import run_in_parallel
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where the tests run in the background
if __name__ == "__main__":
    count = lambda: Path(sys.argv[1]).touch() or 0
    try:
        run_in_parallel([partial(time.sleep, 100)] * 2, n_workers=2, bar=tqdm(total=2, disable=True), count=count)
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_while_workers_start_ends_them_without_a_traceback(tmp_path):
    """A terminal sends it to all processes of the command."""
    script, marker = tmp_path / "script.py", tmp_path / "marker"
    script.write_text(INTERRUPTED)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, str(script), str(marker)]
    process = subprocess.Popen(command, env=environment, start_new_session=True, **pipes)
    deadline = time.monotonic() + 120
    while not marker.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert out == "interrupted\n" and "Traceback" not in err


def test_folds_side_by_side_give_the_result_of_folds_in_turn(documents, tmp_path, monkeypatch):
    few, results = documents[:8], []
    for n_threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda n=n_threads: n)
        folder = tmp_path / str(n_threads)
        results.append(train_folds("sha_rnn", few, folder, preset="cpu", n_folds=2, folds=[0, 1], epochs=1))
    clocks = ("elapsed_seconds", "cpu_seconds", "epoch_seconds", "peak_memory_bytes", "device")
    one, other = ({key: value for key, value in result.items() if key not in clocks} for result in results)
    assert one == other
    for k in (0, 1):
        weights = [(tmp_path / n / f"fold_{k}" / "tagger" / "model.safetensors").read_bytes() for n in ("1", "2")]
        assert weights[0] == weights[1]
