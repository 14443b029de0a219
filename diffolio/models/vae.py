"""Pictures to latents and back, in the scale that the denoiser was trained on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from diffolio.errors import BadInput, Unsupported

DECODED_AT_ONCE = 2**22  # pixels; what is more is decoded in parts, which bounds the memory


class Codec(Protocol):
    """Between pictures (B, 3, H, W), or clips (B, T, 3, H, W), in [0, 1] and what a denoiser sees: ``channels`` at one cell per
    ``factor`` pixels."""

    factor: int
    channels: int

    def encode(self, images: Tensor, sample: bool, generator: torch.Generator | None) -> Tensor: ...

    def decode(self, latents: Tensor) -> Tensor: ...


class Pixels:
    """For denoisers that work on pixels: [0, 1] becomes [-1, 1]."""

    factor = 1

    def __init__(self, channels: int) -> None:
        self.channels = channels

    def encode(self, images: Tensor, sample: bool, generator: torch.Generator | None) -> Tensor:
        check_images(images)
        return images * 2 - 1

    def decode(self, latents: Tensor) -> Tensor:
        images = latents * 0.5 + 0.5
        return images if latents.requires_grad else images.clamp(0, 1)


class Autoencoder:
    """An AutoencoderKL, or patches of pixels in its place, between pictures in [0, 1] and latents (z - shift) * scale."""

    def __init__(self, vae: Any, factor: int) -> None:
        if type(vae).__name__ not in ("AutoencoderKL", "PatchAutoencoder"):
            raise Unsupported(f"the pipeline's VAE is a {type(vae).__name__}; supported is AutoencoderKL")
        self.vae, self.factor, self.channels = vae, factor, int(vae.config.latent_channels)

    def encode(self, images: Tensor, sample: bool, generator: torch.Generator | None) -> Tensor:
        check_images(images, self.factor)
        with _float32_where_needed(self.vae) as dtype:
            posterior = self.vae.encode((images * 2 - 1).to(self.vae.device, dtype)).latent_dist
            z = posterior.sample(generator) if sample else posterior.mean
        return self._scaled(z)

    def decode(self, latents: Tensor) -> Tensor:
        side = 2 ** (len(self.vae.config.block_out_channels) - 1)
        at_once = max(1, DECODED_AT_ONCE // (latents.shape[-2] * latents.shape[-1] * side**2))
        with _float32_where_needed(self.vae) as dtype:
            parts = [self.vae.decode(self._unscaled(part.to(dtype)), return_dict=False)[0] for part in latents.split(at_once)]
        images = (parts[0] if len(parts) == 1 else torch.cat(parts)) * 0.5 + 0.5
        return images if latents.requires_grad else images.clamp(0, 1)

    # Written as in the pipelines, so that samples are the same to the bit.

    def _unscaled(self, latents: Tensor) -> Tensor:
        mean, std = self._statistics(latents)
        if mean is not None and std is not None:
            return latents * std / self.vae.config.scaling_factor + mean
        latents = latents / self.vae.config.scaling_factor
        shift = self.vae.config.get("shift_factor")
        return latents if shift is None else latents + shift

    def _scaled(self, z: Tensor) -> Tensor:
        mean, std = self._statistics(z)
        if mean is not None and std is not None:
            return (z - mean) * self.vae.config.scaling_factor / std
        shift = self.vae.config.get("shift_factor")
        return (z if shift is None else z - shift) * self.vae.config.scaling_factor

    def _statistics(self, like: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """(mean, std) by channel, which a few VAEs have instead of a shift."""
        mean, std = self.vae.config.get("latents_mean"), self.vae.config.get("latents_std")
        if mean is None or std is None:
            return None, None
        return torch.tensor(mean).view(1, -1, 1, 1).to(like), torch.tensor(std).view(1, -1, 1, 1).to(like)


class FrameByFrame(Autoencoder):
    """An AutoencoderKL on the frames of clips: (B, T, 3, H, W) in [0, 1] and latents (B, C, T, h, w)."""

    def encode(self, images: Tensor, sample: bool, generator: torch.Generator | None) -> Tensor:
        if images.dim() != 5 or images.shape[2] != 3:
            raise BadInput(f"clips of shape {tuple(images.shape)}: give (B, T, 3, H, W)")
        latents = super().encode(images.flatten(0, 1), sample, generator)
        return latents.unflatten(0, images.shape[:2]).transpose(1, 2)

    def decode(self, latents: Tensor) -> Tensor:
        frames = latents.transpose(1, 2)
        return super().decode(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])


def check_images(images: Tensor, factor: int = 1) -> None:
    """BadInput unless these are pictures (B, 3, H, W), floating point, in [0, 1], sides multiples of ``factor``."""
    if images.dim() != 4 or images.shape[1] != 3:
        raise BadInput(f"pictures of shape {tuple(images.shape)}: give (B, 3, H, W)")
    if not images.is_floating_point():
        raise BadInput(f"pictures of type {images.dtype}: give floating point in [0, 1] (divide bytes by 255)")
    height, width = images.shape[-2:]
    if height % factor or width % factor or not len(images):
        raise BadInput(f"{len(images)} pictures of {width}x{height}: give at least one, with both sides multiples of {factor}")
    low, high = (float(value) for value in torch.aminmax(images.detach()))
    # A little outside is left alone: optimised pictures may stray there.
    if not (low >= -0.25 and high <= 1.25):
        raise BadInput(f"pictures with values from {low:g} to {high:g}: give [0, 1] ([-1, 1] becomes (x + 1) / 2)")


@contextmanager
def _float32_where_needed(vae: Any) -> Iterator[torch.dtype]:
    """SDXL's VAE overflows in float16 and says so in its config: it works in float32 meanwhile."""
    if vae.dtype != torch.float16 or not vae.config.get("force_upcast"):
        yield vae.dtype
        return
    vae.to(torch.float32)
    try:
        yield torch.float32
    finally:
        vae.to(torch.float16)
