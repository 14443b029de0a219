"""How visible the border of a mask is in a picture that was put together there."""

from __future__ import annotations

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.process.compositing import dilate


def seam(images: Tensor, mask: Tensor, width: int = 3) -> Tensor:
    """(B,): the mean difference of neighbouring pixels across the border of the mask, minus that of neighbours beside it.

    ``images`` (B, 3, H, W) in [0, 1], ``mask`` bool (B, H, W); "beside" is within ``width`` pixels of the border on both sides.
    About 0 for a picture with nothing special there, up to 1 for a hard cut. BadInput for a mask without a border.
    """
    across, beside = _jumps(images, mask, width)
    return across - beside


def seam_ratio(images: Tensor, mask: Tensor, width: int = 3) -> Tensor:
    """(B,): the same two means, divided: about 1 with nothing special at the border; above it also where the mask's object ends there."""
    across, beside = _jumps(images, mask, width)
    return across / beside.clamp_min(1e-6)


def _jumps(images: Tensor, mask: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Mean differences (B,) of neighbours across the border, and of neighbours beside it."""
    if mask.dtype != torch.bool or mask.shape != (len(images), *images.shape[-2:]):
        raise BadInput(f"a mask of type {mask.dtype}, shape {tuple(mask.shape)}: give bool {(len(images), *images.shape[-2:])}")
    if width < 1:
        raise BadInput(f"a band of {width} pixels: give at least one")
    band = dilate(mask, width) & dilate(~mask, width)
    across, beside, crossings, neighbours = (images.new_zeros(len(images)) for _ in range(4))
    for dim in (-2, -1):
        n = images.shape[dim] - 1
        jump = (images.narrow(dim, 1, n) - images.narrow(dim, 0, n)).abs().mean(1)
        first, second = mask.narrow(dim, 0, n), mask.narrow(dim, 1, n)
        near = band.narrow(dim, 0, n) & band.narrow(dim, 1, n) & (first == second)
        crossing = first != second
        across, crossings = across + (jump * crossing).sum((1, 2)), crossings + crossing.sum((1, 2))
        beside, neighbours = beside + (jump * near).sum((1, 2)), neighbours + near.sum((1, 2))
    if not bool(crossings.all()):
        raise BadInput("a mask is empty or covers its whole picture: it has no border to look at")
    return across / crossings, beside / neighbours.clamp_min(1)
