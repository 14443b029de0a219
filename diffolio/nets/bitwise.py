"""A multi-scale bitwise residual tokenizer: a picture as a pyramid of bits.

The residual pyramid is VAR's (Tian et al., 2024, arXiv:2404.02905, algorithms 1 and 2), its lookup-free binary quantiser that of
Infinity (Han et al., 2024, arXiv:2412.04431, section 3.2). With features f, scales k = 1..K and F_0 = 0:

    r_k = down(f - F_{k-1}, s_k),   R_k = [r_k >= 0],   F_k = F_{k-1} + up(a_k (2 R_k - 1), s_K)

``down`` is the mean over areas and ``up`` is bilinear. Infinity's step a is 1 / sqrt(d) everywhere; here each scale and channel has
a learned one, so that five scales suffice.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn


class BitwiseTokenizer(ModelMixin, ConfigMixin):
    """Pictures (B, 3, H, H) in [0, 1], features (B, d, s_K, s_K), bits: a list of bool (B, d, s_k, s_k), one per scale.

    Encoder and decoder are diffusers', with a few convolutions between their latents and the features.
    """

    @register_to_config
    def __init__(
        self,
        bits: int = 10,
        scales: Sequence[int] = (1, 2, 4, 8, 16),
        block_out_channels: Sequence[int] = (24, 48, 64),
        latent_channels: int = 4,
        width: int = 64,
        norm_num_groups: int = 8,
    ) -> None:
        from diffusers.models.autoencoders.vae import Decoder, Encoder

        super().__init__()
        levels = len(block_out_channels)
        shared = {"block_out_channels": tuple(block_out_channels), "layers_per_block": 1, "norm_num_groups": norm_num_groups,
                  "mid_block_add_attention": False}  # fmt: skip
        self.encoder = Encoder(
            out_channels=latent_channels, down_block_types=("DownEncoderBlock2D",) * levels, double_z=False, **shared
        )
        self.decoder = Decoder(in_channels=latent_channels, up_block_types=("UpDecoderBlock2D",) * levels, **shared)
        self.to_features = _between(latent_channels, width, bits)
        self.from_features = _between(bits, width, latent_channels)
        self.log_steps = nn.Parameter(torch.linspace(0, -1.5, len(scales))[:, None].repeat(1, bits))

    @property
    def factor(self) -> int:
        """Pixels per cell of the finest scale."""
        return int(2 ** (len(self.config.block_out_channels) - 1))

    def encode(self, images: Tensor) -> Tensor:
        """The features f, (B, d, s_K, s_K), before they are quantised."""
        return self.to_features(self.encoder(images * 2 - 1))  # type: ignore[no-any-return]

    def decode(self, features: Tensor) -> Tensor:
        """Pictures from accumulated features F_K; not clamped."""
        return self.decoder(self.from_features(features)) * 0.5 + 0.5  # type: ignore[no-any-return]

    def value(self, bits: Tensor, scale: int) -> Tensor:
        """What the bits (B, d, s, s) of one scale add to the features, (B, d, s_K, s_K)."""
        steps = self.log_steps[scale].exp()[:, None, None]
        return upsample((bits.to(steps.dtype) * 2 - 1) * steps, self.config.scales[-1])

    def quantize(self, features: Tensor, flip: Sequence[Tensor] | None = None) -> tuple[list[Tensor], list[Tensor]]:
        """The bits R_1..R_K of f and the accumulated features F_1..F_K.

        ``flip``, bool and shaped as the bits, are wrong bits that later scales get to mend (Infinity's self-correction, section
        3.4): they are put into F_k, and the bits returned for that scale are the right ones.
        """
        total, bits, sums = torch.zeros_like(features), [], []
        for k, side in enumerate(self.config.scales):
            right = downsample((features - total).detach(), side) >= 0
            total = total + self.value(right if flip is None else right ^ flip[k], k)
            bits.append(right)
            sums.append(total)
        return bits, sums

    def accumulate(self, bits: Sequence[Tensor]) -> Tensor:
        """F_k from the bits of the first k scales; zeros for none is the caller's."""
        return torch.stack([self.value(part, k) for k, part in enumerate(bits)]).sum(0)


def downsample(x: Tensor, side: int) -> Tensor:
    """Means over areas: (B, d, s, s) -> (B, d, side, side)."""
    return x if x.shape[-1] == side else F.interpolate(x, (side, side), mode="area")


def upsample(x: Tensor, side: int) -> Tensor:
    """Bilinear: (B, d, s, s) -> (B, d, side, side)."""
    return x if x.shape[-1] == side else F.interpolate(x, (side, side), mode="bilinear", align_corners=False)


def _between(channels: int, width: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1), nn.GELU(), nn.Conv2d(width, width, 3, padding=1), nn.GELU(),
        nn.Conv2d(width, out, 1),
    )  # fmt: skip
