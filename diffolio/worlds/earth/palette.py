"""Colours of the earth world: what each kind of ground looks like in each season (sRGB values in [0, 1]), from above.

Every class keeps a hue of its own in every season, so that :mod:`read` can tell them apart under shadow and thin cloud.
"""

from __future__ import annotations

import torch
from torch import Tensor

CLASSES: tuple[str, ...] = ("field", "woods", "water", "building", "road")
FIELD, WOODS, WATER, BUILDING, ROAD = range(5)
SEASONS: tuple[str, ...] = ("spring", "summer", "autumn", "winter")
CROPS, ROOFS = 4, 3  # shades of field and of roof

# Per season: four fields, woods, water.
_GROUND: dict[str, tuple[tuple[float, float, float], ...]] = {
    "spring": ((0.56, 0.70, 0.30), (0.67, 0.74, 0.36), (0.66, 0.54, 0.38), (0.88, 0.83, 0.26), (0.18, 0.38, 0.12), (0.10, 0.27, 0.48)),
    "summer": ((0.82, 0.73, 0.38), (0.52, 0.64, 0.26), (0.72, 0.70, 0.32), (0.90, 0.80, 0.48), (0.09, 0.29, 0.09), (0.08, 0.28, 0.46)),
    "autumn": ((0.62, 0.50, 0.34), (0.74, 0.63, 0.40), (0.56, 0.57, 0.30), (0.80, 0.70, 0.52), (0.46, 0.30, 0.04), (0.11, 0.24, 0.40)),
    "winter": ((0.74, 0.82, 0.93), (0.70, 0.79, 0.91), (0.78, 0.85, 0.95), (0.67, 0.76, 0.89), (0.28, 0.25, 0.13), (0.12, 0.27, 0.42)),
}  # fmt: skip
_ROOFS = ((0.74, 0.27, 0.20), (0.62, 0.19, 0.24), (0.82, 0.40, 0.33))
_ROAD = ((0.49, 0.48, 0.50),)
CLOUD: tuple[float, float, float] = (0.97, 0.97, 0.95)

FIRST = {FIELD: 0, WOODS: 4, WATER: 5, BUILDING: 6, ROAD: 9}  # the first paint of each class
CLASS_OF_PAINT: tuple[int, ...] = (FIELD,) * CROPS + (WOODS, WATER) + (BUILDING,) * ROOFS + (ROAD,)
PAINTS = len(CLASS_OF_PAINT)

# Near-infrared reflectance and radar backscatter by class: plants are bright in the one, smooth water is dark in both.
NIR: tuple[float, ...] = (0.62, 0.78, 0.05, 0.34, 0.22)
NIR_WINTER: tuple[float, ...] = (0.55, 0.40, 0.05, 0.34, 0.22)
RADAR: tuple[float, ...] = (0.34, 0.56, 0.06, 0.90, 0.16)

# Colours of the segmentation picture.
LEGEND: tuple[tuple[float, float, float], ...] = (
    (0.85, 0.80, 0.35), (0.10, 0.50, 0.15), (0.10, 0.30, 0.85), (0.85, 0.15, 0.15), (0.60, 0.60, 0.60),
)  # fmt: skip


def paints() -> Tensor:
    """(seasons, paints, 3)."""
    return torch.tensor([[*_GROUND[season], *_ROOFS, *_ROAD] for season in SEASONS])
