"""Intervals and rank statistics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import roc_auc_score

from diffolio.errors import BadInput


@dataclass(frozen=True)
class Interval:
    """A value with its 95% interval."""

    value: float
    low: float
    high: float


def mean_interval(values: ArrayLike, draws: int = 4000, seed: int = 0) -> Interval:
    """The mean of ``values`` (N,) with its bootstrap interval."""
    x = _vector(values)
    means = x[_resample(len(x), draws, seed)].mean(1)
    return Interval(float(x.mean()), *_ends(means))


def ratio_interval(method: ArrayLike, baseline: ArrayLike, *, paired: bool = True, draws: int = 4000, seed: int = 0) -> Interval:
    """mean(method) / mean(baseline) with its bootstrap interval; ``paired`` redraws both with the same indices."""
    a, b = _vector(method), _vector(baseline)
    if paired and len(a) != len(b):
        raise BadInput(f"{len(a)} and {len(b)} values cannot be paired: give as many of both, or paired=False")
    first = _resample(len(a), draws, seed)
    second = first if paired else _resample(len(b), draws, seed + 1)
    above, below = a[first].mean(1), b[second].mean(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = above / below
        value = float(np.divide(a.mean(), b.mean()))
    return Interval(value, *_ends(ratios[np.isfinite(ratios)]))


def auroc(positive: ArrayLike, negative: ArrayLike) -> float:
    """Probability that a positive scores above a negative."""
    a, b = _vector(positive), _vector(negative)
    return float(roc_auc_score(np.r_[np.ones(len(a)), np.zeros(len(b))], np.r_[a, b]))


def _vector(values: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(values, dtype=np.float64).reshape(-1)
    if len(x) == 0 or not np.isfinite(x).all():
        raise BadInput(f"{len(x)} values, {int((~np.isfinite(x)).sum())} of them not finite: give at least one, all finite")
    return x


def _resample(n: int, draws: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, n, (draws, n))


def _ends(draws: NDArray[np.float64]) -> tuple[float, float]:
    if len(draws) == 0:
        return (float("nan"), float("nan"))
    low, high = np.quantile(draws, (0.025, 0.975))
    return (float(low), float(high))
