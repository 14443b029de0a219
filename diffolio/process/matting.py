"""Mattes: what a picture's alpha is by its colours alone, and which colours the foreground has where it is half transparent."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from diffolio.errors import BadInput


def check_matte(alpha: Tensor) -> Tensor:
    """A matte (B, 1, H, W) in [0, 1] from (H, W), (B, H, W), (B, 1, H, W) or (B, 3, H, W) of like channels. BadInput for others."""
    matte = alpha[None] if alpha.dim() == 2 else alpha
    matte = matte[:, None] if matte.dim() == 3 else matte
    if matte.dim() != 4 or matte.shape[1] not in (1, 3) or not len(matte):
        raise BadInput(f"a matte of shape {tuple(alpha.shape)}: give (H, W), (B, H, W) or (B, 1, H, W)")
    if matte.dtype == torch.bool:
        matte = matte.float()
    if not bool(torch.isfinite(matte).all()) or float(matte.min()) < 0 or float(matte.max()) > 1:
        raise BadInput(f"a matte from {float(matte.min()):.3g} to {float(matte.max()):.3g}: alpha lies in [0, 1]")
    if matte.shape[1] == 3 and float((matte - matte[:, :1]).abs().max()) > 1e-3:
        raise BadInput(
            "a matte whose three channels differ: alpha is one number a pixel, give one channel, or three that are equal"
        )
    return matte[:, :1]


def two_colour_matte(images: Tensor, full: float = 0.8) -> Tensor:
    """(B, 3, H, W) -> (B, 1, H, W): the distance to the border's median colour, over the distance that the ``full`` quantile has of
    those pixels that differ from it at all (by more than 0.1)."""
    border = torch.cat([images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1]], -1).median(-1).values
    distance = (images - border[..., None, None]).square().sum(1, keepdim=True).sqrt()
    away = torch.where(distance > 0.1, distance, torch.nan).flatten(1)
    scale = torch.nanquantile(away, full, dim=1).nan_to_num(nan=torch.inf)
    return (distance / scale.view(-1, 1, 1, 1)).clamp(0, 1)


def estimate_foreground(images: Tensor, alpha: Tensor, smoothness: float = 0.1, sweeps: int = 10) -> Tensor:
    """The foreground's colours (B, 3, H, W), where I = a F + (1 - a) B with F and B smooth: by the multi-level solver of Germer et al.
    (2020, arXiv:2006.14970), whose pixels each solve two equations in two unknowns given their neighbours.

    minimise  |a F + (1 - a) B - I|^2 + sum over neighbours of (smoothness + |a - a_n|) (|F - F_n|^2 + |B - B_n|^2)
    """
    height, width = images.shape[-2:]
    levels = max(height, width).bit_length()
    front = back = F.adaptive_avg_pool2d(images, 1)
    for level in range(levels + 1):
        size = tuple(max(1, round(side ** (level / levels))) for side in (height, width))
        image, a = (F.interpolate(x, size, mode="area") for x in (images, alpha))
        front, back = (F.interpolate(x, size, mode="nearest") for x in (front, back))
        weights = [smoothness + (a - near).abs() for near in _neighbours(a)]
        total = torch.stack(weights).sum(0)
        for _ in range(sweeps):
            pull_f, pull_b = (sum(w * near for w, near in zip(weights, _neighbours(x), strict=True)) for x in (front, back))
            # [a a + total, a (1 - a); a (1 - a), (1 - a)(1 - a) + total] [F; B] = [a I + pull_f; (1 - a) I + pull_b]
            aa, ab, bb = a * a + total, a * (1 - a), (1 - a) ** 2 + total
            u, v = a * image + pull_f, (1 - a) * image + pull_b
            det = aa * bb - ab * ab
            front, back = ((bb * u - ab * v) / det).clamp(0, 1), ((aa * v - ab * u) / det).clamp(0, 1)
    return front


def _neighbours(x: Tensor) -> list[Tensor]:
    """Left, right, upper and lower neighbours, the edge's own pixel beyond it."""
    wide, tall = F.pad(x, (1, 1, 0, 0), mode="replicate"), F.pad(x, (0, 0, 1, 1), mode="replicate")
    return [wide[..., :-2], wide[..., 2:], tall[..., :-2, :], tall[..., 2:, :]]
