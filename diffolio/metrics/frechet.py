"""Frechet distance between two sets of features. With a judge's features it is called FD, never FID."""

from __future__ import annotations

import numpy as np
import torch
from scipy import linalg
from torch import Tensor

from diffolio.errors import BadInput


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of Gaussians fitted to (N, D) and (M, D) features."""
    if first.shape[1] != second.shape[1] or min(len(first), len(second)) < 2:
        raise BadInput(f"features {tuple(first.shape)} and {tuple(second.shape)}: give two sets (N >= 2, D) of the same D")
    a, b = first.double(), second.double()
    c1, c2 = np.atleast_2d(torch.cov(a.T).numpy()), np.atleast_2d(torch.cov(b.T).numpy())
    # The symmetric form: sqrt(C1) C2 sqrt(C1) has the same eigenvalues as C1 C2 and is positive semi-definite.
    root = np.real(linalg.sqrtm(c1))
    eigenvalues = np.linalg.eigvalsh(root @ c2 @ root).clip(min=0)
    gap = float((a.mean(0) - b.mean(0)).square().sum())
    return gap + float(np.trace(c1) + np.trace(c2) - 2 * np.sqrt(eigenvalues).sum())
