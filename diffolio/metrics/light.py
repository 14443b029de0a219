"""Is a picture lit as asked? Read from known regions and normals, by least squares; no trained network judges."""

from __future__ import annotations

import torch
from torch import Tensor

from diffolio.errors import BadInput

DARKEST, LEAST = 0.02, 12  # N.L of what counts as lit; pixels of a region that count


def luminance(images: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, H, W), ITU-R BT.601."""
    return (images * images.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1)


def read_shading(images: Tensor, regions: Tensor, shading: Tensor) -> Tensor:
    """The pictures' shading (B, H, W): luminance over each region's albedo, the one that suits ``shading`` (B, H, W) best.

    ``regions`` (B, H, W): a number for each surface of one albedo, negative where nothing is (NaN there). A picture without the shading's
    shadows shows none here either: only one factor a region is free.
    """
    light, read = luminance(images), torch.full_like(shading, torch.nan)
    for number in regions.unique().tolist():
        if number < 0:
            continue
        mask = regions == number
        meant = shading * mask
        albedo = (light * meant).sum((1, 2)) / meant.square().sum((1, 2)).clamp_min(1e-8)
        read = torch.where(mask, light / albedo.clamp_min(0.02)[:, None, None], read)
    return read


def light_psnr(images: Tensor, regions: Tensor, shading: Tensor) -> Tensor:
    """LightIt's L-PSNR, (B,) in dB: of the shading that is read against the one that was asked for, both clamped to [0, 1]."""
    read = read_shading(images, regions, shading)
    there = ~torch.isnan(read)
    error = torch.where(there, read.nan_to_num().clamp(0, 1) - shading.clamp(0, 1), 0.0).square().sum((1, 2))
    return -10 * (error / there.sum((1, 2))).clamp_min(1e-10).log10()


def light_direction(images: Tensor, regions: Tensor, normals: Tensor, lit: Tensor) -> Tensor:
    """Unit vectors (B, 3) towards the light that pictures show, in the axes of ``normals`` (B, 3, H, W).

    Least squares of luminance / its regional mean = c_region + g . n over the pixels ``lit`` (B, H, W), of regions with enough of them.
    NaN where no region bends.
    """
    light, found = luminance(images), []
    for i in range(len(images)):
        rows, values = [], []
        for number in regions[i].unique().tolist():
            mask = (regions[i] == number) & lit[i]
            if number < 0 or int(mask.sum()) < LEAST:
                continue
            n, y = normals[i][:, mask].T, light[i][mask]
            rows.append(n - n.mean(0))
            values.append(y / y.mean().clamp_min(1e-3) - 1)
        if not rows:
            found.append(images.new_full((3,), torch.nan))
            continue
        a, y = torch.cat(rows).double(), torch.cat(values).double()
        # A little ridge, so that a direction in which no normal varies gets nothing.
        g = torch.linalg.solve(a.T @ a + 1e-2 * torch.eye(3, dtype=a.dtype), a.T @ y)
        found.append((g / g.norm().clamp_min(1e-9)).to(images))
    return torch.stack(found)


def angle(a: Tensor, b: Tensor) -> Tensor:
    """Degrees (B,) between vectors (B, 3)."""
    if a.shape != b.shape:
        raise BadInput(f"directions of shapes {tuple(a.shape)} and {tuple(b.shape)}: give equal shapes")
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=-1)
    return torch.rad2deg(cosine.clamp(-1, 1).acos())
