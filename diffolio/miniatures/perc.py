"""mini-perc: a perceptual distance that ranks changes of a picture as the tabletop world truly changed it; two copies."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffolio.errors import choose
from diffolio.miniatures.vae import TRAIN_SEED
from diffolio.nets.perceptual import PerceptualDistance
from diffolio.worlds.tabletop import render, sample_scenes
from diffolio.worlds.tabletop.changes import change

DISTORTIONS = ("blur", "noise", "contrast", "colour")
NUISANCE = 0.3  # edits that the strongest distortion counts for: it changes every pixel and no thing
VERSIONS = ("place", "size", "edits", "edits", *DISTORTIONS)  # of every reference


@dataclass(frozen=True)
class Graded:
    """References (R, 3, 64, 64), V versions of each (R * V, 3, 64, 64) in order, and how many edits each is away (R, V)."""

    references: Tensor
    versions: Tensor
    amounts: Tensor

    def repeated(self) -> Tensor:
        """The reference of every version, (R * V, 3, 64, 64)."""
        return self.references.repeat_interleave(self.amounts.shape[1], 0)


def graded(references: int, seed: int) -> Graded:
    """Pictures with one version of every kind in ``VERSIONS``; the same seed gives the same."""
    scenes = sample_scenes(references, seed)
    pictures = render(scenes, 64).images
    generator = torch.Generator().manual_seed(seed)
    versions, amounts = [], []
    for turn, kind in enumerate(VERSIONS):
        if kind in DISTORTIONS:
            level = torch.rand(references, generator=generator)
            versions.append(distort(pictures, kind, level, generator))
            amounts.append(NUISANCE * level)
        else:
            made = [change(scene, kind, random.Random(f"{seed}/{i}/{turn}")) for i, scene in enumerate(scenes)]
            versions.append(render([m.scene for m in made], 64).images)
            amounts.append(torch.tensor([m.amount for m in made]))
    return Graded(pictures, torch.stack(versions, 1).flatten(0, 1), torch.stack(amounts, 1))


def distort(images: Tensor, kind: str, level: Tensor, generator: torch.Generator) -> Tensor:
    """Distort (B, 3, H, W) in [0, 1] by ``level`` (B,) in [0, 1]; 1 is strong and leaves every thing recognisable."""
    choose("distortion", kind, DISTORTIONS)
    amount = level[:, None, None, None]
    if kind == "blur":
        from kornia.filters import gaussian_blur2d

        return gaussian_blur2d(images, 9, (0.1 + 1.4 * level)[:, None].expand(-1, 2))
    if kind == "noise":
        return (images + 0.15 * amount * torch.randn(images.shape, generator=generator)).clamp(0, 1)
    mean = images.mean((1, 2, 3), keepdim=True)
    if kind == "contrast":
        return mean + (images - mean) * (1 - 0.5 * amount)
    cast = F.normalize(torch.randn(len(images), 3, 1, 1, generator=generator), dim=1)
    return (images + 0.2 * amount * cast).clamp(0, 1)


class MiniPerc:
    """Objective: of two versions of one picture the truly more changed one is to be further away.

    Logistic loss on the difference of the logarithms of the distances, as LPIPS learns from human choices; pairs closer than
    a tenth of an edit are left out. The copies "a" and "b" differ in initial weights and in every training scene.
    """

    batch = 12  # references a step

    def __init__(self, copy: str = "a") -> None:
        choose("copy", copy, ("a", "b"))
        self.seed = TRAIN_SEED * (7 + "ab".index(copy))
        torch.manual_seed(self.seed)
        self.net = PerceptualDistance()
        self.modules: dict[str, nn.Module] = {"net": self.net}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        data = graded(self.batch, self.seed + step)
        device = self.net.device
        distances = (
            self.net(data.versions.to(device), data.repeated().to(device)).float().clamp_min(1e-8).log().view_as(data.amounts)
        )
        margin = distances[:, :, None] - distances[:, None, :]
        further = (data.amounts[:, :, None] - data.amounts[:, None, :] > 0.1).float().to(device)
        pairs = further.sum()
        return (F.softplus(-2 * margin) * further).sum() / pairs, {"right": ((margin > 0) * further).sum() / pairs}

    def export(self, folder: Path) -> None:
        """Write a diffusers model folder (float16)."""
        self.net.half().save_pretrained(folder, safe_serialization=True)
        self.net.float()
