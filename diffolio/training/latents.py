"""Captioned latents, encoded once and drawn from in training: from scenes of the tabletop world or from a user's pictures."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.miniatures.vae import TRAIN_SEED

if TYPE_CHECKING:
    from diffolio.models import Model
    from diffolio.worlds.tabletop import Mixture

Captioner = Callable[[int, random.Random], str]


@dataclass(frozen=True)
class CaptionedLatents:
    """Clean latents (N, C, h, w), scaled as the denoiser sees them, in float16; ``caption(i, rng)`` captions the i-th."""

    latents: Tensor
    caption: Captioner

    def __post_init__(self) -> None:
        if self.latents.dim() != 4 or len(self.latents) == 0:
            raise BadInput(f"latents of shape {tuple(self.latents.shape)}: give (N, C, h, w) with at least one")

    def __len__(self) -> int:
        return len(self.latents)

    def draw(self, batch: int, generator: torch.Generator) -> tuple[Tensor, list[str]]:
        """``batch`` of them at random, with replacement: float32 latents (batch, C, h, w) and their captions."""
        index = torch.randint(len(self.latents), (batch,), generator=generator)
        rng = random.Random(int(torch.randint(2**31, (1,), generator=generator)))
        return self.latents[index].float(), [self.caption(i, rng) for i in index.tolist()]


def tabletop_latents(model: Model, n: int, seed: int = 0, mixture: Mixture | None = None) -> CaptionedLatents:
    """``n`` training scenes; captions are redrawn at every use, so that paraphrases vary. ``seed`` chooses other scenes."""
    from diffolio.worlds.tabletop import caption, render, sample_scenes

    scenes = sample_scenes(n, 5 * TRAIN_SEED + seed, mixture)
    size = model.default_size
    parts = [encode(model, render(scenes[i : i + 64], size).images) for i in range(0, n, 64)]
    return CaptionedLatents(torch.cat(parts), lambda i, rng: caption(scenes[i], rng))


def picture_latents(model: Model, data: Any) -> CaptionedLatents:
    """A sequence of (picture (3, H, W) in [0, 1], caption); pictures are cropped to squares of the model's size."""
    from diffolio.models.images import fit_size

    if len(data) == 0:
        raise BadInput("no captioned picture was given")
    size, parts, captions = model.default_size, [], []
    for i in range(len(data)):
        image, text = data[i]
        captions.append(text)
        parts.append(encode(model, fit_size(image, size, size)[None]))
    return CaptionedLatents(torch.cat(parts), captioner(captions))


def captioner(captions: Sequence[str | None]) -> Captioner:
    """One fixed caption a picture; empty or missing ones are refused."""
    missing = [i for i, text in enumerate(captions) if not (isinstance(text, str) and text.strip())]
    if missing:
        raise BadInput(
            f"{len(missing)} of {len(captions)} pictures have no caption (number {missing[0]} first): "
            "a text-conditional student needs one for each"
        )
    return lambda i, rng: str(captions[i])


def captioned_latents(model: Model, data: Any, n: int, seed: int = 0) -> CaptionedLatents:
    """What a recipe's ``data`` may be: None (tabletop scenes), CaptionedLatents, a pair (latents, captions), or pictures with
    captions."""
    if data is None:
        return tabletop_latents(model, n, seed)
    if isinstance(data, CaptionedLatents):
        made = data
    elif isinstance(data, tuple) and len(data) == 2 and isinstance(data[0], Tensor):
        latents, captions = data
        if len(latents) != len(captions):
            raise BadInput(f"{len(latents)} latents and {len(captions)} captions: give a caption for each")
        made = CaptionedLatents(latents.half(), captioner(captions))
    else:
        made = picture_latents(model, data)
    if made.latents.shape[1] != model.channels:
        raise BadInput(
            f"latents have {made.latents.shape[1]} channels, {model.name} takes {model.channels}: encode them with its VAE"
        )
    return made


@torch.no_grad()
def encode(model: Model, images: Tensor) -> Tensor:
    """Posterior means of pictures (B, 3, H, W), as float16 on the CPU."""
    return model.encode(images.to(model.device)).half().cpu()
