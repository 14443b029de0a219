"""Condition pictures derived from a rendering's truth, in the order that remote-sensing control uses."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from diffolio.worlds.earth.palette import BUILDING, LEGEND, ROAD
from diffolio.worlds.earth.render import Rendering

CONDITIONS: tuple[str, ...] = ("lines", "edges", "sketch", "road", "depth", "segmentation")


def conditions(rendering: Rendering) -> dict[str, Tensor]:
    """Each a picture (B, 3, H, W) in [0, 1]: "lines" the straight borders of roads and buildings, "edges" soft gradients of
    the cloudless picture, "sketch" the borders of all classes, "road" the mask, "depth" 1 nearest, "segmentation" in colours."""
    made = torch.where((rendering.classes == ROAD) | (rendering.classes == BUILDING), rendering.classes, 0)
    edges = (3 * _gradient(rendering.clear.mean(1))).clamp(0, 1)
    grey = {"lines": border(made), "edges": edges, "sketch": border(rendering.classes), "road": rendering.roads.float()}
    pictures = {name: plane[:, None].expand(-1, 3, -1, -1) for name, plane in grey.items()}
    pictures["depth"] = rendering.depth.expand(-1, 3, -1, -1)
    pictures["segmentation"] = colour_map(rendering.classes)
    return pictures


def stacked(rendering: Rendering) -> Tensor:
    """All six in their fixed order: (B, 18, H, W)."""
    pictures = conditions(rendering)
    return torch.cat([pictures[name] for name in CONDITIONS], 1)


def colour_map(classes: Tensor) -> Tensor:
    """Classes (B, H, W) in the legend's colours: (B, 3, H, W)."""
    return torch.tensor(LEGEND)[classes].movedim(-1, 1)


def border(classes: Tensor) -> Tensor:
    """1 where a pixel's right or lower neighbour is of another class: float (B, H, W)."""
    right = functional.pad((classes[:, :, 1:] != classes[:, :, :-1]).float(), (0, 1))
    below = functional.pad((classes[:, 1:] != classes[:, :-1]).float(), (0, 0, 0, 1))
    return torch.maximum(right, below)


def _gradient(grey: Tensor) -> Tensor:
    across = functional.pad(grey[:, :, 1:] - grey[:, :, :-1], (0, 1))
    down = functional.pad(grey[:, 1:] - grey[:, :-1], (0, 0, 0, 1))
    return torch.hypot(across, down)
