"""Sampling the layers of pictures together: guided by words and by the model's own masks, some layers held fixed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffolio.errors import BadInput, NotFinite
from diffolio.models.joint_sampling import grid
from diffolio.models.layer_network import NAMES
from diffolio.process.guidance import combine
from diffolio.process.prediction import Prediction, alpha_sigma
from diffolio.process.sampling import noise
from diffolio.process.self_guidance import away_from, degraded

if TYPE_CHECKING:
    from diffolio.models.layer_network import LayerNetwork, LayerTexts
    from diffolio.models.model import Model


@dataclass(frozen=True, eq=False)
class SelfMask:
    """Self-mask guidance: its scale, the blur in cells, and the latents (C,) of what a mask leaves out and of what it covers."""

    scale: float
    blur: float
    empty: Tensor
    full: Tensor

    def where(self, masks: Tensor) -> Tensor:
        """Cells (B, 1, h, w), 0 or 1, that the clean estimate of mask latents (B, C, h, w) covers: nearer to full than to empty."""
        way = (self.full - self.empty)[None, :, None, None]
        share = ((masks - self.empty[None, :, None, None]) * way).sum(1, keepdim=True) / way.square().sum()
        return (share > 0.5).to(masks)


@torch.no_grad()
def ddim_layers(
    model: Model, network: LayerNetwork, texts: LayerTexts, size: tuple[int, int], *, steps: int, guidance_scale: float,
    generators: list[torch.Generator], self_mask: SelfMask | None = None, fixed: Mapping[int, Tensor] | None = None,
) -> Tensor:  # fmt: skip
    """Clean latents (B, L, 2 C, h, w), ``size`` = (h, w), by deterministic DDIM (Song et al., 2021); ``generators``: one a scene.

    ``fixed``: latents (B, 2 C, h, w) of layers that are known. At every step they are shown to the others at the step's own noise
    level, and are given back bit for bit. Self-mask guidance acts on the things, not on the background.
    """
    scenes, layers, channels = len(texts.whole), texts.layers, model.channels
    known = dict(fixed or {})
    shape = (scenes, layers, len(NAMES) * channels, *size)
    for index, z in known.items():
        if not 0 <= index < layers or tuple(z.shape) != (scenes, *shape[2:]):
            wanted = (scenes, *shape[2:])
            raise BadInput(
                f"layer {index} of {layers}, given as latents {tuple(z.shape)}: give layers 0 to {layers - 1} as {wanted}"
            )
    start = noise(shape, generators).to(model.device)
    latents, rows = start.clone(), (("uncond", "cond") if guidance_scale != 1 else ("cond",))
    things = (torch.arange(layers, device=model.device) > 0).float().repeat(scenes)[:, None, None, None]

    def level(t: int) -> tuple[Tensor, Tensor]:
        alpha, sigma = alpha_sigma(model.scheduler, torch.tensor([t]))
        return alpha.to(start), sigma.to(start)

    for now, then in pairwise(t for t, _ in grid(model, steps)):
        alpha, sigma = level(now)
        for index, z in known.items():
            latents[:, index] = alpha * z + sigma * start[:, index]
        flat, t = latents.flatten(0, 1), torch.full((scenes * layers,), now, device=model.device)
        said = network.predict(model, flat, t, texts, rows, guidance_scale)
        raw = {name: said["cond"][name].raw for name in NAMES}
        guided = raw if len(rows) == 1 else {n: combine(said["uncond"][n].raw, raw[n], guidance_scale) for n in NAMES}
        if self_mask is not None and self_mask.scale:
            where = self_mask.where(said["cond"]["mask"].clean) * things
            worse = torch.cat([degraded(said["cond"]["image"], where, self_mask.blur), said["cond"]["mask"].latents], 1)
            again = network.predict(model, worse, t, texts)["cond"]
            guided = {name: guided[name] + away_from(raw[name], again[name].raw, self_mask.scale) for name in NAMES}
        parts = []
        for name in NAMES:
            one = said["cond"][name]
            at = Prediction(guided[name], one.latents, one.alpha, one.sigma, one.kind)
            after, left = level(then)
            parts.append(after * at.clean + left * at.noise)
        latents = torch.cat(parts, 1).unflatten(0, (scenes, layers))
    for index, z in known.items():
        latents[:, index] = z
    if not bool(torch.isfinite(latents).all()):
        raise NotFinite(f"sampling gave NaN or infinity after {steps} steps at guidance {guidance_scale:g}: lower the guidance")
    return latents
