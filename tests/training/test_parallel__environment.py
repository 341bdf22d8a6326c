import time

import pytest
import torch

from pii_kit.files import KitError
from pii_kit.kaggle import environment_report
from pii_kit.training import parallel as environment
from pii_kit.training.parallel import check_gpus, try_gpus, working_devices

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
        monkeypatch.setattr(environment, "PROBE", script)

    return claim


def test_a_gpu_without_kernels_is_found_out_and_another_choice_named(gpu, monkeypatch):
    gpu(f"print('Tesla P100 (16 GiB)', flush=True)\nimport sys\nsys.exit({NO_KERNEL!r})")
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    with pytest.raises(KitError, match=r"Tesla P100.*does not work with torch .*no kernel image.*choose GPU T4 x2"):
        check_gpus()
    assert working_devices() == ["cpu"]
    assert "WARNING: Tesla P100" in environment_report()


def test_gpus_that_work_are_all_used(gpu):
    gpu("print('Tesla T4 (15 GiB), Tesla T4 (15 GiB)')")
    check_gpus()
    assert working_devices() == ["cuda:0", "cuda:1"]
    assert "Tesla T4 (15 GiB), Tesla T4 (15 GiB);" in environment_report()


def test_a_gpu_that_does_not_answer_is_not_waited_for(gpu, monkeypatch):
    monkeypatch.setattr(environment, "PROBE_SECONDS", 0.5)
    gpu("import time\ntime.sleep(60)")
    with pytest.raises(KitError, match=r"no answer in 0\.5 seconds"):
        check_gpus()


def test_a_gpu_whose_process_dies_is_not_used(gpu):
    gpu("import os\nos.abort()")
    with pytest.raises(KitError, match="the process died"):
        check_gpus()


def test_without_a_gpu_nothing_is_tried(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(environment, "PROBE", "raise SystemExit(1)")
    check_gpus()
    assert working_devices() == ["cpu"]


def test_the_report_says_versions_devices_and_place():
    report = environment_report()
    assert f"torch {torch.__version__}" in report and "CPU cores" in report and "WARNING" not in report


@pytest.mark.parametrize(("kind", "hours"), [("Batch", "9.0"), ("Interactive", "12.0")])
def test_on_kaggle_the_report_says_how_long_the_session_may_go_on(kind, hours, monkeypatch):
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", kind)
    monkeypatch.delenv("KAGGLE_IS_COMPETITION_RERUN", raising=False)
    monkeypatch.setattr("psutil.Process.create_time", lambda process: time.time() - 60)
    assert f"Kaggle, {kind}, {hours} hours left; no GPU" in environment_report()


def test_the_trial_itself_runs():
    """Without GPUs it tries none, but it is Python that torch takes."""
    exec(environment.PROBE, {})
