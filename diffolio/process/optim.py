"""Optimising inputs, not weights: AdamW sample by sample, and networks that take no gradient meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class AdamW:
    """torch.optim.AdamW for the samples of a batch (B, ...) one by one: some may take steps while others rest."""

    def __init__(self, like: Tensor, lr: float, betas: tuple[float, float] = (0.9, 0.999), decay: float = 0.01) -> None:
        self.lr, self.betas, self.decay = lr, betas, decay
        self.first, self.second = torch.zeros_like(like), torch.zeros_like(like)
        self.steps = like.new_zeros(len(like), *[1] * (like.dim() - 1))

    def step(self, index: Tensor, x: Tensor, gradient: Tensor, eps: float = 1e-8) -> Tensor:
        """The samples ``index``, now at ``x`` with this gradient, after a step."""
        a, b = self.betas
        self.steps[index] += 1
        self.first[index] = a * self.first[index] + (1 - a) * gradient
        self.second[index] = b * self.second[index] + (1 - b) * gradient**2
        n = self.steps[index]
        mean, scale = self.first[index] / (1 - a**n), (self.second[index] / (1 - b**n)).sqrt()
        return x * (1 - self.lr * self.decay) - self.lr * mean / (scale + eps)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """No parameter takes a gradient inside; each one's flag is as before afterwards."""
    before = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    try:
        for parameter, _ in before:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, flag in before:
            parameter.requires_grad_(flag)
