"""Pictures with transparency to train on: a user's cut-outs, or tabletop scenes in layers, as joint latents of picture and matte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.miniatures.vae import TRAIN_SEED
from diffolio.process.matting import check_matte
from diffolio.training.joint import JointPool
from diffolio.training.latents import captioner, encode

if TYPE_CHECKING:
    from diffolio.models import Model

SUFFIXES = (".png", ".webp", ".tif", ".tiff")  # formats that keep an alpha


@dataclass(frozen=True)
class Cutouts:
    """Pictures (B, 3, H, W) as they look on their background, their mattes (B, 1, H, W), both in [0, 1], and a caption each."""

    images: Tensor
    alphas: Tensor
    captions: Sequence[str]

    def __post_init__(self) -> None:
        if not len(self.images) == len(self.alphas) == len(self.captions) or self.images.shape[-2:] != self.alphas.shape[-2:]:
            given = f"{tuple(self.images.shape)}, {tuple(self.alphas.shape)} and {len(self.captions)} captions"
            raise BadInput(f"pictures, mattes and captions of {given}: give one matte of the same size and one caption a picture")
        check_matte(self.alphas)


def from_rgba(rgba: Tensor, captions: Sequence[str], *, premultiplied: bool | None = None, ground: float = 1.0) -> Cutouts:
    """Cut-outs (B, 4, H, W) laid over a grey ``ground``. ``premultiplied``: whether colours are times alpha already; it must be said where
    something is half transparent, as the two cannot be told apart."""
    if rgba.dim() != 4 or rgba.shape[1] != 4:
        raise BadInput(f"cut-outs of shape {tuple(rgba.shape)}: give (B, 4, H, W), alpha last")
    colour, alpha = rgba[:, :3], check_matte(rgba[:, 3:])
    half = bool(((alpha > 0.02) & (alpha < 0.98)).any())
    if premultiplied is None and half:
        raise BadInput(
            "cut-outs that are half transparent in places: say premultiplied=True or False, whether colours are times alpha"
        )
    if premultiplied and bool((colour > alpha + 0.02).any()):
        raise BadInput("premultiplied=True, but colours exceed their alpha: these are straight colours, say premultiplied=False")
    shown = colour if premultiplied else colour * alpha
    return Cutouts(shown + (1 - alpha) * ground, alpha, captions)


def cutout_folder(folder: Path, size: int) -> Cutouts:
    """Every picture with an alpha in a folder, its caption in a text file beside it; cropped to squares. Files hold straight colours."""
    from diffolio.models.images import fit_size
    from diffolio.models.photos import load_photo

    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder: give one with cut-outs and captions (NAME.png + NAME.txt)")
    images, alphas, captions = [], [], []
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES):
        photo, text = load_photo(path), path.with_suffix(".txt")
        if photo.alpha is None:
            raise BadInput(f"{path.name} has no alpha: each picture of a training must have one")
        if not text.exists():
            raise BadInput(f"{path.name} has no {text.name}: each picture needs its caption beside it")
        images.append(fit_size(photo.image, size, size))
        alphas.append(fit_size(photo.alpha[None].expand(3, -1, -1), size, size)[:1].clamp(0, 1))
        captions.append(text.read_text(encoding="utf-8").strip())
    if not images:
        raise BadInput(f"{folder} holds no picture with an alpha ({', '.join(SUFFIXES)})")
    return Cutouts(torch.stack(images), torch.stack(alphas), captions)


def cutout_pool(model: Model, data: Cutouts, levels: Sequence[float]) -> JointPool:
    """The latents of cut-outs. ``levels``: the greys that mattes are drawn in."""
    from diffolio.models.images import fit_size

    if not isinstance(data, Cutouts):
        raise BadInput(f"data of type {type(data).__name__}: give Cutouts, which from_rgba and cutout_folder make")
    size = model.default_size
    images, alphas = (fit_size(x.expand(-1, 3, -1, -1), size, size).clamp(0, 1) for x in (data.images, data.alphas))
    return _pool(model, images, alphas[:, :1], levels, captioner(data.captions))


def tabletop_pool(model: Model, n: int, seed: int, levels: Sequence[float]) -> JointPool:
    """The latents of ``n`` scenes in layers, of one or two things; captions are redrawn at every use."""
    from diffolio.worlds.tabletop import caption, sample_scenes
    from diffolio.worlds.tabletop.mattes import MIXTURE, layers

    scenes = sample_scenes(n, 7 * TRAIN_SEED + seed, MIXTURE)
    drawn = layers(scenes, model.default_size)
    return _pool(model, drawn.images, drawn.alpha, levels, lambda i, rng: caption(scenes[i], rng))


def grey(alpha: Tensor, levels: Sequence[float]) -> Tensor:
    """A matte (B, 1, H, W) as the picture (B, 3, H, W) that the VAE sees: ``levels[0]`` where nothing is, ``levels[1]`` where all is."""
    return (levels[0] + (levels[1] - levels[0]) * alpha).expand(-1, 3, -1, -1)


def from_grey(images: Tensor, levels: Sequence[float]) -> Tensor:
    """The matte (B, 1, H, W) that a decoded picture means: its mean channel, between the levels."""
    return ((images.mean(1, keepdim=True) - levels[0]) / (levels[1] - levels[0])).clamp(0, 1)


def _pool(model: Model, images: Tensor, alphas: Tensor, levels: Sequence[float], caption) -> JointPool:  # type: ignore[no-untyped-def]
    parts = {"rgb": images, "alpha": grey(alphas, levels)}
    return JointPool({name: torch.cat([encode(model, x) for x in part.split(64)]) for name, part in parts.items()}, caption)
