"""Dropout that does not wait for random numbers on a CPU, where torch's own costs more than a layer of Boom."""

import torch
from torch import nn

LEVELS = 2**16


class Dropout(nn.Dropout):
    """nn.Dropout; on a CPU with 16 random bits an element, so `p` is rounded to a multiple of 2 to the -16.

    torch draws a number of 53 random bits for each element, one after the other; four elements share a draw here.
    """

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0 or hidden.device.type != "cpu":
            return super().forward(hidden)
        draws = torch.empty(-(-hidden.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = draws.view(torch.int16)[: hidden.numel()].view(hidden.shape)
        n_dropped = round(self.p * LEVELS)
        kept = (bits >= n_dropped - LEVELS // 2).to(hidden.dtype)
        return hidden * kept.mul_(LEVELS / (LEVELS - n_dropped))
