"""Errors of mattes, as alphamatting.com counts them (Rhemann et al., 2009): mattes (B, 1, H, W) in [0, 1] against true ones, each (B,)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import label
from torch import Tensor

from diffolio.errors import BadInput

SIGMA = 1.4  # of the Gaussian whose derivatives are the gradient's filters
THETA, STEP = 0.15, 0.1  # connectivity: what difference is overlooked, and the distance of the thresholds


def matte_errors(mattes: Tensor, true: Tensor) -> dict[str, Tensor]:
    """Sum of absolute differences (in thousands), mean squared error, and the errors of gradient and connectivity (in thousands)."""
    if mattes.shape != true.shape or mattes.dim() != 4 or mattes.shape[1] != 1:
        raise BadInput(f"mattes of shapes {tuple(mattes.shape)} and {tuple(true.shape)}: give two of (B, 1, H, W)")
    difference = (mattes - true).flatten(1)
    return {
        "sad": difference.abs().sum(1) / 1000,
        "mse": difference.square().mean(1),
        "gradient": (_gradient(mattes) - _gradient(true)).square().flatten(1).sum(1) / 1000,
        "connectivity": torch.stack([_connectivity(a, b) for a, b in zip(mattes[:, 0], true[:, 0], strict=True)]) / 1000,
    }


def _gradient(mattes: Tensor) -> Tensor:
    """The size of the gradient by Gaussian derivatives."""
    reach = int(np.ceil(3 * SIGMA))
    x = torch.arange(-reach, reach + 1, dtype=mattes.dtype, device=mattes.device)
    bell = torch.exp(-(x**2) / (2 * SIGMA**2))
    bell, slope = bell / bell.square().sum().sqrt(), (x * bell) / (x * bell).square().sum().sqrt()
    padded = F.pad(mattes, (reach,) * 4, mode="replicate")
    along = F.conv2d(padded, (bell[:, None] * slope)[None, None])
    across = F.conv2d(padded, (slope[:, None] * bell)[None, None])
    return torch.hypot(along, across)


def _connectivity(matte: Tensor, true: Tensor) -> Tensor:
    """Sum over pixels of how far each matte's value lies above the highest threshold at which its pixel is joined to the largest region
    that both mattes share."""
    joined = torch.full_like(true, -1.0)
    thresholds = np.arange(0, 1 + STEP, STEP)
    for i, threshold in enumerate(thresholds[1:], 1):
        regions, count = label(((matte >= threshold) & (true >= threshold)).cpu().numpy())
        inside = np.zeros(regions.shape, bool) if not count else regions == 1 + np.argmax(np.bincount(regions.ravel())[1:])
        left = (joined == -1) & ~torch.from_numpy(inside).to(true.device)
        joined[left] = float(thresholds[i - 1])
    joined[joined == -1] = 1.0
    above = [a - joined for a in (matte, true)]
    kept = [1 - d * (d >= THETA) for d in above]
    return (kept[0] - kept[1]).abs().sum()
