"""Objects as layers: a picture with what is taken out of it, and the objects that are laid over it, moved, scaled and mirrored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.process.compositing import centre, flip_about, over, scale_about, shift, to_grid


@dataclass(frozen=True, eq=False)
class Layer:
    """An object: where it is, bool (B, H, W) or (H, W), of ``image`` (B, 3, H, W) if not of the edited pictures, and what becomes of it.

    ``move``: to the right and down, as shares of width and height, one for all or a tensor (B, 2). ``scale`` and ``flip``
    ("horizontal", "vertical", "both") are about its centre.
    """

    mask: Tensor
    move: tuple[float, float] | Tensor = (0.0, 0.0)
    scale: float = 1.0
    flip: str = ""
    image: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Prepared:
    """A layer ready to be fused: picture (B, 3, H, W) and mask (B, H, W) after scaling and mirroring, and its shift in cells (B, 2)."""

    image: Tensor
    mask: Tensor
    cells: Tensor

    def placed(self, size: tuple[int, int]) -> Tensor:
        """Where the object comes to lie, bool (B, 1, h, w) at the grid ``size``."""
        return shift(to_grid(self.mask, size), self.cells)


def prepare(layer: Layer, images: Tensor, size: tuple[int, int], grow: Callable[[Tensor], Tensor]) -> Prepared:
    """Scale and mirror a layer's picture, and count its move in whole cells of the grid ``size`` (h, w); ``grow`` enlarges its mask.

    A picture that changes is laid over itself, so that around the object it is as it was. BadInput for a mask that is empty or of
    another size, and for an object that would be moved out of the picture.
    """
    image = images if layer.image is None else layer.image
    mask = layer.mask if layer.mask.dim() == 3 else layer.mask[None]
    if image.shape != images.shape:
        raise BadInput(f"a layer's picture of shape {tuple(image.shape)} for pictures {tuple(images.shape)}: give equal shapes")
    if mask.dtype != torch.bool or mask.shape[-2:] != images.shape[-2:] or len(mask) not in (1, len(images)):
        raise BadInput(
            f"a layer's mask of type {mask.dtype}, shape {tuple(mask.shape)}: give bool {(len(images), *images.shape[-2:])}"
        )
    mask = mask.expand(len(images), -1, -1).to(images.device)
    at = centre(mask)
    if layer.scale != 1:
        scaled, inside = scale_about(image, layer.scale, at)
        soft, _ = scale_about(mask[:, None].float(), layer.scale, at)
        image, mask = over(image, scaled, inside), (soft[:, 0] > 0.5) & inside[:, 0]
    if layer.flip:
        image, mask = flip_about(image, layer.flip, at), flip_about(mask[:, None], layer.flip, at)[:, 0]
    share = torch.as_tensor(layer.move, dtype=torch.float32, device=images.device).expand(len(images), 2)
    cells = (share * torch.tensor(size[::-1], device=images.device)).round().long()
    prepared = Prepared(image, grow(mask), cells)
    if not bool(prepared.placed(size).flatten(1).any(1).all()):
        raise BadInput(f"an object would be moved out of the picture (by {share.tolist()} of width and height): move it less")
    return prepared


def fuse(background: Tensor, objects: Sequence[Tensor], layers: Sequence[Prepared]) -> Tensor:
    """Every object's latents (B, C, h, w), shifted, laid over the background in the order given."""
    canvas = background
    for latents, layer in zip(objects, layers, strict=True):
        canvas = over(canvas, shift(latents, layer.cells), layer.placed(latents.shape[-2:]))  # type: ignore[arg-type]
    return canvas


def pan(images: Tensor, right: float, down: float) -> tuple[Tensor, Tensor]:
    """The pictures moved by shares of width and height, over themselves, and the border that this leaves uncovered, (B, H, W)."""
    if not (right or down) or max(abs(right), abs(down)) >= 1:
        raise BadInput(f"a pan by {right}, {down}: give shares of width and height between -1 and 1, not both 0")
    pixels = torch.tensor([round(right * images.shape[-1]), round(down * images.shape[-2])], device=images.device)
    pixels = pixels.expand(len(images), 2)
    covered = shift(torch.ones_like(images[:, :1], dtype=torch.bool), pixels)
    return over(images, shift(images, pixels), covered), ~covered[:, 0]


def zoom_out(images: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """The pictures made smaller, in the middle of themselves, and the border around them (B, H, W)."""
    if not 0 < scale < 1:
        raise BadInput(f"zoom out with scale {scale:g}: give a number between 0 and 1")
    middle = torch.tensor(images.shape[:1:-1], device=images.device) / 2
    smaller, inside = scale_about(images, scale, middle.expand(len(images), 2))
    return over(images, smaller, inside), ~inside[:, 0]
