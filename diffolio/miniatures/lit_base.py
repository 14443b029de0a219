"""The base that LightIt's bundled adapters belong to: a small text-to-image model of the solids world, on patches of pixels.

mini-sd knows the tabletop world only, and mini-vae, which never saw shaded bodies, gives solids pictures back at 23 dB: that is as far
from them as the same scene under another sun.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffolio.miniatures.patch_base import PatchBase
from diffolio.worlds.solids.captions import vocabulary
from diffolio.worlds.solids.lit import LitScenes

NAME = "lightit-base"


class LitBase(PatchBase):
    """Solids under one of their suns; a tenth of the captions is left out."""

    name, recipe = NAME, "lightit"
    drop = 0.1

    def __init__(self, data: LitScenes | None = None, tokenizer: Any = None) -> None:
        super().__init__(tokenizer)
        self.data = data

    @classmethod
    def vocabulary(cls) -> Sequence[str]:
        return vocabulary()

    def draw(self, generator: torch.Generator) -> tuple[Tensor, list[str]]:
        assert self.data is not None
        index = torch.randint(len(self.data), (self.batch,), generator=generator)
        which = torch.randint(2, (self.batch,), generator=generator)
        rng = random.Random(int(torch.randint(2**31, (1,), generator=generator)))
        captions = ["" if rng.random() < self.drop else text for text in self.data.captions(index.tolist(), rng)]
        return self.data.rgb[index, which].float() / 255, captions


words_in, load_base = LitBase.words_in, LitBase.load
