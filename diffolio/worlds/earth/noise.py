"""Endless seeded noise over the plane: value noise on a hashed lattice, in torch, the same for any size of picture."""

from __future__ import annotations

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF


def hashed(x: Tensor, y: Tensor, seed: Tensor) -> Tensor:
    """Numbers in [0, 1) that look random, one for each lattice point: int64 ``x``, ``y``, ``seed`` (broadcast) -> float."""
    h = (x * 374761393 + y * 668265263 + seed * 974634777) & _MASK
    h = ((h ^ (h >> 15)) * 739982445) & _MASK
    h = ((h ^ (h >> 12)) * 695872825) & _MASK
    return ((h ^ (h >> 15)) & 0xFFFFFF).float() / 0x1000000


def value_noise(x: Tensor, y: Tensor, seed: Tensor) -> Tensor:
    """Smooth noise in [0, 1) with features of unit size at points ``x``, ``y``; ``seed`` int64, all broadcast."""
    column, row = x.floor(), y.floor()
    u, v = x - column, y - row
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    i, j = column.long(), row.long()
    top = torch.lerp(hashed(i, j, seed), hashed(i + 1, j, seed), u)
    bottom = torch.lerp(hashed(i, j + 1, seed), hashed(i + 1, j + 1, seed), u)
    return torch.lerp(top, bottom, v)


def fractal(x: Tensor, y: Tensor, seed: Tensor, octaves: int) -> Tensor:
    """Sum of ``octaves`` noises, each half as strong and half as large as the one before; in [0, 1)."""
    total, weight = torch.zeros_like(x + y), 0.0
    for octave in range(octaves):
        # Turned by an angle from octave to octave, or the lattice shows.
        x, y = (0.8 * x - 0.6 * y) if octave else x, (0.6 * x + 0.8 * y) if octave else y
        total = total + value_noise(x * 2**octave, y * 2**octave, seed + 7919 * octave) * 0.5**octave
        weight += 0.5**octave
    return total / weight
