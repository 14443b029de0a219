"""Clips to files: an animation to look at, and a strip of frames for a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from diffolio.errors import BadInput

ANIMATIONS = (".webp", ".gif", ".png")


def save_clip(path: str | Path, clip: Tensor, fps: float = 8.0) -> Path:
    """Write a clip (T, 3, H, W) in [0, 1] as an endless animation: WebP (lossless), GIF or animated PNG, by the name's end."""
    path = Path(path)
    if path.suffix.lower() not in ANIMATIONS:
        raise BadInput(f"{path.name}: a clip is saved as one of {', '.join(ANIMATIONS)}")
    if not 0 < fps <= 100:
        raise BadInput(f"{fps} frames a second: give more than 0, at most 100")
    first, *rest = pictures_of(clip)
    path.parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"lossless": True} if path.suffix.lower() == ".webp" else {}
    first.save(path, save_all=True, append_images=rest, duration=round(1000 / fps), loop=0, **options)
    return path


def film_strip(clip: Tensor, most: int = 8, gap: int = 2) -> Image.Image:
    """Up to ``most`` frames of a clip (T, 3, H, W), evenly chosen, the first and the last among them, side by side."""
    frames = pictures_of(clip[chosen(len(clip), most)])
    width, height = frames[0].size
    strip = Image.new("RGB", (len(frames) * (width + gap) - gap, height), "white")
    for place, frame in enumerate(frames):
        strip.paste(frame, (place * (width + gap), 0))
    return strip


def chosen(length: int, most: int = 8) -> Tensor:
    """Up to ``most`` places in a clip of ``length`` frames, evenly chosen, the first and the last among them."""
    return torch.linspace(0, length - 1, min(most, length)).round().long()


def pictures_of(clip: Tensor) -> list[Image.Image]:
    """The frames of a clip (T, 3, H, W) in [0, 1]."""
    if clip.dim() != 4 or clip.shape[1] != 3 or not len(clip):
        raise BadInput(f"a clip of shape {tuple(clip.shape)}: give (T, 3, H, W) with at least one frame")
    levels = (clip.detach().float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(frame) for frame in levels]
