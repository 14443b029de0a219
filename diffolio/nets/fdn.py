"""Feature denormalisation: a normalisation layer whose scale and shift at every place are read off a condition's features.

    h' = GroupNorm(h) * (1 + conv_scale(f)) + conv_shift(f)           GroupNorm without its own scale and shift

SPADE's idea (Park et al., 2019, arXiv:1903.07291) in a diffusion UNet: Uni-ControlNet (Zhao et al., 2023, arXiv:2305.16322, eq. 3).
CRS-Diff (Tang et al., 2024, arXiv:2403.11614) lets h attend to itself first (:class:`LightAttention`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffolio.errors import BadInput


class LightAttention(nn.Module):
    """Self-attention over the cells with queries and keys of C / 8 channels, added through a gate that is zero at first.

    (B, C, h, w) -> same. The form of SAGAN (Zhang et al., 2018, arXiv:1805.08318).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = max(1, channels // 8)
        self.query, self.key = nn.Conv2d(channels, narrow, 1), nn.Conv2d(channels, narrow, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = (layer(h).flatten(2).transpose(1, 2) for layer in (self.query, self.key, self.value))
        attended = F.scaled_dot_product_attention(q, k, v, scale=1.0)
        return h + self.gate * attended.transpose(1, 2).reshape(h.shape)


class FeatureDenormalization(nn.Module):
    """Takes the place of the GroupNorm ``norm``. Features (B, feature_channels, h', w') are given by :func:`given_features`.

    The biases of the two convolutions start as the norm's own scale and shift, so that without features (or with zeros, as from
    a zero convolution) a pretrained layer goes on as it was. Features of another size are interpolated.
    """

    def __init__(self, norm: nn.GroupNorm, feature_channels: int, attention: bool = False) -> None:
        super().__init__()
        channels = norm.num_channels
        self.norm = nn.GroupNorm(norm.num_groups, channels, eps=norm.eps, affine=False)
        self.attention = LightAttention(channels) if attention else None
        self.scale = nn.Conv2d(feature_channels, channels, 3, padding=1)
        self.shift = nn.Conv2d(feature_channels, channels, 3, padding=1)
        with torch.no_grad():
            self.scale.bias.copy_(norm.weight - 1 if norm.affine else torch.zeros(channels))  # type: ignore[union-attr]
            self.shift.bias.copy_(norm.bias if norm.affine else torch.zeros(channels))  # type: ignore[union-attr]
        self.features: Tensor | None = None

    def forward(self, h: Tensor) -> Tensor:
        f = self.features
        if f is None:
            f = h.new_zeros(1, self.scale.in_channels, *h.shape[2:])
        elif len(f) != len(h):
            if len(h) % len(f):
                raise BadInput(f"features of {len(f)} samples for a batch of {len(h)}: give one for each, or one for each row")
            f = f.repeat(len(h) // len(f), 1, 1, 1)
        if f.shape[2:] != h.shape[2:]:
            f = F.interpolate(f, h.shape[2:], mode="bilinear", align_corners=False)
        if self.attention is not None:
            h = self.attention(h)
        return self.norm(h) * (1 + self.scale(f)) + self.shift(f)  # type: ignore[no-any-return]


@contextmanager
def given_features(layers: Sequence[FeatureDenormalization], features: Sequence[Tensor]) -> Iterator[None]:
    """Each layer reads its features inside, none after."""
    for layer, given in zip(layers, features, strict=True):
        layer.features = given
    try:
        yield
    finally:
        for layer in layers:
            layer.features = None
