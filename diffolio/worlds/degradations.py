"""What happens to photographs: blur, noise, JPEG, fewer pixels, and the second-order chain of Real-ESRGAN.

Images are float (B, 3, H, W) in [0, 1] and stay so. What is random is drawn from an explicit seed, image by image, so that the
k-th image of a batch is degraded in the same way however many follow it. Strengths of noise are in units of 1/255, as in the papers.
"""

from __future__ import annotations

import io
import math
import random
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

from diffolio.errors import BadInput, choose

MODES: tuple[str, ...] = ("area", "bilinear", "bicubic")


def gaussian_kernel(sigma: float, sigma_across: float | None = None, angle: float = 0.0) -> Tensor:
    """A normalised kernel (k, k) that reaches 3 sigma; with ``sigma_across``, an ellipse turned by ``angle`` degrees."""
    across = sigma if sigma_across is None else sigma_across
    if not (0 < sigma <= 50 and 0 < across <= 50):
        raise BadInput(f"a Gaussian blur of {sigma} by {across} pixels: give widths in (0, 50]")
    x, y = _grid(math.ceil(3 * max(sigma, across)))
    turn = math.radians(angle)
    along, aside = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    return _normalised(torch.exp(-0.5 * ((along / sigma) ** 2 + (aside / across) ** 2)))


def motion_kernel(length: float, angle: float = 0.0) -> Tensor:
    """A normalised line (k, k) of ``length`` pixels, ``angle`` degrees clockwise from the horizontal, one pixel wide and soft."""
    if not 1 <= length <= 100:
        raise BadInput(f"a motion blur of {length} pixels: give a length in [1, 100]")
    x, y = _grid(math.ceil(length / 2) + 1)
    turn = math.radians(angle)
    along, aside = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    return _normalised((length / 2 + 0.5 - along.abs()).clamp(0, 1) * (1 - aside.abs()).clamp_min(0))


def sinc_kernel(cutoff: float, reach: int = 6) -> Tensor:
    """The ideal low-pass filter (k, k) of a round ``cutoff`` in (0, pi] radians a pixel: it rings as over-sharpened pictures do."""
    if not 0 < cutoff <= math.pi:
        raise BadInput(f"a cutoff of {cutoff}: give radians a pixel in (0, pi]")
    x, y = _grid(reach)
    radius = torch.hypot(x, y).clamp_min(1e-6)
    kernel = cutoff / (2 * math.pi * radius) * torch.special.bessel_j1(cutoff * radius)
    kernel[reach, reach] = cutoff**2 / (4 * math.pi)
    return kernel / kernel.sum()


def filtered(images: Tensor, kernel: Tensor) -> Tensor:
    """Every channel convolved with a kernel (k, k) of odd side, the border mirrored (repeated where the image is too small)."""
    reach = len(kernel) // 2
    mode = "reflect" if reach < min(images.shape[-2:]) else "replicate"
    padded = pad(_checked(images), (reach,) * 4, mode=mode)
    weight = kernel.flip(0, 1).to(images).expand(images.shape[1], 1, *kernel.shape)
    return conv2d(padded, weight, groups=images.shape[1]).clamp(0, 1)


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """``sigma`` in pixels."""
    return filtered(images, gaussian_kernel(sigma))


def motion_blur(images: Tensor, length: float, angle: float = 0.0) -> Tensor:
    """``length`` in pixels, ``angle`` in degrees clockwise from the horizontal."""
    return filtered(images, motion_kernel(length, angle))


def gaussian_noise(images: Tensor, sigma: float, seed: int, *, grey: bool = False) -> Tensor:
    """Noise of standard deviation ``sigma`` / 255, the same in all three channels if ``grey``; clipped to [0, 1]."""
    if not 0 <= sigma <= 255:
        raise BadInput(f"Gaussian noise of {sigma}: give a standard deviation in [0, 255], in units of 1/255")
    channels = 1 if grey else _checked(images).shape[1]
    noise = [torch.randn(channels, *images.shape[-2:], generator=_generator(seed, i)) for i in range(len(images))]
    return (images + sigma / 255 * torch.stack(noise).to(images)).clamp(0, 1)


def poisson_noise(images: Tensor, scale: float, seed: int, *, grey: bool = False) -> Tensor:
    """Shot noise of variance ``scale`` * value / 255 (a scale of 1 counts 255 photons at white); grey noise is that of the mean."""
    if not 0 < scale <= 100:
        raise BadInput(f"Poisson noise of scale {scale}: give a number in (0, 100]")
    photons = 255 / scale
    source = _checked(images).mean(1, keepdim=True) if grey else images
    counts = [torch.poisson(image.cpu().float() * photons, generator=_generator(seed, i)) for i, image in enumerate(source)]
    return (images + torch.stack(counts).to(images) / photons - source).clamp(0, 1)


def jpeg(images: Tensor, quality: int) -> Tensor:
    """Compressed and read back by Pillow, ``quality`` 1 to 95, colours subsampled 4:2:0 as by default."""
    if not 1 <= quality <= 95:
        raise BadInput(f"JPEG quality {quality}: give 1 to 95")
    result = []
    for image in _checked(images):
        buffer = io.BytesIO()
        pixels = (image.detach().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
        result.append(torch.from_numpy(np.array(Image.open(buffer).convert("RGB"))).permute(2, 0, 1))
    return torch.stack(result).to(images) / 255


def resized(images: Tensor, size: tuple[int, int], mode: str = "bicubic") -> Tensor:
    """To (height, width), anti-aliased where that is smaller. ``mode``: "area", "bilinear" or "bicubic"."""
    choose("way to resize", mode, MODES)
    if mode == "area":
        return interpolate(_checked(images), size, mode="area")
    return interpolate(_checked(images), size, mode=mode, antialias=True, align_corners=False).clamp(0, 1)


def downsample(images: Tensor, factor: int, mode: str = "bicubic") -> Tensor:
    """To (B, 3, H / factor, W / factor); both sides must be multiples of ``factor``."""
    height, width = images.shape[-2:]
    if factor < 1 or height % factor or width % factor:
        raise BadInput(f"{width}x{height} pixels by {factor}: crop the images so that both sides are multiples of the factor")
    return resized(images, (height // factor, width // factor), mode)


@dataclass(frozen=True)
class Stage:
    """One round of the chain: blur, resize, noise, JPEG; ranges are those that parameters are drawn from evenly."""

    blur: float  # probability
    sigma: tuple[float, float]
    resize: tuple[float, float, float]  # probabilities of larger, smaller, as it is
    factor: tuple[float, float]
    gaussian: tuple[float, float]
    poisson: tuple[float, float]
    grey: float = 0.4
    quality: tuple[int, int] = (30, 95)


@dataclass(frozen=True)
class SecondOrder:
    """Blur, resize, noise and JPEG, twice, then a sinc filter (Real-ESRGAN, Wang et al., 2021), in Real-ESRGAN's ranges.

    ``kernels`` scales the widths of blurs: published ones are for crops of 400 pixels and more; 0.5 suits 64. The result is
    1 / ``downscale`` of the images' size.
    """

    downscale: int = 4
    kernels: float = 1.0
    sinc: float = 0.8  # probability of the last filter
    first: Stage = Stage(1.0, (0.2, 3.0), (0.2, 0.7, 0.1), (0.15, 1.5), (1, 30), (0.05, 3.0))
    second: Stage = Stage(0.8, (0.2, 1.5), (0.3, 0.4, 0.3), (0.3, 1.2), (1, 25), (0.05, 2.5))

    def __call__(self, images: Tensor, seed: int) -> Degraded:
        """Every image by parameters of its own, drawn from ``seed`` and its place in the batch."""
        height, width = _checked(images).shape[-2:]
        if height % self.downscale or width % self.downscale:
            raise BadInput(f"{width}x{height} pixels by {self.downscale}: crop the images to multiples of the factor")
        results, steps = [], []
        for i, image in enumerate(images):
            result, log = self._one(image[None], random.Random(f"second order/{seed}/{i}"))
            results.append(result)
            steps.append(log)
        return Degraded(torch.cat(results), steps)

    def _one(self, image: Tensor, rng: random.Random) -> tuple[Tensor, list[str]]:
        log: list[str] = []
        final = tuple(side // self.downscale for side in image.shape[-2:])
        full = image.shape[-2:]
        image = self._round(image, full, self.first, rng, log)
        image = _noisy(image, self.first, rng, log)
        image = _compressed(image, self.first, rng, log)
        image = self._round(image, final, self.second, rng, log)
        image = _noisy(image, self.second, rng, log)
        last = [partial(_sharpened, size=final, chance=self.sinc, rng=rng, log=log)]
        last.append(lambda x: _compressed(x, self.second, rng, log))
        for step in last if rng.random() < 0.5 else last[::-1]:
            image = step(image)
        return resized(image, final), log  # a no-op if the sinc filter came last

    def _round(self, image: Tensor, base: tuple[int, ...], stage: Stage, rng: random.Random, log: list[str]) -> Tensor:
        if rng.random() < stage.blur:
            low, high = (s * self.kernels for s in stage.sigma)
            a, b, angle = rng.uniform(low, high), rng.uniform(low, high), rng.uniform(-90, 90)
            image = filtered(image, gaussian_kernel(a, b, angle))
            log.append(f"blur {a:.2f} by {b:.2f} at {angle:.0f}")
        way = rng.choices(("up", "down", "keep"), stage.resize)[0]
        low, high = stage.factor
        factor = {"up": rng.uniform(1, high), "down": rng.uniform(low, 1), "keep": 1.0}[way]
        mode = rng.choice(MODES)
        log.append(f"resize {factor:.2f} {mode}")
        return resized(image, (max(2, round(base[0] * factor)), max(2, round(base[1] * factor))), mode)


@dataclass(frozen=True)
class Degraded:
    """``images`` (B, 3, h, w), and what was done to each: a list of steps in words, with their parameters."""

    images: Tensor
    steps: list[list[str]]


def _noisy(image: Tensor, stage: Stage, rng: random.Random, log: list[str]) -> Tensor:
    shot, grey, seed = rng.random() < 0.5, rng.random() < stage.grey, rng.randrange(2**31)
    strength = rng.uniform(*(stage.poisson if shot else stage.gaussian))
    log.append(f"{'poisson' if shot else 'gaussian'} noise {strength:.2f}{' grey' if grey else ''}")
    return (poisson_noise if shot else gaussian_noise)(image, strength, seed, grey=grey)


def _compressed(image: Tensor, stage: Stage, rng: random.Random, log: list[str]) -> Tensor:
    quality = rng.randint(*stage.quality)
    log.append(f"jpeg {quality}")
    return jpeg(image, quality)


def _sharpened(image: Tensor, size: tuple[int, int], chance: float, rng: random.Random, log: list[str]) -> Tensor:
    image = resized(image, size)
    if rng.random() >= chance:
        return image
    cutoff = rng.uniform(math.pi / 3, math.pi)
    log.append(f"sinc {cutoff:.2f}")
    return filtered(image, sinc_kernel(cutoff))


def _checked(images: Tensor) -> Tensor:
    if images.ndim != 4 or not images.is_floating_point():
        raise BadInput(
            f"images of shape {tuple(images.shape)} {images.dtype}: give float (B, 3, H, W) in [0, 1]; one as image[None]"
        )
    return images


def _generator(seed: int, index: int) -> torch.Generator:
    return torch.Generator().manual_seed(random.Random(f"noise/{seed}/{index}").randrange(2**63))


def _grid(reach: int) -> tuple[Tensor, Tensor]:
    steps = torch.arange(-reach, reach + 1, dtype=torch.float32)
    return steps[None, :].expand(len(steps), -1), steps[:, None].expand(-1, len(steps))


def _normalised(kernel: Tensor) -> Tensor:
    return kernel / kernel.sum()
