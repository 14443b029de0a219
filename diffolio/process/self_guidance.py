"""Guidance by a model's own estimate made worse: blur what it is about to draw, ask again, and go away from that answer.

Self-attention guidance (Hong et al., 2023, arXiv:2210.00939) blurs where the network attends most; self-mask guidance (LayerDiff,
arXiv:2403.11929) where its own masks say that something stands.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from diffolio.errors import BadInput
from diffolio.process.prediction import Prediction, add_noise


def degraded(said: Prediction, where: Tensor, sigma: float = 1.0) -> Tensor:
    """Noisy latents whose clean estimate is blurred inside ``where`` (B, 1, h, w) in [0, 1] and whose noise is the estimated one.

    x' = alpha ((1 - where) clean + where blur(clean)) + sigma noise
    """
    blurred = said.clean * (1 - where) + blur(said.clean, sigma) * where
    return add_noise(blurred, said.noise, said.alpha, said.sigma)


def away_from(raw: Tensor, worse: Tensor, scale: float) -> Tensor:
    """What is to be added to a guided output: s (eps - eps_worse), so that alone it is eps_worse + (1 + s) (eps - eps_worse)."""
    return scale * (raw - worse)


def blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (B, C, h, w), ``sigma`` in cells; the border is repeated, so that a constant stays what it is."""
    if not sigma > 0:
        raise BadInput(f"a blur of {sigma} cells: give a number above 0")
    reach = max(1, round(3 * sigma))
    steps = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    weights = (-0.5 * (steps / sigma).square()).exp()
    weights = (weights / weights.sum()).expand(x.shape[1], 1, 1, -1)
    padded = pad(x, (reach,) * 4, mode="replicate")
    across = conv2d(padded, weights, groups=x.shape[1])
    return conv2d(across, weights.transpose(2, 3), groups=x.shape[1])
