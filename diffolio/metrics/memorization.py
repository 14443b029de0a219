"""Copy scores: how much of a known picture is in a generated one. 1 is a copy, 0 nothing in common."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from diffolio.errors import BadInput
from diffolio.metrics.judge import Judge


def layout_copy(images: Tensor, references: Tensor, mask: Tensor | None = None, cells: int = 16) -> Tensor:
    """Correlation of the low frequencies of pictures with those of their references (B,), in [-1, 1]; no net is involved.

    Both (B, 3, H, W) are averaged down to ``cells`` x ``cells``, every channel is centred, and the cosine over what the bool
    ``mask`` (B, H, W) covers is taken. A picture without any contrast there scores 0.
    """
    if images.shape != references.shape:
        raise BadInput(f"pictures {tuple(images.shape)} and references {tuple(references.shape)}: give equal shapes")
    weight = torch.ones(len(images), *images.shape[-2:]) if mask is None else mask.float()
    weight = adaptive_avg_pool2d(weight[:, None].double(), cells)
    if bool((weight.sum((1, 2, 3)) == 0).any()):
        raise BadInput("a mask covers nothing: there is no region to compare")

    def centred(pictures: Tensor) -> Tensor:
        small = adaptive_avg_pool2d(pictures.double(), cells)
        return small - (small * weight).sum((2, 3), keepdim=True) / weight.sum((2, 3), keepdim=True)

    a, b = centred(images), centred(references)
    product, energies = (weight * a * b).sum((1, 2, 3)), [(weight * x * x).sum((1, 2, 3)) for x in (a, b)]
    scale = (energies[0] * energies[1]).sqrt()
    return torch.where(scale > 1e-9, product / scale.clamp_min(1e-9), torch.zeros_like(scale)).float()


def embedding_copy(images: Tensor, references: Tensor, judge: Judge, mask: Tensor | None = None) -> Tensor:
    """Cosine of the judge's image embeddings (B,); outside of the bool ``mask`` (B, H, W) both are made grey first."""
    if mask is not None:
        images, references = (torch.where(mask[:, None], x, torch.full_like(x, 0.5)) for x in (images, references))
    return 1 - judge.distance(images, references)
