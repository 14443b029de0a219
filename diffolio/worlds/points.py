"""Points in the plane and on the line: swiss roll, 25 Gaussians, and Gaussian mixtures whose noised density is known exactly.

The two data sets are those of "Understanding Diffusion Models by Feynman's Path Integral" (arXiv:2403.11262), in its units:
each has about unit standard deviation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffolio.errors import BadInput, unknown


def swiss_roll(n: int, seed: int, noise: float = 0.5) -> Tensor:
    """A spiral of one and a half turns: (n, 2) float32, within about [-2.2, 2.2]. ``noise`` is in units before the division by 6.865."""
    generator = torch.Generator().manual_seed(seed)
    angle = 1.5 * math.pi * (1 + 2 * torch.rand(n, generator=generator))
    curve = torch.stack([angle * angle.cos(), angle * angle.sin()], 1)
    return (curve + noise * torch.randn(n, 2, generator=generator)) / 6.865


def gaussians25(n: int, seed: int, noise: float = 0.05) -> Tensor:
    """A 5 x 5 grid of Gaussians, spacing 2 / 2.828, equally many points in each (up to one), shuffled: (n, 2) float32."""
    generator = torch.Generator().manual_seed(seed)
    mode = torch.arange(n)[torch.randperm(n, generator=generator)] % 25
    centre = 2.0 * torch.stack([mode // 5 - 2, mode % 5 - 2], 1)
    return (centre + noise * torch.randn(n, 2, generator=generator)) / 2.828


POINTS = {"swiss_roll": swiss_roll, "gaussians25": gaussians25}


def points(name: str, n: int, seed: int) -> Tensor:
    """A data set by name: (n, 2) float32."""
    if name not in POINTS:
        raise unknown("set of points", name, POINTS)
    if n < 1:
        raise BadInput(f"{n} points: give at least one")
    return POINTS[name](n, seed)


@dataclass(frozen=True)
class GaussianMixture:
    """Isotropic Gaussians: ``means`` (K, D), ``stds`` (K,), ``weights`` (K,) that sum to one.

    Noised by x = alpha x_0 + sigma z it is a mixture again, so that its density and score are exact at every noise level.
    """

    means: Tensor
    stds: Tensor
    weights: Tensor

    def __post_init__(self) -> None:
        if self.means.ndim != 2 or self.stds.shape != self.weights.shape or len(self.means) != len(self.stds):
            shapes = tuple(self.means.shape), tuple(self.stds.shape), tuple(self.weights.shape)
            raise BadInput(f"mixture of shapes {shapes}: give means (K, D), stds (K,) and weights (K,)")
        if not torch.isclose(self.weights.sum(), torch.ones((), dtype=self.weights.dtype)):
            raise BadInput(f"the mixture's weights sum to {float(self.weights.sum()):g}: they must sum to 1")

    def sample(self, n: int, seed: int) -> Tensor:
        """(n, D) points."""
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = torch.randn(n, self.means.shape[1], generator=generator, dtype=self.means.dtype)
        return self.means[chosen] + self.stds[chosen, None] * noise

    def log_density(self, x: Tensor, alpha: Tensor | float = 1.0, sigma: Tensor | float = 0.0) -> Tensor:
        """log p of noised points x (B, D) at one noise level: (B,)."""
        return self._joint(x, alpha, sigma).logsumexp(-1)

    def score(self, x: Tensor, alpha: Tensor | float = 1.0, sigma: Tensor | float = 0.0) -> Tensor:
        """grad log p of noised points x (B, D): (B, D). Built of plain operations: torch.func differentiates it further."""
        share = self._joint(x, alpha, sigma).softmax(-1)
        variance = alpha**2 * self.stds**2 + sigma**2
        pull = (alpha * self.means - x[:, None]) / variance[:, None]
        return (share[..., None] * pull).sum(1)

    def _joint(self, x: Tensor, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
        """log of weight times density of each component: (B, K)."""
        variance = alpha**2 * self.stds**2 + sigma**2
        squared = (x[:, None] - alpha * self.means).square().sum(-1)
        return self.weights.log() - squared / (2 * variance) - x.shape[1] / 2 * (2 * math.pi * variance).log()
