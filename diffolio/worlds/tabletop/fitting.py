"""Fitting the world's forms to a coloured piece: which kind, where, how large, how turned.

A whole piece is compared, normalised by centroid and radius of gyration, with all forms at once. A piece that something
hides in part is searched for over place and size with the hidden pixels as don't-care. Either way the best few are
refined by Gauss-Newton steps on the soft mask and judged by how much of the picture they explain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from diffolio.worlds.tabletop.pixels import Piece
from diffolio.worlds.tabletop.setting import Mask, Setting, squared
from diffolio.worlds.tabletop.templates import (
    KIND_COUNT,
    REACH,
    SEARCH_PITCH,
    SEARCH_SIDE,
    SIDE,
    Array,
    cell_offsets,
    coverage,
    fields,
    object_points,
    painted,
    patterns,
    sample,
    search_bank,
)
from diffolio.worlds.tabletop.windows import ROBUST, Window, bilinear, cut, detail_seen, unexplained

CANDIDATES = 5
RIVALS = 0.12  # correlations this far below the best one are not looked into
FINALISTS = 3
STEPS = 3
DELTA = np.array([0.25, 0.25, 0.02, 0.05], np.float32)  # pixels, pixels, log size, radians
LIMIT = np.array([1.5, 1.5, 0.15, 0.25], np.float32)  # largest Gauss-Newton step
LEAST_SEEN = 0.35  # share of a form that must be in sight
SOFT = (1.0, 2.0)  # widths of an edge, pixels: as drawn, and after a blur


@dataclass(frozen=True)
class Fit:
    """A form in a pose (x, y, log half size, angle; pixels, radians). ``overlap`` is the soft intersection over union with the
    piece, ``left`` the share of the picture's contrast that stays unexplained, ``rival`` that of the best other kind,
    ``detail`` in [0, 1] how much of the kind's dark details (eye, door, trunk, stem, mast) is there."""

    form: int
    pose: Array
    overlap: float
    left: float
    rival: float
    detail: float
    softness: float = 1.0

    @property
    def kind(self) -> int:
        return self.form % KIND_COUNT


def fit(picture: Array, where: Setting, piece: Piece, unknown: Mask | None = None, outline: bool | None = None) -> Fit | None:
    """The best form for a piece, or None for a piece too odd to compare.

    ``unknown`` (H, W): pixels where something may hide the thing. ``outline``: only that style's forms (None: both).
    """
    weight = (~where.ignore).astype(np.float32)
    if unknown is None:
        guesses = whole_guesses(piece.alpha * (piece.alpha > 0.1), weight, outline)
    else:
        weight = weight * ~unknown
        guesses = hidden_guesses(piece, weight, bool(outline))
    if guesses is None:
        return None
    reach = float(np.sqrt(piece.area))
    margin, steps = (3.0, STEPS) if unknown is None else (3 + 0.6 * reach, 2 * STEPS)
    form, pose = refine(*guesses, cut(picture, where, piece, weight, margin), steps)
    # A tree's trunk or a mushroom's stem reaches beyond the coloured part.
    return best(form, pose, cut(picture, where, piece, weight, 3 + 0.7 * reach), where, piece.rgb)


def whole_guesses(alpha: Array, weight: Array, outline: bool | None) -> tuple[np.ndarray, Array] | None:
    """Forms (K,) and poses (K, 4) of the patterns that correlate best with a soft mask (H, W)."""
    rows, columns = np.nonzero(alpha)
    if len(rows) < 4:
        return None
    mass = alpha[rows, columns]
    total = mass.sum()
    x, y = float(mass @ (columns + 0.5) / total), float(mass @ (rows + 0.5) / total)
    radius = float(np.sqrt(mass @ ((columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2) / total))
    if radius < 0.7:
        return None
    cx, cy = cell_offsets(SIDE, 2 * REACH / SIDE * radius)
    seen = bilinear(alpha, x + cx, y + cy)
    valid = bilinear(weight, x + cx, y + cy, 1.0)
    bank = patterns()
    norm = np.sqrt(bank.squares @ valid * ((seen * valid) @ seen)) + np.float32(1e-6)
    score = bank.masks @ (seen * valid) / norm
    if outline is not None:
        score = np.where((bank.form >= KIND_COUNT) == outline, score, np.float32(-1))
    chosen = _best_of_each(score, bank.form)
    chosen = chosen[score[chosen] > score[chosen[0]] - RIVALS]
    half = radius / bank.radius[chosen]
    pose = np.stack(
        [x - bank.centroid[chosen, 0] * half, y - bank.centroid[chosen, 1] * half, np.log(half), bank.angle[chosen]], 1
    )
    return bank.form[chosen], pose.astype(np.float32)


def hidden_guesses(piece: Piece, weight: Array, outline: bool) -> tuple[np.ndarray, Array] | None:
    """As :func:`whole_guesses` for a piece whose hidden pixels have weight zero: squared error over all shifts, by FFT."""
    if piece.area < 4:
        return None
    bank = search_bank(outline)
    unit = float(np.sqrt((piece.alpha * weight).sum() + 1e-6))
    rows, columns = np.nonzero(piece.mask)
    x, y = (columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2
    cx, cy = cell_offsets(SEARCH_SIDE, SEARCH_PITCH * unit)
    shape = (SEARCH_SIDE, SEARCH_SIDE)
    valid = bilinear(weight, x + cx, y + cy, 1.0).reshape(shape)
    seen = bilinear(piece.alpha, x + cx, y + cy).reshape(shape) * valid
    error = fft.irfft2(fft.rfft2(valid) * bank.square - 2 * fft.rfft2(seen) * bank.mask, s=shape).reshape(len(bank.form), -1)
    place = error.argmin(1)
    row, column = np.divmod(place, SEARCH_SIDE)
    wrap = SEARCH_SIDE // 2
    dx, dy = (column + wrap) % SEARCH_SIDE - wrap, (row + wrap) % SEARCH_SIDE - wrap
    chosen = _best_of_each(-error[np.arange(len(place)), place], bank.form)
    half = bank.half[chosen] * unit
    scale = SEARCH_PITCH * unit
    pose = np.stack([x + dx[chosen] * scale, y + dy[chosen] * scale, np.log(half), bank.angle[chosen]], 1)
    return bank.form[chosen], pose.astype(np.float32)


def _best_of_each(score: np.ndarray, form: np.ndarray) -> np.ndarray:
    """Indices of the best entry of each of the best forms."""
    order = np.argsort(-score, kind="stable")
    _, first = np.unique(form[order], return_index=True)
    return order[np.sort(first)[:CANDIDATES]]


def refine(form: np.ndarray, pose: Array, window: Window, step_count: int) -> tuple[np.ndarray, Array]:
    """Gauss-Newton on sum of weight * (drawn - seen)^2 over the pose, all candidates at once; keeps the best pose seen."""
    count = len(form)
    steps = np.concatenate([np.zeros((1, 4), np.float32), np.diag(DELTA)])
    best_pose, best_error = pose, np.full(count, np.inf, np.float32)
    for step in range(step_count + 1):
        tried = (pose[:, None] + steps).reshape(-1, 4) if step < step_count else pose
        drawn = coverage(fields().colour, np.repeat(form, len(tried) // count), tried, window.x, window.y, 1.4)
        drawn = drawn.reshape(count, -1, len(window.x))
        residual = (drawn[:, 0] - window.alpha) * window.weight
        error = (residual**2).sum(1)
        better = error < best_error
        best_pose, best_error = np.where(better[:, None], pose, best_pose), np.where(better, error, best_error)
        if step == step_count:
            break
        jacobian = (drawn[:, 1:] - drawn[:, :1]) * window.weight
        normal = jacobian @ jacobian.transpose(0, 2, 1)
        # A form that looks the same when turned has no gradient in the angle: damping keeps the system regular.
        normal += np.eye(4, dtype=np.float32) * (0.02 * np.trace(normal, axis1=1, axis2=2)[:, None, None] / 4 + 1e-3)
        move = -np.linalg.solve(normal, jacobian @ residual[..., None])[..., 0] * DELTA
        pose = pose + np.clip(move, -LIMIT, LIMIT)
        pose[:, 2] = np.clip(pose[:, 2], 0.3, 8)
    kept = np.argsort(best_error, kind="stable")[:FINALISTS]
    return form[kept], best_pose[kept].astype(np.float32)


def best(form: np.ndarray, pose: Array, window: Window, where: Setting, rgb: Array) -> Fit:
    """Of refined candidates the one that leaves least of the picture unexplained."""
    paints = where.paints.copy()
    paints[0] = rgb
    left, overlap = [], []
    for softness in SOFT:
        drawn = painted(form, pose, window.x, window.y, paints, window.below, softness)
        left.append(unexplained(drawn, window))
        mask = coverage(fields().colour, form, pose, window.x, window.y, softness)
        shown = mask @ window.weight
        common = np.minimum(mask, window.alpha) @ window.weight
        # What hides nearly whole behind another thing fits anything.
        seen = np.minimum(shown / (LEAST_SEEN * mask.sum(1) + 1e-6), 1)
        overlap.append(seen * common / (np.maximum(mask, window.alpha) @ window.weight + 1e-6))
    soft = int(np.argmin([values.min() for values in left]))
    order = np.argsort(left[soft], kind="stable")
    winner = int(order[0])
    others = [float(left[soft][i]) for i in order[1:] if form[i] % KIND_COUNT != form[winner] % KIND_COUNT]
    at = slice(winner, winner + 1)
    return Fit(
        int(form[winner]),
        pose[winner],
        float(overlap[soft][winner]),
        float(left[soft][winner]),
        min(others, default=1.0),
        detail_seen(form[at], pose[at], window),
        SOFT[soft],
    )


def silhouette_mask(fitted: Fit, shape: tuple[int, int], grow: float = 0.0) -> Mask:
    """The full silhouette (H, W) of a fit, grown by some pixels."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32) + np.float32(0.5)
    distance = sample(fields().whole, np.array([fitted.form]), *object_points(fitted.pose[None], x.ravel(), y.ravel()))
    return (distance < grow / np.exp(fitted.pose[2])).reshape(shape)


def scene_error(picture: Array, where: Setting, things: list[tuple[Fit | None, Piece]]) -> float:
    """Sum over the picture of the squared colour error (capped) that things drawn from back to front leave."""
    height, width = picture.shape[:2]
    y, x = (plane.ravel() for plane in np.mgrid[:height, :width].astype(np.float32) + np.float32(0.5))
    drawn = where.below.reshape(-1, 3)
    for fitted, piece in things:
        if fitted is not None:
            paints = where.paints.copy()
            paints[0] = piece.rgb
            drawn = painted(np.array([fitted.form]), fitted.pose[None], x, y, paints, drawn, fitted.softness)[0]
    error = np.minimum(squared(drawn - picture.reshape(-1, 3)), ROBUST)
    return float(error @ (~where.ignore).ravel())
