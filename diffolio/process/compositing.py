"""Compositing by masks, of pictures or of latents: grow a mask, bring it to a grid, shift, scale and flip what it shows, lay it over.

Tensors (B, C, H, W), bool masks (B, H, W), soft masks (B, 1, H, W) in [0, 1]. Blended diffusion (Avrahami et al., 2022,
arXiv:2111.14818) keeps what lies outside of a mask after every step; methods differ in when they do, which is a ``Window``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from diffolio.errors import BadInput, choose

HOW = ("nearest", "area", "bilinear")
FLIPS = ("", "horizontal", "vertical", "both")


@dataclass(frozen=True)
class Window:
    """The steps from the share ``start`` of a run up to, not including, the share ``stop``; ``later`` steps after its start."""

    start: float
    stop: float
    later: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.start <= 1 or not 0 <= self.stop <= 1:
            raise BadInput(f"a window from {self.start} to {self.stop}: give shares of the steps, from 0 to 1")

    def holds(self, step: int, steps: int) -> bool:
        """Whether ``step``, counted from 0, of ``steps`` lies in the window."""
        return round(self.start * steps) + self.later <= step < round(self.stop * steps)


def over(below: Tensor, above: Tensor, mask: Tensor) -> Tensor:
    """``above`` where the mask is 1, ``below`` where it is 0. A bool mask copies bit for bit."""
    return torch.where(mask, above, below) if mask.dtype == torch.bool else below * (1 - mask) + above * mask


def dilate(mask: Tensor, radius: int) -> Tensor:
    """The bool mask (B, H, W) grown by ``radius`` pixels to all sides, diagonals included."""
    if radius < 0:
        raise BadInput(f"a mask grown by {radius} pixels: give 0 or more")
    return max_pool2d(mask[:, None].float(), 2 * radius + 1, stride=1, padding=radius)[:, 0] > 0


def to_grid(mask: Tensor, size: tuple[int, ...], how: str = "nearest") -> Tensor:
    """A bool mask (B, H, W) at ``size`` cells, (B, 1, h, w): "nearest" bool; "area", "bilinear" soft. Not square is as good."""
    choose("way of resizing a mask", how, HOW)
    smooth = {"align_corners": False} if how == "bilinear" else {}
    found = interpolate(mask[:, None].float(), size[-2:], mode="nearest-exact" if how == "nearest" else how, **smooth)
    return found > 0.5 if how == "nearest" else found


def shift(x: Tensor, cells: Tensor) -> Tensor:
    """Every sample of (B, C, H, W) moved by its own whole ``cells`` (B, 2), right and down; zero where nothing comes from."""
    if cells.shape != (len(x), 2) or cells.is_floating_point():
        raise BadInput(f"shifts of shape {tuple(cells.shape)}, type {cells.dtype}: give whole numbers ({len(x)}, 2)")
    height, width = x.shape[-2:]
    rows, columns = (torch.arange(n, device=x.device) - cells[:, i, None].to(x.device) for i, n in ((1, height), (0, width)))
    inside = ((rows >= 0) & (rows < height))[:, None, :, None] & ((columns >= 0) & (columns < width))[:, None, None, :]
    return torch.where(inside, _taken(x, rows.clamp(0, height - 1), columns.clamp(0, width - 1)), torch.zeros_like(x))


def centre(mask: Tensor) -> Tensor:
    """The centre of mass (B, 2) of bool masks (B, H, W), x and y, in pixels. BadInput for an empty one."""
    total = mask.sum((1, 2))
    if not bool(total.all()):
        raise BadInput("a mask is empty: it must show the object that is to be moved")
    x, y = (mask.sum(dim).float() @ (torch.arange(mask.shape[3 - dim], device=mask.device) + 0.5) for dim in (1, 2))
    return torch.stack([x, y], 1) / total[:, None]


def scale_about(x: Tensor, factor: float, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Every picture of (B, C, H, W) scaled, its centre (B, 2) staying where it is: the picture, and where it reaches, bool (B, 1, H, W).

    Antialiased. Where a smaller picture does not reach, its edge pixels are repeated.
    """
    if not 0.05 <= factor <= 20:
        raise BadInput(f"a scale of {factor:g}: give 0.05 to 20")
    height, width = x.shape[-2:]
    size = (max(1, round(factor * height)), max(1, round(factor * width)))
    scaled = interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
    ratio = torch.tensor([size[1] / width, size[0] / height], device=x.device)
    corner = (centres.to(x.device) * (1 - ratio)).round().long()
    rows, columns = (torch.arange(n, device=x.device) - corner[:, i, None] for i, n in ((1, height), (0, width)))
    inside = ((rows >= 0) & (rows < size[0]))[:, None, :, None] & ((columns >= 0) & (columns < size[1]))[:, None, None, :]
    return _taken(scaled, rows.clamp(0, size[0] - 1), columns.clamp(0, size[1] - 1)), inside


def flip_about(x: Tensor, way: str, centres: Tensor) -> Tensor:
    """Every picture of (B, C, H, W) mirrored "horizontal"-ly, "vertical"-ly or both about its centre (B, 2); edge pixels are repeated."""
    choose("flip", way, FLIPS)
    height, width = x.shape[-2:]
    at = (2 * centres.to(x.device) - 1).round().long()
    rows, columns = (torch.arange(n, device=x.device).expand(len(x), n) for n in (height, width))
    rows = (at[:, 1, None] - rows).clamp(0, height - 1) if way in ("vertical", "both") else rows
    columns = (at[:, 0, None] - columns).clamp(0, width - 1) if way in ("horizontal", "both") else columns
    return _taken(x, rows, columns)


def _taken(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels at ``rows`` (B, h) and ``columns`` (B, w) of each sample: (B, C, h, w)."""
    sample = torch.arange(len(x), device=x.device)[:, None, None]
    return x[sample, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
