"""What the reader compares with: the kinds' own distance fields, sampled once, and masks made from them.

A *form* is a kind drawn solid or as an outline: form ``k`` is kind ``k`` solid, form ``k + 12`` the same kind in outline.
Points are in the object's frame (the unit of :mod:`shapes`: half its size), pixels as in :mod:`render`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft

from diffolio.worlds.tabletop.palette import STROKE
from diffolio.worlds.tabletop.shapes import KIND_NAMES, KINDS, silhouette

Array = NDArray[np.float32]
KIND_COUNT = len(KIND_NAMES)
PAINTS = ("colour", "ink", "bone", "stone", "snow")
LAYERS = 4

EXTENT, GRID = 1.7, 121  # half side of the sampled square and its samples a side
FAR = 9.0  # distance that stands for "nothing here"

SIDE, REACH = 24, 2.3  # cells a side of a pattern, and its half side in units of the radius of gyration
ANGLES = np.deg2rad(np.arange(-36, 37, 6, dtype=np.float32))

SEARCH_SIDE, SEARCH_PITCH = 48, 0.1  # cells a side of a search window, and their pitch in units of sqrt(visible area)
SEARCH_ANGLES = np.deg2rad(np.arange(-27, 28, 9, dtype=np.float32))
HIDDEN = (0.0, 0.14, 0.28, 0.42, 0.56)  # shares hidden that a search tries


@dataclass(frozen=True)
class Fields:
    """Distances of every form: ``colour`` what shows in the object's colour, ``whole`` the silhouette, both (24, G, G);
    ``layers`` (24, 4, G, G) in painting order, whose ``paints`` (24, 4) index :data:`PAINTS`."""

    colour: Array
    whole: Array
    layers: Array
    paints: NDArray[np.int64]


@lru_cache(maxsize=1)
def fields() -> Fields:
    steps = torch.linspace(-EXTENT, EXTENT, GRID)
    points = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1)
    count = 2 * KIND_COUNT
    layers, paints = torch.full((count, LAYERS, GRID, GRID), FAR), torch.zeros(count, LAYERS, dtype=torch.long)
    whole = torch.stack([silhouette(kind)(points) for kind in KIND_NAMES] * 2)
    for index, kind in enumerate(KIND_NAMES):
        for layer, (distance, paint) in enumerate(KINDS[kind]):
            layers[index, layer], paints[index, layer] = distance(points), PAINTS.index(paint)
        # The outline style: a white silhouette, the coloured line, then the details' lines in ink.
        outline = index + KIND_COUNT
        layers[outline, 0], paints[outline, 0] = whole[index], PAINTS.index("snow")
        parts = sorted(KINDS[kind], key=lambda part: part[1] != "colour")
        for layer, (distance, paint) in enumerate(parts, start=1):
            filled, width = distance(points), STROKE if paint == "colour" else STROKE * 0.7
            layers[outline, layer] = torch.maximum(filled, -filled - width)
            paints[outline, layer] = PAINTS.index("colour" if paint == "colour" else "ink")
    colour = torch.full_like(whole, FAR)
    for layer in range(LAYERS):
        coloured = (paints[:, layer] == 0)[:, None, None] & (layers[:, layer] < FAR)
        colour = torch.where(coloured, torch.minimum(colour, layers[:, layer]), torch.maximum(colour, -layers[:, layer]))
    return Fields(colour.numpy(), whole.numpy(), layers.numpy(), paints.numpy())


def sample(field: Array, index: NDArray[np.int64], u: Array, v: Array) -> Array:
    """Bilinear values of ``field[index]`` (M, G, G) at object points u (right), v (down), both (K, n), index (K,) -> (K, n)."""
    scale = (GRID - 1) / (2 * EXTENT)
    x, y = (np.clip(w * scale + EXTENT * scale, 0, GRID - 1.001) for w in (u, v))
    column, row = x.astype(np.int32), y.astype(np.int32)
    x -= column
    y -= row
    at = row * GRID + column + (index * (GRID * GRID)).astype(np.int32)[:, None]
    flat = field.reshape(-1)
    top, below = flat.take(at), flat.take(at + GRID)
    top += (flat.take(at + 1) - top) * x
    below += (flat.take(at + GRID + 1) - below) * x
    return top + (below - top) * y


def object_points(pose: Array, x: Array, y: Array) -> tuple[Array, Array]:
    """Pixel points x, y (n,) in the frames of poses (K, 4): centre x, y, log half size (pixels), angle -> two (K, n)."""
    dx, dy = x[None] - pose[:, :1], y[None] - pose[:, 1:2]
    shrink: Array = np.exp(-pose[:, 2:3])
    cos, sin = np.cos(pose[:, 3:]) * shrink, np.sin(pose[:, 3:]) * shrink
    return dx * cos + dy * sin, dy * cos - dx * sin


def coverage(field: Array, index: NDArray[np.int64], pose: Array, x: Array, y: Array, softness: float = 1.0) -> Array:
    """Anti-aliased masks (K, n) in [0, 1] of a field's forms in their poses; an edge is ``softness`` pixels wide."""
    distance = sample(field, index, *object_points(pose, x, y))
    return np.clip(0.5 - distance * np.exp(pose[:, 2:3]) / softness, 0, 1)


def painted(index: NDArray[np.int64], pose: Array, x: Array, y: Array, paints: Array, below: Array, softness: float) -> Array:
    """Colours (K, n, 3) of forms drawn over ``below`` (n, 3) or (K, n, 3) with ``paints`` (5, 3), as the renderer draws them."""
    f = fields()
    u, v = object_points(pose, x, y)
    result = np.broadcast_to(below, (len(index), len(x), 3))
    flat = f.layers.reshape(-1, GRID, GRID)
    for layer in range(LAYERS):
        used = f.layers[index, layer, 0, 0] < FAR
        if used.any():
            distance = sample(flat, index * LAYERS + layer, u, v)
            cover = (np.clip(0.5 - distance * np.exp(pose[:, 2:3]) / softness, 0, 1) * used[:, None])[..., None]
            result = result * (1 - cover) + paints[f.paints[index, layer]][:, None] * cover
    return result


@dataclass(frozen=True)
class Patterns:
    """Masks of all forms at all angles, centred on their centroid and scaled by their radius of gyration.

    ``masks`` (T, 576) of unit norm and their ``squares``; ``form`` (T,), ``angle`` (T,) radians, ``centroid`` (T, 2) and
    ``radius`` (T,) in object units.
    """

    masks: Array
    squares: Array
    form: NDArray[np.int64]
    angle: Array
    centroid: Array
    radius: Array


@lru_cache(maxsize=1)
def patterns() -> Patterns:
    form, angle, pose = _turned(np.arange(2 * KIND_COUNT), ANGLES)
    steps = np.linspace(-1.5, 1.5, 90, dtype=np.float32)
    x, y = (grid.ravel() for grid in np.meshgrid(steps, steps))
    mask = np.clip(0.5 - sample(fields().colour, form, *object_points(pose, x, y)) * 30, 0, 1)
    total = mask.sum(1)
    centroid = np.stack([mask @ x / total, mask @ y / total], 1)
    square = ((x[None] - centroid[:, :1]) ** 2 + (y[None] - centroid[:, 1:]) ** 2) * mask
    radius = np.sqrt(square.sum(1) / total)
    cells = cell_offsets(SIDE, 2 * REACH / SIDE)
    masks = np.empty((len(form), SIDE * SIDE), np.float32)
    for i in range(len(form)):
        px, py = centroid[i, 0] + radius[i] * cells[0], centroid[i, 1] + radius[i] * cells[1]
        distance = sample(fields().colour, form[i : i + 1], *object_points(pose[i : i + 1], px, py))[0]
        masks[i] = np.clip(0.5 - distance * SIDE / (2 * REACH * radius[i]), 0, 1)
    masks /= np.linalg.norm(masks, axis=1, keepdims=True)
    return Patterns(masks, masks**2, form, angle, centroid.astype(np.float32), radius.astype(np.float32))


@dataclass(frozen=True)
class Search:
    """Spectra of partly hidden forms of one style, for a search over position: ``mask`` and its square (T, 48, 25).

    ``half`` (T,) is the half size in units of sqrt(visible area); forms stand in the middle of the window.
    """

    form: NDArray[np.int64]
    angle: Array
    half: Array
    mask: NDArray[np.complex64]
    square: NDArray[np.complex64]


@lru_cache(maxsize=2)
def search_bank(outline: bool) -> Search:
    first = KIND_COUNT * outline
    form, angle, pose = _turned(np.arange(first, first + KIND_COUNT), SEARCH_ANGLES)
    bank = patterns()
    steps = np.linspace(-1.5, 1.5, 90, dtype=np.float32)
    x, y = (grid.ravel() for grid in np.meshgrid(steps, steps))
    upright = {int(f): np.zeros((1, 4), np.float32) for f in np.unique(bank.form)}
    area = {
        f: float((sample(fields().colour, np.array([f]), *object_points(p, x, y)) < 0).mean() * 9) for f, p in upright.items()
    }
    size = np.array([area[int(f)] for f in form], np.float32)
    half = np.concatenate([1 / np.sqrt(size * (1 - hidden)) for hidden in HIDDEN]).astype(np.float32)
    form, angle, pose = np.tile(form, len(HIDDEN)), np.tile(angle, len(HIDDEN)), np.tile(pose, (len(HIDDEN), 1))
    pose[:, 2] = np.log(half)
    cells = cell_offsets(SEARCH_SIDE, SEARCH_PITCH)
    distance = sample(fields().colour, form, *object_points(pose, *cells))
    mask = np.clip(0.5 - distance * half[:, None] / SEARCH_PITCH, 0, 1).astype(np.float32)
    mask = mask.reshape(-1, SEARCH_SIDE, SEARCH_SIDE)
    return Search(form, angle, half, np.conj(fft.rfft2(mask)), np.conj(fft.rfft2(mask**2)))


def cell_offsets(side: int, pitch: float) -> tuple[Array, Array]:
    """Offsets x, y (side * side,) of a window's cell centres from its middle."""
    steps = ((np.arange(side) - (side - 1) / 2) * pitch).astype(np.float32)
    x, y = np.meshgrid(steps, steps)
    return x.ravel(), y.ravel()


def _turned(forms: NDArray[np.int64], angles: Array) -> tuple[NDArray[np.int64], Array, Array]:
    form, angle = np.repeat(forms, len(angles)), np.tile(angles, len(forms))
    pose = np.zeros((len(form), 4), np.float32)
    pose[:, 3] = angle
    return form, angle, pose
