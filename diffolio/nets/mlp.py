"""A small time-conditioned score network for points."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


class ScoreMLP(nn.Module):
    """[x, t] -> ``layers`` hidden layers of ``width`` with swish -> score.

    ``forward(x (B, D), t)`` takes t as a number, a 0-d tensor or (B,), and gives (B, D). The output is the score itself
    (no division by sigma), as in the code of arXiv:2403.11262.
    """

    def __init__(self, dimensions: int = 2, width: int = 128, layers: int = 3) -> None:
        super().__init__()
        sizes = [dimensions + 1] + [width] * layers
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.out = nn.Linear(width, dimensions)

    def forward(self, x: Tensor, t: Tensor | float) -> Tensor:
        time = torch.as_tensor(t, dtype=x.dtype, device=x.device).reshape(-1, 1).expand(len(x), 1)
        h = torch.cat([x, time], 1)
        for layer in self.hidden:
            h = nn.functional.silu(layer(h))
        return self.out(h)
