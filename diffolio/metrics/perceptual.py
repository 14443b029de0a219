"""The bundled perceptual distance, mini-perc, in two independent copies."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from diffolio.errors import choose


class Perceptual:
    """Distance (B,) of pictures (B, 3, H, W) in [0, 1]; 0 for equal ones, unit of its own. Gradients pass.

    What copy "a" conditions or chooses, copy "b" judges. Pictures are compared at the copies' size.
    """

    def __init__(self, net: nn.Module, size: int = 64) -> None:
        self.net, self.size = net.eval().requires_grad_(False), size

    @classmethod
    def load(cls, copy: str = "b") -> Perceptual:
        """The bundled copy "a" or "b"."""
        return _load(choose("copy", copy, ("a", "b")))

    def __call__(self, images: Tensor, references: Tensor) -> Tensor:
        return self.net(self._sized(images), self._sized(references))  # type: ignore[no-any-return]

    def _sized(self, images: Tensor) -> Tensor:
        if images.shape[-2:] == (self.size, self.size):
            return images
        return nn.functional.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)


@functools.cache
def _load(copy: str) -> Perceptual:
    from diffolio import miniatures
    from diffolio.nets.perceptual import PerceptualDistance

    folder = miniatures.folder(f"mini-perc-{copy}")
    return Perceptual(PerceptualDistance.from_pretrained(folder, torch_dtype=torch.float32))
