import pytest
import torch

from pii_kit.models.sha_rnn_layers import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_share_asked_for_is_dropped_and_the_mean_kept(p):
    torch.manual_seed(0)
    ones = torch.ones(1003, 997)
    dropped = Dropout(p)(ones)
    share = (dropped == 0).float().mean().item()
    assert share == pytest.approx(p, abs=4 * (p * (1 - p) / ones.numel()) ** 0.5)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / (1 - p)], rel=1e-4)


def test_elements_that_share_a_draw_are_dropped_independently():
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(100_000, 4)) != 0).float()
    correlation = torch.corrcoef(kept.T) - torch.eye(4)
    assert correlation.abs().max() < 0.02
    assert kept.mean(0).tolist() == pytest.approx([0.5] * 4, abs=0.01)


def test_the_gradient_passes_where_the_value_passes():
    torch.manual_seed(0)
    hidden = torch.randn(50, 30, requires_grad=True)
    dropped = Dropout(0.3)(hidden)
    dropped.sum().backward()
    assert torch.allclose(hidden.grad * hidden.detach(), dropped.detach())


def test_equal_seeds_drop_alike():
    results = []
    for _ in range(2):
        torch.manual_seed(5)
        results.append(Dropout(0.1)(torch.ones(7, 3)))
    assert torch.equal(*results)


def test_nothing_is_dropped_outside_training_or_at_a_share_of_0():
    hidden = torch.randn(5, 6)
    assert torch.equal(Dropout(0.5).eval()(hidden), hidden)
    assert torch.equal(Dropout(0.0)(hidden), hidden)
