"""Between two samples: spherical interpolation, evenly spaced coefficients, and how even a sequence of pictures is."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffolio.errors import BadInput

Floats = NDArray[np.float64]
Distance = Callable[[Tensor, Tensor], Tensor]  # of two batches of pictures, (B,)


def slerp(start: Tensor, end: Tensor, share: float | Tensor) -> Tensor:
    """Spherical interpolation sample by sample, (B, ...); straight where the two have the same direction, or one has none.

    ``share`` in [0, 1] is a number, or one for each sample (B,).
    """
    a, b = start.flatten(1).double(), end.flatten(1).double()
    share = torch.as_tensor(share, dtype=torch.float64, device=a.device).reshape(-1, 1)
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=1)[:, None]
    angle = cosine.clamp(-1, 1).acos()
    bent = (cosine.abs() < 1 - 1e-9) & (a.norm(dim=1) > 0)[:, None] & (b.norm(dim=1) > 0)[:, None]
    sine = torch.where(bent, angle.sin(), torch.ones_like(angle))
    first = torch.where(bent, ((1 - share) * angle).sin() / sine, 1 - share)
    second = torch.where(bent, (share * angle).sin() / sine, share.expand_as(sine))
    return (first * a + second * b).reshape(start.shape).to(start)


def gini(gaps: Sequence[float] | Floats) -> float:
    """Gini coefficient of the gaps between neighbours: 0 for an even sequence, towards 1 for a single jump."""
    x = np.sort(np.asarray(gaps, dtype=np.float64))
    if len(x) < 1 or (x < 0).any():
        raise BadInput(f"gaps {gaps}: give at least one, none below zero")
    if x.sum() == 0:
        return 0.0
    ranks = np.arange(1, len(x) + 1)
    return float(((2 * ranks - len(x) - 1) * x).sum() / (len(x) * x.sum()))


def fit_beta(places: Sequence[float], gaps: Sequence[float]) -> tuple[float, float]:
    """(alpha, beta) of the Beta distribution whose cumulative function follows the normalised cumulative gaps best.

    ``places`` ascending from 0 to 1, ``gaps`` between neighbours. Least squares; 0.05 .. 20 each.
    """
    from scipy.optimize import least_squares
    from scipy.stats import beta

    if sum(gaps) <= 0:
        return 1.0, 1.0
    target = np.cumsum(gaps) / np.sum(gaps)
    inner = np.asarray(places[1:], dtype=np.float64)
    found = least_squares(lambda ab: beta.cdf(inner, *np.exp(ab)) - target, np.log([3.0, 3.0]), bounds=(np.log(0.05), np.log(20)))
    alpha, second = np.exp(found.x)
    return float(alpha), float(second)


def even_path(distances: Floats, n: int) -> list[int]:
    """``n`` of P points, the first and the last among them and in order, whose neighbours are most evenly apart.

    ``distances`` (P, P). Minimises the largest minus the smallest gap: for every possible smallest gap, dynamic programming
    finds the path with the least largest gap.
    """
    points = len(distances)
    if not 2 <= n <= points:
        raise BadInput(f"a path of {n} among {points} points: give 2..{points}")
    best: tuple[float, list[int]] = (np.inf, [])
    for least in np.unique(distances[np.triu_indices(points, 1)]):
        largest = np.full((n, points), np.inf)
        before = np.zeros((n, points), dtype=int)
        largest[0, 0] = 0.0
        for k in range(1, n):
            for j in range(k, points):
                steps = np.where(distances[:j, j] >= least, np.maximum(largest[k - 1, :j], distances[:j, j]), np.inf)
                before[k, j] = int(np.argmin(steps))
                largest[k, j] = steps[before[k, j]]
        spread = largest[n - 1, -1] - least
        if spread < best[0]:
            path = [points - 1]
            for k in range(n - 1, 0, -1):
                path.append(int(before[k, path[-1]]))
            best = (float(spread), path[::-1])
    return best[1]


def explore(
    sample: Callable[[Sequence[float]], Tensor], distance: Distance, points: int
) -> tuple[tuple[float, ...], Tensor, tuple[float, float]]:
    """Split the widest gap until there are ``points`` pictures: their places, the pictures, and the fitted (alpha, beta)."""
    from scipy.stats import beta

    places = [0.0, 0.5, 1.0]
    pictures = list(sample(places))
    alpha_beta = (3.0, 3.0)
    while True:
        gaps = distance(torch.stack(pictures[:-1]), torch.stack(pictures[1:])).tolist()
        if len(places) > 3:
            alpha_beta = fit_beta(places, gaps)
        if len(places) == points:
            return tuple(places), torch.stack(pictures), alpha_beta
        widest = int(np.argmax(gaps))
        low, high = places[widest], places[widest + 1]
        middle = float(beta.ppf(beta.cdf([low, high], *alpha_beta).mean(), *alpha_beta))
        if not low < middle < high or min(middle - low, high - middle) < 0.01 * (high - low):
            middle = (low + high) / 2
        bisect.insort(places, middle)
        pictures.insert(widest + 1, sample([0.0, middle, 1.0])[1])


def beta_places(n: int, alpha: float, second: float) -> tuple[float, ...]:
    """``n`` quantiles of Beta(alpha, beta), 0 and 1 included."""
    from scipy.stats import beta

    inner = np.clip(beta.ppf(np.linspace(0, 1, n)[1:-1], alpha, second), 1e-4, 1 - 1e-4)
    # Quantiles of a steep distribution can coincide in floating point.
    return (0.0, *np.maximum.accumulate(inner + 1e-7 * np.arange(1, n - 1)).tolist(), 1.0)
