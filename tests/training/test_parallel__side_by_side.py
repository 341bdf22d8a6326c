import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from tqdm import tqdm

from pii_kit.files import KitError
from pii_kit.training.folds import train_folds
from pii_kit.training.parallel import run_side_by_side


def run(tasks, n_workers=2):
    return run_side_by_side(tasks, n_workers=n_workers, bar=tqdm(total=len(tasks), disable=True), count=lambda: 0)


def test_results_come_in_the_order_of_their_tasks_each_on_one_thread():
    assert run([partial(pow, 2, 5), torch.get_num_threads, partial(pow, 3, 2)]) == [32, 1, 9]


def test_the_error_of_a_task_is_raised():
    with pytest.raises(ValueError, match="invalid literal"):
        run([partial(int, "no number"), partial(pow, 2, 5)])


def test_a_process_that_dies_is_one_clear_line():
    with pytest.raises(KitError, match="process died"):
        run([partial(os._exit, 3)], n_workers=1)


def test_processes_end_with_their_parent():
    program = (
        "import time\nfrom functools import partial\nfrom tqdm import tqdm\n"
        "from pii_kit.side_by_side import run_side_by_side\n"
        "if __name__ == '__main__':\n"
        "    run_side_by_side([partial(time.sleep, 100)], n_workers=1, bar=tqdm(total=1), count=lambda: 0)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    if not children.exists():
        parent.kill()
        pytest.skip("this system does not tell a process's children")
    deadline = time.monotonic() + 60
    while len(workers := children.read_text().split()) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)  # the worker, and the process that keeps track of its resources
    time.sleep(5)  # until the worker watches its parent
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


def test_folds_side_by_side_give_the_result_of_folds_in_turn(documents, tmp_path, monkeypatch):
    few, results = documents[:8], []
    for n_threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda n=n_threads: n)
        folder = tmp_path / str(n_threads)
        results.append(train_folds("sha_rnn", few, folder, preset="cpu", n_folds=2, folds=[0, 1], epochs=1))
    clocks = ("seconds", "seconds_per_epoch", "peak_memory_bytes", "device")
    one, other = ({key: value for key, value in result.items() if key not in clocks} for result in results)
    assert one == other
    for k in (0, 1):
        weights = [(tmp_path / n / f"fold_{k}" / "tagger" / "model.safetensors").read_bytes() for n in ("1", "2")]
        assert weights[0] == weights[1]
