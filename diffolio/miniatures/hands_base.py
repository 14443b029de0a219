"""The base of Giving a Hand's bundled networks: a small text-to-image model of the hands world, on patches of pixels.

mini-sd knows the tabletop world only, and mini-vae gives figures of the hands world back at 18 dB, fingers lost. Patches are of 2 x 2
pixels: a hand in a figure is 18 pixels long, nine cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from diffolio.miniatures.patch_base import SIZE as SIZE
from diffolio.miniatures.patch_base import PatchBase
from diffolio.worlds.hands import SKINS, vocabulary

NAME = "hands-base"
Draw = Callable[[int, torch.Generator], tuple[Tensor, list[str]]]


class HandsBase(PatchBase):
    """Hands and figures: ``draws(batch, generator)`` gives pictures and captions."""

    name, recipe = NAME, "hand_to_diffusion"
    widths, text_width, factor, guidance_scale = (24, 40, 48), 40, 2, 2.0

    def __init__(self, draws: Draw | None = None, tokenizer: Any = None) -> None:
        super().__init__(tokenizer)
        self.draws = draws

    @classmethod
    def vocabulary(cls) -> Sequence[str]:
        return sorted({*vocabulary(), *SKINS})

    def draw(self, generator: torch.Generator) -> tuple[Tensor, list[str]]:
        assert self.draws is not None
        return self.draws(self.batch, generator)


words_in, load_base = HandsBase.words_in, HandsBase.load
