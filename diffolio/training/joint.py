"""Training a joint network: each sample has its own condition, which stays clean, and diffuses the rest (Zippo, arXiv:2403.11077)."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from diffolio.errors import BadInput
from diffolio.models.joint import reassigned
from diffolio.process.prediction import raw_from
from diffolio.training.latents import Captioner

if TYPE_CHECKING:
    from diffolio.models import Model
    from diffolio.models.joint_network import JointNetwork

CLEAN_ERROR = {"epsilon": lambda a, s: s / a, "v_prediction": lambda a, s: s, "sample": lambda a, s: torch.ones_like(s)}
"""How large an error of the clean latents is for an error of 1 of the network's output, at levels (alpha, sigma)."""


@dataclass(frozen=True)
class Mode:
    """One way to be trained: how often, which modalities are clean, how often without text, and the log-SNR of the modalities behind the
    first, minus the first's, one of ``shifts`` drawn for each sample."""

    share: float
    clean: tuple[str, ...] = ()
    drop: float = 0.1
    shifts: tuple[float, ...] = (0.0,)


@dataclass(frozen=True)
class JointPool:
    """Clean latents by modality (N, C, h, w) in float16, and captions."""

    latents: Mapping[str, Tensor]
    caption: Captioner

    def draw(self, batch: int, generator: torch.Generator) -> tuple[dict[str, Tensor], list[str], random.Random]:
        size = len(next(iter(self.latents.values())))
        index = torch.randint(size, (batch,), generator=generator)
        rng = random.Random(int(torch.randint(2**31, (1,), generator=generator)))
        return {n: z[index].float() for n, z in self.latents.items()}, [self.caption(i, rng) for i in index.tolist()], rng


class JointTraining:
    """Objective: squared error of every modality that is not clean, weighted by min-SNR (Hang et al., 2023; ``gamma`` 0: not at all).

    Timesteps are uniform, noises of the modalities independent. The model is frozen by who calls.
    """

    def __init__(
        self,
        model: Model,
        network: JointNetwork,
        pool: JointPool,
        modes: Mapping[str, Mode],
        *,
        batch: int = 16,
        gamma: float = 5.0,
    ) -> None:
        if not modes or abs(sum(mode.share for mode in modes.values()) - 1) > 1e-6:
            raise BadInput(f"shares {[mode.share for mode in modes.values()]} of the modes: they are parts of one whole")
        self.model, self.network, self.pool, self.batch, self.gamma = model, network, pool, batch, gamma
        self.names, self.modes = list(modes), list(modes.values())
        self.told = dict.fromkeys(modes, 0.0)  # the last loss of each mode
        self.modules: dict[str, nn.Module] = {"network": network}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        parts, captions, rng = self.pool.draw(self.batch, generator)
        shares = torch.tensor([mode.share for mode in self.modes])
        which = torch.multinomial(shares, self.batch, replacement=True, generator=generator).tolist()
        captions = ["" if rng.random() < self.modes[k].drop else text for k, text in zip(which, captions, strict=True)]
        losses = self.errors(self.network.layout.stack(**parts), captions, which, rng, generator)
        for mode, name in enumerate(self.names):
            mine = [float(loss) for loss, k in zip(losses.detach(), which, strict=True) if k == mode]
            self.told[name] = sum(mine) / len(mine) if mine else self.told[name]
        return losses.mean(), dict(self.told)

    def errors(
        self, z: Tensor, captions: Sequence[str], which: Sequence[int], rng: random.Random, generator: torch.Generator
    ) -> Tensor:
        """The loss (B,) of clean joint latents ``z`` (B, M C, h, w), sample i trained in mode ``which[i]``."""
        model, layout = self.model, self.network.layout
        noise = torch.randn(z.shape, generator=generator).to(model.device)
        t = torch.randint(model.scheduler.config.num_train_timesteps, (len(z),), generator=generator)
        shifts = torch.tensor([rng.choice(self.modes[k].shifts) for k in which])
        clean = torch.cat([layout.flags(*self.modes[k].clean) for k in which]).to(model.device)
        times = paired(model, t, shifts, len(layout.names)).to(model.device).masked_fill(clean, 0)
        z = z.to(model.device)
        noisy = layout.add_noise(model.scheduler, z, noise, times, clean)
        with torch.no_grad():
            condition = model.condition(list(captions))
        said = self.network.predict(model, noisy, times, clean, condition)["cond"]
        raw, target = [], []
        for name, own, pure in zip(layout.names, layout.split(noise).values(), layout.split(z).values(), strict=True):
            one = said[name]
            known = {"noise": own} if one.kind == "epsilon" else {"clean": pure}
            weight = min_snr(one.kind, one.alpha, one.sigma, self.gamma).sqrt() if self.gamma else 1.0
            raw.append(one.raw.float() * weight)
            target.append(raw_from(one.kind, latents=one.latents, alpha=one.alpha, sigma=one.sigma, **known) * weight)
        return layout.loss(torch.cat(raw, 1), torch.cat(target, 1), clean)


def paired(model: Model, t: Tensor, shifts: Tensor, modalities: int) -> Tensor:
    """Timesteps (B, M): ``t`` (B,) of the first modality, and of the others those whose log-SNR is ``shifts`` (B,) away; t where 0."""
    table = torch.stack([t if not shift else reassigned(model.scheduler, t, float(shift)) for shift in shifts.unique()])
    at = torch.searchsorted(shifts.unique(), shifts)
    other = table[at, torch.arange(len(t))]
    return torch.stack([t, *[other] * (modalities - 1)], 1)


def min_snr(kind: str, alpha: Tensor, sigma: Tensor, gamma: float) -> Tensor:
    """The weight of the squared error of the network's output: min(SNR, gamma) in terms of the clean latents."""
    snr = (alpha / sigma).square()
    return snr.clamp(max=gamma) * CLEAN_ERROR[kind](alpha, sigma).square()
