"""Does a picture show what its prompt asks? Scores by the tabletop world's exact reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.worlds.tabletop import Mixture, Scene, judge, read, sample_scenes


@dataclass(frozen=True)
class Compliance:
    """Per picture, 1.0 or 0.0: kinds, colours, both in the same things, the count, the relation, and all of them.
    ``count_error`` is |things found - things asked for|."""

    kinds: NDArray[np.float64]
    colours: NDArray[np.float64]
    both: NDArray[np.float64]
    count: NDArray[np.float64]
    relation: NDArray[np.float64]
    all: NDArray[np.float64]
    count_error: NDArray[np.float64]

    def means(self) -> dict[str, float]:
        return {name: float(values.mean()) for name, values in vars(self).items()}


def compliance(images: Tensor, scenes: Sequence[Scene]) -> Compliance:
    """Read ``images`` (B, 3, H, W) in [0, 1] and compare each with the scene whose caption was its prompt."""
    if len(images) != len(scenes):
        raise BadInput(f"{len(images)} pictures and {len(scenes)} scenes: give as many of both")
    readings = read(images)
    verdicts = [judge(reading, scene) for reading, scene in zip(readings, scenes, strict=True)]
    parts = {
        name: np.array([float(getattr(v, name)) for v in verdicts])
        for name in ("kinds", "colours", "both", "count", "relation", "all")
    }
    error = np.array(
        [abs(reading.count - len(scene.things)) for reading, scene in zip(readings, scenes, strict=True)], dtype=np.float64
    )
    return Compliance(**parts, count_error=error)


def held_out(n: int, things: int, seed: int = 900_000, **mixture: object) -> list[Scene]:
    """Scenes for prompts that no training saw: flat, plain captions, ``things`` objects each."""
    counts = tuple(float(k == things) for k in (1, 2, 3))
    return sample_scenes(n, seed + things, Mixture(counts=counts, flat=1.0, canonical=True, **mixture))  # type: ignore[arg-type]
