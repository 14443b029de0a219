"""Reading hands from pixels: the silhouette, and how many fingers are raised.

The reader relies on hue alone for the silhouette: every skin, lit or shaded, has red well above blue, and no ground or cloth of
the world has. Fingers are counted by form: a finger is a part of the silhouette that an opening by a disc thicker than any
finger removes and that is long enough; fingers that are held together or point at the camera cannot be told apart by it, and
its agreement with the truth on true renders has to be reported beside every count. Keypoints are left to a trained regressor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from diffolio.errors import BadInput

WARMTH = 0.16  # least (red - blue) / red of skin
LEAST = 0.008  # smaller parts of skin than this share of the picture are stray pixels
THICK, LONG = 0.62, 1.0  # the disc of the opening, and a finger's least length, in radii of the palm


@dataclass(frozen=True)
class Reading:
    """``silhouette`` bool (B, H, W), skin; ``fingers`` (B,) how many are seen raised; ``boxes``: per picture the boxes (left, top,
    right, bottom) of its parts of skin, largest first."""

    silhouette: Tensor
    fingers: Tensor
    boxes: list[list[tuple[int, int, int, int]]]


def read(images: Tensor) -> Reading:
    """Read pictures (B, 3, H, W) in [0, 1] of the hands world."""
    if images.ndim != 4 or images.shape[1] != 3:
        raise BadInput(f"pictures of shape {tuple(images.shape)}: give (B, 3, H, W)")
    red, _, blue = images.float().cpu().unbind(1)
    skin = ((red - blue) / red.clamp_min(0.04) > WARMTH) & (red > 0.08)
    found = [_parts(mask) for mask in skin.numpy()]
    fingers = [count_fingers(mask) for mask, _ in found]
    return Reading(torch.from_numpy(np.stack([mask for mask, _ in found])), torch.tensor(fingers), [boxes for _, boxes in found])


def _parts(mask: np.ndarray) -> tuple[np.ndarray, list[tuple[int, int, int, int]]]:
    labels, count = ndimage.label(mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    keep = [k for k in np.argsort(-sizes) if k and sizes[k] >= LEAST * mask.size]
    boxes = ndimage.find_objects(labels)
    return np.isin(labels, keep), [(b[1].start, b[0].start, b[1].stop, b[0].stop) for b in (boxes[k - 1] for k in keep)]


def count_fingers(silhouette: np.ndarray) -> int:
    """Raised fingers of one hand's silhouette (H, W)."""
    inner = ndimage.distance_transform_edt(np.pad(silhouette, 1))[1:-1, 1:-1]
    palm = inner.max()
    if palm < 2:
        return 0
    opened = ndimage.distance_transform_edt(inner < THICK * palm) < THICK * palm + 0.5
    labels, count = ndimage.label(silhouette & ~opened, structure=np.ones((3, 3)))
    beyond = ndimage.distance_transform_edt(~opened)
    return sum(bool(beyond[labels == k].max() >= LONG * palm) for k in range(1, count + 1))
