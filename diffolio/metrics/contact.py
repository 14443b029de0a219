"""How well a text-to-image model draws what it is asked, and a contact sheet with the reader's verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffolio.metrics.compliance import Compliance, compliance, held_out
from diffolio.worlds.tabletop import Scene, render

if TYPE_CHECKING:
    from PIL import Image

    from diffolio.models import Model


@dataclass(frozen=True)
class Drawn:
    """Held-out scenes, the pictures (B, 3, H, W) that their captions gave, and what the reader says of each."""

    scenes: list[Scene]
    images: Tensor
    scores: Compliance


def draw(model: Model, n: int, things: int, *, seed: int, steps: int, guidance_scale: float, batch: int = 32) -> Drawn:
    """``n`` held-out scenes of ``things`` objects, sampled from their plain captions; noise ``seed`` and on."""
    scenes = held_out(n, things)
    prompts = [scene.caption for scene in scenes]
    parts = [
        model.sample(prompts[i : i + batch], seed=seed + i, steps=steps, guidance_scale=guidance_scale).images
        for i in range(0, n, batch)
    ]
    images = torch.cat(parts)
    return Drawn(scenes, images, compliance(images, scenes))


@torch.no_grad()
def rebuilt(model: Model, scenes: Sequence[Scene], batch: int = 64) -> tuple[Tensor, Tensor]:
    """Renders of the scenes (B, 3, H, W), and what the model's own encoder and decoder make of them."""
    size = model.default_size
    images = torch.cat([render(scenes[i : i + batch], size).images for i in range(0, len(scenes), batch)])
    return images, torch.cat([model.decode(model.encode(part.to(model.device))).cpu() for part in images.split(batch)])


def contact_sheet(groups: Sequence[Drawn], columns: int = 10) -> Image.Image:
    """The first pictures of each group under their prompts, with what is wrong with each."""
    from diffolio.models.images import strip

    images, labels = [], []
    for drawn in groups:
        for i in range(min(columns, len(drawn.images))):
            images.append(drawn.images[i])
            labels.append(f"{drawn.scenes[i].caption}: {verdict(drawn.scores, i)}")
    return strip(images, columns, labels)


def verdict(scores: Compliance, i: int) -> str:
    """ "right", or what is wrong."""
    if scores.all[i]:
        return "right"
    parts = {"count": scores.count, "kind": scores.kinds, "colour": scores.colours, "relation": scores.relation}
    wrong = [name for name, values in parts.items() if not values[i]]
    return "wrong " + ", ".join(wrong or ["pairing"])
