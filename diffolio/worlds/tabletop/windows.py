"""A window of a picture around a piece, as flat lists of pixels, and how well a drawing explains it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffolio.worlds.tabletop.pixels import Piece
from diffolio.worlds.tabletop.setting import Setting, squared
from diffolio.worlds.tabletop.templates import PAINTS, Array, coverage, fields, painted

MOST_PIXELS = 900
ROBUST = 0.2  # squared colour distance beyond which a pixel is simply wrong


@dataclass(frozen=True)
class Window:
    """The pixels around a piece, as flat lists: x, y (n,) at pixel centres, alpha, weight (n,), rgb and below (n, 3)."""

    x: Array
    y: Array
    alpha: Array
    weight: Array
    rgb: Array
    below: Array


def cut(picture: Array, where: Setting, piece: Piece, weight: Array, margin: float) -> Window:
    """The pixels within ``margin`` of a piece's box, thinned evenly where they are more than needed."""
    rows, columns = np.nonzero(piece.mask)
    height, width = piece.mask.shape
    grow = int(np.ceil(margin))
    top, bottom = max(rows.min() - grow, 0), min(rows.max() + grow + 1, height)
    left, right = max(columns.min() - grow, 0), min(columns.max() + grow + 1, width)
    step = int(np.ceil(np.sqrt((bottom - top) * (right - left) / MOST_PIXELS)))
    at = np.s_[top:bottom:step, left:right:step]
    y, x = np.mgrid[at].astype(np.float32) + np.float32(0.5)
    below = np.where(piece.foreign[at][..., None], picture[at], where.below[at])
    flat = (plane.reshape(x.size, -1) for plane in (piece.alpha[at], weight[at], picture[at], below))
    alpha, weight, rgb, below = flat
    return Window(x.ravel(), y.ravel(), alpha[:, 0], weight[:, 0], rgb, below)


def detail_seen(form: np.ndarray, pose: Array, window: Window) -> float:
    """Pixels inside a form's silhouette that are neither its colour nor the table, as a share of those that it should have."""
    marks = np.zeros((5, 3), np.float32)
    marks[[PAINTS.index("ink"), PAINTS.index("stone")]] = 1
    nothing = np.zeros_like(window.rgb)
    wanted = painted(form, pose, window.x, window.y, marks, nothing, 1.0)[0, :, 0] @ window.weight
    if wanted < 2:
        return 1.0
    inside = coverage(fields().whole, form, pose, window.x, window.y)[0]
    other = (window.alpha == 0) & (squared(window.rgb - window.below) > 0.02)
    return float(min((inside * other) @ window.weight / wanted, 1.0))


def unexplained(drawn: Array, window: Window) -> Array:
    """Share (K,) of the contrast to the table that drawings (K, n, 3) leave."""
    error = np.minimum(squared(drawn - window.rgb), ROBUST) @ window.weight
    contrast = np.minimum(squared(window.below - window.rgb), ROBUST) @ window.weight
    return error / (contrast + 1e-3)


def bilinear(plane: Array, x: Array, y: Array, outside: float = 0.0) -> Array:
    """Values of a plane (H, W) at points x, y (n,) in pixels (centres at halves)."""
    height, width = plane.shape
    padded = np.full((height + 2, width + 2), outside, np.float32)
    padded[1:-1, 1:-1] = plane
    x, y = np.clip(x + 0.5, 0, width + 0.999), np.clip(y + 0.5, 0, height + 0.999)
    column, row = x.astype(np.int64), y.astype(np.int64)
    x, y = (x - column).astype(np.float32), (y - row).astype(np.float32)
    flat, at = padded.ravel(), row * (width + 2) + column
    top = flat[at] * (1 - x) + flat[at + 1] * x
    bottom = flat[at + width + 2] * (1 - x) + flat[at + width + 3] * x
    return top * (1 - y) + bottom * y
