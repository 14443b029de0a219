"""Does an aerial picture show what was asked for: the roads, the classes of ground, the share of cloud?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffolio.worlds.earth import CLASSES, Rendering, read


@dataclass(frozen=True)
class Followed:
    """For each picture (B,): ``road`` the IoU of its roads with those asked for, ``classes`` the mean IoU over the classes asked for,
    both where the picture's own clouds let the ground be seen; ``cloud`` the share of it that is under cloud; ``cloud_error`` how far
    that is from what was asked; ``seasons`` as read."""

    road: Tensor
    classes: Tensor
    cloud: Tensor
    cloud_error: Tensor
    seasons: list[str]

    def joint(self, iou: float = 0.5, cloud: float = 0.1) -> Tensor:
        """1 where roads and classes exceed ``iou`` and the cloud is right within ``cloud``, else 0."""
        return ((self.road > iou) & (self.classes > iou) & (self.cloud_error <= cloud)).float()


def followed(images: Tensor, truth: Rendering, cloud_cover: Tensor) -> Followed:
    """Read pictures (B, 3, H, W) against the maps of a rendering and the cloud cover (B,) that was asked for."""
    reading = read(images)
    each = torch.stack([_iou(reading.classes == k, truth.classes == k, reading.seen) for k in range(len(CLASSES))], 1)
    asked = torch.stack([((truth.classes == k) & reading.seen).any(2).any(1) for k in range(len(CLASSES))], 1)
    classes = (each * asked).sum(1) / asked.sum(1).clamp_min(1)
    road = _iou(reading.roads, truth.roads, reading.seen)
    return Followed(road, classes, reading.cloud_fraction, (reading.cloud_fraction - cloud_cover).abs(), reading.seasons)


def _iou(a: Tensor, b: Tensor, seen: Tensor) -> Tensor:
    """(B,); 0 where nothing of either is to be seen, so that hiding the ground is no way to be right."""
    both, any_ = (a & b & seen).flatten(1).sum(1), ((a | b) & seen).flatten(1).sum(1)
    return both / any_.clamp_min(1)
