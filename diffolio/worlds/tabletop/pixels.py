"""From pixels to coloured pieces: the background and setting, the palette colour of each pixel, which pixels hang together.

A pixel on an edge is a mixture ``a * colour + (1 - a) * ground``; it is given to the colour whose *segment* to the ground
passes nearest, so that an edge is never read as a third colour. Pictures here are float32 (H, W, 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from diffolio.worlds.tabletop.setting import NEIGHBOURS, Mask, Setting, squared
from diffolio.worlds.tabletop.templates import Array

OFF_LINE = 0.22  # farthest that a pixel may lie from its colour's segment
MOST_PIECES = 10
FOREIGN = 3.0  # times the least area, from which a piece counts as another thing


@dataclass(frozen=True)
class Piece:
    """Pixels of one colour that hang together; ``rgb`` is the colour they truly have, ``alpha`` (H, W) how much of it,
    ``foreign`` (H, W) the pixels of other colours, which are other things or stains, never part of this one."""

    colour: int
    mask: Mask
    rgb: Array
    alpha: Array
    foreign: Mask

    @property
    def area(self) -> float:
        return float(self.mask.sum())


def mixture(pixels: Array, colours: Array, grounds: Array) -> tuple[Array, Array]:
    """Share ``a`` in [0, 1] of every colour in every pixel and the distance left, over the best of the grounds.

    ``pixels`` (n, 3), ``colours`` (K, 3), ``grounds`` (G, 3) -> two (n, K).
    """
    best_share, best_left = np.zeros(0, np.float32), np.zeros(0, np.float32)
    for index, ground in enumerate(grounds):
        offset, direction = pixels - ground, colours - ground
        length = squared(direction)
        along = offset @ direction.T
        share = np.clip(along / length, 0, 1)
        left = squared(offset)[:, None] - 2 * share * along + share**2 * length
        if index == 0:
            best_share, best_left = share, left
        else:
            nearer = left < best_left
            best_share, best_left = np.where(nearer, share, best_share), np.where(nearer, left, best_left)
    return best_share, np.sqrt(np.clip(best_left, 0, None))


def pieces(picture: Array, where: Setting, least: float) -> list[Piece]:
    """The coloured pieces of at least ``least`` pixels, largest first (at most ten: more is not a picture of things)."""
    labels = _labels(picture, where, least)
    found = []
    for colour in range(len(where.colours)):
        mine = labels == colour
        if mine.sum() < least:
            continue
        parts, _ = ndimage.label(mine, NEIGHBOURS)
        area = np.bincount(parts.ravel())
        area[0] = 0
        for part in np.argsort(-area, kind="stable")[:MOST_PIECES]:
            if area[part] >= max(least / 3, 4):
                found.append((int(area[part]), colour, parts == part))
    found.sort(key=lambda item: -item[0])
    found = found[: 2 * MOST_PIECES]
    # A speck of another colour is no other thing: it may be a trunk or a door whose ink has faded.
    things = np.where(
        np.logical_or.reduce([np.zeros_like(labels, bool), *(m for n, _, m in found if n >= FOREIGN * least)]), labels, -1
    )
    return [_piece(picture, where, colour, mask, (things >= 0) & (things != colour)) for _, colour, mask in found]


def _labels(picture: Array, where: Setting, least: float) -> NDArray[np.int64]:
    """The palette colour (H, W) of every pixel that is more than half of one, -1 elsewhere."""
    count = len(where.colours)
    pixels = picture.reshape(-1, 3)
    # A pixel as near to the table as this is less than half of any colour.
    at = np.flatnonzero(~where.table)
    share, left = mixture(pixels[at], np.concatenate([where.colours, where.paints[1:4]]), _partners(where))
    nearest = left.argmin(1)
    share, left = (np.take_along_axis(values, nearest[:, None], 1)[:, 0] for values in (share, left))
    seen = (share > 0.5) & (left < OFF_LINE) & (nearest < count)
    label, left_over = np.full(len(pixels), -1), np.full(len(pixels), np.inf, np.float32)
    label[at[seen]], left_over[at[seen]] = nearest[seen], left[seen]
    present = [c for c in range(count) if (label == c).sum() >= least]
    shape = picture.shape[:2]
    # An edge between two things is a mixture of their colours, and may lie nearer to a third colour's segment.
    for i, first in enumerate(present):
        for second in present[i + 1 :]:
            touch = _near(label.reshape(shape) == first) & _near(label.reshape(shape) == second)
            if touch.any():
                at = np.flatnonzero(touch.ravel())
                part, rest = mixture(pixels[at], where.colours[first : first + 1], where.colours[second : second + 1])
                better = (rest[:, 0] < left_over[at]) & (rest[:, 0] < OFF_LINE)
                at, part = at[better], part[better, 0]
                label[at] = np.where(part > 0.5, first, second)
                left_over[at] = rest[better, 0]
    return label.reshape(shape)


def _partners(where: Setting) -> Array:
    """What a colour's edge may blend into: the table and, by day, the white of snow and of outline drawings."""
    return where.ground[None] if where.night else np.stack([where.ground, where.paints[4]])


def _near(mask: Mask) -> Mask:
    return ndimage.binary_dilation(mask, NEIGHBOURS, iterations=2)


def _piece(picture: Array, where: Setting, colour: int, mask: Mask, foreign: Mask) -> Piece:
    grounds = _partners(where)
    share, left = mixture(picture[mask], where.colours[colour : colour + 1], grounds)
    full = share[:, 0] >= max(0.85, float(np.quantile(share, 0.7)) - 1e-6)
    rgb = np.median(picture[mask][full], 0) if full.sum() >= 3 else where.colours[colour]
    rgb = np.asarray(rgb, np.float32)
    around = _near(mask) & ~foreign
    alpha = np.zeros(mask.shape, np.float32)
    share, left = mixture(picture[around], rgb[None], grounds)
    part, rest = mixture(picture[around], where.paints[1:4], grounds)
    detail = ((part > 0.5) & (rest < 0.5 * left)).any(1)
    alpha[around] = share[:, 0] * (left[:, 0] < OFF_LINE) * ~detail
    return Piece(colour, mask, rgb, alpha, foreign)


def merged(group: list[Piece]) -> Piece:
    """Several pieces of one colour as one."""
    if len(group) == 1:
        return group[0]
    largest = max(group, key=lambda piece: piece.area)
    mask, alpha = largest.mask.copy(), largest.alpha.copy()
    for piece in group:
        mask |= piece.mask
        alpha = np.maximum(alpha, piece.alpha)
    return Piece(largest.colour, mask, largest.rgb, alpha, largest.foreign)
