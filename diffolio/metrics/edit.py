"""How well a picture was edited: the PIE-Bench scores (Ju et al., 2023, arXiv:2310.01506), with exact masks where a world gives them.

What should change must change (``recoloured``), everything else must stay: the background's MSE, PSNR and SSIM against the source,
and the structure distance, the mean squared difference of two pictures' self-similarities (Tumanyan et al., 2022, Splice).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.metrics.image import mse, psnr, ssim
from diffolio.metrics.judge import Judge

if TYPE_CHECKING:
    from diffolio.models import Model

Tokens = Callable[[Tensor], Tensor]
"""Pictures (B, 3, H, W) -> features (B, N, D) at N places."""


def change_mask(sources: Tensor, counterfactuals: Tensor, least: float = 1 / 255) -> Tensor:
    """Bool (B, H, W): the pixels that the true edit changes, soft edges included."""
    return (sources - counterfactuals).abs().amax(1) > least


def background(edited: Tensor, sources: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """ "mse", "psnr" and "ssim" (B,) of pictures (B, 3, H, W) outside of the bool ``mask`` (B, H, W).

    As in PIE-Bench, SSIM is of the pictures with the mask blacked out in both.
    """
    if mask.dtype != torch.bool or mask.shape != (len(edited), *edited.shape[-2:]):
        raise BadInput(f"a mask of type {mask.dtype}, shape {tuple(mask.shape)}: give bool {(len(edited), *edited.shape[-2:])}")
    if bool(mask.flatten(1).all(1).any()):
        raise BadInput("a mask covers its whole picture: there is no background to compare")
    outside = ~mask
    seen = outside[:, None].to(edited)
    return {
        "mse": mse(edited, sources, outside),
        "psnr": psnr(edited, sources, outside),
        "ssim": ssim(edited * seen, sources * seen),
    }


@torch.no_grad()
def perceptual_background(edited: Tensor, sources: Tensor, mask: Tensor) -> Tensor | None:
    """The perceptual distance (B,) with the mask blacked out in both, as PIE-Bench takes LPIPS; None while the judge is not there."""
    from diffolio import miniatures
    from diffolio.metrics.perceptual import Perceptual

    if "mini-perc-b" not in miniatures.available():
        return None
    seen = ~mask[:, None].to(edited.device)
    return Perceptual.load("b")(edited * seen, sources * seen)


@torch.no_grad()
def structure_distance(images: Tensor, references: Tensor, tokens: Tokens) -> Tensor:
    """Mean squared difference of the cosine self-similarities (N, N) of two pictures' features; (B,), 0 for equal pictures."""
    if images.shape != references.shape:
        raise BadInput(f"pictures {tuple(images.shape)} and references {tuple(references.shape)}: give equal shapes")
    first, second = (_self_similarity(tokens(x)) for x in (images, references))
    return (first - second).square().mean((1, 2))


def judge_keys(judge: Judge) -> Tokens:
    """A judge's features for the structure distance: the keys of its last layer, class token included, as PIE-Bench takes DINO's."""

    def tokens(images: Tensor) -> Tensor:
        kept: list[Tensor] = []
        last = judge.model.vision_model.encoder.layers[-1].self_attn.k_proj
        handle = last.register_forward_hook(lambda module, args, output: kept.append(output))
        try:
            judge.features(images)
        finally:
            handle.remove()
        return kept[0]

    return tokens


def latent_tokens(model: Model) -> Tokens:
    """A model's latents as features, for where there is no judge: one place a cell."""
    return lambda images: model.encode(images).flatten(2).transpose(1, 2)


def recoloured(
    images: Tensor, masks: Tensor, colours: Sequence[str], least_confidence: float | None = None
) -> NDArray[np.float64]:
    """1.0 where the tabletop's reader sees the wanted colour in the thing at the place of the edit, else 0.0, per picture.

    The thing is the one that covers most of the bool mask (B, H, W); the reader must be as sure as for a verdict.
    """
    from diffolio.worlds.tabletop import read
    from diffolio.worlds.tabletop.verdict import SURE

    if not len(images) == len(masks) == len(colours):
        raise BadInput(f"{len(images)} pictures, {len(masks)} masks and {len(colours)} colours: give as many of each")
    least = SURE if least_confidence is None else least_confidence

    def is_right(found: list, mask: Tensor, colour: str) -> bool:  # type: ignore[type-arg]
        thing = max(found, key=lambda f: int((f.mask & mask).sum()), default=None)
        return (
            thing is not None and bool((thing.mask & mask).any()) and thing.colour == colour and thing.colour_confidence >= least
        )

    readings = read(images)
    return np.array([float(is_right(r.found, m, c)) for r, m, c in zip(readings, masks.cpu(), colours, strict=True)])


def _self_similarity(features: Tensor) -> Tensor:
    unit = torch.nn.functional.normalize(features.float(), dim=-1)
    return unit @ unit.transpose(1, 2)
