"""The exact Wasserstein-2 distance of two clouds of points."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from diffolio.errors import BadInput


def wasserstein2(first: Tensor, second: Tensor) -> float:
    """W2 between (N, D) and (N, D): the root of the mean squared distance under the best assignment.

    With as many points on both sides, optimal transport is an assignment; N = 1000 takes a fraction of a second. Two draws of one
    distribution are not at distance 0: compare figures of equal N. (Some codes report the square.)
    """
    if first.shape != second.shape or first.ndim != 2 or len(first) == 0:
        raise BadInput(f"clouds of shapes {tuple(first.shape)} and {tuple(second.shape)}: give two of the same shape (N, D)")
    a, b = first.double().numpy(), second.double().numpy()
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise BadInput("the clouds hold points that are not finite: drop them, and say how many")
    cost = ((a[:, None] - b[None]) ** 2).sum(-1)
    rows, columns = linear_sum_assignment(cost)
    return float(np.sqrt(cost[rows, columns].mean()))
