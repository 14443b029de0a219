"""What an editor has to beat: doing nothing, image-to-image, and plain DDIM inversion with another prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from diffolio.edits import Edit
from diffolio.process.inversion import invert, reconstruct
from diffolio.process.sdedit import sdedit
from diffolio.registry import EDITS, Editor, knob

if TYPE_CHECKING:
    from diffolio.models import Model


@dataclass(frozen=True)
class CopySource(Editor):
    """The source itself: keeps everything and changes nothing."""

    name: ClassVar[str] = "copy of the source"
    edits: ClassVar[frozenset[str]] = frozenset(EDITS)

    def change(
        self, model: Model, images: Tensor, sources: list[str], targets: list[str], mask: Tensor | None = None, *, seed: int = 0,
        **inputs: Any,
    ) -> Edit:  # fmt: skip
        return Edit(images, images.clone(), sources, targets, reconstruction=images)


@dataclass(frozen=True)
class ImageToImage(Editor):
    """SDEdit: the source noised part of the way, denoised with the target prompt."""

    edits: ClassVar[frozenset[str]] = frozenset(EDITS)
    strength: float = knob(0.5, above=0.0, at_most=1.0, means="share of the schedule that is run again")
    steps: int = knob(25, at_least=1, means="steps of the whole schedule")
    guidance: float = knob(7.5, at_least=1.0, means="guidance scale")

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"img2img (SDEdit), strength {self.strength:g}"

    @torch.no_grad()
    def change(
        self, model: Model, images: Tensor, sources: list[str], targets: list[str], mask: Tensor | None = None, *, seed: int = 0,
        **inputs: Any,
    ) -> Edit:  # fmt: skip
        latents = model.encode(images)
        changed = sdedit(model, latents, model.condition(targets), self.strength, self.steps, self.guidance, seed)
        return Edit(images, model.decode(changed), sources, targets)


@dataclass(frozen=True)
class DDIMInversion(Editor):
    """DDIM inversion with the source prompt, then sampling with the target prompt; nothing holds the rest in place."""

    name: ClassVar[str] = "DDIM inversion + target prompt"
    edits: ClassVar[frozenset[str]] = frozenset(EDITS)
    steps: int = knob(25, at_least=1, means="DDIM steps of inversion and sampling")
    guidance: float = knob(7.5, at_least=1.0, means="guidance scale")

    @torch.no_grad()
    def change(
        self, model: Model, images: Tensor, sources: list[str], targets: list[str], mask: Tensor | None = None, *, seed: int = 0,
        **inputs: Any,
    ) -> Edit:  # fmt: skip
        trajectory = invert(model, model.encode(images).float(), model.condition(sources), self.steps)
        changed = reconstruct(model, trajectory, model.condition(targets), self.guidance)
        return Edit(images, model.decode(changed), sources, targets, trajectory=trajectory)
