"""The table of a picture before any thing on it: background, night, snow. Pictures are float32 (H, W, 3)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from diffolio.worlds.tabletop.palette import (
    BACKGROUNDS,
    BONE,
    COLOURS,
    INK,
    SNOW,
    STONE,
    TEXTURE_CONTRAST,
    backdrop,
    paint,
)
from diffolio.worlds.tabletop.templates import Array

Mask = NDArray[np.bool_]
NEIGHBOURS = np.ones((3, 3), bool)
FLAKE_AREA = 0.006  # largest area of a snow flake, share of the shorter side squared
CLEAR = 0.35  # share of the picture that must look like a table


@dataclass(frozen=True)
class Setting:
    """``ground`` the flat background colour, ``below`` (H, W, 3) what the table looks like under the objects, ``table`` (H, W)
    where it is seen, ``clear`` in [0, 1] how surely this is a table at all; ``ignore`` (H, W) pixels under snow flakes;
    ``paints`` (5, 3) as :data:`templates.PAINTS`; ``colours`` (8, 3) the palette in this style."""

    background: str
    night: bool
    snow: bool
    ground: Array
    below: Array
    table: Mask
    clear: float
    ignore: Mask
    paints: Array
    colours: Array


@lru_cache(maxsize=1)
def _grounds() -> Array:
    return np.array([backdrop(name, style) for style in ("flat", "night") for name in BACKGROUNDS], np.float32)


@lru_cache(maxsize=2)
def _paints(night: bool) -> tuple[Array, Array]:
    style = "night" if night else "flat"
    details = np.array([(0, 0, 0), *(paint(rgb, style) for rgb in (INK, BONE, STONE)), SNOW], np.float32)
    return details, np.array([paint(rgb, style) for rgb in COLOURS.values()], np.float32)


def setting(picture: Array) -> Setting:
    """The background by its robust distance to every shade that the world can give it, then night and snow."""
    grounds = _grounds()
    width = np.where(np.arange(len(grounds)) < len(BACKGROUNDS), 0.12, 0.07) ** 2
    closeness = np.clip(1 - _from_table(picture[::2, ::2], grounds)[0] / width, 0, None).mean((0, 1))
    best = int(closeness.argmax())
    night, ground = best >= len(BACKGROUNDS), grounds[best]
    distance, shade = (plane[..., 0] for plane in _from_table(picture, grounds[best : best + 1]))
    near = distance < width[best]
    tone = ground * (np.median(shade[near]) if near.any() else 1.0)
    from_snow = np.sqrt(squared(picture - np.array(SNOW, np.float32)))
    snow = not night and _drift(picture, near, shade, ground, from_snow)
    white = from_snow < 0.11
    ignore = np.zeros_like(near)
    table = near
    if snow:
        table = near | white
        ignore = _flakes(from_snow, ~near | white)
    below = np.where(table[..., None], picture, tone.astype(np.float32))
    details, colours = _paints(night)
    name = tuple(BACKGROUNDS)[best % len(BACKGROUNDS)]
    share = float(closeness[best]) if not snow else float(table.mean())
    clear = float(np.clip(share / CLEAR, 0, 1))
    return Setting(name, night, snow, tone.astype(np.float32), below, table, clear, ignore, details, colours)


def _from_table(picture: Array, grounds: Array) -> tuple[Array, Array]:
    """Squared distance of every pixel to the nearest shade of every ground, and that shade, both (H, W, G)."""
    along, length = picture @ grounds.T, squared(grounds)
    shade = np.clip(along / length, 1 - TEXTURE_CONTRAST, 1)
    return squared(picture)[..., None] - 2 * shade * along + shade**2 * length, shade


def squared(vectors: Array) -> Array:
    """Squared length along the last axis."""
    return np.einsum("...i,...i->...", vectors, vectors)


def _drift(picture: Array, near: Mask, shade: Array, ground: Array, from_snow: Array) -> bool:
    """Whether the lower edge lies in snow: there, and not elsewhere, the table's pixels sit at the snow end of ground-to-snow."""
    height, width = near.shape
    rows = max(1, round(0.09 * min(height, width)))
    axis = np.array(SNOW, np.float32) - ground
    along = ((picture - shade[..., None] * ground) @ axis) / (axis @ axis)
    strip, rest = np.zeros_like(near), np.zeros_like(near)
    strip[height - rows :] = True
    rest[: height // 2] = True
    strip, rest = strip & (near | (from_snow < 0.13)), rest & near
    if strip.sum() < 0.1 * rows * width:
        return False
    level = np.median(along[rest]) if rest.any() else 0.0
    return bool(np.median(along[strip]) > 0.5 + min(max(level, 0.0), 0.4))


def _flakes(from_snow: Array, apart: Mask) -> Mask:
    """Small white spots, with a margin of one pixel."""
    white, core = from_snow < 0.4, from_snow < 0.15
    labels, count = ndimage.label(white & apart, NEIGHBOURS)
    if not count:
        return white & False
    area = np.bincount(labels.ravel(), minlength=count + 1)
    small = area <= max(9.0, FLAKE_AREA * min(apart.shape) ** 2)
    small[0] = False
    true = np.bincount(labels.ravel(), core.ravel(), minlength=count + 1) > 0
    return ndimage.binary_dilation((small & true)[labels], NEIGHBOURS)
