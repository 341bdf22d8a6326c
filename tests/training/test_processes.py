"""Processes of tasks: one device each, no forks, one line for each failure, none left behind."""

import io
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch

from pii_kit.files import KitError
from pii_kit.training import processes
from pii_kit.training.processes import Task, all_devices, progress_bar, run_side_by_side


def bar():
    return progress_bar("tasks", 10, "steps")


def square(number, *, device, report):
    report(1)
    time.sleep(0.2)
    return number**2, device, os.getpid(), torch.get_num_threads()


def test_tasks_run_in_processes_of_one_thread_and_results_come_in_order():
    results = run_side_by_side([Task(str(n), square, (n,)) for n in range(4)], bar(), ["cpu", "cpu"])
    assert [(number, device, threads) for number, device, _, threads in results] == [(n**2, "cpu", 1) for n in range(4)]
    pids = {pid for _, _, pid, _ in results}
    assert len(pids) == 4 and os.getpid() not in pids
    assert run_side_by_side([], bar()) == []


def fail(kind, *, device, report):
    if kind == "memory":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "known":
        raise KitError("the loss is nan\nat epoch 1")
    elif kind == "bug":
        raise ZeroDivisionError("no such number")
    time.sleep(60)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("memory", r"fold 3 on cpu: its process died \(exit code -9\), perhaps because memory ran out"),
        ("known", "fold 3 on cpu: the loss is nan at epoch 1"),
        ("bug", "fold 3 on cpu: ZeroDivisionError: no such number"),
    ],
)
def test_a_failure_is_one_line_with_task_and_device_and_ends_the_other_tasks(kind, message):
    began = time.monotonic()
    with pytest.raises(KitError, match=f"^{message}$"):
        run_side_by_side([Task("fold 0", fail, ("sleep",)), Task("fold 3", fail, (kind,))], bar(), ["cpu", "cpu"])
    assert time.monotonic() - began < 50
    assert not [child for child in psutil.Process().children() if "forkserver" not in " ".join(child.cmdline())[:400]
                and "resource_tracker" not in " ".join(child.cmdline())]  # fmt: skip


def test_a_device_that_cannot_compute_is_named():
    with pytest.raises(KitError, match=r"fold 1 on cuda:0: does not work with torch .*: choose another accelerator"):
        run_side_by_side([Task("fold 1", square, (1,))], bar(), ["cuda:0"])  # no such device here


def test_gpus_are_counted_or_else_the_cores_of_torch(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert all_devices() == ["cpu"] * 3
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert all_devices() == ["cuda:0", "cuda:1"]


SCRIPT = """
import os, sys, time
def no_fork(*_):
    raise RuntimeError("os.fork was called")
os.fork = os.forkpty = no_fork
sys.path.insert(0, {tests!r})
from test_processes import bar, fail
from pii_kit.training.processes import Task, run_side_by_side
if __name__ == "__main__":
    print("ready", flush=True)
    run_side_by_side([Task(str(n), fail, ("sleep",)) for n in range(2)], bar(), ["cpu"] * 2)
"""


def children_of(process, at_least: int) -> list[psutil.Process]:
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        children = psutil.Process(process.pid).children(recursive=True)
        if len(children) >= at_least:
            return children
        time.sleep(0.1)
    raise AssertionError("the processes of the tasks did not start")


def test_no_process_is_left_when_the_first_one_is_interrupted_and_none_is_forked(tmp_path):
    """The fork server, the tracker of resources and two tasks; the script's own os.fork raises."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=os.path.dirname(__file__)))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, script], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    children = children_of(process, 4)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    _, alive = psutil.wait_procs(children, timeout=20)  # 5 s on a quiet machine
    assert all(child.status() == psutil.STATUS_ZOMBIE for child in alive)  # that nobody has asked for
    assert "os.fork was called" not in error
    assert error.count("KeyboardInterrupt") <= 2  # of the script alone


@pytest.mark.parametrize(
    ("is_terminal", "on_kaggle", "n_most"), [(True, False, 99), (False, False, 2), (True, True, 2)]
)
def test_the_bar_is_drawn_rarely_where_each_drawing_is_kept(is_terminal, on_kaggle, n_most, monkeypatch):
    output = io.StringIO()
    monkeypatch.setattr(output, "isatty", lambda: is_terminal, raising=False)
    monkeypatch.setattr(sys, "stderr", output)
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    if on_kaggle:
        monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    clock = iter(range(10**6))
    monkeypatch.setattr("tqdm.std.time", lambda: next(clock) / 10)
    with processes.progress_bar("5 folds", 20, "epochs") as drawn:
        for _ in range(200):
            drawn.update(0.1)
    lines = output.getvalue().split("\r")
    assert "5 folds: 100%" in lines[-1] and "20.0/20 epochs" in lines[-1]
    assert len([line for line in lines if "epochs" in line]) <= n_most + 1
    assert (len(lines) > 10) == (n_most > 2)
