"""The density of a one-dimensional sampler on a grid: a reference that uses no path, no score of the model and no sample."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solve_banded

from diffolio.errors import BadInput
from diffolio.process.sde import SDE, Score


def sampler_density(
    score: Score, sde: SDE, h: float, *, reach: float = 5.0, cells: int = 4000, steps: int = 1000
) -> tuple[NDArray, NDArray]:
    """(grid (cells,), q (cells,)) of the h-sampler at ``sde.first``, started from N(0, 1) on [-reach, reach].

    Backward in time the density obeys  dq = -d/dx(b q) da + h d2/dx2 q da  with  b = x + (1 + h) s  and  da = d log(alpha) > 0
    (the SDE's f and g^2 enter only through a). Central differences of fluxes that vanish at the border, so that mass is kept;
    Crank-Nicolson in time. BadInput if the density has not died out at the border.
    """
    if h < 0:
        raise BadInput(f"h={h}: a noise strength is zero or above")
    edges = np.linspace(-reach, reach, cells + 1)
    width, grid = edges[1] - edges[0], (edges[1:] + edges[:-1]) / 2
    inside = torch.from_numpy(edges[1:-1, None])
    q = np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi)
    times = sde.grid(steps).flip(0)
    levels = sde.log_alpha(times)
    middles = sde.time((levels[1:] + levels[:-1]) / 2)
    for middle, change in zip(middles, levels.diff().numpy(), strict=True):
        drift = (inside + (1 + h) * score(inside, middle))[:, 0].numpy()
        # The flux through an inner edge is left * q[i] + right * q[i + 1].
        left, right = drift / 2 + h / width, drift / 2 - h / width
        scale = change / (2 * width)
        lower, upper = scale * left, -scale * right
        diagonal = np.zeros(cells)
        diagonal[:-1] -= lower
        diagonal[1:] -= upper
        known = (1 + diagonal) * q
        known[1:] += lower * q[:-1]
        known[:-1] += upper * q[1:]
        bands = np.zeros((3, cells))
        bands[0, 1:], bands[1], bands[2, :-1] = -upper, 1 - diagonal, -lower
        q = solve_banded((1, 1), bands, known)
    if max(abs(q[0]), abs(q[-1])) > 1e-4 * q.max():
        raise BadInput(f"the density has not died out at {reach:g}, where the grid ends: give a larger reach")
    return grid, q
