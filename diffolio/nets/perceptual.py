"""A small perceptual distance: weighted differences of unit-length features at several scales.

The form is that of LPIPS (Zhang et al., 2018, arXiv:1801.03924, eq. 1): d = sum over layers of the mean over places of
|w * (f(x) - f(y))|^2, f of unit length across channels and w >= 0. The features are learned along with the weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn


class PerceptualDistance(ModelMixin, ConfigMixin):
    """Distance (B,) >= 0 of two batches of pictures (B, 3, H, W) in [0, 1], each side at least 16; 0 for equal ones."""

    @register_to_config
    def __init__(self, channels: Sequence[int] = (32, 64, 96, 128)) -> None:
        super().__init__()
        stages, previous = [], 3
        for width in channels:
            stages.append(
                nn.Sequential(
                    nn.Conv2d(previous, width, 3, stride=2, padding=1),
                    nn.GELU(),
                    nn.Conv2d(width, width, 3, padding=1),
                    nn.GELU(),
                )
            )
            previous = width
        self.stages = nn.ModuleList(stages)
        self.weights = nn.ParameterList(torch.zeros(width) for width in channels)

    def features(self, images: Tensor) -> list[Tensor]:
        """Unit-length features per scale, (B, C, h, w) each."""
        x, found = images * 2 - 1, []
        for stage in self.stages:
            x = stage(x)
            found.append(F.normalize(x, dim=1, eps=1e-3))
        return found

    def forward(self, images: Tensor, references: Tensor) -> Tensor:
        pairs = zip(self.features(images), self.features(references), self.weights, strict=True)
        distances = [((a - b).square() * F.softplus(w)[:, None, None]).sum(1).mean((1, 2)) for a, b, w in pairs]
        return torch.stack(distances).sum(0)
