"""Reading aerial pictures by analysis: what the ground is, where roads run, how much is under cloud.

Each pixel is explained as ``(1 - a) * light * paint + a * white``: the nearest of all paints of a season, in light and shadow,
under cloud of opacity a. Cloud and shadow are smooth, so their estimate is averaged over a neighbourhood before the class is
read again under it. The season is the one whose paints explain the whole picture best. Under thick cloud nothing can be seen
of the ground; ``seen`` says where it can.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from diffolio.errors import BadInput
from diffolio.worlds.earth.palette import CLASS_OF_PAINT, CLASSES, CLOUD, ROAD, SEASONS, paints
from diffolio.worlds.earth.render import SHADE, Rendering

LIGHTS = (1.1, 0.95, 0.8, SHADE)
OPACITIES = (0.0, 0.12, 0.25, 0.4, 0.55, 0.7, 0.82, 0.92)
OPAQUE = 0.7  # a cloud through which the ground cannot be told
CLOUDY = 0.42  # opacity from which a pixel counts as cloud: half the middle opacity that the world draws
RARE = 0.002  # price of explaining a pixel by a cloud or a shadow, in squared colour distance


@dataclass(frozen=True)
class Reading:
    """``classes`` int64 (B, H, W); ``roads``, ``cloud_mask``, ``seen`` bool (B, H, W); ``opacity`` (B, H, W) in [0, 1];
    ``cloud_fraction`` (B,); ``seasons`` names."""

    classes: Tensor
    roads: Tensor
    opacity: Tensor
    cloud_mask: Tensor
    seen: Tensor
    cloud_fraction: Tensor
    seasons: list[str]


def read(images: Tensor) -> Reading:
    """Read pictures (B, 3, H, W) in [0, 1] of the earth world."""
    if images.ndim != 4 or images.shape[1] != 3:
        raise BadInput(f"pictures of shape {tuple(images.shape)}: give (B, 3, H, W)")
    pieces = [_read_one(image) for image in images.float().cpu()]
    classes, opacity, seasons = zip(*pieces, strict=True)
    opacity_map = torch.stack(opacity)
    cloud = opacity_map > CLOUDY
    kinds = torch.stack(classes)
    return Reading(kinds, kinds == ROAD, opacity_map, cloud, opacity_map < OPAQUE, cloud.float().mean((1, 2)), list(seasons))


def _codes(table: Tensor) -> Tensor:
    """Every look of every paint: (paints, lights, opacities, 3)."""
    light, alpha = torch.tensor(LIGHTS).view(1, -1, 1, 1), torch.tensor(OPACITIES).view(1, 1, -1, 1)
    return (1 - alpha) * light * table[:, None, None] + alpha * torch.tensor(CLOUD)


def _read_one(image: Tensor) -> tuple[Tensor, Tensor, str]:
    height, width = image.shape[1:]
    flat = image.flatten(1).T
    costs, season = _explained(flat)
    # The best explanation of each opacity, then a cloud that varies smoothly.
    by_opacity = costs.amin((1, 2))
    alphas = torch.tensor(OPACITIES)
    smooth = _box(by_opacity.view(height, width, -1).movedim(-1, 0)[None], 2)[0]
    opacity = alphas[smooth.argmin(0)]
    opacity = _box(opacity[None, None], 1)[0, 0]
    away = (alphas.view(1, -1) - opacity.flatten()[:, None]).square()
    kinds = (costs + 0.15 * away[:, None, None]).amin((2, 3))
    classes = torch.tensor(CLASS_OF_PAINT)[kinds.argmin(1)].view(height, width)
    return classes, opacity, SEASONS[season]


def _explained(flat: Tensor) -> tuple[Tensor, int]:
    """Squared distances (pixels, paints, lights, opacities) under the season that explains the pixels best, and that season."""
    best: tuple[float, Tensor, int] | None = None
    few = flat[:: max(1, len(flat) // 1024)]
    for season, table in enumerate(paints()):
        total = float(_distances(few, _codes(table)).flatten(1).amin(1).clamp_max(0.02).mean())
        if best is None or total < best[0]:
            best = (total, table, season)
    assert best is not None
    return _distances(flat, _codes(best[1])), best[2]


def _distances(flat: Tensor, codes: Tensor) -> Tensor:
    distance = torch.cdist(flat, codes.reshape(-1, 3)).square().view(len(flat), *codes.shape[:3])
    price = RARE * (torch.tensor(OPACITIES) > 0) + 0.5 * RARE * (torch.tensor(LIGHTS).view(-1, 1) < 0.7)
    return distance + price


def _box(planes: Tensor, reach: int) -> Tensor:
    side = 2 * reach + 1
    return functional.avg_pool2d(functional.pad(planes, (reach,) * 4, mode="replicate"), side, 1)


def agreement(reading: Reading, truth: Rendering) -> dict[str, float]:
    """How well pictures show what was asked: road IoU and mean IoU of the classes over pixels that thin cloud or none covers
    in the truth, the mean error of the cloud fraction. Applied to true renders, the reader's own error."""
    seen = truth.cloud[:, 0] < OPAQUE
    road = iou(reading.roads & seen, truth.roads & seen)
    each = [iou((reading.classes == k) & seen, (truth.classes == k) & seen) for k in range(len(CLASSES))]
    return {
        "road_iou": road,
        "mean_iou": sum(each) / len(each),
        "cloud_error": float((reading.cloud_fraction - truth.cloud_fraction).abs().mean()),
    }


def iou(a: Tensor, b: Tensor) -> float:
    """Intersection over union of two masks, all pictures together; 1 where both are empty."""
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0
