"""A clip with its exact ground truth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Clip:
    """T frames of one scene in motion, with K things in the order of the scene (tabletop: from back to front).

    ``frames`` float (T, 3, H, W) in [0, 1]; ``tracks`` (T, K, 2), the centres as x, y in pixels (the first pixel's centre is at
    0.5, 0.5); ``boxes`` (T, K, 4) as left, top, right, bottom (exclusive) of whole silhouettes, zeros if out of the picture;
    ``visible``, ``full`` bool (T, K, H, W); ``flow`` (T-1, 2, H, W): where each pixel's centre of frame t has gone to in frame t+1,
    as (x, y) in pixels; ``occluded`` bool (T-1, H, W): what was there is hidden or out of the picture in frame t+1;
    ``loops``: the frame after the last is the first.
    """

    frames: Tensor
    tracks: Tensor
    boxes: Tensor
    visible: Tensor
    full: Tensor
    flow: Tensor
    occluded: Tensor
    caption: str
    loops: bool


def boxes_of(masks: Tensor) -> Tensor:
    """Pixel boxes (..., 4) as left, top, right, bottom (exclusive) of masks (..., H, W); zeros for empty ones."""
    columns, rows = masks.any(-2), masks.any(-1)
    left, top = columns.int().argmax(-1), rows.int().argmax(-1)
    right = columns.shape[-1] - columns.flip(-1).int().argmax(-1)
    bottom = rows.shape[-1] - rows.flip(-1).int().argmax(-1)
    return torch.stack([left, top, right, bottom], -1) * columns.any(-1)[..., None]
