"""Patches of pixels in the place of a VAE, so that a latent pipeline denoises pictures themselves, without loss."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import Tensor


class PatchAutoencoder(ModelMixin, ConfigMixin):
    """Pictures (B, 3, H, W) in [-1, 1] <-> "latents" (B, 3 factor^2, H / factor, W / factor): the pixels of each patch as channels.

    It has nothing to learn and answers as diffusers' AutoencoderKL does. ``factor``: a power of two.
    """

    @register_to_config
    def __init__(self, factor: int = 4, scaling_factor: float = 1.0) -> None:
        super().__init__()
        levels = factor.bit_length()
        # Pipelines read the factor off the number of levels.
        self.register_to_config(block_out_channels=(1,) * levels, latent_channels=3 * factor**2, sample_size=64)
        self.register_buffer("at", torch.zeros(()), persistent=False)

    def encode(self, images: Tensor, return_dict: bool = True) -> Any:
        return _Encoded(F.pixel_unshuffle(images, self.config.factor))

    def decode(self, latents: Tensor, return_dict: bool = True, generator: torch.Generator | None = None) -> Any:
        images = F.pixel_shuffle(latents, self.config.factor)
        return _Decoded(images) if return_dict else (images,)


class _Encoded:
    """A posterior without spread."""

    def __init__(self, mean: Tensor) -> None:
        self.mean, self.latent_dist = mean, self

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        return self.mean

    def mode(self) -> Tensor:
        return self.mean


class _Decoded:
    def __init__(self, sample: Tensor) -> None:
        self.sample = sample
