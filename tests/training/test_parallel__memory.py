import torch

from pii_kit.training import parallel as cost


def test_peak_memory_counts_bytes_and_rises_with_what_is_held():
    before = cost.peak_memory()
    held = torch.ones(before // 4 + 2**20)
    assert cost.peak_memory() > held.nbytes > before
