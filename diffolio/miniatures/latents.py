"""What the latent miniatures learn from: scenes of the tabletop world, encoded once, and where things stand in them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from diffolio.worlds.tabletop import Scene, caption, render

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


@dataclass
class Latents:
    """Scenes, their latents (N, 4, 16, 16), already scaled, and where things stand (N, 16, 16) in [0, 1]; both float16.

    In place of latents there may be features (N, d, 16, 16) or tokens (N, 16, 16) of a discrete model.
    """

    scenes: list[Scene]
    latents: Tensor
    things: Tensor

    def draw(
        self, batch: int, drop: float, generator: torch.Generator, emphasis: float = 1.0
    ) -> tuple[Tensor, list[str], Tensor]:
        """Latents (batch, 4, 16, 16), captions redrawn and left empty with probability ``drop``, and weights (batch, 16, 16).

        A cell with a thing weighs ``emphasis`` times as much as one without; the weights' mean over the data is 1.
        """
        index = torch.randint(len(self.scenes), (batch,), generator=generator)
        rng = random.Random(int(torch.randint(2**31, (1,), generator=generator)))
        captions = ["" if rng.random() < drop else caption(self.scenes[i], rng) for i in index.tolist()]
        return self.latents[index].float(), captions, emphasised(self.things[index], self.things, emphasis)


def encode_scenes(vae: AutoencoderKL, scenes: list[Scene], batch: int = 64) -> Latents:
    """The posterior means of renders of ``scenes``, times the scaling factor, and the cells in or next to a thing."""
    scale = vae.config.scaling_factor
    return encode_with(lambda images: (vae.encode(images * 2 - 1).latent_dist.mean * scale).half(), scenes, batch)


@torch.no_grad()
def encode_with(encode: Callable[[Tensor], Tensor], scenes: list[Scene], batch: int = 64) -> Latents:
    """What ``encode`` makes of renders (B, 3, 64, 64) of ``scenes``, 16 cells a side, and the cells in or next to a thing."""
    parts, things = [], []
    for start in range(0, len(scenes), batch):
        drawn = render(scenes[start : start + batch], 64)
        parts.append(encode(drawn.images))
        cells = F.max_pool2d(drawn.full.any(1, keepdim=True).float(), 4)
        things.append(F.max_pool2d(cells, 3, stride=1, padding=1)[:, 0].half())
    return Latents(scenes, torch.cat(parts), torch.cat(things))


def emphasised(things: Tensor, among: Tensor, emphasis: float) -> Tensor:
    """Weights of cells, ``emphasis`` times as much where there are ``things`` (in [0, 1]) as where not, and 1 on average over ``among``."""
    return (1 + (emphasis - 1) * things.float()) / (1 + (emphasis - 1) * among.mean(dtype=torch.float32))


def faded(weights: Tensor, hidden: Tensor) -> Tensor:
    """``weights`` (B, ...), of mean 1, drawn towards 1 by the share (B,) in [0, 1] of the picture that noise or masks hide.

    A weight that tells where things stand moves the minimum wherever that cannot be told yet: what is predicted is the mean weighted
    by it, and with five times the weight a thing that might stand in a cell is seen there five times as likely.
    """
    return torch.lerp(weights, torch.ones_like(weights), hidden.view(-1, *[1] * (weights.ndim - 1)).to(weights))
