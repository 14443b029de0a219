"""Proximal guidance: of what guidance would change, keep only the strong part, and pull the rest back to the source.

Han et al., 2023 (ProxEdit, arXiv:2306.05414), as used at edit time by SPDInv (Li et al., 2024, arXiv:2403.11105). With
d = eps_cond - eps_null and a threshold lam, the q-quantile of |d|,

    d <- prox(d),   l0: d where |d| > lam, else 0,   l1: sign(d) (|d| - lam) where |d| > lam, else 0
    z <- z - rate (z - z*_t) (1 - M),   M = dilate(|d| > lam)

where z*_t is the source's own latent of that noise level, kept from its inversion. Both released codes do the l1 shrinking under
the name "l0"; here the names mean what the papers say.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from diffolio.errors import BadInput, choose

KINDS = ("l0", "l1", "none")


def threshold(delta: Tensor, quantile: float) -> Tensor:
    """The ``quantile`` of each sample's |delta| (B, ...) -> (B, 1, ...), so that no sample depends on its batch."""
    if not 0 <= quantile <= 1:
        raise BadInput(f"quantile {quantile}: give a number from 0 to 1")
    found = torch.quantile(delta.abs().flatten(1).float(), quantile, dim=1)
    return found.reshape(-1, *[1] * (delta.dim() - 1)).to(delta)


def proximal(delta: Tensor, least: Tensor | float, kind: str = "l0") -> Tensor:
    """``delta`` with everything up to ``least`` in magnitude set to zero; "l1" also shrinks what is left by ``least``."""
    choose("proximal operator", kind, KINDS)
    if kind == "none":
        return delta
    if kind == "l1":
        return delta.sign() * (delta.abs() - least).clamp_min(0)
    return torch.where(delta.abs() > least, delta, torch.zeros_like(delta))


def edit_mask(delta: Tensor, least: Tensor | float, radius: int = 1) -> Tensor:
    """Where guidance changes something: |delta| > least, grown by ``radius`` cells. (B, C, h, w) -> bool of the same shape."""
    if radius < 0:
        raise BadInput(f"radius {radius}: give 0 cells or more")
    return max_pool2d((delta.abs() > least).float(), 2 * radius + 1, stride=1, padding=radius) > 0


def pull(latents: Tensor, reference: Tensor, mask: Tensor, rate: float = 1.0) -> Tensor:
    """Move ``latents`` towards ``reference`` by the share ``rate`` outside of the bool ``mask``; rate 1 takes it over."""
    return torch.where(mask, latents, latents.lerp(reference.to(latents), rate))
