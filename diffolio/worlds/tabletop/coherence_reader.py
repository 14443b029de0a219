"""Does a picture keep to a layout, and does its arrow point, do its things touch as the caption says? Told from pixels by analysis.

Things are found and fitted by the tabletop's reader (:mod:`reader`). It knows no arrow: that one is looked for in its disc, and its mask
compared, normalised by centroid and radius of gyration, with an arrow at all angles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.worlds.tabletop.coherence import CLASSES, POINTS, Coherent
from diffolio.worlds.tabletop.pixels import pieces
from diffolio.worlds.tabletop.reader import LEAST_AREA, LEAST_PIXELS, read
from diffolio.worlds.tabletop.render import render
from diffolio.worlds.tabletop.scene import Scene, Thing
from diffolio.worlds.tabletop.setting import setting
from diffolio.worlds.tabletop.shapes import ARROW, silhouette
from diffolio.worlds.tabletop.templates import REACH, SIDE, Array, cell_offsets
from diffolio.worlds.tabletop.verdict import SURE, Found
from diffolio.worlds.tabletop.windows import bilinear

PITCH = 5  # degrees between the compared angles
LIKE = 0.9  # correlation from which a mask is an arrow: true ones reach 0.99, those of other kinds 0.88 at most (a fish)
FINE = 4  # silhouettes are compared at so many cells a pixel


@dataclass(frozen=True)
class Coherence:
    """What was read of one picture. ``labels`` (H, W): class ids, of an arrow its disc. ``angle``: the arrow's, degrees clockwise from the
    top, NaN where none is seen. ``error``: degrees between it and the direction asked for, NaN without an arrow. ``gap``: pixels of
    64 between the two things of a pair, NaN where one is missing."""

    labels: Tensor
    angle: float
    error: float
    gap: float

    def iou(self, layout: Tensor) -> float:
        """Mean intersection over union with a label map (H, W) over the map's classes."""
        shares = [(self.labels == c, layout == c) for c in torch.unique(layout).tolist()]
        return float(np.mean([float((a & b).sum() / (a | b).sum()) for a, b in shares]))


def read_coherence(images: Tensor, scenes: Sequence[Coherent]) -> list[Coherence]:
    """Read square pictures (B, 3, H, H) in [0, 1] that were asked to show ``scenes``."""
    if len(images) != len(scenes) or images.shape[-1] != images.shape[-2]:
        raise BadInput(
            f"{len(images)} pictures of {tuple(images.shape[1:])} for {len(scenes)} scenes: give a square one for each"
        )
    return [_read(image, scene) for image, scene in zip(images.detach().float().cpu(), scenes, strict=True)]


def _read(image: Tensor, scene: Coherent) -> Coherence:
    size, things = image.shape[-1], scene.scene.things
    labels = torch.zeros(size, size, dtype=torch.long)
    steps = (torch.arange(size) + 0.5) / size
    found, angle, error = read(image[None])[0].found, float("nan"), float("nan")
    if scene.relation == POINTS:
        arrow = read_arrow(image, things[0])
        if arrow is not None:
            angle, x, y, reach = arrow
            error = abs((angle - scene.bearing + 180) % 360 - 180)
            labels[torch.hypot(steps[None] - x, steps[:, None] - y) < reach] = CLASSES[ARROW]
            found = [f for f in found if np.hypot(f.x - x, f.y - y) > reach / 2]
    for one in found:
        if one.kind_confidence >= SURE and one.kind in {thing.kind for thing in things}:
            labels[one.mask] = CLASSES[one.kind]
    pair = None if scene.relation == POINTS else matched(found, things[:2])
    return Coherence(labels, angle, error, float("nan") if pair is None else gap(*pair, size) * 64 / size)


def read_arrow(image: Tensor, where: Thing) -> tuple[float, float, float, float] | None:
    """(angle in degrees, x, y, reach) of the arrow in the disc that ``where`` turns in; None if nothing there is like an arrow.

    x, y and reach (of its disc) in [0, 1] of the side of ``image`` (3, H, H).
    """
    size = image.shape[-1]
    picture = np.ascontiguousarray(image.clamp(0, 1).permute(1, 2, 0).numpy())
    ground = setting(picture)
    steps = (np.arange(size) + 0.5) / size
    disc = np.hypot(steps[None] - where.x, steps[:, None] - where.y) < where.size / 2
    seen = pieces(picture, ground, max(LEAST_AREA * size**2, LEAST_PIXELS))
    inside = [(float((piece.mask & disc).sum()), piece) for piece in seen]
    area, piece = max(inside, key=lambda pair: pair[0], default=(0.0, None))
    if piece is None or area < 0.5 * piece.area:
        return None
    return fit_arrow(piece.alpha * (piece.alpha > 0.1), size)


def fit_arrow(alpha: Array, size: int) -> tuple[float, float, float, float] | None:
    """The arrow in a soft mask (H, W), as ``read_arrow`` gives it."""
    rows, columns = np.nonzero(alpha)
    mass = alpha[rows, columns]
    x, y = float(mass @ (columns + 0.5) / mass.sum()), float(mass @ (rows + 0.5) / mass.sum())
    radius = float(np.sqrt(mass @ ((columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2) / mass.sum()))
    if radius < 1:
        return None
    bank, unit, offset = arrows()
    cx, cy = cell_offsets(SIDE, 2 * REACH / SIDE * radius)
    found = bilinear(alpha, x + cx, y + cy)
    score = bank @ found / (np.linalg.norm(found) + 1e-6)
    best = int(score.argmax())
    if score[best] < LIKE:
        return None
    before, after = score[best - 1], score[(best + 1) % len(score)]
    angle = PITCH * (best + 0.5 * (before - after) / (before - 2 * score[best] + after - 1e-9))
    half = radius / unit
    turn = np.deg2rad(angle)
    # The middle of an arrow's disc is not its centroid, which lies ``offset`` towards the tip.
    x, y = x - half * offset * np.sin(turn), y + half * offset * np.cos(turn)
    return float(angle % 360), float(x / size), float(y / size), float(half / size)


@lru_cache(maxsize=1)
def arrows() -> tuple[Array, float, float]:
    """Masks (72, SIDE^2) of unit norm of an arrow at every angle, centred on its centroid and scaled by its radius of gyration; that
    radius, and how far its centroid lies towards the tip, in units of its half size."""
    steps = torch.linspace(-1.5, 1.5, 241)
    points = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1).flatten(0, 1)
    points = points[silhouette(ARROW)(points) < 0]
    centre = points.mean(0)
    unit = float((points - centre).square().sum(1).mean().sqrt())
    cx, cy = (torch.from_numpy(c) * unit for c in cell_offsets(SIDE, 2 * REACH / SIDE))
    turns = torch.deg2rad(torch.arange(0, 360, PITCH).float())[:, None]
    u, v = cx * turns.cos() + cy * turns.sin(), cy * turns.cos() - cx * turns.sin()
    distance = silhouette(ARROW)(torch.stack([u + centre[0], v + centre[1]], -1))
    masks = (0.5 - distance / (2 * REACH / SIDE * unit)).clamp(0, 1)
    return (masks / masks.norm(dim=1, keepdim=True)).numpy(), unit, -float(centre[1])


def matched(found: Sequence[Found], things: Sequence[Thing]) -> tuple[Found, Found] | None:
    """Which found things are the two asked for: of the right kind if there is one, the nearest of them; None if one is missing."""

    def nearest(thing: Thing, rest: Sequence[Found]) -> Found | None:
        near = [f for f in rest if np.hypot(f.x - thing.x, f.y - thing.y) < thing.size / 2]
        return min(near, key=lambda f: (f.kind != thing.kind, np.hypot(f.x - thing.x, f.y - thing.y)), default=None)

    first = nearest(things[0], found)
    second = nearest(things[1], [f for f in found if f is not first])
    return None if first is None or second is None else (first, second)


def gap(a: Found, b: Found, size: int) -> float:
    """Pixels between two things that were found in a picture of ``size`` pixels; 0 where they touch or overlap."""
    first, second = (_fine(found, size) for found in (a, b))
    if not first.any() or not second.any():
        return float("nan")
    away = ndimage.distance_transform_edt(~first)[second].min()
    return max(0.0, float(away) - 1) / FINE  # neighbouring cells are one apart


def _fine(found: Found, size: int) -> np.ndarray:
    """The silhouette at ``FINE`` cells a pixel: the form's where its kind is sure, else what was seen."""
    if found.kind_confidence < SURE:
        return np.kron(found.mask.numpy(), np.ones((FINE, FINE), bool))
    thing = Thing(found.kind, found.colour, found.x, found.y, min(found.size, 2.0), found.angle)
    return render([Scene((thing,))], size * FINE).full[0, 0].numpy()
