"""Learning to follow layouts: latents with their layouts, and the noise prediction that trains on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffolio.errors import BadInput
from diffolio.models.coherence import CoherenceAdapter, laid_out
from diffolio.models.layouts import Layout, Layouts, read_layouts
from diffolio.process.prediction import Prediction, alpha_sigma
from diffolio.process.sampling import logit_normal
from diffolio.training.latents import encode

if TYPE_CHECKING:
    from diffolio.models import Model

COHERENCE_SEED = 70_000_000
"""Tabletop scenes to train on are drawn from here on."""


@dataclass(frozen=True, eq=False)
class LaidOutLatents:
    """Clean latents (N, C, h, w), scaled as the denoiser sees them, float16, and their layouts."""

    latents: Tensor
    layouts: list[Layout]

    def __post_init__(self) -> None:
        if self.latents.dim() != 4 or not len(self.latents) or len(self.latents) != len(self.layouts):
            raise BadInput(
                f"latents of shape {tuple(self.latents.shape)} and {len(self.layouts)} layouts: give one for each, at least one"
            )


def coherent_latents(model: Model, n: int, seed: int = 0) -> LaidOutLatents:
    """``n`` tabletop scenes of arrows that point and of pairs that touch or do not. ``seed`` chooses other scenes."""
    from diffolio.worlds.tabletop.coherence import label_maps, sample_coherent
    from diffolio.worlds.tabletop.render import render

    scenes, size, parts, layouts = sample_coherent(n, COHERENCE_SEED + seed), model.default_size, [], []
    for i in range(0, n, 64):
        some = scenes[i : i + 64]
        parts.append(encode(model, render([c.scene for c in some], size).images))
        layouts += [Layout(labels, c.words, c.caption) for labels, c in zip(label_maps(some, size), some, strict=True)]
    return LaidOutLatents(torch.cat(parts), layouts)


def laid_out_latents(model: Model, data: Any, n: int, seed: int = 0, flip: bool = True) -> LaidOutLatents:
    """None (tabletop scenes), LaidOutLatents, or a sequence of (picture (3, H, W) in [0, 1], Layout of its size).

    With ``flip``, pictures are taken mirrored too, which leaves captions as they are.
    """
    if data is None:
        return coherent_latents(model, n, seed)
    if isinstance(data, LaidOutLatents):
        return data
    if not isinstance(data, Sequence) or not data or not all(isinstance(pair[1], Layout) for pair in data):
        raise BadInput(
            "data for layouts: give a sequence of (picture (3, H, W) in [0, 1], Layout), or nothing for tabletop scenes"
        )
    parts, layouts = [], []
    for image, layout in data:
        if image.shape[-2:] != layout.labels.shape:
            raise BadInput(
                f"a picture of {tuple(image.shape)} with a label map of {tuple(layout.labels.shape)}: give them the same size"
            )
        parts.append(encode(model, image[None]))
        layouts.append(layout)
        if flip:
            parts.append(encode(model, image[None].flip(-1)))
            layouts.append(Layout(layout.labels.flip(-1), layout.words, layout.caption))
    return LaidOutLatents(torch.cat(parts), layouts)


class FollowLayouts:
    """Objective: noise prediction of a model that is laid out by ``adapter`` (None: rectified attention alone).

    ``empty`` of the samples have neither text nor layout (the null row of guidance), ``quiet`` have a layout and no caption.
    ``emphasis`` 1 is the plain mean squared error with uniform timesteps; above, as the bundled model was trained: cells that
    are not of the map's largest class count so many times as much, timesteps are logit-normal, and the loss is weighted by min-SNR.
    ``fuse_with``: "caption" or "prompt", the text that GSF reads.
    """

    def __init__(
        self, model: Model, adapter: CoherenceAdapter | None, data: LaidOutLatents, *, batch: int = 8, empty: float = 0.1,
        quiet: float = 0.1, emphasis: float = 1.0, fuse_with: str = "caption",
    ) -> None:  # fmt: skip
        self.model, self.adapter, self.data, self.batch, self.fuse_with = model, adapter, data, batch, fuse_with
        self.empty, self.quiet, self.emphasis = empty, quiet, emphasis
        self.layouts = read_layouts(model, data.layouts)
        self.words = [layout.class_words for layout in data.layouts]
        self.weights = weights_of(self.layouts.labels, data.latents.shape[-2:], emphasis)
        self.modules: dict[str, nn.Module] = {"unet": model.denoiser}
        if adapter is not None:
            self.modules["adapter"] = adapter

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        model, n = self.model, self.batch
        chosen = torch.randint(len(self.data.latents), (n,), generator=generator).tolist()
        latents = self.data.latents[chosen].float().to(model.device)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        share = torch.rand(n, generator=generator) if self.emphasis == 1 else logit_normal(n, generator)
        steps = int(model.scheduler.config.num_train_timesteps)
        t = (share * steps).long().clamp_max(steps - 1).to(model.device)
        fate = torch.rand(n, generator=generator)
        present, said = fate >= self.empty, fate >= self.empty + self.quiet
        layouts = self.layouts.index(chosen)
        predicted = self.predict(model.scheduler.add_noise(latents, noise, t), t, layouts, chosen, present, said)
        error = (predicted.noise - noise).square().mean(1)
        plain = float(error.detach().mean())
        if self.emphasis != 1:
            snr = (predicted.alpha / predicted.sigma).square().reshape(n, 1, 1)
            error = error * self.weights[chosen].to(error) * snr.clamp(max=5) / snr
        return error.mean(), {"plain": plain, **self._gates()}

    def predict(
        self, noisy: Tensor, t: Tensor, layouts: Layouts, chosen: Sequence[int], present: Tensor, said: Tensor
    ) -> Prediction:
        """The noise of the samples ``chosen``; those that are not ``present`` have no layout and no text."""
        model = self.model
        quiet = [self.words[i] for i in chosen]
        texts = [
            (full if s else words) if p else "" for full, words, p, s in zip(layouts.texts, quiet, present, said, strict=True)
        ]
        captions = [c if s else words for c, words, s in zip(layouts.captions, quiet, said, strict=True)]
        with torch.no_grad():
            row = model.condition(texts)["cond"]
            caption = None
            if self.adapter is not None and self.adapter.fusion is not None and self.fuse_with == "caption":
                caption = model.condition(captions)["cond"]["encoder_hidden_states"]
        alpha, sigma = (level.to(noisy) for level in alpha_sigma(model.scheduler, t, noisy.dim()))
        with laid_out(model, layouts, self.adapter, caption, present=present), model.seams.rows("cond"):
            raw = model.denoiser(noisy, t, **row, return_dict=False)[0]
        return Prediction(raw.float(), noisy, alpha, sigma, model.prediction)

    def _gates(self) -> dict[str, float]:
        if self.adapter is None:
            return {}
        gates = self.adapter.gates()
        found = {"gsf": gates.pop("gsf")} if "gsf" in gates else {}
        return found | ({"sca": sum(abs(g) for g in gates.values()) / len(gates)} if gates else {})


def weights_of(labels: Tensor, grid: tuple[int, int], emphasis: float) -> Tensor:
    """How much each cell counts, (N, h, w), mean 1: ``emphasis`` times as much where its 3 x 3 neighbourhood is not all of the map's
    commonest class."""
    ids = (labels * 255).round().long()
    common = torch.stack([found.flatten().bincount().argmax() for found in ids])
    things = F.adaptive_max_pool2d((ids != common[:, None, None, None]).float(), grid)
    things = F.max_pool2d(things, 3, stride=1, padding=1)[:, 0]
    weights = 1 + (emphasis - 1) * things
    return weights / weights.mean()
