"""A network that also reads a source beside its noisy latents: more columns in its first layer, put on for as long as a block lasts.

The first layer is ``conv_in`` of a UNet in two or three dimensions, or the patch embedding of a transformer (Latte, PixArt). The new
columns start at zero, so that the network is its base whatever the source. Its configuration stays the base's: pipelines go on to draw
and denoise as many channels as before, and the seam ``seams.two_way`` appends the source.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from diffolio.errors import BadInput, Unsupported
from diffolio.nets.widening import widened_input


def first_layer(denoiser: Any) -> tuple[nn.Module, str]:
    """The module that holds the first layer, and the layer's name in it; Unsupported where there is no plain convolution."""
    for path in ("conv_in", "pos_embed.proj", "patch_embedding"):
        owner, _, name = path.rpartition(".")
        holder = getattr(denoiser, owner, None) if owner else denoiser
        layer: Any = getattr(holder, name, None)
        if type(layer) in (nn.Conv2d, nn.Conv3d) and layer.groups == 1:
            return holder, name  # type: ignore[return-value]
    raise Unsupported(
        f"{type(denoiser).__name__} has no plain convolution as its first layer: it cannot be made to read a source beside its latents"
    )


@contextmanager
def source_columns(denoiser: Any, columns: Tensor | None = None) -> Iterator[Tensor]:
    """The denoiser reads [latents ; source] in its channels inside; afterwards, also by an exception, its first layer is the very one
    it was.

    ``columns`` are the weights for the source, of the shape of the first layer's own (None: zeros, the base). Yields the widened
    layer's weight, (out, 2 C, ...), which may be trained; :func:`taken` gives its part for the source.
    """
    holder, name = first_layer(denoiser)
    layer: Any = getattr(holder, name)
    wide = widened_input(layer, (1, 0))
    if columns is not None:
        if columns.shape != layer.weight.shape:
            raise BadInput(
                f"source columns of shape {tuple(columns.shape)} for a first layer of {tuple(layer.weight.shape)}: "
                "use the base that they were trained on"
            )
        with torch.no_grad():
            wide.weight[:, layer.weight.shape[1] :] = columns.to(wide.weight)
    setattr(holder, name, wide)
    try:
        yield wide.weight
    finally:
        setattr(holder, name, layer)


def taken(weight: Tensor) -> Tensor:
    """The source's columns of a widened weight."""
    return weight.detach()[:, weight.shape[1] // 2 :].clone()
