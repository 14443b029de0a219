"""Sequential expansion: what is kept of a given region shrinks while the rest is denoised, so that the seam is never in one place.

Giving a Hand to Diffusion Models (Pelykh et al., 2024, arXiv:2403.10731); the schedule is [design]. With k steps done of n, K = until * n:

    k < K             kept = the mask grown by R0 (1 - k / K)
    K <= k < n - F    kept = the true mask, fading to nothing over ``soften`` cells *outside* of it
    n - F <= k        kept = the true mask alone: the ring around it runs free for the last F = free * n steps

Nothing inside the true mask is ever given up, and what is kept never grows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.process.compositing import dilate, to_grid


@dataclass(frozen=True)
class Expansion:
    """``radius``: R0 in pixels; ``until`` and ``free``: shares of the steps; ``soften``: cells. Zeros for radius and soften: plain
    latent blending with the true mask throughout (Avrahami et al., 2022)."""

    radius: int
    until: float = 0.6
    soften: int = 1
    free: float = 0.1

    def __post_init__(self) -> None:
        if self.radius < 0 or self.soften < 0 or not 0 <= self.until <= 1 or not 0 <= self.free <= 1 - self.until:
            raise BadInput(
                f"radius {self.radius}, soften {self.soften}, until {self.until:g}, free {self.free:g}: give a radius and cells of 0 or "
                "more, and shares of the steps that together are at most 1"
            )

    def grown(self, done: int, steps: int) -> int:
        """By how many pixels the mask is grown when ``done`` of ``steps`` steps are done."""
        last = round(self.until * steps)
        return round(self.radius * (1 - done / last)) if done < last else 0

    def kept(self, mask: Tensor, done: int, steps: int, size: tuple[int, ...]) -> Tensor:
        """Share (B, 1, h, w) in [0, 1] of each cell of ``size`` that is kept; ``mask`` bool (B, H, W) in pixels."""
        true = cells(mask, size).float()
        if done >= steps - round(self.free * steps):
            return true
        soft = true
        for ring in range(1, self.soften + 1):
            share = 1 - ring / (self.soften + 1)
            soft = torch.maximum(soft, share * dilate(true[:, 0] > 0, ring)[:, None])
        return torch.maximum(soft, cells(dilate(mask, self.grown(done, steps)), size).float())


def cells(mask: Tensor, size: tuple[int, ...]) -> Tensor:
    """The cells (B, 1, h, w) of which a bool mask (B, H, W) covers at least half."""
    return to_grid(mask, size, "area") >= 0.5
