"""A model whose UNet may be trained while the one that was given stays as it is, and where the outcome lies."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from diffolio.models.model import Model

PARTS = ("all", "attention")


def copied(model: Model) -> Model:
    """The model with a denoiser of its own, float32, for training; everything else is shared."""
    from diffolio.models.model import Model

    unet = copy.deepcopy(model.denoiser).float()
    parts = {**model.pipeline.components, model._architecture.denoiser: unet}
    options = {"requires_safety_checker": False} if "requires_safety_checker" in model.pipeline.config else {}
    return Model(type(model.pipeline)(**parts, **options), name=model.name)


def trainable(unet: Any, which: str) -> dict[str, nn.Parameter]:
    """The weights that train, by name; all others are frozen. "attention": all of the transformers but their feed-forward layers."""
    unet.requires_grad_(False).train()
    chosen = {n: p for n, p in unet.named_parameters() if which == "all" or (".attentions." in n and ".ff." not in n)}
    for parameter in chosen.values():
        parameter.requires_grad_(True)
    return chosen


def trained_folder(name: str) -> Path:
    """A training's folder, its export, or the bundled adapter of that name."""
    from diffolio import miniatures

    folder = Path(name)
    if folder.is_dir():
        return folder / "export" if (folder / "export").is_dir() else folder
    return miniatures.adapter(name)
